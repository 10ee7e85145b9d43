//! What is answered, and how much of it fits.

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::Record;

use super::question::Question;
use crate::upstream::Answer;

/// The answer to a question with these records, all of them under the name that was asked for.
pub(super) fn with(question: &Question, found: &Answer) -> Message {
    let mut reply = question.reply(ResponseCode::NoError);
    let record = |data: &_| Record::from_rdata(question.spelling().clone(), found.ttl, Clone::clone(data));
    reply.add_answers(found.records.iter().map(record));
    reply
}

/// The bytes of a message. One that is longer than `longest` is cut down to its question and says so, so that the client
/// asks again over TCP.
pub(super) fn encode(message: &Message, longest: u16) -> Option<Vec<u8>> {
    let whole = message.to_vec().ok()?;
    if whole.len() <= longest.into() { Some(whole) } else { message.truncate().to_vec().ok() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use hickory_resolver::proto::op::{MessageType, OpCode, Query};
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{Name, RData, RecordType};

    use super::*;
    use crate::proxy::dns::question::read;

    #[test]
    fn an_answer_is_under_the_name_as_it_was_asked_for_and_is_cut_when_it_does_not_fit() {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii("X.tesT.").unwrap(), RecordType::A));
        let question = read(&query.to_vec().unwrap()).unwrap();
        let records = (0..64).map(|last| RData::A(A::new(192, 0, 2, last))).collect();
        let reply = with(&question, &Answer { records, ttl: 9 });

        let whole = Message::from_vec(&encode(&reply, u16::MAX).unwrap()).unwrap();
        assert_eq!((whole.answers.len(), whole.answers[0].ttl), (64, 9));
        assert_eq!(whole.answers[63].name.to_ascii(), "X.tesT.");
        let bytes = encode(&reply, question.datagram()).unwrap();
        let cut = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= 512 && cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!((cut.metadata.id, cut.metadata.message_type), (7, MessageType::Response));
    }
}
