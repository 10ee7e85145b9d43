//! Real clients and checkers: `curl`, `openssl`, `python3`, `promtool`.
//!
//! ```ignore
//! let Some(curl) = tool::find("curl") else { return };
//! let ran = tool::run(&curl, ["-x", &proxy, "http://www.example.com/"]).await;
//! assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello"));
//! ```
//! A test whose tool is missing says so and passes, except where `SLUICEGATE_REQUIRE_TOOLS=1` is
//! set: there everything was installed, so a missing tool is a failure.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a tool may run.
const LONGEST_RUN: Duration = Duration::from_mins(1);

/// How a tool ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// Where a tool is. `python` is the one with the test packages (`SLUICEGATE_TEST_PYTHON`), or none.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = if name == "python" {
        env::var_os("SLUICEGATE_TEST_PYTHON").map(PathBuf::from).filter(|path| path.is_file())
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
    };
    found.or_else(|| missing(&format!("`{name}`")))
}

/// Says that a test is skipped because of what is missing; fails where everything must be there.
pub fn missing<T>(what: &str) -> Option<T> {
    let required = env::var_os("SLUICEGATE_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{what} is required here and missing");
    eprintln!("skipped: {what} is missing (.ci/run, as root, has all of it)");
    None
}

/// Runs a tool to its end, with nothing on its input and no proxy in its environment.
pub async fn run<A: AsRef<OsStr>>(tool: &Path, arguments: impl IntoIterator<Item = A>) -> Ran {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let ended = tokio::time::timeout(LONGEST_RUN, command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{} ran longer than {LONGEST_RUN:?}", tool.display()));
    let ended = ended.unwrap_or_else(|error| panic!("{} cannot run: {error}", tool.display()));
    Ran {
        code: ended.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}
