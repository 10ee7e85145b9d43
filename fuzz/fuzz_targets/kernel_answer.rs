//! The kernel's answers about routes and links: no panic, no endless search, and no number that is not in the message. The
//! first three bytes of an input say what is looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::upstream::fuzzed::kernel_answer;

fuzz_target!(|input: &[u8]| {
    let Some(([at, low, high], message)) = input.split_first_chunk() else { return };
    let wanted = u16::from_ne_bytes([*low, *high]);
    let Some((number, attribute)) = kernel_answer(message, usize::from(*at), wanted) else { return };
    let body = &message[16..];
    assert_ne!(message[4..6], 2_u16.to_ne_bytes(), "an error is no answer");
    if let Some(number) = number {
        assert_eq!(body[usize::from(*at)..][..4], number.to_ne_bytes());
    }
    if let Some(attribute) = attribute {
        let header = [&8_u16.to_ne_bytes()[..], &wanted.to_ne_bytes(), &attribute.to_ne_bytes()].concat();
        let mut places = body[usize::from(*at)..].windows(8).step_by(4);
        assert!(places.any(|bytes| bytes == header));
    }
});
