//! What turns a datagram into a question: no panic, one canonical name, and an answer that can be written and is no larger.
#![no_main]

use hickory_proto::op::{Message, ResponseCode};
use libfuzzer_sys::fuzz_target;
use sluicegate::addr::Name;
use sluicegate::proxy::dns::question::{Unreadable, read};

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Ok(question) => {
            if let Ok(name) = &question.name {
                assert_eq!(Name::parse(name.as_str()).as_ref(), Ok(name));
                let sent = question.spelling().to_ascii().to_ascii_lowercase();
                assert_eq!(sent.trim_end_matches('.'), name.as_str());
            }
            let reply = question.reply(ResponseCode::NXDomain).to_vec().unwrap();
            // A pointer into the header stands for a few bytes more.
            assert!(reply.len() <= bytes.len() + 16);
            let again = Message::from_vec(&reply).unwrap();
            assert_eq!(again.queries[0].query_type(), question.kind());
        }
        Err(Unreadable::Told(reply, _)) => assert!(reply.to_vec().unwrap().len() <= bytes.len().max(12)),
        Err(Unreadable::Silent) => {}
    }
});
