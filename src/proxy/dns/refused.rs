//! Why a query is refused.

use std::borrow::Cow;

use hickory_resolver::proto::op::ResponseCode;

use crate::metrics::DnsAnswer;
use crate::policy::Denial;
use crate::policy::query::beyond_limit;
use crate::proxy::refusal::Refusal;
use crate::upstream::LookUpFailure;

/// A refusal on its way to the client.
pub(super) struct Refused {
    /// Why.
    pub(super) refusal: Refusal,
    /// The code that says so.
    pub(super) code: ResponseCode,
    /// What it counts as.
    pub(super) counts: DnsAnswer,
    /// Whether the rate of a sandbox bounds how many such there are.
    pub(super) bounded: bool,
}

impl Refused {
    /// A denial that is told by this code.
    pub(super) fn by(denial: Denial, code: ResponseCode) -> Self {
        Self { refusal: denial.into(), code, counts: DnsAnswer::Denied, bounded: true }
    }

    /// The same of a query that no rate bounds.
    pub(super) fn unbounded(self) -> Self {
        Self { bounded: false, ..self }
    }

    /// The same, counted as a limit.
    pub(super) fn beyond(self) -> Self {
        Self { counts: DnsAnswer::Limited, ..self }
    }

    /// A limit of the listener.
    pub(super) fn limited(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::by(beyond_limit(detail), ResponseCode::Refused).beyond()
    }
}

impl From<LookUpFailure> for Refused {
    fn from(failure: LookUpFailure) -> Self {
        let (refusal, code) = (failure.into(), ResponseCode::ServFail);
        Self { refusal, code, counts: DnsAnswer::Failed, bounded: true }
    }
}
