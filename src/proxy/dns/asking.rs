//! One message and its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::RecordType;

use super::account::Account;
use super::answer::{self, encode};
use super::question::{Question, Unreadable, read};
use super::refused::Refused;
use super::{Denied, Door, Settings, limit};
use crate::addr::{Host, Name, Port, Target};
use crate::audit::{Ingress, Kind, Outcome, Text};
use crate::metrics::DnsAnswer;
use crate::policy::query::unanswered_type;
use crate::policy::{Denial, QueryPermit, Reason, Route};
use crate::proxy::exchange::Exchange;
use crate::proxy::reach::{by, result};
use crate::proxy::refusal::Refusal;
use crate::proxy::session::{Identified, Session};
use crate::share::LookUp;
use crate::upstream::{LookUpFailure, ResolveError};

/// One message and who sent it.
struct Asking<'a> {
    /// The connection or datagram it came with.
    session: &'a Arc<Session>,
    /// The listener.
    door: &'a Door,
    /// Who asks, once that is known, and the snapshot that says so.
    known: Option<Identified>,
    /// The generation of the policy that was asked.
    generation: Option<u64>,
    /// What the policy said, when it allowed the name.
    permit: Option<QueryPermit>,
    /// How long the look-up took.
    dns: Option<Duration>,
}

/// Answers one message. Nothing: it must not be answered.
pub(super) async fn answer(
    session: &Arc<Session>,
    door: &Door,
    bytes: &[u8],
    over_tcp: bool,
) -> Option<Vec<u8>> {
    let mut asking = Asking { session, door, known: None, generation: None, permit: None, dns: None };
    let metrics = &session.gateway.metrics;
    let (reply, longest) = match read(bytes) {
        Ok(question) => {
            let (reply, counts) = asking.settle(&question).await;
            metrics.dns_answer(counts);
            (reply, if over_tcp { u16::MAX } else { question.datagram() })
        }
        Err(Unreadable::Silent) => {
            metrics.dns_answer(DnsAnswer::Dropped);
            return None;
        }
        Err(Unreadable::Told(mut reply, why)) => {
            metrics.dns_answer(DnsAnswer::Malformed);
            let refused = Refused::by(Denial::new(Reason::BadRequest, why), reply.metadata.response_code);
            let refused = asking.admit_message().err().unwrap_or(refused);
            reply.metadata.response_code = refused.code;
            asking.record(&refused, None).await;
            (*reply, u16::MAX)
        }
    };
    encode(&reply, longest)
}

impl Asking<'_> {
    /// The answer to a question, and what it counts as.
    async fn settle(&mut self, question: &Question) -> (Message, DnsAnswer) {
        match self.resolve(question).await {
            Ok(reply) => {
                self.report(question).await;
                let empty = reply.answers.is_empty();
                (reply, if empty { DnsAnswer::Nothing } else { DnsAnswer::Answered })
            }
            Err(refused) => {
                self.record(&refused, Some(question)).await;
                (question.reply(refused.code), refused.counts)
            }
        }
    }

    /// Who asks, and whether they may ask anything at the moment.
    fn admit_message(&mut self) -> Result<Arc<Account>, Refused> {
        let sandbox = self.session.identify(None);
        let unknown = |refusal| {
            let (code, counts) = (ResponseCode::Refused, DnsAnswer::Denied);
            Refused { refusal, code, counts, bounded: false }
        };
        let known = self.known.insert(sandbox.map_err(unknown)?);
        let gateway = &self.session.gateway;
        let share = gateway.shares.of(&known.sandbox.id);
        let taken = gateway.query(&share, &known.snapshot.policy_for(&known.sandbox));
        taken.map_err(|denial| Refused::by(denial, ResponseCode::Refused).beyond().unbounded())?;
        Ok(self.door.accounts.of(&known.sandbox.id, Instant::now()))
    }

    /// The answer to a question, or why it has none.
    async fn resolve(&mut self, question: &Question) -> Result<Message, Refused> {
        let account = self.admit_message()?;
        let permit = self.admit(question)?;
        let permit = self.permit.insert(permit);
        admit_shape(permit, &account, &self.door.settings)?;
        let (name, route) = (permit.name().clone(), permit.route().clone());
        if question.kind() == RecordType::SVCB {
            return Ok(question.reply(ResponseCode::NoError));
        }
        let _look_up = self.look_up_place()?;
        let unsure = |full| Refused {
            refusal: Refusal::from(full),
            code: ResponseCode::Refused,
            counts: DnsAnswer::Denied,
            bounded: true,
        };
        self.session.gateway.audit.expect_certainty().map_err(unsure)?;
        let found = self.look_up(&route, &name, question.kind()).await;
        match found {
            Ok(found) => Ok(answer::with(question, &found)),
            Err(LookUpFailure { error: ResolveError::NoData, .. }) => {
                Ok(question.reply(ResponseCode::NoError))
            }
            Err(LookUpFailure { error: ResolveError::NotFound, .. }) => {
                Ok(question.reply(ResponseCode::NXDomain))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// A place among the queries of the sandbox that are looked up.
    fn look_up_place(&self) -> Result<LookUp, Refused> {
        let limited = |denial| Refused::by(denial, ResponseCode::Refused).beyond();
        let Some(Identified { sandbox, snapshot }) = &self.known else {
            return Err(limited(Denial::new(Reason::IdentityUnknown, "it is not known who asks")));
        };
        let gateway = &self.session.gateway;
        let share = gateway.shares.of(&sandbox.id);
        gateway.look_up(&share, &snapshot.policy_for(sandbox)).map_err(limited)
    }

    /// Whether the name may be asked for, and the type is one that is answered.
    fn admit(&mut self, question: &Question) -> Result<QueryPermit, Refused> {
        let kind = question.kind();
        if let Some(code) = unanswered(kind) {
            return Err(Refused::by(unanswered_type(&kind.to_string()), code));
        }
        let denied = |denial| {
            let code = match self.door.settings.denied {
                Denied::NxDomain => ResponseCode::NXDomain,
                Denied::Refused => ResponseCode::Refused,
            };
            Refused::by(denial, code)
        };
        let name = question.name.as_ref();
        let name = name.map_err(|unnamed| {
            let detail = format!("the name that is asked for is no host's: {}", unnamed.why);
            denied(Denial::new(Reason::BadRequest, detail))
        })?;
        let Some(Identified { sandbox, snapshot }) = &self.known else {
            return Err(denied(Denial::new(Reason::IdentityUnknown, "it is not known who asks")));
        };
        self.generation = Some(snapshot.generation);
        let policy = snapshot.policy_for(sandbox);
        let started = Instant::now();
        let permit = policy.admit_query(name).map_err(denied);
        self.session.gateway.metrics.decided_in(started.elapsed());
        permit
    }

    /// What the servers of a path say of a permitted name.
    async fn look_up(
        &mut self,
        route: &Route,
        name: &Name,
        kind: RecordType,
    ) -> Result<crate::upstream::Answer, LookUpFailure> {
        let gateway = &self.session.gateway;
        let uplink = gateway.uplinks.of(route).ok_or_else(|| LookUpFailure {
            network: Some(route.network().into()),
            servers: Vec::new(),
            error: ResolveError::Other("no such network is configured"),
        })?;
        let sandbox =
            self.known.as_ref().map_or_else(|| Arc::from(""), |known| Arc::clone(&known.sandbox.id));
        let started = Instant::now();
        let found = uplink.records(&sandbox, name, kind).await;
        self.dns = Some(started.elapsed());
        gateway.metrics.dns_query(&uplink.name, result(found.as_ref().err().map(|failure| failure.error)));
        found
    }

    /// Leaves the record of a refusal.
    async fn record(&self, refused: &Refused, question: Option<&Question>) {
        let mut exchange = if refused.bounded {
            // Without room for it the client is refused all the same, and this has left the record of that.
            let Ok(exchange) = Exchange::admitted(self.session, Kind::Query).await else { return };
            exchange
        } else {
            // It must not keep a place that others need: a full audit queue takes the count alone.
            Exchange::unadmitted(self.session, Kind::Query)
        };
        self.note(&mut exchange, question);
        if let Some(permit) = &self.permit {
            exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        }
        let name = question.and_then(|question| question.name.as_ref().ok());
        let target = name.map(|name| Target::new(Host::Name(name.clone()), Port::HTTPS));
        exchange.refuse(&refused.refusal, target.as_ref(), None);
    }

    /// Leaves the record of what a reporting document would have denied, if any would have.
    async fn report(&self, question: &Question) {
        let Some(permit) = self.permit.as_ref().filter(|permit| permit.would_deny().is_some()) else {
            return;
        };
        let Ok(mut exchange) = Exchange::admitted(self.session, Kind::Query).await else { return };
        self.note(&mut exchange, Some(question));
        exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        exchange.finish(Outcome::Ok);
    }

    /// Notes who asks for what.
    fn note(&self, exchange: &mut Exchange, question: Option<&Question>) {
        exchange.note(|event| {
            event.ingress = Some(Ingress::Dns);
            event.generation = self.generation;
            event.dns = self.dns;
            if let Some(permit) = &self.permit {
                by(event, permit.route());
            }
            event.sandbox = self.known.as_ref().map(|known| Arc::clone(&known.sandbox.id));
            event.group = self.known.as_ref().and_then(|known| known.sandbox.group.clone());
            let Some(question) = question else { return };
            event.method = Some(Text::new(&question.kind().to_string()));
            event.host = Some(match &question.name {
                Ok(name) => Text::new(name.as_str()),
                Err(unnamed) => Text::new(&unnamed.text),
            });
        });
    }
}

/// What a type that is not answered is told.
fn unanswered(kind: RecordType) -> Option<ResponseCode> {
    if kind == RecordType::PTR {
        // Nobody waits for another server's answer then.
        return Some(ResponseCode::NXDomain);
    }
    let answered = [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::HTTPS, RecordType::SVCB]
        .contains(&kind);
    (!answered).then_some(ResponseCode::Refused)
}

/// Whether a name that no rule spells out is within what such names may say.
fn admit_shape(permit: &QueryPermit, account: &Account, settings: &Settings) -> Result<(), Refused> {
    if permit.is_spelled_out() {
        return Ok(());
    }
    if let Some(beyond) = limit::beyond_shape(permit.name(), settings) {
        return Err(Refused::limited(format!(
            "the name {beyond} of the listener, and no rule spells it out"
        )));
    }
    if account.name(permit.name(), settings, Instant::now()) {
        return Ok(());
    }
    let most = settings.distinct_names_per_minute;
    Err(Refused::limited(format!(
        "this sandbox asks for more different names than `distinctNamesPerMinute` ({most}) of the listener"
    )))
}
