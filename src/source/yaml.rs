//! YAML events into a located tree, with budgets, and without the parts of YAML that hide something.

use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScanError};

use super::decode::Decoder;
use super::node::{Node, Position};
use super::problem::{Place, Problem};

mod tree;

/// The largest text that is read.
pub const MOST_BYTES: usize = 256 << 20;
/// The most scalars, lists and mappings of a text, keys included, aliases expanded.
pub const MOST_NODES: usize = 8_000_000;
/// The most nodes that aliases of a text may stand for.
pub const MOST_COPIED: usize = 1_000_000;
/// The deepest nesting.
pub const DEEPEST: usize = 32;

/// What was read of a text: the documents that have a tree, and every problem.
#[derive(Debug, Default)]
pub struct Stream {
    /// The documents, in order.
    pub documents: Vec<Root>,
    /// How many documents were so broken that there is no tree of them.
    pub lost: usize,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// A document that has a tree.
#[derive(Debug)]
pub struct Root {
    /// The tree.
    pub node: Node,
    /// Whether nothing was wrong with it. Otherwise the tree lacks what was wrong.
    pub sound: bool,
    /// Whether a top-level or second-level key was ambiguous, so that one cannot say what the document is about.
    pub ambiguous: bool,
}

/// Reads a text in which nothing is wrong.
///
/// # Errors
/// Every problem of the text.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Vec<Node>, Vec<Problem>> {
    let stream = read(file, text);
    if stream.problems.is_empty() {
        Ok(stream.documents.into_iter().map(|root| root.node).collect())
    } else {
        Err(stream.problems)
    }
}

/// Reads what can be read of a text: a broken document does not hide the next one.
#[must_use]
pub fn read(file: &Arc<str>, text: &str) -> Stream {
    if let Some(problem) = refused(file, text) {
        return Stream { documents: Vec::new(), lost: 1, problems: vec![problem] };
    }
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: DEEPEST + 1,
        block_nesting_limit: DEEPEST + 1,
    };
    let decoder = Decoder::new(file);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut tree = tree::Builder::new(&decoder);
    let mut documents = Vec::new();
    let mut lost = 0;
    while let Some(next) = parser.next() {
        let broken = match next {
            Ok((Event::DocumentEnd, _)) => {
                documents.extend(tree.finish());
                continue;
            }
            Ok((event, span)) => match tree.take(event, position(&span.start)) {
                Ok(()) => continue,
                Err(tree::Stop::Document) => true,
                Err(tree::Stop::Stream) => false,
            },
            Err(error) => {
                decoder.report(syntax(file, &error));
                true
            }
        };
        lost += 1;
        tree.abandon();
        if !broken || decoder.errors() > 1000 || !matches!(parser.proceed_next_document(), Ok(true)) {
            break;
        }
    }
    Stream { documents, lost, problems: decoder.into_problems() }
}

/// A text that is not read at all.
fn refused(file: &Arc<str>, text: &str) -> Option<Problem> {
    if text.len() > MOST_BYTES {
        return Some(Problem::error(format!("the file is larger than {} MiB", MOST_BYTES >> 20)).at(Place {
            file: Arc::clone(file),
            line: 1,
            column: 1,
        }));
    }
    let offset = control(text.as_bytes())?;
    let before = text.get(..offset).unwrap_or_default();
    let found = text.get(offset..).and_then(|rest| rest.chars().next()).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let at = Position { line: narrow(line), column: narrow(column) };
    Some(
        Problem::error(format!("control character U+{:04X}", u32::from(found)))
            .at(Place::new(file, at))
            .cure("remove it: a policy is plain text"),
    )
}

/// The offset of the first control character but tab, line feed and carriage return.
fn control(bytes: &[u8]) -> Option<usize> {
    let mut last = 0;
    bytes
        .iter()
        .position(|byte| {
            let c1 = last == 0xc2 && (0x80..=0x9f).contains(byte);
            last = *byte;
            c1 || (*byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || *byte == 0x7f
        })
        .map(
            |index| {
                if bytes.get(index).is_some_and(|byte| *byte >= 0x80) {
                    index.saturating_sub(1)
                } else {
                    index
                }
            },
        )
}

/// A number that fits, or the largest that does.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Where the parser says something is.
fn position(marker: &Marker) -> Position {
    Position { line: narrow(marker.line()), column: narrow(marker.col().saturating_add(1)) }
}

/// What the parser says is wrong, with what would be right.
fn syntax(file: &Arc<str>, error: &ScanError) -> Problem {
    let place = Place::new(file, position(error.marker()));
    let kind = error.kind();
    if *kind == ErrorKind::RecursionLimitExceeded {
        return Problem::error(format!("nested deeper than {DEEPEST}")).at(place);
    }
    let problem = Problem::error(format!("not YAML: {}", error.info())).at(place);
    let cure = if *kind == ErrorKind::MissingAnchorOrAliasName {
        "quote it: \"*\""
    } else if matches!(
        kind,
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation
    ) {
        "indent with spaces"
    } else if matches!(kind, ErrorKind::UnexpectedCharacter { .. }) {
        "quote text that starts with this character"
    } else if *kind == ErrorKind::DirectiveDisallowed {
        "remove the line that starts with `%`"
    } else if matches!(kind, ErrorKind::UnclosedFlowCollection { .. } | ErrorKind::UnclosedQuotedScalar) {
        "close it"
    } else {
        return problem;
    };
    problem.cure(cure)
}

#[cfg(test)]
mod tests;
