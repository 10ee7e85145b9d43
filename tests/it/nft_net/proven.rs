//! Rules that are loaded are proven, and readiness follows.

use super::*;

#[tokio::test]
async fn rules_that_are_loaded_are_proven_and_a_bridge_is_seen() {
    let Some(net) = Net::new() else { return };
    let settings = settings(true, Mode::Redirect);
    net.load(&table(&settings).to_string());
    let observed = |members: Vec<(String, String)>| Observed {
        ruleset: Ok(net.listing()),
        forwarding: vec!["net.ipv4.ip_forward".to_owned()],
        members,
    };
    assert_eq!(judge(&settings, &observed(Vec::new())), Verdict::Proven);
    assert!(!judge(&settings, &observed(vec![("veth-1".into(), "br0".into())])).holds());
}

#[tokio::test]
async fn a_gateway_that_requires_enforcement_is_ready_only_while_the_rules_are_loaded() {
    let Some(net) = Net::new() else { return };
    let place = Place::with("mode: Limited\n");
    let config = "policy: {path: policy.yaml}
listeners: [{address: 127.0.0.1:3128}]
admin: {address: 127.0.0.1:9901, socket: admin.sock}
capture: {interfaces: [{name: \"veth-*\"}]}
";
    place.write("gate.yaml", config);
    let start = async |more: &[&str]| {
        let words = [BINARY, "run", "--config", "gate.yaml"].into_iter().chain(more.iter().copied());
        let mut command = tokio::process::Command::from(net.command(At::Gateway, &words.collect::<Vec<_>>()));
        command.current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Process::spawn(command).await
    };
    let code = |words: &[&str]| {
        let words: Vec<&str> = [BINARY].iter().chain(words).copied().collect();
        net.output(At::Gateway, &words).status.code()
    };
    let get = |path: &str| {
        let ask = format!(
            "import socket\ns = socket.socket(socket.AF_UNIX); s.connect({:?})\ns.sendall(b'GET {path} HTTP/1.0\\r\\n\\r\\n')\nprint(b''.join(iter(lambda: s.recv(65536), b'')).decode())",
            place.text("admin.sock")
        );
        net.run(At::Gateway, &["python3", "-c", &ask])
    };
    let load = |line: &str| {
        let words: Vec<&str> = ["nft"].into_iter().chain(line.split(' ')).collect();
        net.run(At::Gateway, &words);
    };

    // Nothing is asked for, and there is nothing to prove: nothing is told.
    let mut plain = start(&[]).await;
    assert_eq!(code(&["health", "--ready"]), Some(0));
    assert!(!get("/metrics").contains("enforcement_ok") && !get("/readyz").contains("enforcement"));
    plain.signal(Signal::TERM);
    plain.ended().await;

    let gateway = start(&["--require-enforcement"]).await;
    gateway.logs("there is no table `inet sluicegate`").await;
    assert_eq!((code(&["health"]), code(&["health", "--ready"])), (Some(0), Some(1)));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 0"));
    let told = get("/readyz");
    assert!(told.starts_with("HTTP/1.0 503") && told.contains("nothing is captured"), "{told}");

    let printed = net.run(At::Gateway, &[BINARY, "nft", "print", "--config", &place.text("gate.yaml")]);
    net.load(&printed);
    gateway.signal(Signal::HUP);
    gateway.logs("every rule is loaded").await;
    assert_eq!(code(&["health", "--ready"]), Some(0));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 1"));
    let told = get("/readyz");
    assert!(told.starts_with("HTTP/1.0 200") && told.contains("every rule is loaded"), "{told}");

    // It finds out by itself, too.
    load("add chain inet sluicegate forward { policy accept ; }");
    gateway.logs("the policy of chain `forward`").await;
    assert_eq!(code(&["health", "--ready"]), Some(1));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 0"));
}
