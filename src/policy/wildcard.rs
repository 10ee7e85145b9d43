//! A text with `*` in it, where each `*` stands for one or more characters.

use std::fmt;

/// A text cut at its stars. There is at least one star, and no two are next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wildcard {
    /// What stands before the first star, perhaps nothing.
    head: Box<str>,
    /// What stands between two stars, from left to right, and after the last one; only the last may be empty.
    rest: Box<[Box<str>]>,
}

impl Wildcard {
    /// Cuts a text at its stars; none when it has no star or two in a row.
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.contains("**") {
            return None;
        }
        let (head, rest) = text.split_once('*')?;
        Some(Self { head: head.into(), rest: rest.split('*').map(Into::into).collect() })
    }

    /// Whether the whole text fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((last, middle)) = self.rest.split_last() else { return false };
        self.after(middle, text)
            .is_some_and(|rest| past_one(rest).is_some_and(|rest| rest.ends_with(&**last)))
    }

    /// What is left of the text after the shortest beginning that fits.
    #[must_use]
    pub(crate) fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.after(&self.rest, text)
    }

    /// What is left of the text after the head and these pieces, each taken where it is first found.
    ///
    /// The first place is the best one: it leaves the most for the pieces that follow.
    fn after<'t>(&self, pieces: &[Box<str>], text: &'t str) -> Option<&'t str> {
        let rest = text.strip_prefix(&*self.head)?;
        pieces
            .iter()
            .try_fold(rest, |rest, piece| past_one(rest)?.split_once(&**piece).map(|(_, after)| after))
    }
}

/// The text without its first character, of which there must be one.
fn past_one(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        self.rest.iter().try_for_each(|piece| write!(f, "*{piece}"))
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
