//! Values in what comes back: masked in any pieces as in the whole, no longer or shorter, none of it left, nothing else
//! touched.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sluicegate::secrets::{Mask, Revealed};

/// Text with no other bytes than these has no escape in it.
fn is_plain(text: &[u8]) -> bool {
    !text.contains(&b'%') && !text.contains(&b'\\')
}

/// Whether `needle` is in `text`.
fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

// One byte: how many values; for each, its length and its bytes; then how long the pieces are; then the text.
fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        taken
    };
    let count = usize::from(take(1).first().copied().unwrap_or_default() % 4);
    let mut values = Vec::new();
    for _ in 0..count {
        let length = usize::from(take(1).first().copied().unwrap_or_default() % 24);
        values.push(take(length).to_vec());
    }
    let sizes: Vec<usize> = take(4).iter().map(|size| usize::from(*size % 32)).collect();
    let text = take(usize::MAX);

    let revealed: Vec<Revealed> = values.iter().map(|value| Revealed::new(value)).collect();
    let mask = Mask::new(&revealed);
    let whole = mask.text(text).unwrap_or_else(|| text.to_vec());
    assert_eq!(whole.len(), text.len());

    let mut scrubber = mask.stream();
    let (mut out, mut left, mut next) = (Vec::new(), text, sizes.iter().cycle());
    while !left.is_empty() {
        let (piece, after) = left.split_at(next.next().map_or(1, |size| size + 1).min(left.len()));
        left = after;
        out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(piece)));
        assert!(text.len() - left.len() - out.len() <= mask.most_held());
    }
    out.extend_from_slice(&scrubber.finish());
    assert_eq!(out, whole);

    // Whoever masks twice masks nothing more, unless the values leave no byte to mask with.
    let masks: Vec<u8> =
        (b'!'..=b'~').filter(|byte| !byte.is_ascii_alphanumeric() && !b"%\\+/=-_\"".contains(byte)).collect();
    let free = masks.iter().any(|mask| !values.iter().any(|value| value.contains(mask)));
    if free {
        assert_eq!(mask.text(&whole), None);
    }
    let mut touched = vec![false; text.len()];
    for value in values.iter().filter(|value| !value.is_empty()) {
        assert!(!free || !holds(&whole, value));
        let encoded = value.len() >= 8;
        if encoded && is_plain(text) {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            let lower = whole.to_ascii_lowercase();
            assert!(!holds(&lower, hex.as_bytes()));
        }
        for start in 0..text.len() {
            if text[start..].starts_with(value) {
                touched[start..start + value.len()].fill(true);
            }
        }
        if encoded {
            touched.fill(true);
        }
    }
    for ((before, after), touched) in text.iter().zip(&whole).zip(&touched) {
        assert!(before == after || *touched);
    }
});
