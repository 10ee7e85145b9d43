//! Whether what is loaded is the table, whole and in order.
//!
//! A listing is compared statement by statement. What cannot change what happens to a packet is left out: handles,
//! comments, counters, and the order of the members of a set. Anything else is a finding: a chain that is missing, of
//! another hook, priority or policy; a rule that is missing, in another place, or not ours. Other tables are looked through
//! for the few things that lead a packet past every hook of ours.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::ruleset::{Base, Chain, Rule, TABLE, Table};

/// What is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What does not hold.
    pub problem: String,
    /// What was found, and where.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

/// The text is not a listing.
#[derive(Debug, Error)]
pub enum ListingError {
    /// It is not JSON.
    #[error("`nft -j list ruleset` did not print JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is none.
    #[error(
        "`nft -j list ruleset` printed nothing, as some versions do where a table has flags: is one dormant?"
    )]
    Empty,
    /// It has no list of objects.
    #[error("`nft -j list ruleset` printed JSON without a list `nftables`")]
    Shape,
}

/// What is loaded, as far as it matters.
#[derive(Debug, Default)]
struct Listing<'a> {
    /// The table's own object.
    table: Option<&'a Value>,
    /// Its chains by name.
    chains: BTreeMap<&'a str, &'a Value>,
    /// Its rules by chain, in order.
    rules: BTreeMap<&'a str, Vec<&'a Value>>,
    /// What else is in it.
    others: Vec<&'a str>,
    /// The rules of other tables.
    foreign: Vec<&'a Value>,
}

/// Compares a listing with the table; `ours` tells whether an interface is one of the sandboxes'.
///
/// # Errors
/// The text is not what `nft -j list ruleset` prints.
pub fn verify(
    table: &Table,
    ours: impl Fn(&str) -> bool,
    listing: &str,
) -> Result<Vec<Finding>, ListingError> {
    if listing.trim().is_empty() {
        return Err(ListingError::Empty);
    }
    let listing: Value = serde_json::from_str(listing)?;
    let objects = listing.get("nftables").and_then(Value::as_array).ok_or(ListingError::Shape)?;
    let listing = Listing::of(objects);
    let mut findings = Vec::new();
    if let Some(object) = listing.table {
        listing.table_itself(object, table, &mut findings);
        for chain in &table.chains {
            listing.chain(chain, &mut findings);
        }
    } else {
        findings.push(finding("nothing is captured", format!("there is no table `inet {TABLE}`")));
    }
    findings.extend(listing.foreign.iter().filter_map(|rule| passes_by(rule, &ours)));
    Ok(findings)
}

/// A finding that loading the rules again cures.
fn finding(problem: impl Into<String>, cause: impl Into<String>) -> Finding {
    let cure = "load the rules again: sluicegate nft print … | nft -f -, with the arguments of this check or --config of this gateway";
    Finding { problem: problem.into(), cause: cause.into(), cure: cure.to_owned() }
}

impl<'a> Listing<'a> {
    /// Sorts the objects.
    fn of(objects: &'a [Value]) -> Self {
        let mut listing = Self::default();
        for object in objects.iter().filter_map(Value::as_object) {
            for (kind, object) in object {
                let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
                let named = if kind == "table" { text("name") } else { text("table") };
                let ours = text("family") == "inet" && named == TABLE;
                match kind.as_str() {
                    "metainfo" => {}
                    "table" if ours => listing.table = Some(object),
                    "chain" if ours => {
                        listing.chains.insert(text("name"), object);
                    }
                    "rule" if ours => listing.rules.entry(text("chain")).or_default().push(object),
                    "rule" => listing.foreign.push(object),
                    other if ours => listing.others.push(other),
                    _ => {}
                }
            }
        }
        listing
    }

    /// The table is awake, and has nothing that it should not have.
    fn table_itself(&self, object: &Value, table: &Table, findings: &mut Vec<Finding>) {
        // SECURITY: a dormant table has every rule and does nothing.
        if let Some(flags) = object.get("flags") {
            findings.push(finding(
                "the table may be asleep",
                format!("table `inet {TABLE}` has flags ({flags}), and ours has none"),
            ));
        }
        let unknown =
            self.chains.keys().filter(|name| !table.chains.iter().any(|chain| chain.name == **name));
        findings.extend(unknown.map(|name| {
            finding("there is more than was printed", format!("chain `{name}` is not one of ours"))
        }));
        findings.extend(self.others.iter().map(|kind| {
            finding("there is more than was printed", format!("a {kind} in the table is not one of ours"))
        }));
    }

    /// One chain and its rules.
    fn chain(&self, chain: &Chain, findings: &mut Vec<Finding>) {
        let name = chain.name;
        let Some(object) = self.chains.get(name) else {
            findings.push(finding(does_not_hold(&chain.promise), format!("chain `{name}` is missing")));
            return;
        };
        findings.extend(at_its_place(chain, object));
        let before = findings.len();
        let expected: Vec<Vec<Value>> = chain.rules.iter().map(Rule::statements).collect();
        let found: Vec<Vec<Value>> =
            self.rules.get(name).into_iter().flatten().map(|rule| statements(rule)).collect();
        let mut left = found.clone();
        for (rule, expected) in chain.rules.iter().zip(&expected) {
            match left.iter().position(|found| found == expected) {
                Some(at) => drop(left.remove(at)),
                None => findings.push(finding(
                    does_not_hold(&rule.promise),
                    format!("chain `{name}` lacks the rule `{}`", rule.text()),
                )),
            }
        }
        for extra in left {
            let shown = Value::from(extra).to_string();
            let shown: String = shown.chars().take(200).collect();
            findings.push(finding(
                format!("what stands behind it may not hold: {}", chain.promise),
                format!("chain `{name}` has a rule that is not ours: {shown}"),
            ));
        }
        if findings.len() == before && found != expected {
            findings.push(finding(
                does_not_hold(&chain.promise),
                format!("the rules of chain `{name}` are in another order"),
            ));
        }
    }
}

/// A promise that is not kept.
fn does_not_hold(promise: &str) -> String {
    format!("this does not hold: {promise}")
}

/// Whether a chain is called where it must be, and ends as it must.
fn at_its_place(chain: &Chain, object: &Value) -> Vec<Finding> {
    let expected: [(&str, Option<Value>); 4] = match chain.base {
        None => [("type", None), ("hook", None), ("prio", None), ("policy", None)],
        Some(Base { kind, hook, priority, policy }) => [
            ("type", Some(kind.into())),
            ("hook", Some(hook.into())),
            ("prio", Some(priority.into())),
            ("policy", Some(policy.into())),
        ],
    };
    let shown = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), ToString::to_string);
    let differs = |(key, expected): &(&str, Option<Value>)| {
        let found = object.get(*key);
        let key = if *key == "prio" { "priority" } else { *key };
        (found != expected.as_ref()).then(|| {
            let (found, expected) = (shown(found), shown(expected.as_ref()));
            let cause = format!("the {key} of chain `{}` is {found} and must be {expected}", chain.name);
            finding(does_not_hold(&chain.promise), cause)
        })
    };
    expected.iter().filter_map(differs).collect()
}

impl Rule {
    /// As it is listed.
    fn statements(&self) -> Vec<Value> {
        self.clauses.iter().flat_map(|clause| clause.json.iter().cloned()).map(sorted).collect()
    }
}

/// The statements of a listed rule that do something.
fn statements(rule: &Value) -> Vec<Value> {
    let all = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
    // An anonymous counter only counts.
    all.into_iter().filter(|statement| statement.get("counter").is_none()).map(sorted).collect()
}

/// A statement whose sets are in one order.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            for (key, inside) in map.iter_mut() {
                *inside = sorted(inside.take());
                if key == "set"
                    && let Some(members) = inside.as_array_mut()
                {
                    members.sort_by_cached_key(Value::to_string);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inside| *inside = sorted(inside.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

/// A foreign rule that can lead packets of a sandbox past our hooks.
///
/// An accept elsewhere lifts no drop of ours, and what another table rewrites still meets our input and forward chains. What
/// is left is what sends a packet on by itself, and what takes it out of connection tracking.
fn passes_by(rule: &Value, ours: &impl Fn(&str) -> bool) -> Option<Finding> {
    const AROUND: [&str; 5] = ["fwd", "dup", "flow", "notrack", "synproxy"];
    let all = rule.get("expr").and_then(Value::as_array)?;
    let named = |statement: &Value| {
        // A bare word is a statement without arguments.
        let word = statement.as_str();
        let around = AROUND.iter().find(|name| statement.get(**name).is_some() || word == Some(**name));
        let tee = statement.get("xt").is_some_and(|xt| xt.to_string().contains("TEE")).then_some(&"TEE");
        let rewritten = statement.get("mangle").and_then(|mangle| mangle.get("key"));
        let rewritten =
            rewritten.is_some_and(|key| key.get("payload").is_some()).then_some(&"a rewritten header");
        around.or(tee).or(rewritten).copied()
    };
    let how = all.iter().find_map(named)?;
    // One that is for another interface only is none of our business.
    let elsewhere = all.iter().any(|statement| {
        let Some(part) = statement.get("match") else { return false };
        let key = part.pointer("/left/meta/key").and_then(Value::as_str);
        let name = part.get("right").and_then(Value::as_str);
        part.get("op").and_then(Value::as_str) == Some("==")
            && key == Some("iifname")
            && name.is_some_and(|name| !name.ends_with('*') && !ours(name))
    });
    if elsewhere {
        return None;
    }
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or("?");
    Some(Finding {
        problem: format!("packets may pass beside the rules: {how}"),
        cause: format!("a rule of chain `{}` in table `{} {}`", text("chain"), text("family"), text("table")),
        cure: "remove that rule, or confine it with `iifname` to an interface that is no sandbox's"
            .to_owned(),
    })
}
