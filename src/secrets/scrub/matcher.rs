//! Reads a text once, byte by byte, and says where forms end that began before.

use super::form::{DEPTH, Form, Symbol, half, unescaped};

/// How many readings of one form may be under way at once. Only values that repeat themselves come near.
pub(super) const MOST_READINGS: usize = 64;

/// Every reading under way.
pub(super) struct Matcher {
    /// Those of each form.
    readings: Vec<Vec<Reading>>,
    /// Those before the byte that is read.
    before: Vec<Reading>,
    /// How many there are.
    open: usize,
    /// How many bytes were read or skipped.
    position: u64,
}

/// One form, read from one place.
#[derive(Clone, Copy)]
struct Reading {
    /// Where it began.
    start: u64,
    /// How many symbols were read.
    at: usize,
    /// How far the next one is, when it is escaped.
    escape: Escape,
}

/// How far an escape was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// There is none.
    Outside,
    /// `\`
    Backslash,
    /// `\u`
    Unicode,
    /// `\u0`
    UnicodeZero,
    /// `%`, or `\u00`
    Code,
    /// One digit more, which is this half.
    Half(u8),
}

impl Matcher {
    /// Nothing was read.
    pub(super) fn new(forms: &[Form]) -> Self {
        let readings = forms.iter().map(|_| Vec::new()).collect();
        Self { readings, before: Vec::new(), open: 0, position: 0 }
    }

    /// How many bytes were read or skipped.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Whether nothing that was read can become a form.
    pub(super) const fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Where the first thing began that can become a form.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.readings.iter().flatten().map(|reading| reading.start).min()
    }

    /// Passes over bytes at which no form begins. For an idle matcher.
    pub(super) const fn skip(&mut self, bytes: u64) {
        self.position = self.position.saturating_add(bytes);
    }

    /// Reads the first byte of `text`, and says from where on the text up to it must be masked. A form can begin with it
    /// only if `begins`.
    ///
    /// SECURITY: where too many readings are open to begin another, the byte is masked, so that a form that begins there
    /// does not pass whole.
    pub(super) fn read(&mut self, forms: &[Form], text: &[u8], begins: bool) -> Option<u64> {
        let byte = *text.first()?;
        let mut masked = None;
        let mut mask = |from: u64| masked = Some(masked.map_or(from, |other: u64| other.min(from)));
        self.open = 0;
        for (form, readings) in forms.iter().zip(&mut self.readings) {
            let begins = begins && form.begins(text);
            if readings.is_empty() && !begins {
                continue;
            }
            std::mem::swap(readings, &mut self.before);
            readings.clear();
            // INVARIANT: those that a search for beginnings would pass over do not count, so that the result is the same
            // however the text is split.
            let full = self.before.len() > MOST_READINGS
                && self.before.iter().filter(|reading| reading.at >= DEPTH).count() >= MOST_READINGS;
            if full {
                mask(self.position);
            }
            let new = Reading { start: self.position, at: 0, escape: Escape::Outside };
            for reading in self.before.iter().chain((begins && !full).then_some(&new)) {
                if reading.step(form, byte, readings) {
                    mask(reading.start);
                }
            }
            self.open = self.open.saturating_add(readings.len());
        }
        self.position = self.position.saturating_add(1);
        masked
    }
}

impl Reading {
    /// Reads one byte; adds what can go on to `next`, and says whether the form ends here.
    fn step(&self, form: &Form, byte: u8, next: &mut Vec<Self>) -> bool {
        let Some(symbol) = form.symbol(self.at) else { return false };
        if let Some(escape) = self.escape.after(byte, symbol, form.can_escape()) {
            Self { escape, ..*self }.join(next);
        }
        if !self.escape.completes(byte, symbol) {
            return false;
        }
        let ends = self.at + 1 == form.length();
        if !ends {
            Self { at: self.at + 1, escape: Escape::Outside, ..*self }.join(next);
        }
        ends
    }

    /// Adds this reading, unless an older one is as far.
    fn join(self, all: &mut Vec<Self>) {
        match all.iter_mut().find(|other| other.at == self.at && other.escape == self.escape) {
            Some(same) => same.start = same.start.min(self.start),
            None => all.push(self),
        }
    }
}

impl Escape {
    /// Where this byte leads without completing the symbol.
    fn after(self, byte: u8, symbol: Symbol, can_escape: bool) -> Option<Self> {
        match (self, byte) {
            (Self::Outside, b'%') if can_escape => Some(Self::Code),
            (Self::Outside, b'\\') if can_escape => Some(Self::Backslash),
            (Self::Backslash, b'u') => Some(Self::Unicode),
            (Self::Unicode, b'0') => Some(Self::UnicodeZero),
            (Self::UnicodeZero, b'0') => Some(Self::Code),
            (Self::Code, _) => half(byte).filter(|upper| symbol.has_upper(*upper)).map(Self::Half),
            (Self::Outside | Self::Backslash | Self::Unicode | Self::UnicodeZero | Self::Half(_), _) => None,
        }
    }

    /// Whether this byte completes the symbol.
    fn completes(self, byte: u8, symbol: Symbol) -> bool {
        match self {
            Self::Outside => symbol.is(byte),
            Self::Backslash => unescaped(byte).is_some_and(|byte| symbol.is(byte)),
            Self::Half(upper) => half(byte).is_some_and(|lower| symbol.is(upper << 4 | lower)),
            Self::Unicode | Self::UnicodeZero | Self::Code => false,
        }
    }
}
