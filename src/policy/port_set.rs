//! A set of ports.

use std::fmt;

use thiserror::Error;

use crate::addr::Port;

/// Ports as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet(Box<[(u16, u16)]>);

impl PortSet {
    /// Whether a port is in the set.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        let port = port.get();
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }

    /// Whether no port is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not in another set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left: Vec<(u16, u16)> = self.0.to_vec();
        for (first, last) in other.ranges() {
            let cut = left.iter().flat_map(|(low, high)| {
                let below = first.checked_sub(1).map(|end| (*low, end.min(*high)));
                let above = last.checked_add(1).map(|begin| (begin.max(*low), *high));
                below.into_iter().chain(above)
            });
            left = cut.filter(|(low, high)| low <= high).collect();
        }
        left.into_iter().collect()
    }

    /// The ranges from low to high, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().copied()
    }

    /// Reads one entry of a list: `443` or `8000-8100`.
    ///
    /// # Errors
    /// When an end is not a port, or the low end is above the high one.
    pub fn parse_range(text: &str) -> Result<(u16, u16), PortSetError> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<Port>().map(Port::get).map_err(|_| PortSetError::Port);
        let (low, high) = (port(low)?, port(high)?);
        if low > high { Err(PortSetError::Order) } else { Ok((low, high)) }
    }
}

impl FromIterator<(u16, u16)> for PortSet {
    /// Collects ranges in any order, both ends included; one whose low end is above its high end is empty, and port
    /// zero is never in a set.
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(ranges: I) -> Self {
        let ranges = ranges.into_iter().map(|(low, high)| (low.max(1), high));
        let mut ranges: Vec<(u16, u16)> = ranges.filter(|(low, high)| low <= high).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                Some(_) | None => merged.push((low, high)),
            }
        }
        Self(merged.into())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(place, (low, high))| {
            let comma = if place == 0 { "" } else { "," };
            if low == high { write!(f, "{comma}{low}") } else { write!(f, "{comma}{low}-{high}") }
        })
    }
}

/// Why a text is not a port or a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PortSetError {
    /// An end is not a port.
    #[error("this is not a port or a range of ports; write 443 or 8000-8100, each from 1 to 65535")]
    Port,
    /// The low end is above the high one.
    #[error("the range runs backwards; write the lower port first")]
    Order,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_sorted_merged_and_shown() {
        let set: PortSet =
            [(8000, 8100), (443, 443), (80, 80), (8050, 8200), (8201, 8201)].into_iter().collect();
        assert_eq!(set.to_string(), "80,443,8000-8201");
        assert!(set.contains(Port::HTTP) && !set.contains(Port::new(81).unwrap()));
        assert!(PortSet::default().is_empty() && !PortSet::default().contains(Port::HTTP));
        let all: PortSet = [(0, 65535), (9, 3)].into_iter().collect();
        assert_eq!(all.to_string(), "1-65535");
    }

    #[test]
    fn n8_a_range_is_two_ports_in_order() {
        assert_eq!(PortSet::parse_range("443"), Ok((443, 443)));
        assert_eq!(PortSet::parse_range("8000-8100"), Ok((8000, 8100)));
        assert_eq!(PortSet::parse_range("2-1"), Err(PortSetError::Order));
        for text in ["", "-", "1-", "-1", "0", "65536", "1-65536", "1 - 2", "+1", "1-2-3", "01"] {
            assert_eq!(PortSet::parse_range(text), Err(PortSetError::Port), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_port_is_in_the_set_when_it_is_in_a_range(ranges in prop::collection::vec((0u16..40, 0u16..40), 0..6), port in 1u16..45) {
            let set: PortSet = ranges.iter().copied().collect();
            let expected = ranges.iter().any(|(low, high)| (*low..=*high).contains(&port));
            prop_assert_eq!(set.contains(Port::new(port).unwrap()), expected);
            prop_assert_eq!(set.ranges().collect::<PortSet>(), set);
        }

        #[test]
        fn what_is_left_without_other_ports_is_in_the_one_set_only(
            one in prop::collection::vec((0u16..40, 0u16..40), 0..6),
            two in prop::collection::vec((0u16..40, 0u16..40), 0..6),
            port in 1u16..45,
        ) {
            let (one, two): (PortSet, PortSet) = (one.into_iter().collect(), two.into_iter().collect());
            let port = Port::new(port).unwrap();
            prop_assert_eq!(one.without(&two).contains(port), one.contains(port) && !two.contains(port));
            let all: PortSet = [(1, u16::MAX)].into_iter().collect();
            prop_assert!(one.without(&all).is_empty());
            prop_assert_eq!(all.without(&all.without(&one)), one);
        }
    }
}
