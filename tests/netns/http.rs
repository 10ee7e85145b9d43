//! Redirected plain HTTP: each request by its own `Host`.

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::topology::{CONFIG, FOREIGN, LITERAL, ORIGIN, ORIGIN6, Topology};

/// Two names, an address and a path.
const POLICY: &str = "mode: Limited
hostRules: [good.test, also-good.test]
cidrRules: [{cidr: 93.184.216.40/32, action: Allow}]
rules:
  - {name: reads, match: {host: ruled.test, path: /in/*, methods: [GET]}, action: Allow}
";

/// A running gateway, and an origin that says hello to whoever asks.
async fn net(label: &str) -> Option<(Topology, Origin)> {
    let mut net = Topology::new(label)?;
    net.redirect();
    for name in ["good.test", "also-good.test", "ruled.test"] {
        net.dns.says(name, Answer::addresses([ORIGIN]));
    }
    let config = net.intercepting(CONFIG, &[]);
    net.gateway(POLICY, &config).await;
    let origin = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello")]));
    Some((net, origin))
}

/// The status and the reason of the answer to a GET of `target` with these header lines.
async fn get(client: &mut Client, target: &str, fields: &str) -> (u16, String) {
    let answer = client.ask(format!("GET {target} HTTP/1.1\r\n{fields}\r\n")).await;
    (answer.status, answer.header("x-deny-reason").unwrap_or("-").to_owned())
}

#[tokio::test]
async fn i6_i4_each_request_of_a_redirected_connection_is_judged_by_its_own_host() {
    let Some((net, origin)) = net("hosts").await else { return };
    // Where the client thought to go does not matter.
    let mut client = net.connect(&format!("{FOREIGN}:80"));
    let from = client.local().to_string();
    let mut said = Vec::new();
    for host in ["good.test", "bad.test", "also-good.test"] {
        said.push(get(&mut client, "/a", &format!("Host: {host}\r\n")).await);
    }
    assert_eq!(said, [(200, "-".into()), (403, "default_deny".into()), (200, "-".into())]);
    assert_eq!((net.dns.queries("bad.test"), origin.connections()), (0, 2));
    let of_client = |all: &[serde_json::Value]| all.iter().filter(|record| record["client"] == from).count();
    let records = net.records("three records", |all| of_client(all) >= 3).await;
    let records: Vec<_> = records.into_iter().filter(|record| record["client"] == from).collect();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            assert_eq!(
                (&record["ingress"], &record["kind"]),
                (&"transparent_http".into(), &"request".into())
            );
            assert_eq!((&record["sandbox"], &record["path"]), (&"one".into(), &"/a".into()));
            (record["host"].as_str().unwrap(), record["status"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(told, [("good.test", 200), ("bad.test", 403), ("also-good.test", 200)]);
    assert_eq!(records[0]["address"], format!("{ORIGIN}:80"));
}

#[tokio::test]
async fn i4_curl_without_a_proxy_passes_and_is_refused_with_the_reason() {
    let Some((net, _origin)) = net("curl").await else { return };
    if crate::kit::tool::find("curl").is_none() {
        return;
    }
    let curl = async |name: &str, address: &str| {
        let (resolve, url) = (format!("{name}:80:{address}"), format!("http://{name}/"));
        net.run(1, "curl", ["-sS", "-w", " %{http_code}", "--resolve", &resolve, &url]).await.stdout
    };
    assert_eq!(curl("good.test", FOREIGN).await, "hello 200");
    assert_eq!(curl("good.test", "[2600:1f18::66]").await, "hello 200");
    let refused = curl("bad.test", ORIGIN).await;
    assert!(refused.ends_with(" 403") && refused.contains("\"code\":\"default_deny\""), "{refused}");
}

#[tokio::test]
async fn i3_i4_a_redirected_request_names_its_own_port_and_no_other_address() {
    let Some((net, origin)) = net("agree").await else { return };
    let literal = net.origin(&format!("{LITERAL}:80"), Behaviour::Http(vec![Reply::ok("literal")]));
    for (address, target, host, said) in [
        (ORIGIN, "/", "Host: good.test:80\r\n", (200, "-")),
        (ORIGIN, "/", "Host: good.test:8080\r\n", (400, "authority_mismatch")),
        (ORIGIN, "/", "Host: 93.184.216.40\r\n", (400, "authority_mismatch")),
        (ORIGIN, "/", "Host: 93.184.216.34\r\n", (403, "default_deny")),
        (LITERAL, "/", "Host: 93.184.216.40\r\n", (200, "-")),
        (LITERAL, "/", "Host: [::ffff:93.184.216.40]\r\n", (400, "authority_mismatch")),
        (LITERAL, "/", "Host: bad.test\r\n", (403, "default_deny")),
        (ORIGIN, "/", "", (400, "bad_request")),
        (ORIGIN, "/", "Host: \r\n", (400, "bad_request")),
        (ORIGIN, "/", "Host: 0x7f.1\r\n", (400, "bad_request")),
        (ORIGIN, "http://good.test/", "Host: good.test\r\n", (200, "-")),
        (ORIGIN, "http://good.test:8080/", "Host: good.test:8080\r\n", (400, "authority_mismatch")),
        (ORIGIN, "http://good.test/", "Host: also-good.test\r\n", (400, "authority_mismatch")),
        (ORIGIN, "http://93.184.216.40/", "Host: 93.184.216.40\r\n", (400, "authority_mismatch")),
        (ORIGIN, "/in/a", "Host: ruled.test\r\n", (200, "-")),
        (ORIGIN, "/out", "Host: ruled.test\r\n", (403, "default_deny")),
    ] {
        let mut client = net.connect(&format!("{address}:80"));
        let (status, reason) = get(&mut client, target, host).await;
        assert_eq!((status, reason.as_str()), said, "{address} {target} {host}");
    }
    for (address, said) in [(ORIGIN, 403), (LITERAL, 200)] {
        let mut client = net.connect(&format!("{address}:80"));
        assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").await.status, said, "{address}");
    }
    assert_eq!((origin.connections(), literal.connections()), (3, 2));
}

#[tokio::test]
async fn i7_i4_connect_on_a_redirected_connection_is_refused() {
    let Some((net, origin)) = net("connect").await else { return };
    let mut client = net.connect(&format!("{ORIGIN}:80"));
    let from = client.local().to_string();
    let answer = client.ask("CONNECT good.test:80 HTTP/1.1\r\nHost: good.test:80\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (400, Some("bad_request")));
    assert_eq!(net.record_of(&from).await["ingress"], "transparent_http");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn i4_http_over_ipv6_is_judged_by_its_host_too() {
    let Some((net, origin)) = net("http6").await else { return };
    let mut client = net.connect(&format!("[{ORIGIN6}]:80"));
    assert_eq!(get(&mut client, "/", "Host: good.test\r\n").await, (200, "-".into()));
    assert_eq!(get(&mut client, "/", "Host: bad.test\r\n").await, (403, "default_deny".into()));
    let own = format!("Host: [{ORIGIN6}]\r\n");
    assert_eq!(get(&mut client, "/", &own).await, (403, "default_deny".into()));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn l3_i4_a_redirected_request_that_ends_in_the_middle_leaves_one_record() {
    let Some((net, _origin)) = net("middle").await else { return };
    let mut client = net.connect(&format!("{ORIGIN}:80"));
    let from = client.local().to_string();
    client.send("GET / HTTP/1.1\r\nHost: good").await;
    client.finish().await;
    client.expect_closed().await;
    let record = net.record_of(&from).await;
    assert_eq!(
        (&record["reason"], &record["decision"]),
        (&"bad_request".into(), &"deny".into()),
        "{record:#}"
    );
    assert_eq!((&record["host"], &record["ingress"]), (&ORIGIN.into(), &"transparent_http".into()));
}
