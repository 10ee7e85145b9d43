//! `test`: policies with questions and the answers they must get.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::corpus::{self, Outcome};
use crate::source::render::{Lines, render};

/// Run corpus files: policies with questions and the expected answers
#[derive(Debug, Args)]
pub(super) struct Test {
    /// Corpus files; a policy path in them is relative to the working directory
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl Test {
    /// Runs each file.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let (mut passed, mut failures) = (0_usize, Vec::<Outcome>::new());
        for path in &self.paths {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            match corpus::run(&path.display().to_string(), &text) {
                Ok(outcomes) => {
                    passed += outcomes.iter().filter(|outcome| outcome.is_met()).count();
                    failures.extend(outcomes.into_iter().filter(|outcome| !outcome.is_met()));
                }
                Err(problems) => {
                    let lines = Lines::new(&text);
                    let text: String = problems.iter().map(|problem| render(problem, Some(&lines))).collect();
                    super::complain(&text);
                    return Ok(super::FAILED);
                }
            }
        }
        if self.json {
            let failed: Vec<_> = failures.iter().map(Outcome::as_json).collect();
            super::print(&format!("{:#}\n", json!({"passed": passed, "failed": failed})));
        } else {
            for failure in &failures {
                super::print(&format!("{failure}\n"));
            }
            super::print(&format!("{passed} passed, {} failed\n", failures.len()));
        }
        Ok(if failures.is_empty() { 0 } else { super::FAILED })
    }
}
