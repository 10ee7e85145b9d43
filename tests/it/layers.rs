//! The layers of the house: a module names modules of lower rows only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows, lowest first. `main`, `lib`, `manual` and `schema` stand above what they put together.
const ROWS: [&[&str]; 10] = [
    &["addr", "source"],
    &["policy", "wire"],
    &["audit", "secrets", "identity", "drain", "explain", "heap", "capture", "share"],
    &["metrics", "live", "upstream", "intercept"],
    &["proxy", "admin", "corpus"],
    &["config"],
    &["app"],
    &["manual", "schema"],
    &["cli"],
    &["main", "lib"],
];

/// Rows below this one are pure.
const FIRST_IMPURE_ROW: usize = 2;

/// What pure rows must not name, beside `std::fs`.
const IMPURE: [&str; 8] = [
    "tokio::",
    "tracing::",
    "hickory_resolver::",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::process",
    "std::thread",
];

/// The row of a module.
fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// What is wrong with one source file; `path` is relative to `src`.
fn problems_of(path: &str, text: &str) -> Vec<String> {
    let parts: Vec<_> = path.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let module = parts[0];
    let Some(row) = row_of(module) else {
        return vec![format!("{path}: module `{module}` has no row in the table of layers")];
    };
    let (text, _) = without_tests(&without_comments_and_strings(text));
    let to_root = "super::".repeat(parts.len());
    let mut named = BTreeSet::new();
    for root in ["crate::", "sluicegate::", to_root.as_str()] {
        named.extend(names_after(&text, root));
    }
    let mut problems: Vec<_> = named
        .iter()
        .filter(|name| name.as_str() != module && row_of(name).is_some_and(|other| other >= row))
        .map(|name| format!("{path}: `{module}` must not name `{name}`, which is not in a lower row"))
        .collect();
    if row < FIRST_IMPURE_ROW {
        let named = IMPURE.iter().filter(|impure| holds_path(&text, impure));
        problems.extend(named.map(|impure| format!("{path}: a pure module names `{impure}`")));
        if names_after(&text, "std::").contains("fs") {
            problems.push(format!("{path}: a pure module names `std::fs`"));
        }
    }
    problems
}

/// Whether `text` names this path, and not only one that ends like it.
fn holds_path(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| starts_a_path(text, at))
}

/// Whether the path at `at` begins there.
fn starts_a_path(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches("super::").chars().next_back();
    let inside = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
    !inside || text[at..].starts_with("Instant") || text[at..].starts_with("SystemTime")
}

/// The names that directly follow `root`, also inside a `{…}` group.
fn names_after(text: &str, root: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(root).filter(|(at, _)| starts_a_path(text, *at)) {
        let rest = text[at + root.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.extend(identifier(rest)),
        }
    }
    names
}

/// The first name of each entry of a group whose `{` was taken off.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0_usize, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.extend(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// The identifier at the start of `text`.
fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The code without comments and without the insides of literals.
fn without_comments_and_strings(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest, code.chars().next_back()) {
            code.push_str("\"\"");
            length
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    code
}

/// The length of the (nested) block comment at the start of `text`.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the text or character literal at the start of `text`; `before` stands in front of it.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with('r') && !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') {
        let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
        if text[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let inside = 2 + hashes;
            return Some(text[inside..].find(&close).map_or(text.len(), |end| inside + end + close.len()));
        }
    }
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return (quote == '"' || at > 1).then_some(at + 1),
            // A lifetime: its second character is not a closing quote.
            _ if quote == '\'' && !text[1..].starts_with('\\') && text.chars().nth(2) != Some('\'') => {
                return None;
            }
            _ => {}
        }
    }
    Some(text.len())
}

/// The code without `#[cfg(test)]` items, and the names of the module files among them.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut files, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        let (mut depth, mut end) = (0_usize, rest.len());
        for (at, c) in rest.char_indices() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';' | ',') {
                end = at + 1;
                break;
            }
        }
        let item = rest[..end].trim();
        files.extend(item.strip_suffix(';').and_then(|item| item.split("mod ").nth(1)).map(str::to_owned));
        rest = &rest[end..];
    }
    kept.push_str(rest);
    (kept, files)
}

/// Every Rust file below `directory`.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_module_names_lower_rows_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(files.len() > 5, "the sources are where they are looked for");
    let mut test_files = BTreeSet::new();
    for path in &files {
        let (_, names) = without_tests(&without_comments_and_strings(&fs::read_to_string(path).unwrap()));
        let inside = path.with_extension("");
        let home = if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
            path.parent().unwrap()
        } else {
            &inside
        };
        test_files.extend(names.iter().map(|name| home.join(format!("{name}.rs"))));
    }
    let mut problems = Vec::new();
    for path in files.iter().filter(|path| !test_files.contains(*path)) {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap();
        problems.extend(problems_of(relative, &fs::read_to_string(path).unwrap()));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_broken_layer_would_be_found() {
    for (path, text) in [
        ("addr/name.rs", "use crate::policy::Policy;"),
        ("addr/name.rs", "use crate::source::Place;"),
        ("policy/mod.rs", "use crate::{addr::Name, wire::{Hello, Record}};"),
        ("policy/mod.rs", "fn f(x: super::wire::Hello) {}"),
        ("policy/a/b.rs", "use super::super::super::wire;"),
        ("drain.rs", "pub use crate::audit;"),
        ("proxy/connect.rs", "fn f() { crate::admin::serve() }"),
        ("policy/mod.rs", "use tokio::sync::watch;"),
        ("policy/mod.rs", "use std::{fmt, fs::File};"),
        ("wire/mod.rs", "fn f() { std::fs::read(\"x\"); }"),
        ("wire/mod.rs", "fn f() { let t = std::time::Instant::now(); }"),
        ("wire/mod.rs", "fn f<'a>(c: char) { if c == '\"' { tracing::info!(\"x\") } }"),
        ("policy/mod.rs", "#[cfg(test)] mod tests { use crate::app; } use crate::app;"),
        ("unheard_of.rs", ""),
    ] {
        assert_eq!(problems_of(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn what_keeps_the_layers_passes() {
    for (path, text) in [
        ("policy/mod.rs", "use crate::addr::Name; use crate::policy::mode; use super::addr::Name;"),
        (
            "policy/mod.rs",
            "//! See crate::app and tokio::spawn.\n/* crate::app /* x */ std::fs */ /// crate::cli",
        ),
        ("policy/mod.rs", "const A: &str = \"crate::app \\\" tokio::\"; const B: &str = r#\"\" std::fs \"#;"),
        (
            "policy/mod.rs",
            "#[cfg(test)]\n#[allow(x, reason = \"tests\")]\nmod tests { use crate::app; fn f() {} }",
        ),
        ("policy/mod.rs", "#[cfg(test)] use crate::app; fn f() {}"),
        ("policy/a.rs", "fn f() { my_crate::app(); not_tokio::x(); other::std::env(); }"),
        ("live/mod.rs", "use tokio::sync::watch; use std::fs; use crate::audit::Audit;"),
        ("main.rs", "use sluicegate::cli;"),
        ("lib.rs", "pub use crate::app::run;"),
    ] {
        assert_eq!(problems_of(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    let (_, files) = without_tests("#[cfg(test)]\nmod naive;\nmod real;");
    assert_eq!(files, ["naive"]);
}

#[test]
fn s6_no_code_is_unsafe_but_the_calls_that_give_memory_back_and_choose_a_port_late() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_unsafe = |path: &PathBuf| {
        let code = without_comments_and_strings(&fs::read_to_string(path).expect("a source file"));
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    let mut found: Vec<_> = rust_files(&root).into_iter().filter(is_unsafe).collect();
    found.sort_unstable();
    assert_eq!(found, [root.join("heap.rs"), root.join("upstream/port.rs")]);
    let manifest = fs::read_to_string(root.with_file_name("Cargo.toml")).expect("the manifest");
    assert!(manifest.contains("unsafe_code = \"deny\""));
}
