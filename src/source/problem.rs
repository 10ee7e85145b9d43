//! What is wrong with a file, where, and what would be right.

use std::fmt;
use std::sync::Arc;

use super::node::Position;

/// A character of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// A position of a file.
    #[must_use]
    pub fn new(file: &Arc<str>, at: Position) -> Self {
        Self { file: Arc::clone(file), line: at.line, column: at.column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Whether a problem keeps a document from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document loads; somebody should look at it.
    Warning,
}

impl Severity {
    /// The word before the message: `error` or `warning`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it keeps the document from loading.
    pub severity: Severity,
    /// Where, when it is somewhere.
    pub place: Option<Place>,
    /// The path inside the document (`spec.hostRules[3].pattern`); empty for the document itself.
    pub path: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What would be right.
    pub cure: Option<String>,
}

impl Problem {
    /// A problem that keeps the document from loading.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A problem that the document loads with.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    /// A problem of this severity, nowhere yet.
    fn new(severity: Severity, message: String) -> Self {
        Self { severity, place: None, path: String::new(), message, cure: None }
    }

    /// The same problem at this place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same problem under this path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The same problem with what would be right.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Whether it keeps the document from loading.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Error)
    }
}

impl fmt::Display for Problem {
    /// One line: `file:3:5: error: spec.mode: message (cure)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: ", self.severity.as_str())?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.cure {
            Some(cure) => write!(f, " ({cure})"),
            None => Ok(()),
        }
    }
}

/// Text from a file inside a message: in backquotes, on one line, at most 80 characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::with_capacity(text.len().min(4 * LONGEST).saturating_add(2));
    out.push('`');
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        out.push(visible(c));
    }
    out.push('`');
    out
}

/// Text from a file on a line of its own: all of it, with nothing that would move the cursor or reorder the line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The character, or U+FFFD for one that would move the cursor or reorder the line.
// SECURITY: messages reach terminals; a policy file may come from somebody else.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_place_path_cause_and_cure() {
        let file: Arc<str> = "p.yaml".into();
        let problem = Problem::error("unknown value `allow`")
            .at(Place::new(&file, Position { line: 3, column: 5 }))
            .path("spec.defaultAction")
            .cure("did you mean `Allow`?");
        assert_eq!(
            problem.to_string(),
            "p.yaml:3:5: error: spec.defaultAction: unknown value `allow` (did you mean `Allow`?)"
        );
        assert_eq!(Problem::warning("odd").to_string(), "warning: odd");
    }

    #[test]
    fn quoted_text_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(quoted("a\u{1b}[2Jb\nc\u{202e}d"), "`a\u{fffd}[2Jb\u{fffd}c\u{fffd}d`");
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), 83);
        assert_eq!(printable("a\u{1b}[2Jb\nc\td"), "a\u{fffd}[2Jb\u{fffd}c d");
    }
}
