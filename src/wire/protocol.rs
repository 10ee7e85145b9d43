//! What a client starts to speak, from its first bytes.
//!
//! SECURITY: an origin may be in league with its client and lenient in what it takes for HTTP: leading white space,
//! tabs between the words, a bare line feed or carriage return, an unknown version or none. HTTP/0.9 is not harmless: there
//! are servers that read its header fields, and go on with HTTP/1.1 on the same connection. Whatever an origin could
//! read as a request must be found to be HTTP here, so that it is then read strictly and refused, rather than be passed on
//! unjudged as something else. Therefore the first line is needed as a whole, unless a byte
//! shows that no method can be its first word. What is TLS to a lenient server is TLS here for the same reason.

use super::field::is_tchar;

/// Methods that some server takes without a version (HTTP/0.9), or whose target may be any word.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
/// What a version begins with, in any case. Parsers that speak RTSP and ICE as well read all three alike.
const VERSIONS: [&[u8]; 3] = [b"HTTP/", b"RTSP/", b"ICE/"];

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// It takes more bytes to tell; how many are worth waiting for is the caller's choice.
    NeedMore,
    /// A TLS record, well-formed or not, or a hello in the form of `SSLv2`.
    Tls,
    /// A line that some server could read as an HTTP/1 request line, well-formed or not.
    Http1,
    /// The preface of HTTP/2 in the clear.
    Http2Preface,
    /// Anything else.
    Other,
}

/// Tells what the first bytes of a client are.
///
/// | bytes | answer |
/// |---|---|
/// | none, white space alone | `NeedMore` |
/// | a TLS record of any type; with a version below 16.0 when it starts with a hello or an alert | `Tls` |
/// | an `SSLv2` record with a hello for SSL 3 or TLS | `Tls` |
/// | the first bytes of one of these | `NeedMore` |
/// | after leading white space: a byte in the first word that no method has | `Other` |
/// | no line feed after that | `NeedMore` |
/// | the line is `PRI * HTTP/2.0` | `Http2Preface` |
/// | the second word starts with `/` or `*`, or has `://` in it, whatever follows | `Http1` |
/// | the last word before a CR or the end of the line starts with `HTTP/`, `RTSP/` or `ICE/`, in any case | `Http1` |
/// | the first word is a usual method of HTTP, and a second one follows | `Http1` |
/// | any other line | `Other` |
///
/// White space is what Latin-1 has of it, as Python splits request lines there.
#[must_use]
pub fn sniff(first_bytes: &[u8]) -> Sniff {
    if let Some(tls) = tls(first_bytes) {
        return tls;
    }
    let skipped = first_bytes.iter().position(|b| !is_space(*b) && *b != b'\n');
    let Some(rest) = skipped.and_then(|start| first_bytes.get(start..)) else { return Sniff::NeedMore };
    let word = rest.split(|b| is_space(*b) || *b == b'\n').next().unwrap_or_default();
    if !word.iter().copied().all(is_tchar) {
        return Sniff::Other;
    }
    let Some(end) = rest.iter().position(|b| *b == b'\n') else { return Sniff::NeedMore };
    first_line(rest.get(..end).unwrap_or_default())
}

/// [`sniff`] for bytes that come bit by bit: what was looked at and did not tell is not looked at again.
#[derive(Debug, Default)]
pub struct Sniffer {
    /// How many of the bytes were looked at.
    seen: usize,
    /// What of the first line they hold.
    part: Part,
}

/// What of a first line has come.
#[derive(Debug, Default, Clone, Copy)]
enum Part {
    /// Too little to tell.
    #[default]
    Start,
    /// A part of the first word, after any white space.
    Word,
    /// The first word and more.
    Line,
}

impl Sniffer {
    /// Tells what the first bytes of a client are; they are those of the call before, and perhaps more.
    pub fn sniff(&mut self, first_bytes: &[u8]) -> Sniff {
        let fresh = first_bytes.get(self.seen..).unwrap_or_default();
        let tells_nothing = match self.part {
            Part::Start => false,
            Part::Word => fresh.iter().copied().all(is_tchar),
            Part::Line => !fresh.contains(&b'\n'),
        };
        if tells_nothing {
            self.seen = first_bytes.len();
            return Sniff::NeedMore;
        }
        let answer = sniff(first_bytes);
        if answer == Sniff::NeedMore && tls(first_bytes).is_none() {
            self.seen = first_bytes.len();
            let mut line = first_bytes.iter().skip_while(|b| is_space(**b) || **b == b'\n');
            self.part = match (line.next(), line.any(|b| is_space(*b))) {
                (None, _) => Part::Start,
                (Some(_), true) => Part::Line,
                (Some(_), false) => Part::Word,
            };
        }
        answer
    }
}

/// Tells whether some server takes these bytes for TLS; `None` when none does.
///
/// OpenSSL answers hellos in the form of `SSLv2`. Go's server takes every version below 16.0 in the first record, and
/// skips warnings before it.
const fn tls(first_bytes: &[u8]) -> Option<Sniff> {
    match first_bytes {
        [0x14..=0x18, 3, ..]
        | [0x15, 0..0x10, _, 0, 2, ..]
        | [0x16, 0..0x10, _, _, _, 1, ..]
        | [0x80..=0xff, _, 1, 3, ..] => Some(Sniff::Tls),
        [0x14..=0x18 | 0x80..=0xff]
        | [0x15 | 0x16, 0..0x10]
        | [0x80..=0xff, _]
        | [0x15 | 0x16, 0..0x10, _]
        | [0x80..=0xff, _, 1]
        | [0x15, 0..0x10, _, 0]
        | [0x16, 0..0x10, _, _]
        | [0x16, 0..0x10, _, _, _] => Some(Sniff::NeedMore),
        _ => None,
    }
}

/// Tells what a whole first line is.
fn first_line(line: &[u8]) -> Sniff {
    if line.strip_suffix(b"\r").unwrap_or(line) == b"PRI * HTTP/2.0" {
        return Sniff::Http2Preface;
    }
    // Some servers take a carriage return for the end of the line.
    if line.split(|b| *b == b'\r').any(is_request) { Sniff::Http1 } else { Sniff::Other }
}

/// Whether some server takes a line for a request.
fn is_request(line: &[u8]) -> bool {
    let mut words = words(line);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let version = words.last().unwrap_or(target);
    METHODS.contains(&method) && !target.is_empty()
        || matches!(target, [b'/' | b'*', ..])
        || target.windows(3).any(|part| part == b"://")
        || VERSIONS.iter().any(|name| version.get(..name.len()).is_some_and(|v| v.eq_ignore_ascii_case(name)))
}

/// The words of a line.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| is_space(*b)).filter(|word| !word.is_empty())
}

/// Whether a byte separates words for some server.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r' | 0x1c..=0x1f | 0x85 | 0xa0)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_row_of_the_table_holds() {
        for (bytes, answer) in [
            (&b""[..], Sniff::NeedMore),
            (b"\x16", Sniff::NeedMore),
            (b"\x16\x03", Sniff::Tls),
            (b"\x16\x03\x01\x02\x00", Sniff::Tls),
            (b"\x16\x02", Sniff::NeedMore),
            (b"\x16\x02\x01\x00\x2e\x01", Sniff::Tls),
            (b"\x16\x00\x00\x00\x2e\x02", Sniff::Other),
            (b"\x16\x10", Sniff::Other),
            (b"\x15\x03\x01", Sniff::Tls),
            (b"\x15\x00\x00\x00", Sniff::NeedMore),
            (b"\x15\x00\x00\x00\x02", Sniff::Tls),
            (b"\x15\x00\x00\x01", Sniff::Other),
            (b"\x17\x03", Sniff::Tls),
            (b"\x13\x03", Sniff::Other),
            (b"\x80", Sniff::NeedMore),
            (b"\x80\x2e\x01", Sniff::NeedMore),
            (b"\x80\x2e\x01\x03\x01", Sniff::Tls),
            (b"\x80\x2e\x01\x00\x02", Sniff::Other),
            (b"\x80\x2e\x02", Sniff::Other),
            (b"\0", Sniff::Other),
            (b"\r\n \t", Sniff::NeedMore),
            (b"G", Sniff::NeedMore),
            (b"GET / HTTP/1.1", Sniff::NeedMore),
            (b"GET / HTTP/1.1\r\n", Sniff::Http1),
            (b"GET / HTTP/1.1\n", Sniff::Http1),
            (b"\r\n\n GET / HTTP/1.1\r\n", Sniff::Http1),
            (b"GET\t/\x0bhttp/9.9x \t\r\n", Sniff::Http1),
            (b"GET\x0c/ HTTP/1.1\r\r\n", Sniff::Http1),
            (b"get /a b c HtTp/\r\n", Sniff::Http1),
            (b"GET /\x80\0 HTTP/1.1\r\n", Sniff::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniff::Http2Preface),
            (b"\r\nPRI * HTTP/2.0\n", Sniff::Http2Preface),
            (b"PRI  * HTTP/2.0\r\n", Sniff::Http1),
            (b"PRI * HTTP/2.0", Sniff::NeedMore),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Sniff::Other),
            (b"GET /\r\n", Sniff::Http1),
            (b"EHLO a.example\r\n", Sniff::Other),
            (b"GET / XHTTP/1.1\r\n", Sniff::Http1),
            (b"GET / HTTP/1.1 x\r\n", Sniff::Http1),
            (b"HTTP/1.1\r\n", Sniff::Other),
            (b"G(T", Sniff::Other),
            (b"{\"id\":1}\n", Sniff::Other),
            (b"\x0bGET / HTTP/1.1\r\n", Sniff::Http1),
            (b"GET\xa0/\x85HTTP/1.1\x1c\r\n", Sniff::Http1),
            (b"GET / HTTP/1.1\rHost: a.example\r\r\n", Sniff::Http1),
            (b"GET http://a.example/\r\n", Sniff::Http1),
            (b"GET http://a.example/ x\r\n", Sniff::Http1),
            (b"DESCRIBE rtsp://a.example/ RTSP/1.0\r\n", Sniff::Http1),
            (b"GET /x RTSP/1.1\r\n", Sniff::Http1),
            (b"SOURCE /x ICE/1.1\r\n", Sniff::Http1),
            (b"X-ANY x rtsp/\r\n", Sniff::Http1),
            (b"POST nine\r\n", Sniff::Http1),
            (b"CONNECT a.example:1\r\n", Sniff::Http1),
            (b"OPTIONS *\r\n", Sniff::Http1),
            (b"ANY * x y\r\n", Sniff::Http1),
            (b"x a://b\r\n", Sniff::Http1),
            (b"ANY /x\rHost: a.example\r\n", Sniff::Http1),
            (b"get key\r\n", Sniff::Other),
            (b"GET\r\n", Sniff::Other),
            (b"USER anonymous\r\n", Sniff::Other),
            (b"NICK a\r\n", Sniff::Other),
            (b"a1 LOGIN a b/c\r\n", Sniff::Other),
            (b"/path\r\n", Sniff::Other),
            (b"\xffGET / HTTP/1.1\r\n", Sniff::Other),
            (b"\0GET / HTTP/1.1\r\n", Sniff::Other),
        ] {
            assert_eq!(sniff(bytes), answer, "{}", bytes.escape_ascii());
        }
        assert_eq!(sniff(&vec![b'A'; 70_000]), Sniff::NeedMore);
    }

    proptest! {
        #[test]
        fn an_answer_stays_when_more_bytes_come(bytes in "[GPRI*HTP/0-2. \t\r\n\x0b(]{0,24}|[\x00-\x03\x14-\x17\u{80}\u{85}]{0,8}|\\PC{0,20}") {
            // One byte a character, so that every byte can come.
            let bytes: Vec<u8> = bytes.chars().map(|c| u8::try_from(c).unwrap_or(b'x')).collect();
            let bytes = bytes.as_slice();
            let whole = sniff(bytes);
            for end in 0..bytes.len() {
                let part = sniff(&bytes[..end]);
                prop_assert!(part == Sniff::NeedMore || part == whole, "{} {part:?} {whole:?}", end);
            }
        }

        #[test]
        fn a_sniffer_gives_the_same_answers(
            bytes in "[GET]{1,3}[ /\n\r\t(*:]{0,6}[GET /\nHP]{0,12}|[ \r\n\t]{0,3}[GPRI*HTP/0-2. \t\r\n\x0b(]{0,24}",
            cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            let mut sniffer = Sniffer::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            for end in cuts.into_iter().chain([bytes.len()]) {
                let answer = sniff(&bytes.as_bytes()[..end]);
                prop_assert_eq!(sniffer.sniff(&bytes.as_bytes()[..end]), answer);
                if answer != Sniff::NeedMore {
                    break;
                }
            }
        }
    }
}
