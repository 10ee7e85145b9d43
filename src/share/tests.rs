//! Shares on a clock that the tests turn.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::advance;

use super::*;

/// A second, and what rounding costs.
const A_SECOND: Duration = Duration::from_millis(1001);

/// What was told, in order.
type Told = Arc<Mutex<Vec<Limit>>>;

/// Shares without limits of the process, and what they tell.
fn shares() -> (Shares, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    (Shares::new(Limits::NONE, Arc::new(move |limit| tell.lock().unwrap().push(limit))), told)
}

/// A limit.
fn limits(limit: Limit, most: u64) -> Limits {
    Limits::NONE.with(limit, most)
}

#[tokio::test(start_paused = true)]
async fn r2_a_place_comes_back_when_its_connection_ends_and_is_one_sandbox_s_only() {
    let (shares, told) = shares();
    let [a, b] = ["a", "b"].map(|id| shares.of(&id.into()));
    let two = limits(Limit::Connections, 2);
    let seats = [a.connect(&two).unwrap(), a.connect(&two).unwrap()];
    assert_eq!(a.connect(&two).unwrap_err(), Beyond { limit: Limit::Connections, most: 2 });
    assert_eq!(*told.lock().unwrap(), [Limit::Connections]);
    let _other = b.connect(&two).unwrap();
    drop(seats);
    let _again = [a.connect(&two).unwrap(), a.connect(&two).unwrap()];
    // A smaller number closes none that are open, and lets none in.
    assert!(a.connect(&limits(Limit::Connections, 1)).is_err());
    assert!(a.connect(&Limits::NONE).is_ok(), "without a limit there is room");
}

#[tokio::test(start_paused = true)]
async fn r2_rates_refuse_what_is_beyond_them_and_recover_with_time() {
    let (shares, told) = shares();
    let share = shares.of(&"a".into());
    let three = limits(Limit::RequestsPerSecond, 3);
    assert_eq!((0..5).filter(|_| share.request(&three).is_ok()).count(), 3);
    advance(Duration::from_millis(334)).await;
    assert_eq!((0..5).filter(|_| share.request(&three).is_ok()).count(), 1);
    // Another number holds from the next request on.
    advance(A_SECOND).await;
    let nine = limits(Limit::RequestsPerSecond, 9);
    assert_eq!((0..20).filter(|_| share.request(&nine).is_ok()).count(), 9);

    // A connection that comes too soon holds no place.
    let both = limits(Limit::ConnectionsPerSecond, 1).with(Limit::Connections, 2);
    let _first = share.connect(&both).unwrap();
    assert_eq!(share.connect(&both).unwrap_err().limit, Limit::ConnectionsPerSecond);
    advance(A_SECOND).await;
    let _second = share.connect(&both).unwrap();

    let looking = limits(Limit::DnsQueries, 1).with(Limit::DnsQueriesPerSecond, 2);
    let first = share.look_up(&looking).unwrap();
    assert_eq!(share.look_up(&looking).unwrap_err().limit, Limit::DnsQueries);
    drop(first);
    drop(share.look_up(&looking).unwrap());
    assert!(share.query(&looking).is_ok() && share.query(&looking).is_ok());
    assert_eq!(share.query(&looking).unwrap_err().limit, Limit::DnsQueriesPerSecond);
    assert!(told.lock().unwrap().contains(&Limit::DnsQueriesPerSecond));
}

#[tokio::test(start_paused = true)]
async fn a_share_that_ended_within_the_second_is_not_forgotten_and_one_before_it_is() {
    let (shares, _) = shares();
    let one = limits(Limit::ConnectionsPerSecond, 1);
    drop(shares.of(&"a".into()).connect(&one).unwrap());
    let fill = |from: usize| {
        for at in from..from + 2 * MANY {
            let _share = shares.of(&format!("{at}").into());
        }
    };
    fill(0);
    assert!(shares.of(&"a".into()).connect(&one).is_err(), "a flood of others does not forgive");
    advance(A_SECOND).await;
    fill(1000);
    let count = shares.known.lock().unwrap().shares.len();
    assert!(count <= 3 * MANY, "{count} shares are kept");
}

#[tokio::test(start_paused = true)]
async fn r2_what_goes_up_is_slowed_down_to_the_rate_for_all_connections_together() {
    const RATE: u64 = 100_000;
    let (shares, told) = shares();
    let share = shares.of(&"a".into());
    assert_eq!(share.upload(1 << 20).await.bytes, 1 << 20, "without a limit nothing waits");
    share.pace(1, &limits(Limit::UploadBytes, RATE));
    let start = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let share = Arc::clone(&share);
        senders.spawn(async move {
            let mut sent = 0;
            while start.elapsed() < Duration::from_secs(10) {
                let grant = share.upload(64 * 1024).await;
                // Half of it was not there to be sent.
                let used = grant.bytes.div_ceil(2);
                share.put_back(grant, used);
                sent += used as u64;
            }
            sent
        });
    }
    let sent = senders.join_all().await;
    let all: u64 = sent.iter().sum();
    let most = RATE * 11 + 10 * PART;
    assert!((RATE * 9..=most).contains(&all), "{all} bytes in ten seconds");
    // They take turns.
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*least * 4 > *most, "{sent:?}");
    assert!(told.lock().unwrap().contains(&Limit::UploadBytes));
}

#[tokio::test(start_paused = true)]
async fn another_rate_takes_effect_on_those_who_wait_and_an_older_policy_does_not_bring_the_old_one_back() {
    let (shares, _) = shares();
    let share = shares.of(&"a".into());
    share.pace(2, &limits(Limit::UploadBytes, 1));
    assert_eq!(share.upload(100).await.bytes, 1);
    let waiting = tokio::spawn({
        let share = Arc::clone(&share);
        async move { share.upload(1000).await.bytes }
    });
    yield_now().await;
    share.pace(3, &Limits::NONE);
    share.pace(2, &limits(Limit::UploadBytes, 1));
    advance(A_SECOND).await;
    assert_eq!(waiting.await.unwrap(), 1000);
    assert!(!share.is_paced());
}

#[tokio::test(start_paused = true)]
async fn r2_of_those_who_say_nothing_the_oldest_goes_and_one_who_has_spoken_stays() {
    let newcomers = Newcomers::new(2);
    let is_out = async |newcomer: &Newcomer| {
        tokio::time::timeout(Duration::from_millis(1), newcomer.crowded_out()).await.is_ok()
    };
    let [first, second] = [newcomers.enter(), newcomers.enter()];
    newcomers.leave(first.number());
    advance(A_SECOND).await;
    let third = newcomers.enter();
    assert!(!is_out(&second).await);
    let fourth = newcomers.enter();
    assert!(is_out(&second).await && !is_out(&first).await && !is_out(&third).await);
    drop(third);
    advance(A_SECOND).await;
    // A burst finds room until its first bytes can have been read, and then it does not.
    let burst: Vec<_> = (0..10).map(|_| newcomers.enter()).collect();
    assert!(is_out(&fourth).await && !is_out(&burst[0]).await);
    advance(A_SECOND).await;
    newcomers.make_room();
    for (at, newcomer) in burst.iter().enumerate() {
        assert_eq!(is_out(newcomer).await, at < 8, "{at}");
    }
}
