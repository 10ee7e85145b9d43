//! A rate as one number: the generic cell rate algorithm (ITU-T I.371), without a lock.
//!
//! The number is the moment up to which what was taken is paid for. It may lie one second ahead, so a second's worth can
//! be taken at once, and never more than `rate × seconds + rate` in any span, but for a thousandth that rounding costs. It does not depend on the rate,
//! which can therefore change at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Up to this rate a second's worth can be taken one by one, whatever rounding costs.
const BY_ONE: u64 = 1_000_000;

/// What was taken at some rate. Moments are nanoseconds on any one clock.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes as much as there is of `rate` a second, at most `most`, and at least `least`, which a second's worth
    /// bounds.
    ///
    /// # Errors
    /// How long it takes until there is that much, if nobody else takes any.
    pub(super) fn take(&self, now: u64, rate: u64, least: u64, most: u64) -> Result<u64, Duration> {
        let least = least.min(rate);
        let mut paid = self.0.load(Ordering::Relaxed);
        loop {
            let from = paid.max(now);
            let space = now.saturating_add(depth(rate)).saturating_sub(from);
            let room = worth(space, rate).min(rate);
            if room < least {
                let short = cost(least, rate).saturating_sub(space);
                return Err(Duration::from_nanos(short));
            }
            let taken = room.min(most);
            let next = from.saturating_add(cost(taken, rate));
            match self.0.compare_exchange_weak(paid, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(taken),
                Err(other) => paid = other,
            }
        }
    }

    /// Gives back what was taken at `rate` and not used.
    pub(super) fn put_back(&self, rate: u64, taken: u64, used: u64) {
        let unused = cost(taken, rate).saturating_sub(cost(used, rate));
        let less = |paid: u64| Some(paid.saturating_sub(unused));
        // It cannot fail, as `less` always answers.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether all that was taken is paid for, so that this is as good as a new one.
    pub(super) fn is_empty(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= now
    }
}

/// How far ahead may be taken: a second, and up to a thousandth more where one second's worth of single pieces costs that.
fn depth(rate: u64) -> u64 {
    if rate > BY_ONE { SECOND } else { cost(1, rate).saturating_mul(rate) }
}

/// The time that pays for so much, rounded up.
fn cost(amount: u64, rate: u64) -> u64 {
    let nanos = (u128::from(amount) * u128::from(SECOND)).div_ceil(u128::from(rate.max(1)));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// What so much time pays for, rounded down.
fn worth(nanos: u64, rate: u64) -> u64 {
    let amount = u128::from(nanos) * u128::from(rate) / u128::from(SECOND);
    u64::try_from(amount).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// Rates from one a second to a terabyte a second.
    fn rate() -> impl Strategy<Value = u64> {
        prop_oneof![1u64..20, 20u64..100_000, 100_000u64..1 << 40]
    }

    proptest! {
        #[test]
        fn in_no_span_is_more_taken_than_the_rate_and_a_second_s_worth(
            rate in rate(),
            steps in prop::collection::vec((0u64..3 * SECOND, 1u64..1 << 17, 1u64..1 << 17, any::<prop::sample::Index>()), 1..40),
        ) {
            let (bucket, mut now, mut taken) = (Bucket::default(), 0, Vec::new());
            for (pause, least, most, used) in steps {
                now += pause;
                let least = least.min(most);
                if let Ok(got) = bucket.take(now, rate, least, most) {
                    prop_assert!((least.min(rate)..=most).contains(&got));
                    let used = used.index(usize::try_from(got).unwrap() + 1) as u64;
                    bucket.put_back(rate, got, used);
                    taken.push((now, u128::from(used)));
                }
            }
            for first in 0..taken.len() {
                for last in first..taken.len() {
                    let span = u128::from(taken[last].0 - taken[first].0 + depth(rate));
                    let sum: u128 = taken[first..=last].iter().map(|(_, amount)| amount).sum();
                    prop_assert!(sum * u128::from(SECOND) <= span * u128::from(rate));
                }
            }
        }

        #[test]
        fn whoever_waits_as_long_as_it_was_told_gets_what_it_asked_for(
            rate in rate(), before in 0u64..SECOND, least in 1u64..1 << 17,
        ) {
            let bucket = Bucket::default();
            let _ = bucket.take(before, rate, 1, u64::MAX);
            if let Err(wait) = bucket.take(before, rate, least, least) {
                prop_assert!(wait <= Duration::from_nanos(depth(rate)));
                let then = before + u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(bucket.take(then, rate, least, least).is_ok());
            }
        }

        #[test]
        fn another_rate_holds_within_a_second(old in rate(), new in rate(), now in 0u64..SECOND) {
            let bucket = Bucket::default();
            let _ = bucket.take(now, old, 1, u64::MAX);
            let got = bucket.take(now + depth(old), new, 1, u64::MAX).unwrap();
            prop_assert_eq!(got, new);
        }
    }

    #[test]
    fn a_second_s_worth_can_be_taken_one_by_one() {
        for rate in [1, 2, 3, 7, 60, 999, 1001, 99_991, 999_983, 1_000_000] {
            let bucket = Bucket::default();
            let taken = (0..rate + 10).filter(|_| bucket.take(5, rate, 1, 1).is_ok()).count() as u64;
            assert_eq!(taken, rate);
            assert!(depth(rate) <= SECOND + SECOND / 1000);
        }
    }

    #[test]
    fn of_many_who_take_at_once_nobody_gets_more_than_there_is() {
        const THREADS: usize = 8;
        let (bucket, start) = (Bucket::default(), Barrier::new(THREADS));
        let taken: usize = thread::scope(|scope| {
            let take = || {
                start.wait();
                (0..500).filter(|_| bucket.take(0, 1000, 1, 1).is_ok()).count()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
        assert!(!bucket.is_empty(SECOND - 1) && bucket.is_empty(SECOND));
    }
}
