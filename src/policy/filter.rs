//! A few bits for each of many hashes, which end most look-ups of others at once.

use std::collections::HashSet;

/// Says of hashes that they are not among some others, and seldom wrongly that they may be.
#[derive(Debug, Default, Clone)]
pub(super) struct Filter(Box<[u64]>);

impl Filter {
    /// The filter for these hashes.
    pub(super) fn new<S>(hashes: &HashSet<u64, S>) -> Self {
        // Eight bits for each, of which two are set, leave one chance in twenty.
        let mut filter = Self(vec![0; hashes.len().div_ceil(8)].into());
        for hash in hashes {
            let (word, bits) = filter.place(*hash);
            if let Some(word) = filter.0.get_mut(word) {
                *word |= bits;
            }
        }
        filter
    }

    /// Whether a hash may be among them.
    #[inline]
    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, bits) = self.place(hash);
        self.0.get(word).is_some_and(|word| word & bits == bits)
    }

    /// The word and the bits of a hash.
    #[inline]
    fn place(&self, hash: u64) -> (usize, u64) {
        let word = (u128::from(hash) * self.0.len() as u128) >> 64;
        (usize::try_from(word).unwrap_or_default(), 1 << (hash % 64) | 1 << (hash / 64 % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::name_key::text;

    #[test]
    fn a_filter_has_what_was_put_in_and_little_else() {
        let hashes: HashSet<u64> = (0..1000).map(|n| text(format!("{n}").as_bytes())).collect();
        let filter = Filter::new(&hashes);
        assert!(hashes.iter().all(|hash| filter.has(*hash)));
        let wrong = (1000..5000).filter(|n| filter.has(text(format!("{n}").as_bytes()))).count();
        assert!(wrong < 400, "{wrong} of 4000");
        assert!(!Filter::default().has(1));
    }
}
