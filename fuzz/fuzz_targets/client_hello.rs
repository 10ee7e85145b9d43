//! Hellos: no panic, and an answer that neither more bytes nor other records change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::wire::client_hello::{Hello, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = parse(&bytes[..end]);
        assert!(part == Hello::NeedMore || part == whole);
    }
    // The same message in records of seven bytes.
    let Some([0x16, 3, _, high, low]) = bytes.get(..5) else { return };
    let length = usize::from(*high) << 8 | usize::from(*low);
    let (Hello::Complete(_), Some(message)) = (&whole, bytes.get(5..5 + length)) else { return };
    let mut split = Vec::new();
    for payload in message.chunks(7) {
        split.extend([0x16, 3, 1, 0, payload.len() as u8]);
        split.extend(payload);
    }
    // A message that filled the record alone must read the same; one of several records is left alone.
    let declared =
        message.get(1..4).map(|n| usize::from(n[0]) << 16 | usize::from(n[1]) << 8 | usize::from(n[2]));
    if declared == Some(length - 4) && split.len() < 60_000 {
        assert_eq!(parse(&split), whole);
    }
});
