//! What a parent proxy answers: no panic, one meaning whatever follows, none before its last byte, and never a byte read
//! that is the origin's. The first byte of an input says which protocol is spoken, and whether credentials are shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::upstream::DialError;
use sluicegate::upstream::fuzzed::parent_answer;
use sluicegate::upstream::parent::{ParentFault, Protocol};

/// How long an answer of SOCKS is.
fn socks_length(bytes: &[u8], shown: bool) -> usize {
    let methods = if shown { 4 } else { 2 };
    let address = match bytes[methods + 3] {
        1 => 4,
        3 => 1 + usize::from(bytes[methods + 4]),
        4 => 16,
        kind => panic!("{kind} is no kind of address"),
    };
    methods + 4 + address + 2
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let protocol = if first & 1 == 0 { Protocol::Http } else { Protocol::Socks5 };
    let shown = first & 2 != 0;
    let (answer, read) = parent_answer(protocol, shown, bytes);
    assert!(read <= bytes.len());
    assert_ne!(answer, Err(DialError::Timeout), "it does not wait");
    if answer == Err(ParentFault::Closed.into()) {
        return;
    }
    assert_eq!(parent_answer(protocol, shown, &[bytes, b"220 origin"].concat()), (answer, read));
    if answer.is_err() {
        return;
    }
    if let Some(end) = read.checked_sub(1) {
        assert_eq!(parent_answer(protocol, shown, &bytes[..end]).0, Err(ParentFault::Closed.into()));
    }
    match protocol {
        Protocol::Http => {
            let head = &bytes[..read];
            assert!(head.starts_with(b"HTTP/1.") && head[9] == b'2', "only a success is one");
            assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
        }
        Protocol::Socks5 => {
            assert_eq!(read, socks_length(bytes, shown));
            assert_eq!(bytes[1], if shown { 2 } else { 0 }, "credentials are shown to who asks for them, always");
        }
    }
});
