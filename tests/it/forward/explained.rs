//! What `explain` says is what the gateway does.

use super::*;

/// A small generator of numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    /// One of these.
    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(self.0 >> 33).expect("31 bits") % all.len();
        &all[at]
    }

    /// Up to `most` of these, joined.
    fn some(&mut self, most: usize, all: &[&str]) -> String {
        let count = *self.pick(&(0..=most).collect::<Vec<_>>());
        (0..count).map(|_| *self.pick(all)).collect::<Vec<_>>().join(", ")
    }

    /// A policy over the names of the test.
    fn policy(&mut self) -> String {
        let hosts = [
            "a.test",
            "'*.a.test'",
            "'*'",
            "c.test",
            "127.0.0.8",
            "'d.test:8443'",
            "{pattern: a.test, action: Deny}",
            "{pattern: '*.a.test', action: Deny}",
            "{pattern: c.test, action: Deny}",
            "{pattern: 127.0.0.10, action: Deny}",
        ];
        let rules = [
            "{match: {host: a.test, path: /admin}, action: Deny}",
            "{match: {host: a.test, methods: [GET]}, action: Allow}",
            "{match: {host: '*.a.test', path: '/x*'}, action: Allow}",
            "{match: {host: d.test}, action: Deny}",
            "{match: {host: 'd.test:8443', methods: [POST]}, action: Allow}",
            "{match: {host: '*'}, action: Allow}",
        ];
        let cidrs = [
            "{cidr: 127.0.0.8/30, action: Allow}",
            "{cidr: 127.0.0.12/32, action: Deny}",
            "{cidr: 127.0.0.8/32, action: Allow, ports: [8443]}",
            "{cidr: 127.0.0.10/32, action: Deny, ports: [80]}",
        ];
        let ports = ["", "ports: [80, 8443]\n", "ports: [443]\n", "ports: [1-65535]\n"];
        format!(
            "defaultAction: {}\nhostRules: [{}]\nrules: [{}]\ncidrRules: [{}]\n{}",
            self.pick(&["Allow", "Deny"]),
            self.some(4, &hosts),
            self.some(3, &rules),
            self.some(2, &cidrs),
            self.pick(&ports),
        )
    }
}

#[tokio::test]
async fn n7_explain_and_the_gateway_give_the_same_answer() {
    let names = [
        ("a.test", Some("127.0.0.8")),
        ("b.a.test", Some("127.0.0.10")),
        ("A.test.", Some("127.0.0.8")),
        ("xa.test", Some("127.0.0.8")),
        ("c.test", Some("10.0.0.5")),
        ("d.test", Some("127.0.0.12")),
        ("meta.test", Some("169.254.169.254")),
        ("self.test", Some("127.0.0.1")),
        ("127.0.0.8", None),
        ("127.0.0.10", None),
        ("127.0.0.12", None),
        ("127.0.0.1", None),
        ("10.0.0.5", None),
        ("169.254.169.254", None),
        ("[::1]", None),
        ("[::ffff:10.0.0.5]", None),
        ("0x7f.1", None),
        ("2130706433", None),
        ("a..test", None),
        ("foo.123", None),
        ("a_b.test", Some("127.0.0.8")),
        ("-a.test", None),
        ("[a.test]", None),
    ];
    let mut dice = Dice(7);
    let (mut asked, mut allowed, mut reasons) = (0, 0, std::collections::BTreeSet::new());
    for _ in 0..12 {
        let policy = dice.policy();
        let gateway = Gateway::inspecting(&policy, []).await;
        for (name, address) in names {
            if let Some(address) = address {
                gateway.dns.says(name.trim_end_matches('.'), Answer::addresses([address]));
            }
        }
        let mut config = sluicegate::config::Config::default();
        config.guards.exempt = vec![EXEMPT.parse().expect("a prefix")];
        config.intercept = Some(InterceptSettings {
            certificate: "ca.pem".into(),
            key: "ca-key.pem".into(),
            upstream_roots: Vec::new(),
            exclude: Vec::new(),
        });
        let sockets = [gateway.proxy(), gateway.admin(), gateway.dns.address()];
        let guards =
            std::sync::Arc::new(sluicegate::app::guards(&config, &sockets).expect("this host's addresses"));
        let loaded = Store::new(gateway.policies(), None).load(&guards, None).expect("a load");
        assert!(!loaded.has_errors(), "{policy}: {:#?}", loaded.problems);
        let explained = loaded.policies.policy_for("default", None, false);
        for _ in 0..30 {
            let (name, address) = *dice.pick(&names);
            let port = *dice.pick(&[80, 443, 8443, 25]);
            let target = format!("{name}:{port}");
            let method = *dice.pick(&["GET", "POST", "CONNECT"]);
            let path = *dice.pick(&["/", "/admin", "/admin/x", "/x/../admin", "/%61dmin", "/xyz", "/x%2fy"]);
            let address = address.map(|address| address.parse().expect("an IP address"));
            let (request, question) = if method == "CONNECT" {
                let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
                (request, Question::parse(&target, None, address))
            } else {
                let url = format!("http://{target}{path}");
                (
                    format!("{method} {url} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
                    Question::parse(&url, Some(method), address),
                )
            };
            let mut client: Client = gateway.client().await;
            client.send(&request).await;
            let head = within("an answer", client.head()).await;
            let header = |key: &str| {
                head.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
            };
            // Nobody listens there: what is allowed fails upstream.
            let done = header("x-deny-reason:").filter(|reason| reason != "upstream_failed");
            let said = match question {
                Ok(question) => {
                    let mut whole = answer(&explained, &question);
                    let waits =
                        method == "CONNECT" && (whole.decrypted == Some(true) || whole.hangs_on.is_some());
                    if waits && done.is_none() {
                        // Granted until what is inside is seen; where that leads is asked then.
                        whole = answer(&explained, &Question { address: None, ..question });
                    }
                    whole.reason.map(str::to_owned)
                }
                Err(_) => Some("bad_request".to_owned()),
            };
            assert_eq!(done, said, "{request}{policy}");
            asked += 1;
            allowed += usize::from(done.is_none());
            reasons.extend(done);
        }
    }
    assert!(asked >= 300 && allowed >= 30, "{allowed} of {asked} allowed");
    assert!(reasons.len() >= 8, "the questions reach many answers: {reasons:?}");
}
