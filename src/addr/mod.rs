//! What a destination is called: names, addresses and ports in one canonical form.
//!
//! Text becomes a [`Name`], [`Host`] or [`Target`] once, at the edge. Nothing after that looks at the text again,
//! so the value that was judged is the value that is logged, resolved, dialled and sent as server name.
//!
//! | text | becomes |
//! |---|---|
//! | `EXAMPLE.com.` | the name `example.com` |
//! | `bücher.example` | the name `xn--bcher-kva.example` |
//! | `192.0.2.7`, `[2001:DB8::1]` | that address |
//! | `127.1`, `0x7f000001`, `１２７.0.0.1` | refused: an address in another spelling |
//! | `[example.com]`, `[fe80::1%eth0]`, `a%2eb`, `a..b` | refused |

mod endpoint;
mod host;
mod name;
pub mod special;
mod target;
mod words;

pub use endpoint::{Endpoint, EndpointError};
pub use host::{Host, HostError};
pub use name::Name;
pub(crate) use name::check_label;
pub use target::{Port, Target, TargetError};
pub(crate) use words::{Dots, Marks, Words, dots};
