#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

mod destination;
mod rule;
mod samples;
mod secret;
mod spec;
mod vnet;
mod whole;

fn load(text: &str) -> Parsed {
    parse(&"dir/egress.yaml".into(), text)
}

/// The one document of a text in which nothing is wrong.
fn good(text: &str) -> Document {
    let mut parsed = load(text);
    assert_eq!(parsed.problems, [], "{text}");
    assert!(parsed.failed.is_empty());
    parsed.documents.remove(0)
}

/// The errors of a text, each on one line.
fn errors(text: &str) -> Vec<String> {
    let parsed = load(text);
    let errors: Vec<String> =
        parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(!errors.is_empty(), "accepted {text:?}");
    assert!(parsed.documents.is_empty() && !parsed.failed.is_empty(), "{text}");
    errors
}

/// The text has exactly one error, and it contains every one of these.
fn error(text: &str, parts: &[&str]) {
    let found = errors(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    for part in parts {
        assert!(found[0].contains(part), "{text}: {found:?} lacks {part:?}");
    }
}

/// The warnings of a text that loads.
fn warnings(text: &str) -> Vec<String> {
    let parsed = load(text);
    assert!(parsed.failed.is_empty(), "{:?}", parsed.problems);
    parsed.problems.iter().map(ToString::to_string).collect()
}
