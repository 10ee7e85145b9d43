//! What several subcommands do with policy files: load them as `run` would, and show what is wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::app;
use crate::config::Config;
use crate::live::store::{Loaded, Store};
use crate::policy::Authority;
use crate::source::Problem;
use crate::source::render::{Lines, render};

/// A configuration from a file, or every default; `Err` holds its problems, rendered.
pub(super) fn config(path: Option<&Path>) -> anyhow::Result<Result<Config, String>> {
    let Some(path) = path else { return Ok(Ok(Config::default())) };
    Ok(parsed(path, &text(path)?))
}

/// What a configuration file holds.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The configuration that a file holds, its warnings shown; `Err` holds its problems, rendered.
pub(super) fn parsed(path: &Path, text: &str) -> Result<Config, String> {
    let name: Arc<str> = path.display().to_string().into();
    let lines = Lines::new(text);
    match Config::parse(&name, text) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                super::complain(&render(warning, Some(&lines)));
            }
            Ok(loaded.config)
        }
        Err(problems) => Err(problems.iter().map(|problem| render(problem, Some(&lines))).collect()),
    }
}

/// Loads policies as the first load of `run` does. `told` says whether the configuration is the one that it will have,
/// rather than every default; without it, it is not known whether TLS can be decrypted, which networks there are and
/// whether rules may be skipped, and what a document wants of these is taken to be so.
pub(super) fn load(path: &Path, config: &Config, told: bool) -> anyhow::Result<Loaded> {
    let mut guards = app::guards(config, &[]).context("cannot list this host's addresses")?;
    if !told {
        guards.interception.authority = Authority::Unknown;
        guards.networks.delegated = None;
        guards.skip_permitted = true;
    }
    let mut store = Store::new(path.to_owned(), app::roster(config));
    let mut loaded = store.load(&Arc::new(guards), None).context("nothing was loaded")?;
    if told {
        loaded.problems.extend(app::unreadable(config, &loaded.policies));
    }
    Ok(loaded)
}

/// What is wrong with the sandbox CA of a configuration, and what should be known of it.
pub(super) fn authority(config: &Config) -> Option<Problem> {
    match app::authority(config) {
        Ok(found) => found.and_then(|authority| authority.warning()).map(Problem::warning),
        Err(error) => Some(Problem::error(error.to_string())),
    }
    .map(|problem| problem.path("intercept"))
}

/// Every problem with its source line.
pub(super) fn rendered(problems: &[Problem], texts: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for problem in problems {
        let text = problem.place.as_ref().and_then(|place| texts.get(&*place.file));
        let lines = text.map(|text| Lines::new(text));
        let _ = writeln!(out, "{}", render(problem, lines.as_ref()).trim_end());
    }
    out
}

/// A problem for programs.
pub(super) fn as_json(problem: &Problem) -> Value {
    json!({
        "severity": problem.severity.as_str(),
        "file": problem.place.as_ref().map(|place| place.file.to_string()),
        "line": problem.place.as_ref().map(|place| place.line),
        "column": problem.place.as_ref().map(|place| place.column),
        "path": problem.path,
        "message": problem.message,
        "cure": problem.cure,
    })
}
