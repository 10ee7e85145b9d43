//! Tests of the `ClientHello`: threats T1 to T4, against real hellos and against another parser.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The bytes of a real client that wants a server and offers protocols.
fn real(
    server: &str,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Vec<u8> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), server.to_owned().try_into().unwrap()).unwrap();
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).unwrap();
    }
    out
}

/// Three hellos that real clients send, and the name that each is for.
fn reals() -> [(Vec<u8>, Option<&'static str>); 3] {
    [
        (real("www.example.com", &[b"h2", b"http/1.1"], rustls::ALL_VERSIONS), Some("www.example.com")),
        (real("a.b.example", &[], &[&rustls::version::TLS12]), Some("a.b.example")),
        (real("192.0.2.7", &[b"x"], &[&rustls::version::TLS13]), None),
    ]
}

/// The handshake message inside records.
fn message(records: &[u8]) -> Vec<u8> {
    Records { rest: records }.flat_map(|record| record.unwrap().payload.to_vec()).collect()
}

/// A message in records of these lengths, the last length over and over.
fn records(message: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut lengths = lengths.iter().copied();
    let (mut out, mut rest, mut length) = (Vec::new(), message, 1);
    while !rest.is_empty() {
        length = lengths.next().unwrap_or(length).clamp(1, rest.len().min(MAX_RECORD));
        let (payload, after) = rest.split_at(length);
        out.extend([0x16, 3, 1]);
        out.extend(u16::try_from(length).unwrap().to_be_bytes());
        out.extend(payload);
        rest = after;
    }
    out
}

/// A hello with these extensions, in one record.
fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, data) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        list.extend(*data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    records(&[&[1], &length[1..], &body].concat(), &[MAX_RECORD])
}

/// The data of a server name extension with these names.
fn names(names: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(0);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(*name);
    }
    [u16::try_from(list.len()).unwrap().to_be_bytes().to_vec(), list].concat()
}

/// The hello of complete bytes.
fn complete(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Hello::Complete(hello) => hello,
        other @ (Hello::NeedMore | Hello::Invalid(_)) => panic!("{other:?}"),
    }
}

/// The server name that rustls finds, or that it refuses the hello.
fn theirs(bytes: &[u8]) -> Result<Option<String>, rustls::Error> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    let unfinished = || rustls::Error::General("unfinished".to_owned());
    loop {
        let read = acceptor.read_tls(&mut rest).map_err(|_| unfinished())?;
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
            return Ok(accepted.client_hello().server_name().map(str::to_owned));
        }
        if read == 0 {
            return Err(unfinished());
        }
    }
}

#[test]
fn real_hellos_are_read_as_rustls_reads_them() {
    for (bytes, name) in reals() {
        let ours = complete(&bytes);
        assert_eq!(ours.server_name.as_ref().map(Name::as_str), name);
        assert_eq!(theirs(&bytes), Ok(name.map(str::to_owned)));
        assert!(!ours.ech);
    }
    let [(bytes, _), (plain, _), (other, _)] = reals();
    assert_eq!(complete(&bytes).alpn, Alpn { h2: true, http1: true, other: false });
    assert_eq!(complete(&plain).alpn, Alpn::default());
    assert_eq!(complete(&other).alpn, Alpn { h2: false, http1: false, other: true });
}

#[test]
fn t1_every_segment_boundary_gives_the_same_answer() {
    for (bytes, _) in reals() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Hello::NeedMore, "{end}");
        }
        let followed = [bytes.as_slice(), b"\x14\x03\x03\x00\x01\x01"].concat();
        assert_eq!(parse(&followed), parse(&bytes), "what follows in other records is none of its business");
        assert_eq!(split(&followed).1, bytes.len(), "and it is known where that begins");
        assert_eq!(split(&bytes[..bytes.len() - 1]).1, 0);
    }
}

#[test]
fn t1_every_record_boundary_gives_the_same_answer() {
    for (bytes, name) in reals() {
        let whole = parse(&bytes);
        let message = message(&bytes);
        for first in 1..message.len() {
            let split = records(&message, &[first, MAX_RECORD]);
            assert_eq!(parse(&split), whole, "{first}");
            assert_eq!(parse(&split[..split.len() - 1]), Hello::NeedMore, "{first}");
        }
        for length in 1..40 {
            assert_eq!(parse(&records(&message, &[length])), whole, "{length}");
        }
        assert_eq!(theirs(&records(&message, &[100])), Ok(name.map(str::to_owned)));
        let bytewise = records(&message, &[1]);
        for end in 0..bytewise.len() {
            assert_eq!(parse(&bytewise[..end]), Hello::NeedMore, "{end}");
        }
    }
}

#[test]
fn t2_a_hello_without_a_name_or_with_ech_says_so() {
    assert_eq!(complete(&hello(&[])), ClientHello::default());
    let name = names(&[b"Outer.Example"]);
    let found = complete(&hello(&[(0xfe0d, b"\0x"), (0, &name)]));
    assert!(found.ech && found.server_name.unwrap().as_str() == "outer.example");
    assert!(complete(&hello(&[(0xffce, b"")])).ech);
    let mut bare = message(&hello(&[]));
    bare.truncate(bare.len() - 2);
    bare[3] -= 2;
    assert_eq!(complete(&records(&bare, &[100])), ClientHello::default());
}

#[test]
fn t2_what_is_not_a_hello_is_refused() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n"[..], HelloError::NotHandshake),
        (b"\x17\x03\x01", HelloError::NotHandshake),
        (b"\x16\x02", HelloError::Version),
        (b"\x16\x03\x01\x00\x00", HelloError::RecordLength),
        (b"\x16\x03\x01\x40\x01", HelloError::RecordLength),
        (b"\x16\x03\x01\x00\x05\x02", HelloError::NotHello),
        (b"\x16\x03\x01\x00\x02\x01\x00\x16\x03\x01\x00\x00", HelloError::RecordLength),
        (b"\x16\x03\x01\x00\x01\x01\x15", HelloError::NotHandshake),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", HelloError::Malformed),
    ] {
        assert_eq!(parse(bytes), Hello::Invalid(error), "{}", bytes.escape_ascii());
    }
    let plain = hello(&[]);
    let mut inner = records(&message(&plain), &[5, 100]);
    inner[10] = 0x17;
    assert_eq!(parse(&inner), Hello::Invalid(HelloError::NotHandshake));
    let joined = records(&[message(&plain), vec![20]].concat(), &[MAX_RECORD]);
    assert_eq!(parse(&joined), Hello::Invalid(HelloError::Trailing));
    assert_eq!(parse(&joined[..joined.len() - 1]), Hello::Invalid(HelloError::Trailing));
}

#[test]
fn t3_large_hellos_are_read_up_to_64_kib() {
    let protocols: Vec<[u8; 250]> = (0..100).map(|n| [n; 250]).collect();
    let protocols: Vec<&[u8]> = protocols.iter().map(<[u8; 250]>::as_slice).collect();
    let large = real("large.example", &protocols, rustls::ALL_VERSIONS);
    assert!(large.len() > MAX_RECORD, "it takes several records");
    assert_eq!(complete(&large).server_name.unwrap().as_str(), "large.example");
    assert_eq!(theirs(&large), Ok(Some("large.example".to_owned())));
    let filler = vec![0; 65_000];
    let largest = hello(&[(21, &filler), (0, &names(&[b"a.example"]))]);
    assert!(largest.len() <= MAX_HELLO && matches!(parse(&largest), Hello::Complete(_)));
    assert_eq!(parse(b"\x16\x03\x01\x40\x00\x01\x01\x00\x00"), Hello::Invalid(HelloError::TooLong));
    let small = records(&message(&largest), &[40]);
    assert_eq!(parse(&small[..MAX_HELLO - 1]), Hello::NeedMore);
    assert_eq!(parse(&small[..MAX_HELLO]), Hello::Invalid(HelloError::TooLong));
}

#[test]
fn t4_a_server_name_that_is_not_exactly_one_good_name_is_refused() {
    let good = names(&[b"a.example"]);
    assert_eq!(complete(&hello(&[(0, &good)])).server_name.unwrap().as_str(), "a.example");
    assert_eq!(parse(&hello(&[(0, &good), (0, &good)])), Hello::Invalid(HelloError::Duplicate));
    let two = names(&[b"a.example", b"b.example"]);
    assert_eq!(parse(&hello(&[(0, &two)])), Hello::Invalid(HelloError::Duplicate));
    for (data, error) in [
        (&b""[..], HelloError::Malformed),
        (b"\0\0", HelloError::Malformed),
        (b"\0\x03\0\0\0", HelloError::Name(HostError::Empty)),
        (b"\0\x04\x01\0\x01a", HelloError::NameType),
        (b"\0\x04\0\0\x02a", HelloError::Malformed),
        (b"\0\x04\0\0\x01ax", HelloError::Trailing),
        (b"\0\x05\0\0\x01ax", HelloError::Duplicate),
    ] {
        assert_eq!(parse(&hello(&[(0, data)])), Hello::Invalid(error), "{}", data.escape_ascii());
    }
    for (name, error) in [
        (&b"192.0.2.7"[..], HelloError::Name(HostError::Address)),
        (b"2001:db8::1", HelloError::Name(HostError::Address)),
        (b"[2001:db8::1]", HelloError::Name(HostError::Character('['))),
        (b"127.1", HelloError::Name(HostError::Ipv4Spelling)),
        (b"a..b", HelloError::Name(HostError::EmptyLabel)),
        (b"a\0.example", HelloError::Name(HostError::Character('\0'))),
        (b"*.example", HelloError::Name(HostError::Character('*'))),
        (b"a.example:443", HelloError::Name(HostError::Character(':'))),
        (b"a%2e.example", HelloError::Name(HostError::Percent)),
        ("bücher.example".as_bytes(), HelloError::NotAscii),
        (b"\xff.example", HelloError::NotAscii),
    ] {
        assert_eq!(parse(&hello(&[(0, &names(&[name]))])), Hello::Invalid(error), "{}", name.escape_ascii());
    }
    let dotted = complete(&hello(&[(0, &names(&[b"A.Example."]))]));
    assert_eq!(dotted.server_name.unwrap().as_str(), "a.example");
}

#[test]
fn t4_other_extensions_are_checked_too() {
    for extensions in [
        &[(16, &b"\0\0"[..])][..],
        &[(16, b"\0\x01\0")],
        &[(16, b"\0\x03\x02h2"), (16, b"\0\x03\x02h2")],
        &[(16, b"\0\x03\x02h2x")],
        &[(0xfe0d, b""), (0xfe0d, b"")],
    ] {
        assert!(matches!(parse(&hello(extensions)), Hello::Invalid(_)), "{extensions:?}");
    }
    assert!(complete(&hello(&[(16, b"\0\x03\x02h2")])).alpn.h2);
}

proptest! {
    #[test]
    fn t1_any_records_and_segments_give_the_same_answer(
        which in 0usize..3, lengths in prop::collection::vec(1usize..200, 1..8), cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, _) = &reals()[which];
        let split = records(&message(bytes), &lengths);
        prop_assert_eq!(super::split(&split), (parse(bytes), split.len()));
        prop_assert_eq!(parse(&split[..cut.index(split.len())]), Hello::NeedMore);
    }

    #[test]
    fn t4_a_name_that_both_find_is_the_same(
        which in 0usize..3, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = reals()[which].0.clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let (Hello::Complete(ours), Ok(theirs)) = (parse(&bytes), theirs(&bytes)) {
            let theirs = theirs.map(|name| Name::parse(&name).unwrap());
            prop_assert_eq!(ours.server_name, theirs);
        }
    }

    #[test]
    fn t4_a_name_of_any_bytes_is_the_same_as_theirs_or_refused(name in "[a-zA-Z0-9.*_\\x00-]{1,12}|[0-9.]{1,9}") {
        let bytes = hello(&[(0, &names(&[name.as_bytes()])), (10, b"\0\x02\0\x1d"), (13, b"\0\x02\x08\x04"), (43, b"\x02\x03\x04")]);
        if let (Hello::Complete(ours), Ok(theirs)) = (parse(&bytes), theirs(&bytes)) {
            prop_assert_eq!(ours.server_name, theirs.map(|name| Name::parse(&name).unwrap()));
        }
    }

    #[test]
    fn t4_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), start in any::<bool>()) {
        let bytes = if start { [&[0x16, 3, 1, 1, 0, 1, 0, 0, 200, 3, 3], bytes.as_slice()].concat() } else { bytes };
        drop(parse(&bytes));
    }
}

#[test]
fn t3_many_small_records_beyond_the_limit_are_refused_whether_or_not_they_have_all_come() {
    let long = hello(&[(21, &[0; 12_000]), (0, &names(&[b"good.test"]))]);
    let spread = records(&message(&long), &[1]);
    let most = 6 * MAX_RECORDS;
    assert!(message(&long).len() < MAX_HELLO && spread.len() > MAX_HELLO);
    for end in [most + 6, MAX_HELLO, MAX_HELLO + 1, spread.len() - 1, spread.len()] {
        assert_eq!(parse(&spread[..end]), Hello::Invalid(HelloError::TooManyRecords), "{end}");
    }
    assert_eq!(parse(&spread[..most]), Hello::NeedMore);
    let fits = hello(&[(21, &[0; 1_900]), (0, &names(&[b"good.test"]))]);
    assert!(matches!(parse(&records(&message(&fits), &[1])), Hello::Complete(_)));
}
