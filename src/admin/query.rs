//! The parameters of a request.

use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;

use super::answer::Refusal;
use crate::audit::recent::Query;
use crate::audit::top::By;
use crate::audit::{Decision, Kind};
use crate::policy::Reason;

/// How many lines a search finds when it does not say.
const LINES: usize = 100;
/// The most lines that one search finds.
const MOST_LINES: usize = 4096;
/// How many rows a table shows when it is not said.
const ROWS: usize = 20;

/// The parameters of `/v1/audit` and `/v1/audit/stream`, as text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParameters {
    kind: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    host: Option<String>,
    sandbox: Option<String>,
    since: Option<String>,
    limit: Option<String>,
}

/// The parameters of `/v1/top`, as text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopParameters {
    by: String,
    limit: Option<String>,
}

impl AuditParameters {
    /// What they mean.
    pub(super) fn parse(self) -> Result<Query, Refusal> {
        let Self { kind, decision, reason, host, sandbox, since, limit } = self;
        Ok(Query {
            kind: code("kind", kind, Kind::from_code, Kind::ALL)?,
            decision: code("decision", decision, Decision::from_code, Decision::ALL)?,
            reason: code("reason", reason, Reason::from_code, &Reason::ALL)?,
            host,
            sandbox,
            since: number("since", since)?,
            limit: number("limit", limit)?.unwrap_or(LINES).min(MOST_LINES),
        })
    }
}

impl TopParameters {
    /// What they mean: which table, and how many rows of it.
    pub(super) fn parse(self) -> Result<(By, usize), Refusal> {
        let wrong = || Refusal::BadQuery("`by` must be host, sandbox or rule".to_owned());
        let by = By::from_code(&self.by).ok_or_else(wrong)?;
        Ok((by, number("limit", self.limit)?.unwrap_or(ROWS)))
    }
}

/// The member of a closed list.
fn code<T: Copy + Display>(
    name: &str,
    value: Option<String>,
    parse: impl FnOnce(&str) -> Option<T>,
    all: &[T],
) -> Result<Option<T>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    if let Some(member) = parse(&value) {
        return Ok(Some(member));
    }
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    Err(Refusal::BadQuery(format!("`{name}` must be one of {}", all.join(", "))))
}

/// A number.
fn number<T: FromStr>(name: &str, value: Option<String>) -> Result<Option<T>, Refusal> {
    let wrong = || Refusal::BadQuery(format!("`{name}` must be a whole number"));
    value.map(|value| value.parse().map_err(|_| wrong())).transpose()
}
