//! HTTP/1.1 as both ends of the load speak it: little code, so that what is measured is the proxy between them.

use std::io;
use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is written at once.
pub const PIECE: usize = 64 * 1024;
/// After how many bytes the pattern begins again.
const CYCLE: usize = 251;

/// Bytes from any place of the pattern.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |at: usize| u8::try_from(at % CYCLE).unwrap();
    (0..PIECE + CYCLE).map(byte).collect()
});

/// So many bytes of the pattern, which are no more than [`PIECE`].
pub fn pattern(at: usize, length: usize) -> &'static [u8] {
    &PATTERN[at % CYCLE..at % CYCLE + length]
}

/// Whether these are the bytes of the pattern at a place.
pub fn matches(at: usize, bytes: &[u8]) -> bool {
    let mut at = at;
    bytes.chunks(PIECE).all(|piece| {
        let same = piece == pattern(at, piece.len());
        at += piece.len();
        same
    })
}

/// The head of a message.
pub struct Head {
    /// Its first line.
    pub first: String,
    /// How long its body is.
    pub length: usize,
}

/// A connection, and what was read from it ahead.
pub struct Wire<S> {
    pub inner: S,
    buffer: Vec<u8>,
    /// What of the buffer was used.
    used: usize,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::with_capacity(PIECE), used: 0 }
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        Ok(self.inner.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next head; nothing at the end of the connection.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let fresh = &self.buffer[self.used..];
            if let Some(end) = fresh.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = std::str::from_utf8(&fresh[..end]).map_err(io::Error::other)?;
                let mut lines = text.split("\r\n");
                let first = lines.next().unwrap_or_default().to_owned();
                let length = lines
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                let length = length.map_or(Ok(0), |(_, value)| value.trim().parse());
                self.used += end + 4;
                return Ok(Some(Head { first, length: length.map_err(io::Error::other)? }));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a body, part by part.
    pub async fn body(&mut self, length: usize, mut part: impl FnMut(usize, &[u8])) -> io::Result<()> {
        let mut at = 0;
        while at < length {
            if self.used == self.buffer.len() && !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let here = (self.buffer.len() - self.used).min(length - at);
            part(at, &self.buffer[self.used..self.used + here]);
            self.used += here;
            at += here;
        }
        Ok(())
    }
}
