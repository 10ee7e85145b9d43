use super::*;

#[test]
fn what_is_the_origins_fault_leaves_hope_for_the_next_address() {
    for (error, hope) in [
        (DialError::Refused, true),
        (DialError::Unreachable, true),
        (ParentFault::Status(503).into(), true),
        (ParentFault::Socks(1).into(), true),
        (ParentFault::Credentials.into(), false),
        (ParentFault::Refused.into(), false),
        (ParentFault::Malformed.into(), false),
        (DialError::NoDescriptor, false),
    ] {
        assert_eq!(is_of_this_address(error), hope, "{error}");
    }
}

#[test]
fn faults_are_told_in_words_of_the_parent() {
    let said = DialError::from(ParentFault::Tls(TlsError::Expired)).to_string();
    assert_eq!(said, "the parent proxy cannot be verified: the parent proxy's certificate has expired");
    assert!(DialError::from(ParentFault::Status(504)).is_timeout());
    assert!(DialError::from(ParentFault::Tls(TlsError::Timeout)).is_timeout());
    assert!(!DialError::from(ParentFault::Tls(TlsError::Expired)).is_timeout());
    assert_eq!(DialError::from(ParentFault::Refused).to_string(), "the parent proxy refused the connection");
}
