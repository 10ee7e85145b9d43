//! What to know before changing anything; documentation only.
//!
//! * [`semantics`]: what a policy means, in the order in which it is asked.
//! * [`threats`]: what an adversary tries, where it ends, and the test that shows it.

pub mod semantics;
pub mod threats;
