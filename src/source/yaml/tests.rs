#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "tests"
)]

use proptest::prelude::*;

use super::super::node::Kind;
use super::super::render::{Lines, render};
use super::*;

fn file() -> Arc<str> {
    "f.yaml".into()
}

fn one(text: &str) -> Kind {
    let mut documents = parse(&file(), text).unwrap_or_else(|problems| panic!("{text:?}: {problems:?}"));
    assert_eq!(documents.len(), 1);
    documents.remove(0).kind
}

fn problems(text: &str) -> Vec<String> {
    match parse(&file(), text) {
        Ok(nodes) => panic!("accepted {text:?}: {nodes:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn text(kind: &Kind) -> &str {
    match kind {
        Kind::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars_lists_and_mappings_know_where_they_are() {
    let Kind::Map(entries) = one("mode: Limited\nports:\n  - 443\n") else { panic!() };
    assert_eq!(
        (entries[0].0.at, entries[0].1.at),
        (Position { line: 1, column: 1 }, Position { line: 1, column: 7 })
    );
    let Kind::List(items) = &entries[1].1.kind else { panic!() };
    assert_eq!(items[0].at, Position { line: 3, column: 5 });
    assert_eq!(items[0].kind, Kind::Int(443));
}

#[test]
fn json_is_read_as_it_stands() {
    let json = "{\n\t\"a\": [1, true, null, \"x\\u0041\\/\\ud83d\\ude00\"],\n\t\"b\":{\"c\":\"*.x\"}\n}\n";
    let Kind::Map(entries) = one(json) else { panic!() };
    let Kind::List(items) = &entries[0].1.kind else { panic!() };
    assert_eq!(items[3].kind, Kind::Text("xA/😀".to_owned()));
    assert!(matches!(one("{\"a\":{\"b\":[{\"c\":1},{\"c\":2}]}}"), Kind::Map(_)));
}

#[test]
fn a_byte_order_mark_and_crlf_change_nothing() {
    let Kind::Map(entries) = one("\u{feff}mode: Limited\r\nx: 'y'\r\n") else { panic!() };
    assert_eq!(&*entries[0].0.text, "mode");
    assert_eq!(text(&entries[0].1.kind), "Limited");
}

#[test]
fn quoted_scalars_are_text_and_old_booleans_too() {
    for (written, read) in [("'true'", "true"), ("\"1\"", "1"), ("yes", "yes"), ("!!str 5", "5")] {
        assert_eq!(text(&one(written)), read);
    }
}

#[test]
fn an_unquoted_wildcard_is_told_to_be_quoted_and_hides_nothing_else() {
    let found = problems("hostRules: [*.github.com, a: b: c]\nmode: *.x\n");
    assert!(found[0].contains("quote it: \"*.github.com\""), "{found:?}");
    let found = problems("hostRules:\n  - *.github.com\n  - *.npmjs.org:443\nmode: Limited\nmode: x\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[1].starts_with("f.yaml:3:5") && found[1].contains("quote it: \"*.npmjs.org:443\""),
        "{found:?}"
    );
    assert!(problems("hostRules: [*]").iter().any(|problem| problem.contains("quote it: \"*\"")));
    assert!(problems("hostRules:\n  - *\n").iter().any(|problem| problem.contains("quote it: \"*\"")));
}

#[test]
fn duplicate_keys_are_refused_in_small_and_large_mappings() {
    assert!(
        problems("a: 1\nb: 2\na: 3\n")[0].contains("f.yaml:3:1: error: duplicate key `a`: it is on line 1")
    );
    assert!(problems("{\"a\": 1, \"a\": 2}")[0].contains("duplicate"));
    let many: String = (0..50).map(|n| format!("k{n}: 1\n")).collect();
    assert!(matches!(one(&many), Kind::Map(_)));
    for again in ["k3", "k11", "k12", "k49"] {
        assert!(problems(&format!("{many}{again}: 2\n"))[0].contains("duplicate key"), "{again}");
    }
}

#[test]
fn merge_keys_tags_directives_and_odd_keys_are_refused() {
    assert!(problems("a: &a {x: 1}\nb: {<<: *a}\n")[0].contains("merge keys"));
    assert!(problems("a: !secret x\n")[0].contains("`!secret`"));
    assert!(problems("a: !!int '5'\n")[0].contains("tag"));
    assert!(problems("%YAML 1.1\n---\na: on\n")[0].contains("directive"));
    assert!(problems("{[a]: 1}")[0].contains("a key must be text"));
    assert!(problems("{{a: b}: 1, c: 2}")[0].contains("a key must be text"));
}

#[test]
fn control_characters_are_refused_written_or_escaped() {
    assert!(problems("a: \u{0}")[0].starts_with("f.yaml:1:4: error: control character U+0000"));
    assert!(problems("a: x\nb: \u{7f}")[0].contains("f.yaml:2:4"));
    assert!(problems("a: \u{9b}31m")[0].contains("U+009B"));
    assert!(problems("a: \"\\0\"")[0].contains("U+0000"));
    assert!(problems("a: \"\\e[2J\"")[0].contains("U+001B"));
}

#[test]
fn nesting_beyond_the_limit_is_refused_in_every_form() {
    assert!(matches!(one(&format!("{}{}", "[".repeat(32), "]".repeat(32))), Kind::List(_)));
    for deep in [
        format!("{}{}", "[".repeat(33), "]".repeat(33)),
        "[".repeat(100_000),
        "{a: ".repeat(40),
        (0..40).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        "- ".repeat(50_000),
        "? ".repeat(50_000),
        format!("a: &a {}1{}\nb: {}*a{}", "[".repeat(20), "]".repeat(20), "[".repeat(20), "]".repeat(20)),
    ] {
        let found = problems(&deep);
        assert!(found.iter().any(|problem| problem.contains("nested deeper")), "{found:?}");
    }
}

#[test]
fn aliases_are_read_within_a_budget() {
    let Kind::Map(entries) = one("a: &x [1, 2]\nb: *x\n") else { panic!() };
    assert_eq!(entries[0].1, entries[1].1);
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 10].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    assert!(problems(&bomb)[0].contains("aliases"));
    assert!(problems("a: &a [*a]\n")[0].contains("inside the very thing"));
    assert!(problems("a: *nobody\n")[0].contains("alias"));
}

#[test]
fn a_broken_document_does_not_hide_the_next_one() {
    let stream = read(&file(), "a: [1, 2\n---\nb: 1\n---\nc: 1\nc: 2\n");
    assert_eq!((stream.lost, stream.documents.len()), (1, 2));
    assert!(stream.documents[0].sound && !stream.documents[1].sound && stream.documents[1].ambiguous);
    assert_eq!(stream.problems.len(), 2);
}

#[test]
fn an_empty_text_has_no_documents() {
    for text in ["", "\n\n", "# nothing\n", "\u{feff}"] {
        assert_eq!(parse(&file(), text), Ok(Vec::new()), "{text:?}");
    }
    assert_eq!(one("---\n"), Kind::Null);
}

#[test]
fn carets_point_at_what_is_wrong() {
    let text = "mode: Limited\nmode: Full\n";
    let problems = parse(&file(), text).unwrap_err();
    assert_eq!(
        render(&problems[0], Some(&Lines::new(text))),
        "error: duplicate key `mode`: it is on line 1 already\n --> f.yaml:2:1\n  |\n2 | mode: Full\n  | ^\n  = help: keep one of them\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let stream = read(&file(), &text);
        let lines = Lines::new(&text);
        for problem in &stream.problems {
            let _shown = render(problem, Some(&lines));
        }
    }

    #[test]
    fn no_text_of_yaml_characters_makes_the_reader_panic(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \n\ta-c0-9.<]{0,60}") {
        let stream = read(&file(), &text);
        prop_assert_eq!(stream.problems.is_empty(), parse(&file(), &text).is_ok());
    }
}
