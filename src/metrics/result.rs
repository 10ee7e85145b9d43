//! What came of a load, a query and an answer: the closed lists of labels besides those of records.

/// What came of a load of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It had problems; the last good one stays.
    Rejected,
}

/// What came of a DNS query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsResult {
    /// It has addresses.
    Ok,
    /// There is no such name, or it has no address.
    NotFound,
    /// The server failed.
    ServFail,
    /// No answer came in time.
    Timeout,
    /// The answer had too many addresses.
    TooLarge,
    /// Anything else.
    Other,
}

/// What a client of a DNS listener was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsAnswer {
    /// Records.
    Answered,
    /// There is no such name, or it has nothing of this type.
    Nothing,
    /// The policy denies it, or it is not known who asks.
    Denied,
    /// It is beyond a limit.
    Limited,
    /// The look-up failed.
    Failed,
    /// The message is no query.
    Malformed,
    /// Nothing: as many queries as the listener takes were under way, or it was no message to answer.
    Dropped,
}

impl Reload {
    /// The metric label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

impl DnsResult {
    /// The metric label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::ServFail => "servfail",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }
}

impl DnsAnswer {
    /// The metric label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Nothing => "nothing",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Dropped => "dropped",
        }
    }
}
