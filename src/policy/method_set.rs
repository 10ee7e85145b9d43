//! The methods that the rules of one document name, each a bit.

use thiserror::Error;

/// The most different methods that the rules of one document may name.
pub const MOST_METHODS: usize = 63;

/// The bit of every method that no rule names.
const UNNAMED: u8 = 63;

/// The methods that the rules of one document name, sorted; each stands for the bit of its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Methods(Box<[Box<str>]>);

/// Some methods of one document's [`Methods`], or any method at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MethodSet(u64);

/// The rules of a document name more different methods than [`MOST_METHODS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the rules of a document name at most {MOST_METHODS} different methods, and these name {0}")]
pub struct TooMany(
    /// How many they name.
    pub usize,
);

impl Methods {
    /// Collects every method that some rule names, in any order and as often as they are named.
    ///
    /// # Errors
    /// When they are too many for one bit each.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, TooMany> {
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MOST_METHODS {
            return Err(TooMany(names.len()));
        }
        Ok(Self(names.into_iter().map(Into::into).collect()))
    }

    /// The methods that a rule lists, which must be among those that `self` was made of; any when it lists none.
    #[must_use]
    pub fn set<T: AsRef<str>>(&self, listed: Option<&[T]>) -> MethodSet {
        let Some(listed) = listed else { return MethodSet::ANY };
        let bits = listed.iter().filter_map(|name| self.place(name.as_ref()));
        MethodSet(bits.fold(0, |set, bit| set | 1 << bit))
    }

    /// The method of a request; case counts.
    #[must_use]
    pub fn bit(&self, name: &str) -> MethodSet {
        // SECURITY: a method that no rule names is in no list, so only a rule for any method has its bit.
        MethodSet(1 << self.place(name).unwrap_or(UNNAMED))
    }

    /// Where a method stands.
    pub(super) fn place(&self, name: &str) -> Option<u8> {
        let place = self.0.binary_search_by(|known| (**known).cmp(name)).ok()?;
        u8::try_from(place).ok()
    }

    /// The method at a place.
    pub(super) fn name(&self, place: u8) -> Option<&str> {
        self.0.get(usize::from(place)).map(|name| &**name)
    }
}

impl MethodSet {
    /// Any method.
    pub const ANY: Self = Self(u64::MAX);
    /// No method.
    pub(super) const NONE: Self = Self(0);

    /// Whether the method of a request, as [`Methods::bit`] has it, is one of these.
    #[must_use]
    pub const fn contains(self, method: Self) -> bool {
        self.0 & method.0 != 0
    }

    /// Whether all of `other` are in it.
    pub(super) const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those of both.
    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_own_methods_and_any_has_every_one() {
        let methods = Methods::of(["POST", "GET", "POST", "PATCH"]).unwrap();
        let reads = methods.set(Some(&["GET", "PATCH"]));
        for (name, listed) in [
            ("GET", true),
            ("PATCH", true),
            ("POST", false),
            ("get", false),
            ("", false),
            ("GE", false),
            ("GETX", false),
            ("DELETE", false),
        ] {
            assert_eq!(reads.contains(methods.bit(name)), listed, "{name:?}");
            assert!(methods.set::<&str>(None).contains(methods.bit(name)), "{name:?}");
            assert!(!methods.set::<&str>(Some(&[])).contains(methods.bit(name)), "{name:?}");
        }
        assert_eq!(methods.set::<&str>(None), MethodSet::ANY);
        assert_eq!(methods.bit("DELETE"), methods.bit("get"));
    }

    #[test]
    fn a_method_that_is_listed_but_was_not_collected_opens_nothing() {
        let methods = Methods::of(["GET"]).unwrap();
        assert_eq!(methods.set(Some(&["TRACE"])), MethodSet::NONE);
    }

    #[test]
    fn sixty_three_methods_have_a_bit_each_and_one_more_is_too_many() {
        let names: Vec<String> = (0..=MOST_METHODS).map(|n| format!("M{n}")).collect();
        let all = || names.iter().map(String::as_str);
        let methods = Methods::of(all().take(MOST_METHODS).chain(all().take(5))).unwrap();
        let listed = methods.set(names.get(..MOST_METHODS));
        for (place, name) in all().enumerate() {
            assert_eq!(listed.contains(methods.bit(name)), place < MOST_METHODS, "{name}");
            let own = methods.set(names.get(place..=place));
            assert_eq!(
                all().filter(|other| own.contains(methods.bit(other))).count(),
                usize::from(place < 63)
            );
        }
        assert_ne!(listed, MethodSet::ANY);
        let error = Methods::of(all()).unwrap_err();
        assert_eq!(error, TooMany(64));
        assert_eq!(
            error.to_string(),
            "the rules of a document name at most 63 different methods, and these name 64"
        );
    }
}
