//! The real binary: its command line, its signals, and what a host can do to it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::origin::{End, Origin};
use crate::kit::process::{BINARY, Place, Process, command, parsed};
use crate::kit::tool::{self, Ran};
use crate::kit::within;

/// Runs the binary to its end in a place.
async fn ran(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = command(BINARY);
    let output = command.args(arguments).current_dir(place.path("")).output();
    let output = within("the binary to end", output).await.expect("the binary runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A configuration whose name server and origins are the test's; `more` is added to it.
fn configuration(place: &Place, dns: &Dns, more: &str) -> String {
    place.write(
        "config.yaml",
        format!(
            "policy: {{path: policy.yaml}}\ndns: {{servers: ['{}']}}\nguards: {{exempt: [127.0.0.8/29]}}\n{more}",
            dns.address()
        ),
    );
    place.text("config.yaml")
}

/// A policy that allows `good.test` on this port.
fn allowing(port: u16) -> String {
    format!("mode: Limited\nhostRules: ['good.test:{port}']\n")
}

/// An origin that echoes, known as `good.test`.
async fn echo() -> (Origin, Dns) {
    let (origin, dns) = (Origin::echo().await, Dns::start().await);
    dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (origin, dns)
}

/// A tunnel to the origin that was used once.
async fn tunnel(proxy: SocketAddr, origin: &Origin) -> Client {
    let mut tunnel = Client::tunnel(proxy, &format!("good.test:{}", origin.port())).await;
    tunnel.send("\x01ping").await;
    tunnel.expect("\x01ping").await;
    tunnel
}

/// Asks for a tunnel; its end on the way is given as none.
async fn asked(proxy: SocketAddr, target: &str) -> Option<u16> {
    let mut client = tokio::net::TcpStream::connect(proxy).await.ok()?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut head).await.ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// Tries until it is answered with this status.
async fn until_answered(proxy: SocketAddr, target: &str, status: u16) {
    let trying = async {
        while asked(proxy, target).await != Some(status) {
            tokio::task::yield_now().await;
        }
    };
    within("the gateway to answer again", trying).await;
}

/// Gets a path of the admin server.
async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let response = Client::connect(admin).await.ask(request).await;
    (response.status, response.body)
}

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
async fn every_command_has_the_exit_codes_that_scripts_rely_on() {
    let place = Place::with("mode: Limited\nhostRules: [pypi.org]\n");
    place.write("broken.yaml", "mode: limited\n");
    place.write(
        "corpus.yaml",
        "policy: policy.yaml\nquestions:\n  - {target: 'pypi.org:443', expect: {verdict: allow}}\n",
    );
    place.write(
        "wrong.yaml",
        "policy: policy.yaml\nquestions:\n  - {target: 'pypi.org:443', expect: {verdict: deny}}\n",
    );
    let cases: &[(&[&str], i32)] = &[
        (&["check", "policy.yaml"], 0),
        (&["check", "policy.yaml", "broken.yaml"], 1),
        (&["check", "missing.yaml"], 1),
        (&["check"], 2),
        (&["check", "--nope", "policy.yaml"], 2),
        (&["explain", "--policy", "policy.yaml", "pypi.org"], 0),
        (&["explain", "--policy", "policy.yaml", "--json", "pypi.org:443"], 0),
        (&["explain", "--policy", "policy.yaml", "https://pypi.org/simple"], 0),
        (&["explain", "--policy", "policy.yaml", "evil.test"], 3),
        (&["explain", "--policy", "policy.yaml", "pypi.org:8443"], 3),
        (&["explain", "--policy", "policy.yaml", "--address", "169.254.169.254", "pypi.org"], 3),
        (&["explain", "--policy", "policy.yaml", "pypi.org:0"], 2),
        (&["explain", "--policy", "policy.yaml", "0x7f.1"], 2),
        (&["explain", "--policy", "policy.yaml"], 2),
        (&["explain", "--policy", "broken.yaml", "pypi.org"], 1),
        (&["test", "corpus.yaml"], 0),
        (&["test", "corpus.yaml", "wrong.yaml"], 1),
        (&["test", "missing.yaml"], 1),
        (&["test"], 2),
        (&["schema"], 0),
        (&["schema", "config"], 0),
        (&["schema", "audit"], 0),
        (&["schema", "nope"], 2),
        (&["completions", "bash"], 0),
        (&["completions", "zsh"], 0),
        (&["completions", "fish"], 0),
        (&["completions", "nope"], 2),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["nope"], 2),
        (&[], 2),
        (&["run", "--policy", "policy.yaml", "--listen", "nonsense"], 2),
        (&["run", "--policy", "policy.yaml", "--transparent", "nonsense"], 2),
        (&["run", "--config", "missing.yaml"], 1),
    ];
    for (arguments, code) in cases {
        let ran = ran(&place, arguments).await;
        assert_eq!(ran.code, *code, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[tokio::test]
async fn what_programs_read_is_json() {
    let place = Place::with("mode: Limited\nhostRules: [pypi.org]\n");
    place.write("broken.yaml", "mode: limited\n");
    for (arguments, pointer, expected) in [
        (vec!["check", "--json", "policy.yaml"], "/ok", Value::Bool(true)),
        (vec!["check", "--json", "broken.yaml"], "/problems/0/line", 1.into()),
        (vec!["explain", "--json", "--policy", "policy.yaml", "evil.test"], "/reason", "default_deny".into()),
        (vec!["schema", "policy"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
        (vec!["schema", "config"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
        (vec!["schema", "audit"], "/$schema", "https://json-schema.org/draft/2020-12/schema".into()),
    ] {
        let ran = ran(&place, &arguments).await;
        let value: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(value.pointer(pointer), Some(&expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_problem_shows_place_line_caret_and_cure() {
    let place = Place::with("");
    let cases = [
        (
            "mode: Limited\nhostRules:\n  - *.github.com\n",
            "error: `*.github.com` is an alias to YAML, and nothing has that anchor\n --> policy.yaml:3:5\n  |\n3 |   - *.github.com\n  |     ^\n  = help: quote it: \"*.github.com\"\n",
        ),
        (
            "mode: limited\n",
            "error: mode: unknown value `limited`: expected `Limited` or `Unrestricted` or `VNet`\n --> policy.yaml:1:7\n  |\n1 | mode: limited\n  |       ^\n  = help: did you mean `Limited`?\n",
        ),
        (
            "mode: Limited\nhostRules:\n  - {pattern: a.test, acton: Deny}\n",
            "error: hostRules[0]: unknown key `acton`\n --> policy.yaml:3:23\n  |\n3 |   - {pattern: a.test, acton: Deny}\n  |                       ^\n  = help: did you mean `action`?\n",
        ),
        (
            "cidrRules:\n  - {cidr: 10.0.0.1/8, action: Deny}\n",
            "error: cidrRules[0].cidr: `10.0.0.1/8` has bits set beyond its prefix\n --> policy.yaml:2:12\n  |\n2 |   - {cidr: 10.0.0.1/8, action: Deny}\n  |            ^\n  = help: write 10.0.0.0/8 for the network, or 10.0.0.1/32 for the one address\n",
        ),
    ];
    for (policy, expected) in cases {
        place.write("policy.yaml", policy);
        let ran = ran(&place, &["check", "policy.yaml"]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (1, expected));
    }
}

#[tokio::test]
async fn colours_are_for_terminals_whose_user_does_not_mind() {
    let Some(script) = tool::find("script") else { return };
    let place = Place::with("mode: limited\n");
    // A warning of the log, and a complaint about the command line.
    for line in ["ulimit -n 64; exec \"$0\" run --policy policy.yaml", "exec \"$0\" nope"] {
        for (no_color, coloured) in [("", true), ("1", false)] {
            let mut command = command(&script);
            let shell = format!("sh -c '{}'", line.replace("\"$0\"", BINARY));
            command.args(["-qec", &shell, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
            let output = command.current_dir(place.path("")).output();
            let output = within("the binary to end", output).await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(!text.is_empty());
            assert_eq!(text.contains("\x1b["), coloured, "{line} {no_color}: {text:?}");
        }
    }
}

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
async fn r5_a_gateway_without_descriptors_left_recovers_by_itself() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "");
    let mut command = command("sh");
    let line = "ulimit -n 64; exec \"$0\" run --config \"$1\" --listen 127.0.0.1:0 --admin 127.0.0.1:0";
    command.args(["-c", line, BINARY, &config]).current_dir(place.path(""));
    let mut gateway = Process::spawn(command).await;
    gateway.logs("descriptor limit is lower").await;
    let target = format!("good.test:{}", origin.port());
    until_answered(gateway.proxy(), &target, 200).await;
    let before = gateway.descriptors();
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(Client::connect(gateway.proxy()).await);
    }
    gateway.logs("cannot accept a connection").await;
    drop(crowd);
    until_answered(gateway.proxy(), &target, 200).await;
    assert_eq!(get(gateway.admin(), "/livez").await.0, 200);
    let settled = async {
        while gateway.descriptors() > before {
            tokio::task::yield_now().await;
        }
    };
    within("every descriptor to be given back", settled).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn r1_three_hundred_slow_clients_do_not_stop_a_good_one() {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(&place, &dns, "limits: {headerTimeoutMs: 1000}\n");
    let gateway = Process::start(&place, &["--config", &config]).await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut client = Client::connect(gateway.proxy()).await;
        match number % 3 {
            0 => {}
            1 => client.send("CONNECT good.te").await,
            _ => client.send("GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\nX-Slow: ").await,
        }
        slow.push(client);
    }
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        let mut good = tunnel(gateway.proxy(), &origin).await;
        good.finish().await;
        good.expect_end().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let addresses: Vec<String> = slow.iter().map(|client| client.local().to_string()).collect();
    for mut client in slow {
        client.expect_closed().await;
    }
    let of =
        |all: &[Value], address: &String| all.iter().filter(|record| record["client"] == *address).count();
    gateway
        .records("a record for each slow client", |all| addresses.iter().all(|address| of(all, address) == 1))
        .await;
}

/// Runs it with both outputs closed; `traffic` is made meanwhile.
async fn without_outputs(on_full: &str, traffic: impl AsyncFn(SocketAddr, &Origin)) {
    let (origin, dns) = echo().await;
    let place = Place::with(&allowing(origin.port()));
    let config = configuration(
        &place,
        &dns,
        &format!(
            "audit: {{sinks: [{{stdout: {{}}}}], onFull: {on_full}}}\nlimits: {{drainTimeoutMs: 200}}\n"
        ),
    );
    let [listen, admin] =
        [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut command = command(BINARY);
    command.args([
        "run",
        "--config",
        &config,
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
    ]);
    command.current_dir(place.path("")).stdout(closed()).stderr(closed());
    let mut child = command.spawn().unwrap();
    let up = async {
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("the gateway to listen", up).await;
    traffic(listen, &origin).await;
    place.replace("policy.yaml", "mode: [\n");
    let counted = "policy_reloads_total{result=\"rejected\"} 1";
    let rejected = async { while !get(admin, "/metrics").await.1.contains(counted) {} };
    within("a reload that is logged", rejected).await;
    traffic(listen, &origin).await;
    assert_eq!(get(admin, "/livez").await.0, 200);
    assert_eq!(get(admin, "/readyz").await.0, 503, "it says that records cannot be written");
    let id = i32::try_from(child.id().expect("it runs")).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    let status = within("the gateway to end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn l2_outputs_that_nobody_reads_any_more_stop_nothing_where_records_may_be_dropped() {
    without_outputs("Drop", async |proxy, origin| {
        let mut tunnel = tunnel(proxy, origin).await;
        tunnel.finish().await;
        tunnel.expect_end().await;
    })
    .await;
}

#[tokio::test]
async fn l2_outputs_that_nobody_reads_any_more_end_nothing_and_let_nothing_out_where_records_must_be_kept() {
    without_outputs("Block", async |proxy, origin| {
        let mut tunnel = Client::tunnel(proxy, &format!("good.test:{}", origin.port())).await;
        tunnel.send("\x01ping").await;
        origin.wait_for_connections(1).await;
        assert_eq!(asked(proxy, "evil.test:443").await, Some(403), "a denial still goes out");
        assert_eq!(origin.connection(0).count, 0, "no byte leaves before its record is out");
    })
    .await;
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
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
