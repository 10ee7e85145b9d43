//! What happens inside TLS: when it is decrypted, what is judged, what is put in, what comes back.
//!
//! ```text
//! CONNECT or redirected TLS
//!    │ hello, judged by its name: question A                      proxy::peek
//!    │ Policy::decrypts? ── no ──► Policy::admit_sealed ──► carried as it is
//!    ▼ yes
//! a leaf for the outer name, made or kept                         intercept::Authority
//!    │ TLS with the client: `h2` or `http/1.1`                    src/proxy/inspect.rs
//!    ├─► HTTP/1.1, read strictly                                  src/proxy/strict.rs
//!    ├─► HTTP/2, each stream a request                            src/proxy/streams.rs
//!    └─► anything else ──► Policy::admit_opaque ──► carried, over TLS of our own
//!    ▼ each request
//! its authority is the outer name, or 421
//!    │ questions A and C; a Rewrite's new place is asked again
//!    │ what is for this hop goes; placeholders; edits, values last src/proxy/onward.rs
//!    ▼
//! question B, then TLS with the origin, verified                  upstream::tls, src/proxy/origins.rs
//!    │ the answer, without the values that went out               src/proxy/cover.rs
//!    ▼
//! a record, `ingress: inspected`
//! ```
//!
//! # When
//!
//! [`Policy::decrypts`](crate::policy::Policy::decrypts) decides, from `trafficInspection` and `rules` alone;
//! [`policy::evaluate`](crate::policy::evaluate) and [`semantics`](super::semantics) have the tables. What the operator excludes
//! (`intercept.exclude`) stays sealed whatever a document says, and where the verdict hangs on the request it is then denied. A
//! document that needs to see inside does not load without an authority.
//!
//! The connection is opened for one name: that of the hello, or where there is none the address. No origin is reached
//! before a request was judged, and none under another name than this, but where a rule rewrites. ALPN offers the client both
//! versions, so that nothing has to be known of the origin for that; toward the origin it offers what the client speaks, or less.
//!
//! # What leaks where, and what stops it
//!
//! | what | could leave by | stopped by |
//! |---|---|---|
//! | the key of the CA | a file that others read; a record | [`Authority::load`](crate::intercept::Authority::load) refuses such a file; no type that holds it prints it; it is not in the sandbox's part of any example of `deploy/` |
//! | a secret's value, on its way out | plain HTTP, another host, a Rewrite, an origin that is not who it says | the plan of a request binds it to hosts, on the final target; [`upstream::tls`](crate::upstream::tls) always verifies |
//! | | a header that servers echo, or that frames | `REFUSED` in `src/policy/document/header.rs`, when the policy is loaded |
//! | | a client's header of the same name, `Connection` that names it | [`inject::apply`](crate::proxy::inject::apply): dropped before, and set last |
//! | | a connection that another sandbox uses | `src/proxy/origins.rs`: never shared between clients, nor between requests with other secrets |
//! | a secret's value, on its way back | a header, a trailer, a body, a redirect's `Location` | [`secrets::scrub`](crate::secrets::scrub), for the encodings that it lists |
//! | | TRACE | refused |
//! | | a log, a record, a metric, the admin server, an error | values are [`Revealed`](crate::secrets::Revealed), which prints nothing; records have `id/key` |
//! | a placeholder | a host that the secret is not for, or a place where it is not swapped | [`Policy::admit_placeholder`](crate::policy::Policy::admit_placeholder), [`secrets::placeholder`](crate::secrets::placeholder) |
//!
//! Nothing stops an origin that may have a secret from handing it out in a form that nobody looks for.
//!
//! # Limits
//!
//! | what | how much |
//! |---|---|
//! | bodies | stream both ways; 64 KiB wait in each direction, then the sender waits |
//! | a search of an answer | keeps back as many bytes as the longest form of a value has; so an answer may arrive that much later, and is never longer or shorter |
//! | encoded answers | asked for without encoding while a secret is searched for; one that comes encoded is `upstream_failed` |
//! | ranges | not asked for while a secret is searched for: a part could begin in the middle of a value |
//! | bodies of requests | not read: neither judged nor searched for placeholders |
//! | WebSocket | over HTTP/1.1; what passes after the 101 is not read, so none is opened with a secret of `scrub: Always` |
//! | streams of one HTTP/2 connection | 100; its floods end with the connection |
//! | certificates | [`MOST_BYTES`](crate::intercept::leaf::MOST_BYTES) of them are kept; new ones are a share of the sandbox |
//! | client certificates | none is shown to an origin, and none is asked of a client |
//!
//! # What it costs
//!
//! `tests/load.sh intercept` has everybody take turns on the same requests: no proxy, the gateway, and Squid and mitmproxy
//! where they can be had. Client and origin are ours, speak TLS 1.3, and compare every byte. One run on two cores of a busy
//! virtual machine, medians of three rounds; only the ratios carry over. Squid is version 5.7, which shows no HTTP/2 to
//! clients, mitmproxy 11.0.
//!
//! | | of no proxy | beside Squid | beside mitmproxy | processor time | Squid's |
//! |---|---|---|---|---|---|
//! | requests on 64 connections that stay, HTTP/1.1 | 0.26 | 2.7 × | 38 × | 43 ms a thousand | 95 |
//! | ... in streams of HTTP/2 | 0.42 | | 35 × | 33 | |
//! | a connection each, the same host | 0.42 | 3.4 × | 8 × | 770 | 2,795 |
//! | ... with the ticket of the one before | 0.43 | 3.6 × | 7 × | 716 | 2,737 |
//! | a host each that was never asked for | 0.41 | 4.5 × | 5.6 × | 790 | 6,206 |
//! | answers of 64 KiB, 16 at once | 0.29 | 3.1 × | 14 × | 1.8 s a GB | 5.3 |
//! | bodies of 64 KiB | 0.24 | 1.8 × | 11 × | 2.4 | 3.8 |
//! | one answer of 256 MiB | 0.35 | 3.2 × | 2.7 × | 1.2 | 3.9 |
//! | one body of 256 MiB | 0.23 | 1.2 × | 1.7 × | 2.0 | 2.2 |
//!
//! Memory at the end was 25 MiB, Squid's 935 and mitmproxy's 119. Of a new connection two thirds are cryptography: toward an
//! origin nothing is resumed (P1 in [`threats`](super::threats)).
//!
//! The audit log's own cost is bounded by its pace, a batch a millisecond (`src/audit/sink.rs`). A log in a directory in
//! which a file is watched for changes, as the configuration's, wakes that watch with each batch: keep them apart.
//!
//! `cargo bench --bench scrub`: a certificate takes 20 µs to make and 0.3 µs to find. Keeping one value out of an answer in
//! JSON runs at 0.85 GB/s, four at 0.54; text that is made to be nearly a value all the time at 0.08 and 0.05. A plain search
//! (`memmem`) for the same value in five encodings, without escapes and not across pieces, runs at 8 GB/s.
