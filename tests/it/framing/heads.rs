//! Heads that have not exactly one meaning.

use super::*;

#[tokio::test]
async fn f1_a_length_that_two_servers_could_read_in_two_ways_is_refused() {
    let values: [&[u8]; 25] = [
        b"+5",
        b"-5",
        b"0x5",
        b"",
        b"1_0",
        b"5 5",
        b"5, 5",
        b"5,6",
        b"5,",
        b",5",
        b"05",
        b"00",
        b"5a",
        b"5.0",
        b"5e0",
        b"5;",
        b"\"5\"",
        b"18446744073709551616",
        b"99999999999999999999999999",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
        b"5\x0b",
        b"\x0c5",
        b"five",
        b"5\0",
    ];
    let mut messages: Vec<_> =
        values.iter().map(|value| post(&[b"Content-Length: ", *value].concat())).collect();
    messages.extend(
        [
            &b"Content-Length: 5\r\nContent-Length: 5"[..],
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5\r\nX: y\r\ncontent-length: 6",
            b"Content-Length: 15\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 15",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity\r\nContent-Length: 5",
            b"Content-Length : 5",
            b"Content-Length\t: 5",
            b"Content-Length: 5\r\n 0",
        ]
        .map(post),
    );
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f2_a_transfer_encoding_other_than_exactly_one_chunked_is_refused() {
    let values: [&[u8]; 26] = [
        // The spellings that hyper lets pass, as it looks at the last item of the last line only.
        b"chunked, chunked",
        b"gzip, chunked",
        b"identity, chunked",
        b"cow, chunked",
        b"gzip\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: chunked",
        b"chunked\r\nX: y\r\ntransfer-encoding: chunked",
        b"cow\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: cow",
        b"chunked, gzip",
        b"chunked, identity",
        b"identity",
        b"gzip",
        b"xchunked",
        b"chunkedx",
        b"chunked;q=1",
        b"\"chunked\"",
        b"'chunked'",
        b"chunked,",
        b",chunked",
        b", ,chunked",
        b"",
        b"\x0bchunked",
        b"chunked\x0c",
        b"chunked\xa0",
        b"chun ked",
    ];
    let mut messages: Vec<_> =
        values.iter().map(|value| post(&[b"Transfer-Encoding: ", *value].concat())).collect();
    messages.extend([
        post(b"Transfer-Encoding : chunked"),
        post(b"Transfer-Encoding\t: chunked"),
        post(b"Transfer-Encoding:\r\n chunked"),
        post(b" Transfer-Encoding: chunked"),
        post(b"X: y\r\n\tTransfer-Encoding: chunked"),
        post(b"X: y\nTransfer-Encoding: chunked"),
        post(b"X: y\rTransfer-Encoding: chunked"),
        b"POST http://{h}/ HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
    ]);
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f3_odd_lines_and_names_are_refused() {
    let mut messages: Vec<_> = [
        &b"X: y\n"[..],
        b"X: y\nZ: z",
        b"X: y\rz",
        b"X: y\r\r",
        b"X: \ry",
        b"X: a\0b",
        b"X\0: y",
        b"X: \x01",
        b"X: \x7f",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X: y\r\n ",
        b"X : y",
        b"X\t: y",
        b": y",
        b":",
        b"X",
        b"X y",
        b"X Y: z",
        b"(X): y",
        b"X@: y",
        b"X/Y: z",
        b"[X]: y",
        b"\"X\": y",
        b"X\xc3\xbc: y",
        b"X{}: y",
        b"\x0bX: y",
        b"GET / HTTP/1.1",
    ]
    .map(get)
    .into();
    messages.extend(
        [
            &b"GET http://{h}/ HTTP/1.1\nHost: {h}\n\n"[..],
            b"GET http://{h}/ HTTP/1.1\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\n",
            b"GET http://{h}/ HTTP/1.1\r\n Host: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\r\nHost: {h}\r\n\r\n",
            b"GET  http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/  HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET\thttp://{h}/\tHTTP/1.1\r\nHost: {h}\r\n\r\n",
            b" GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1 \r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1 x\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/a b HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\r\nHost: {h}\r\n\r\n",
            b"GET\r\nHost: {h}\r\n\r\n",
            b"GET  HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"G(T http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"G\0T http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET: http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\0 HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\xc3\xbc HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\x7f HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ http/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.2\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.10\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/01.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/2.0\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/0.9\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTX/1.1\r\nHost: {h}\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\nGET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"\nGET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\nhost: other.test\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nX: y\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: good.t\xc3\xa9st\r\n\r\n",
            b"CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\n\r\nhello",
            b"CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            // What follows an Upgrade is not of HTTP any more, so it cannot be a body as well.
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ]
        .map(<[u8]>::to_vec),
    );
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f8_request_targets_without_one_meaning_are_refused() {
    let lines: [&[u8]; 29] = [
        b"CONNECT good.test",
        b"CONNECT /x",
        b"CONNECT http://{h}",
        b"CONNECT {h}/",
        b"CONNECT {h}:443",
        b"CONNECT good.test:",
        b"CONNECT good.test:0",
        b"CONNECT good.test:65536",
        b"CONNECT good.test:+443",
        b"CONNECT u@{h}",
        b"CONNECT {h}#x",
        b"CONNECT *",
        b"GET {h}",
        b"GET good.test",
        b"GET *",
        b"OPTIONS *",
        b"GET /",
        b"GET //{h}/",
        b"GET http:/{h}/",
        b"GET http:///x",
        b"GET http://{h}/#x",
        b"GET http://u:p@{h}/",
        b"GET http://good.test:/",
        b"GET http://good.test:99999/",
        b"GET https://{h}/",
        b"GET ftp://{h}/",
        b"GET http://{h}/a%2fb",
        b"GET http://{h}/a%00",
        b"GET http://{h}/..;/a",
    ];
    let whole = |line: &&[u8]| [*line, b" HTTP/1.1\r\nHost: {h}\r\n\r\n"].concat();
    each_is_refused(&lines.iter().map(whole).collect::<Vec<_>>(), false).await;
}

#[tokio::test]
async fn i3_a_host_that_is_no_authority_is_refused() {
    let hosts: [&[u8]; 9] = [
        b"",
        b"{h}/",
        b"u@{h}",
        b"{h}, {h}",
        b"{h} {h}",
        b"http://{h}",
        b"good.test:",
        b"good..test",
        b"good.test%00",
    ];
    let whole = |host: &&[u8]| [b"GET http://{h}/ HTTP/1.1\r\nHost: ", *host, b"\r\n\r\n"].concat();
    each_is_refused(&hosts.iter().map(whole).collect::<Vec<_>>(), false).await;
}
