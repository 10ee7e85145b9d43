//! What an adversary tries, where it ends, and the test that shows it.
//!
//! The adversary is root in a sandbox, has read this source, speaks any bytes to the listeners, and may own an allowed origin
//! and its DNS. The ids are fixed: a test that shows a row begins with its id, as in `n1_one_trailing_dot_is_removed`; one
//! that shows several begins with all of them. `tests/it/manual.rs` checks that every row has one in each of its files.
//!
//! # Names
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | N1 | a trailing dot, an empty label | [`Name`](crate::addr::Name): one dot is removed, more are refused | `src/addr/name.rs`, `tests/it/names/spelling.rs` |
//! | N2 | brackets round a name | [`Host`](crate::addr::Host): brackets are for IPv6 | `src/addr/host.rs`, `tests/it/names/spelling.rs` |
//! | N3 | NUL, control, space, percent, to be allowed by one reading and dialled by another | [`Name`](crate::addr::Name) refuses the byte; [`RequestTarget`](crate::wire::request_target::RequestTarget) has no other road in | `src/addr/name.rs`, `tests/it/names/spelling.rs` |
//! | N4 | case, full-width letters, an `xn--` label that stands for ASCII | [`Name`](crate::addr::Name): lower-case A-labels, and only those that decode to something else | `src/addr/name.rs`, `tests/it/names/spelling.rs` |
//! | N5 | `xa.com` for `*.a.com`, or `a.com.evil.com` | [`Pattern`](crate::policy::pattern::Pattern) and [`HostSet`](crate::policy::host_set::HostSet) match at label boundaries; the apex is not below itself | `src/policy/pattern_tests.rs` |
//! | N6 | the spelling that is dialled is not the one that was checked | [`Target`](crate::addr::Target) is the only thing that can be asked for, [`AddressPermit`](crate::policy::AddressPermit) the only thing that can be dialled | `src/addr/target.rs`, `tests/it/names/spelling.rs` |
//! | N7 | `check` and `explain` say another thing than the gateway does | [`explain`](crate::explain) calls the functions of [`Policy`](crate::policy::Policy) that the proxy calls, those for redirected connections too | `tests/it/forward/explained.rs`, `tests/netns/tls.rs` |
//! | N8 | an allowed host on another port; a port that overflows | [`Port`](crate::addr::Port); `ports` in [`policy::evaluate`](crate::policy::evaluate) | `src/addr/target.rs`, `tests/it/names/spelling.rs` |
//!
//! # Addresses
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | A1 | `127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1` | [`Host`](crate::addr::Host): any spelling but the canonical one is refused | `src/addr/host.rs`, `tests/it/names/spelling.rs` |
//! | A2 | private and special ranges | [`special::classify`](crate::addr::special::classify), [`Guards`](crate::policy::Guards) | `src/addr/special.rs`, `tests/it/names/guarded.rs` |
//! | A3 | IPv4 inside IPv6: mapped, NAT64, 6to4, Teredo; zone ids | [`special::embedded`](crate::addr::special::embedded): every form is judged | `src/addr/special.rs`, `tests/it/names/guarded.rs`, `src/policy/tests/vnet/ruled.rs` |
//! | A4 | cloud metadata, under a rule that allows its range; by its name, or `localhost`, where a parent proxy resolves | a hard guard: [`Guards`](crate::policy::Guards) | `src/addr/special.rs`, `tests/it/names/guarded.rs`, `src/policy/tests/vnet/network.rs` |
//! | A5 | a Deny prefix that a narrower or later Allow reopens | [`CidrSet`](crate::policy::cidr_set::CidrSet): the longest prefix, then Deny, whatever the order | |
//! | A6 | the gateway itself as destination | `guard_self`: [`OwnAddresses`](crate::upstream::OwnAddresses) and the sockets in [`Guards`](crate::policy::Guards) | `src/upstream/local.rs`, `tests/it/names/guarded.rs`, `tests/it/attack.rs` |
//!
//! # DNS
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | D1 | an answer that changes between check and connect | one look-up, [`Policy::admit_address`](crate::policy::Policy::admit_address), and [`Uplink::dial`](crate::upstream::Uplink::dial) takes permits only | `tests/it/names/dns.rs` |
//! | D2 | public and private addresses in one answer | the refused ones are gone before dialling: `src/proxy/reach.rs`, [`settle`](crate::policy::settle) | `src/upstream/dial/tests.rs`, `tests/it/names/dns.rs` |
//! | D3 | another name on an allowed address | names are never turned into addresses: [`policy::evaluate`](crate::policy::evaluate) | `tests/it/names/dns.rs` |
//! | D4 | a rule that has no addresses yet allows everything | a name is judged as a name, before DNS: [`Policy::admit`](crate::policy::Policy::admit) | `tests/it/tenants.rs` |
//! | D5 | data in queries for names that are denied | A and C come before [`Resolver::resolve`](crate::upstream::Resolver::resolve); a query is asked [`Policy::admit_query`](crate::policy::Policy::admit_query), and only its canonical name and type go on (`src/proxy/dns/question.rs`) | `tests/it/names/dns.rs`, `tests/it/dns_capture/denied.rs`, `src/policy/tests/query.rs`, `tests/netns/clients.rs`, `tests/netns/tenants.rs` |
//! | D6 | hostile answers: long chains, many addresses, silence | the bounds of [`upstream::resolve`](crate::upstream::resolve), and of [`proxy::dns`](crate::proxy::dns) toward clients | `tests/it/resolver.rs`, `tests/it/dns_capture/messages.rs` |
//!
//! # Names that must agree
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | I1 | CONNECT to one name, SNI of another: in the first hello, or in the one after a `HelloRetryRequest`, by which the server goes | `src/proxy/peek.rs`: [`Policy::admit_alias`](crate::policy::Policy::admit_alias), before a byte leaves; `src/proxy/handshake.rs`: [`server_hello::Scanner`](crate::wire::server_hello::Scanner), and no later hello leaves unjudged | `src/wire/server_hello.rs`, `tests/it/agreement/hello.rs`, `tests/it/handshake/again.rs` |
//! | I2 | inside TLS, another host than the TLS was opened for: in any request or stream, in any form | `src/proxy/forward.rs`, `src/proxy/whence.rs`: 421, and no origin is reached by another name than the outer one, which its certificate must be for | `src/policy/tests/inspection.rs`, `src/intercept/tests/handshake.rs`, `tests/it/inspected.rs`, `tests/it/inspected_tls.rs`, `tests/netns/tls.rs` |
//! | I3 | an absolute-form URI and another `Host`; two; none | [`Head::scan`](crate::wire::head::Head::scan), [`headers::agrees`](crate::wire::headers::agrees), [`policy::agreement`](crate::policy::agreement) | `src/wire/head_tests.rs`, `src/wire/headers.rs`, `tests/it/agreement/inside.rs`, `tests/it/forward/passed.rs` |
//! | I4 | a name toward another address, redirected: an allowed SNI or `Host` with a foreign address, an allowed address with a foreign name, a connection to the gateway itself | `src/proxy/transparent.rs`: a name is resolved here, an address stands for itself only; [`Policy::admit_redirected`](crate::policy::Policy::admit_redirected), [`Policy::admit_redirected_hello`](crate::policy::Policy::admit_redirected_hello), [`admit_name_at`](crate::policy::agreement::admit_name_at) | `src/policy/tests/redirected.rs`, `src/proxy/entry.rs`, `tests/netns/tls.rs`, `tests/netns/http.rs`, `tests/netns/opaque.rs`, `tests/netns/own.rs`, `tests/netns/limits.rs`, `tests/netns/tproxy.rs`, `tests/netns/clients.rs`, `tests/netns/forged.rs` |
//! | I5 | a way in that is not judged | all ways in are in `src/proxy/explicit.rs` and `src/proxy/transparent.rs`, and none opens a socket without a permit | `tests/it/agreement/inside.rs`, `tests/it/agreement/ways.rs`, `tests/it/attack.rs` |
//! | I6 | another host in the second request of a connection | `src/proxy/forward.rs`: each request is asked | `tests/it/agreement/inside.rs`, `tests/it/forward/judged.rs`, `tests/it/inspected.rs` |
//! | I7 | a header or a CONNECT in a tunnel that changes who is believed to ask; a PROXY protocol header of one's own | [`identity`](crate::identity) reads no forwarded header; `src/proxy/explicit.rs` refuses CONNECT in a tunnel; `src/proxy/introduction.rs` reads [`proxy_header`](crate::wire::proxy_header) of the operator's peers only, once, and no sandbox is one | `src/config/tests.rs`, `tests/it/agreement/inside.rs`, `tests/it/proxied.rs` |
//!
//! # The `ClientHello`
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | T1 | a hello in one-byte segments or many records | [`client_hello::parse`](crate::wire::client_hello::parse): the same answer for every split | `src/wire/client_hello_tests.rs`, `tests/it/agreement/hello.rs`, `tests/netns/forged.rs` |
//! | T2 | no name, an encrypted hello, no TLS at all | the same, and [`Policy::admit_nameless_tls`](crate::policy::Policy::admit_nameless_tls) | `src/wire/client_hello_tests.rs`, `tests/it/agreement/hello.rs`, `tests/it/attack.rs` |
//! | T3 | a hello that is large or never ends | 64 KiB and 5 seconds: `src/proxy/peek.rs` | `src/wire/client_hello_tests.rs`, `tests/it/agreement/hello.rs` |
//! | T4 | two names, a name that is an address | refused; `rustls` is the second opinion of the tests | `src/wire/client_hello_tests.rs`, `tests/it/agreement/hello.rs` |
//!
//! # Messages
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | F1 | two lengths, length and encoding, odd lengths | [`Head::scan`](crate::wire::head::Head::scan), before the HTTP engine sees it (`src/proxy/strict.rs`) | `src/wire/head_tests.rs`, `tests/it/framing/heads.rs` |
//! | F2 | an encoding other than one `chunked` | the same | `src/wire/head_tests.rs`, `tests/it/framing/heads.rs` |
//! | F3 | bare CR or LF, NUL, folded lines, space before the colon, odd chunks | the same; [`ChunkScanner`](crate::wire::body::ChunkScanner) | `src/wire/head_tests.rs`, `src/wire/body.rs`, `tests/it/framing/heads.rs`, `tests/it/framing/bodies.rs` |
//! | F4 | a body left unread, so that its bytes become a request | `src/proxy/strict.rs`, `src/proxy/origin.rs`: a connection goes on only when both messages ended | `tests/it/forward/judged.rs`, `tests/it/forward/kept.rs`, `tests/it/forward/answers.rs`, `tests/it/framing/bodies.rs` |
//! | F5 | bytes after `Upgrade` or CONNECT before the answer | `src/proxy/strict.rs` holds them back; `src/proxy/upgrade.rs` wants a 101 | `tests/it/framing/bodies.rs` |
//! | F6 | streams of HTTP/2 that would be something else in HTTP/1: CR and LF in values, CONNECT, another `host` than `:authority`, a body of another length than it says | the HTTP engine and [`Head::of_stream`](crate::wire::head::Head::of_stream): `PROTOCOL_ERROR`, and nothing goes on | `src/wire/head/stream.rs`, `src/proxy/shape.rs`, `tests/it/inspected_frames.rs`, `tests/it/inspected.rs` |
//! | F7 | hop-by-hop headers, `Connection` that names others | [`wire::headers`](crate::wire::headers), before [`inject::apply`](crate::proxy::inject::apply) | `src/wire/headers.rs`, `src/proxy/inject/tests.rs`, `tests/it/forward/passed.rs`, `tests/it/secrets/sent.rs` |
//! | F8 | request targets in other forms | [`RequestTarget`](crate::wire::request_target::RequestTarget) | `src/wire/request_target.rs`, `tests/it/framing/heads.rs` |
//!
//! # Policies and the gateway's own doors
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | P1 | an origin connection that two clients share, or two secrets | none does: `src/proxy/origins.rs` belongs to one client connection, and a connection of it to one sandbox, one target, one verified name, one set of secrets | `tests/it/tenants.rs`, `tests/it/kept.rs`, `tests/it/secrets/pool.rs`, `tests/it/secrets/streams.rs` |
//! | P2 | a policy that is missing, empty, broken or has keys nobody knows | [`policy::document`](crate::policy::document), [`live::store`](crate::live::store): closed at the start, the last good one later | `src/policy/document/tests/whole.rs`, `src/policy/document/tests/destination.rs`, `src/config/tests.rs`, `tests/it/process/start.rs`, `tests/it/reload/files.rs`, `tests/it/identity/told.rs`, `src/policy/widening/tests.rs` |
//! | P3 | half a reload | [`live::Snapshot`](crate::live::Snapshot) is swapped whole, policies and who is who; a call takes both from one | `tests/it/reload/generation.rs`, `tests/it/identity/told.rs`, `tests/it/identity/generation.rs` |
//! | P4 | a tunnel that outlives the rule that allowed it, or the sandbox that it was opened by | `src/proxy/session.rs`: every connection watches [`Live`](crate::live::Live) and asks again | `tests/it/process/signals.rs`, `tests/it/tunnel/ends.rs`, `tests/it/attack.rs`, `tests/it/reload/files.rs`, `tests/it/reload/under_way.rs`, `tests/it/identity/ended.rs`, `tests/it/proxied.rs`, `tests/netns/change.rs`, `tests/netns/vnet/modes.rs`, `tests/it/paths.rs`, `tests/it/cut.rs` |
//! | P5 | reading or changing the policy from inside | [`admin`](crate::admin): a token or the 0600 socket, and a `Host` of our own | `src/admin/tests/access.rs`, `src/admin/socket.rs`, `tests/it/tenants.rs` |
//! | P6 | the admin server, through the proxy, or around it from a sandbox | `guard_self`: the sockets in [`Guards`](crate::policy::Guards); the input chain of [`capture`](crate::capture) | `tests/it/names/guarded.rs`, `tests/it/nft_net/gateway.rs`, `tests/netns/forged.rs` |
//! | P7 | a call, or its DNS query, that takes the wrong network or falls back to another: a switch, a split, a mark whose table is empty, a link that is down, a rewritten place | [`policy::route`](crate::policy::route): the permit says the path and [`Uplinks`](crate::upstream::Uplinks) dials by the permit alone; `src/upstream/table.rs` asks where a mark leads before anything is sent | `tests/netns/vnet/toggles.rs`, `tests/netns/vnet/ways.rs`, `tests/netns/vnet/horizon.rs`, `tests/netns/vnet/kept.rs`, `tests/netns/vnet/outage.rs`, `tests/netns/vnet/unplugged.rs`, `tests/netns/vnet/mark.rs`, `tests/netns/vnet/table.rs` |
//! | P8 | a document that gives itself what is not its own to give: a network of other groups, rules that are not asked | `src/policy/together.rs`: what the operator and every document above permit, or the document is not in force | `src/policy/tests/skip.rs`, `tests/it/skip.rs`, `tests/it/networks.rs` |
//!
//! # Secrets
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | S1 | a `Host`, an SNI or a certificate of one's own that makes a secret go elsewhere; plain HTTP | [`Policy::admit_request`](crate::policy::Policy::admit_request): over verified TLS only; `src/proxy/onward.rs` says who must prove to be there, and [`upstream`](crate::upstream) verifies it before a byte of a request goes | `tests/it/secrets/place.rs`, `tests/it/secrets/placeholder.rs`, `tests/it/secrets/sent.rs` |
//! | S2 | another host, port or group; a rewritten place; a placeholder anywhere | the same, and [`Policy::admit_placeholder`](crate::policy::Policy::admit_placeholder): the final host and port, and the group of the sandbox; what would go on unswapped is a denial | `tests/it/secrets/place.rs`, `tests/it/secrets/placeholder.rs`, `tests/it/secrets/pool.rs` |
//! | S3 | a redirect | none is followed: the next request is judged by itself | `tests/it/secrets/sent.rs` |
//! | S4 | an origin that shows what it was sent: a reflected header, an error page, an endpoint that echoes, TRACE | [`Mask`](crate::secrets::Mask): values are masked in what comes back, in the encodings that [`scrub`](crate::secrets::scrub) lists, whatever the pieces; what is encoded is refused, and so is TRACE; an origin that hides them in another way is beyond it, and so are the messages of a WebSocket | `src/secrets/scrub/tests.rs`, `tests/it/secrets/answer.rs`, `tests/it/secrets/streams.rs`, `tests/it/secrets/sent.rs` |
//! | S5 | a secret, a token or a query in what is shown or logged | [`secrets`](crate::secrets), [`audit::Text`](crate::audit::Text); libraries log no details (`src/cli/mod.rs`); memory that other processes cannot read, and that no crash leaves behind | `src/admin/tests/access.rs`, `src/audit/text.rs`, `src/cli/tests.rs`, `tests/it/memory.rs`, `tests/it/tokens/bad.rs`, `tests/it/secrets/canary.rs`, `tests/it/secrets/file.rs` |
//! | S6 | memory of one client that another reads | no unsafe code but two calls that touch no memory of a connection (`src/heap.rs`, `src/upstream/port.rs`), and no buffer is used again for another connection: `src/proxy/socket.rs`, `src/proxy/relay.rs` | `tests/it/layers.rs`, `tests/it/secrets/pool.rs` |
//! | S7 | a header or trailer of one's own where a secret is injected, also as `X_Api_Key` or named by `Connection` | [`inject::apply`](crate::proxy::inject::apply): it is dropped before, and the value comes last; `src/proxy/body.rs` drops trailers | `src/proxy/inject/tests.rs`, `tests/it/secrets/sent.rs`, `tests/it/secrets/streams.rs` |
//!
//! # Exhaustion, logs, metrics
//!
//! | id | what is tried | where it ends | shown in |
//! |---|---|---|---|
//! | R1 | clients that send slowly, or nothing | the limits of [`proxy`](crate::proxy), each wait bounded | `tests/it/framing/limits.rs`, `tests/it/half_close.rs`, `tests/it/process/starved.rs`, `tests/it/attack.rs`, `tests/it/proxied.rs`, `tests/netns/forged.rs` |
//! | R2 | one sandbox takes all | [`share`](crate::share): connections, requests, look-ups and bytes up of each sandbox; half of the connections where none is said; who has not said whose it is makes room | `tests/it/limits/connections.rs`, `tests/it/limits/rates.rs`, `tests/it/limits/bandwidth.rs`, `tests/it/nft_net/gateway.rs`, `tests/it/dns_capture/tenants.rs`, `src/share/tests.rs`, `src/policy/tests/limit.rs`, `src/upstream/port.rs`, `tests/netns/tenants.rs`, `tests/netns/vnet/ports.rs` |
//! | R3 | floods of HTTP/2: reset streams, heads without an end, frames without a use, streams without number | `src/proxy/streams.rs`: every bound is explicit, and what goes beyond ends the connection or is refused | `tests/it/inspected_frames.rs` |
//! | R4 | a reader that does not read | `src/proxy/relay.rs`, `src/proxy/outlet.rs`: at most 64 KiB in each direction, then the sender waits | `tests/it/slow.rs`, `tests/it/tunnel/flow.rs`, `tests/it/half_close.rs` |
//! | R5 | every descriptor | `src/proxy/accept.rs` pauses and goes on; `limits.connections` | `tests/it/process/starved.rs`, `src/cli/run.rs` |
//! | R6 | an origin behind a parent proxy inside TLS that keeps open, in silence, what the sandbox gave up long ago | `src/upstream/parent/carry.rs` sees the end of either side at any time | `src/upstream/parent/carry.rs` |
//! | L1 | line breaks and control characters in what is logged | [`audit::Text`](crate::audit::Text): escaped and capped | `src/audit/tests/record.rs`, `src/audit/text.rs` |
//! | L2 | so many records that some are lost unseen | [`Audit`](crate::audit::Audit): wait, deny, or a `lost` record | `src/audit/tests/full.rs`, `src/audit/tests/sinks.rs`, `src/audit/file.rs` |
//! | L3 | a record that says another thing than was done, or none | [`Record`](crate::audit::Record) ends exactly once; an `open` record is out before the first byte | `src/audit/tests/record.rs`, `tests/it/accounts.rs`, `tests/it/process/signals.rs`, `tests/it/tunnel/ends.rs`, `tests/it/stream/tunnelled.rs`, `tests/it/attack.rs`, `tests/it/cut.rs`, `tests/netns/restart.rs` |
//! | M1 | series without end | [`Metrics`](crate::metrics::Metrics): labels are members of closed lists | `src/metrics/tests.rs` |
//! | C1 | an origin that cannot be verified; a certificate of the sandbox CA for a name that is denied | [`upstream::tls`](crate::upstream::tls): there is no switch; `src/proxy/inspect.rs`: a name is judged before its certificate is made | `tests/it/inspected_tls.rs`, `tests/it/ca.rs`, `tests/it/tokens/bad.rs` |
//! | C2 | a panic | [`drain::Tasks`](crate::drain::Tasks): caught, counted, and only its connection ends | `src/drain.rs` |
