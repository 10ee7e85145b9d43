use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::matcher::MOST_READINGS;
use super::*;

/// A value that is none.
const TOKEN: &str = "ghp_a/b+c d\"e\\F9";

/// A mask of these values.
fn mask(values: &[&[u8]]) -> Mask {
    let values: Vec<Revealed> = values.iter().map(|value| Revealed::new(value)).collect();
    Mask::new(&values)
}

/// The whole, masked at once.
fn whole(mask: &Mask, text: &[u8]) -> Vec<u8> {
    mask.text(text).unwrap_or_else(|| text.to_vec())
}

/// Two digits for each byte, behind this.
fn written(before: &str, bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [before.to_owned(), format!("{byte:02x}")]).collect()
}

/// The pieces, masked one after the other.
fn piecewise<'p>(mask: &Mask, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let (mut scrubber, mut out, mut read) = (mask.stream(), Vec::new(), 0);
    for piece in pieces {
        out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(piece)));
        read += piece.len();
        assert!(read - out.len() <= mask.most_held(), "{} bytes are kept back", read - out.len());
    }
    out.extend_from_slice(&scrubber.finish());
    out
}

/// What a value looks like in each form: the symbols, each with all of its spellings.
fn forms(value: &[u8]) -> Vec<Vec<Vec<Vec<u8>>>> {
    if value.len() < 8 {
        return vec![value.iter().map(|byte| vec![vec![*byte]]).collect()];
    }
    let spellings =
        |bytes: &[u8]| {
            let mut all = Vec::new();
            for byte in bytes {
                all.push(vec![*byte]);
                for text in [format!("{byte:02x}"), format!("{byte:02X}")] {
                    let mut mixed = [text.clone(), text.clone(), text.clone(), text];
                    mixed[1][..1].make_ascii_uppercase();
                    mixed[2][..1].make_ascii_lowercase();
                    mixed[3][1..].make_ascii_uppercase();
                    all.extend(mixed.iter().flat_map(|code| {
                        [format!("%{code}").into_bytes(), format!("\\u00{code}").into_bytes()]
                    }));
                }
                let shorts = [
                    ("\"", b'"'),
                    ("\\", b'\\'),
                    ("/", b'/'),
                    ("b", 8),
                    ("f", 12),
                    ("n", 10),
                    ("r", 13),
                    ("t", 9),
                ];
                all.extend(
                    shorts
                        .iter()
                        .filter(|(_, meant)| meant == byte)
                        .map(|(letter, _)| format!("\\{letter}").into_bytes()),
                );
            }
            all
        };
    let mut all: Vec<Vec<Vec<Vec<u8>>>> = Vec::new();
    let raw = |byte: &u8| if *byte == b' ' { spellings(b" +") } else { spellings(&[*byte]) };
    all.push(value.iter().map(raw).collect());
    for before in 0..3 {
        let plain = [&[0_u8; 2][..before], value].concat();
        let whole = plain.len() * 8 / 6;
        let first = (before * 8).div_ceil(6);
        let (standard, url) = (STANDARD.encode(&plain), URL_SAFE.encode(&plain));
        let pairs = standard.bytes().zip(url.bytes()).take(whole).skip(first);
        all.push(pairs.map(|(a, b)| if a == b { spellings(&[a]) } else { spellings(&[a, b]) }).collect());
    }
    let hex = written("", value);
    all.push(hex.bytes().map(|digit| spellings(&[digit, digit.to_ascii_uppercase()])).collect());
    all
}

/// The places where the symbols can end that begin at the start of `text`.
fn ends(text: &[u8], symbols: &[Vec<Vec<u8>>]) -> Option<usize> {
    let mut at = std::collections::BTreeSet::from([0]);
    for spellings in symbols {
        at = at
            .iter()
            .flat_map(|at| {
                spellings
                    .iter()
                    .filter(|spelling| text[*at..].starts_with(spelling))
                    .map(|spelling| *at + spelling.len())
            })
            .collect();
    }
    at.last().copied()
}

/// The text masked by looking for every form at every place.
fn naively(values: &[&[u8]], text: &[u8], byte: u8) -> Vec<u8> {
    let mut out = text.to_vec();
    for symbols in values.iter().filter(|value| !value.is_empty()).flat_map(|value| forms(value)) {
        for start in 0..text.len() {
            if let Some(length) = ends(&text[start..], &symbols) {
                out[start..start + length].fill(byte);
            }
        }
    }
    out
}

/// One spelling of a value, by numbers: which form, and how each symbol is written.
fn spelled(value: &[u8], form: usize, choices: &[usize]) -> Vec<u8> {
    let forms = forms(value);
    let symbols = &forms[form % forms.len()];
    symbols
        .iter()
        .zip(choices.iter().cycle())
        .flat_map(|(spellings, choice)| spellings[choice % spellings.len()].clone())
        .collect()
}

#[test]
fn s4_a_value_is_masked_in_every_form_and_what_stands_beside_it_is_not() {
    let mask = mask(&[TOKEN.as_bytes()]);
    let json = format!("{{\"a\":{}}}", serde_json::to_string(TOKEN).unwrap());
    let hex = written("", TOKEN.as_bytes()).to_uppercase();
    let percent = written("%", TOKEN.as_bytes());
    for (text, masked) in [
        (format!("a {TOKEN} b"), format!("a {} b", "*".repeat(16))),
        (json, format!("{{\"a\":\"{}\"}}", "*".repeat(18))),
        ("?x=ghp_a%2Fb%2bc+d%22e%5cF9&y".to_owned(), format!("?x={}&y", "*".repeat(24))),
        ("%67hp_a/b+c d\"e\\F9".to_owned(), "*".repeat(18)),
        ("\"ghp_a\\/b\\u002Bc d\\\"e\\\\F9\"".to_owned(), format!("\"{}\"", "*".repeat(24))),
        (format!("({hex})"), format!("({})", "*".repeat(32))),
        (percent, "*".repeat(48)),
        ("ghp_a/b+c d\"e\\F8".to_owned(), "ghp_a/b+c d\"e\\F8".to_owned()),
        (format!("ghp_ghp_{TOKEN}9"), format!("ghp_ghp_{}9", "*".repeat(16))),
    ] {
        assert_eq!(String::from_utf8(whole(&mask, text.as_bytes())).unwrap(), masked, "{text}");
    }
}

#[test]
fn s4_a_value_is_masked_in_base64_wherever_it_stands_there() {
    let mask = mask(&[TOKEN.as_bytes()]);
    for before in ["", "x", "xy", "user:", "longer user:"] {
        for after in ["", "!", "!!", "!!!"] {
            let plain = format!("{before}{TOKEN}{after}");
            for text in [STANDARD.encode(&plain), URL_SAFE.encode(&plain).trim_end_matches('=').to_owned()] {
                let masked = String::from_utf8(whole(&mask, text.as_bytes())).unwrap();
                assert_eq!(masked.len(), text.len());
                // Of 16 bytes 128 bits, at most 4 of them at each end in a character of another byte.
                assert!((20..=21).contains(&masked.matches('*').count()), "{text} {masked}");
                let first = (before.len() * 8).div_ceil(6);
                assert_eq!(masked[..first], text[..first]);
                let end = (before.len() + TOKEN.len()) * 8 / 6;
                assert_eq!(masked[end..], text[end..]);
            }
        }
    }
}

#[test]
fn s4_a_value_that_begins_like_an_escape_is_masked_escaped_too() {
    for value in ["\\uaaaaaaa", "%25aaaaaa", "\\\\\\\\aaaa", "\\\"aaaaaaa"] {
        let mask = mask(&[value.as_bytes()]);
        for text in [value.to_owned(), written("%", value.as_bytes()), written("\\u00", value.as_bytes())] {
            assert_eq!(whole(&mask, text.as_bytes()), vec![b'*'; text.len()], "{text}");
        }
    }
}

#[test]
fn short_values_are_masked_as_they_are_only() {
    let mask = mask(&[b"secret7"]);
    assert_eq!(whole(&mask, b"secret7 s%65cret7 c2VjcmV0Nw=="), b"******* s%65cret7 c2VjcmV0Nw==");
    assert_eq!(mask.most_held(), 6);
}

#[test]
fn values_that_begin_alike_or_overlap_are_masked_as_one() {
    let mask = mask(&[b"token-one", b"token-one-and-more", b"more than that", b"", b"ababab1"]);
    let text = b"token-one-an token-one-and-more than that abababab1";
    assert_eq!(whole(&mask, text), b"*********-an **************************** ab*******");
    assert!(super::Mask::new([]).is_empty() && super::Mask::new(&[Revealed::new(b"")]).is_empty());
}

#[test]
fn a_mask_makes_no_new_occurrence() {
    let mask = mask(&[b"aa***bbb", b"#-secret-"]);
    assert_eq!(whole(&mask, b"aa#-secret-bbb aa***bbb"), b"aa~~~~~~~~~bbb ~~~~~~~~");
}

#[test]
fn a_stream_of_events_goes_on_event_by_event() {
    let mut scrubber = mask(&[b"token-of-the-origin"]).stream();
    for event in ["data: 1\n\n", "data: tok\n\n", "data: {\"a\":\"b\"}\n\n", "data: dG9r\n\n"] {
        assert_eq!(scrubber.push(Bytes::from(event)), event);
    }
    assert_eq!(scrubber.push(Bytes::from_static(b"data: token-of-")), "data: ");
    assert_eq!(scrubber.push(Bytes::from_static(b"the")), "");
    assert_eq!(scrubber.push(Bytes::from_static(b"-origin\n\nt")), "*******************\n\n");
    assert_eq!(scrubber.push(Bytes::from_static(b"x%7")), "tx");
    assert_eq!(scrubber.push(Bytes::new()), "");
    assert_eq!(scrubber.finish(), "%7");
    assert_eq!(scrubber.finish(), "");
}

#[test]
fn a_piece_that_is_clean_is_not_copied() {
    let piece = Bytes::from(vec![b'.'; 4096]);
    let out = mask(&[TOKEN.as_bytes()]).stream().push(piece.clone());
    assert_eq!(out.as_ptr(), piece.as_ptr());
}

#[test]
fn s4_headers_are_masked_and_stay_as_secret_as_they_were() {
    let mask = mask(&[TOKEN.as_bytes()]);
    let mut value = HeaderValue::from_static("https://a.example/?t=ghp_a%2Fb%2Bc%20d%22e%5CF9&u=1");
    let masked = mask.header(&value).unwrap();
    assert_eq!(masked, format!("https://a.example/?t={}&u=1", "*".repeat(26)));
    assert!(!masked.is_sensitive());
    value.set_sensitive(true);
    assert!(mask.header(&value).unwrap().is_sensitive());
    assert_eq!(mask.header(&HeaderValue::from_static("text/html")), None);
    assert_eq!(format!("{mask:?} {:?}", mask.stream()), "Mask(…) Scrubber(…)");
}

#[test]
fn s4_a_value_that_repeats_itself_never_passes_whole_and_takes_bounded_work() {
    let value = [&[b'a'; 3 * MOST_READINGS][..], b"b"].concat();
    let mask = mask(&[&value]);
    for more in [0, 1, 10, MOST_READINGS, 5 * MOST_READINGS] {
        let text = [&vec![b'a'; more][..], &value, b"c"].concat();
        let masked = whole(&mask, &text);
        assert!(!masked.windows(value.len()).any(|window| window == value));
        assert_eq!(masked.last(), Some(&b'c'));
        for size in [1, 7, 100] {
            assert_eq!(piecewise(&mask, text.chunks(size)), masked, "{more} in pieces of {size}");
        }
    }
}

/// Values made of few letters, with those that escapes are made of.
fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let letter = prop::sample::select(b"ab%62\\u0\"/+ *".to_vec());
    let short = prop::collection::vec(letter.clone(), 1..6);
    let long = prop::collection::vec(letter, 8..14);
    let any = prop::collection::vec(any::<u8>(), 8..20);
    prop::collection::vec(prop_oneof![1 => short, 2 => long, 2 => any], 1..4)
}

/// A piece of a text: a spelling of a value, a part of one, or anything.
fn text(values: &[Vec<u8>], parts: &[(u8, usize, Vec<usize>, usize)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (kind, form, choices, cut) in parts {
        let spelling = spelled(&values[form % values.len()], form / 7, choices);
        match kind {
            0 => text.extend_from_slice(&spelling),
            1 => text.extend_from_slice(&spelling[..cut % spelling.len()]),
            2 => text.extend_from_slice(&spelling[cut % spelling.len()..]),
            3 => text.extend(choices.iter().map(|choice| b"ab%62\\u0\"/+ *"[choice % 13])),
            _ => text.extend(choices.iter().map(|choice| u8::try_from(choice % 256).unwrap())),
        }
    }
    text
}

/// What [`text`] is made from.
fn parts() -> impl Strategy<Value = Vec<(u8, usize, Vec<usize>, usize)>> {
    let part = (0..5_u8, 0..1000_usize, prop::collection::vec(0..1000_usize, 1..8), 0..1000_usize);
    prop::collection::vec(part, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn s4_whatever_the_pieces_exactly_the_occurrences_are_masked(
        values in values(), parts in parts(), sizes in prop::collection::vec(0..9_usize, 1..12),
    ) {
        let text = text(&values, &parts);
        let known: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let mask = mask(&known);
        let expected = naively(&known, &text, mask.0.byte);
        prop_assert_eq!(&whole(&mask, &text), &expected);
        prop_assert_eq!(naively(&known, &expected, mask.0.byte), expected.clone());
        let (mut pieces, mut rest, mut sizes) = (Vec::new(), text.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |size| *size).min(rest.len());
            let (piece, after) = rest.split_at(size);
            pieces.push(piece);
            rest = after;
            if size == 0 {
                pieces.push(&[]);
                let (piece, after) = rest.split_at(1);
                pieces.push(piece);
                rest = after;
            }
        }
        prop_assert_eq!(&piecewise(&mask, pieces), &expected);
        prop_assert_eq!(&piecewise(&mask, text.chunks(1)), &expected);
    }

    #[test]
    fn s4_an_encoded_value_is_always_masked(
        value in prop::collection::vec(any::<u8>(), 8..40), form in 0..5_usize,
        choices in prop::collection::vec(0..1000_usize, 1..40),
        before in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mask = mask(&[&value]);
        let spelling = spelled(&value, form, &choices);
        let text = [&before[..], &spelling].concat();
        let masked = piecewise(&mask, text.chunks(3));
        prop_assert!(masked[before.len()..].iter().all(|byte| *byte == mask.0.byte));
    }

    #[test]
    fn nothing_is_kept_back_that_is_no_beginning_of_a_form(
        value in prop::collection::vec(any::<u8>(), 1..20), text in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut scrubber = mask(&[&value]).stream();
        let out = scrubber.push(Bytes::from(text.clone()));
        let kept = &text[out.len()..];
        let begins = |symbols: &Vec<Vec<Vec<u8>>>| {
            (0..symbols.len()).any(|count| {
                ends(kept, &symbols[..count]).is_some_and(|end| {
                    symbols[count].iter().any(|spelling| spelling.starts_with(&kept[end..]))
                })
            })
        };
        prop_assert!(kept.is_empty() || forms(&value).iter().any(begins), "{:?}", kept);
    }
}
