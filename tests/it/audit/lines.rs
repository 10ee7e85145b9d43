//! Whatever is recorded is one line.

use super::*;

#[test]
fn l1_a_hundred_thousand_hostile_hosts_paths_methods_and_names_are_as_many_lines_of_json() {
    const EVENTS: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let sinks = vec![audit::SinkSettings::File(FileSettings::new(&path))];
    let (log, writer) =
        Audit::start(audit::Settings { sinks, ..audit::Settings::default() }, vec![]).unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for number in 0..EVENTS {
        let most = if number % 100 == 0 { 700 } else { 30 };
        let mut record = log.record(Kind::Request);
        let event = record.event();
        event.host = Some(Text::from_bytes(&dice.bytes(40)));
        event.path = Some(Text::from_bytes(&dice.bytes(most)));
        event.method = Some(Text::from_bytes(&dice.bytes(10)));
        event.sni = Some(Text::from_bytes(&dice.bytes(40)));
        event.error = Some(Text::from_bytes(&dice.bytes(20)));
        record.finish(Outcome::Refused);
    }
    writer.finish(std::time::Duration::from_mins(1)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let records = parse(&text);
    assert_eq!(records.len(), EVENTS);
    for (record, seq) in records.iter().zip(1_u64..) {
        assert_eq!(record["seq"], seq);
        assert!(record["path"].as_str().is_some_and(|path| path.len() <= 512), "{record}");
    }
}

#[tokio::test]
async fn l1_whatever_a_client_sends_is_one_line_and_never_a_line_of_its_own() {
    let gateway = Gateway::start("mode: Limited\n").await;
    let mut dice = Dice(7);
    let forged = "{\"schema\":\"sluicegate.audit/1\",\"seq\":1,\"kind\":\"connection\",\"decision\":\"allow\",\"host\":\"forged.test\"}";
    let mut clients = Vec::new();
    for number in 0..600 {
        let (one, two) = (dice.bytes(30), dice.bytes(30));
        let request: Vec<u8> = match number % 6 {
            0 => [b"CONNECT ", &one[..], b":443 HTTP/1.1\r\nHost: ", &two, b"\r\n\r\n"].concat(),
            1 => [b"GET http://", &one[..], b"/", &two, b" HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat(),
            2 => [&one[..], b" http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat(),
            3 => {
                [b"GET http://a.test/\n", forged.as_bytes(), b"\n HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat()
            }
            4 => [b"CONNECT a.test\n", forged.as_bytes(), b"\n:443 HTTP/1.1\r\n\r\n"].concat(),
            _ => {
                [b"GET http://a.test/", &one[..], b" HTTP/1.1\r\nHost: ", &two, b"\r\nX: ", &one, b"\r\n\r\n"]
                    .concat()
            }
        };
        let mut client = gateway.client().await;
        client.send(&request).await;
        client.finish().await;
        client.expect_closed().await;
        clients.push(client.local().to_string());
    }
    let all_there = |records: &[Value]| {
        let of = |client: &String| records.iter().filter(|record| record["client"] == *client).count();
        clients.iter().all(|client| of(client) >= 1)
    };
    gateway.wait_for("a record of each client", all_there).await;
    let records = gateway.stop().await;
    assert!(records.iter().all(|record| record["host"] != "forged.test"));
    assert!(records.iter().zip(1_u64..).all(|(record, seq)| record["seq"] == seq));
    assert!(records.iter().all(|record| record["decision"] != "allow"));
}
