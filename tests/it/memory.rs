//! What other processes of the host see of the gateway's memory.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::kit::background;
use crate::kit::process::{BINARY, Place, Process, command, lines};
use crate::kit::within;

/// A user without capabilities, when this one has them.
const NOBODY: u32 = 65_534;
/// A value that is in the environment of the processes.
const CANARY: &str = "hunter2-canary";

/// The same command as a user without capabilities, with the value in its environment.
fn unprivileged(mut command: Command) -> Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("CANARY", CANARY);
    command
}

/// What that user reads of the environment of a process.
async fn environment(id: u32) -> String {
    let mut command = unprivileged(command("cat"));
    command.arg(format!("/proc/{id}/environ"));
    let output = within("a process to end", command.output()).await.expect("cat runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn s5_other_processes_of_its_user_cannot_read_the_memory_of_the_gateway() {
    let place = Place::with("mode: Limited\n");
    let binary = place.path("sluicegate");
    if std::fs::hard_link(BINARY, &binary).is_err() {
        std::fs::copy(BINARY, &binary).expect("a copy");
    }
    std::fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).expect("a directory");

    let mut other = unprivileged(command("sh"));
    other.args(["-c", "echo ready; read line"]).stdin(Stdio::piped());
    let mut other = {
        let _on_background = background().enter();
        other.spawn().expect("a shell runs")
    };
    let mut ready = [0; 6];
    let read = other.stdout.as_mut().expect("a pipe").read_exact(&mut ready);
    within("a shell", read).await.expect("it is ready");
    let seen = environment(other.id().expect("it runs")).await;
    assert!(seen.contains(CANARY), "processes of one user see each other: {seen:?}");

    let mut gateway = unprivileged(command(&binary));
    gateway.args(["run", "--policy", "policy.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    gateway.current_dir(place.path(""));
    let gateway = Process::spawn(gateway).await;
    assert_eq!(environment(gateway.id()).await, "");
}

/// Whether a command that is aborted once `ready` leaves its memory in a file, where nothing limits the size of one.
async fn is_dumped(place: &Place, line: &str, ready: &str) -> bool {
    let mut shell = command("sh");
    shell.args(["-c", &format!("ulimit -c unlimited && exec {line}")]).current_dir(place.path(""));
    let mut child = {
        let _on_background = background().enter();
        shell.spawn().expect("a shell runs")
    };
    let (stdout, stderr) = (lines(child.stdout.take()), lines(child.stderr.take()));
    let seen = |lines: &[String]| lines.iter().any(|line| line.contains(ready));
    tokio::select! {
        _ = stdout.wait_until(ready, seen) => {}
        _ = stderr.wait_until(ready, seen) => {}
    }
    let id = i32::try_from(child.id().expect("it runs")).expect("a process id");
    kill_process(Pid::from_raw(id).expect("a process id"), Signal::ABORT).expect("it runs");
    within("a process to end", child.wait()).await.expect("a status").core_dumped()
}

#[tokio::test]
async fn s5_a_gateway_that_crashes_leaves_no_memory_behind() {
    let place = Place::with("mode: Limited\n");
    if !is_dumped(&place, "sh -c 'echo ready; read line <&-; exec sleep 60'", "ready").await {
        eprintln!("skipped: no process leaves its memory behind here");
        return;
    }
    let run = format!("{BINARY} run --policy policy.yaml --listen 127.0.0.1:0 --admin 127.0.0.1:0");
    assert!(!is_dumped(&place, &run, "admin server is listening").await);
}
