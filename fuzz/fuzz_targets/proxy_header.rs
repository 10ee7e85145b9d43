//! PROXY protocol headers: no panic, one answer however they are split, and never a byte asked for beyond the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::wire::proxy_header::{Header, MOST, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..=bytes.len().min(MOST) {
        let part = parse(&bytes[..end]);
        let Ok(Header::NeedMore(more)) = part else {
            assert_eq!(part, whole);
            return;
        };
        assert!(more > 0 && end + more <= MOST);
        if let Ok(Header::Proxy(_, length) | Header::Local(length)) = whole {
            assert!(end + more <= length && length <= bytes.len());
        }
    }
});
