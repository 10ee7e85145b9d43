//! Corpus files: policies with questions, and the verdict, rule and reason that each must get.
//!
//! ```yaml
//! policy: policies/limited.yaml        # a file or directory, or a list of documents
//! questions:
//!   - {target: "pypi.org:443", expect: {verdict: allow}}
//!   - {target: "evil.example:443", expect: {verdict: deny, reason: default_deny}}
//! ```
//! | question | means |
//! |---|---|
//! | `target` | `host:port` |
//! | `sandbox`, `group` | who asks; `default` and none |
//! | `method`, `path` | a request; without them the verdict may be `open` |
//! | `sni` | the server name of the TLS inside; empty: there is none |
//! | `redirected` | the client knows no proxy, and was redirected on its way to the target |
//! | `address` | what the name resolves to |
//! | `secure` | whether the request is over TLS; on port 443 unless it says otherwise |
//!
//! | expected besides `verdict`, `reason`, `policy`, `rule`, `would_deny` | means |
//! |---|---|
//! | `decrypted` | whether TLS to the target is decrypted |
//! | `headers` | what happens to headers, in order: `[Set authorization, Remove cookie]` |
//! | `secrets` | the secrets that go with the request, by name: `[github/token]` |
//! | `rewritten` | where the request goes instead: `https://other.test:443/v2` |
//! | `route`, `network` | the path: `managed` or `delegated`, and the name of its network |
//! | `managed_by` | what puts the name on the managed path: `managedPath.packageRegistries.pypi`, `platform` |
//! | `security_rule` | the entry of `securityRules` that allows the address: `securityRules[0] web` |
//! | `skip` | whether some document that applies is not asked |
//!
//! Beside `policy` and `questions`, `operator` is what the process configuration says:
//!
//! | of `operator` | means |
//! |---|---|
//! | `platformHosts` | the hosts that take the managed path whatever a document says |
//! | `skipEgressProxy` | `Permitted`: documents may say that no rule is asked |
//! | `networks` | `managed` and those that may be delegated to, each `{resolve: Remote, groups: […]}`; without it any may be |

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::addr::{Name, Port, Target};
use crate::explain::{Answer, Question, answer};
use crate::live::store::Store;
use crate::policy::category::CategoryLists;
use crate::policy::document::{self, Inline};
use crate::policy::{Draft, Guards, PolicySet, Reason, SecretSet};
use crate::source::{self, Decoder, Place, Problem, Spot};
use crate::wire::path;

mod operator;

/// What a question must get.
#[derive(Debug, Clone, Default)]
struct Expected {
    verdict: String,
    reason: Option<String>,
    policy: Option<String>,
    rule: Option<String>,
    would_deny: Option<String>,
    decrypted: Option<bool>,
    headers: Option<String>,
    secrets: Option<String>,
    rewritten: Option<String>,
    route: Option<String>,
    network: Option<String>,
    managed_by: Option<String>,
    security_rule: Option<String>,
    skip: Option<bool>,
}

/// What one question got.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where the question stands.
    pub place: Place,
    /// Its target.
    pub target: String,
    /// What was expected and not found: field, expected, found.
    pub differences: Vec<(&'static str, String, String)>,
}

impl Outcome {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.differences.is_empty()
    }

    /// The outcome for programs.
    #[must_use]
    pub fn as_json(&self) -> Value {
        let differences = self
            .differences
            .iter()
            .map(|(field, expected, found)| json!({"field": field, "expected": expected, "found": found}));
        json!({
            "place": self.place.to_string(),
            "target": self.target,
            "differences": differences.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.target)?;
        for (field, expected, found) in &self.differences {
            write!(f, "\n  {field}: expected {expected}, found {found}")?;
        }
        Ok(())
    }
}

/// Runs a corpus file.
///
/// # Errors
/// Every problem of the file, or of a policy that it names.
pub fn run(name: &str, text: &str) -> Result<Vec<Outcome>, Vec<Problem>> {
    let file: Arc<str> = name.into();
    let nodes = source::parse(&file, text)?;
    let decoder = Decoder::new(&file);
    let mut outcomes = Vec::new();
    for node in &nodes {
        let spot = decoder.root(node);
        let Some(fields) = spot.fields(&["policy", "operator", "questions"]) else { continue };
        let (Some(policy), Some(questions)) = (fields.require("policy"), fields.require("questions")) else {
            continue;
        };
        let guards = fields.get("operator").map(|spot| operator::guards(&spot)).unwrap_or_default();
        let policies = policies(&policy, guards);
        let Some(policies) = policies else { continue };
        outcomes.extend(questions.each(|question| ask(&policies, &question)));
    }
    if decoder.errors() > 0 { Err(decoder.into_problems()) } else { Ok(outcomes) }
}

/// The policies that the questions are about.
fn policies(spot: &Spot<'_>, guards: Guards) -> Option<PolicySet> {
    let guards = Arc::new(guards);
    let (policies, problems, sound) = if spot.is_text() {
        let loaded = Store::new(PathBuf::from(spot.text()?), None).load(&guards, None)?;
        let sound = !loaded.has_errors();
        (loaded.policies, loaded.problems, sound)
    } else {
        let (mut documents, mut secrets) = (Vec::new(), Vec::new());
        for found in spot.each(|spot| document::inline(&spot)) {
            match found {
                Inline::Policy(document) => documents.push(document),
                Inline::Secret(secret) => secrets.push(Arc::new(secret)),
            }
        }
        let (secrets, wrong) = SecretSet::settle(&secrets, None, None);
        let mut draft =
            Draft::new(&CategoryLists::shipped(), None, None).with_secrets(Arc::new(secrets)).under(&guards);
        for document in &documents {
            draft.compile(document);
        }
        let (policies, mut problems) = draft.finish(guards);
        problems.extend(wrong);
        // Documents that a higher one does not permit are compiled all the same: `policy_error` is an answer.
        let sound = policies.documents().len() == documents.len();
        (policies, problems, sound)
    };
    if !sound {
        problems.into_iter().filter(Problem::is_error).for_each(|problem| spot.decoder().report(problem));
    }
    sound.then_some(policies)
}

/// Asks one question and compares.
fn ask(policies: &PolicySet, spot: &Spot<'_>) -> Option<Outcome> {
    let fields = spot.fields(&[
        "target",
        "sandbox",
        "group",
        "method",
        "path",
        "sni",
        "redirected",
        "address",
        "secure",
        "expect",
    ])?;
    let text = |name| fields.get(name).and_then(|spot| spot.text());
    let target = fields.require("target")?.text()?;
    let expected = expected(&fields.require("expect")?)?;
    let sandbox = text("sandbox").unwrap_or("default");
    let group = text("group").map(Arc::from).or_else(|| policies.group_of(sandbox));
    let address = match fields.get("address") {
        None => None,
        Some(spot) => Some(address(&spot)?),
    };
    let request = match (text("method"), text("path")) {
        (None, None) => None,
        (method, path) => Some((method.unwrap_or("GET").to_owned(), canonical(path.unwrap_or("/"), spot)?)),
    };
    let tls = match text("sni") {
        None => None,
        Some("") => Some(None),
        Some(name) => Some(Some(server_name(name, spot)?)),
    };
    let redirected = fields.get("redirected").and_then(|spot| spot.boolean()).unwrap_or(false);
    let secure = fields.get("secure").and_then(|spot| spot.boolean());
    let asked = request.is_some();
    let found = match Target::parse(target) {
        Err(_) => Found { verdict: "deny", reason: Some(Reason::BadRequest.as_str()), ..Found::default() },
        Ok(target) => {
            let policy = policies.policy_for(sandbox, group.as_deref(), false);
            let secure = secure.unwrap_or(target.port() == Port::HTTPS || tls.is_some());
            Found::new(
                &answer(&policy, &Question { target, request, address, tls, redirected, secure }),
                asked,
            )
        }
    };
    Some(Outcome {
        place: spot.place(),
        target: target.to_owned(),
        differences: expected.differences(&found),
    })
}

/// An address.
fn address(spot: &Spot<'_>) -> Option<IpAddr> {
    let text = spot.text()?;
    text.parse().map_err(|_| spot.error(format!("`{text}` is not an IP address"))).ok()
}

/// A path in canonical form.
fn canonical(path: &str, spot: &Spot<'_>) -> Option<String> {
    path::canonicalise(path).map(Into::into).map_err(|error| spot.error(error.to_string())).ok()
}

/// A server name.
fn server_name(name: &str, spot: &Spot<'_>) -> Option<Name> {
    Name::parse(name).map_err(|error| spot.error(error.to_string())).ok()
}

/// What a question must get.
fn expected(spot: &Spot<'_>) -> Option<Expected> {
    let fields = spot.fields(&[
        "verdict",
        "reason",
        "policy",
        "rule",
        "would_deny",
        "decrypted",
        "headers",
        "secrets",
        "rewritten",
        "route",
        "network",
        "managed_by",
        "security_rule",
        "skip",
    ])?;
    let text = |name| fields.get(name).and_then(|spot| spot.text()).map(str::to_owned);
    let texts = |name| {
        let all = fields.get(name)?.each(|item| item.text().map(str::to_owned));
        Some(listed(&all))
    };
    let verdict =
        fields.require("verdict")?.choice(&[("allow", "allow"), ("deny", "deny"), ("open", "open")])?;
    Some(Expected {
        verdict: verdict.to_owned(),
        reason: text("reason"),
        policy: text("policy"),
        rule: text("rule"),
        would_deny: text("would_deny"),
        decrypted: fields.get("decrypted").and_then(|spot| spot.boolean()),
        headers: texts("headers"),
        secrets: texts("secrets"),
        rewritten: text("rewritten"),
        route: text("route"),
        network: text("network"),
        managed_by: text("managed_by"),
        security_rule: text("security_rule"),
        skip: fields.get("skip").and_then(|spot| spot.boolean()),
    })
}

/// Texts as one, in brackets.
fn listed(texts: &[String]) -> String {
    format!("[{}]", texts.join(", "))
}

/// A truth in words.
const fn yes(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

/// What a question got, in the words of a corpus file.
#[derive(Debug, Default)]
struct Found {
    verdict: &'static str,
    reason: Option<&'static str>,
    policy: Option<String>,
    rule: Option<String>,
    would_deny: Option<&'static str>,
    decrypted: Option<bool>,
    headers: String,
    secrets: String,
    rewritten: Option<String>,
    route: &'static str,
    network: String,
    managed_by: Option<String>,
    security_rule: Option<String>,
    skip: bool,
}

impl Found {
    /// An answer; without a request, a verdict that hangs on one is `open`.
    fn new(answer: &Answer, asked: bool) -> Self {
        let open = !asked && answer.hangs_on.is_some();
        Self {
            verdict: if open { "open" } else { answer.verdict },
            reason: answer.reason.filter(|_| !open),
            policy: answer.policy.as_deref().map(str::to_owned),
            rule: answer.rule_id.map(|rule| rule.to_string()),
            would_deny: answer.would_deny.as_ref().map(|reported| reported.reason),
            decrypted: answer.decrypted,
            headers: listed(&answer.headers),
            secrets: listed(&answer.secrets),
            rewritten: answer.rewritten.clone(),
            route: answer.route,
            network: answer.network.to_string(),
            managed_by: answer.managed_by.clone(),
            security_rule: answer.security_rule.clone(),
            skip: answer.skip,
        }
    }
}

impl Expected {
    /// Every field that was expected and is otherwise.
    fn differences(&self, found: &Found) -> Vec<(&'static str, String, String)> {
        let fields = [
            ("verdict", Some(self.verdict.as_str()), Some(found.verdict)),
            ("reason", self.reason.as_deref(), found.reason),
            ("policy", self.policy.as_deref(), found.policy.as_deref()),
            ("rule", self.rule.as_deref(), found.rule.as_deref()),
            ("would_deny", self.would_deny.as_deref(), found.would_deny),
            ("decrypted", self.decrypted.map(yes), found.decrypted.map(yes)),
            ("headers", self.headers.as_deref(), Some(found.headers.as_str())),
            ("secrets", self.secrets.as_deref(), Some(found.secrets.as_str())),
            ("rewritten", self.rewritten.as_deref(), found.rewritten.as_deref()),
            ("route", self.route.as_deref(), Some(found.route)),
            ("network", self.network.as_deref(), Some(found.network.as_str())),
            ("managed_by", self.managed_by.as_deref(), found.managed_by.as_deref()),
            ("security_rule", self.security_rule.as_deref(), found.security_rule.as_deref()),
            ("skip", self.skip.map(yes), Some(yes(found.skip))),
        ];
        let differs =
            fields.into_iter().filter(|(_, expected, found)| expected.is_some() && expected != found);
        differs
            .map(|(field, expected, found)| {
                (field, expected.unwrap_or_default().to_owned(), found.unwrap_or("none").to_owned())
            })
            .collect()
    }
}
