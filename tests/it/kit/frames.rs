//! HTTP/2 byte by byte: frames as a test writes them, and as they come back.
//!
//! ```ignore
//! let mut raw = Frames::start(gateway.inside("api.test", &origin, &["h2"]).await).await;
//! raw.request(1, &[(":method", "GET"), (":scheme", "https"), (":authority", "api.test"), (":path", "/")]).await;
//! assert_eq!(raw.outcome(1).await, Told::Answered(200));
//! ```

use super::inspecting::Inside;

/// The kinds of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Their flags.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// Errors (RFC 9113 §7).
pub const PROTOCOL_ERROR: u32 = 1;

/// A connection, of which the preface and the settings were sent.
pub struct Frames {
    client: Inside,
    /// Frames that came and were not asked for: kind, flags, stream, payload.
    seen: Vec<Frame>,
    /// Whether it has ended.
    ended: bool,
}

/// A frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has an answer with this status; 0 where it cannot be read at a glance.
    Answered(u16),
    /// It was reset for this.
    Reset(u32),
    /// The whole connection ends for this.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that no table keeps (RFC 7541 §6.2.2), whatever is in them.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A string of HPACK, as it is (RFC 7541 §5.2).
fn text(text: &str) -> Vec<u8> {
    let mut left = text.len();
    let mut bytes = Vec::new();
    if left < 127 {
        bytes.push(u8::try_from(left).expect("short"));
    } else {
        bytes.push(127);
        left -= 127;
        while left >= 128 {
            bytes.push(u8::try_from(left % 128).expect("seven bits") | 128);
            left /= 128;
        }
        bytes.push(u8::try_from(left).expect("seven bits"));
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Frames {
    /// Sends the preface and empty settings.
    pub async fn start(client: Inside) -> Self {
        let mut raw = Self { client, seen: Vec::new(), ended: false };
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
        raw.send(preface).await;
        raw
    }

    /// Sends these bytes; answers whether they were taken.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.client.try_send(bytes).await.is_ok()
    }

    /// Opens a stream with these fields and no body.
    pub async fn request(&mut self, stream: u32, list: &[(&str, &str)]) -> bool {
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(list))).await
    }

    /// The next frame; none at the end of the connection. Settings and pings are acknowledged.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = Vec::with_capacity(9);
        while head.len() < 9 {
            let Some(byte) = self.client.next_byte().await else {
                self.ended = true;
                return None;
            };
            head.push(byte);
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = Vec::with_capacity(length);
        while payload.len() < length {
            let Some(byte) = self.client.next_byte().await else {
                self.ended = true;
                return None;
            };
            payload.push(byte);
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        if kind == SETTINGS && flags & ACK == 0 {
            self.send(frame(SETTINGS, ACK, 0, &[])).await;
        }
        Some(Frame { kind, flags, stream, payload })
    }

    /// What becomes of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Told {
        loop {
            if let Some(told) = self.seen.iter().find_map(|frame| told(frame, stream)) {
                return told;
            }
            if self.ended {
                return Told::Closed;
            }
            if let Some(frame) = self.next().await {
                self.seen.push(frame);
            }
        }
    }

    /// Reads until the connection ends; answers for what, if that was said.
    pub async fn end(&mut self) -> Option<u32> {
        while let Some(frame) = self.next().await {
            self.seen.push(frame);
        }
        let errors =
            self.seen.iter().filter(|frame| frame.kind == GOAWAY).map(|frame| number(&frame.payload[4..8]));
        errors.fold(None, |_, error| Some(error))
    }
}

/// What a frame tells of a stream.
fn told(frame: &Frame, stream: u32) -> Option<Told> {
    match frame.kind {
        HEADERS if frame.stream == stream => Some(Told::Answered(status(&frame.payload))),
        RST_STREAM if frame.stream == stream => Some(Told::Reset(number(&frame.payload))),
        GOAWAY if number(&frame.payload[4..8]) != 0 => Some(Told::GoAway(number(&frame.payload[4..8]))),
        _ => None,
    }
}

/// Four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// A status, which is the first field: one of the static table (RFC 7541 appendix A), or three digits as they are.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        _ => 0,
    }
}
