//! A sidecar in the sandbox's own namespace.

use super::*;

#[tokio::test]
async fn a_sidecar_lets_only_the_proxys_user_out() {
    let Some(net) = Net::new() else { return };
    net.load_at(At::Outside, OUTSIDE);
    let ports = Ports { admin: Some(9901), ..Ports::default() };
    let settings = Settings { who: Who::EveryoneBut(65532), ipv6: false, ports };
    // The gateway's namespace is the pod, and the outside is outside.
    net.load(&table(&settings).to_string());
    // Bound to loopback, or the kernel would choose another source for its answers than the one that was asked.
    let script = PROXY
        .replace("PORTS", "[15001, 15053, 8080, 9901]")
        .replace("TRANSPARENT", "False")
        .replace("UDP", "'::ffff:127.0.0.1'");
    let proxy = net.server(At::Gateway, &script);
    proxy.prints("ready").await;
    let scene = Scene { net, proxy: Some(proxy) };
    let as_user = |uid: u32, expressions: &[&str]| {
        let first = format!("os.setgroups([]) or os.setuid({uid}) or {}", expressions[0]);
        let all: Vec<&str> = [first.as_str()].into_iter().chain(expressions[1..].iter().copied()).collect();
        scene.clients(At::Gateway, &all)
    };
    for uid in [1000, 0] {
        for (answer, expressions) in [
            ("port 15001", &["tcp('192.0.2.2', 443)", "tcp('192.0.2.2', 22)"][..]),
            ("port 15053", &["tcp('192.0.2.2', 53)", "udp('192.0.2.2', 53)", "udp('127.0.0.1', 53)"]),
            ("port 8080", &["tcp('127.0.0.1', 8080)", "tcp('192.0.2.1', 8080)", "tcp('::1', 8080)"]),
            (
                "ECONNREFUSED",
                &[
                    "tcp('127.0.0.1', 9901)",
                    "tcp('127.0.0.1', 15001)",
                    "tcp('192.0.2.1', 9901)",
                    "tcp('::1', 9901)",
                    "tcp('2001:db8::2', 443)",
                ],
            ),
        ] {
            for (expression, given) in expressions.iter().zip(as_user(uid, expressions)) {
                assert_eq!(given, answer, "{uid} {expression}");
            }
        }
        let udp = ["udp('192.0.2.2', 443)", "udp('2001:db8::2', 443)", "udp('2001:db8::2', 53)"];
        for answer in as_user(uid, &udp) {
            assert!(answer == "ECONNREFUSED" || answer == "EPERM", "{uid}: {answer}");
        }
    }
    scene.sees("tcp 15001 from 192.0.2.1 to 192.0.2.2 443").await;
    assert_eq!(scene.client(At::Gateway, "raw('192.0.2.2', 1)"), "EPERM");
    // By the outside itself.
    let refused = as_user(65532, &["tcp('192.0.2.2', 443)", "tcp('2001:db8::2', 443)"]);
    assert_eq!(refused, ["ECONNREFUSED", "ECONNREFUSED"]);
    let counted = scene.net.run(At::Outside, &["nft", "-j", "list", "counter", "inet", "count", "others"]);
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["nftables"][1]["counter"]["packets"], 2, "only what the proxy's user sent");
}

#[tokio::test]
async fn a_sidecar_that_is_not_the_user_whom_the_rules_let_out_is_not_proven() {
    let Some(net) = Net::new() else { return };
    let place = Place::with("mode: Limited\n");
    let config = "policy: {path: policy.yaml}
listeners: [{address: 127.0.0.1:3128}]
admin: {address: 127.0.0.1:9901}
capture: {sidecarUid: 65532}
";
    place.write("gate.yaml", config);
    let printed = net.run(At::Gateway, &[BINARY, "nft", "print", "--config", &place.text("gate.yaml")]);
    net.load(&printed);
    let words = [BINARY, "run", "--config", "gate.yaml", "--require-enforcement"];
    let mut command = tokio::process::Command::from(net.command(At::Gateway, &words));
    command.current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let gateway = Process::spawn(command).await;
    gateway.logs("65532, and this process is user 0").await;
    assert_eq!(net.output(At::Gateway, &[BINARY, "health", "--ready"]).status.code(), Some(1));
}
