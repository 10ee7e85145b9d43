//! The same by `tproxy`: the destination is still on the connection.

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::Behaviour;
use crate::tls::{POLICY, hello};
use crate::topology::{CONFIG, FOREIGN, LITERAL, ORIGIN, ORIGIN6, Topology};

/// A running gateway under `mode: TProxy`.
async fn net(label: &str) -> Option<Topology> {
    let mut net = Topology::new(label)?;
    net.tproxy();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    let config = CONFIG.replace("kind: Transparent", "kind: Transparent, mode: TProxy");
    net.gateway(POLICY, &config).await;
    Some(net)
}

#[tokio::test]
async fn i4_names_and_addresses_are_judged_under_tproxy_as_under_redirect() {
    let Some(net) = net("tproxy").await else { return };
    let origin = net.tls_origin(&format!("{ORIGIN}:443"), "good.test", Behaviour::Echo);
    let http = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello")]));
    let literal = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    for address in [FOREIGN.to_owned(), format!("[{ORIGIN6}]")] {
        let client = net.connect(&format!("{address}:443"));
        let mut client = client.tls("good.test", origin.certificate()).await;
        client.send("ping").await;
        client.expect("ping").await;
        let mut client = net.connect(&format!("{address}:443"));
        client.send(hello(Some("bad.test"), &[])).await;
        assert_eq!(client.expect_closed().await, [21, 3, 3, 0, 2, 2, 49]);
        let mut client = net.connect(&format!("{address}:80"));
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.status, 200);
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n").await.status, 403);
    }
    let mut client = net.connect(&format!("{LITERAL}:9000"));
    client.send(b"\0opaque").await;
    client.expect(b"\0opaque").await;
    let record = net.record("open", LITERAL).await;
    assert_eq!((&record["port"], &record["client"]), (&9000.into(), &client.local().to_string().into()));
    assert_eq!((origin.connections(), http.connections(), literal.connections()), (2, 2, 1));
}

#[tokio::test]
async fn a6_i4_the_gateway_itself_is_refused_under_tproxy() {
    let Some(net) = net("tself").await else { return };
    for address in ["10.200.1.1:15001", "10.200.1.1:9901", "93.184.216.1:80", "[fd00:200:1::1]:15001"] {
        let mut client = net.connect(address);
        let from = client.local().to_string();
        client.send(b"\0opaque").await;
        assert!(client.expect_reset().await.is_empty(), "{address}");
        assert_eq!(net.record_of(&from).await["reason"], "guard_self", "{address}");
    }
}
