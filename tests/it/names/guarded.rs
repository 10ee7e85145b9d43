//! Addresses that are guarded.

use super::*;

#[tokio::test]
async fn a3_a4_guarded_literals_are_refused_in_every_form_whatever_the_policy_says() {
    let policy =
        "mode: Unrestricted\ncidrRules: [{cidr: 0.0.0.0/0, action: Allow}, {cidr: '::/0', action: Allow}]\n";
    let gateway = Gateway::start(policy).await;
    for (host, reason) in [
        ("169.254.169.254", "guard_metadata"),
        ("168.63.129.16", "guard_metadata"),
        ("100.100.100.200", "guard_metadata"),
        ("192.0.0.192", "guard_metadata"),
        ("[fd00:ec2::254]", "guard_metadata"),
        ("[fd00:ec2:0:0:0:0:0:254]", "guard_metadata"),
        ("[FD00:EC2::254]", "guard_metadata"),
        ("[::ffff:169.254.169.254]", "guard_metadata"),
        ("[::ffff:a9fe:a9fe]", "guard_metadata"),
        ("[::169.254.169.254]", "guard_metadata"),
        ("[64:ff9b::169.254.169.254]", "guard_metadata"),
        ("[2002:a9fe:a9fe::]", "guard_metadata"),
        ("127.0.0.2", "guard_local"),
        ("169.254.1.1", "guard_local"),
        ("[::ffff:127.0.0.2]", "guard_local"),
        ("[64:ff9b::127.0.0.2]", "guard_local"),
        ("[2002:7f00:2::1]", "guard_local"),
        ("0.0.0.0", "guard_local"),
        ("224.0.0.1", "guard_local"),
        ("255.255.255.255", "guard_local"),
        ("[::]", "guard_local"),
        ("[fe80::1]", "guard_local"),
        ("[fec0::1]", "guard_local"),
        ("[ff02::1]", "guard_local"),
    ] {
        let found = refused_both_ways(&gateway, &format!("{host}:80")).await;
        assert_eq!(found, (403, reason.to_owned()), "{host}");
    }
}

#[tokio::test]
async fn a2_private_literals_need_a_cidr_rule() {
    let gateway = Gateway::start("mode: Unrestricted\n").await;
    for host in
        ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1"]
    {
        for host in [host.to_owned(), format!("[::ffff:{host}]"), format!("[64:ff9b::{host}]")] {
            let found = refused_both_ways(&gateway, &format!("{host}:80")).await;
            assert_eq!(found, (403, "guard_private".to_owned()), "{host}");
        }
    }
    gateway.dns.says("mail.test", Answer::addresses(["93.184.216.34"]));
    let found = refused_both_ways(&gateway, "mail.test:25").await;
    assert_eq!(found, (403, "guard_port".to_owned()));
}

#[tokio::test]
async fn a6_p6_the_gateways_own_sockets_are_out_of_reach_by_any_spelling_and_any_permission() {
    let policy = "
mode: Unrestricted
hostRules: ['*', 127.0.0.1, localhost]
cidrRules: [{cidr: 127.0.0.0/8, action: Allow}, {cidr: '::/0', action: Allow}]
";
    let gateway = Gateway::with(policy, |config| {
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    gateway.dns.says("me.test", Answer::addresses(["127.0.0.1", "::ffff:127.0.0.1"]).ttl(0));
    gateway.dns.says("dns.test", Answer::addresses(["127.0.0.9"]).ttl(0));
    let (proxy, admin) = (gateway.proxy().port(), gateway.admin().port());
    let spellings =
        ["127.0.0.1", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "me.test", "ME.test."];
    for host in spellings {
        for port in [proxy, admin] {
            let found = refused_both_ways(&gateway, &format!("{host}:{port}")).await;
            assert_eq!(found, (403, "guard_self".to_owned()), "{host}:{port}");
        }
    }
    for host in ["127.0.0.9", "[::ffff:127.0.0.9]", "dns.test"] {
        let found = refused_both_ways(&gateway, &format!("{host}:{}", gateway.dns.address().port())).await;
        assert_eq!(found, (403, "guard_self".to_owned()), "{host}");
    }
}

#[tokio::test]
async fn a6_a_listener_on_every_address_is_guarded_on_every_address() {
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.listeners[0].address = "0.0.0.0:0".parse().unwrap();
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    let port = gateway.proxy().port();
    let through = SocketAddr::from(([127, 0, 0, 1], port));
    for host in ["127.0.0.8", "127.9.9.9", "[::ffff:127.0.0.8]", "0.0.0.0", "[::]"] {
        let refused = Client::try_tunnel(through, &format!("{host}:{port}")).await.err();
        let refused = refused.unwrap_or_else(|| panic!("the gateway opened a tunnel to itself at {host}"));
        assert_eq!(verdict(&refused), (403, "guard_self"), "{host}");
    }
}
