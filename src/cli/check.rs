//! `check`: every problem at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::policy::{as_json, authority, config, load, rendered};

/// Load policies as `run` would and show every problem
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Policy files or directories, each loaded by itself
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The process configuration: its sandboxes and guards are taken into account, and its sandbox CA is checked. Without
    /// it, a Sandbox document is held against the Group that it names itself, and neither an unknown sandbox or group
    /// nor a missing sandbox CA is noticed
    #[arg(long, env = "SLUICEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the problems as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Checks each path.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let config = match config(self.config.as_deref())? {
            Ok(config) => config,
            Err(problems) => {
                super::complain(&problems);
                return Ok(super::FAILED);
            }
        };
        let mut failed = false;
        let mut found = Vec::new();
        if let Some(problem) = authority(&config) {
            failed |= problem.is_error();
            if self.json {
                found.push(as_json(&problem));
            } else {
                super::complain(&rendered(&[problem], &BTreeMap::new()));
            }
        }
        for path in &self.paths {
            let loaded = load(path, &config, self.config.is_some())?;
            let errors = loaded.problems.iter().filter(|problem| problem.is_error()).count();
            let warnings = loaded.problems.len() - errors;
            failed |= errors > 0;
            if self.json {
                found.extend(loaded.problems.iter().map(as_json));
                continue;
            }
            super::complain(&rendered(&loaded.problems, &loaded.texts));
            let documents = loaded.policies.documents();
            let rules: usize = documents.iter().map(|document| document.rule_count()).sum();
            let verdict = if errors > 0 { "refused" } else { "ok" };
            super::print(&format!(
                "{}: {verdict}: {} document(s), {rules} rule(s), {errors} error(s), {warnings} warning(s)\n",
                path.display(),
                documents.len(),
            ));
        }
        if self.json {
            super::print(&format!("{:#}\n", json!({"ok": !failed, "problems": found})));
        }
        Ok(if failed { super::FAILED } else { 0 })
    }
}
