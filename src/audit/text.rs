//! Client-chosen text, capped; and JSON in which no character can forge, hide or reorder a line.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The most bytes of one client-chosen text that a record keeps.
pub const TEXT_CAP: usize = 512;

/// What ends a text that was longer than [`TEXT_CAP`].
const CUT: &str = "…";

/// Text that a client, or an origin, chose: at most [`TEXT_CAP`] bytes, whole characters.
///
/// It keeps the characters as they came; a line is written with the dangerous ones as escapes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Arc<str>);

impl Text {
    /// Keeps as much of `text` as the cap allows.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.len() <= TEXT_CAP {
            return Self(Arc::from(text));
        }
        let end = text.floor_char_boundary(TEXT_CAP - CUT.len());
        Self(format!("{}{CUT}", text.get(..end).unwrap_or_default()).into())
    }

    /// Keeps a request target without its query and fragment, which may carry secrets.
    #[must_use]
    pub fn path(target: &str) -> Self {
        Self::new(target.split(['?', '#']).next().unwrap_or_default())
    }

    /// Keeps what `value` displays as.
    #[must_use]
    pub fn of(value: &impl fmt::Display) -> Self {
        Self::new(&value.to_string())
    }

    /// Keeps bytes that need not be UTF-8; what is not is written as `\xNN`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let kept = bytes.get(..=TEXT_CAP).unwrap_or(bytes);
        let mut text = String::with_capacity(kept.len());
        for chunk in kept.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        Self::new(&text)
    }

    /// The text as it came, cut to the cap: **not** escaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text for a table of names, without a copy.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Chosen by the client: at most 512 bytes, a longer one ends in `…`.",
        })
    }
}

/// Writes `value` as one line of JSON that is safe to show on a terminal.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut bytes = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, OneLine);
    if value.serialize(&mut serializer).is_err() {
        return r#"{"error":"this could not be written as JSON"}"#.to_owned();
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Compact JSON that escapes what `serde_json` leaves as it is: see [`is_hidden`].
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    // SECURITY: serde_json itself escapes quotes, backslashes and U+0000..=U+001F only.
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                io::Write::write_fmt(writer, format_args!("\\u{unit:04x}"))?;
            }
            rest = after.get(hidden.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether a character is invisible, moves the cursor, ends a line or turns the reading direction.
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}'             // C0 controls
        | '\u{7f}'..='\u{9f}'          // DEL and the C1 controls
        | '\u{ad}'                     // soft hyphen
        | '\u{61c}'                    // Arabic letter mark (bidi)
        | '\u{180e}'                   // Mongolian vowel separator
        | '\u{200b}'..='\u{200f}'      // zero width, and the bidi marks
        | '\u{2028}'..='\u{202e}'      // line and paragraph separators, bidi embeddings
        | '\u{2060}'..='\u{206f}'      // word joiner, bidi isolates, deprecated formats
        | '\u{feff}'                   // byte order mark
        | '\u{fff9}'..='\u{fffb}'      // interlinear annotation
        | '\u{e0000}'..='\u{e007f}'    // tags
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_on_a_character_boundary_and_says_so() {
        for unit in ["a", "é", "€", "𝄞"] {
            let text = Text::new(&unit.repeat(1000));
            assert!(text.as_str().len() <= TEXT_CAP && text.as_str().len() > TEXT_CAP - 8);
            assert!(text.as_str().ends_with(CUT));
        }
        assert_eq!(Text::new(&"a".repeat(TEXT_CAP)).as_str(), "a".repeat(TEXT_CAP));
    }

    #[test]
    fn s5_a_path_never_keeps_its_query_or_fragment() {
        assert_eq!(Text::path("/a/b?token=canary#x").as_str(), "/a/b");
        assert_eq!(Text::path("/a#canary").as_str(), "/a");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_hexadecimal() {
        assert_eq!(Text::from_bytes(b"a\xff\x00b").as_str(), "a\\xff\0b");
        assert!(Text::from_bytes(&[0xff; 4096]).as_str().len() <= TEXT_CAP);
        assert!(Text::from_bytes("é".repeat(4096).as_bytes()).as_str().ends_with("é…"));
    }

    #[test]
    fn l1_every_hidden_character_is_an_escape_and_reads_back_unchanged() {
        let text: String = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect();
        let json = to_json(&text);
        assert!(json.is_ascii() && !json.bytes().any(|byte| byte.is_ascii_control()));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
