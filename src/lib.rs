//! The gate on everything that flows out of a sandbox: an egress-filtering forward proxy.
//!
//! What it does and how it is run is in the README. This is the map of the source.
//!
//! # The flow
//!
//! 1. [`cli`] reads the command line, [`config`] the process configuration; [`app`] builds the gateway from it.
//! 2. [`live`] reads policy files, [`source`] gives every value its place, [`policy::document`] types it, and
//!    [`policy::compile`] makes what answers. The result is one [`live::Snapshot`], swapped whole.
//! 3. [`proxy`] accepts a connection, and [`wire`] reads its first bytes strictly; [`audit`] opens its record. There are three
//!    ways in: a client that knows the proxy says in HTTP where to; one that was redirected by the rules that [`capture`]
//!    makes and checks was going to an address, and may name a host there; a DNS query asks for a name.
//! 4. [`identity`] says which sandbox asks; the snapshot gives the [`policy::Policy`] of that sandbox.
//!    [`share`] says whether it uses more than it may.
//! 5. What was asked for becomes an [`addr::Target`], in the one form that is judged, logged, resolved and dialled.
//! 6. Question A, [`policy::Policy::admit`]: the name and port, before any DNS.
//! 7. Question C, [`policy::Policy::admit_request`]: method and path, for each HTTP request that can be read.
//! 8. The permit says which path the call takes ([`policy::route`]), and [`upstream`] has one uplink for each: it resolves by that; a
//!    DNS query is answered here. Question B, [`policy::Policy::admit_address`], is asked of each address, and only a
//!    [`policy::AddressPermit`] can be dialled.
//! 9. Bytes pass. In a tunnel the first ones are looked at: TLS must name the same host, HTTP is judged by request. Where the
//!    policy looks inside TLS, [`intercept`] makes the certificate that the client sees, and each request inside goes on from 7, with
//!    its headers edited and the values of [`secrets`] put in last ([`manual::interception`]).
//! 10. The record ends, once: [`audit`] writes it, [`metrics`] counts it. [`admin`] shows both.
//!
//! A new snapshot wakes every open connection, which asks A, B and C again ([`manual::semantics`]).
//!
//! # The layers
//!
//! A module may use modules of lower rows only; `tests/it/layers.rs` keeps it so.
//!
//! | row | modules | may name besides |
//! |---|---|---|
//! | 0 | [`addr`] (what a destination is called), [`source`] (text with places) | `std::net`, `idna`; a YAML parser |
//! | 1 | [`policy`] (whether it may be reached), [`wire`] (what the client said); not each other | `ipnet`, `serde`; `http` |
//! | 2 | [`audit`], [`secrets`], [`identity`], [`drain`] (the only place that spawns), [`heap`], [`explain`], [`capture`] (the kernel's rules), [`share`] (what each sandbox uses) | `tokio` |
//! | 3 | [`metrics`], [`live`] (the policy in force), [`upstream`] (the only place that dials), [`intercept`] (certificates for clients) | `prometheus`, `hickory`, `rustls` |
//! | 4 | [`proxy`] (the ways in), [`admin`], [`corpus`] (policies with questions and answers) | `hyper`, `axum` |
//! | 5 | [`config`]: every module's settings; nobody depends on it | |
//! | 6 | [`app`]: wires what `config` says | `anyhow` from here up |
//! | 7 | [`schema`], [`manual`] | |
//! | 8 | [`cli`] | `clap` |
//!
//! Rows 0 and 1 know no clock, socket, file, log or task. Without the feature `proxy` they are all there is.
//!
//! # Where to begin
//!
//! * The decision, whole, on one page: [`policy::evaluate`].
//! * What a policy means, with examples: [`manual::semantics`].
//! * Known ways around such a gate, where each is stopped, and the test that shows it: [`manual::threats`].
//! * One connection from accept to record: `src/proxy/explicit.rs`, `connect.rs`, `tunnel.rs`, `forward.rs`;
//!   of one that was redirected: `src/proxy/transparent.rs`; of a DNS query: `src/proxy/dns/mod.rs`.
//! * What happens inside TLS: [`manual::interception`], `src/proxy/inspect.rs`, `onward.rs`, `cover.rs`.
//! * What takes everything that a sandbox sends, and how that is proven: [`capture`].

pub mod addr;
pub mod policy;
pub mod source;
pub mod wire;

#[cfg(feature = "proxy")]
pub mod admin;
#[cfg(feature = "proxy")]
pub mod app;
#[cfg(feature = "proxy")]
pub mod audit;
#[cfg(feature = "proxy")]
pub mod capture;
#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(feature = "proxy")]
pub mod config;
#[cfg(feature = "proxy")]
pub mod corpus;
#[cfg(feature = "proxy")]
pub mod drain;
#[cfg(feature = "proxy")]
pub mod explain;
#[cfg(feature = "proxy")]
pub mod heap;
#[cfg(feature = "proxy")]
pub mod identity;
#[cfg(feature = "proxy")]
pub mod intercept;
#[cfg(feature = "proxy")]
pub mod live;
#[cfg(feature = "proxy")]
pub mod manual;
#[cfg(feature = "proxy")]
pub mod metrics;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "proxy")]
pub mod schema;
#[cfg(feature = "proxy")]
pub mod secrets;
#[cfg(feature = "proxy")]
pub mod share;
#[cfg(feature = "proxy")]
pub mod upstream;
