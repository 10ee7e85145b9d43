//! The gateway's own sockets, changes of policy, and the stop.

use super::*;

#[tokio::test]
async fn a6_the_sockets_for_queries_are_the_gateways_own() {
    let gateway = capture("mode: Unrestricted\n", FREE).await;
    let target = door(&gateway, 0).to_string();
    let mut client = Client::connect(gateway.proxy()).await;
    let response = client.ask(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n")).await;
    assert_eq!((response.status, response.header("x-deny-reason")), (403, Some("guard_self")));
}

#[tokio::test]
async fn a_gateway_that_would_ask_itself_does_not_start() {
    for ip in ["127.0.0.1", "0.0.0.0"] {
        let refused = || async {
            let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let started = Gateway::try_with(OPEN, |config| {
                config.dns.servers = vec![free];
                let address = SocketAddr::new(ip.parse().unwrap(), free.port());
                config.listeners.push(ListenerSettings { address, ..listener(FREE, None) });
            });
            let Err(StartError::Other(error)) = started.await else { panic!("it starts") };
            error.to_string()
        };
        let mut error = refused().await;
        // The port that was free a moment ago is somebody's by now.
        while error.starts_with("cannot ") {
            error = refused().await;
        }
        assert!(error.contains("is this gateway's own listener"), "{error}");
    }
}

#[tokio::test]
async fn a_policy_change_is_in_force_for_the_next_query() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NoError);
    gateway.set_policy("mode: Limited\n").await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NXDomain);
    assert_eq!(refusals(&gateway, 1).await[0]["generation"], 2);
}

#[tokio::test]
async fn a_stop_ends_the_listeners_and_waits_for_no_idle_connection() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    send(&mut stream, &query("good.test.", RecordType::A)).await;
    next(&mut stream).await;
    let address = door(&gateway, 0);
    gateway.stop().await;
    assert_eq!(within("the end", stream.read(&mut [0; 9])).await.unwrap_or(0), 0);
    UdpSocket::bind(address).await.expect("the port is free again");
}
