//! Real clients inside TLS, none of which holds the token that their origins ask for.

use rcgen::generate_simple_self_signed;
use rustls::pki_types::PrivateKeyDer;
use sluicegate::intercept::trust;
use tempfile::TempDir;

use super::*;
use crate::kit::dns::Answer;
use crate::kit::process::{command, lines};
use crate::kit::tool::{self, Ran};
use crate::kit::{Seen, background};

/// A token as it may stand in every header.
const TOKEN: &str = "canary-of-real-clients/7";
/// The servers.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/secrets/server.py");

/// The servers, and a gateway that shows them the token.
struct Real {
    gateway: Gateway,
    directory: TempDir,
    python: PathBuf,
    /// Of HTTPS, gRPC and WebSocket.
    ports: [u16; 3],
    _server: tokio::process::Child,
    _value: NamedTempFile,
}

impl Real {
    /// Starts all of it; none where there is no Python with the packages.
    async fn start() -> Option<Self> {
        let python = tool::find("python")?;
        let directory = tempfile::tempdir().expect("a directory");
        let made = generate_simple_self_signed(["api.test".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let key = STANDARD.encode(key.secret_der());
        let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("key.pem"), key).expect("a file");
        std::fs::write(path("origin.pem"), trust::pem(made.cert.der())).expect("a file");
        let mut server = command(&python);
        server.arg(SERVER).args([path("origin.pem"), path("key.pem")]).arg(TOKEN).arg(directory.path());
        let (mut child, ports): (_, std::sync::Arc<Seen<String>>) = {
            let _on_background = background().enter();
            let mut child = server.stderr(std::process::Stdio::inherit()).spawn().expect("Python runs");
            let seen = lines(child.stdout.take());
            (child, seen)
        };
        let ports = tokio::select! {
            lines = ports.wait_until("the servers to listen", |lines| !lines.is_empty()) => lines,
            status = child.wait() => panic!("the servers ended with {status:?}"),
        };
        let ports = serde_json::from_str(&ports[0]).expect("ports");
        let value = file(TOKEN);
        let policy = secret(value.path(), "") + &transform(BEARER);
        let roots = path("origin.pem");
        let gateway = Gateway::inspecting_with(&policy, [], |config| {
            config.intercept.as_mut().expect("it decrypts").upstream_roots = vec![roots];
        })
        .await;
        gateway.dns.says("api.test", Answer::addresses(["127.0.0.8"]));
        Some(Self { gateway, directory, python, ports, _server: child, _value: value })
    }

    /// Runs a client that is told of the proxy and the sandbox CA as `ca export` says.
    async fn run(&self, program: &Path, arguments: &[&str]) -> Ran {
        let proxy = format!("http://{}", self.gateway.proxy());
        let authority = self.gateway.policies().with_file_name("ca").join("ca.pem");
        let authority = authority.to_str().expect("a path");
        let mut all: Vec<String> = ["https_proxy", "HTTPS_PROXY", "grpc_proxy"]
            .iter()
            .map(|name| format!("{name}={proxy}"))
            .collect();
        for name in [
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "PIP_CERT",
            "NODE_EXTRA_CA_CERTS",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        ] {
            all.push(format!("{name}={authority}"));
        }
        all.push(program.to_str().expect("a path").to_owned());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let ran = tool::run(Path::new("/usr/bin/env"), all).await;
        assert_hidden(TOKEN, format!("{}{}", ran.stdout, ran.stderr), "what a client prints");
        ran
    }

    /// Runs a Python script.
    async fn script(&self, script: &str, arguments: &[&str]) -> String {
        let ran = self.run(&self.python, &[&["-c", script], arguments].concat()).await;
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// A URL of the HTTPS server.
    fn url(&self, path: &str) -> String {
        format!("https://api.test:{}{path}", self.ports[0])
    }

    /// A path in the directory.
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("a path").to_owned()
    }
}

/// What the HTTPS server says, as a client sees it.
fn said(body: &str) -> String {
    format!("you are Bearer {} with {body}", "*".repeat(TOKEN.len()))
}

#[tokio::test]
async fn curl_and_openssl_get_an_answer_for_a_token_that_they_do_not_hold() {
    let Some(real) = Real::start().await else { return };
    let Some(curl) = tool::find("curl") else { return };
    for version in ["--http1.1", "--http2"] {
        let arguments = ["-sS", "--max-time", "20", version, "-H", "Authorization: mine", "-d", "body"];
        let show = ["-w", " %{http_version}"];
        let ran = real.run(&curl, &[&arguments[..], &show, &[&real.url("/x")]].concat()).await;
        // The origin speaks HTTP/1.1 only, whatever the client does.
        let spoken = if version == "--http2" { "2" } else { "1.1" };
        assert_eq!(ran.stdout, format!("{} {spoken}", said("body")), "{}", ran.stderr);
    }
    let Some(openssl) = tool::find("openssl") else { return };
    let (proxy, connect) = (real.gateway.proxy().to_string(), format!("api.test:{}", real.ports[0]));
    let shake = [
        "s_client",
        "-proxy",
        &proxy,
        "-connect",
        &connect,
        "-servername",
        "api.test",
        "-verify_return_error",
    ];
    let ran = real.run(&openssl, &shake).await;
    assert!(ran.stdout.contains("Verify return code: 0 (ok)"), "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
async fn pythons_clients_get_an_answer_for_a_token_that_they_do_not_hold() {
    const SCRIPT: &str = "
import os, ssl, sys, urllib.request, requests, httpx
url = sys.argv[1]
print(urllib.request.urlopen(url, b'1').read().decode())
with requests.Session() as s:
    for _ in range(3):
        print(s.post(url, data='2', headers={'Authorization': 'mine'}).text)
trust = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])
for http2 in True, False:
    with httpx.Client(http2=http2, verify=trust) as c:
        r = c.post(url, content='3')
        print(r.http_version, r.text)
";
    let Some(real) = Real::start().await else { return };
    let printed = real.script(SCRIPT, &[&real.url("/x")]).await;
    let (two, three) = (said("2"), said("3"));
    let expected =
        [said("1"), two.clone(), two.clone(), two, format!("HTTP/2 {three}"), format!("HTTP/1.1 {three}")];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn grpc_calls_and_streams_pass_with_trailers_deadlines_and_failures() {
    const SCRIPT: &str = "
import os, sys, grpc
roots = open(os.environ['SSL_CERT_FILE'], 'rb').read()
with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials(roots)) as channel:
    one = channel.unary_unary('/t.T/One')
    answer, call = one.with_call(b'x' * 100000, timeout=20)
    print(len(answer), dict(call.trailing_metadata()))
    sent = []
    def requests():
        for at in range(50):
            sent.append(at)
            yield b'%d' % at
    both = channel.stream_stream('/t.T/Both')(requests(), timeout=20)
    print(sum(answer == b'got %d' % at for at, answer in enumerate(both)), dict(both.trailing_metadata()))
    for method, timeout in ('/t.T/Wait', 0.3), ('/t.T/Nothing', 20):
        try:
            channel.unary_unary(method)(b'', timeout=timeout)
        except grpc.RpcError as e:
            print(e.code().name)
";
    let Some(real) = Real::start().await else { return };
    let printed = real.script(SCRIPT, &[&format!("api.test:{}", real.ports[1])]).await;
    let echo = format!("Bearer {}", "*".repeat(TOKEN.len()));
    let expected = [
        format!("100004 {{'x-sum': '100000', 'x-echo': '{echo}'}}"),
        "50 {'x-sum': 'end'}".to_owned(),
        "DEADLINE_EXCEEDED".to_owned(),
        "UNIMPLEMENTED".to_owned(),
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_websocket_inside_tls_talks_to_an_origin_that_asks_for_a_token() {
    const SCRIPT: &str = "
import os, ssl, sys
from websockets.sync.client import connect
trust = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])
with connect(sys.argv[1], ssl=trust, proxy=os.environ['https_proxy']) as socket:
    for text in 'one', 'x' * 100000:
        socket.send(text)
        print(len(socket.recv(timeout=20)))
";
    let Some(real) = Real::start().await else { return };
    let printed = real.script(SCRIPT, &[&format!("wss://api.test:{}/", real.ports[2])]).await;
    assert_eq!(printed, "7\n100004\n");
}

#[tokio::test]
async fn git_clones_and_pushes_with_a_token_that_it_does_not_hold() {
    let Some(real) = Real::start().await else { return };
    let Some(git) = tool::find("git") else { return };
    let run = async |arguments: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@test", "-c", "init.defaultBranch=main"];
        let ran = real.run(&git, &[&who[..], arguments].concat()).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    };
    let (bare, work, again) = (real.path("repo.git"), real.path("work"), real.path("again"));
    run(&["init", "-q", "--bare", &bare]).await;
    run(&["-C", &bare, "config", "http.receivepack", "true"]).await;
    let url = real.url("/repo.git");
    run(&["clone", "-q", &url, &work]).await;
    run(&["-C", &work, "commit", "-q", "--allow-empty", "-m", "first"]).await;
    run(&["-C", &work, "push", "-q", "origin", "HEAD:main"]).await;
    run(&["clone", "-q", &url, &again]).await;
    assert_eq!(run(&["-C", &again, "log", "--format=%s"]).await, "first\n");
}

#[tokio::test]
async fn pip_installs_from_an_index_with_a_token_that_it_does_not_hold() {
    let Some(real) = Real::start().await else { return };
    let (index, target) = (real.url("/simple/"), real.path("site"));
    let install = ["-m", "pip", "install", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"];
    let from = ["--isolated", "--index-url", &index, "--target", &target, "canary-pkg"];
    let (proxy, authority) = (
        format!("http://{}", real.gateway.proxy()),
        real.gateway.policies().with_file_name("ca").join("ca.pem"),
    );
    let through = ["--proxy", &proxy, "--cert", authority.to_str().expect("a path")];
    let ran = real.run(&real.python, &[&install[..], &through, &from].concat()).await;
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(real.directory.path().join("site/canary_pkg.py").is_file());
}
