//! What the names that one sandbox asks for may say. Pure: the clock is passed in. How many queries it may make is a
//! limit like others ([`crate::share`]).
//!
//! A name below a wildcard that is allowed reaches the servers of whoever owns it, so it can carry data out. What is
//! bounded is how much:
//!
//! | limit | bounds | does not see |
//! |---|---|---|
//! | different names a minute | what all names together can say, whatever they look like | names that a rule spells out: to ask for those says nothing |
//! | bytes of a name and of a label | what one name can say | the same |
//! | bits of a label: its length times the entropy of its characters | labels that look like base32 or base64 rather than like words | a text cut into short labels, hexadecimal digits, words that stand for numbers |
//!
//! The first is the one that holds against somebody who knows this; the last two catch tools as they come.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::Settings;
use crate::addr::Name;

/// For how long different names are counted.
const WINDOW: Duration = Duration::from_mins(1);

/// What one sandbox has asked for of late.
#[derive(Debug)]
pub(super) struct Usage {
    /// When the counting of names began.
    since: Instant,
    /// The names since then, by their hashes.
    names: HashSet<u64>,
    /// Keyed, so that nobody can choose names that count as one.
    hashes: RandomState,
}

impl Usage {
    /// Nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, names: HashSet::new(), hashes: RandomState::new() }
    }

    /// Counts a name, if it is not one too many.
    pub(super) fn name(&mut self, name: &Name, settings: &Settings, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.names = HashSet::new();
        }
        let hash = self.hashes.hash_one(name.as_str());
        if self.names.contains(&hash) {
            return true;
        }
        let room = self.names.len() < settings.distinct_names_per_minute.try_into().unwrap_or(usize::MAX);
        room && self.names.insert(hash)
    }

    /// Whether forgetting it would let nothing through that it would not.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

/// What is too much in the shape of a name, in words that go on from "the name".
pub(super) fn beyond_shape(name: &Name, settings: &Settings) -> Option<String> {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
    let bytes = length(name.as_str());
    if bytes > settings.max_name_bytes {
        return Some(format!("has {bytes} bytes, more than `maxNameBytes` ({})", settings.max_name_bytes));
    }
    name.labels().find_map(|label| {
        let (bytes, bits) = (length(label), bits(label));
        if bytes > settings.max_label_bytes {
            let most = settings.max_label_bytes;
            Some(format!("has a label of {bytes} bytes, more than `maxLabelBytes` ({most})"))
        } else if bits > settings.max_label_bits {
            let most = settings.max_label_bits;
            Some(format!("has a label of {bits} bits, more than `maxLabelBits` ({most})"))
        } else {
            None
        }
    })
}

/// The length of a label times the Shannon entropy of its bytes, in whole bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "63 bytes have at most 377 bits")]
fn bits(label: &str) -> u32 {
    let mut counts = [0_u32; 256];
    for byte in label.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = counts.iter().sum::<u32>();
    let each = counts.iter().filter(|count| **count > 0).map(|count| {
        let count = f64::from(*count);
        count * (f64::from(length) / count).log2()
    });
    each.sum::<f64>().round() as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Settings with small numbers.
    const FEW: Settings = Settings { distinct_names_per_minute: 3, ..Settings::DEFAULT };

    /// A name from its text.
    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_count_once_a_minute_and_known_ones_pass() {
        let start = Instant::now();
        let mut usage = Usage::new(start);
        for known in ["a.test", "b.test", "a.test", "c.test", "b.test"] {
            assert!(usage.name(&name(known), &FEW, start), "{known}");
        }
        let later = start + Duration::from_secs(59);
        assert!(!usage.name(&name("d.test"), &FEW, later) && usage.name(&name("c.test"), &FEW, later));
        let next = start + WINDOW;
        assert!(usage.name(&name("d.test"), &FEW, next));
        assert!(!usage.is_spent(next) && usage.is_spent(next + WINDOW));
    }

    #[test]
    fn labels_as_tunnels_make_them_have_more_bits_than_names_of_people_and_clouds() {
        let most = Settings::DEFAULT.max_label_bits;
        for label in [
            "www",
            "d111111abcdef8",
            "r3---sn-4g5e6nsz",
            "123e4567-e89b-12d3-a456-426614174000",
            "cdk-hnb659fds-assets-123456789012-us-east-1",
            "my-very-long-preview-branch-name-git-feature-x-team-projects",
        ] {
            assert!(bits(label) <= most, "{label}: {}", bits(label));
        }
        let base32 = "mzxw6ytboi2dcnrtgq4dsmbrgizdgnbvgy3tqojqaefqwcylzn5svk64t2jr";
        assert!(bits(base32) > most, "{}", bits(base32));
        assert_eq!((bits("aaaa"), bits("ab"), bits("abcd"), bits("aabb")), (0, 2, 8, 4));
    }

    #[test]
    fn a_name_beyond_its_shape_says_what_is_too_much() {
        let settings = Settings { max_name_bytes: 20, max_label_bytes: 8, max_label_bits: 20, ..FEW };
        let said = |text: &str| beyond_shape(&name(text), &settings);
        assert_eq!(said("aaaaaaaa.test"), None);
        assert_eq!(said("aaaaaaaaa.test").unwrap(), "has a label of 9 bytes, more than `maxLabelBytes` (8)");
        assert_eq!(said("abcdefgh.test").unwrap(), "has a label of 24 bits, more than `maxLabelBits` (20)");
        assert!(said("a.a.a.a.a.a.a.a.a.test").unwrap().starts_with("has 22 bytes"));
    }

    proptest! {
        #[test]
        fn the_bits_of_a_label_are_at_most_those_of_as_many_different_bytes(label in "[a-z0-9_-]{1,63}") {
            let length = f64::from(u32::try_from(label.len()).unwrap());
            prop_assert!(f64::from(bits(&label)) <= (length * length.log2()).round());
        }
    }
}
