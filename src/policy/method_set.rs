//! stand-in
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u64);
impl MethodSet {
    pub const ANY: Self = Self(u64::MAX);
    pub const fn contains(self, other: Self) -> bool { self.0 & other.0 != 0 }
}
#[derive(Debug, Clone, Default)]
pub struct Methods(Box<[Box<str>]>);
impl Methods {
    pub fn of<'a>(methods: impl Iterator<Item = &'a str>) -> Result<Self, ()> {
        let mut all: Vec<Box<str>> = methods.map(Into::into).collect();
        all.sort(); all.dedup();
        if all.len() > 63 { Err(()) } else { Ok(Self(all.into())) }
    }
    pub fn bit(&self, method: &str) -> MethodSet {
        MethodSet(1 << self.0.iter().position(|m| **m == *method).unwrap_or(63))
    }
    pub fn set(&self, methods: &[Box<str>]) -> MethodSet {
        MethodSet(methods.iter().fold(0, |a, m| a | self.bit(m).0))
    }
}
