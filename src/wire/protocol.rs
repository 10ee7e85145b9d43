//! What a client starts to speak, from its first bytes.
//!
//! SECURITY: an origin may be in league with its client and lenient in what it takes for HTTP: leading white space,
//! tabs between the words, a bare line feed, an unknown version. Whatever such an origin could read as a request must
//! be found to be HTTP here, so that it is then read strictly and refused, rather than be passed on unjudged as
//! something else. Therefore the first line is needed as a whole, unless a byte shows that no method can be its first
//! word.

use super::field::is_tchar;

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// It takes more bytes to tell; how many are worth waiting for is the caller's choice.
    NeedMore,
    /// A TLS record with a handshake.
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
/// | none, `0x16` alone, white space alone | `NeedMore` |
/// | `0x16 0x03 …` | `Tls` |
/// | after leading CR, LF, SP, HT: a byte in the first word that no method has, or no word | `Other` |
/// | no line feed after that | `NeedMore` |
/// | the line is `PRI * HTTP/2.0` | `Http2Preface` |
/// | the last word of the line starts with `HTTP/`, in any case | `Http1` |
/// | any other line | `Other` |
///
/// Words are separated by SP, HT, VT, FF and CR.
#[must_use]
pub fn sniff(first_bytes: &[u8]) -> Sniff {
    match first_bytes {
        [0x16] => return Sniff::NeedMore,
        [0x16, 0x03, ..] => return Sniff::Tls,
        _ => {}
    }
    let skipped = first_bytes.iter().position(|b| !matches!(b, b'\r' | b'\n' | b' ' | b'\t'));
    let Some(rest) = skipped.and_then(|start| first_bytes.get(start..)) else { return Sniff::NeedMore };
    let word = rest.split(|b| is_space(*b) || *b == b'\n').next().unwrap_or_default();
    if word.is_empty() || !word.iter().copied().all(is_tchar) {
        return Sniff::Other;
    }
    let Some(end) = rest.iter().position(|b| *b == b'\n') else { return Sniff::NeedMore };
    first_line(rest.get(..end).unwrap_or_default())
}

/// Tells what a whole first line is.
fn first_line(line: &[u8]) -> Sniff {
    if line.strip_suffix(b"\r").unwrap_or(line) == b"PRI * HTTP/2.0" {
        return Sniff::Http2Preface;
    }
    let last = line.rsplit(|b| is_space(*b)).find(|word| !word.is_empty()).unwrap_or_default();
    let starts = last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"));
    if starts { Sniff::Http1 } else { Sniff::Other }
}

/// Whether a byte separates words for some server.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
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
            (b"\x16\x02", Sniff::Other),
            (b"\x15\x03\x01", Sniff::Other),
            (b"\x80\x2e\x01\x03\x01", Sniff::Other),
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
            (b"\x0bGET / HTTP/1.1\r\n", Sniff::Other),
            (b"\xffGET / HTTP/1.1\r\n", Sniff::Other),
            (b"\0GET / HTTP/1.1\r\n", Sniff::Other),
        ] {
            assert_eq!(sniff(bytes), answer, "{}", bytes.escape_ascii());
        }
        assert_eq!(sniff(&vec![b'A'; 70_000]), Sniff::NeedMore);
    }

    proptest! {
        #[test]
        fn an_answer_stays_when_more_bytes_come(bytes in "[GPRI*HTP/0-2. \t\r\n\x0b(]{0,24}|\\PC{0,20}") {
            let bytes = bytes.as_bytes();
            let whole = sniff(bytes);
            for end in 0..bytes.len() {
                let part = sniff(&bytes[..end]);
                prop_assert!(part == Sniff::NeedMore || part == whole, "{} {part:?} {whole:?}", end);
            }
        }
    }
}
