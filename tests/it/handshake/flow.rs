//! What waits for the answer, what does not, and what ends it.

use super::*;

#[tokio::test]
async fn early_data_goes_on_without_waiting_for_the_server() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway, "good.test").await;
    let early = [&hello("good.test")[..], &CHANGE_CIPHER, &record(23, &[5; 3000])].concat();
    client.send(&early).await;
    origin.expect(&early).await;
    let more = record(23, &[6; 16_000]);
    client.send_in_pieces(&more, 1000).await;
    origin.expect(&more).await;
    // A part of a record goes on too, and the rest of it after the server has asked for another hello.
    client.send(&more[..3]).await;
    origin.expect(&more[..3]).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.send([&more[3..], &record(21, &[1, 0]), &hello("good.test")].concat()).await;
    origin.expect([&more[3..], &record(21, &[1, 0]), &hello("good.test")].concat()).await;
    origin.send(SERVER_HELLO).await;
    client.expect(SERVER_HELLO).await;
    flows(&mut client, &mut origin).await;
}

#[tokio::test]
async fn an_answer_that_is_no_retry_lets_everything_go_on() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for answer in [&SERVER_HELLO[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01", &record(23, &[1])] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        let from = client.local().to_string();
        client.send("\x01whatever this is").await;
        origin.send(answer).await;
        client.expect(answer).await;
        origin.expect("\x01whatever this is").await;
        flows(&mut client, &mut origin).await;
        client.finish().await;
        origin.expect_end().await;
        origin.finish().await;
        client.expect_end().await;
        let record = record_of(&gateway, &from).await;
        assert_eq!(
            (&record["outcome"], &record["bytes_up"], &record["bytes_down"]),
            (&"ok".into(), &(first.len() + 17 + 6).into(), &(answer.len() + 6).into())
        );
    }
    // A server that closes without a word has answered too.
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    client.send("\x01rest").await;
    origin.finish().await;
    client.expect_end().await;
    origin.expect("\x01rest").await;
}

#[tokio::test]
async fn half_closes_and_resets_before_the_answer_are_passed_on() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"late");

    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    client.expect("late").await;

    // Within the second hello.
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.send(&first[..20]).await;
    client.finish().await;
    let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
    assert!(record["error"].as_str().unwrap().contains("ends in the middle"), "{record}");

    for waits in [&b""[..], &first[..20]] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        client.send(waits).await;
        client.reset();
        origin.expect_reset().await;
        let (mut client, origin) = greeted(&gateway, "good.test", &first).await;
        client.send(waits).await;
        origin.reset();
        client.expect_reset().await;
    }
}

#[tokio::test]
async fn t3_r1_a_second_hello_that_never_ends_is_cut_off_after_five_seconds() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    // Nothing is late as long as the server has not asked.
    client.send(&first[..30]).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
    assert!(record["error"].as_str().unwrap().contains("in time"), "{record}");
    assert!(record["duration_ms"].as_f64().unwrap() > 4_900.0, "{record}");
}

#[tokio::test]
async fn r1_a_tunnel_whose_server_does_not_answer_is_closed_by_the_idle_limit() {
    let gateway = gateway_with(Duration::from_secs(1)).await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    let from = client.local().to_string();
    client.send(hello("denied.test")).await;
    client.expect_reset().await;
    assert_eq!(origin.expect_reset().await, b"");
    let record = record_of(&gateway, &from).await;
    assert_eq!((&record["outcome"], &record["bytes_up"]), (&"idle".into(), &first.len().into()));
}

#[tokio::test]
async fn r4_what_waits_for_the_answer_is_bounded_and_arrives_whole() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (client, mut origin) = greeted(&gateway, "good.test", &first).await;
    let mut client = client.into_stream();
    let (piece, mut total) = (record(22, &[9; 16_000]), 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), client.write_all(&piece)).await {
        written.unwrap();
        total += piece.len();
        assert!(total < 64 << 20, "{total} bytes were taken though none may go on");
    }
    origin.send(SERVER_HELLO).await;
    origin.take(total).await;
}

#[tokio::test]
async fn p4_a_policy_change_ends_a_tunnel_whose_server_has_not_answered() {
    let gateway = gateway().await;
    let (mut client, mut origin) = greeted(&gateway, "good.test", &hello("good.test")).await;
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    client.expect_reset().await;
    origin.expect_reset().await;
    assert_eq!(gateway.record("connection", "good.test").await["outcome"], "policy_change");
}
