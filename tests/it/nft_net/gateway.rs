//! Sandboxes behind a gateway: what they reach, and what reaches them.

use super::*;

#[tokio::test]
async fn without_the_rules_and_with_forwarding_everything_here_would_pass() {
    let Some(net) = Net::new() else { return };
    net.load_at(At::Outside, OUTSIDE);
    net.forwarding(true);
    let scene = Scene { net, proxy: None };
    assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "tcp('2001:db8::2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "tcp('10.200.2.2', 80)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "udp('192.0.2.2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.outside().await, 3);
}

#[tokio::test]
async fn tcp_to_any_address_and_port_comes_to_the_proxy_with_its_destination() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        for (at, from, other) in [(At::One, 1, 2), (At::Two, 2, 1)] {
            let targets = [
                ("93.184.216.34".to_owned(), 443),
                ("192.0.2.2".to_owned(), 80),
                (format!("10.200.{other}.2"), 22),
                ("2606:2800::1".to_owned(), 443),
                ("2001:db8::2".to_owned(), 8443),
            ];
            let expressions = targets.clone().map(|(host, port)| format!("tcp('{host}', {port})"));
            scene.all_give(at, &expressions, "port 15001");
            for (host, port) in targets {
                let source =
                    if host.contains(':') { format!("fd00:{from}::2") } else { format!("10.200.{from}.2") };
                scene.sees(&format!("tcp 15001 from {source} to {host} {port}")).await;
            }
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
    }
}

#[tokio::test]
async fn dns_to_any_server_is_answered_by_the_gateway() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        let hosts = ["8.8.8.8", "10.200.1.1", "2001:4860:4860::8888", "fd00:1::1"];
        for protocol in ["udp", "tcp"] {
            scene.all_give(At::One, &hosts.map(|host| format!("{protocol}('{host}', 53)")), "port 15053");
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
    }
}

#[tokio::test]
async fn r2_a_sandbox_that_floods_does_not_fill_the_table_of_connections() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    let flood = "
import socket, time
begun = time.monotonic()
for port in range(20000, 50000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind(('0.0.0.0', port))
        flood.sendto(b'x', ('192.0.2.2', 53))
print(time.monotonic() - begun)
";
    let took: f64 = scene.net.python(At::One, flood).parse().unwrap();
    let count = scene.net.run(At::Gateway, &["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]);
    let count: f64 = count.trim().parse().unwrap();
    assert!(count < 10_000.0 + 5_000.0 * took + 1_000.0, "{count} after {took} s");
    assert_eq!(scene.client(At::Two, "udp('192.0.2.2', 53)"), "port 15053");
}

#[tokio::test]
async fn udp_to_any_port_is_refused_at_once() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        for host in ["93.184.216.34", "2606:2800::1", "10.200.1.1", "10.200.2.2"] {
            // More at once than the kernel tells of by default, as a browser would try.
            let answers = scene
                .client(At::One, &format!("burst('{host}', [443, 853, 123, 9901, 15053, 1] + [443] * 94)"));
            let (errors, slowest) = answers.split_once(' ').unwrap();
            assert_eq!(errors, "ECONNREFUSED", "{mode:?} {host}");
            assert!(slowest.parse::<f64>().unwrap() < 0.1, "{mode:?} {host}: {slowest} s");
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
        let reached = scene.reached();
        assert!(!reached.iter().any(|line| line.starts_with("udp")), "{reached:#?}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_the_sandboxs_own_goes_nowhere() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    let mut sent = Vec::new();
    // A second address of the same network, one of the other sandbox, of the gateway, of the outside.
    for (source, host) in [
        ("10.200.1.77", "8.8.8.8"),
        ("10.200.2.2", "8.8.8.8"),
        ("10.200.1.1", "8.8.8.8"),
        ("192.0.2.2", "8.8.8.8"),
        ("fd00:1::77", "2001:db8::2"),
        ("fd00:2::2", "2001:db8::2"),
        ("2001:db8::2", "fd00:1::1"),
    ] {
        sent.push(format!("spoofed('{source}', '{host}', 53, b'{source}')"));
    }
    scene.clients(At::One, &sent);
    // From the same queue, behind them.
    for host in ["8.8.8.8", "fd00:1::1"] {
        assert_eq!(scene.client(At::One, &format!("udp('{host}', 53)")), "port 15053");
    }
    let mut reached = scene.reached();
    reached.retain(|line| line != "ready");
    assert_eq!(reached, ["udp 15053 from 10.200.1.2 hello", "udp 15053 from fd00:1::2 hello"]);
    assert_eq!(scene.outside().await, 0);
}

#[tokio::test]
async fn p6_nothing_on_the_gateway_is_reached_but_the_proxys_own_ports() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    for host in ["10.200.1.1", "10.200.2.1", "192.0.2.1", "fd00:1::1", "2001:db8::1"] {
        // What is meant for the admin server or another service comes to the proxy, which knows its own addresses.
        let ports = [9901, 22, 15053];
        scene.all_give(At::One, &ports.map(|port| format!("tcp('{host}', {port})")), "port 15001");
        for port in ports {
            scene.sees(&format!("to {host} {port}")).await;
        }
        assert_eq!(scene.client(At::One, &format!("tcp('{host}', 3128)")), "port 3128", "{host}");
    }
    // Straight to the transparent port, nothing has to be rewritten: that is how it is told apart.
    for host in ["10.200.1.1", "fd00:1::1"] {
        assert_eq!(scene.client(At::One, &format!("tcp('{host}', 15001)")), "ECONNREFUSED", "{host}");
    }
    // Even with the redirection gone, the input chain stands.
    scene.net.run(At::Gateway, &["nft", "flush", "chain", "inet", "sluicegate", "divert"]);
    for host in ["10.200.1.1", "10.200.2.1", "192.0.2.1", "fd00:1::1", "2001:db8::1"] {
        for port in [9901, 22, 15001, 15053] {
            assert_eq!(
                scene.client(At::One, &format!("tcp('{host}', {port})")),
                "ECONNREFUSED",
                "{host} {port}"
            );
        }
    }
    let reached = scene.reached();
    let own = ["tcp 15001", "tcp 3128", "ready"];
    assert!(reached.iter().all(|line| own.iter().any(|own| line.starts_with(own))), "{reached:#?}");
    assert_eq!(scene.outside().await, 0);
}

#[tokio::test]
async fn nothing_passes_while_the_proxy_is_dead_whether_the_kernel_forwards_or_not() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(mut scene) = Scene::new(&settings(true, mode)).await else { return };
        assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "port 15001");
        scene.proxy.take().unwrap().end().await;
        for forwarding in [false, true] {
            scene.net.forwarding(forwarding);
            let hosts = ["192.0.2.2", "2001:db8::2", "10.200.2.2", "fd00:2::2", "93.184.216.34"];
            for protocol in ["tcp", "udp"] {
                let all = hosts.map(|host| format!("{protocol}('{host}', 443)"));
                scene.all_give(At::One, &all, "ECONNREFUSED");
            }
            // Echo requests, SCTP, IP in IP, and TCP without a beginning.
            let others = [
                "raw('192.0.2.2', 1)",
                "raw('192.0.2.2', 132)",
                "raw('192.0.2.2', 4)",
                "raw('10.200.2.2', 1)",
                "raw('2001:db8::2', 132)",
                r"raw('2001:db8::2', 58, b'\x80\0\0\0\0\0\0\0')",
                r"raw('192.0.2.2', 6, b'\x30\x39\x01\xbb' + bytes(8) + b'\x50\x10\x20\0' + bytes(4))",
            ];
            scene.all_give(At::One, &others, "sent");
            assert_eq!(scene.outside().await, 0, "{mode:?} {forwarding}");
        }
    }
}

#[tokio::test]
async fn what_comes_from_outside_reaches_no_sandbox() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    scene.net.forwarding(true);
    scene.net.load_at(At::One, &OUTSIDE.replace("icmpv6 type {", "icmpv6 type { nd-redirect,"));
    for host in ["10.200.1.2", "fd00:1::2"] {
        let given_up = scene.client(At::Outside, &format!("tcp('{host}', 22, 0.3)"));
        assert_eq!(given_up, "timeout", "{host}");
    }
    // The gateway itself may, and gets its answers.
    for host in ["10.200.1.2", "fd00:1::2"] {
        assert_eq!(scene.client(At::Gateway, &format!("tcp('{host}', 22)")), "ECONNREFUSED", "{host}");
        assert_eq!(scene.client(At::Gateway, &format!("udp('{host}', 22)")), "ECONNREFUSED", "{host}");
    }
    let counted = scene.net.run(At::One, &["nft", "-j", "list", "counter", "inet", "count", "others"]);
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["nftables"][1]["counter"]["packets"], 4, "only what the gateway sent");
}

#[tokio::test]
async fn with_ipv6_off_all_of_it_is_dropped() {
    let Some(scene) = Scene::new(&settings(false, Mode::Redirect)).await else { return };
    scene.net.forwarding(true);
    for host in ["2001:db8::2", "fd00:1::1", "fd00:2::2"] {
        let ports = [443, 53, 9901];
        for protocol in ["tcp", "udp"] {
            let all = ports.map(|port| format!("{protocol}('{host}', {port}, 0.3)"));
            for answer in scene.clients(At::One, &all) {
                assert!(answer == "timeout" || answer == "EHOSTUNREACH", "{protocol} {host}: {answer}");
            }
        }
    }
    assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "port 15001");
    let reached = scene.reached();
    assert!(reached.iter().all(|line| !line.contains("fd00")), "{reached:#?}");
    assert_eq!(scene.outside().await, 0);
}
