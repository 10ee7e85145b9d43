//! The list of threats in the manual says what is true: each row has its tests, each file is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How many rows each family has.
const FAMILIES: [(char, u32); 12] = [
    ('N', 8),
    ('A', 6),
    ('D', 6),
    ('I', 7),
    ('T', 4),
    ('F', 8),
    ('S', 7),
    ('P', 8),
    ('R', 6),
    ('L', 3),
    ('M', 1),
    ('C', 2),
];
/// The heading of the rows that no test shows, while there are any.
const NOT_COVERED: &str = "//! # Not covered";

/// A row of a table of the manual.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    ids: Vec<String>,
    /// Where it ends: files named beside links.
    stops: Vec<String>,
    /// The files of its tests.
    shows: Vec<String>,
}

/// Whether this is an id: a letter and a number.
fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.len() > 1
        && chars.all(|c| c.is_ascii_digit())
}

/// The paths of sources between the backticks of a cell.
fn paths(cell: &str) -> Vec<String> {
    let code = cell.split('`').skip(1).step_by(2);
    code.filter(|code| code.starts_with("src/") || code.starts_with("tests/")).map(str::to_owned).collect()
}

/// The rows whose first cell holds ids.
fn rows(manual: &str) -> Vec<Row> {
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("//! | ")?.split(" | ").collect();
        let ids: Vec<_> = cells.first()?.split(", ").map(str::to_owned).collect();
        let cell = |index| paths(cells.get(index).copied().unwrap_or_default());
        ids.iter().all(|id| is_id(id)).then(|| Row { ids, stops: cell(2), shows: cell(3) })
    };
    manual.lines().filter_map(row).collect()
}

/// The ids that the name of a test begins with: `n1_a2_a_sentence` shows N1 and A2.
fn ids_of(test: &str) -> impl Iterator<Item = String> {
    test.split('_').take_while(|part| is_id(part)).map(str::to_uppercase)
}

/// The ids that the functions of a source show.
fn shown_in(source: &str) -> BTreeSet<String> {
    let names = source.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))
    });
    names.flat_map(ids_of).collect()
}

/// Every Rust file below `directory`, with its path from the root of the package.
fn sources(root: &Path, directory: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = vec![root.join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn every_threat_of_the_manual_has_the_tests_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = sources(root, "src");
    files.extend(sources(root, "tests"));
    let manual = &files["src/manual/threats.rs"];
    let shown: BTreeMap<&str, BTreeSet<String>> =
        files.iter().map(|(path, text)| (path.as_str(), shown_in(text))).collect();
    let (covered, not_covered) = manual.split_once(NOT_COVERED).unwrap_or((manual, ""));

    let mut problems = Vec::new();
    for Row { ids, stops, shows } in rows(covered) {
        let id = &ids[0];
        if !shown.values().any(|ids| ids.contains(id)) {
            problems.push(format!("{id}: no test begins with `{}_`", id.to_lowercase()));
        }
        for file in shows.iter().filter(|file| shown.get(file.as_str()).is_none_or(|ids| !ids.contains(id))) {
            problems.push(format!("{id}: {file} has no test of it"));
        }
        problems.extend(
            stops
                .iter()
                .filter(|file| !files.contains_key(*file))
                .map(|file| format!("{id}: there is no {file}")),
        );
    }
    for (family, last) in FAMILIES {
        for id in (1..=last).map(|number| format!("{family}{number}")) {
            let count = |part| rows(part).iter().filter(|row| row.ids.contains(&id)).count();
            if count(covered) + count(not_covered) != 1 {
                problems.push(format!("{id}: must have exactly one row"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn rows_and_tests_are_found() {
    let manual = "//! | id | what |\n//! |---|---|\n//! | N1 | a | [`X`](crate::x), `src/a.rs` | `src/b.rs`, `tests/it/c.rs` |\n\
                  //! | F6, R3 | why |\n";
    let found = rows(manual);
    assert_eq!(found[0].stops, ["src/a.rs"]);
    assert_eq!(found[0].shows, ["src/b.rs", "tests/it/c.rs"]);
    assert_eq!(found[1].ids, ["F6", "R3"]);
    let source = "    #[test]\n    fn n1_a2_a_sentence() {}\nasync fn d6_other() {}\nfn plain_n3_name() {}\n";
    assert_eq!(shown_in(source).into_iter().collect::<Vec<_>>(), ["A2", "D6", "N1"]);
}
