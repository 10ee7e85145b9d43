//! What to know before changing anything; documentation only.
//!
//! * [`matching`]: how a rule is found, and what that costs.
//! * [`semantics`]: what a policy means, in the order in which it is asked.
//! * [`threats`]: what an adversary tries, where it ends, and the test that shows it.

pub mod matching;
pub mod semantics;
pub mod threats;
