//! Half-closes and resets are passed on as they are.

use super::*;

#[tokio::test]
async fn the_clients_half_close_leaves_the_other_direction_open() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway).await;
    client.send("\x01question").await;
    client.finish().await;
    assert_eq!(origin.rest().await, b"\x01question");
    let answer = noise(300_000, 3);
    let (got, ()) = tokio::join!(client.take(answer.len()), origin.send(&answer));
    assert!(got == answer);
    origin.finish().await;
    client.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 9, 300_000));
}

#[tokio::test]
async fn the_origins_half_close_leaves_the_other_direction_open() {
    let gateway = gateway().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.send("bye").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"bye");
    let rest = noise(300_000, 4);
    let (got, ()) = tokio::join!(origin.take(rest.len()), client.send(&rest));
    assert!(got == rest);
    client.finish().await;
    origin.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 300_003, 7));
}

#[tokio::test]
async fn half_closes_before_the_client_has_spoken_are_kept_too() {
    let gateway = gateway().await;
    // The client says nothing and closes: the origin may still speak.
    let (mut client, mut origin) = ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"late");
    // The origin speaks and closes first: the client may still speak.
    let (mut client, mut origin) = ends(&gateway).await;
    origin.send("first").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"first");
    client.send("\x01late").await;
    origin.expect("\x01late").await;
    client.finish().await;
    origin.expect_end().await;
}

#[tokio::test]
async fn a_reset_stays_a_reset_in_both_directions_at_every_moment() {
    let gateway = gateway().await;
    // Before anybody has spoken.
    let (client, mut origin) = ends(&gateway).await;
    client.reset();
    origin.expect_reset().await;
    let (mut client, origin) = ends(&gateway).await;
    origin.reset();
    client.expect_reset().await;
    // While nothing is under way.
    let (client, mut origin) = used_ends(&gateway).await;
    client.reset();
    origin.expect_reset().await;
    let (mut client, origin) = used_ends(&gateway).await;
    origin.reset();
    client.expect_reset().await;
    let records = gateway
        .wait_for("four records", |records| records.iter().filter(|r| r["kind"] == "connection").count() == 4)
        .await;
    let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
    assert_eq!((of("client_failed"), of("upstream_failed")), (2, 2));
}

#[tokio::test]
async fn a_reset_after_a_half_close_stays_a_reset() {
    let gateway = gateway().await;
    // By the side that had closed before.
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    client.reset();
    origin.expect_failure().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    origin.reset();
    client.expect_failure().await;
    // By the other side.
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    origin.reset();
    client.expect_reset().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    client.reset();
    origin.expect_reset().await;
}

#[tokio::test]
async fn a_reset_after_a_half_close_stays_a_reset_while_the_client_has_not_spoken() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    origin.reset();
    client.expect_failure().await;
    assert_eq!(ended(&gateway).await, ("upstream_failed".to_owned(), 0, 0));
    let (mut client, mut origin) = ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    client.reset();
    origin.expect_failure().await;
}
