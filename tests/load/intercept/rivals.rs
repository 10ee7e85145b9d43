//! The proxies that take turns: none, Sluicegate, and what others there are on this machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::kit::{Gateway, PATIENCE, family};

/// One that takes turns.
pub struct Rival {
    pub name: &'static str,
    pub proxy: Option<SocketAddr>,
    /// Whether clients may speak HTTP/2 with it.
    pub http2: bool,
    /// Its first process.
    pub id: Option<u32>,
    running: Running,
}

/// What has to be ended.
enum Running {
    Nothing,
    Ours { _gateway: Gateway },
    Theirs(Child),
}

impl Drop for Rival {
    fn drop(&mut self) {
        let Running::Theirs(child) = &mut self.running else { return };
        for id in family(child.id()) {
            let _ = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status();
        }
        let _ = child.wait();
    }
}

/// A place where the sandbox CA is, and whom to believe about origins.
pub struct Place<'a> {
    pub directory: &'a Path,
    pub origin: SocketAddr,
}

impl Place<'_> {
    /// A directory for one of them.
    fn own(&self, name: &str) -> PathBuf {
        let own = self.directory.join(name);
        fs::create_dir(&own).unwrap();
        own
    }

    /// The text of a file of this place.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap()
    }
}

/// No proxy.
pub fn nobody() -> Rival {
    Rival { name: "no proxy", proxy: None, http2: true, id: None, running: Running::Nothing }
}

/// The gateway, with everything on that is on by default.
pub fn ours(place: &Place<'_>, binary: &str, name: &'static str) -> Rival {
    let own = place.own(name);
    let port = place.origin.port();
    let policy =
        format!("mode: Limited\ntrafficInspection: Full\nhostRules: ['{}', '*.test:{port}']\n", place.origin);
    fs::write(own.join("policy.yaml"), policy).unwrap();
    let more = "intercept: {certificate: ../ca.pem, key: ../ca.key, upstreamRoots: [../root.pem]}\n";
    let gateway = Gateway::start_with(binary, &own, more);
    let (proxy, id) = (Some(gateway.proxy), Some(gateway.id()));
    Rival { name, proxy, http2: true, id, running: Running::Ours { _gateway: gateway } }
}

/// mitmproxy without its screens.
pub fn mitmproxy(place: &Place<'_>, root: &Path) -> Result<Rival, String> {
    let own = place.own("mitmproxy");
    fs::write(own.join("mitmproxy-ca.pem"), place.text("ca.key") + &place.text("ca.pem")).unwrap();
    let proxy = free();
    let believed = place.directory.join("root.pem");
    let settings = [
        format!("confdir={}", own.display()),
        format!("ssl_verify_upstream_trusted_ca={}", believed.display()),
        // What is large would be held whole.
        "stream_large_bodies=1m".to_owned(),
        "block_private=false".to_owned(),
    ];
    let mut command = Command::new(root.join("bin/mitmdump"));
    command.args(["-q", "--listen-host", "127.0.0.1", "-p", &proxy.port().to_string()]);
    for setting in &settings {
        command.args(["--set", setting]);
    }
    let mut rival = theirs("mitmproxy", proxy, command, &own)?;
    rival.http2 = true;
    Ok(rival)
}

/// Squid that looks at the hello, then decrypts.
pub fn squid(place: &Place<'_>, root: &Path) -> Result<Rival, String> {
    let (binary, helper) = (root.join("usr/sbin/squid"), root.join("usr/lib/squid/security_file_certgen"));
    let own = place.own("squid");
    let (libraries, own_text) = (root.join("usr/lib/x86_64-linux-gnu"), own.display());
    for name in ["ca.pem", "ca.key", "root.pem"] {
        fs::write(own.join(name), place.text(name)).unwrap();
        fs::set_permissions(own.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let proxy = free();
    let config = format!(
        "http_port {proxy} ssl-bump tls-cert={own_text}/ca.pem tls-key={own_text}/ca.key \
         generate-host-certificates=on dynamic_cert_mem_cache_size=16MB
sslcrtd_program {} -s {own_text}/certificates -M 64MB
sslcrtd_children 8 startup=4 idle=1
acl hello at_step SslBump1
ssl_bump peek hello
ssl_bump bump all
tls_outgoing_options cafile={own_text}/root.pem
http_access allow all
cache deny all
access_log stdio:{own_text}/access.log
cache_log {own_text}/cache.log
pid_filename none
pinger_enable off
coredump_dir {own_text}
mime_table {share}/mime.conf
icon_directory {share}/icons
error_directory {share}-langpack/en
unlinkd_program {unlink}
max_filedescriptors 8192
shutdown_lifetime 0 seconds
",
        helper.display(),
        share = root.join("usr/share/squid").display(),
        unlink = root.join("usr/lib/squid/unlinkd").display(),
    );
    fs::write(own.join("squid.conf"), config).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    // It refuses to be root.
    let as_nobody = |program: &Path| {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", &libraries);
        if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            command.uid(65534).gid(65534);
        }
        command
    };
    let store =
        as_nobody(&helper).args(["-c", "-s", &format!("{own_text}/certificates"), "-M", "64MB"]).output();
    let store = store.map_err(|error| error.to_string())?;
    if !store.status.success() {
        return Err(format!("no store for certificates: {}", String::from_utf8_lossy(&store.stderr)));
    }
    let mut command = as_nobody(&binary);
    command.args(["-N", "-f", &format!("{own_text}/squid.conf")]);
    theirs("Squid", proxy, command, &own)
}

/// A proxy of others, once it listens.
fn theirs(name: &'static str, proxy: SocketAddr, mut command: Command, own: &Path) -> Result<Rival, String> {
    let log = fs::File::create(own.join("errors")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(own);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(proxy).is_err() {
        let ended = child.try_wait().is_ok_and(|ended| ended.is_some());
        if ended || Instant::now() > until {
            let _ = child.kill();
            let said = fs::read_to_string(own.join("errors")).unwrap_or_default();
            return Err(format!("it does not start: {}", said.lines().last().unwrap_or_default()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Rival {
        name,
        proxy: Some(proxy),
        http2: false,
        id: Some(child.id()),
        running: Running::Theirs(child),
    })
}

/// An address where nobody listens at this moment.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
