//! Real clients through the gateway: curl, openssl, Python.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool::{self, Ran};

/// A gateway that allows one name, an origin of it inside TLS and one in the clear.
struct Scene {
    gateway: Gateway,
    http: Origin,
    https: Origin,
    /// Where the certificate is.
    directory: TempDir,
}

impl Scene {
    /// Starts all of it.
    async fn start() -> Self {
        let gateway = Gateway::start("mode: Limited\nports: [1-65535]\nhostRules: [good.test]\n").await;
        for name in ["good.test", "denied.test"] {
            gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
        }
        let reply = || Reply::ok("hello from the origin").then_close();
        let http = Origin::http([Reply::ok("hello from the origin")]).await;
        let https = Origin::tls("good.test", Behaviour::Http(vec![reply()])).await;
        let directory = tempfile::tempdir().unwrap();
        let encoded = BASE64_STANDARD.encode(https.certificate());
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        std::fs::write(directory.path().join("origin.pem"), pem).unwrap();
        Self { gateway, http, https, directory }
    }

    /// The file with the certificate of the origin.
    fn certificate(&self) -> PathBuf {
        self.directory.path().join("origin.pem")
    }

    /// Runs curl through the gateway; `None` where it is not installed.
    async fn curl(&self, arguments: &[&str]) -> Option<Ran> {
        let curl = tool::find("curl")?;
        let (proxy, certificate) = (format!("http://{}", self.gateway.proxy()), self.certificate());
        let always = ["-sS", "--max-time", "20", "-x", &proxy, "--cacert", certificate.to_str().unwrap()];
        Some(tool::run(&curl, always.iter().chain(arguments)).await)
    }

    /// Runs a Python script with these arguments; `None` where there is no Python.
    async fn python(&self, script: &str, arguments: &[&str]) -> Option<Ran> {
        let python = tool::find("python3")?;
        Some(tool::run(&python, ["-c", script].iter().chain(arguments)).await)
    }
}

#[tokio::test]
async fn curl_reaches_what_is_allowed_over_http_and_https() {
    let scene = Scene::start().await;
    let (http, https) = (scene.http.port(), scene.https.port());
    for url in [format!("http://good.test:{http}/a"), format!("https://good.test:{https}/b")] {
        let Some(ran) = scene.curl(&[&url]).await else { return };
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello from the origin"), "{url} {}", ran.stderr);
    }
    // The same over a tunnel for plain HTTP, which is judged inside.
    let url = format!("http://good.test:{http}/c");
    let ran = scene.curl(&["--proxytunnel", &url]).await.unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello from the origin"), "{}", ran.stderr);
    // Several on one connection.
    let ran = scene.curl(&[&url, &url, &url]).await.unwrap();
    assert_eq!(ran.stdout, "hello from the origin".repeat(3), "{}", ran.stderr);
    let upload = scene.curl(&["--data-binary", &"x".repeat(5000), "-H", "Expect: 100-continue", &url]).await;
    assert_eq!(upload.unwrap().code, 0);
}

#[tokio::test]
async fn curl_is_told_why_it_is_denied() {
    let scene = Scene::start().await;
    let show = ["-o", "/dev/null", "-w", "%{http_code} %{http_connect}"];
    let http = "http://denied.test/";
    let Some(ran) = scene.curl(&[&show[..], &[http]].concat()).await else { return };
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "403 000"), "{}", ran.stderr);
    let ran = scene.curl(&[http]).await.unwrap();
    let body: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&body["error"]["code"], &body["error"]["target"]),
        (&"default_deny".into(), &"denied.test:80".into())
    );
    // 56: the proxy answered CONNECT with something else than 200.
    let ran = scene.curl(&[&show[..], &["https://denied.test/"]].concat()).await.unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (56, "000 403"), "{}", ran.stderr);
    // A front for another name: the alert arrives as a TLS error, at once.
    let https = scene.https.port();
    let connect_to = format!("denied.test:{https}:good.test:{https}");
    let url = format!("https://denied.test:{https}/");
    let ran = scene.curl(&["--connect-to", &connect_to, &url]).await.unwrap();
    assert_eq!(ran.code, 35, "{} {}", ran.stdout, ran.stderr);
    let record = scene.gateway.record("connection", "good.test").await;
    assert_eq!((&record["reason"], &record["sni"]), (&"authority_mismatch".into(), &"denied.test".into()));
}

#[tokio::test]
async fn openssl_shakes_hands_through_the_gateway_and_is_stopped_under_another_name() {
    let scene = Scene::start().await;
    let Some(openssl) = tool::find("openssl") else { return };
    let (proxy, certificate) = (scene.gateway.proxy().to_string(), scene.certificate());
    let connect = format!("good.test:{}", scene.https.port());
    let handshake = async |name: &[&str], version: &str| {
        let always = ["s_client", "-proxy", &proxy, "-connect", &connect, "-verify_return_error", version];
        let trust = ["-CAfile", certificate.to_str().unwrap()];
        tool::run(&openssl, always.iter().chain(&trust).chain(name)).await
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let ran = handshake(&["-servername", "good.test"], version).await;
        assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("Verify return code: 0 (ok)"), "{}", ran.stdout);
        for name in [&["-servername", "denied.test"][..], &["-noservername"]] {
            let ran = handshake(name, version).await;
            assert_eq!(ran.code, 1, "{name:?} {}", ran.stdout);
            assert!(ran.stderr.contains("alert access denied"), "{name:?} {}", ran.stderr);
        }
    }
    assert_eq!(scene.https.received(0), "");
}

#[tokio::test]
async fn pythons_http_client_works_in_both_ways_and_reads_the_refusal() {
    const SCRIPT: &str = "
import http.client, json, ssl, sys
proxy, http_port, https_port, certificate = sys.argv[1:]
host, port = proxy.split(':')
c = http.client.HTTPConnection(host, int(port), timeout=20)
for path in '/a', '/b':
    c.request('GET', f'http://good.test:{http_port}{path}', headers={'Host': f'good.test:{http_port}'})
    r = c.getresponse()
    print(r.status, r.read().decode())
c.request('GET', 'http://denied.test/', headers={'Host': 'denied.test'})
r = c.getresponse()
print(r.status, r.getheader('x-deny-reason'), json.load(r)['error']['code'])
c.request('GET', f'http://good.test:{http_port}/c', headers={'Host': f'good.test:{http_port}'})
r = c.getresponse()
print(r.status, r.read().decode())
t = http.client.HTTPSConnection(host, int(port), timeout=20, context=ssl.create_default_context(cafile=certificate))
t.set_tunnel('good.test', int(https_port))
t.request('GET', '/')
print(t.getresponse().read().decode())
d = http.client.HTTPSConnection(host, int(port), timeout=20)
d.set_tunnel('denied.test', 443)
try:
    d.request('GET', '/')
except OSError as e:
    print(e)
";
    let scene = Scene::start().await;
    let (proxy, http, https) =
        (scene.gateway.proxy().to_string(), scene.http.port().to_string(), scene.https.port().to_string());
    let certificate = scene.certificate();
    let arguments = [proxy.as_str(), &http, &https, certificate.to_str().unwrap()];
    let Some(ran) = scene.python(SCRIPT, &arguments).await else { return };
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let expected = [
        "200 hello from the origin",
        "200 hello from the origin",
        "403 default_deny default_deny",
        "200 hello from the origin",
        "hello from the origin",
        "Tunnel connection failed: 403 Forbidden",
    ];
    assert_eq!(lines, expected, "{}", ran.stderr);
}
