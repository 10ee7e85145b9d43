//! `completions`: for a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    #[expect(clippy::unnecessary_wraps, reason = "every subcommand answers the same way")]
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Arguments::command(), "sluicegate", &mut script);
        super::print(&String::from_utf8_lossy(&script));
        Ok(0)
    }
}
