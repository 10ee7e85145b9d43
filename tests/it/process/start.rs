//! How it starts, or says why not.

use super::*;

#[tokio::test]
async fn with_only_a_policy_it_runs_and_writes_records_to_stdout_and_its_log_to_stderr() {
    let place = Place::with("mode: Limited\nhostRules: [pypi.org]\n");
    let mut gateway = Process::start(&place, &["--policy", "policy.yaml"]).await;
    let refused = Client::connect(gateway.proxy()).await;
    let refused = { refused }.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (403, Some("default_deny")));
    gateway.records("a denial", |all| all.iter().any(|record| record["reason"] == "default_deny")).await;
    let admin = gateway.admin().to_string();
    assert_eq!(ran(&place, &["health", "--admin", &admin]).await.code, 0);
    assert_eq!(ran(&place, &["health", "--ready", "--admin", &admin]).await.code, 0);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0));
    gateway.logs("stopped").await;
    let records = parsed(&gateway.stdout.all());
    let seqs: Vec<u64> = records.iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>());
    assert!(gateway.stderr.all().iter().all(|line| !line.starts_with('{')));
    assert_eq!(ran(&place, &["health", "--admin", &admin]).await.code, 1);
}

#[tokio::test]
async fn p2_a_first_load_with_problems_shows_all_of_them_and_ends_before_it_listens() {
    let place = Place::with("mode: limited\nhostRulez: []\n");
    // Taken ports would be the complaint of a gateway that listens first.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for path in ["policy.yaml", ".", "missing.yaml"] {
        let ran = ran(&place, &["run", "--policy", path, "--listen", &taken, "--admin", &taken]).await;
        assert_eq!(ran.code, 1, "{path}");
        assert!(!ran.stderr.contains("listen"), "{}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
        if path == "policy.yaml" {
            assert!(ran.stderr.contains("policy.yaml:1:7") && ran.stderr.contains("policy.yaml:2:1"));
            assert!(ran.stderr.contains("did you mean `hostRules`?"), "{}", ran.stderr);
        }
    }
    let ran = ran(&place, &["run"]).await;
    assert!(ran.code == 1 && ran.stderr.contains("--policy"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_taken_port_is_one_clear_sentence_and_exit_1() {
    let place = Place::with("mode: Limited\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (listen, admin) in [(address.as_str(), free), (free, address.as_str())] {
        let ran =
            ran(&place, &["run", "--policy", "policy.yaml", "--listen", listen, "--admin", admin]).await;
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains(&format!("cannot listen on {address}")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a6_i4_the_transparent_flag_listens_besides_the_proxy_and_no_client_connects_to_it_directly() {
    let place = Place::with("mode: Unrestricted\n");
    let arguments = ["--policy", "policy.yaml", "--transparent", "127.0.0.1:0"];
    let gateway = Process::start(&place, &arguments).await;
    let line =
        |lines: &[String]| lines.iter().any(|line| line.contains("listening for redirected connections"));
    let log = gateway.stderr.wait_until("the transparent listener", line).await;
    let line = log.iter().find(|line| line.contains("redirected")).unwrap();
    let address: std::net::SocketAddr = line.rsplit_once("address=").unwrap().1.parse().unwrap();
    let mut client = Client::connect(address).await;
    client.send(b"\0\x01opaque").await;
    assert!(client.expect_reset().await.is_empty());
    let refused =
        |records: &[serde_json::Value]| records.iter().any(|record| record["reason"] == "guard_self");
    gateway.records("the refusal", refused).await;
    assert!(Client::try_tunnel(gateway.proxy(), "127.0.0.1:1").await.is_err(), "the proxy is there too");
}

#[tokio::test]
async fn a_configuration_that_comes_through_a_pipe_is_read_once() {
    let Some(bash) = tool::find("bash") else { return };
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "sandboxes: [{id: one, sources: [127.0.0.1]}]\n");
    let mut command = command(bash);
    let run =
        format!("exec {BINARY} run --listen 127.0.0.1:0 --admin 127.0.0.1:0 --config <(cat '{config}')");
    command.args(["-c", &run]).current_dir(place.path(""));
    let gateway = Process::spawn(command).await;
    place.replace("policy.yaml", "mode: Limited\n");
    gateway.signal(Signal::HUP);
    gateway.logs("generation=2").await;
    assert!(gateway.stderr.all().iter().all(|line| !line.contains("rejected=true")));
}
