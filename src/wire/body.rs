//! The framing of a chunked body (RFC 9112 §7.1), followed without buffering it.

use http::header;
use thiserror::Error;

use super::field::{self, FieldError};
use super::headers::is_override;

/// The most hex digits of a chunk size: what a `u64` holds.
const MAX_DIGITS: u8 = 16;

/// The most bytes of chunk extensions in one chunk.
const MAX_EXTENSION: u16 = 256;

/// The most bytes of chunk extensions in a whole body.
const MAX_EXTENSIONS: u32 = 16 * 1024;

/// The most bytes of trailers.
const MAX_TRAILERS: usize = 8 * 1024;

/// The most trailer lines.
const MAX_TRAILER_LINES: u8 = 32;

/// Follows a chunked body to its end. Any way to cut the bytes into pieces gives the same answer.
#[derive(Debug, Clone)]
pub struct ChunkScanner {
    /// Where in the grammar the next byte is.
    state: State,
    /// The payload bytes passed so far.
    payload: u64,
    /// The bytes of extensions so far.
    extensions: u32,
    /// The trailer line being read.
    line: Vec<u8>,
    /// The bytes of trailers so far.
    trailers: usize,
    /// The trailer lines so far.
    trailer_lines: u8,
}

/// Where in the grammar the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk size, after so many digits of this value.
    Size { digits: u8, size: u64 },
    /// In the extensions of a chunk of this size, after so many bytes.
    Extension { length: u16, size: u64 },
    /// At the LF of a size line.
    SizeEnd { size: u64 },
    /// In the data of a chunk, with so many bytes left.
    Data { left: u64 },
    /// At the CR after the data.
    DataCr,
    /// At the LF after the data.
    DataLf,
    /// In a trailer line, or in the empty one that ends the body.
    Trailer,
    /// At the LF of a trailer line.
    TrailerLf,
    /// Past the end.
    Done,
    /// Past an error, which is final.
    Failed(BodyError),
}

/// How far a piece of a body was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// The bytes of the piece that belong to the body; all of them until it is done.
    pub consumed: usize,
    /// Whether the body has ended.
    pub done: bool,
}

impl ChunkScanner {
    /// Starts before the first chunk.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            payload: 0,
            extensions: 0,
            line: Vec::new(),
            trailers: 0,
            trailer_lines: 0,
        }
    }

    /// Follows the next piece of the body.
    ///
    /// # Errors
    /// The rule that the body breaks; from then on always the same.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Scan, BodyError> {
        let mut rest = bytes;
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Done => return Ok(Scan { consumed: bytes.len() - rest.len(), done: true }),
                State::Data { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let passed = here as u64;
                    rest = rest.get(here..).unwrap_or_default();
                    self.payload = self.payload.saturating_add(passed);
                    self.state =
                        if left == passed { State::DataCr } else { State::Data { left: left - passed } };
                    if rest.is_empty() {
                        return Ok(Scan { consumed: bytes.len(), done: false });
                    }
                }
                state @ (State::Size { .. }
                | State::Extension { .. }
                | State::SizeEnd { .. }
                | State::DataCr
                | State::DataLf
                | State::Trailer
                | State::TrailerLf) => {
                    let Some((byte, after)) = rest.split_first() else {
                        return Ok(Scan { consumed: bytes.len(), done: false });
                    };
                    rest = after;
                    self.state = self.step(state, *byte).unwrap_or_else(State::Failed);
                }
            }
        }
    }

    /// The payload bytes passed so far, without framing and trailers.
    #[must_use]
    pub const fn payload(&self) -> u64 {
        self.payload
    }

    /// Takes one byte of framing.
    fn step(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        match (state, byte) {
            (State::Size { digits: 1.., size } | State::Extension { size, .. }, b'\r') => {
                Ok(State::SizeEnd { size })
            }
            (State::Size { digits: 1.., size }, b';') => Ok(State::Extension { length: 0, size }),
            (State::Size { digits, size }, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError::Size)?;
                if digits == MAX_DIGITS {
                    return Err(BodyError::Size);
                }
                Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            (State::Extension { length, size }, b'\t' | b' '..=b'~') => {
                self.extensions += 1;
                if length == MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
                    return Err(BodyError::ExtensionLength);
                }
                Ok(State::Extension { length: length + 1, size })
            }
            (State::Extension { .. }, _) => Err(BodyError::Extension),
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0, size: 0 }),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => self.end_trailer(),
            (State::Trailer, byte) if byte != b'\n' => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS {
                    return Err(BodyError::TrailerLength);
                }
                self.line.push(byte);
                Ok(State::Trailer)
            }
            (
                State::SizeEnd { .. } | State::DataCr | State::DataLf | State::Trailer | State::TrailerLf,
                _,
            ) => Err(BodyError::LineEnd),
            (state @ (State::Data { .. } | State::Done | State::Failed(_)), _) => Ok(state),
        }
    }

    /// Judges a complete trailer line.
    fn end_trailer(&mut self) -> Result<State, BodyError> {
        if self.line.is_empty() {
            self.line = Vec::new();
            return Ok(State::Done);
        }
        let (name, _) = field::parse(&self.line)?;
        if is_forbidden(&name) {
            return Err(BodyError::Trailer);
        }
        if self.trailer_lines == MAX_TRAILER_LINES {
            return Err(BodyError::TrailerLength);
        }
        self.trailer_lines += 1;
        self.line.clear();
        Ok(State::Trailer)
    }
}

impl Default for ChunkScanner {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a field frames or routes a message, or says who sends it, and so is no trailer (RFC 9110 §6.5.1).
///
/// SECURITY: some origins merge trailers into the headers, so one that overrides method or path routes too.
fn is_forbidden(name: &http::HeaderName) -> bool {
    [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::HOST,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::COOKIE,
        header::EXPECT,
    ]
    .contains(name)
        || name.as_str().starts_with("proxy-")
        || is_override(name)
}

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A chunk size that is not 1 to 16 hex digits.
    #[error("a chunk size is not 1 to 16 hex digits")]
    Size,
    /// A control character or a byte above ASCII in a chunk extension.
    #[error("a chunk extension has a byte that is not allowed")]
    Extension,
    /// Too long chunk extensions.
    #[error("the chunk extensions are too long")]
    ExtensionLength,
    /// A line that does not end in CR LF.
    #[error("a line of the chunked body does not end in CR LF")]
    LineEnd,
    /// A trailer line is wrong.
    #[error("in the trailers: {0}")]
    Field(#[from] FieldError),
    /// A field that must not be a trailer.
    #[error("the trailers have a field that frames, routes or authorises a message")]
    Trailer,
    /// Too many or too long trailers.
    #[error("the trailers are too long")]
    TrailerLength,
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Follows a body in one piece.
    fn whole(body: &[u8]) -> Result<Scan, BodyError> {
        ChunkScanner::new().advance(body)
    }

    /// Follows a body in pieces of these lengths, over and over: the bytes consumed, whether done, and the payload.
    fn pieces(body: &[u8], lengths: &[usize]) -> Result<(usize, bool, u64), BodyError> {
        let (mut scanner, mut at, mut done) = (ChunkScanner::new(), 0, false);
        for length in lengths.iter().cycle() {
            let end = (at + length).min(body.len());
            let scan = scanner.advance(&body[at..end])?;
            at += scan.consumed;
            done = scan.done;
            if done || at == body.len() {
                break;
            }
        }
        Ok((at, done, scanner.payload()))
    }

    #[test]
    fn a_body_is_followed_to_its_end_and_no_further() {
        for (body, length) in [
            ("0\r\n\r\nGET", 5),
            ("3\r\nabc\r\n0\r\n\r\nGET", 13),
            ("A;x=\"y\";z\r\n0123456789\r\n0000000000000000;\r\n\r\n", 45),
            ("3\r\n\r\n\r\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nGET", 27),
        ] {
            let scan = whole(body.as_bytes());
            assert_eq!(scan, Ok(Scan { consumed: length.min(body.len()), done: true }), "{body:?}");
        }
        let mut scanner = ChunkScanner::new();
        assert_eq!(scanner.advance(b"3\r\nab"), Ok(Scan { consumed: 5, done: false }));
        assert_eq!(scanner.payload(), 2);
        assert_eq!(scanner.advance(b"c\r\n0\r\n\r\n"), Ok(Scan { consumed: 8, done: true }));
        assert_eq!(scanner.advance(b"more"), Ok(Scan { consumed: 0, done: true }));
    }

    #[test]
    fn f3_odd_framing_is_refused() {
        for (body, error) in [
            ("\r\n", BodyError::Size),
            (";x\r\n", BodyError::Size),
            ("g\r\n", BodyError::Size),
            ("0x1\r\n", BodyError::Size),
            ("+1\r\n", BodyError::Size),
            ("-1\r\n", BodyError::Size),
            (" 1\r\n", BodyError::Size),
            ("1 \r\n", BodyError::Size),
            ("1_0\r\n", BodyError::Size),
            ("1\n", BodyError::Size),
            ("00000000000000001\r\n", BodyError::Size),
            ("1\rx", BodyError::LineEnd),
            ("1\r\r\n", BodyError::LineEnd),
            ("1;x\n", BodyError::Extension),
            ("1;\0\r\n", BodyError::Extension),
            ("1;\u{80}\r\n", BodyError::Extension),
            ("1;a\rb\r\n", BodyError::LineEnd),
            ("1\r\nab\r\n", BodyError::LineEnd),
            ("1\r\na\n", BodyError::LineEnd),
            ("1\r\na\rb", BodyError::LineEnd),
            ("0\r\n\n", BodyError::LineEnd),
            ("0\r\n\rX", BodyError::LineEnd),
            ("0\r\nX: y\n\r\n", BodyError::LineEnd),
            ("0\r\nX: y\rz\r\n", BodyError::LineEnd),
            ("0\r\nX\r\n", BodyError::Field(FieldError::NoColon)),
            ("0\r\nX : y\r\n", BodyError::Field(FieldError::SpaceBeforeColon)),
            ("0\r\n X: y\r\n", BodyError::Field(FieldError::Fold)),
            ("0\r\nX: \0\r\n", BodyError::Field(FieldError::Value)),
            ("0\r\nContent-Length: 3\r\n", BodyError::Trailer),
            ("0\r\ntransfer-encoding: chunked\r\n", BodyError::Trailer),
            ("0\r\nHost: x\r\n", BodyError::Trailer),
            ("0\r\nAuthorization: x\r\n", BodyError::Trailer),
            ("0\r\nProxy-Authorization: x\r\n", BodyError::Trailer),
            ("0\r\nX_HTTP-Method-Override: x\r\n", BodyError::Trailer),
        ] {
            assert_eq!(whole(body.as_bytes()), Err(error), "{body:?}");
        }
        let mut scanner = ChunkScanner::new();
        assert_eq!(scanner.advance(b"x"), Err(BodyError::Size));
        assert_eq!(scanner.advance(b"0\r\n\r\n"), Err(BodyError::Size), "an error is final");
    }

    #[test]
    fn f3_sizes_extensions_and_trailers_are_limited() {
        assert_eq!(whole(b"FFFFFFFFFFFFFFFF\r\nx"), Ok(Scan { consumed: 19, done: false }));
        let extension = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length));
        assert!(whole(extension(256).as_bytes()).is_ok());
        assert_eq!(whole(extension(257).as_bytes()), Err(BodyError::ExtensionLength));
        assert!(whole(extension(256).repeat(64).as_bytes()).is_ok());
        assert_eq!(whole(extension(256).repeat(65).as_bytes()), Err(BodyError::ExtensionLength));
        assert!(whole(format!("0\r\n{}\r\n", "X: y\r\n".repeat(32)).as_bytes()).is_ok_and(|scan| scan.done));
        assert_eq!(
            whole(format!("0\r\n{}\r\n", "X: y\r\n".repeat(33)).as_bytes()),
            Err(BodyError::TrailerLength)
        );
        assert_eq!(
            whole(format!("0\r\nX: {}\r\n", "y".repeat(8190)).as_bytes()),
            Err(BodyError::TrailerLength)
        );
    }

    proptest! {
        #[test]
        fn f3_every_split_gives_the_same_answer(
            body in "([0-3aA](;x)?\r\n[ab\r\n]{0,3}\r\n){0,3}(0\r\n(X: y\r\n|Host: x\r\n|[:\r\nX ]{1,3}){0,2}\r\n)?[\\x00-\\x7f]{0,3}",
            lengths in prop::collection::vec(1usize..5, 1..5),
        ) {
            let one = pieces(body.as_bytes(), &[body.len().max(1)]);
            prop_assert_eq!(&pieces(body.as_bytes(), &[1]), &one);
            prop_assert_eq!(&pieces(body.as_bytes(), &lengths), &one);
        }
    }
}
