//! Signals, kills, and the reloads they bring.

use super::*;

#[tokio::test]
async fn sigterm_takes_nothing_new_and_lets_tunnels_finish() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "");
    let mut gateway = Process::start(&place, &["--config", &config]).await;
    let mut open = tunnel(gateway.proxy(), &origin).await;
    gateway.signal(Signal::TERM);
    gateway.logs("stopping").await;
    let refused = async { while tokio::net::TcpStream::connect(gateway.proxy()).await.is_ok() {} };
    within("the listener to close", refused).await;
    open.send("still here").await;
    open.expect("still here").await;
    open.finish().await;
    open.expect_end().await;
    assert_eq!(gateway.ended().await, Some(0));
    let records = parsed(&gateway.stdout.all());
    let last = records.iter().find(|record| record["kind"] == "connection" && record["host"] == "good.test");
    assert_eq!(last.expect("a terminal record")["outcome"], "ok");
}

#[tokio::test]
async fn l3_a_drain_beyond_its_deadline_ends_what_is_left_and_records_it_and_exits_0() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "limits: {drainTimeoutMs: 200}\n");
    let mut gateway = Process::start(&place, &["--config", &config]).await;
    let open = tunnel(gateway.proxy(), &origin).await;
    let silent = Client::connect(gateway.proxy()).await;
    let mut half = Client::connect(gateway.proxy()).await;
    half.send("CONNECT good.test:4").await;
    let mut served = Client::connect(gateway.proxy()).await;
    assert_eq!(served.ask("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n").await.status, 403);
    gateway.signal(Signal::INT);
    assert_eq!(gateway.ended().await, Some(0));
    let records = parsed(&gateway.stdout.all());
    let of = |client: SocketAddr| {
        let ours = records
            .iter()
            .filter(|record| record["client"] == client.to_string() && record["kind"] != "open");
        ours.map(|record| record["outcome"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(open.local()), ["drained"]);
    assert_eq!(of(silent.local()).len(), 1, "{records:#?}");
    assert_eq!(of(half.local()).len(), 1, "{records:#?}");
    assert_eq!(of(served.local()), ["refused"]);
}

#[tokio::test]
async fn sighup_loads_the_policy_and_opens_the_audit_log_anew_where_it_was_moved_away() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "audit: {sinks: [{file: {path: audit.jsonl}}]}\n");
    let gateway = Process::start(&place, &["--config", &config]).await;
    drop(tunnel(gateway.proxy(), &origin).await);
    std::fs::rename(place.path("audit.jsonl"), place.path("audit.jsonl.moved")).unwrap();
    place.replace("policy.yaml", "mode: Limited\nhostRules: [other.test]\n");
    gateway.signal(Signal::HUP);
    gateway.logs("generation=2").await;
    until_answered(gateway.proxy(), &format!("good.test:{}", origin.port()), 403).await;
    let appeared = async {
        while !place.path("audit.jsonl").exists() || !place.read("audit.jsonl").contains("default_deny") {
            tokio::task::yield_now().await;
        }
    };
    within("a new audit file with the denial", appeared).await;
    let text = place.read("audit.jsonl.moved") + &place.read("audit.jsonl");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let seqs: Vec<u64> = parsed(&lines).iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no record is lost between the files");
}

#[tokio::test]
async fn a_kill_leaves_nothing_that_stops_the_next_start_and_a_torn_line_is_cut_and_told() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(
        &place,
        &dns,
        "audit: {sinks: [{file: {path: audit.jsonl}}]}\nadmin: {address: '127.0.0.1:0', socket: admin.sock}\n",
    );
    let mut gateway = Process::start(&place, &["--config", &config]).await;
    let open = tunnel(gateway.proxy(), &origin).await;
    let (proxy, admin) = (gateway.proxy(), gateway.admin());
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.ended().await, None);
    assert!(place.path("admin.sock").exists(), "a kill leaves the socket");
    let before = place.read("audit.jsonl");
    assert!(before.contains(r#""kind":"open""#), "a kill hides no tunnel");
    place.write("audit.jsonl", format!("{before}{{\"schema\":\"sluicegate.audit/1\",\"seq\":99,\"ti"));
    let mut command = command(BINARY);
    command.args(["run", "--config", &config, "--listen", &proxy.to_string(), "--admin", &admin.to_string()]);
    command.current_dir(place.path(""));
    let gateway = Process::spawn(command).await;
    assert_eq!(
        (gateway.proxy(), gateway.admin()),
        (proxy, admin),
        "the same ports, with the old connections in TIME_WAIT"
    );
    drop(tunnel(proxy, &origin).await);
    drop(open);
    let told = async {
        while !place.read("audit.jsonl").contains(r#""kind":"lost""#) {
            tokio::task::yield_now().await;
        }
    };
    within("the repair to be recorded", told).await;
    let text = place.read("audit.jsonl");
    let whole = text.rsplit_once('\n').expect("lines").0;
    assert!(whole.starts_with(before.trim_end()), "nothing that was whole is lost");
    let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    let lost = parsed(&lines).into_iter().find(|record| record["kind"] == "lost").expect("a record");
    assert_eq!(lost["lost"]["bytes"], 43);
    let mut socket = tokio::net::UnixStream::connect(place.path("admin.sock")).await.expect("the new socket");
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn two_gateways_never_write_one_audit_file() {
    let place = Place::with("mode: Limited\n");
    place
        .write("config.yaml", "policy: {path: policy.yaml}\naudit: {sinks: [{file: {path: audit.jsonl}}]}\n");
    let _first = Process::start(&place, &["--config", "config.yaml"]).await;
    let second = ["run", "--config", "config.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let ran = ran(&place, &second).await;
    assert!(ran.code == 1 && ran.stderr.contains("another process"), "{}", ran.stderr);
}

#[tokio::test]
async fn p4_a_tightened_policy_resets_the_tunnel_within_a_second() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "");
    let gateway = Process::start(&place, &["--config", &config]).await;
    let mut open = tunnel(gateway.proxy(), &origin).await;
    place.replace("policy.yaml", "mode: Limited\n");
    gateway.logs("generation=2").await;
    let begun = std::time::Instant::now();
    open.expect_reset().await;
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let is_it = |record: &Value| record["kind"] == "connection" && record["reason"] == "policy_change";
    gateway.records("a policy_change record", |all| all.iter().any(is_it)).await;
}

#[tokio::test]
async fn p4_sighup_and_a_change_of_the_file_put_other_sandboxes_in_force_and_flags_still_override() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let sandbox = |id: &str, source: &str| format!("sandboxes: [{{id: {id}, sources: [{source}]}}]\n");
    // Overridden by the flags, now and later; the flags come from `Process` and from here.
    let others = |port: u16| format!("listeners: [{{address: '127.0.0.1:{port}'}}]\n");
    let config = configuration(&place, &dns, &(others(1) + &sandbox("one", "127.0.0.1")));
    place.write("other.yaml", allowing(origin.port()));
    let gateway = Process::start(&place, &["--config", &config, "--policy", "other.yaml"]).await;
    let mut open = tunnel(gateway.proxy(), &origin).await;

    // Seen without a signal.
    configuration(&place, &dns, &(others(2) + &sandbox("one", "127.0.0.2")));
    gateway.logs("generation=2").await;
    open.expect_reset().await;
    until_answered(gateway.proxy(), &format!("good.test:{}", origin.port()), 407).await;
    assert!(!gateway.stderr.all().iter().any(|line| line.contains("takes effect after a restart")));

    // A broken file, and one that is gone, end nothing.
    place.write("config.yaml", "sandboxes: [");
    gateway.signal(Signal::HUP);
    gateway.logs("rejected=true").await;
    std::fs::remove_file(place.path("config.yaml")).unwrap();
    gateway.signal(Signal::HUP);
    gateway.logs("cannot read").await;
    assert_eq!(asked(gateway.proxy(), &format!("good.test:{}", origin.port())).await, Some(407));

    configuration(&place, &dns, &(others(3) + "ech: Deny\n" + &sandbox("two", "127.0.0.1")));
    gateway.signal(Signal::HUP);
    gateway.logs("takes effect after a restart: ech").await;
    drop(tunnel(gateway.proxy(), &origin).await);
    let of_two = |record: &Value| record["kind"] == "open" && record["sandbox"] == "two";
    gateway.records("a tunnel of sandbox two", |all| all.iter().any(of_two)).await;
}
