//! The forms in which a value is looked for, symbol by symbol; none of them is ever written out.

use crate::secrets::Revealed;

/// Values of fewer bytes are looked for as they are only: their encodings stand in too many texts.
pub(super) const ENCODED_FROM: usize = 8;
/// How many symbols of each form the search for beginnings looks at.
pub(super) const DEPTH: usize = 3;
/// The longest way to write one symbol: `\u00XX`.
const LONGEST_SPELLING: usize = 6;

/// The alphabet of base64 (RFC 4648 §4), without its last two.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// One value in one encoding.
pub(super) struct Form {
    /// Its first symbols, where the search for beginnings reads them.
    head: [Option<Symbol>; DEPTH],
    value: Revealed,
    kind: Kind,
    length: usize,
}

/// An encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is, and nothing else.
    Literal,
    /// As it is, where each byte may be escaped; a space may be `+`.
    Raw,
    /// base64 or base64url; this many bits at its beginning share a character with what stands before.
    Base64 { shared: usize },
    /// Two digits for each byte, in either case.
    Hex,
}

/// One character of a form: one of these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol(u8, u8);

impl Symbol {
    /// Whether this byte is it.
    pub(super) const fn is(self, byte: u8) -> bool {
        self.0 == byte || self.1 == byte
    }

    /// Whether the upper half of it is this.
    pub(super) const fn has_upper(self, half: u8) -> bool {
        self.0 >> 4 == half || self.1 >> 4 == half
    }

    /// The bytes that it can be.
    fn bytes(self) -> impl Iterator<Item = u8> {
        std::iter::once(self.0).chain((self.0 != self.1).then_some(self.1))
    }

    /// Whether what begins with `%` or a backslash can be it, as far as it is there.
    fn is_escaped(self, text: &[u8]) -> bool {
        let code = match text {
            [b'%', code @ ..] | [b'\\', b'u', b'0', b'0', code @ ..] => code,
            [b'\\', b'u', zeros @ ..] => return zeros.is_empty() || zeros == b"0",
            [b'\\', letter, ..] => return unescaped(*letter).is_some_and(|byte| self.is(byte)),
            _ => return true,
        };
        match code {
            [upper, lower, ..] => {
                half(*upper).zip(half(*lower)).is_some_and(|(upper, lower)| self.is(upper << 4 | lower))
            }
            [upper] => half(*upper).is_some_and(|upper| self.has_upper(upper)),
            [] => true,
        }
    }
}

/// The letter behind the backslash of a short escape (RFC 8259 §7).
fn short(byte: u8) -> Option<u8> {
    (0..=u8::MAX).find(|letter| unescaped(*letter) == Some(byte))
}

/// What the short escape with this letter stands for.
pub(super) const fn unescaped(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' | b'/' => Some(letter),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

/// The half of a byte that a digit stands for.
pub(super) const fn half(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The digit for half a byte, in lower and upper case.
const fn digit(half: u8) -> [u8; 2] {
    match half {
        0..=9 => [b'0' + half; 2],
        _ => [b'a' + (half & 0xf) - 10, b'A' + (half & 0xf) - 10],
    }
}

impl Form {
    /// Every form that this value is looked for in; none when it is empty.
    pub(super) fn all(value: &Revealed) -> Vec<Self> {
        let bytes = value.expose().len();
        let kinds: &[Kind] = match bytes {
            0 => &[],
            1..ENCODED_FROM => &[Kind::Literal],
            _ => &[
                Kind::Raw,
                Kind::Base64 { shared: 0 },
                Kind::Base64 { shared: 4 },
                Kind::Base64 { shared: 2 },
                Kind::Hex,
            ],
        };
        let form = |kind: &Kind| {
            let length = match *kind {
                Kind::Literal | Kind::Raw => bytes,
                Kind::Base64 { shared } => bytes.saturating_mul(8).saturating_sub(shared) / 6,
                Kind::Hex => bytes.saturating_mul(2),
            };
            let mut form = Self { head: [None; DEPTH], value: value.clone(), kind: *kind, length };
            form.head = std::array::from_fn(|at| form.symbol(at));
            form
        };
        kinds.iter().map(form).collect()
    }

    /// How many symbols it has; at least one.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// The most bytes that it takes in a text.
    pub(super) const fn longest(&self) -> usize {
        if self.can_escape() { self.length.saturating_mul(LONGEST_SPELLING) } else { self.length }
    }

    /// Whether its symbols may be escaped.
    pub(super) const fn can_escape(&self) -> bool {
        !matches!(self.kind, Kind::Literal)
    }

    /// The symbol at a place.
    pub(super) fn symbol(&self, at: usize) -> Option<Symbol> {
        let value = self.value.expose();
        if at >= self.length {
            return None;
        }
        match self.kind {
            Kind::Literal => value.get(at).map(|byte| Symbol(*byte, *byte)),
            Kind::Raw => value.get(at).map(|byte| Symbol(*byte, if *byte == b' ' { b'+' } else { *byte })),
            Kind::Base64 { shared } => {
                let bit = at.checked_mul(6)?.checked_add(shared)?;
                let first = u16::from(*value.get(bit / 8)?) << 8;
                let pair = first | u16::from(value.get(bit / 8 + 1).copied().unwrap_or_default());
                Some(sextet(usize::from(pair << (bit % 8) >> 10)))
            }
            Kind::Hex => {
                let byte = *value.get(at / 2)?;
                let [lower, upper] = digit(if at.is_multiple_of(2) { byte >> 4 } else { byte & 0xf });
                Some(Symbol(lower, upper))
            }
        }
    }

    /// Whether an occurrence can begin where `text` does, as far as [`DEPTH`] symbols and the text say.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let can_escape = self.can_escape();
        for (at, symbol) in self.head.iter().enumerate() {
            let (Some(symbol), Some(byte)) = (symbol, text.get(at)) else { return true };
            match byte {
                b'%' | b'\\' if can_escape && (at > 0 || symbol.is_escaped(text)) => return true,
                _ if symbol.is(*byte) => {}
                _ => return false,
            }
        }
        true
    }

    /// The pairs of bytes that an occurrence can begin with.
    pub(super) fn pairs(&self) -> Vec<(u8, u8)> {
        let mut pairs = Vec::new();
        let Some(first) = self.symbol(0) else { return pairs };
        for one in first.bytes() {
            match self.symbol(1) {
                Some(second) => pairs.extend(second.bytes().map(|two| (one, two))),
                None => pairs.extend((0..=u8::MAX).map(|two| (one, two))),
            }
            if self.can_escape() {
                pairs.extend([(one, b'%'), (one, b'\\'), (b'\\', b'u')]);
                pairs.extend(digit(one >> 4).map(|upper| (b'%', upper)));
                pairs.extend(short(one).map(|letter| (b'\\', letter)));
            }
        }
        pairs
    }
}

/// The character for six bits, in both alphabets (RFC 4648 §4, §5).
fn sextet(bits: usize) -> Symbol {
    match (LETTERS.get(bits), bits) {
        (Some(letter), _) => Symbol(*letter, *letter),
        (None, 62) => Symbol(b'+', b'-'),
        (None, _) => Symbol(b'/', b'_'),
    }
}
