//! The whole system, and real clients inside: any resolver, with and without proxy variables, TLS tools, DNS over TLS.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool;
use crate::system::SYSTEM;
use crate::topology::{ORIGIN, ORIGIN6, Topology};

/// One name, on the ports of the web and of DNS over TLS.
const POLICY: &str = "mode: Limited
hostRules: [good.test]
ports: [80, 443, 853]
";

/// Name servers that do not exist: what is sent to them must not arrive anywhere.
const RESOLVERS: [&str; 4] = ["@198.51.100.53", "@10.200.1.1", "@2001:db8::53", "@fd00:200:1::1"];

/// The whole system, where `good.test` is the usual origin.
async fn system(label: &str) -> Option<Topology> {
    let net = Topology::system(label, POLICY, SYSTEM).await?;
    net.dns.says("good.test", Answer::addresses([ORIGIN, ORIGIN6]));
    Some(net)
}

/// An origin for the web inside TLS, and the file with its certificate.
fn https(net: &Topology, port: u16) -> (Origin, String) {
    let reply = Reply::ok("hello inside TLS").then_close();
    let origin = net.tls_origin(&format!("{ORIGIN}:{port}"), "good.test", Behaviour::Http(vec![reply]));
    let file = net.file("origin.pem", pem(&origin.certificate()));
    (origin, file)
}

/// A certificate as tools read it.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let encoded = BASE64_STANDARD.encode(certificate);
    let lines = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    let lines: Vec<&str> = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test]
async fn d5_whatever_resolver_a_sandbox_asks_the_gateway_answers() {
    let Some(net) = system("resolver").await else { return };
    if tool::find("dig").is_none() || tool::find("kdig").is_none() {
        return;
    }
    let ask = async |server: &str, way: &str, name: &str, kind: &str| {
        // Either tool: one over UDP, the other over TCP.
        let tool = if way == "+tcp" { "kdig" } else { "dig" };
        net.run(1, tool, [server, way, "+time=10", name, kind]).await.stdout
    };
    for server in RESOLVERS {
        for (kind, address) in [("A", ORIGIN), ("AAAA", ORIGIN6)] {
            for way in ["+notcp", "+tcp"] {
                let said = ask(server, way, "good.test", kind).await;
                assert!(said.contains(address), "{server} {way} {kind}: {said}");
            }
        }
    }
    // What is denied leaves nothing behind outside: neither a query, nor the packet of the sandbox.
    let before = net.counted().await;
    assert!(before.1 > 0, "the allowed name was asked for");
    for server in RESOLVERS {
        for (name, kind, code) in [
            ("bad.test", "A", "NXDOMAIN"),
            ("c2VjcmV0.good.test", "AAAA", "NXDOMAIN"),
            ("good.test", "TXT", "REFUSED"),
        ] {
            for way in ["+notcp", "+tcp"] {
                let said = ask(server, way, name, kind).await;
                assert!(said.contains(code), "{server} {way} {name}: {said}");
            }
        }
    }
    assert_eq!(net.counted().await, before);
    assert_eq!(before.0, 0, "no packet of a sandbox went out");
    let refused = |all: &[serde_json::Value]| all.iter().filter(|one| one["kind"] == "query").count();
    let records = net.records("a record of each refusal", |all| refused(all) >= 24).await;
    assert_eq!(refused(&records), 24);
    assert!(records.iter().all(|one| one["kind"] != "query" || one["sandbox"] == "one"));
}

#[tokio::test]
async fn i4_curl_without_proxy_variables_works_by_name_alone() {
    let Some(net) = system("direct").await else { return };
    if tool::find("curl").is_none() {
        return;
    }
    let http = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello").then_close()]));
    let (tls, ca) = https(&net, 443);
    let curl = async |url: &str, family: &str| {
        let arguments = [family, "-sS", "--max-time", "20", "--cacert", &ca, "-w", " %{http_code}", url];
        net.run_resolving(1, &[], "curl", arguments).await
    };
    for family in ["-4", "-6"] {
        let ran = curl("http://good.test/", family).await;
        assert_eq!(ran.stdout, "hello 200", "{family} {}", ran.stderr);
        let ran = curl("https://good.test/", family).await;
        assert_eq!(ran.stdout, "hello inside TLS 200", "{family} {}", ran.stderr);
    }
    // The name does not resolve, so there is nothing to connect to.
    for url in ["http://bad.test/", "https://bad.test/"] {
        assert_eq!(curl(url, "-4").await.code, 6, "could not resolve host");
    }
    // An address of its own choice under a name, and a literal.
    let ran = curl("http://93.184.216.66/", "-4").await;
    assert!(ran.stdout.ends_with(" 403") && ran.stdout.contains("default_deny"), "{}", ran.stdout);
    let ran = curl("http://[2600:1f18::66]/", "-6").await;
    assert!(ran.stdout.ends_with(" 403") && ran.stdout.contains("default_deny"), "{}", ran.stdout);
    assert_eq!(curl("https://[2600:1f18::66]/", "-6").await.code, 35, "TLS without a name is refused");
    assert_eq!((http.connections(), tls.connections()), (2, 2));
    assert_eq!(net.counted().await.0, 0);
}

#[tokio::test]
async fn curl_with_proxy_variables_works_beside_that() {
    let Some(net) = system("variables").await else { return };
    if tool::find("curl").is_none() {
        return;
    }
    let _http = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello").then_close()]));
    let (_tls, ca) = https(&net, 443);
    for proxy in ["http://10.200.1.1:3128", "http://[fd00:200:1::1]:3128"] {
        let variables = [&format!("http_proxy={proxy}")[..], &format!("https_proxy={proxy}")];
        let curl = async |url: &str| {
            let arguments =
                ["-sS", "--max-time", "20", "--cacert", &ca, "-w", " %{http_code} %{http_connect}", url];
            net.run_resolving(1, &variables, "curl", arguments).await
        };
        assert_eq!(curl("http://good.test/").await.stdout, "hello 200 000");
        assert_eq!(curl("https://good.test/").await.stdout, "hello inside TLS 200 200");
        assert!(curl("http://bad.test/").await.stdout.ends_with(" 403 000"));
        assert!(curl("https://bad.test/").await.stdout.ends_with(" 000 403"));
        // The literal of the other sandbox, and IPv4 in the clothes of IPv6.
        for literal in ["http://10.200.2.2/", "http://[::ffff:10.200.2.2]/", "http://[::ffff:93.184.216.66]/"]
        {
            let ran = curl(literal).await;
            assert!(ran.stdout.ends_with(" 403 000"), "{literal}: {}", ran.stdout);
        }
    }
    let ways = |way: &str, all: &[serde_json::Value]| all.iter().any(|one| one["ingress"] == way);
    net.records("both ways in", |all| ways("connect", all) && ways("http", all)).await;
    assert_eq!(net.counted().await.0, 0);
}

#[tokio::test]
async fn python_requests_and_openssl_work_by_name_alone() {
    const GET: &str = "import requests, sys
session = requests.Session()
session.trust_env = False
print(session.get('http://good.test/', timeout=20).text)
print(session.get('https://good.test/', timeout=20, verify=sys.argv[1]).text)
try: session.get('https://bad.test/', timeout=20)
except requests.exceptions.ConnectionError as error: print('NameResolutionError' in repr(error))
";
    let Some(net) = system("tools").await else { return };
    let _http = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello").then_close()]));
    let (_tls, ca) = https(&net, 443);
    if let Some(python) = tool::find("python") {
        let ran = net.run_resolving(1, &[], python.to_str().unwrap(), ["-c", GET, &ca]).await;
        assert_eq!(ran.stdout, "hello\nhello inside TLS\nTrue\n", "{}", ran.stderr);
    }
    if tool::find("openssl").is_some() {
        let s_client = async |place: &str, name: &str| {
            let arguments = ["s_client", "-connect", place, "-servername", name, "-CAfile", &ca];
            net.run_resolving(1, &[], "openssl", arguments).await
        };
        let ran = s_client("good.test:443", "good.test").await;
        assert!(ran.stdout.contains("Verify return code: 0 (ok)"), "{} {}", ran.stdout, ran.stderr);
        let ran = s_client("good.test:443", "bad.test").await;
        assert!(ran.stderr.contains("access denied"), "{}", ran.stderr);
    }
    assert_eq!(net.counted().await.0, 0);
}

#[tokio::test]
async fn t2_dns_over_tls_is_judged_as_any_tls_and_hosts_of_dns_over_https_by_a_rule() {
    const POLICY: &str = "mode: Unrestricted
hostRules: [good.test, {pattern: dns.test, action: Deny}, {pattern: '*.doh.test', action: Deny}]
";
    let Some(mut net) = system("dot").await else { return };
    if tool::find("openssl").is_none() {
        return;
    }
    let (dot, ca) = https(&net, 853);
    let s_client = async |net: &Topology, name: &str, port: u16| {
        let place = format!("198.51.100.53:{port}");
        let arguments = ["s_client", "-connect", &place, "-servername", name, "-CAfile", &ca];
        net.run(1, "openssl", arguments).await
    };
    let ran = s_client(&net, "good.test", 853).await;
    assert!(ran.stdout.contains("Verify return code: 0 (ok)"), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(net.record("open", "good.test").await["port"], 853);
    assert!(s_client(&net, "bad.test", 853).await.stderr.contains("access denied"));
    assert_eq!(net.record("connection", "bad.test").await["reason"], "default_deny");
    net.set_policy("mode: Limited\nhostRules: [good.test]\n").await;
    assert!(s_client(&net, "good.test", 853).await.stderr.contains("access denied"));
    let denied = |all: &[serde_json::Value]| all.iter().any(|one| one["reason"] == "port_denied");
    net.records("the port to be refused", denied).await;
    assert_eq!(dot.connections(), 1);
    // Where everything else is allowed, a name server in HTTPS is a host like any other.
    net.gateway(POLICY, SYSTEM).await;
    for name in ["dns.test", "a.doh.test"] {
        net.dns.says(name, Answer::addresses([ORIGIN]));
        assert!(s_client(&net, name, 443).await.stderr.contains("access denied"), "{name}");
        assert_eq!(net.record("connection", name).await["reason"], "host_denied");
        let said = net.run(1, "dig", ["@198.51.100.53", name]).await.stdout;
        assert!(said.contains("NXDOMAIN"), "{said}");
        assert_eq!(net.dns.queries(name), 0);
    }
    assert_eq!(net.counted().await.0, 0);
}
