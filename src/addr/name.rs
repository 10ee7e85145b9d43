//! A DNS name in its one canonical form.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use idna::AsciiDenyList;

use super::{Dots, HostError, Marks, Words};

/// The longest name in bytes, without the trailing dot (RFC 1035 §2.3.4).
pub(crate) const MAX_NAME: usize = 253;

/// The longest label in bytes (RFC 1035 §2.3.4).
pub(crate) const MAX_LABEL: usize = 63;

/// The longest text that is worth handing to UTS-46: 253 bytes of A-labels never stand for more.
const MAX_TEXT: usize = 1024;

/// A DNS name: lower-case A-labels, no trailing dot, never the spelling of an address.
///
/// | text | name |
/// |---|---|
/// | `Example.COM`, `example.com.`, `ｅxample。com` | `example.com` |
/// | `faß.example` | `xn--fa-hia.example` (UTS-46, non-transitional) |
/// | `a..b`, `.a`, `a..`, `.`, empty | refused: empty label |
/// | `foo.123`, `a.0x7f` | refused: the last label is a number |
/// | `xn--a-.example`, `xn--example-.com` | refused: an A-label that stands for ASCII |
///
/// Parsing is idempotent: the text of a name parses to the same name. A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Makes the canonical name of a text.
    ///
    /// # Errors
    /// The first rule of `policy.md` §3 that the text breaks; [`HostError::Address`] for the text of an address.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        Self::plain(text).map_or_else(|| Self::any(text), Ok)
    }

    /// The name of a text that is plainly one: ASCII without A-labels, and a last label that no number starts like. One
    /// allocation; `None` says nothing about the text.
    pub(super) fn plain(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let bytes = text.as_bytes();
        let marks = Words::filled(bytes, b'a').fold(Marks::default(), Marks::and);
        if marks.has_odd() || bytes.len() > MAX_NAME {
            return None;
        }
        let (mut dots, mut end, mut last) = (Dots::of(bytes), bytes.len(), true);
        loop {
            let dot = dots.next();
            let label = bytes.get(dot.map_or(0, |dot| dot + 1)..end)?;
            match label.first()? {
                // A number, perhaps.
                b'0'..=b'9' if last => return None,
                // What it stands for is for UTS-46 to see.
                b'x' | b'X' if is_a_label(label) => return None,
                b'-' => return None,
                _ if label.len() > MAX_LABEL => return None,
                _ => {}
            }
            match dot {
                Some(dot) => (end, last) = (dot, false),
                None => break,
            }
        }
        Some(Self(if marks.has_capital() { text.to_ascii_lowercase().into() } else { text.into() }))
    }

    /// The name of any text.
    fn any(text: &str) -> Result<Self, HostError> {
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostError::Address);
        }
        let ascii = to_ascii(text)?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right; there is at least one.
    #[must_use]
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }
}

/// Whether a label starts as an A-label does (RFC 5890 §2.3.2.1).
fn is_a_label(label: &[u8]) -> bool {
    label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"))
}

/// Maps a text to lower-case ASCII by UTS-46, after refusing every ASCII byte that no name has.
fn to_ascii(text: &str) -> Result<String, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.contains('%') {
        return Err(HostError::Percent);
    }
    if let Some(bad) = text.chars().find(|c| c.is_ascii() && !is_name_char(*c) && *c != '.') {
        return Err(HostError::Character(bad));
    }
    if text.len() > MAX_TEXT {
        return Err(HostError::TooLong);
    }
    match idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::URL) {
        Ok(ascii) => Ok(ascii.into_owned()),
        Err(_) => Err(HostError::Idna),
    }
}

/// Whether a character may stand in an ASCII label.
pub(crate) const fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Checks an ASCII name without its trailing dot against every rule of `policy.md` §3.
fn check(name: &str) -> Result<(), HostError> {
    if name.is_empty() {
        return Err(HostError::EmptyLabel);
    }
    if name.len() > MAX_NAME {
        return Err(HostError::TooLong);
    }
    name.split('.').try_for_each(check_label)?;
    // INVARIANT: UTS-46 can turn digits of any script into ASCII, so this comes after it.
    if super::host::is_ipv4_spelling(name) {
        return Err(HostError::Ipv4Spelling);
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(HostError::NumericEnd);
    }
    Ok(())
}

/// Checks one canonical ASCII label.
pub(crate) fn check_label(label: &str) -> Result<(), HostError> {
    if label.is_empty() {
        return Err(HostError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(HostError::LabelTooLong);
    }
    if let Some(bad) = label.chars().find(|c| !is_name_char(*c)) {
        return Err(HostError::Character(bad));
    }
    if label.starts_with('-') {
        return Err(HostError::LeadingHyphen);
    }
    Ok(())
}

/// Whether a label reads as a number: decimal digits, or `0x` with hex digits or nothing after it.
pub(crate) fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The canonical text of a name, or why it is none.
    fn canon(text: &str) -> Result<String, HostError> {
        Name::parse(text).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn n1_one_trailing_dot_is_removed_and_more_are_refused() {
        assert_eq!(canon("example.com.").unwrap(), "example.com");
        assert_eq!(canon("example.com。").unwrap(), "example.com");
        for text in ["example.com..", ".", "..", ".example.com", "a..b", "example.com。."] {
            assert_eq!(canon(text), Err(HostError::EmptyLabel), "{text}");
        }
        assert_eq!(canon(""), Err(HostError::Empty));
    }

    #[test]
    fn n3_bytes_that_no_name_has_are_refused() {
        for bad in
            ['\0', ' ', '\t', '\r', '\n', '\x7f', '\\', '@', '/', ':', '[', ']', '*', '?', '#', '!', ',']
        {
            assert_eq!(canon(&format!("a{bad}b.example")), Err(HostError::Character(bad)), "{bad:?}");
        }
        assert_eq!(canon("evil.example\0.google.com"), Err(HostError::Character('\0')));
        assert_eq!(canon("a%2eb"), Err(HostError::Percent));
        assert_eq!(canon("%61.example"), Err(HostError::Percent));
        assert!(canon("a％2eb.example").is_err(), "full-width percent");
        assert!(canon("a＠b.example").is_err(), "full-width at");
        assert!(canon("a／b.example").is_err(), "full-width slash");
        assert!(canon("＊.example").is_err(), "full-width star");
        assert!(canon("a\u{2028}b.example").is_err());
    }

    #[test]
    fn n4_every_spelling_has_one_canonical_form() {
        for (text, name) in [
            ("EXAMPLE.com", "example.com"),
            ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("soft\u{ad}hyphen.example", "softhyphen.example"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("r3---sn-abc.example.com", "r3---sn-abc.example.com"),
            ("1.2.3.example", "1.2.3.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(canon(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn n4_an_a_label_that_stands_for_ascii_or_for_nothing_is_refused() {
        for text in [
            "xn--example-.com",
            "xn--a-.example",
            "xn--.example",
            "XN--EXAMPLE-.com",
            "xn--a.example",
            "xn--\u{e9}.com",
        ] {
            assert_eq!(canon(text), Err(HostError::Idna), "{text}");
        }
        assert!(canon("xn--bcher-kva").is_ok());
    }

    #[test]
    fn a1_a_name_never_reads_as_an_address() {
        for text in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0",
            "1.2.3.4.",
            "１２７.0.0.1",
            "127。0。0。1",
        ] {
            assert_eq!(canon(text), Err(HostError::Ipv4Spelling), "{text}");
        }
        for text in
            ["foo.123", "a.0x7f", "a.0x", "1.2.3.4.5", "256.256.256.256", "foo.１２３", "foo.09", "0x.0x"]
        {
            assert_eq!(canon(text), Err(HostError::NumericEnd), "{text}");
        }
        assert_eq!(canon("192.0.2.7"), Err(HostError::Address));
        assert_eq!(canon("2001:db8::1"), Err(HostError::Address));
        assert!(canon("0x7g.example").is_ok());
        assert!(canon("a.0xz").is_ok());
    }

    #[test]
    fn lengths_are_limited_to_253_and_63_bytes() {
        let label = "a".repeat(63);
        assert!(canon(&format!("{label}.example")).is_ok());
        assert_eq!(canon(&format!("{label}a.example")), Err(HostError::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), 253);
        assert_eq!(canon(&longest).as_deref(), Ok(longest.as_str()));
        assert_eq!(canon(&format!("{longest}.")).as_deref(), Ok(longest.as_str()));
        assert_eq!(canon(&format!("{longest}b")), Err(HostError::TooLong));
        assert_eq!(canon(&"A".repeat(5000)), Err(HostError::TooLong));
        assert_eq!(canon(&format!("{}.example", "ü".repeat(60))), Err(HostError::LabelTooLong));
    }

    #[test]
    fn a_leading_hyphen_is_refused_in_every_label() {
        for text in ["-a.example", "a.-b.example", "-", "a.-"] {
            assert_eq!(canon(text), Err(HostError::LeadingHyphen), "{text}");
        }
        assert!(canon("a-.example").is_ok());
    }

    #[test]
    fn labels_come_from_both_ends() {
        let name = Name::parse("a.b.example").unwrap();
        assert_eq!(name.labels().collect::<Vec<_>>(), ["a", "b", "example"]);
        assert_eq!(name.labels().next_back(), Some("example"));
    }

    proptest! {
        #[test]
        fn n4_parsing_is_idempotent_and_its_result_is_plain(text in "\\PC{0,40}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name.clone()));
                prop_assert!(name.as_str().bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
            }
        }

        #[test]
        fn n4_a_plain_name_is_what_any_text_is(
            text in "[a-cxnA-CXN0-9_.-]{0,16}|(xn--|XN--|Xn-)?[a-z0-9]{1,3}(\\.(xn--)?[a-zA-Z0-9_-]{0,5}){0,4}\\.?|[a-z]{60,66}\\.[a-z]{1,3}|([a-z]{1,62}\\.){3,5}[a-z]{1,4}"
        ) {
            if let Some(plain) = Name::plain(&text) {
                prop_assert_eq!(Ok(plain), Name::any(&text));
            }
        }

        #[test]
        fn n4_likely_names_are_idempotent(text in "(xn--)?[a-zA-Z0-9\u{df}\u{fc}\u{5d0}\u{ff10}-\u{ff19}\u{3002}\u{200d}._-]{1,24}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::parse(&format!("{name}.")), Ok(name.clone()));
                prop_assert_eq!(Name::parse(&name.as_str().to_uppercase()), Ok(name.clone()));
            }
        }
    }
}
