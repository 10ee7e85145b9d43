//! What HTTP/2 may not be (F6), and what of it is too much (R3), frame by frame inside TLS.

use crate::inspected::POLICY;
use crate::kit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, PROTOCOL_ERROR,
    PUSH_PROMISE, RST_STREAM, SETTINGS, Told, WINDOW_UPDATE, fields, frame,
};
use crate::kit::gateway::Gateway;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::Origin;

/// The fields of a request that is allowed.
const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "api.test"), (":path", "/open/x")];

/// An HTTP/2 origin and a gateway.
async fn start() -> (Origin, Gateway) {
    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    (origin, gateway)
}

/// A fresh connection.
async fn raw(gateway: &Gateway, origin: &Origin) -> Frames {
    Frames::start(gateway.inside("api.test", origin, &["h2"]).await).await
}

/// The good fields, of which the one of this name is another.
fn with<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let change = |(key, old): (&'static str, &'static str)| (key, if key == name { value } else { old });
    GOOD.into_iter().map(change).collect()
}

/// The good fields and these.
fn and<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GOOD.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn f6_a_stream_that_is_no_request_ends_with_a_protocol_error_and_nothing_reaches_the_origin() {
    let (origin, gateway) = start().await;
    let without = |name: &str| GOOD.into_iter().filter(|(key, _)| *key != name).collect::<Vec<_>>();
    let mut raw_one = raw(&gateway, &origin).await;
    raw_one.request(1, &GOOD).await;
    assert_eq!(raw_one.outcome(1).await, Told::Answered(200), "the frames of these tests are understood");
    assert_eq!(origin.asked().len(), 1);
    for (what, list) in [
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "api.test:443")]),
        ("extended CONNECT", and(&[(":protocol", "websocket")])),
        ("CONNECT with a path", with(":method", "CONNECT")),
        ("CR and LF in a value", and(&[("x", "a\r\nx-more: b")])),
        ("LF in a value", and(&[("x", "a\nb")])),
        ("CR in a value", and(&[("x", "a\rb")])),
        ("NUL in a value", and(&[("x", "a\0b")])),
        ("a blank before a value", and(&[("x", " a")])),
        ("a blank behind a value", and(&[("x", "a\t")])),
        ("LF in a name", and(&[("x\ny", "a")])),
        ("a colon in a name", and(&[("x:y", "a")])),
        ("a blank in a name", and(&[("x y", "a")])),
        ("no name", and(&[("", "a")])),
        ("an upper-case name", and(&[("X-Upper", "a")])),
        ("LF in the path", with(":path", "/open/x\nHost: b")),
        ("a blank in the path", with(":path", "/open/x HTTP/1.1")),
        ("no path", with(":path", "")),
        ("a path without a slash", with(":path", "open/x")),
        ("LF in the authority", with(":authority", "api.test\nx: y")),
        ("userinfo", with(":authority", "user@api.test")),
        ("LF in the method", with(":method", "GET / HTTP/1.1\nx: y")),
        ("no method", with(":method", "")),
        ("another scheme", with(":scheme", "http")),
        ("another host", and(&[("host", "other.test")])),
        ("two hosts", and(&[("host", "api.test"), ("host", "api.test")])),
        ("connection", and(&[("connection", "close")])),
        ("connection: upgrade", and(&[("connection", "upgrade"), ("upgrade", "websocket")])),
        ("keep-alive", and(&[("keep-alive", "1")])),
        ("proxy-connection", and(&[("proxy-connection", "close")])),
        ("transfer-encoding", and(&[("transfer-encoding", "chunked")])),
        ("upgrade", and(&[("upgrade", "h2c")])),
        ("te: gzip", and(&[("te", "gzip")])),
        ("a method twice", and(&[(":method", "GET")])),
        ("a path twice", and(&[(":path", "/open/y")])),
        ("an authority twice", and(&[(":authority", "api.test")])),
        ("a late pseudo-field", [&[("x", "y")][..], &GOOD].concat()),
        ("an unknown pseudo-field", and(&[(":other", "x")])),
        ("a pseudo-field of answers", and(&[(":status", "200")])),
        ("no :method", without(":method")),
        ("no :scheme", without(":scheme")),
        ("no :path", without(":path")),
        ("no authority and no host", without(":authority")),
        ("a length without a body", and(&[("content-length", "5")])),
        ("an odd length", and(&[("content-length", "+0")])),
        ("two lengths", and(&[("content-length", "0"), ("content-length", "0")])),
    ] {
        let mut raw = raw(&gateway, &origin).await;
        raw.request(1, &list).await;
        let told = raw.outcome(1).await;
        let reset = matches!(told, Told::Reset(PROTOCOL_ERROR) | Told::GoAway(PROTOCOL_ERROR));
        // A request, but one that is refused: what is odd in it means nothing else to HTTP/1.
        let refused = reset || what == "userinfo" && told == Told::Answered(400);
        assert!(refused, "{what}: {told:?}");
        assert_eq!(origin.asked().len(), 1, "{what}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn f6_a_body_of_another_length_than_it_says_is_never_a_whole_request() {
    let (origin, gateway) = start().await;
    let list = |length: &'static str| {
        let mut list = with(":method", "POST");
        list.push(("content-length", length));
        fields(&list)
    };
    for (what, length, body, trailers) in [
        ("longer", "3", &b"four"[..], false),
        ("shorter", "5", b"four", false),
        ("shorter", "5", b"four", true),
    ] {
        let mut raw = raw(&gateway, &origin).await;
        raw.send(frame(HEADERS, END_HEADERS, 1, &list(length))).await;
        if trailers {
            raw.send(frame(DATA, 0, 1, body)).await;
            raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[("x-sum", "1")]))).await;
        } else {
            raw.send(frame(DATA, END_STREAM, 1, body)).await;
        }
        let told = raw.outcome(1).await;
        assert!(
            matches!(told, Told::Reset(PROTOCOL_ERROR) | Told::GoAway(PROTOCOL_ERROR)),
            "{what}: {told:?}"
        );
    }
    // What had begun was broken off.
    for at in 0..origin.asked().len() {
        let asked = origin.wait_for_stream(at, "the end of a stream", |asked| asked.whole.is_some()).await;
        assert_eq!(asked.whole, Some(false), "{asked:?}");
    }
}

#[tokio::test]
async fn f6_fields_behind_a_body_are_held_to_the_same() {
    let (origin, gateway) = start().await;
    for trailers in [
        vec![("x", "a\r\nb: c")],
        vec![("X-Upper", "a")],
        vec![("connection", "close")],
        vec![("transfer-encoding", "chunked")],
    ] {
        let mut raw = raw(&gateway, &origin).await;
        raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&with(":method", "POST")))).await;
        raw.send(frame(DATA, 0, 1, b"body")).await;
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&trailers))).await;
        let told = raw.outcome(1).await;
        assert!(!matches!(told, Told::Answered(_)), "{trailers:?}: {told:?}");
    }
    assert!(origin.asked().iter().all(|asked| asked.whole != Some(true)));
    // The engine drops pseudo-fields there: nothing of them goes on.
    let at = origin.asked().len();
    let mut raw = raw(&gateway, &origin).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&with(":method", "POST")))).await;
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[(":path", "/closed"), ("x", "y")]))).await;
    let told = raw.outcome(1).await;
    if told == Told::Answered(200) {
        let asked = origin.asked().remove(at);
        assert_eq!((asked.path(), asked.trailers.len()), ("/open/x", 1), "{asked:?}");
    }
}

#[tokio::test]
async fn f6_frames_that_break_the_protocol_end_the_connection() {
    let (origin, gateway) = start().await;
    let good = fields(&GOOD);
    for (what, bytes) in [
        ("§5.1: data on a stream that is idle", frame(DATA, END_STREAM, 1, b"x")),
        ("§5.1: a reset of a stream that is idle", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("§5.1: room on a stream that is idle", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("§5.1.1: an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &good)),
        ("§6.1: data on no stream", frame(DATA, 0, 0, b"x")),
        ("§6.2: a head on no stream", frame(HEADERS, END_HEADERS | END_STREAM, 0, &good)),
        ("§6.2: more padding than there is", frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[200, 0])),
        ("§6.4: a reset of no stream", frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])),
        ("§6.4: a reset of another length", frame(RST_STREAM, 0, 1, &[0, 0, 8])),
        ("§6.5: settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("§6.5: settings of another length", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0])),
        ("§6.5: an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1])),
        ("§6.5.2: a push that is neither on nor off", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("§6.5.2: a window that is too large", frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255])),
        ("§6.5.2: a frame that is too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("§6.6: a promise of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("§6.7: a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("§6.7: a ping of another length", frame(PING, 0, 0, &[0; 6])),
        ("§6.9: no room at all", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("§6.9.1: more room than can be", frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255])),
        ("§6.10: more of a head that never began", frame(CONTINUATION, END_HEADERS, 1, &good)),
        (
            "§6.10: something else inside a head",
            [frame(HEADERS, END_STREAM, 1, &good), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "§6.10: a head of another stream inside a head",
            [frame(HEADERS, END_STREAM, 1, &good), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        ),
        ("§4.2: a frame that is too large", frame(PRIORITY, 0, 1, &vec![0; 20_000])),
        ("§4.3: fields that cannot be read", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 30])),
    ] {
        let mut raw = raw(&gateway, &origin).await;
        raw.send(bytes).await;
        let error = raw.end().await;
        assert!(error.is_some_and(|error| error != 0), "{what}: {error:?}");
    }
    assert_eq!(origin.connections(), 0);
}

/// Whether the test of this name has its process to itself. Where it has not, it is run again in one that it has, as the memory
/// of other tests is not its own.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "TEST_RUNS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let binary = std::env::current_exe().expect("the tests");
    let name = format!("inspected_frames::{test}");
    let words = ["--exact", name.as_str(), "--nocapture"];
    let ran = std::process::Command::new(binary).args(words).env(ALONE, "1").output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    false
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Sends this over and over, as often as it is taken; answers for what the connection ended.
async fn flood(
    gateway: &Gateway,
    origin: &Origin,
    count: usize,
    part: impl Fn(u32) -> Vec<u8>,
) -> Option<u32> {
    let mut raw = raw(gateway, origin).await;
    for at in 0..count {
        let bytes: Vec<u8> =
            (0..20).flat_map(|number| part(u32::try_from(at * 20 + number).unwrap())).collect();
        if !raw.send(bytes).await {
            break;
        }
    }
    raw.end().await
}

#[tokio::test]
async fn r3_floods_that_are_nothing_but_work_end_the_connection_while_another_client_is_served() {
    if !is_alone("r3_floods_that_are_nothing_but_work_end_the_connection_while_another_client_is_served") {
        return;
    }
    let (origin, gateway) = start().await;
    let other = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    other.get("https://api.test/open/x").await;
    let before = resident();
    let good = fields(&GOOD);
    let head = |number: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &good);
    let reset = |number: u32| frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]);
    // Rapid reset (CVE-2023-44487).
    let error = flood(&gateway, &origin, 500, |number| [head(number), reset(number)].concat()).await;
    assert!(error.is_some_and(|error| error != 0), "rapid reset: {error:?}");
    assert_eq!(other.get("https://api.test/open/x").await.status, 200);
    // A head without an end (CVE-2024-27316).
    let open = frame(HEADERS, END_STREAM, 1, &good);
    let more = frame(CONTINUATION, 0, 1, &fields(&[("x-more", &"y".repeat(1000))]));
    let error =
        flood(&gateway, &origin, 5000, |number| if number == 0 { open.clone() } else { more.clone() }).await;
    assert!(error.is_some_and(|error| error != 0), "CONTINUATION: {error:?}");
    assert_eq!(other.get("https://api.test/open/x").await.status, 200);
    // Streams that are faulty (CVE-2025-8671).
    let faulty = fields(&and(&[("connection", "close")]));
    let error = flood(&gateway, &origin, 500, |number| {
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &faulty)
    });
    let error = error.await;
    assert!(error.is_some_and(|error| error != 0), "faulty streams: {error:?}");
    assert_eq!(other.get("https://api.test/open/x").await.status, 200);
    let grown = resident().saturating_sub(before);
    assert!(grown <= 10 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn r3_a_list_of_fields_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let (origin, gateway) = start().await;
    let mut raw = raw(&gateway, &origin).await;
    let long = "y".repeat(10_000);
    let names: Vec<String> = (0..8).map(|number| format!("x-{number}")).collect();
    let more: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
    let block = fields(&and(&more));
    let mut parts = block.chunks(16_000);
    raw.send(frame(HEADERS, END_STREAM, 1, parts.next().unwrap())).await;
    let rest: Vec<&[u8]> = parts.collect();
    for (at, part) in rest.iter().enumerate() {
        let flags = if at + 1 == rest.len() { END_HEADERS } else { 0 };
        raw.send(frame(CONTINUATION, flags, 1, part)).await;
    }
    let told = raw.outcome(1).await;
    assert_ne!(told, Told::Answered(200));
    assert_eq!(origin.connections(), 0);
    if !matches!(told, Told::GoAway(_) | Told::Closed) {
        raw.request(3, &GOOD).await;
        assert_eq!(raw.outcome(3).await, Told::Answered(200));
    }
}

#[tokio::test]
async fn r3_more_streams_than_may_be_are_refused_and_the_others_are_answered() {
    let origin = Origin::http2("api.test", [Stream::parts(["a", "b"]).step_by_step()]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut raw = raw(&gateway, &origin).await;
    let good = fields(&GOOD);
    for number in 0..110 {
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &good)).await;
    }
    // REFUSED_STREAM (RFC 9113 §5.1.2).
    assert_eq!(raw.outcome(2 * 105 + 1).await, Told::Reset(7));
    assert_eq!(raw.outcome(1).await, Told::Answered(200));
    assert!(origin.asked().len() <= 100);
}

#[tokio::test]
async fn r3_ten_thousand_streams_one_after_the_other_leave_nothing_behind() {
    if !is_alone("r3_ten_thousand_streams_one_after_the_other_leave_nothing_behind") {
        return;
    }
    let (origin, gateway) = start().await;
    let mut raw = raw(&gateway, &origin).await;
    let closed = fields(&with(":path", "/closed"));
    let ask = async |raw: &mut Frames, number: u32| {
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &closed)).await;
        while let Some(frame) = raw.next().await {
            if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                // Room for the next answers, on the connection.
                let room = u32::try_from(frame.payload.len()).unwrap().max(1).to_be_bytes();
                raw.send(crate::kit::frames::frame(WINDOW_UPDATE, 0, 0, &room)).await;
                return;
            }
        }
        panic!("the connection ended");
    };
    for number in 0..1000 {
        ask(&mut raw, number).await;
    }
    let before = resident();
    for number in 1000..10_000 {
        ask(&mut raw, number).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown <= 10 << 20, "{grown} bytes more");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn r3_frames_without_a_use_cost_their_client_and_nobody_else() {
    if !is_alone("r3_frames_without_a_use_cost_their_client_and_nobody_else") {
        return;
    }
    let (origin, gateway) = start().await;
    let other = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    other.get("https://api.test/open/x").await;
    let before = resident();
    let mut post = frame(HEADERS, END_HEADERS, 1, &fields(&with(":method", "POST")));
    post.extend(frame(DATA, 0, 1, b""));
    for (what, first, part) in [
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING", Vec::new(), frame(PING, 0, 0, &[7; 8])),
        ("WINDOW_UPDATE", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("empty DATA", post, frame(DATA, 0, 1, b"")),
    ] {
        let mut raw = raw(&gateway, &origin).await;
        raw.send(&first).await;
        let many = part.repeat(500);
        for _ in 0..100 {
            // Nothing is read meanwhile; what is answered must not be kept without end.
            let sent = tokio::time::timeout(std::time::Duration::from_secs(1), raw.send(&many)).await;
            if sent != Ok(true) {
                break;
            }
        }
        let answer = other.get("https://api.test/open/x").await;
        assert_eq!(answer.status, 200, "{what}");
        let grown = resident().saturating_sub(before);
        assert!(grown <= 10 << 20, "{what}: {grown} bytes more");
    }
}
