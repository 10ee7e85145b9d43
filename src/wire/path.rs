//! The path of a request in its one canonical form.

use std::borrow::Cow;

use thiserror::Error;

/// Makes a path canonical (`policy.md` §6): what is matched is what is forwarded.
///
/// | path | canonical |
/// |---|---|
/// | `/%61%7e` | `/a~` (escapes of letters, digits, `-._~` are decoded) |
/// | `/a%c3%bc%3a` | `/a%C3%BC%3A` (others are written in upper case) |
/// | `/a{b}` | `/a%7Bb%7D` (characters that no URI has are escaped) |
/// | `/a//b`, `/a/./b`, `/a/x/../b`, `/a/%2e/b` | `/a/b` |
/// | `/../a` | `/a` |
/// | `/a/..`, `/a/b/..` | `/`, `/a/` |
/// | `/a%00`, `/a%2fb`, `/a%5cb`, `/a\b` | refused |
/// | `/a/..;x/b` | refused: some servers drop the parameter and climb |
///
/// The result is a path that is canonical itself; the text is only copied when it was not.
///
/// # Errors
/// What the path must not contain.
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    let decoded = decode(path)?;
    // INVARIANT: dot segments are looked for after decoding, as `%2e%2e` climbs too.
    if is_resolved(&decoded) { Ok(decoded) } else { resolve(&decoded).map(Cow::Owned) }
}

/// Splits a target into its path and what follows the first question mark.
#[must_use]
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Whether a character may stand unescaped in a path (RFC 3986 §3.3, `pchar` and slash).
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/'
        )
}

/// Whether an escape of this byte means the same as the byte (RFC 3986 §2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Brings every escape into its one form, and escapes what must be.
fn decode(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.bytes().all(is_path_byte) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len() + 8);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|b| char::from(b).to_digit(16)).ok_or(PathError::Escape);
                let byte = u8::try_from(digit()? << 4 | digit()?).map_err(|_| PathError::Escape)?;
                match byte {
                    0 | b'/' | b'\\' => return Err(PathError::Forbidden),
                    _ if is_unreserved(byte) => out.push(char::from(byte)),
                    _ => escape(&mut out, byte),
                }
            }
            b'\\' => return Err(PathError::Backslash),
            b'?' | b'#' => return Err(PathError::Delimiter),
            _ if is_path_byte(byte) => out.push(char::from(byte)),
            _ if byte.is_ascii_graphic() => escape(&mut out, byte),
            _ => return Err(PathError::Character),
        }
    }
    Ok(if out == path { Cow::Borrowed(path) } else { Cow::Owned(out) })
}

/// Writes one byte as `%` and two upper-case digits.
fn escape(out: &mut String, byte: u8) {
    out.push('%');
    for half in [byte >> 4, byte & 0xf] {
        out.extend(char::from_digit(u32::from(half), 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

/// Whether nothing is left to resolve or to refuse: no empty segment but the last, and none that starts with a dot.
fn is_resolved(path: &str) -> bool {
    !path.contains("//") && !path.contains("/.")
}

/// Resolves dot segments and drops empty ones.
fn resolve(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = true;
    for segment in path.split('/').skip(1) {
        if segment.strip_prefix("..").or_else(|| segment.strip_prefix('.')).is_some_and(is_parameter) {
            return Err(PathError::DotParameter);
        }
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if directory {
        out.push('/');
    }
    Ok(out)
}

/// Whether what follows the dots of a segment is a path parameter.
fn is_parameter(rest: &str) -> bool {
    rest.starts_with(';') || rest.starts_with("%3B")
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// No leading slash.
    #[error("the path does not start with `/`")]
    Relative,
    /// A percent sign without two hex digits.
    #[error("a percent sign in the path is not followed by two hex digits")]
    Escape,
    /// An escaped NUL, slash or backslash.
    #[error("the path has %00, %2F or %5C, which servers read in different ways")]
    Forbidden,
    /// A backslash.
    #[error("the path has a backslash, which some servers read as a slash")]
    Backslash,
    /// A dot segment with a parameter.
    #[error("the path has a dot segment with a parameter, which servers read in different ways")]
    DotParameter,
    /// A query or fragment where only a path belongs.
    #[error("a path has no `?` and no `#`")]
    Delimiter,
    /// A control character, a space or a byte above ASCII.
    #[error("the path has a byte that is not visible ASCII; percent-encode it")]
    Character,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_has_one_canonical_form() {
        for (path, canonical) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("/%61%7e%2D%5f", "/a~-_"),
            ("/a%c3%bc%3a%2b", "/a%C3%BC%3A%2B"),
            ("/%252f", "/%252f"),
            ("/%25%32%66", "/%252f"),
            ("/a{b}\"|^`<>[]", "/a%7Bb%7D%22%7C%5E%60%3C%3E%5B%5D"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/x/%2E%2e/b", "/a/b"),
            ("/a/x/.%2e/b", "/a/b"),
            ("/a//../b", "/b"),
            ("/../a", "/a"),
            ("/../../..", "/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.", "/"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b/.c", "/a/..b/.c"),
            ("/a;x=1/b", "/a;x=1/b"),
        ] {
            assert_eq!(canonicalise(path).as_deref(), Ok(canonical), "{path}");
        }
        assert!(matches!(canonicalise("/a/b:c@d%20e").unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn what_servers_read_in_two_ways_is_refused() {
        for (path, error) in [
            ("", PathError::Relative),
            ("a", PathError::Relative),
            ("*", PathError::Relative),
            ("/%", PathError::Escape),
            ("/%1", PathError::Escape),
            ("/%g1", PathError::Escape),
            ("/%1g", PathError::Escape),
            ("/%+1", PathError::Escape),
            ("/%u0041", PathError::Escape),
            ("/a%00", PathError::Forbidden),
            ("/a%2fb", PathError::Forbidden),
            ("/a%2Fb", PathError::Forbidden),
            ("/a%5cb", PathError::Forbidden),
            ("/a%5Cb", PathError::Forbidden),
            ("/a\\..\\b", PathError::Backslash),
            ("/a/..;/b", PathError::DotParameter),
            ("/a/.;x/b", PathError::DotParameter),
            ("/a/%2e%2e%3bx/b", PathError::DotParameter),
            ("/a?b", PathError::Delimiter),
            ("/a#b", PathError::Delimiter),
            ("/a b", PathError::Character),
            ("/a\tb", PathError::Character),
            ("/a\0b", PathError::Character),
            ("/ü", PathError::Character),
        ] {
            assert_eq!(canonicalise(path), Err(error), "{path}");
        }
    }

    #[test]
    fn the_query_is_split_off_untouched() {
        assert_eq!(split_query("/a?b?c%2f"), ("/a", Some("b?c%2f")));
        assert_eq!(split_query("/a"), ("/a", None));
        assert_eq!(split_query("/a?"), ("/a", Some("")));
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_canonical(path in "(/|/\\.|/\\.\\.|a|;|\\{|%2[eEfF5]|%3[bB]|%[0-9a-fA-F]{2}){0,12}") {
            if let Ok(canonical) = canonicalise(&path) {
                prop_assert_eq!(canonicalise(&canonical), Ok(Cow::Borrowed(&*canonical)));
                prop_assert!(!canonical.contains("//") && !canonical.split('/').any(|s| s == "." || s == ".."));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(path in "/?\\PC{0,30}") {
            drop(canonicalise(&path));
        }
    }
}
