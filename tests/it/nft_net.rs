//! The kernel's rules at work: what a sandbox can and cannot send, in network namespaces.

#[test]
fn x() {}
