//! What the servers said of a name, within what an answer may cost.

use std::net::IpAddr;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::HTTPS;
use hickory_resolver::proto::rr::rdata::svcb::{Mandatory, SVCB, SvcParamKey, SvcParamValue};
use hickory_resolver::proto::rr::{self, RData, RecordType};

use super::ResolveError;

/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 8;
/// The largest number of addresses a name may have, and of records of any other type.
pub(super) const MAX_ADDRESSES: usize = 64;

/// The records of one type that a name has, its aliases followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// At least one, each once.
    pub records: Vec<RData>,
    /// How long it may be kept, in seconds: what is left of the shortest life in it, aliases included.
    pub ttl: u32,
}

impl Answer {
    /// The addresses in it.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.records.iter().filter_map(RData::ip_addr).collect()
    }
}

/// The records of type `kind` in an answer.
///
/// # Errors
/// What the servers said instead, or that the answer is beyond its bounds.
pub(super) fn read(kind: RecordType, answer: Result<Message, NetError>) -> Result<Answer, ResolveError> {
    let message = answer.map_err(|error| classify(&error))?;
    let (mut records, mut aliases, mut ttl) = (Vec::new(), 0_usize, u32::MAX);
    for record in &message.answers {
        let is_alias = record.record_type() == RecordType::CNAME;
        aliases = aliases.saturating_add(usize::from(is_alias));
        if !is_alias && record.record_type() != kind {
            continue;
        }
        ttl = ttl.min(record.ttl);
        // Of a chain of aliases only the first is what the name itself has.
        let wanted = record.record_type() == kind && !(is_alias && aliases > 1);
        let Some(data) = Some(&record.data).filter(|_| wanted).and_then(readable) else { continue };
        if !records.contains(&data) {
            records.push(data);
        }
        if records.len() > MAX_ADDRESSES {
            return Err(ResolveError::TooLarge);
        }
    }
    if aliases > MAX_ALIASES {
        return Err(ResolveError::TooLarge);
    }
    if records.is_empty() { Err(ResolveError::NoData) } else { Ok(Answer { records, ttl }) }
}

/// The data of a record as it is passed on: of an HTTPS record without `ech`, so that the server name of the TLS that
/// follows can be read, and without parameters that nobody has given a meaning yet.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other type is passed on as it is")]
fn readable(data: &RData) -> Option<RData> {
    match data {
        RData::HTTPS(HTTPS(service)) => without_ech(service).map(HTTPS).map(RData::HTTPS),
        _ => Some(data.clone()),
    }
}

/// The service without `ech`; nothing when it cannot be used without.
fn without_ech(service: &SVCB) -> Option<SVCB> {
    let known = |key| {
        matches!(
            key,
            SvcParamKey::Mandatory
                | SvcParamKey::Alpn
                | SvcParamKey::NoDefaultAlpn
                | SvcParamKey::Port
                | SvcParamKey::Ipv4Hint
                | SvcParamKey::Ipv6Hint
        )
    };
    let mut kept = Vec::with_capacity(service.svc_params.len());
    for (key, value) in &service.svc_params {
        if let SvcParamValue::Mandatory(Mandatory(keys)) = value
            && !keys.iter().all(|key| known(*key))
        {
            return None;
        }
        if known(*key) {
            kept.push((*key, value.clone()));
        }
    }
    Some(SVCB::new(service.svc_priority, service.target_name.clone(), kept))
}

/// The name as it is asked for: absolute, so that no search domain is ever tried.
pub(super) fn absolute(name: &crate::addr::Name) -> Result<rr::Name, ResolveError> {
    let mut absolute =
        rr::Name::from_ascii(name.as_str()).map_err(|_| ResolveError::Other("it is not a DNS name"))?;
    absolute.set_fqdn(true);
    Ok(absolute)
}

/// No server can be asked.
pub(super) const UNREACHABLE: ResolveError = ResolveError::Other("no DNS server can be reached");

/// Which failure an error is.
#[expect(clippy::wildcard_enum_match_arm, reason = "the resolver's own lists are open")]
fn classify(error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NotFound,
            ResponseCode::NoError => ResolveError::NoData,
            ResponseCode::ServFail => ResolveError::ServFail,
            _ => ResolveError::Other("the DNS server refused"),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => ResolveError::ServFail,
        NetError::Dns(_) => ResolveError::Other("the DNS server refused"),
        NetError::Timeout => ResolveError::Timeout,
        NetError::Io(_) | NetError::NoConnections => UNREACHABLE,
        NetError::Busy => ResolveError::Other("the resolver is busy"),
        _ => ResolveError::Other("the DNS server's answer is malformed"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use hickory_resolver::proto::op::OpCode;
    use hickory_resolver::proto::rr::rdata::svcb::{Alpn, EchConfigList, Unknown};
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    use hickory_resolver::proto::rr::{Name, Record};

    use super::*;

    /// A name from its text.
    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// What is read of records of these lives.
    fn read_all(kind: RecordType, records: Vec<(u32, RData)>) -> Result<Answer, ResolveError> {
        let mut message = Message::response(0, OpCode::Query);
        let record = |(ttl, data)| Record::from_rdata(name("x.test."), ttl, data);
        message.add_answers(records.into_iter().map(record));
        read(kind, Ok(message))
    }

    /// A service with these parameters.
    fn service(params: Vec<(SvcParamKey, SvcParamValue)>) -> RData {
        RData::HTTPS(HTTPS(SVCB::new(1, name("."), params)))
    }

    #[test]
    fn the_shortest_life_of_an_answer_counts_and_that_of_its_aliases() {
        let a = |last| RData::A(A::new(192, 0, 2, last));
        let alias = RData::CNAME(CNAME(name("y.test.")));
        let answer = read_all(RecordType::A, vec![(9, alias.clone()), (30, a(1)), (20, a(1)), (50, a(2))]);
        assert_eq!(answer, Ok(Answer { records: vec![a(1), a(2)], ttl: 9 }));
        let chain = vec![(9, alias.clone()), (8, RData::CNAME(CNAME(name("z.test.")))), (7, a(1))];
        assert_eq!(read_all(RecordType::CNAME, chain), Ok(Answer { records: vec![alias], ttl: 8 }));
        assert_eq!(read_all(RecordType::AAAA, vec![(9, a(1))]), Err(ResolveError::NoData));
    }

    #[test]
    fn a_service_is_passed_on_without_ech_and_left_out_when_it_needs_it() {
        let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])));
        let ech = (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![1, 2])));
        let other = (SvcParamKey::Key(65300), SvcParamValue::Unknown(Unknown(vec![3])));
        let needs = |key| (SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(vec![key])));
        let passed = |params: Vec<_>| read_all(RecordType::HTTPS, vec![(60, service(params))]);

        let plain = Ok(Answer { records: vec![service(vec![alpn.clone()])], ttl: 60 });
        assert_eq!(passed(vec![alpn.clone(), ech.clone(), other]), plain);
        let needed = vec![needs(SvcParamKey::Alpn), alpn.clone()];
        let kept = Ok(Answer { records: vec![service(needed.clone())], ttl: 60 });
        assert_eq!(passed([needed, vec![ech.clone()]].concat()), kept);
        let useless = passed(vec![needs(SvcParamKey::EchConfigList), alpn, ech]);
        assert_eq!(useless, Err(ResolveError::NoData));
    }
}
