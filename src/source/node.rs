//! A YAML document as a tree that remembers where each part was written.

use std::sync::Arc;

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
}

/// What a node is, by the YAML 1.2 core schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order it was written; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, unescaped.
    pub text: Arc<str>,
    /// Where it starts.
    pub at: Position,
}

impl Kind {
    /// What an unquoted scalar means.
    ///
    /// The core schema of YAML 1.2 without its traps: a number with a leading zero or plus, and one too large for
    /// 64 bits, stay text, so that they cannot be taken for another number.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ => number(text).unwrap_or_else(|| Self::Text(text.to_owned())),
        }
    }

    /// What it is, for a message: `a list`, `text`.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The number that an unquoted scalar stands for.
fn number(text: &str) -> Option<Kind> {
    let first = *text.as_bytes().first()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'.')) {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        return text.parse().ok().map(Kind::Int);
    }
    float(text, digits)
}

/// A number of digits in this base.
fn radix(digits: &str, base: u32) -> Option<Kind> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(digits, base).ok().map(Kind::Int)
}

/// A number with a point or an exponent; `.inf` and `.nan` too.
fn float(text: &str, unsigned: &str) -> Option<Kind> {
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Kind::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Kind::Float(f64::NAN)),
        _ => {}
    }
    let shaped =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.bytes().any(|b| b.is_ascii_digit());
    if shaped { text.parse().ok().map(Kind::Float) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema_and_nothing_older() {
        assert_eq!(Kind::plain("~"), Kind::Null);
        assert_eq!(Kind::plain("true"), Kind::Bool(true));
        assert_eq!(Kind::plain("-7"), Kind::Int(-7));
        assert_eq!(Kind::plain("0x1F"), Kind::Int(31));
        assert_eq!(Kind::plain("0o17"), Kind::Int(15));
        assert_eq!(Kind::plain("1.5e3"), Kind::Float(1500.0));
        for text in [
            "yes",
            "on",
            "No",
            "0777",
            "1_000",
            "12:30:45",
            "192.0.2.7",
            "80-443",
            "99999999999999999999",
            "0x-1",
            "+80",
        ] {
            assert_eq!(Kind::plain(text), Kind::Text(text.to_owned()));
        }
    }
}
