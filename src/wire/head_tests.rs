//! Tests of the request head: threats F1 to F3.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Scans bytes with the usual limit.
fn scan(bytes: impl AsRef<[u8]>) -> Result<Option<(Head, usize)>, HeadError> {
    Head::scan(bytes.as_ref(), MAX_HEAD)
}

/// Scans a POST with these header lines after its Host.
fn with(lines: &str) -> Result<Head, HeadError> {
    scan(format!("POST / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n")).map(|head| head.unwrap().0)
}

#[test]
fn a_plain_request_is_read() {
    let text = "POST http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nX: \t a\tb \r\nContent-Length: 3\r\nConnection: Close, x\r\n\r\nabcGET";
    let (head, length) = scan(text).unwrap().unwrap();
    assert_eq!(&text.as_bytes()[length..], b"abcGET");
    assert_eq!(
        (head.method(), head.target(), head.version()),
        (&Method::POST, "http://a.example/x?y", Version::Http11)
    );
    assert_eq!(head.host(), Some("a.example"));
    assert_eq!(head.headers().get("x").unwrap(), "a\tb");
    assert_eq!(head.framing(), Framing::Length(3));
    assert!(head.connection_lists("close") && head.closes() && !head.connection_lists("upgrade"));
    assert_eq!(head.upgrade(), Upgrade::None);
    assert_eq!(head.into_headers().len(), 4);
    let (old, _) = scan("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert!(old.host().is_none() && old.closes() && old.framing() == Framing::None);
}

#[test]
fn f1_length_and_encoding_together_or_many_lengths_are_refused() {
    for (lines, error) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", HeadError::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", HeadError::LengthAndEncoding),
        ("Content-Length: 3\r\nContent-Length: 4", HeadError::LengthTwice),
        ("Content-Length: 3\r\ncontent-length: 3", HeadError::LengthTwice),
        ("Content-Length: 3, 3", HeadError::Length),
    ] {
        assert_eq!(with(lines).unwrap_err(), error, "{lines:?}");
    }
}

#[test]
fn f1_an_odd_length_is_refused() {
    for value in [
        "+1",
        "-1",
        "0x10",
        "",
        "1_0",
        "1 0",
        "1.0",
        "٣",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "00",
        "01",
        "1;",
        "\"1\"",
        "1\t1",
    ] {
        assert_eq!(with(&format!("Content-Length: {value}")).unwrap_err(), HeadError::Length, "{value:?}");
    }
    assert_eq!(
        with("Content-Length: 9223372036854775807").unwrap().framing(),
        Framing::Length(u64::MAX >> 1)
    );
    assert_eq!(with("Content-Length:0").unwrap().framing(), Framing::Length(0));
}

#[test]
fn f2_an_encoding_other_than_exactly_one_chunked_is_refused() {
    for lines in [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:",
        "Transfer-Encoding: chu\tnked",
    ] {
        assert_eq!(with(lines).unwrap_err(), HeadError::Encoding, "{lines:?}");
    }
    assert_eq!(with("Transfer-Encoding: \t ChunKed \t").unwrap().framing(), Framing::Chunked);
    let old = scan("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.unwrap_err(), HeadError::EncodingIn10);
}

#[test]
fn f3_odd_lines_are_refused() {
    for (lines, error) in [
        ("X: a\nY: b", HeadError::BareLineFeed),
        ("X: a\rY: b", HeadError::BareCarriageReturn),
        ("X: a\r\r", HeadError::BareCarriageReturn),
        ("X: a\0b", FieldError::Value.into()),
        ("X: a\x0bb", FieldError::Value.into()),
        ("X: a\x7fb", FieldError::Value.into()),
        ("X: a\r\n b", FieldError::Fold.into()),
        ("X: a\r\n\tb", FieldError::Fold.into()),
        (" X: a", FieldError::Fold.into()),
        ("X : a", FieldError::SpaceBeforeColon.into()),
        ("Transfer-Encoding\t: chunked", FieldError::SpaceBeforeColon.into()),
        (": a", FieldError::Name.into()),
        ("X(: a", FieldError::Name.into()),
        ("X\0: a", FieldError::Name.into()),
        ("Ü: a", FieldError::Name.into()),
        ("X a: b", FieldError::Name.into()),
        ("Xa", FieldError::NoColon.into()),
        ("\x0b", FieldError::NoColon.into()),
    ] {
        assert_eq!(with(lines).unwrap_err(), error, "{lines:?}");
    }
    assert_eq!(scan("GET / HTTP/1.1\nHost: x\n\n").unwrap_err(), HeadError::BareLineFeed);
    assert_eq!(scan("GET / HTTP/1.1\r\nHost: x\r\n\n").unwrap_err(), HeadError::BareLineFeed);
    assert_eq!(scan("GET / HTTP/1.1\r\nHost: x\r\n\rX").unwrap_err(), HeadError::BareCarriageReturn);
}

#[test]
fn f3_the_request_line_is_strict() {
    for (line, error) in [
        ("GET  / HTTP/1.1", HeadError::RequestLine),
        ("GET / HTTP/1.1 ", HeadError::RequestLine),
        (" GET / HTTP/1.1", HeadError::RequestLine),
        ("GET /", HeadError::RequestLine),
        ("GET\t/\tHTTP/1.1", HeadError::RequestLine),
        ("GET /\x0bHTTP/1.1", HeadError::RequestLine),
        ("GET / x HTTP/1.1", HeadError::RequestLine),
        ("GET /\tx HTTP/1.1", HeadError::Target),
        ("GET /\0 HTTP/1.1", HeadError::Target),
        ("GET /ü HTTP/1.1", HeadError::Target),
        ("G(T / HTTP/1.1", HeadError::Method),
        ("GET / HTTP/1.2", HeadError::Version),
        ("GET / HTTP/2.0", HeadError::Http2),
        ("\x16\x03\x01\x02\0\x01", HeadError::Tls),
        ("GET / http/1.1", HeadError::Version),
        ("GET / HTTP/1.10", HeadError::Version),
        ("GET / HTTP/01.1", HeadError::Version),
        ("PRI * HTTP/2.0", HeadError::Http2),
    ] {
        assert_eq!(scan(format!("{line}\r\nHost: x\r\n\r\n")).unwrap_err(), error, "{line:?}");
    }
    let (odd, _) = scan("M-SEARCH! / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
    assert_eq!(odd.method().as_str(), "M-SEARCH!");
}

#[test]
fn i3_host_is_there_exactly_once() {
    assert_eq!(scan("GET / HTTP/1.1\r\n\r\n").unwrap_err(), HeadError::HostMissing);
    assert_eq!(with("Host: a.example").unwrap_err(), HeadError::HostTwice);
    let twice = scan("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
    assert_eq!(twice.unwrap_err(), HeadError::HostTwice);
    assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n").unwrap_err(), HeadError::Host);
}

#[test]
fn a_few_empty_lines_may_come_first() {
    let head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let (_, length) = scan(format!("\r\n\r\n{head}")).unwrap().unwrap();
    assert_eq!(length, head.len() + 4);
    assert_eq!(scan(format!("{}{head}", "\r\n".repeat(5))).unwrap_err(), HeadError::EmptyLines);
    assert_eq!(scan(format!("\n{head}")).unwrap_err(), HeadError::BareLineFeed);
}

#[test]
fn a_head_is_limited_in_bytes_and_lines() {
    let lines = |count: usize| "X: y\r\n".repeat(count - 1) + "Z: y";
    assert!(with(&lines(99)).is_ok());
    assert_eq!(with(&lines(100)).unwrap_err(), HeadError::TooManyFields);
    let head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(Head::scan(head.as_bytes(), head.len()).unwrap().is_some());
    assert_eq!(Head::scan(head.as_bytes(), head.len() - 1).unwrap_err(), HeadError::TooLong);
    assert_eq!(scan("G".repeat(MAX_HEAD)).unwrap_err(), HeadError::TooLong);
    assert!(scan("G".repeat(MAX_HEAD - 1)).unwrap().is_none());
}

#[test]
fn f3_a_connect_has_no_body() {
    let connect =
        |line: &str| scan(format!("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n{line}\r\n\r\n"));
    assert!(connect("Content-Length: 0").is_ok());
    assert_eq!(connect("Content-Length: 5").unwrap_err(), HeadError::ConnectBody);
    assert_eq!(connect("Transfer-Encoding: chunked").unwrap_err(), HeadError::ConnectBody);
}

#[test]
fn f4_an_upgrade_has_no_body() {
    let upgrade = |fields: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n{fields}\r\n");
        Head::scan(text.as_bytes(), MAX_HEAD).map(|found| found.map(|(head, _)| head.framing()))
    };
    assert_eq!(upgrade(""), Ok(Some(Framing::None)));
    assert_eq!(upgrade("Content-Length: 0\r\n"), Ok(Some(Framing::Length(0))));
    assert_eq!(upgrade("Content-Length: 1\r\n"), Err(HeadError::UpgradeBody));
    assert_eq!(upgrade("Transfer-Encoding: chunked\r\n"), Err(HeadError::UpgradeBody));
}

#[test]
fn other_protocols_are_told_by_their_first_byte() {
    for (bytes, error) in [
        (&b"\x16\x03\x01"[..], HeadError::Tls),
        (b"\x05\x01\0", HeadError::NotHttp),
        (b"\xff", HeadError::NotHttp),
    ] {
        assert_eq!(Head::scan(bytes, MAX_HEAD).unwrap_err(), error, "{}", bytes.escape_ascii());
    }
    assert!(Head::scan(b"\r\nG", MAX_HEAD).unwrap().is_none());
}

#[test]
fn f5_a_request_for_an_upgrade_has_no_body() {
    for upgrade in ["Upgrade: websocket", "Upgrade: x", "HTTP2-Settings: AA"] {
        assert!(with(&format!("{upgrade}\r\nContent-Length: 0")).is_ok(), "{upgrade}");
        for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            assert_eq!(
                with(&format!("{upgrade}\r\n{body}")).unwrap_err(),
                HeadError::UpgradeBody,
                "{upgrade}"
            );
        }
    }
}

#[test]
fn upgrades_are_told_apart() {
    for (lines, upgrade) in [
        ("Upgrade: websocket", Upgrade::WebSocket),
        ("upgrade:  WebSocket ", Upgrade::WebSocket),
        ("Upgrade: h2c", Upgrade::H2c),
        ("Upgrade: websocket, H2C", Upgrade::H2c),
        ("Upgrade: websocket\r\nUpgrade: h2c", Upgrade::H2c),
        ("Upgrade: h2c/2", Upgrade::H2c),
        ("HTTP2-Settings: AAMAAABkAAQAAP__", Upgrade::H2c),
        ("Upgrade: websocket\r\nUpgrade: websocket", Upgrade::Other),
        ("Upgrade: websocket, x", Upgrade::Other),
        ("Upgrade: TLS/1.2", Upgrade::Other),
        ("Upgrade:", Upgrade::Other),
        ("X: y", Upgrade::None),
    ] {
        assert_eq!(with(lines).unwrap().upgrade(), upgrade, "{lines:?}");
    }
    assert!(with("Connection: x , UPGRADE\r\nConnection: close").unwrap().connection_lists("upgrade"));
}

proptest! {
    #[test]
    fn f3_no_bytes_panic_and_a_prefix_never_says_more(bytes in "(GET|POST) [/a*]{0,3} HTTP/1.[01]\r\n(Host: x\r\n|[A-Z:\r\n\0 ]{0,9}|Content-Length: 3\r\n){0,4}\r\n") {
        let bytes = bytes.as_bytes();
        let whole = scan(bytes);
        for end in 0..bytes.len() {
            match scan(&bytes[..end]) {
                Ok(None) => {}
                Ok(Some((_, length))) => prop_assert_eq!(whole.as_ref().unwrap().as_ref().unwrap().1, length),
                Err(error) => prop_assert_eq!(whole.as_ref().map(drop).unwrap_err(), &error),
            }
        }
    }

    #[test]
    fn f3_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(scan(&bytes));
    }
}
