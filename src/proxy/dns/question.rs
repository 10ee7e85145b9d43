//! What a query must look like: one question of class IN, nothing beside it but EDNS.
//!
//! | message | is told |
//! |---|---|
//! | shorter than a header, or a response | nothing: two servers must not talk to each other for ever |
//! | another operation than QUERY | NOTIMP |
//! | another number of questions, records beside the question, bytes after the end | FORMERR |
//! | EDNS of another version than 0 | BADVERS |
//! | another class than IN | REFUSED |
//!
//! Of a query that is understood only the name in its canonical form and the type are used. EDNS options (client subnet,
//! cookies, padding), flags and the spelling of the name stay here.

use hickory_resolver::proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{self, DNSClass, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::addr::{Host, Name};

/// The smallest message that every client takes (RFC 1035 §2.3.4).
const SMALLEST: u16 = 512;
/// The largest that is sent in one datagram, so that none is fragmented.
const LARGEST: u16 = 1232;

/// A query that is understood.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its header.
    metadata: Metadata,
    /// The question as it was sent.
    query: Query,
    /// The largest datagram that the client takes, if it speaks EDNS.
    edns: Option<u16>,
    /// The name that is asked for; when it is none that a host can have, why.
    pub name: Result<Name, Unnamed>,
}

/// A name that no host can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// As it was sent, escaped.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// A message that is no query.
#[derive(Debug)]
pub enum Unreadable {
    /// It must not be answered.
    Silent,
    /// It is answered with this.
    Told(Box<Message>, &'static str),
}

/// Reads a message.
///
/// # Errors
/// [`Unreadable`] when it is no query.
pub fn read(bytes: &[u8]) -> Result<Question, Unreadable> {
    let header = Header::read(&mut BinDecoder::new(bytes)).map_err(|_| Unreadable::Silent)?;
    if header.metadata.message_type == MessageType::Response {
        return Err(Unreadable::Silent);
    }
    let told = |code, why| Err(Unreadable::Told(Box::new(reply_to(&header.metadata, code)), why));
    if header.metadata.op_code != OpCode::Query {
        return told(ResponseCode::NotImp, "the message is of another operation than QUERY");
    }
    let counts = header.counts;
    if (counts.queries, counts.answers, counts.authorities) != (1, 0, 0) || counts.additionals > 1 {
        return told(ResponseCode::FormErr, "the query is not one question with nothing beside it");
    }
    let mut decoder = BinDecoder::new(bytes);
    let message = Message::read(&mut decoder).ok().filter(|_| decoder.is_empty());
    let Some(mut message) = message else {
        return told(ResponseCode::FormErr, "the query cannot be read");
    };
    if message.edns.is_none() && counts.additionals != 0 {
        return told(ResponseCode::FormErr, "the query carries another record than EDNS");
    }
    let Some(query) = message.queries.pop() else {
        return told(ResponseCode::FormErr, "the query has no question");
    };
    let edns = message.edns.as_ref();
    let (version, edns) = (edns.map(Edns::version), edns.map(Edns::max_payload));
    let name = canonical(query.name());
    let question = Question { metadata: header.metadata, query, edns, name };
    if version.is_some_and(|version| version != 0) {
        let reply = question.reply(ResponseCode::BADVERS);
        return Err(Unreadable::Told(Box::new(reply), "the query has EDNS of an unknown version"));
    }
    if question.query.query_class() != DNSClass::IN {
        let reply = question.reply(ResponseCode::Refused);
        return Err(Unreadable::Told(Box::new(reply), "the query is of another class than IN"));
    }
    Ok(question)
}

impl Question {
    /// The type that is asked for.
    #[must_use]
    pub fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// The name as it was sent.
    #[must_use]
    pub fn spelling(&self) -> &rr::Name {
        self.query.name()
    }

    /// The largest datagram that the answer may be.
    #[must_use]
    pub fn datagram(&self) -> u16 {
        self.edns.unwrap_or(SMALLEST).clamp(SMALLEST, LARGEST)
    }

    /// An answer without records, which repeats the question as it was sent.
    #[must_use]
    pub fn reply(&self, code: ResponseCode) -> Message {
        let mut reply = reply_to(&self.metadata, code);
        reply.add_query(self.query.clone());
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST);
            reply.set_edns(edns);
        }
        reply
    }
}

/// An answer with nothing but a header.
fn reply_to(query: &Metadata, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata = Metadata::response_from_request(query);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply
}

/// The canonical form of the name that is asked for.
fn canonical(name: &rr::Name) -> Result<Name, Unnamed> {
    let unnamed = |why: &str| Unnamed { text: name.to_ascii(), why: why.to_owned() };
    let mut text = String::new();
    for label in name {
        // SECURITY: a label may hold any byte, dots too, which must not become the ends of labels.
        let label = std::str::from_utf8(label).ok().filter(|label| label.is_ascii() && !label.contains('.'));
        let Some(label) = label else {
            return Err(unnamed("it has a character that no name has"));
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    match Host::parse(&text) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Ip(_)) => Err(unnamed("it is an address")),
        Err(error) => Err(unnamed(&error.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    use hickory_resolver::proto::rr::{RData, Record};
    use proptest::prelude::*;

    use super::*;

    /// A query for the addresses of a name.
    fn query(name: &str) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(rr::Name::from_ascii(name).unwrap(), RecordType::A));
        message
    }

    /// What a message is told: the code, and why.
    fn told(message: &Message) -> (ResponseCode, &'static str) {
        match read(&message.to_vec().unwrap()) {
            Err(Unreadable::Told(reply, why)) => {
                assert_eq!((reply.metadata.id, reply.metadata.message_type), (7, MessageType::Response));
                (reply.metadata.response_code, why)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_query_is_read_and_its_answer_repeats_the_question_as_it_was_sent() {
        let mut message = query("WwW.ExAmPlE.com.");
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        edns.options_mut().insert(EdnsOption::Unknown(EdnsCode::Cookie.into(), vec![1; 8]));
        message.set_edns(edns);
        let question = read(&message.to_vec().unwrap()).unwrap();
        assert_eq!(question.name.as_ref().unwrap().as_str(), "www.example.com");
        assert_eq!((question.kind(), question.datagram()), (RecordType::A, 1232));
        let reply = question.reply(ResponseCode::NXDomain);
        assert_eq!(reply.queries[0].name().to_ascii(), "WwW.ExAmPlE.com.");
        assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
        assert!(reply.edns.as_ref().unwrap().options().as_ref().is_empty());
        let plain = read(&query("x.test.").to_vec().unwrap()).unwrap();
        assert_eq!(plain.datagram(), 512);
        assert!(plain.reply(ResponseCode::NoError).edns.is_none());
    }

    #[test]
    fn what_is_no_query_is_told_so_or_nothing() {
        let mut message = query("x.test.");
        message.metadata.message_type = MessageType::Response;
        assert!(matches!(read(&message.to_vec().unwrap()), Err(Unreadable::Silent)));
        assert!(matches!(read(&[0; 11]), Err(Unreadable::Silent)));

        let mut message = query("x.test.");
        message.metadata.op_code = OpCode::Notify;
        assert_eq!(told(&message).0, ResponseCode::NotImp);

        let mut message = query("x.test.");
        message.add_query(Query::query(rr::Name::from_ascii("y.test.").unwrap(), RecordType::A));
        assert_eq!(told(&message).0, ResponseCode::FormErr);

        let mut message = query("x.test.");
        let record = Record::from_rdata(rr::Name::root(), 0, RData::A(A::new(192, 0, 2, 1)));
        message.add_additional(record.clone());
        assert_eq!(told(&message), (ResponseCode::FormErr, "the query carries another record than EDNS"));
        message.add_answer(record);
        assert_eq!(told(&message).0, ResponseCode::FormErr);

        let mut message = query("x.test.");
        message.set_edns(Edns::new().set_version(1).clone());
        assert_eq!(told(&message).0, ResponseCode::BADVERS);

        let mut message = query("x.test.");
        message.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(told(&message).0, ResponseCode::Refused);

        let mut bytes = query("x.test.").to_vec().unwrap();
        bytes.push(0);
        assert!(matches!(read(&bytes), Err(Unreadable::Told(..))));
    }

    #[test]
    fn n3_a_name_that_no_host_has_is_no_name() {
        for labels in [
            &[b"a.b".as_slice(), b"test"][..],
            &[b"a\0b", b"test"],
            &[b"a b", b"test"],
            &[b"*", b"test"],
            &["bücher".as_bytes(), b"test"],
            &[b"\xff\xfe", b"test"],
            &[b"127", b"0", b"0", b"1"],
            &[b"0x7f000001"],
            &[b"foo", b"123"],
            &[b"-a", b"test"],
            &[],
        ] {
            let mut message = query("x.test.");
            let mut name = rr::Name::from_labels(labels.iter().copied()).unwrap();
            name.set_fqdn(true);
            message.queries[0].set_name(name);
            let question = read(&message.to_vec().unwrap()).unwrap();
            assert!(question.name.is_err(), "{labels:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_an_answer_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(question) = read(&bytes) {
                prop_assert!(question.reply(ResponseCode::NoError).to_vec().is_ok());
            }
        }
    }
}
