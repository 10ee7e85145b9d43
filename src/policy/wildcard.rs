//! A text with `*` in it, where each `*` stands for one or more characters.

use std::fmt;

/// A text with at least one star, and no two next to each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wildcard(Box<str>);

impl Wildcard {
    /// Takes a text with stars; none when it has no star or two in a row.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (text.contains('*') && !text.contains("**")).then(|| Self(text.into()))
    }

    /// The text, stars included.
    #[must_use]
    pub(crate) const fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole text fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        fits(&self.0, text)
    }

    /// What is left of the text after the shortest beginning that fits.
    #[must_use]
    pub(crate) fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        strip(&self.0, text)
    }
}

/// Whether the whole text fits the text of a [`Wildcard`].
pub(super) fn fits(stars: &str, text: &str) -> bool {
    let Some((front, last)) = stars.rsplit_once('*') else { return stars == text };
    strip(front, text).and_then(past_one).is_some_and(|rest| rest.ends_with(last))
}

/// What is left of the text after the shortest beginning that fits the text of a [`Wildcard`].
///
/// Each piece between two stars is taken where it is first found, which leaves the most for the pieces that follow.
pub(super) fn strip<'t>(stars: &str, text: &'t str) -> Option<&'t str> {
    let mut pieces = stars.split('*');
    let rest = text.strip_prefix(pieces.next()?)?;
    pieces.try_fold(rest, |rest, piece| past_one(rest)?.split_once(piece).map(|(_, after)| after))
}

/// The text without its first character, of which there must be one.
fn past_one(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain meaning, by trying every length for every star.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (1..=text.len()).any(|n| naive(rest, &text[n..])),
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, text)| first == byte && naive(rest, text))
            }
        }
    }

    #[test]
    fn a_star_is_one_or_more_characters() {
        let api = Wildcard::new("api-*").unwrap();
        assert!(api.matches("api-1") && api.matches("api-long"));
        assert!(!api.matches("api-") && !api.matches("xapi-1"));
        let middle = Wildcard::new("a*b*c").unwrap();
        assert!(
            middle.matches("a1b2c")
                && middle.matches("abbbc")
                && !middle.matches("abc")
                && !middle.matches("a1bc")
        );
        assert!(Wildcard::new("a**b").is_none() && Wildcard::new("ab").is_none());
        assert_eq!(middle.to_string(), "a*b*c");
    }

    proptest! {
        #[test]
        fn the_greedy_match_is_the_naive_one(pattern in "[ab*]{1,7}", text in "[ab]{0,10}") {
            if let Some(wildcard) = Wildcard::new(&pattern) {
                prop_assert_eq!(wildcard.matches(&text), naive(pattern.as_bytes(), text.as_bytes()));
                let begins = (0..=text.len()).any(|n| naive(pattern.as_bytes(), &text.as_bytes()[..n]));
                prop_assert_eq!(wildcard.strip(&text).is_some(), begins);
            }
        }
    }
}
