//! What to know before changing anything; documentation only.
//!
//! * [`interception`]: what happens inside TLS, and what could leak there.
//! * [`matching`]: how a rule is found, and what that costs.
//! * [`semantics`]: what a policy means, in the order in which it is asked.
//! * [`threats`]: what an adversary tries, where it ends, and the test that shows it.

pub mod interception;
pub mod matching;
pub mod semantics;
pub mod threats;
