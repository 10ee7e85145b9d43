//! One path pattern of a rule.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::wildcard::Wildcard;

/// Which paths a rule is about (`policy.md` §6, `match.path`), over canonical paths.
///
/// | pattern | rule | matches | does not match |
/// |---|---|---|---|
/// | `/admin` | grants | `/admin` | `/admin/`, `/admin/x` |
/// | `/admin` | denies | `/admin`, `/admin/`, `/admin/x` | `/administrator` |
/// | `/v1/*` | both | `/v1/`, `/v1/a/b` | `/v1` |
/// | `/v1*` | both | `/v1`, `/v1/a`, `/v12` | `/v2` |
/// | `/repos/*/pulls` | grants | `/repos/a/pulls` | `/repos/a/b/pulls`, `/repos/a/pulls/1` |
///
/// An inner `*` is one or more characters of one segment; a trailing one is any rest, also nothing. A Deny without a
/// trailing `*` reaches the whole subtree, with inner stars too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// The segments after the leading slash, from left to right.
    segments: Box<[Segment]>,
    /// Whether any rest may follow, from a trailing star.
    open: bool,
}

/// What one segment of a path pattern takes. Texts come before texts with stars.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    /// This text.
    Literal(Box<str>),
    /// A text with stars.
    Part(Wildcard),
}

/// What a path that fits has after the segments that it must have whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End<'p> {
    /// Nothing, or a slash and any rest.
    Subtree,
    /// Nothing.
    Exact,
    /// A slash, what begins a segment, and any rest.
    Open(&'p Segment),
}

impl PathPattern {
    /// The segments that a path must have whole, and what it may have after them.
    pub(super) fn cut(&self, deny: bool) -> Option<(&[Segment], End<'_>)> {
        let (last, before) = self.segments.split_last()?;
        Some(if self.open || (deny && last.is_empty()) {
            (before, End::Open(last))
        } else {
            (&self.segments, if deny { End::Subtree } else { End::Exact })
        })
    }

    /// Whether a canonical path fits; for a Deny the paths below it fit as well.
    #[must_use]
    pub fn matches(&self, path: &str, deny: bool) -> bool {
        let Some((last, before)) = self.segments.split_last() else { return false };
        let Some(mut rest) = path.strip_prefix('/') else { return false };
        for segment in before {
            let Some((text, after)) = rest.split_once('/') else { return false };
            if !segment.is(text) {
                return false;
            }
            rest = after;
        }
        let text = rest.split('/').next().unwrap_or(rest);
        if self.open {
            return last.begins(text);
        }
        let subtree = deny && (last.is(text) || last.is_empty());
        subtree || (text.len() == rest.len() && last.is(text))
    }
}

impl Segment {
    /// The text, stars included.
    pub(super) const fn as_str(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::Part(part) => part.as_str(),
        }
    }

    /// Whether there are stars in it.
    pub(super) const fn has_stars(&self) -> bool {
        matches!(self, Self::Part(_))
    }

    /// Whether a whole segment fits.
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Part(part) => part.matches(text),
        }
    }

    /// Whether a segment begins with what fits.
    fn begins(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => text.starts_with(&**literal),
            Self::Part(part) => part.strip(text).is_some(),
        }
    }

    /// Whether it is the nothing after a trailing slash.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(literal) if literal.is_empty())
    }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        let rest = text.strip_prefix('/').ok_or(PathPatternError::Relative)?;
        if text.contains(['?', '#']) {
            return Err(PathPatternError::Query);
        }
        if text.contains("**") {
            return Err(PathPatternError::DoubleStar);
        }
        if let Some(bad) = text.chars().find(|c| !is_path_char(*c)) {
            return Err(PathPatternError::Character(bad));
        }
        check_escapes(text)?;
        let open = rest.ends_with('*');
        let rest = rest.strip_suffix('*').unwrap_or(rest);
        let last = rest.split('/').count() - 1;
        let segments = rest.split('/').enumerate().map(|(place, segment)| {
            if segment == "." || segment == ".." || (segment.is_empty() && place < last) {
                return Err(PathPatternError::Segment);
            }
            Ok(Wildcard::new(segment).map_or_else(|| Segment::Literal(segment.into()), Segment::Part))
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, open })
    }
}

/// Whether a character stands for itself in a canonical path, or is a star or the sign of an escape.
const fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            '-' | '.'
                | '_'
                | '~'
                | '!'
                | '$'
                | '&'
                | '\''
                | '('
                | ')'
                | '*'
                | '+'
                | ','
                | ';'
                | '='
                | ':'
                | '@'
                | '/'
                | '%'
        )
}

/// Checks that every escape is one that a canonical path has: upper-case hex, of nothing that stands for itself, and
/// not of NUL, a slash or a backslash.
fn check_escapes(text: &str) -> Result<(), PathPatternError> {
    text.split('%').skip(1).try_for_each(|after| {
        let digits: String = after.chars().take(2).collect();
        let hex = digits.len() == 2 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| hex).ok_or(PathPatternError::Escape)?;
        match byte {
            b'/' | b'\\' | 0 => Err(PathPatternError::Forbidden),
            b'-' | b'.' | b'_' | b'~' => Err(PathPatternError::Escape),
            byte if byte.is_ascii_alphanumeric() => Err(PathPatternError::Escape),
            _ => Ok(()),
        }
    })
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| write!(f, "/{}", segment.as_str()))?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

/// Why a text is not a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathPatternError {
    /// No leading slash.
    #[error("a path pattern starts with `/`")]
    Relative,
    /// A query or fragment.
    #[error("a path pattern has no query; leave out the `?` or `#` and what follows")]
    Query,
    /// `**`.
    #[error("`**` is not a wildcard here; a trailing `*` is any rest, an inner one stays inside its segment")]
    DoubleStar,
    /// A character that no canonical path has.
    #[error("a path pattern cannot contain {0:?}; write it percent-encoded in upper case, such as %20")]
    Character(char),
    /// An escape that is not canonical.
    #[error(
        "an escape is `%` and two upper-case hex digits; write letters, digits, `-`, `.`, `_` and `~` as themselves"
    )]
    Escape,
    /// An escape that is refused in requests.
    #[error("%00, %2F and %5C are refused in every request, so this would never match")]
    Forbidden,
    /// An empty segment or a dot segment.
    #[error(
        "`//`, `/./` and `/../` are resolved in every request, so this would never match; write the plain path"
    )]
    Segment,
}

/// Rows of the table of [`PathPattern`]: a pattern, a path, whether it is granted, whether it is denied.
#[cfg(test)]
pub(super) const ROWS: [(&str, &str, bool, bool); 30] = [
    ("/admin", "/admin", true, true),
    ("/admin", "/admin/", false, true),
    ("/admin", "/admin/x/y", false, true),
    ("/admin", "/administrator", false, false),
    ("/admin", "/x/admin", false, false),
    ("/admin", "/", false, false),
    ("/admin/", "/admin/", true, true),
    ("/admin/", "/admin/x", false, true),
    ("/admin/", "/admin", false, false),
    ("/", "/", true, true),
    ("/", "/x/y", false, true),
    ("/*", "/", true, true),
    ("/*", "/x/y", true, true),
    ("/v1/*", "/v1/", true, true),
    ("/v1/*", "/v1/a/b", true, true),
    ("/v1/*", "/v1", false, false),
    ("/v1*", "/v1", true, true),
    ("/v1*", "/v12/x", true, true),
    ("/v1*", "/v2", false, false),
    ("/repos/*/pulls", "/repos/a/pulls", true, true),
    ("/repos/*/pulls", "/repos/a/b/pulls", false, false),
    ("/repos/*/pulls", "/repos/a/pulls/1", false, true),
    ("/repos/*/pulls/*", "/repos/a/pulls/1/x", true, true),
    ("/repos/*/pulls/*", "/repos/a/issues/1", false, false),
    ("/x/a*b", "/x/a1b", true, true),
    ("/x/a*b", "/x/ab", false, false),
    ("/x/a*b*", "/x/a1b/c", true, true),
    ("/x/a*b*", "/x/a/b", false, false),
    ("/a%20b", "/a%20b", true, true),
    ("/Case", "/case", false, false),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a path fits a pattern, granting and denying.
    fn both(pattern: &str, path: &str) -> (bool, bool) {
        let pattern: PathPattern = pattern.parse().unwrap();
        (pattern.matches(path, false), pattern.matches(path, true))
    }

    #[test]
    fn each_row_of_the_table_holds() {
        for (pattern, path, grants, denies) in ROWS {
            assert_eq!(both(pattern, path), (grants, denies), "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_no_canonical_path_fits_is_refused() {
        for (text, error) in [
            ("", PathPatternError::Relative),
            ("admin", PathPatternError::Relative),
            ("*", PathPatternError::Relative),
            ("/a?b", PathPatternError::Query),
            ("/a#b", PathPatternError::Query),
            ("/**", PathPatternError::DoubleStar),
            ("/a b", PathPatternError::Character(' ')),
            ("/a\\b", PathPatternError::Character('\\')),
            ("/ü", PathPatternError::Character('ü')),
            ("/a%2fb", PathPatternError::Escape),
            ("/a%2Fb", PathPatternError::Forbidden),
            ("/a%5Cb", PathPatternError::Forbidden),
            ("/a%00", PathPatternError::Forbidden),
            ("/%41", PathPatternError::Escape),
            ("/%7E", PathPatternError::Escape),
            ("/%", PathPatternError::Escape),
            ("/%2", PathPatternError::Escape),
            ("/%zz", PathPatternError::Escape),
            ("/%ü", PathPatternError::Character('ü')),
            ("/a//b", PathPatternError::Segment),
            ("//", PathPatternError::Segment),
            ("/a/./b", PathPatternError::Segment),
            ("/a/..", PathPatternError::Segment),
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_display_is_the_pattern_and_denying_is_never_narrower(text in "/[ab*/.]{0,8}", path in "/[ab/]{0,8}") {
            if let Ok(pattern) = text.parse::<PathPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                prop_assert!(pattern.matches(&path, true) || !pattern.matches(&path, false));
            }
        }
    }
}
