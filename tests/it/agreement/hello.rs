//! The first bytes of a tunnel: a `ClientHello` for the same name, or nothing.

use super::*;

#[tokio::test]
async fn i1_t2_t4_a_server_name_other_than_the_connect_name_closes_the_tunnel_unseen() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for (names, reason) in [
        (&["denied.test"][..], "authority_mismatch"),
        // Allowed by itself, and still not what the tunnel was opened for.
        (&["also-good.test"], "authority_mismatch"),
        (&["www.good.test"], "authority_mismatch"),
        (&["good.test.denied.test"], "authority_mismatch"),
        (&[], "sni_missing"),
        (&["good.test", "denied.test"], "bad_request"),
        (&["good.test", "good.test"], "bad_request"),
        (&["127.0.0.8"], "bad_request"),
        (&[""], "bad_request"),
        (&["good.test\0.denied.test"], "bad_request"),
        (&["good.test.."], "bad_request"),
        (&["0x7f.1"], "bad_request"),
    ] {
        let record = closed_for(&gateway, &origin, "good.test", &hello(names), reason).await;
        assert_eq!(record["host"], "good.test");
        if reason == "authority_mismatch" {
            assert_eq!(record["sni"], names[0]);
        }
    }
    let twice = hello_in_records(&[sni(&["good.test"]), sni(&["denied.test"])], 1 << 14);
    closed_for(&gateway, &origin, "good.test", &twice, "bad_request").await;
}

#[tokio::test]
async fn i1_n1_a_server_name_that_is_the_same_in_canonical_form_passes() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for (target, name) in [
        ("good.test", "good.test"),
        ("good.test", "GOOD.Test"),
        ("good.test", "good.test."),
        ("GOOD.test.", "good.TEST"),
    ] {
        let target = format!("{target}:{}", origin.port());
        let mut tunnel = passes(&gateway, &target, &hello(&[name])).await;
        tunnel.send("after").await;
        tunnel.expect("after").await;
    }
    let record = gateway.record("connection", "good.test").await;
    assert_eq!((&record["sni"], &record["scheme"]), (&"good.test".into(), &"tls".into()));
}

#[tokio::test]
async fn i1_a_real_handshake_goes_through_and_the_origins_certificate_is_the_clients_to_check() {
    let origin = Origin::tls("good.test", Behaviour::Http(vec![Reply::ok("inside")])).await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    let tunnel = Client::tunnel(gateway.proxy(), &target).await;
    let mut inside = tunnel.tls("good.test", origin.certificate()).await;
    assert_eq!(inside.ask("GET / HTTP/1.1\r\nHost: whatever.test\r\n\r\n").await.body, "inside");
    let other = Client::tunnel(gateway.proxy(), &target).await;
    let failed = other.try_tls("denied.test", origin.certificate()).await.err().unwrap();
    assert!(failed.to_string().contains("AccessDenied"), "the alert is understood: {failed}");
}

#[tokio::test]
async fn t2_an_encrypted_hello_is_judged_by_its_outer_name_and_recorded_or_refused() {
    let origin = Origin::echo().await;
    let encrypted = |name: &str| hello_in_records(&[sni(&[name]), (0xfe0d, vec![0; 40])], 1 << 14);
    let allowing = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    drop(passes(&allowing, &target, &encrypted("good.test")).await);
    assert_eq!(allowing.record("connection", "good.test").await["ech"], true);
    let record =
        closed_for(&allowing, &origin, "good.test", &encrypted("cover.test"), "authority_mismatch").await;
    assert_eq!((&record["ech"], &record["sni"]), (&true.into(), &"cover.test".into()));

    let denying = Gateway::with(TWO_NAMES, |config| config.ech = Ech::Deny).await;
    names_lead_to_origins(&denying);
    let record = closed_for(&denying, &origin, "good.test", &encrypted("good.test"), "sni_missing").await;
    assert_eq!(record["ech"], true);
    assert!(record["error"].as_str().unwrap().contains("ech: Deny"), "{record}");
    drop(passes(&denying, &target, &hello(&["good.test"])).await);
}

#[tokio::test]
async fn t1_the_verdict_is_the_same_however_the_hello_is_cut() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    let extensions = |name| [(10, vec![0, 2, 0, 29]), sni(&[name]), (13, vec![0, 2, 8, 4])];
    for record in [1, 2, 3, 5, 40, 60, 1 << 14] {
        let good = hello_in_records(&extensions("good.test"), record);
        drop(passes(&gateway, &target, &good).await);
        let bad = hello_in_records(&extensions("denied.test"), record);
        closed_for(&gateway, &origin, "good.test", &bad, "authority_mismatch").await;
    }
    for record in [7, 1 << 14] {
        let good = hello_in_records(&extensions("good.test"), record);
        let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
        tunnel.send_in_pieces(&good, 1).await;
        tunnel.expect(&good).await;

        let at = origin.connections();
        let bad = hello_in_records(&extensions("denied.test"), record);
        let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
        tunnel.send_in_pieces(&bad, 1).await;
        assert_eq!(tunnel.expect_closed().await, ALERT);
        origin.wait_for_connections(at + 1).await;
        origin.wait_for_end(at).await;
        assert_eq!(origin.received(at), "");
    }
}

#[tokio::test]
async fn t3_a_large_hello_passes_and_one_beyond_64_kib_does_not() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    // The name comes last, so that everything before it has to be read.
    let padded = |size| hello_in_records(&[(21, vec![0; size]), sni(&["good.test"])], 1 << 14);
    for size in [2_000, 17_000, 60_000] {
        drop(passes(&gateway, &target, &padded(size)).await);
    }
    closed_for(&gateway, &origin, "good.test", &padded(65_500), "bad_request").await;
    // Many one-byte records: small as a message, large on the wire.
    let spread = hello_in_records(&[(21, vec![0; 12_000]), sni(&["good.test"])], 1);
    assert!(spread.len() > 70_000);
    closed_for(&gateway, &origin, "good.test", &spread, "bad_request").await;
}

#[tokio::test]
async fn t2_garbage_that_starts_like_tls_or_http2_is_refused() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for first in [
        &b"\x16\x03garbage that is no record at all"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        closed_for(&gateway, &origin, "good.test", first, "bad_request").await;
    }
}

#[tokio::test]
async fn t3_r1_first_bytes_that_never_become_a_message_are_cut_off_after_five_seconds() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let whole = hello(&["good.test"]);
    let waits = [&whole[..1], &whole[..6], &whole[..whole.len() - 1], b"GET / HT", b"\r\n\r\n"];
    let mut tunnels = Vec::new();
    for first in waits {
        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
        tunnel.send(first).await;
        tunnels.push(tunnel);
    }
    for mut tunnel in tunnels {
        assert_eq!(tunnel.expect_closed().await, b"");
    }
    for at in 0..waits.len() {
        assert_eq!(origin.wait_for_end(at).await, End::Reset);
        assert_eq!(origin.received(at), "");
    }
    let cut = |record: &&Value| record["reason"] == "bad_request" && record["kind"] == "connection";
    gateway.wait_for("a record each", |records| records.iter().filter(cut).count() == waits.len()).await;
}
