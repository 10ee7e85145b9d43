//! Parent proxies as the distribution ships them, running on the router of the private network.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::process::Child;

use crate::kit::process::lines;
use crate::kit::{Seen, background, tool, within};
use crate::vnet::topology::{ROUTER, TwoUplinks};

/// Which program, and whether it wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP CONNECT.
    Tinyproxy,
    /// HTTP CONNECT.
    Squid,
    /// SOCKS5.
    Microsocks,
}

/// The user and the password that one with credentials wants.
pub const CREDENTIALS: (&str, &str) = ("gateway", "correct-horse");

/// A running parent proxy; it is killed when this is dropped.
pub struct Parent {
    /// Which port it is on.
    pub port: u16,
    output: Vec<Arc<Seen<String>>>,
    log: PathBuf,
    /// The name of its shared memory, which it leaves behind when it is killed.
    service: String,
    child: Child,
}

impl Drop for Parent {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.service)) {
                let _may_be_gone = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Parent {
    /// Starts it on the router, whose name server is the private one. `None`: it is not installed, which was said.
    pub async fn start(net: &TwoUplinks, kind: Kind, credentials: bool) -> Option<Self> {
        let (name, port) = match kind {
            Kind::Tinyproxy => ("tinyproxy", 8888),
            Kind::Squid => ("squid", 3129),
            Kind::Microsocks => ("microsocks", 1080),
        };
        // Some are where only root looks.
        tool::find(name)?;
        // Several of them may run at a time on one machine.
        let service = format!("sluicetest{}", std::process::id());
        let log = net.place.path(&format!("{name}.log"));
        let resolver = net.file("router.conf", "nameserver 10.20.0.53\noptions timeout:2 attempts:1\n");
        let (user, password) = CREDENTIALS;
        let arguments = match kind {
            Kind::Tinyproxy => {
                let auth = if credentials { format!("BasicAuth {user} {password}\n") } else { String::new() };
                let text = format!(
                    "Port {port}\nListen {ROUTER}\nTimeout 60\nMaxClients 50\nAllow 10.20.0.0/24\nLogLevel Connect\n{auth}"
                );
                vec!["-d".to_owned(), "-c".into(), net.file("tinyproxy.conf", text)]
            }
            Kind::Squid => {
                // It gives up root, and writes as another user.
                std::fs::write(&log, "").expect("a file");
                let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
                std::fs::set_permissions(&log, open).expect("a mode");
                let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(net.place.path(""), open).expect("a mode");
                let text = format!(
                    "http_port {ROUTER}:{port}\nhttp_access allow all\nvisible_hostname router\ncache deny all\n\
                     access_log stdio:{}\ncache_log /dev/null\ncache_store_log none\nnetdb_filename none\n\
                     pid_filename none\ndns_nameservers 10.20.0.53\nshutdown_lifetime 0 seconds\nbuffered_logs off\n",
                    log.display()
                );
                vec!["-N".to_owned(), "-n".into(), service.clone(), "-f".into(), net.file("squid.conf", text)]
            }
            Kind::Microsocks => {
                let mut arguments: Vec<String> =
                    ["-i", ROUTER, "-p", "1080"].into_iter().map(str::to_owned).collect();
                if credentials {
                    arguments.extend(["-u", user, "-P", password].map(str::to_owned));
                }
                arguments
            }
        };
        let _on_background = background().enter();
        let mut command = net.router.command("sh");
        command.args(["-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"", &resolver, name]);
        let mut child = command.args(arguments).spawn().expect("it runs");
        let output = vec![lines(child.stdout.take()), lines(child.stderr.take())];
        let parent = Self { port, output, log, service, child };
        parent.listens(net).await;
        Some(parent)
    }

    /// Waits until it takes connections.
    async fn listens(&self, net: &TwoUplinks) {
        let place = format!("{ROUTER}:{}", self.port);
        let listening = async {
            while net.router.try_connect(&place).is_err() {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("the parent proxy on {place}: {:?}", self.said()), listening).await;
    }

    /// What it has said of itself and of its clients.
    pub fn said(&self) -> String {
        let output = self.output.iter().flat_map(|seen| seen.all());
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        output.chain([log]).collect::<Vec<_>>().join("\n")
    }

    /// Waits until it has said this.
    pub async fn says(&self, part: &str) {
        let said = async {
            while !self.said().contains(part) {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("`{part}` from the parent proxy"), said).await;
    }

    /// Ends it, and waits until it is gone.
    pub async fn stop(mut self) {
        let _may_be_gone = self.child.start_kill();
        let _status = within("a parent proxy to end", self.child.wait()).await;
    }
}
