//! Problems as a person reads them: the message, the line, a caret, the cure.
//!
//! ```text
//! error: spec.hostRules[0].action: unknown value `allow`
//!  --> policy.yaml:4:32
//!   |
//! 4 |   - {pattern: pypi.org, action: allow}
//!   |                                 ^
//!   = help: did you mean `Allow`?
//! ```

use std::fmt::Write as _;

use super::problem::{Problem, visible};

/// The columns of a source line that are shown at most.
const WIDTH: usize = 120;

/// A file's text, with its lines found once.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    /// The whole text.
    text: &'a str,
    /// The byte offset at which each line starts.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the lines of a text; CR, LF and CRLF end one.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for (index, byte) in bytes.iter().enumerate() {
            let ends = *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'));
            if ends {
                starts.push(index + 1);
            }
        }
        Self { text, starts }
    }

    /// The line of this number, from 1, without its end.
    #[must_use]
    pub fn line(&self, number: u32) -> Option<&'a str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text.get(start..end).map(|line| line.trim_end_matches(['\r', '\n']))
    }
}

/// One problem as plain text, with its source line when the text is at hand.
#[must_use]
pub fn render(problem: &Problem, source: Option<&Lines<'_>>) -> String {
    let mut out = format!("{}: ", problem.severity.as_str());
    if !problem.path.is_empty() {
        out.push_str(&problem.path);
        out.push_str(": ");
    }
    out.push_str(&problem.message);
    out.push('\n');
    let mut margin = String::from(" ");
    if let Some(place) = &problem.place {
        let number = place.line.to_string();
        margin = " ".repeat(number.len());
        let _written = writeln!(out, "{margin}--> {place}");
        if let Some(line) = source.and_then(|source| source.line(place.line)) {
            let (shown, caret) = window(line, usize::try_from(place.column).unwrap_or(usize::MAX));
            let _written = writeln!(out, "{margin} |\n{number} | {shown}\n{margin} | {}^", " ".repeat(caret));
        }
    }
    if let Some(cure) = &problem.cure {
        let _written = writeln!(out, "{margin} = help: {cure}");
    }
    out
}

/// The part of a line around a column, and where in it the caret goes.
fn window(line: &str, column: usize) -> (String, usize) {
    let index = column.saturating_sub(1);
    let skip = index.saturating_sub(WIDTH * 2 / 3);
    let mut shown = String::new();
    if skip > 0 {
        shown.push('…');
    }
    let mut rest = line.chars().skip(skip);
    shown.extend(rest.by_ref().take(WIDTH).map(visible));
    if rest.next().is_some() {
        shown.push('…');
    }
    let caret = (index - skip + usize::from(skip > 0)).min(shown.chars().count());
    (shown.trim_end().to_owned(), caret)
}

#[cfg(test)]
mod tests {
    use super::super::node::Position;
    use super::super::problem::Place;
    use super::*;

    fn at(line: u32, column: u32) -> Problem {
        Problem::error("wrong")
            .at(Place::new(&"f.yaml".into(), Position { line, column }))
            .path("spec.mode")
            .cure("do this")
    }

    #[test]
    fn a_problem_shows_its_line_a_caret_and_the_cure() {
        let lines = Lines::new("mode: x\r\nports: [1]\n");
        assert_eq!(
            render(&at(2, 8), Some(&lines)),
            "error: spec.mode: wrong\n --> f.yaml:2:8\n  |\n2 | ports: [1]\n  |        ^\n  = help: do this\n"
        );
        assert_eq!(render(&at(2, 8), None), "error: spec.mode: wrong\n --> f.yaml:2:8\n  = help: do this\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = "a".repeat(100_000);
        let shown = render(&at(1, 50_000), Some(&Lines::new(&text)));
        assert!(shown.len() < 600, "{}", shown.len());
        assert!(shown.contains('…'));
    }

    #[test]
    fn a_place_beyond_the_text_is_no_line_at_all() {
        assert!(!render(&at(9, 1), Some(&Lines::new("a"))).contains('|'));
        assert!(render(&at(1, 900), Some(&Lines::new("a"))).contains('^'));
    }

    #[test]
    fn control_and_direction_characters_of_a_source_line_are_made_visible() {
        let shown = render(&at(1, 1), Some(&Lines::new("a\u{1b}[31m\u{202e}b")));
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    }
}
