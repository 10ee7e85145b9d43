//! Eight tags of a byte each, compared at once.

/// The lowest bit of each byte.
const LOW: u64 = u64::MAX / 0xff;
/// All bits of each byte but the highest.
const REST: u64 = LOW * 0x7f;

/// The tags of eight slots; 0 is an empty slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tags(u64);

impl Tags {
    /// These tags.
    pub(super) const fn new(tags: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(tags))
    }

    /// The slots that have this tag.
    #[inline]
    pub(super) fn slots(self, tag: u8) -> Slots {
        let differs = self.0 ^ (LOW * u64::from(tag));
        Slots(!(((differs & REST) + REST) | differs | REST))
    }

    /// The tag of a slot.
    #[inline]
    pub(super) const fn at(self, slot: usize) -> u8 {
        let [tag, ..] = (self.0 >> (8 * slot)).to_le_bytes();
        tag
    }

    /// The first empty slot.
    pub(super) fn first_free(self) -> Option<usize> {
        self.slots(0).next()
    }

    /// The same with another tag in a slot.
    pub(super) fn with(self, slot: usize, tag: u8) -> Self {
        Self(self.0 & !(0xff << (8 * slot)) | u64::from(tag) << (8 * slot))
    }
}

/// Slots, as the highest bits of their bytes.
pub(super) struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let slot = (self.0 != 0).then(|| self.0.trailing_zeros() / 8)?;
        self.0 &= self.0 - 1;
        usize::try_from(slot).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_slots_of_a_tag_are_those_that_have_it(
            tags in prop::array::uniform8(prop_oneof![0..3_u8, 0x7e..0x82_u8, 0xfd..=0xff_u8]), tag in any::<u8>(), slot in 0..8_usize,
        ) {
            let own = Tags::new(tags);
            for tag in tags.into_iter().chain([tag]) {
                let all = tags.iter().zip(0..).filter(|(own, _)| **own == tag).map(|(_, slot)| slot);
                prop_assert!(own.slots(tag).eq(all));
            }
            prop_assert_eq!(own.first_free(), tags.iter().position(|tag| *tag == 0));
            let with = own.with(slot, tag);
            let changed = tags.iter().zip(0..).map(|(own, at)| if at == slot { tag } else { *own });
            prop_assert!(changed.zip(0..).all(|(tag, slot)| with.at(slot) == tag));
        }
    }
}
