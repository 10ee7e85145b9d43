//! A hello that is asked for again.

use super::*;

#[tokio::test]
async fn i1_a_real_server_that_asks_for_another_key_share_gets_it() {
    for (groups, version) in [
        // Clients of the kit send a key for X25519 alone, so this server has to ask for another.
        (vec![kx_group::SECP384R1], &rustls::version::TLS13),
        (default_provider().kx_groups, &rustls::version::TLS13),
        (default_provider().kx_groups, &rustls::version::TLS12),
    ] {
        let replies = Behaviour::Http(vec![Reply::ok("inside"), Reply::ok("again")]);
        let origin = Origin::tls_with("good.test", replies, groups, &[version]).await;
        let gateway = gateway().await;
        let target = format!("good.test:{}", origin.port());
        let tunnel = Client::tunnel(gateway.proxy(), &target).await;
        let mut inside = tunnel.tls("good.test", origin.certificate()).await;
        for body in ["inside", "again"] {
            assert_eq!(inside.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.body, body);
        }
        drop(inside);
        let record = gateway.record("connection", "good.test").await;
        assert_eq!((&record["decision"], &record["sni"]), (&"allow".into(), &"good.test".into()), "{record}");
    }
}

#[tokio::test]
async fn i1_the_hello_after_a_retry_is_for_the_same_server_or_nothing_of_it_comes_out() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let ech: &[(u16, &[u8])] = &[(0xfe0d, &[0; 40])];
    for (second, sni, found) in [
        (hello("denied.test"), "denied.test", "names \"denied.test\", the one before it \"good.test\""),
        // Allowed by itself, and still not what the tunnel was opened for.
        (hello("also-good.test"), "also-good.test", "also-good.test"),
        (record(22, &message(&[], &[])), "", "no server"),
        (record(22, &message(&["good.test", "denied.test"], &[])), "good.test", "malformed"),
        (record(22, &message(&["good.test"], ech)), "good.test", "encrypted"),
        (record(22, &[&message(&["good.test"], &[])[..], &[20]].concat()), "good.test", "malformed"),
        // Not a hello at all.
        (record(22, &[11, 0, 0, 0]), "good.test", "malformed"),
        (record(24, b"\x01\x00\x00"), "good.test", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n".to_vec(), "good.test", "malformed"),
        ([&CHANGE_CIPHER[..0], &hello("denied.test"), &hello("good.test")].concat(), "denied.test", "names"),
    ] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&second).await;
        let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
        let told = record["error"].as_str().unwrap();
        assert!(told.contains(found), "{told}");
        assert_eq!(record["sni"].as_str().unwrap_or_default(), sni, "{record}");
        assert_eq!(record["host"], "good.test");
    }
}

#[tokio::test]
async fn i1_a_tunnel_to_an_address_keeps_the_name_of_its_first_hello_too() {
    let gateway = gateway().await;
    for (first, second) in
        [(&["good.test"][..], &["also-good.test"][..]), (&[], &["good.test"]), (&["good.test"], &[])]
    {
        let [first, second] = [first, second].map(|names| record(22, &message(names, &[])));
        let (mut client, mut origin) = greeted(&gateway, "127.0.0.8", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&second).await;
        refused(&gateway, client, origin, first.len(), retry().len()).await;

        let (mut client, mut origin) = greeted(&gateway, "127.0.0.8", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&first).await;
        origin.expect(&first).await;
    }
}

#[tokio::test]
async fn i1_a_second_hello_that_comes_before_it_is_asked_for_waits_for_the_answer() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for name in ["denied.test", "good.test"] {
        // Together with the first one, and right behind it.
        for at_once in [true, false] {
            let (mut client, mut origin) = ends(&gateway, "good.test").await;
            let second = hello(name);
            if at_once {
                client.send([first.as_slice(), &second].concat()).await;
                origin.expect(&first).await;
            } else {
                client.send(&first).await;
                origin.expect(&first).await;
                client.send(&second).await;
            }
            origin.send(retry()).await;
            if name == "denied.test" {
                // Nobody needs the server's request any more.
                refused(&gateway, client, origin, first.len(), 0).await;
                continue;
            }
            client.expect(retry()).await;
            origin.expect(&second).await;
            origin.send(SERVER_HELLO).await;
            client.expect(SERVER_HELLO).await;
            flows(&mut client, &mut origin).await;
        }
    }
}

#[tokio::test]
async fn i1_t1_the_verdict_is_the_same_however_both_messages_are_cut() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for name in ["denied.test", "good.test"] {
        let message = message(&[name], &[]);
        for size in [1, 2, 7, 50] {
            let second: Vec<u8> = message.chunks(size).flat_map(|part| record(22, part)).collect();
            let answer: Vec<u8> = retry()[5..].chunks(size).flat_map(|part| record(22, part)).collect();
            let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
            // What some servers say first changes nothing.
            origin.send(record(21, &[1, 112])).await;
            origin.send_in_pieces(&answer, 1).await;
            origin.send(CHANGE_CIPHER).await;
            client.expect(record(21, &[1, 112])).await;
            client.expect(&answer).await;
            client.expect(CHANGE_CIPHER).await;
            client.send(CHANGE_CIPHER).await;
            origin.expect(CHANGE_CIPHER).await;
            for byte in &second {
                let _may_be_closed_already = client.try_send([*byte]).await;
                tokio::task::yield_now().await;
            }
            if name == "good.test" {
                origin.expect(&second).await;
                origin.send(SERVER_HELLO).await;
                client.expect(SERVER_HELLO).await;
                flows(&mut client, &mut origin).await;
            } else {
                client.expect_closed().await;
                assert_eq!(origin.expect_reset().await, b"", "{size}");
            }
        }
    }
}

#[tokio::test]
async fn i1_a_server_that_asks_more_than_once_gets_the_same_name_each_time() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for third in [hello("denied.test"), first.clone()] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        // The third one at once with the second: it waits for its own request.
        client.send([first.as_slice(), &third].concat()).await;
        origin.expect(&first).await;
        origin.send([retry(), CHANGE_CIPHER.to_vec()].concat()).await;
        if third != first {
            refused(&gateway, client, origin, 2 * first.len(), retry().len()).await;
            continue;
        }
        client.expect([retry(), CHANGE_CIPHER.to_vec()].concat()).await;
        origin.expect(&third).await;
        origin.send(SERVER_HELLO).await;
        client.expect(SERVER_HELLO).await;
        flows(&mut client, &mut origin).await;
    }
}
