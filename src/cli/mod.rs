//! The command line: one file a subcommand.
//!
//! | exit | means |
//! |---|---|
//! | 0 | it worked; `explain`: allowed |
//! | 1 | it did not: problems in a file, a start that failed, an expectation that was not met; `categories diff`: something differs |
//! | 2 | the command line, or the target of a question, is not understood |
//! | 3 | `explain`: denied |

mod ca;
mod categories;
mod check;
mod completions;
mod explain;
mod nft;
mod policy;
mod run;
mod schema;
mod test;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Something did not work.
const FAILED: u8 = 1;
/// What was asked is not understood.
const USAGE: u8 = 2;
/// The answer is no.
const DENIED: u8 = 3;
/// What is logged unless `SLUICEGATE_LOG` says otherwise. The resolver logs names that clients chose.
const LOG: &str = "info,hickory_resolver=off,hickory_net=off,hickory_proto=off";

/// The gate on everything that flows out of a sandbox.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM; SIGHUP reloads the policy and reopens the audit log
    Run(run::Run),
    /// Load policies as `run` would and show every problem
    Check(check::Check),
    /// Say what would be decided about a target, and why, without sending a packet
    Explain(explain::Explain),
    /// Run corpus files: policies with questions and the expected answers
    Test(test::Test),
    /// Print a JSON Schema, for editors and other programs
    Schema(schema::Schema),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Print or check the kernel's rules that take what sandboxes send to the gateway
    Nft(nft::Nft),
    /// Make the sandbox CA, or print how clients are made to trust it
    Ca(ca::Ca),
    /// Show the lists of hosts that policies take by name, or what differs between two of them
    Categories(categories::Categories),
    /// Ask the admin server of a running gateway whether it lives; exit 0 if so
    #[command(name = "health")]
    Health(run::Health),
}

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output, errors to standard error; a closed one is nobody's problem.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let done = match arguments.command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Test(test) => test.run(),
        Command::Schema(schema) => schema.run(),
        Command::Completions(completions) => completions.run(),
        Command::Nft(nft) => nft.run(),
        Command::Ca(ca) => ca.run(),
        Command::Categories(categories) => Ok(categories.run()),
        Command::Health(health) => health.run(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&mut io::stderr().lock(), &format!("error: {error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}

/// Writes text; a reader that is gone is nobody's problem.
fn say(out: &mut impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes bytes to standard output.
fn write(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    // A reader that is gone is nobody's problem.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Writes text to standard output.
fn print(text: &str) {
    say(&mut io::stdout().lock(), text);
}

/// Writes text to standard error.
fn complain(text: &str) {
    say(&mut io::stderr().lock(), text);
}

/// Sends the process's own log to standard error.
fn log() {
    let wanted = EnvFilter::try_from_env("SLUICEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let plain = !io::stderr().is_terminal() || crate::config::no_color();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(!plain)
        .with_writer(io::stderr)
        // It would complain on standard error, and a closed one would turn that into a panic.
        .log_internal_errors(false);
    let allowed = filter_fn(|about| may_be_logged(about.target(), *about.level()));
    tracing_subscriber::registry().with(lines.with_filter(wanted.and(allowed))).init();
}

/// Whether something may be logged at all, whatever `SLUICEGATE_LOG` says.
///
/// SECURITY: S5: libraries do not know what is secret. What they would log in detail has paths, headers and names in it.
fn may_be_logged(target: &str, level: Level) -> bool {
    let own = target.strip_prefix(env!("CARGO_PKG_NAME"));
    own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) || level <= Level::INFO
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
