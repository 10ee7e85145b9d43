//! Large transfers, and readers that do not read.

use super::*;

#[tokio::test]
async fn large_transfers_both_ways_at_once_arrive_whole_and_are_counted_exactly() {
    const SIZE: usize = 8 << 20;
    let gateway = gateway().await;
    let (client, origin) = ends(&gateway).await;
    let (mut client_reads, mut client_writes) = client.into_stream().into_split();
    let (mut origin_reads, mut origin_writes) = origin.into_stream().into_split();
    let (up, down) = (noise(SIZE, 1), noise(SIZE + 12_345, 2));
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let transfers = async {
        tokio::join!(
            async {
                client_writes.write_all(&up).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            async {
                origin_writes.write_all(&down).await.unwrap();
                origin_writes.shutdown().await.unwrap();
            },
            async { client_reads.read_to_end(&mut got_down).await.unwrap() },
            async { origin_reads.read_to_end(&mut got_up).await.unwrap() },
        )
    };
    within("the transfers", transfers).await;
    assert!(got_up == up && got_down == down);
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), SIZE as u64, SIZE as u64 + 12_345));
}

#[tokio::test]
async fn r4_a_reader_that_does_not_read_stops_the_writer_and_nothing_is_lost() {
    let gateway = gateway().await;
    let (client, origin) = used_ends(&gateway).await;
    let (mut client, mut origin) = (client.into_stream(), origin.into_stream());
    let (down, up) = tokio::join!(until_stalled(&mut origin), until_stalled(&mut client));
    origin.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    let (mut got_down, mut got_up) = (Vec::new(), Vec::new());
    let reading = async { tokio::join!(client.read_to_end(&mut got_down), origin.read_to_end(&mut got_up)) };
    let (read_down, read_up) = within("the rest", reading).await;
    assert_eq!((read_down.unwrap(), read_up.unwrap()), (down, up));
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), up as u64 + 3, down as u64 + 4));
}
