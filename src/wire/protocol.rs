//! What a client starts to speak, from its first bytes.
//!
//! SECURITY: an origin may be in league with its client and lenient in what it takes for HTTP: leading white space,
//! tabs between the words, a bare line feed or carriage return, an unknown version or, before a URL, none. Whatever
//! such an origin could read as a request must be found to be HTTP here, so that it is then read strictly and refused,
//! rather than be passed on unjudged as something else. Therefore the first line is needed as a whole, unless a byte
//! shows that no method can be its first word. What is TLS to a lenient server is TLS here for the same reason.

use super::field::is_tchar;

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
/// | the last word before a CR or the end of the line starts with `HTTP/`, in any case | `Http1` |
/// | the line is `GET` and a word with `://` | `Http1` |
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
    let versioned = |line: &[u8]| {
        let last = words(line).last().unwrap_or_default();
        last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
    };
    // HTTP/0.9 knows no other method. Without a host of its own it can mislead nobody.
    let mut simple = words(line);
    let is_simple = simple.next() == Some(b"GET")
        && simple.next().is_some_and(|word| word.windows(3).any(|part| part == b"://"))
        && simple.next().is_none();
    // Some servers take a carriage return for the end of the line.
    if is_simple || line.split(|b| *b == b'\r').any(versioned) { Sniff::Http1 } else { Sniff::Other }
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
            (b"GET /\r\n", Sniff::Other),
            (b"EHLO a.example\r\n", Sniff::Other),
            (b"GET / XHTTP/1.1\r\n", Sniff::Other),
            (b"GET / HTTP/1.1 x\r\n", Sniff::Other),
            (b"HTTP/1.1\r\n", Sniff::Other),
            (b"G(T", Sniff::Other),
            (b"{\"id\":1}\n", Sniff::Other),
            (b"\x0bGET / HTTP/1.1\r\n", Sniff::Http1),
            (b"GET\xa0/\x85HTTP/1.1\x1c\r\n", Sniff::Http1),
            (b"GET / HTTP/1.1\rHost: a.example\r\r\n", Sniff::Http1),
            (b"GET http://a.example/\r\n", Sniff::Http1),
            (b"GET http://a.example/ x\r\n", Sniff::Other),
            (b"DESCRIBE rtsp://a.example/ RTSP/1.0\r\n", Sniff::Other),
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
    }
}
