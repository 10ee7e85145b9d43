//! S5: whatever happens, no value of a secret is in anything that the gateway writes, answers or shows.

use std::net::SocketAddr;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sluicegate::intercept::{create, trust};
use tokio::process::Command;

use super::*;
use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::process::{BINARY, Place, Process, command};
use crate::kit::tool;

/// How many values there are: of variables, of files, of services, and what is shown to those and to the admin server.
const COUNT: usize = 20;
/// The place of the token that a token endpoint gives, of the secret that it is shown, of the token of the identity, of
/// what that service is shown, and of the token of the admin server.
const SERVED: [usize; 5] = [15, 16, 17, 18, 19];
/// The header operations of secrets begin so.
const SET: &str = "operation: Set";

/// Value number `at`.
fn canary(at: usize) -> String {
    format!("cAnArY+{at:02}/{:08x}\"=", 0x9e37_79b9_u32.wrapping_mul(u32::try_from(at).unwrap() + 3))
}

/// A running gateway with all of them, and what it was given and gave.
struct Aviary {
    place: Place,
    gateway: Process,
    api: Origin,
    streams: Origin,
    stranger: Origin,
    _services: [Origin; 2],
    _dns: Dns,
    /// Everything that a client or a caller of the admin server got.
    got: Vec<u8>,
}

/// What an origin says that shows every value that it could have been sent.
fn shown() -> String {
    let raw = (0..18).filter(|at| *at != 16).map(canary);
    raw.flat_map(|value| [STANDARD.encode(format!("x:{value}")), value]).collect::<Vec<_>>().join(" ")
}

/// What a service of tokens answers.
fn token(at: usize) -> Reply {
    let token = serde_json::json!({"access_token": canary(at), "token_type": "Bearer", "expires_in": "3600"});
    Reply::ok(&token.to_string())
}

/// The policy: each request to `/all` shows every value.
fn policy(place: &Place, login: &Origin) -> String {
    let document = |at: usize| {
        let source = match at {
            0..8 => format!("{{env: CANARY_{at}}}"),
            8..15 => {
                place.write(&format!("value-{at}"), canary(at));
                format!("{{file: '{}'}}", place.text(&format!("value-{at}")))
            }
            _ => format!(
                "{{clientCredentials: {{tokenUrl: 'https://login.test:{}/t', clientId: me, clientSecret: {{env: CANARY_16}}}}}}",
                login.port()
            ),
        };
        format!(
            "kind: Secret\nmetadata: {{name: s{at}}}\nspec: {{keys: {{token: {source}}}, placeholder: true, \
             hosts: [api.test, streams.test, stranger.test]}}\n---\n"
        )
    };
    let text: String = (0..=SERVED[0]).map(document).collect();
    let set =
        |at: usize| format!("{{{SET}, name: X-Key-{at}, valueRef: {{secretRef: {{secretId: s{at}}}}}}}");
    let identity = format!(
        "{{{SET}, name: X-Identity, valueRef: {{managedIdentityRef: {{type: SystemAssigned, resource: 'https://v.test'}}}}}}"
    );
    let headers: Vec<_> = (0..=SERVED[0]).map(set).chain([identity]).collect();
    let rule = |host: &str| {
        format!(
            "  - {{match: {{host: {host}, path: /all}}, action: {{type: Transform, headers: [{}]}}}}\n  \
             - {{match: {{host: {host}, path: /open/*}}, action: Allow}}\n",
            headers.join(", ")
        )
    };
    text + &rules(&["api.test", "streams.test", "stranger.test", "plain.test"].map(rule).concat())
}

impl Aviary {
    /// Starts it.
    async fn open() -> Self {
        let place = Place::with("");
        let reply = Reply::raw(format!(
            "HTTP/1.1 200 {0}\r\nx-echo: {0}\r\nlocation: /?{0}\r\ncontent-length: {1}\r\n\r\n{2}",
            canary(3),
            shown().len(),
            shown()
        ));
        let api = Origin::tls("api.test", Behaviour::Http(vec![reply])).await;
        let echo = Stream::ok(&shown()).header("x-echo", &canary(4)).trailer("x-echo", &canary(5));
        let streams = Origin::http2("streams.test", [echo]).await;
        let stranger = Origin::tls("stranger.test", Behaviour::Http(vec![Reply::ok("")])).await;
        let login = Origin::tls("login.test", Behaviour::Http(vec![token(SERVED[0])])).await;
        let platform = Origin::http([token(SERVED[2])]).await;
        let dns = Dns::start().await;
        for name in ["api.test", "streams.test", "stranger.test", "login.test", "plain.test"] {
            dns.says(name, Answer::addresses(["127.0.0.8"]));
        }
        place.write("policy.yaml", policy(&place, &login));
        create::create(&place.path("ca"), &[], 30).expect("an authority");
        let trusted = [&api, &streams, &login].map(|origin| trust::pem(&origin.certificate()));
        place.write("origins.pem", trusted.concat());
        place.write(
            "gate.yaml",
            format!(
                "dns: {{servers: ['{}']}}\nguards: {{exempt: [127.0.0.8/29]}}\n\
                 intercept: {{certificate: ca/ca.pem, key: ca/ca-key.pem, upstreamRoots: [origins.pem]}}\n\
                 admin: {{address: '127.0.0.1:0', tokens: [{{name: ops, role: Reader, token: {{env: CANARY_19}}}}]}}\n\
                 secrets: {{managedIdentity: {{endpoint: 'http://{}/token', header: {{env: CANARY_18}}}}}}\n\
                 audit: {{sinks: [{{stdout: {{}}}}, {{file: {{path: audit.jsonl}}}}]}}\nlimits: {{drainTimeoutMs: 2000}}\n",
                dns.address(),
                platform.address()
            ),
        );
        let mut run = command(BINARY);
        run.args(["run", "--config", "gate.yaml", "--policy", "policy.yaml", "--listen", "127.0.0.1:0"]);
        run.current_dir(place.path("")).env("SLUICEGATE_LOG", "trace");
        for at in (0..8).chain([16, 18, 19]) {
            run.env(format!("CANARY_{at}"), canary(at));
        }
        let gateway = Process::spawn(run).await;
        let services = [login, platform];
        Self { place, gateway, api, streams, stranger, _services: services, _dns: dns, got: Vec::new() }
    }

    /// A connection inside TLS to a name on the port of an origin.
    async fn inside(
        &self,
        name: &str,
        origin: &Origin,
        protocols: &[&str],
    ) -> crate::kit::inspecting::Inside {
        let tunnel = Client::tunnel(self.gateway.proxy(), &format!("{name}:{}", origin.port())).await;
        let authority = CertificateDer::from_pem_file(self.place.path("ca/ca.pem")).expect("an authority");
        tunnel.try_tls_with(name, authority, protocols).await.expect("TLS")
    }

    /// Asks over HTTP/1.1; keeps what came and gives the status.
    async fn ask(&mut self, name: &str, path: &str, lines: &str) -> u16 {
        let origin = if name == "stranger.test" { &self.stranger } else { &self.api };
        let mut client = self.inside(name, origin, &["http/1.1"]).await;
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nhost: {name}\r\n{lines}\r\n")).await;
        self.keep([answer.head.as_bytes(), &answer.raw_body]);
        answer.status
    }

    /// Asks over HTTP/2.
    async fn stream(&mut self, path: &str) -> u16 {
        let client = self.inside("streams.test", &self.streams, &["h2"]).await.http2().await;
        let answer = client.get(&format!("https://streams.test:{}{path}", self.streams.port())).await;
        let fields = format!("{:?} {:?}", answer.headers, answer.trailers);
        self.keep([fields.as_bytes(), &answer.body]);
        answer.status.as_u16()
    }

    /// Asks the admin server.
    async fn admin(&mut self, path: &str) -> u16 {
        let address: SocketAddr = self.gateway.admin();
        let bearer = canary(SERVED[4]);
        let mut client = Client::connect(address).await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {bearer}\r\nconnection: close\r\n\r\n"
        );
        let answer = client.ask(request).await;
        self.keep([answer.head.as_bytes(), &answer.raw_body]);
        answer.status
    }

    /// Keeps what somebody got.
    fn keep<const N: usize>(&mut self, parts: [&[u8]; N]) {
        self.got.extend(parts.concat());
    }
}

#[tokio::test]
async fn s5_no_log_record_metric_answer_or_capture_shows_any_of_twenty_canaries() {
    let mut all = Aviary::open().await;
    // Allowed, with every value, over both protocols, and in placeholders.
    assert_eq!(all.ask("api.test", "/all", "").await, 200);
    assert_eq!(all.stream("/all").await, 200);
    let lines = "x-a: sluicegate:s1/token\r\nx-b: sluicegate:s9\r\nx-c: sluicegate:s15\r\n";
    // What came with other requests is in this answer too: only that of the request itself is kept out.
    let got = all.got.len();
    assert_eq!(all.ask("api.test", "/open/1?t=sluicegate:s3", lines).await, 200);
    all.got.truncate(got);
    for at in 0..SERVED[1] {
        assert!(all.api.received(0).contains(&canary(at)), "canary {at} reached the origin");
    }
    let asked = all.streams.asked();
    assert_eq!(asked[0].header("x-identity"), Some(canary(SERVED[2]).as_str()));
    // Denied, in every way that has to do with secrets.
    for (name, path, lines, status) in [
        ("api.test", "/closed", "", 403),
        ("api.test", "/open/sluicegate:s1", "", 403),
        ("api.test", "/open/1", "x-a: sluicegate:s99\r\n", 403),
        ("api.test", "/open/1", "transfer-encoding: x\r\n", 400),
        ("stranger.test", "/all", "", 502),
    ] {
        assert_eq!(all.ask(name, path, lines).await, status, "{name}{path}");
    }
    let port = all.api.port();
    let plain = format!("GET http://plain.test:{port}/all HTTP/1.1\r\nhost: plain.test:{port}\r\n\r\n");
    let answer = Client::connect(all.gateway.proxy()).await.ask(plain).await;
    assert_eq!(answer.status, 403);
    all.keep([answer.head.as_bytes(), &answer.raw_body]);
    // A file that cannot be sent.
    all.place.write("value-9", format!("{}\n{}", canary(9), canary(10)));
    while all.ask("api.test", "/all", "").await != 403 {}
    all.place.write("value-9", canary(9));
    // A policy that is broken, with a value where none belongs.
    let good = all.place.read("policy.yaml");
    all.place.replace("policy.yaml", &good.replace("mode: Limited", "mode: Nonsense"));
    all.gateway.signal(Signal::HUP);
    let rejected = |records: &[serde_json::Value]| {
        records.iter().filter(|record| record["kind"] == "policy").count() > 1
    };
    all.gateway.records("a second load", rejected).await;
    let target = format!("https://api.test:{port}/all");
    for path in [
        "/metrics",
        "/readyz",
        "/livez",
        "/v1/policy",
        "/v1/audit?limit=1000",
        "/v1/top?by=host",
        "/v1/top?by=rule",
        "/nothing",
        &format!("/v1/explain?target={target}&method=GET"),
    ] {
        let status = all.admin(path).await;
        assert!([200, 404].contains(&status), "{path}: {status}");
    }
    // A real client, with its environment.
    let curl = real(&all, port).await;
    all.keep([curl.as_bytes()]);
    // A request under way while it stops.
    let mut last = all.inside("api.test", &all.api, &["http/1.1"]).await;
    last.send("POST /all HTTP/1.1\r\nhost: api.test\r\ncontent-length: 9\r\n\r\nhalf").await;
    all.gateway.signal(Signal::TERM);
    let end = last.expect_closed().await;
    all.keep([&end]);
    assert!(all.gateway.ended().await.is_some());

    let written = [
        ("standard output", all.gateway.stdout.all().join("\n")),
        ("standard error", all.gateway.stderr.all().join("\n")),
        ("the audit file", all.place.read("audit.jsonl")),
        ("what clients got", String::from_utf8_lossy(&all.got).into_owned()),
    ];
    for (what, text) in &written {
        assert!(text.len() > 2000, "{what} is there: {text}");
        for at in 0..COUNT {
            assert_hidden(&canary(at), text, what);
        }
    }
    assert!(!written[1].1.contains(" TRACE h2"), "libraries do not tell in detail");
}

/// What curl prints of a request that shows every value, behind what it has in its environment.
async fn real(all: &Aviary, port: u16) -> String {
    let Some(curl) = tool::find("curl") else { return String::new() };
    let mut shell = Command::new("sh");
    let (proxy, authority) = (format!("http://{}", all.gateway.proxy()), all.place.text("ca/ca.pem"));
    let line = "tr '\\0' '\\n' </proc/self/environ; exec \"$0\" -svi --max-time 20 -x \"$1\" --cacert \"$2\" \"$3\" 2>&1";
    shell.args(["-c", line]).arg(curl).args([&proxy, &authority, &format!("https://api.test:{port}/all")]);
    let ran = crate::kit::within("curl", shell.output()).await.expect("it runs");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("PATH=") && text.contains("200"), "{text}");
    text
}
