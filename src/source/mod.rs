//! Text with places: YAML read into a located tree, and everything that is wrong with it.
//!
//! ```text
//! text ──yaml──▶ Node tree (line, column) ──decode──▶ typed values
//!            └──────────────┴──▶ Problem (place, path, cause, cure) ──render──▶ what a person reads
//! ```
//!
//! Nothing here knows what a policy is, and nothing does IO.
//!
//! | input | answer |
//! |---|---|
//! | YAML 1.2, one or more documents; JSON; a byte-order mark | read |
//! | `yes`, `on`, `0777`, `1_000` | text, never a boolean or a number |
//! | NUL or another control character, as it stands or escaped | refused |
//! | duplicate keys, keys that are not text, merge keys (`<<`), tags but `!!str`, directives | refused |
//! | deeper than 32, more than 8 million nodes, more than 256 MiB, aliases that expand beyond a million nodes | refused |
//! | an unquoted `*.example.com` (an alias, to YAML) | refused, with the cure "quote it" |

pub mod decode;
pub mod node;
pub mod problem;
pub mod render;
pub mod yaml;

mod near;

pub use decode::{Decoder, Fields, Spot};
pub use near::nearest;
pub use node::{Key, Kind, Node, Position};
pub use problem::{Place, Problem, Severity, printable, quoted};
pub use yaml::{Root, Stream, parse, read};
