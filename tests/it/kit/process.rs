//! The real binary as a child process, its outputs line by line.
//!
//! ```ignore
//! let gateway = Process::start(&place, &["--policy", "policy.yaml"]).await;
//! let mut client = Client::connect(gateway.proxy()).await;
//! gateway.signal(Signal::TERM);
//! assert_eq!(gateway.ended().await, Some(0));
//! ```
//! It is killed when the handle is dropped.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::tool::Ran;
use super::{Seen, background, within};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_sluicegate");

/// Runs the binary to its end in a place.
pub async fn ran(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = command(BINARY);
    let output = command.args(arguments).current_dir(place.path("")).output();
    let output = within("the binary to end", output).await.expect("the binary runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A directory with the files of one gateway.
pub struct Place(TempDir);

impl Place {
    /// A directory with this policy in `policy.yaml`.
    pub fn with(policy: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        place.write("policy.yaml", policy);
        place
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for command lines and configurations.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("a file is written");
    }

    /// Replaces a file at once.
    pub fn replace(&self, name: &str, text: &str) {
        self.write("draft", text);
        std::fs::rename(self.path("draft"), self.path(name)).expect("a file is replaced");
    }

    /// What a file holds.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }
}

/// A command that inherits nothing that could change what is tested.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A running gateway.
pub struct Process {
    child: Child,
    /// Lines of its standard output.
    pub stdout: Arc<Seen<String>>,
    /// Lines of its standard error.
    pub stderr: Arc<Seen<String>>,
    addresses: (SocketAddr, SocketAddr),
}

impl Process {
    /// Runs it in a place on free ports, and waits until it listens.
    pub async fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = command(BINARY);
        command.arg("run").args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(arguments);
        command.current_dir(place.path(""));
        Self::spawn(command).await
    }

    /// Runs a command that ends in the gateway, and waits until that listens.
    pub async fn spawn(mut command: Command) -> Self {
        let _on_background = background().enter();
        let mut child = command.spawn().expect("the binary runs");
        let stdout = lines(child.stdout.take());
        let stderr = lines(child.stderr.take());
        let ready = |lines: &[String]| lines.iter().any(|line| line.contains("admin server is listening"));
        let log = tokio::select! {
            log = stderr.wait_until("the gateway to listen", ready) => log,
            status = child.wait() => panic!("it ended with {status:?}: {:#?}", stderr.all()),
        };
        let addresses = (address(&log, "explicit proxy"), address(&log, "admin server"));
        Self { child, stdout, stderr, addresses }
    }

    /// Where clients connect.
    pub fn proxy(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where the admin server is.
    pub fn admin(&self) -> SocketAddr {
        self.addresses.1
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("a process id"), signal).expect("it runs");
    }

    /// Waits for its end and gives the exit code; none where a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        within("the gateway to end", self.child.wait()).await.expect("a status").code()
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Waits for a line of its standard error with this in it.
    pub async fn logs(&self, part: &str) {
        let found = |lines: &[String]| lines.iter().any(|line| line.contains(part));
        self.stderr.wait_until(&format!("`{part}` in the log"), found).await;
    }

    /// Waits until the records on its standard output are as wanted.
    pub async fn records(&self, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        parsed(&self.stdout.wait_until(what, |lines| enough(&parsed(lines))).await)
    }
}

/// Lines as JSON; fails on one that is not.
pub fn parsed(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.iter().map(parse).collect()
}

/// Collects lines as they come.
pub fn lines(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Arc<Seen<String>> {
    let seen = Arc::new(Seen::new());
    if let Some(stream) = stream {
        let seen = Arc::clone(&seen);
        background().spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                seen.push(line);
            }
        });
    }
    seen
}

/// The address in the line that says who listens.
fn address(log: &[String], who: &str) -> SocketAddr {
    let line = log.iter().find(|line| line.contains(who) && line.contains("is listening"));
    let line = line.unwrap_or_else(|| panic!("no {who} in {log:#?}"));
    line.rsplit_once("address=").and_then(|(_, text)| text.parse().ok()).expect("an address")
}
