//! What the client said: strict parsers over bytes, without IO.
//!
//! ```text
//! (proxy_header, from a trusted peer: whose connection this is)
//! first bytes ── protocol::sniff ──┬─ Tls   ── client_hello::parse ── the server name
//!                                  │           server_hello::Scanner ── whether the client says it once more
//!                                  └─ Http1 ── head::Head::scan ──┬── request_target::RequestTarget ── path
//!                                                                 ├── headers (what is forwarded)
//!                                                                 └── body::ChunkScanner (what ends the message)
//! ```
//!
//! What two parsers could read in two ways is refused here, so that the origin cannot read it in another way than the
//! policy did.

pub mod body;
pub mod client_hello;
mod field;
pub mod head;
pub mod headers;
pub mod path;
pub mod protocol;
pub mod proxy_header;
pub mod request_target;
pub mod server_hello;

pub use field::FieldError;
