//! Messages and connections that are odd, large or silent.

use super::*;

#[tokio::test]
async fn d6_what_is_no_query_is_told_so_or_nothing_and_is_never_passed_on() {
    let gateway = capture(OPEN, FREE).await;
    let stub = Stub::of(door(&gateway, 0)).await;
    let mut response = query("good.test.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for silent in [response.to_vec().unwrap(), b"\0\x01".to_vec(), Vec::new(), vec![0; 4097]] {
        stub.send(&silent).await;
    }
    let mut update = query("good.test.", RecordType::A);
    update.metadata.op_code = OpCode::Status;
    assert_eq!(stub.tell(&update).await.metadata.response_code, ResponseCode::NotImp);
    let mut two = query("good.test.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("x.test.").unwrap(), RecordType::A));
    assert_eq!(stub.tell(&two).await.metadata.response_code, ResponseCode::FormErr);
    let mut cut = query("good.test.", RecordType::A).to_vec().unwrap();
    cut.truncate(cut.len() - 3);
    stub.send(&cut).await;
    assert_eq!(stub.next().await.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(gateway.dns.total_queries(), 0);
    assert!(refusals(&gateway, 3).await.iter().all(|record| record["reason"] == "bad_request"));
    assert_eq!((counted(&gateway, "malformed").await, counted(&gateway, "dropped").await), (3, 4));
}

#[tokio::test]
async fn d6_an_answer_that_does_not_fit_is_cut_and_comes_whole_over_tcp() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    let many: Vec<_> = (0..40).map(|last| format!("2001:db8::{last:x}")).collect();
    gateway.dns.says("many.test", Answer::addresses(many.iter().map(String::as_str)));
    let stub = Stub::of(door(&gateway, 0)).await;
    let request = query("many.test.", RecordType::AAAA);
    let cut = stub.tell(&request).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert!(cut.to_vec().unwrap().len() <= request.to_vec().unwrap().len(), "a cut answer is no larger");
    let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    send(&mut stream, &request).await;
    assert_eq!(next(&mut stream).await.answers.len(), 40);
}

#[tokio::test]
async fn r1_connections_that_say_nothing_or_too_much_hold_nobody_up() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    let mut silent = Vec::new();
    for _ in 0..31 {
        let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        silent.push(stream);
    }
    let mut good = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    send(&mut good, &query("good.test.", RecordType::A)).await;
    assert_eq!(addresses(&next(&mut good).await).0, ["192.0.2.1"]);

    let mut one_more = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    assert_eq!(within("the end", one_more.read(&mut [0; 9])).await.unwrap_or(0), 0);
    let records =
        gateway.wait_for("a refusal", |all| all.iter().any(|record| record["reason"] == "limit")).await;
    let record = records.iter().find(|record| record["reason"] == "limit").unwrap();
    assert_eq!((&record["kind"], &record["ingress"]), (&"connection".into(), &"dns".into()));

    good.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert_eq!(within("the end", good.read(&mut [0; 9])).await.unwrap_or(0), 0);
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NoError);
    for stream in &mut silent {
        assert_eq!(within("the deadline of a message", stream.read(&mut [0; 9])).await.unwrap_or(0), 0);
    }
}
