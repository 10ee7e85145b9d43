//! Real redirection, in network namespaces that each test makes for itself: sandboxes, a gateway, an internet.
//!
//! Needs root, `ip` and `nft`; a test that cannot have them says so and is skipped, or fails where
//! `SLUICEGATE_REQUIRE_TOOLS=1` is set.
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

#[path = "netns/change.rs"]
mod change;
#[path = "netns/clients.rs"]
mod clients;
#[path = "netns/datagram.rs"]
mod datagram;
#[path = "netns/forged.rs"]
mod forged;
#[path = "netns/http.rs"]
mod http;
#[path = "it/kit/mod.rs"]
mod kit;
#[path = "netns/limits.rs"]
mod limits;
#[path = "netns/namespace.rs"]
mod namespace;
#[path = "netns/opaque.rs"]
mod opaque;
#[path = "netns/own.rs"]
mod own;
#[path = "netns/restart.rs"]
mod restart;
#[path = "netns/system.rs"]
mod system;
#[path = "netns/tenants.rs"]
mod tenants;
#[path = "netns/tls.rs"]
mod tls;
#[path = "netns/topology.rs"]
mod topology;
#[path = "netns/tproxy.rs"]
mod tproxy;
#[path = "netns/uplink.rs"]
mod uplink;
#[path = "netns/vnet/mod.rs"]
mod vnet;
