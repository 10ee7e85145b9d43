//! The sandbox CA: made and handed out by the binary, trusted by real clients.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustls::server::Acceptor;
use serde_json::Value;
use sluicegate::addr::Host;
use sluicegate::config::Config;
use sluicegate::intercept::{Authority, Settings};
use sluicegate::policy::Interception;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

use crate::kit::client::Client;
use crate::kit::process::{BINARY, Place, Process};
use crate::kit::tool::{self, Ran};
use crate::kit::{background, within};

/// A policy that allows nothing.
const POLICY: &str = "mode: Limited\n";

/// Runs the binary; its arguments hold no spaces.
async fn sluicegate(place: &Place, line: &str) -> Ran {
    run(place, &format!("{BINARY} {line}")).await
}

/// Runs a line of a shell in a place, with no proxy and none of our variables in its environment.
async fn run(place: &Place, line: &str) -> Ran {
    let mut command = crate::kit::process::command("/bin/sh");
    command.args(["-c", line]).current_dir(place.path("")).env("HOME", place.path(""));
    command.stdin(Stdio::null());
    let ended = within(line, command.output()).await.unwrap();
    Ran {
        code: ended.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// A place with a CA in `ca`, made with these arguments.
async fn with_ca(arguments: &str) -> Place {
    let place = Place::with(POLICY);
    let made = sluicegate(&place, &format!("ca init ca {arguments}")).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    place
}

/// The CA of a place.
fn settings(place: &Place) -> Settings {
    Settings { certificate: place.path("ca/ca.pem"), key: place.path("ca/ca-key.pem") }
}

/// A configuration file with that CA, and more.
fn configure(place: &Place, more: &str) {
    let Settings { certificate, key } = settings(place);
    let text = format!(
        "policy: {{path: {}}}\nintercept: {{certificate: {}, key: {}{more}}}\n",
        place.text("policy.yaml"),
        certificate.display(),
        key.display()
    );
    place.write("config.yaml", text);
}

/// A server that shows a certificate of the CA for whatever name is asked for.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it.
    async fn start(place: &Place) -> Self {
        let authority = Arc::new(Authority::load(&settings(place)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        background().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (authority, log) = (Arc::clone(&authority), Arc::clone(&log));
                background().spawn(async move { serve(stream, &authority, &log).await });
            }
        });
        Self { port, asked }
    }

    /// How many requests came, of which the first line has this in it.
    fn asked(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

/// Answers one request.
async fn serve(stream: TcpStream, authority: &Authority, log: &Mutex<Vec<String>>) -> Option<()> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
    let name = start.client_hello().server_name().map(str::to_owned);
    let accept = |name: &str| authority.accept(&name.parse::<Host>().unwrap(), false, || true).ok();
    // Java says no name of one label. Where the CA may sign for no address, it is this name.
    let config = match name {
        Some(name) => accept(&name),
        None => accept("127.0.0.1").or_else(|| accept("localhost")),
    }?;
    let mut stream = start.into_stream(config).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    log.lock().unwrap().push(String::from_utf8(head).ok()?.lines().next()?.to_owned());
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")
        .await
        .ok()?;
    stream.shutdown().await.ok()
}

#[tokio::test]
async fn ca_init_says_what_it_made_and_never_overwrites() {
    let place = with_ca("--days 100").await;
    let Settings { certificate, key } = settings(&place);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&certificate)), (0o600, 0o644));
    let (before, again) = (std::fs::read(&key).unwrap(), sluicegate(&place, "ca init ca").await);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("nothing is overwritten"), "{}", again.stderr);
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let other =
        sluicegate(&place, "ca init other --name-constraint Example.COM. --name-constraint corp.test").await;
    for part in
        ["example.com, corp.test", "intercept:", "other/ca-key.pem (mode 0600", "ca export --certificate"]
    {
        assert!(other.stdout.contains(part), "{part}: {}", other.stdout);
    }
    let odd = sluicegate(&place, "ca init \"o d'd\"").await.stdout;
    assert!(odd.contains("o d'd/ca.pem\"\n") && odd.contains("o d'\\''d/ca.pem' --format env"), "{odd}");
    for (line, code) in [
        ("ca init x --name-constraint *.a.test", 1),
        ("ca init x --days 0", 2),
        ("ca init x --days 99999", 2),
        ("ca init x --force", 2),
    ] {
        assert_eq!(sluicegate(&place, line).await.code, code, "{line}");
        assert!(!place.path("x").exists(), "{line}");
    }
}

#[tokio::test]
async fn ca_export_prints_the_certificate_in_each_form_and_never_the_key() {
    let place = with_ca("--name-constraint localhost").await;
    let Some(_) = tool::find("openssl") else { return };
    configure(&place, "");
    let pem = sluicegate(&place, "ca export --config config.yaml").await.stdout;
    assert_eq!(pem, std::fs::read_to_string(place.path("ca/ca.pem")).unwrap());
    let export = |rest: &str| format!("ca export --certificate ca/ca.pem {rest}");
    assert_eq!(sluicegate(&place, &export("--format der --out ca.der")).await.code, 0);
    let shown = run(&place, "openssl x509 -inform der -in ca.der -noout -text").await.stdout;
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "DNS:localhost", "prime256v1"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let key = std::fs::read(place.path("ca/ca-key.pem")).unwrap();
    let over = sluicegate(&place, &export("--out ca/ca-key.pem")).await;
    assert_eq!((over.code, std::fs::read(place.path("ca/ca-key.pem")).unwrap()), (1, key));
    let from_key = sluicegate(&place, "ca export --certificate ca/ca-key.pem").await;
    assert!(from_key.code == 1 && from_key.stdout.is_empty(), "{}", from_key.stdout);
    let commands = sluicegate(&place, &export("--format commands --at /x/ca.pem")).await.stdout;
    for part in ["update-ca-certificates", "update-ca-trust", "keytool -importcert", "'/x/ca.pem'", "CAInfo"]
    {
        assert!(commands.contains(part), "{part}: {commands}");
    }
    for line in ["ca export", &export("--format env --bundle"), &export("--at /x"), "ca export --format odd"]
    {
        assert_eq!(sluicegate(&place, line).await.code, 2, "{line}");
    }
}

#[tokio::test]
async fn a_bundle_holds_the_roots_of_the_system_and_ours() {
    let place = with_ca("").await;
    assert_eq!(sluicegate(&place, "ca init system").await.code, 0);
    let line = format!("SSL_CERT_FILE=system/ca.pem {BINARY} ca export --certificate ca/ca.pem --bundle");
    let bundle = run(&place, &line).await.stdout;
    assert_eq!(bundle, format!("{}{}", place.read("ca/ca.pem"), place.read("system/ca.pem")));
    let line = format!("SSL_CERT_FILE=/dev/null {BINARY} ca export --certificate ca/ca.pem --bundle");
    let none = run(&place, &line).await;
    assert!(none.code == 1 && none.stderr.contains("no roots"), "{}", none.stderr);
}

#[tokio::test]
async fn check_and_run_say_what_is_wrong_with_the_ca() {
    let place = with_ca("--days 5").await;
    configure(&place, ", exclude: [pinned.test, '*.bank.test']");
    let checked = sluicegate(&place, "check --config config.yaml policy.yaml").await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(checked.stderr.contains("warning: intercept: the sandbox CA ends on"), "{}", checked.stderr);
    let json = sluicegate(&place, "check --json --config config.yaml policy.yaml").await.stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["ok"], &json["problems"][0]["severity"]),
        (&Value::from(true), &Value::from("warning"))
    );
    let key = settings(&place).key;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let line = "run --config config.yaml --listen 127.0.0.1:0 --admin 127.0.0.1:0";
    for line in ["check --config config.yaml policy.yaml", line] {
        let refused = sluicegate(&place, line).await;
        assert!(refused.code == 1 && refused.stderr.contains("chmod 600"), "{line}: {}", refused.stderr);
    }
    configure(&place, ", exclude: ['https://a.test']");
    assert_eq!(sluicegate(&place, "check --config config.yaml policy.yaml").await.code, 1);
}

#[test]
fn policies_are_told_whether_there_is_a_ca_and_what_is_excluded() {
    let told = |text: &str| {
        let config = Config::parse(&"config.yaml".into(), text).unwrap().config;
        sluicegate::app::guards(&config, &[]).unwrap().interception
    };
    let told_of = |text: &str| {
        let Interception { authority, exclude } = told(text);
        (authority, exclude.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(told_of("{}"), (sluicegate::policy::Authority::Missing, vec![]));
    let excluded = vec!["a.test".to_owned()];
    let text = "intercept: {certificate: c, key: k, exclude: [a.test]}";
    assert_eq!(told_of(text), (sluicegate::policy::Authority::Present, excluded));
}

#[tokio::test]
async fn a_gateway_with_a_ca_starts_and_counts_certificates() {
    let place = with_ca("").await;
    configure(&place, "");
    let gateway = Process::start(&place, &["--config", &place.text("config.yaml")]).await;
    let mut admin = Client::connect(gateway.admin()).await;
    let answer = admin.ask(format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n", gateway.admin())).await;
    let metrics = answer.body;
    assert!(metrics.contains("\nsluicegate_certificates_minted_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn c1_openssl_and_curl_find_nothing_wrong_with_a_leaf() {
    let place = with_ca("").await;
    let (Some(_), Some(_)) = (tool::find("openssl"), tool::find("curl")) else { return };
    let server = Server::start(&place).await;
    let port = server.port;
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for name in ["www.example.com", "xn--bcher-kva.example", &longest] {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{port} -servername {name} -verify_hostname {name} -x509_strict \
             -purpose sslserver -CAfile ca/ca.pem -verify_return_error -showcerts </dev/null | tee shown | openssl x509 > leaf.pem"
        );
        assert_eq!(run(&place, &line).await.code, 0, "{name}");
        assert!(place.read("shown").contains("Verify return code: 0 (ok)"), "{}", place.read("shown"));
        let line = format!(
            "openssl verify -x509_strict -purpose sslserver -verify_hostname {name} -CAfile ca/ca.pem leaf.pem"
        );
        let verified = run(&place, &line).await;
        assert!(verified.stdout.contains("leaf.pem: OK"), "{}{}", verified.stdout, verified.stderr);
    }
    for url in [format!("https://127.0.0.1:{port}/"), format!("https://localhost:{port}/")] {
        let ran = run(&place, &format!("curl -sS --cacert ca/ca.pem {url}")).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\n"), "{}", ran.stderr);
        assert_eq!(run(&place, &format!("curl -sS {url}")).await.code, 60, "{url} is not trusted by itself");
    }
}

/// Each client with what it runs to get `hello`, or to ask for a path that has the last word in it.
fn clients(port: u16) -> Vec<(&'static str, String, &'static str)> {
    let node = format!(
        "require('https').get('https://localhost:{port}/node', a => process.exit(a.statusCode === 200 ? 0 : 1))\
         .on('error', e => {{ console.error(e.code); process.exit(1) }})"
    );
    let urllib = format!("import urllib.request as u; u.urlopen('https://localhost:{port}/urllib')");
    let requests = format!("import requests; requests.get('https://localhost:{port}/requests')");
    let cargo = env!("CARGO");
    let python = tool::find("python").map_or_else(String::new, |path| path.display().to_string());
    vec![
        ("curl", format!("curl -sSf https://localhost:{port}/curl"), "/curl"),
        ("wget", format!("wget -q -O- https://localhost:{port}/wget $WGET"), "/wget"),
        ("git", format!("git ls-remote https://localhost:{port}/repository.git"), "/repository.git"),
        ("node", format!("node -e \"{node}\""), "/node"),
        ("python3", format!("python3 -c \"{urllib}\""), "/urllib"),
        ("python", format!("{python} -c \"{requests}\""), "/requests"),
        (
            "python",
            format!(
                "{python} -m pip download --no-deps --retries 0 --index-url https://localhost:{port}/pip nothing"
            ),
            "/pip/nothing",
        ),
        (
            "cargo",
            format!(
                "CARGO_HOME=home CARGO_REGISTRIES_T_INDEX=sparse+https://localhost:{port}/cargo/ {cargo} search --registry t x"
            ),
            "/cargo/config.json",
        ),
    ]
}

#[tokio::test]
async fn c1_clients_that_take_over_the_printed_variables_trust_the_ca_and_others_do_not() {
    // The constraints are critical: a client that does not know them would refuse.
    let place = with_ca("--name-constraint localhost").await;
    assert_eq!(sluicegate(&place, "ca init system").await.code, 0);
    let line = format!(
        "SSL_CERT_FILE=system/ca.pem {BINARY} ca export --certificate ca/ca.pem --bundle --out bundle.pem"
    );
    assert_eq!(run(&place, &line).await.code, 0);
    let export = "ca export --certificate ca/ca.pem --format env --out env --bundle-at";
    assert_eq!(sluicegate(&place, &format!("{export} {}", place.text("bundle.pem"))).await.code, 0);
    let server = Server::start(&place).await;
    for (tool, line, asked) in clients(server.port) {
        if tool::find(tool).is_none() {
            continue;
        }
        let ran = run(&place, &line).await;
        assert_eq!(server.asked(asked), 0, "{line}: {}{}", ran.stdout, ran.stderr);
        assert_ne!(ran.code, 0, "{line}");
        let ran = run(&place, &format!(". ./env; WGET=--ca-certificate=ca/ca.pem; {line}")).await;
        assert!(server.asked(asked) > 0, "{line}: {}{}", ran.stdout, ran.stderr);
    }
}

#[tokio::test]
async fn c1_java_trusts_the_ca_once_keytool_was_told() {
    let place = with_ca("--name-constraint localhost").await;
    let (Some(_), Some(_)) = (tool::find("java"), tool::find("keytool")) else { return };
    let server = Server::start(&place).await;
    let source = "class Fetch { public static void main(String[] a) throws Exception { \
                  System.out.print(new String(new java.net.URL(a[0]).openStream().readAllBytes())); } }";
    place.write("Fetch.java", source);
    let told = sluicegate(&place, "ca export --certificate ca/ca.pem --format commands").await.stdout;
    let told = told.lines().find(|line| line.starts_with("keytool")).unwrap();
    // The store of this test, not that of the machine.
    let told = run(&place, &told.replace("-cacerts", "-keystore store")).await;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    let fetch = |options: &str| format!("java {options} Fetch.java https://localhost:{}/java", server.port);
    assert_ne!(run(&place, &fetch("")).await.code, 0);
    assert_eq!(server.asked("/java"), 0);
    let ran =
        run(&place, &fetch("-Djavax.net.ssl.trustStore=store -Djavax.net.ssl.trustStorePassword=changeit"))
            .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\n"), "{}", ran.stderr);
}
