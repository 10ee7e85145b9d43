//! One network namespace: named after this process, gone when dropped, also after a run that was killed.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Builder;

use crate::kit::client::Client;
use crate::kit::process;
use crate::kit::tool::{self, Ran};

/// What the names of all namespaces of these tests begin with; the id of the process follows.
const PREFIX: &str = "sluicetest-";
/// Where `ip netns` keeps them.
const PLACE: &str = "/run/netns";

/// A network namespace.
pub struct Namespace {
    /// Its name for `ip netns`.
    pub name: String,
    /// The ports that clients inside have come from.
    used: Mutex<HashSet<u16>>,
}

impl Namespace {
    /// A new one, with loopback up; `label` is for whoever looks on.
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        batch(&[], &format!("netns add {name}"));
        let namespace = Self { name, used: Mutex::default() };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs lines of `ip` commands inside.
    pub fn ip(&self, lines: &str) {
        batch(&["-n", &self.name], lines);
    }

    /// The same for IPv6, where the addresses do not tell.
    pub fn ip6(&self, lines: &str) {
        batch(&["-6", "-n", &self.name], lines);
    }

    /// A command inside, its output taken.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> tokio::process::Command {
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside to its end; it is given a minute.
    pub async fn run<const N: usize>(&self, program: &str, arguments: [&str; N]) -> Ran {
        self.run_all(program, &arguments).await
    }

    /// The same with any number of arguments.
    pub async fn run_all(&self, program: &str, arguments: &[&str]) -> Ran {
        let ip = tool::find("ip").expect("it was there when the namespace was made");
        let inside = ["netns", "exec", &self.name, program];
        tool::run(&ip, inside.iter().chain(arguments)).await
    }

    /// Sets a `name=value` of the kernel inside.
    pub fn sysctl(&self, setting: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "sysctl", "-qw", setting]);
        pipe(command, "");
    }

    /// Runs a program inside with this on its input; fails unless that succeeds.
    pub fn feed(&self, program: &str, input: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command.args(if program == "nft" { &["-f", "-"][..] } else { &[] });
        pipe(command, input);
    }

    /// How many packets a named counter of a table has seen.
    pub fn counted(&self, table: &str, name: &str) -> u64 {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nft", "-j", "list", "counter", "inet", table, name]);
        let listed = command.output().expect("it runs").stdout;
        let listed: Value = serde_json::from_slice(&listed).expect("JSON");
        listed["nftables"][1]["counter"]["packets"].as_u64().expect("a number")
    }

    /// Does something on a thread inside; sockets opened there stay inside.
    pub fn inside<T: Send, F: Future<Output = T>>(&self, act: impl FnOnce() -> F + Send) -> T {
        let file = File::open(Path::new(PLACE).join(&self.name)).expect("the namespace");
        let work = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("to move inside");
            Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(act())
        };
        std::thread::scope(|scope| scope.spawn(work).join().expect("no panic inside"))
    }

    /// A connection from inside.
    pub fn connect(&self, address: &str) -> Client {
        self.try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// The same; the failure is given back.
    pub fn try_connect(&self, address: &str) -> std::io::Result<Client> {
        self.open_saying(address, b"")
    }

    /// A connection from inside whose first bytes are sent on the spot: whoever is redirected and silent for a quarter of a
    /// second is taken for one that waits to be told something, and a test may be stopped for as long.
    pub fn connect_saying(&self, address: &str, first: &[u8]) -> Client {
        self.open_saying(address, first)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects and sends this.
    fn open_saying(&self, address: &str, first: &[u8]) -> std::io::Result<Client> {
        let address: SocketAddr = address.parse().expect("an address with a port");
        let stream = self.inside(async || {
            let mut stream = self.open(address)?;
            stream.write_all(first)?;
            std::io::Result::Ok(stream)
        })?;
        stream.set_nonblocking(true)?;
        Ok(Client::over(tokio::net::TcpStream::from_std(stream)?))
    }

    /// Connects from a port that no client inside has come from, whatever its peer: records are told apart by it, and where
    /// everything is redirected to one socket, a port that two connections share becomes another one on the way.
    fn open(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let any: SocketAddr = if address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        loop {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.bind(&any.into())?;
            let port = socket.local_addr()?.as_socket().expect("an IP socket").port();
            if self.used.lock().expect("no panic inside").insert(port) {
                socket.connect(&address.into())?;
                return Ok(socket.into());
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Runs lines of `ip` commands under these options.
fn batch(options: &[&str], lines: &str) {
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    pipe(command, lines);
}

/// Runs a command with this on its input; fails unless that succeeds.
fn pipe(mut command: Command, input: &str) {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{shown}: {}\n{input}", String::from_utf8_lossy(&ended.stderr));
}

/// Deletes a namespace by name.
fn delete(name: &str) {
    let _may_be_gone = Command::new("ip").args(["netns", "del", name]).output();
}

/// Deletes what runs that were killed have left, with the processes in it.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(PLACE) else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        let listed = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids =
            listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default();
        for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
            let _may_be_gone = kill_process(pid, Signal::KILL);
        }
        delete(&name);
    }
}
