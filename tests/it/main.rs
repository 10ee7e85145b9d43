//! The integration tests: one binary, a file per topic, everything on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a failed assumption of a test is a failed test, and tests open their own sockets"
)]
#![allow(dead_code, unreachable_pub, reason = "the kit offers more than each state of the tests uses")]

mod accounts;
mod activation;
mod admin;
mod agreement;
mod attack;
mod audit;
mod ca;
mod categories;
mod container;
mod corpus;
mod cut;
mod deploy;
mod dns_capture;
mod first;
mod forward;
mod framing;
mod half_close;
mod handshake;
mod identity;
mod inspected;
mod inspected_attack;
mod inspected_flow;
mod inspected_frames;
mod inspected_tls;
mod kept;
mod kit;
mod kit_itself;
mod layers;
mod limits;
mod manual;
mod memory;
mod names;
mod network_files;
mod networks;
mod nft;
mod nft_net;
mod parent_addresses;
mod parent_tls;
mod paths;
mod process;
mod proxied;
mod readme;
mod real_clients;
mod reload;
mod resolver;
mod schema;
mod secrets;
mod skip;
mod slow;
mod stream;
mod supply;
mod tenants;
mod tokens;
mod tunnel;
mod uplink;
mod uplink_up;
mod widening;
