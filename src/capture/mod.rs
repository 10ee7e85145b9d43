//! The kernel's part: rules that take everything a sandbox sends to the gateway, and the proof that they are in force.
//!
//! | file | does | pure |
//! |---|---|---|
//! | `settings` | says whose traffic is taken, and where to | yes |
//! | `clause` | one part of a rule, as `nft` reads it and as `nft -j` lists it | yes |
//! | `ruleset` | the table as a whole, and its text | yes |
//! | `sidecar` | the table for one network namespace that is shared with the sandbox | yes |
//! | `verify` | compares a listing with the table | yes |
//! | `proof` | what a listing and the kernel's settings prove together | yes |
//! | `system` | asks the kernel | no |
//!
//! What the rules of a gateway promise, each line a rule or a chain of `ruleset`:
//!
//! | from a sandbox's interface | becomes of it |
//! |---|---|
//! | a source that is not its own, or that is not reached by that interface | dropped |
//! | IPv6, where it is off | dropped |
//! | TCP | to the transparent port, wherever it was meant for |
//! | UDP and TCP to port 53 | to the DNS port |
//! | any other UDP, QUIC first of all | refused at once with port-unreachable |
//! | any other protocol, echo requests included | dropped; neighbour discovery and path MTU messages pass |
//! | anything for the gateway itself but these ports | refused |
//! | anything that would be forwarded | dropped |

mod clause;
mod print;
mod proof;
mod ruleset;
mod settings;
mod sidecar;
mod system;
mod verify;

pub use proof::{Observed, Verdict, judge};
pub use ruleset::{TABLE, Table, table};
pub use settings::{Interface, Mode, Ports, Settings, SettingsError, Who};
pub use system::{NftError, forwarding, list, members, observe};
pub use verify::{Finding, ListingError, verify};
