//! Descriptors, clients and outputs that run out.

use super::*;

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
