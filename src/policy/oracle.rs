//! Policies and questions near each other, and whether the compiled decision is the naive one.
//!
//! Not part of the program: tests, `benches/soak.rs` and `fuzz/fuzz_targets/decision.rs` use it, the last two by the
//! feature `oracle`. A [`Case`] is drawn from [`Choices`], which are a seed's or a fuzzer's; names, patterns, networks
//! and paths are made from each other so that they collide. [`Case::compare`] asks everything of both.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::category::CategoryLists;
use super::document::{self, Document, Secret};
use super::naive::{Answer, Naive, Said, Where};
use super::network::Networks;
use super::plan::{Change, EditValue};
use super::{Denial, Draft, Guards, Policy, PolicySet, RequestFacts, RequestPermit, SecretSet, TargetPermit};
use crate::addr::{Name, Target};
use crate::source::Problem;

mod draw;

pub use draw::Choices;
use draw::{ALPHABETS, Drawer, LISTED, LITERALS, METHODS, PORTS, TURNS};

/// A policy and questions about it.
#[derive(Debug)]
pub struct Case {
    /// Of each document the kind of scope and the spec in flow style.
    layers: Vec<(&'static str, String)>,
    /// The operator's lists: exempt, own, sockets.
    lists: [Vec<&'static str>; 3],
    /// The operator's platform hosts, and whether documents may skip their rules.
    platform: Vec<&'static str>,
    skip_permitted: bool,
    targets: Vec<String>,
    requests: Vec<(&'static str, String)>,
    addresses: Vec<IpAddr>,
}

impl Case {
    /// Draws a policy of one to three documents, and questions near it.
    #[must_use]
    pub fn draw(choices: &mut Choices<'_>) -> Self {
        let alphabet = choices.pick(&ALPHABETS);
        let mut drawer = Drawer { choices, alphabet, names: Vec::new(), nets: Vec::new() };
        let scopes: &[&'static str] = drawer.choices.pick(&[
            &["Global"][..],
            &["Global", "Group", "Sandbox"],
            &["Global", "Sandbox"],
            &["Group", "Sandbox"],
            &["Sandbox"],
        ]);
        let layers = scopes.iter().map(|scope| (*scope, drawer.spec(*scope != "Sandbox"))).collect();
        let lists = [
            drawer.operator(&["127.0.0.0/8", "10.0.0.0/24", "64:ff9b::/96", "8.8.8.8/32"]),
            drawer.operator(&["8.8.4.4/32", "2606:4700::1/128"]),
            drawer.operator(&["0.0.0.0:8443", "[::]:443", "8.8.8.8:25"]),
        ];
        let platform = drawer.operator(&["*.example", "a", "b.a:443", "*.a.b", "pypi.org"]);
        let skip_permitted = drawer.choices.below(3) > 0;
        let mut target = || {
            let host = match drawer.choices.below(12) {
                0 | 1 => drawer.choices.pick(&LITERALS).to_owned(),
                2 => drawer.choices.pick(&LISTED).to_owned(),
                _ => drawer.name(),
            };
            format!("{host}:{}", drawer.port())
        };
        let targets = (0..24).map(|_| target()).collect();
        let requests = (0..12).map(|at| (METHODS[at % METHODS.len()], drawer.path())).collect();
        let addresses = drawer.addresses();
        Self { layers, lists, platform, skip_permitted, targets, requests, addresses }
    }

    /// Asks every question of both, and counts them.
    ///
    /// # Errors
    /// The first question that they answer differently.
    ///
    /// # Panics
    /// When a question that was drawn is none.
    pub fn compare(&self) -> Result<u64, Box<Difference>> {
        let (documents, problems) = self.documents();
        let difference = |question: String, real: String, naive: String| {
            Box::new(Difference { case: self.to_string(), question, real, naive })
        };
        if let Some(problem) = problems.first() {
            return Err(difference(String::new(), problem.to_string(), "a policy that loads".to_owned()));
        }
        let naive = Naive::new(&documents, &self.lists).under(&self.platform, self.skip_permitted);
        let secrets = secrets();
        let own = Arc::new(SecretSet::settle(&secrets, None, None).0);
        let mut draft = Draft::new(&CategoryLists::shipped(), None, None).with_secrets(own);
        for document in &documents {
            draft.compile(document);
        }
        let (set, problems) = draft.finish(Arc::new(self.guards()));
        if let Some(problem) = problems.iter().find(|problem| problem.is_error()) {
            return Err(difference(String::new(), problem.to_string(), "a policy that loads".to_owned()));
        }
        let real = set.policy_for("sbx", Some("grp"), false);
        let mut asked = 0;
        let none = String::new;
        let mut check = |real: (Answer, String), naive: (Answer, String), question: &dyn Fn() -> String| {
            asked += 1;
            if real == naive {
                return Ok(());
            }
            Err(difference(question(), format!("{real:?}"), format!("{naive:?}")))
        };
        for text in &self.targets {
            let (target, (host, port)) = (text.parse().unwrap(), place(text));
            let first = (a(&real, &target), way(&real, &target));
            let path = naive.route(&host, port).unwrap_or_else(|| "managed".to_owned());
            let path = format!("{path}{}", if naive.is_skipped() { ", skipped" } else { "" });
            check(first, (naive.ask(&host, port, None), path), &|| format!("target: \"{text}\""))?;
            if let Some(name) = target.host().name() {
                let denied = |port: &u16| matches!(naive.ask(&host, *port, None).said, Said::Deny(_));
                let any = if TURNS.iter().all(denied) { "denied" } else { "allowed" };
                check_query(&real, name, any).map_err(|real| {
                    difference(format!("query: \"{name}\""), real.to_owned(), any.to_owned())
                })?;
            }
            let permit = free(&target);
            for (method, path) in &self.requests {
                for secure in [true, false] {
                    let expected = naive.sent(&secrets, (&host, port), (method, path), secure);
                    check(sent(&real, &permit, method, path, secure), expected, &|| {
                        format!("target: \"{text}\", method: {method}, path: \"{path}\", secure: {secure}")
                    })?;
                }
            }
        }
        for port in PORTS {
            for text in ["a", "8.8.8.8"].map(|host| format!("{host}:{port}")) {
                let (target, (host, _)) = (text.parse().unwrap(), place(&text));
                let permit = routed(&real, &target);
                let delegated = naive.route(&host, port).is_some();
                for address in &self.addresses {
                    let judged = (b(&real, &permit, *address), none());
                    check(judged, (naive.address(*address, port, delegated), none()), &|| {
                        format!("target: \"{text}\", address: \"{address}\"")
                    })?;
                }
            }
        }
        Ok(asked)
    }

    /// Asks of every target which path a call takes, what A says, and what B says of each address: the number of pairs of a
    /// policy and a target, and how many of them are delegated.
    ///
    /// # Errors
    /// The first question that the two answer differently.
    ///
    /// # Panics
    /// When a question that was drawn is none.
    pub fn compare_paths(&self) -> Result<(u64, u64), Box<Difference>> {
        let (documents, _) = self.documents();
        let naive = Naive::new(&documents, &self.lists).under(&self.platform, self.skip_permitted);
        let mut draft = Draft::new(&CategoryLists::shipped(), None, None)
            .with_secrets(Arc::new(SecretSet::settle(&secrets(), None, None).0));
        for document in &documents {
            draft.compile(document);
        }
        let real = draft.finish(Arc::new(self.guards())).0.policy_for("sbx", Some("grp"), false);
        let (mut pairs, mut delegated) = (0, 0);
        for text in &self.targets {
            let (target, (host, port)) = (text.parse().unwrap(), place(text));
            let route = naive.route(&host, port);
            pairs += 1;
            delegated += u64::from(route.is_some());
            let permit = routed(&real, &target);
            let said = |addresses: Vec<Answer>, a, network: &str| format!("{network} {a:?} {addresses:?}");
            let network = route.as_deref().unwrap_or("managed");
            let own = self.addresses.iter().map(|ip| naive.address(*ip, port, route.is_some()));
            let expected = said(own.collect(), naive.ask(&host, port, None), network);
            let found = self.addresses.iter().map(|ip| b(&real, &permit, *ip));
            let found = said(found.collect(), a(&real, &target), permit.route().network());
            if found != expected {
                let question = format!("target: \"{text}\"");
                return Err(Box::new(Difference {
                    case: self.to_string(),
                    question,
                    real: found,
                    naive: expected,
                }));
            }
        }
        Ok((pairs, delegated))
    }

    /// The documents, and the errors in them.
    fn documents(&self) -> (Vec<Arc<Document>>, Vec<Problem>) {
        let mut documents = Vec::new();
        let mut problems = Vec::new();
        for (scope, spec) in &self.layers {
            let parsed = document::parse(&"oracle.yaml".into(), &text(scope, spec));
            problems.extend(parsed.problems.into_iter().filter(Problem::is_error));
            documents.extend(parsed.documents.into_iter().map(Arc::new));
        }
        (documents, problems)
    }

    /// The guards of the operator's lists.
    fn guards(&self) -> Guards {
        let platform = self.platform.iter().map(|text| text.parse().unwrap()).collect();
        let networks = Networks { platform, ..Networks::default() };
        Guards { networks, skip_permitted: self.skip_permitted, ..guards(&self.lists) }
    }
}

/// Whether a query is answered as it should be; if not, how it is.
fn check_query(policy: &Policy, name: &Name, expected: &str) -> Result<(), &'static str> {
    let answer = if policy.admit_query(name).is_ok() { "allowed" } else { "denied" };
    if answer == expected { Ok(()) } else { Err(answer) }
}

/// The guards of an operator's lists: exempt, own, sockets.
pub(super) fn guards([exempt, own, sockets]: &[Vec<&'static str>; 3]) -> Guards {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
    let sockets = sockets.iter().map(|socket| socket.parse().unwrap()).collect();
    Guards { exempt: nets(exempt), own: nets(own), sockets, ..Guards::default() }
}

/// The text of one document.
fn text(scope: &str, spec: &str) -> String {
    let named = match scope {
        "Global" => "",
        "Group" => ", group: grp",
        _ => ", group: grp, sandbox: sbx",
    };
    format!("kind: EgressPolicy\nmetadata: {{name: {}-doc{named}}}\nspec: {spec}\n", scope.to_lowercase())
}

/// As a document of `tests/corpus`, without its questions.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [exempt, own, sockets] = &self.lists;
        writeln!(f, "# guards: {{exempt: {exempt:?}, self: {own:?}, sockets: {sockets:?}}}")?;
        writeln!(f, "# platform: {:?}, skipEgressProxy: {}", self.platform, self.skip_permitted)?;
        writeln!(f, "policy:")?;
        for (scope, spec) in &self.layers {
            for (at, line) in text(scope, spec).lines().enumerate() {
                writeln!(f, "  {} {line}", if at == 0 { '-' } else { ' ' })?;
            }
        }
        Ok(())
    }
}

/// A question that the two answer differently.
#[derive(Debug)]
pub struct Difference {
    case: String,
    question: String,
    real: String,
    naive: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, question, real, naive } = self;
        writeln!(f, "{case}questions:\n  - {{{question}}}")?;
        write!(f, "# the compiled policy: {real}\n# the naive one:       {naive}")
    }
}

/// A target's host as the naive policy takes it.
pub(super) fn place(text: &str) -> (Where, u16) {
    let (host, port) = text.rsplit_once(':').unwrap();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    (ip.map_or_else(|_| Where::Name(host.to_owned()), Where::Ip), port.parse().unwrap())
}

/// A real answer in the naive one's words.
fn answer(result: Result<(Said, Option<Denial>), Denial>) -> Answer {
    let by = |denial: &Denial| denial.cause().map(|cause| cause.scope().kind());
    match result {
        Ok((said, would)) => {
            let would_deny = would.map(|denial| (denial.reason(), by(&denial).unwrap()));
            Answer { said, scope: None, would_deny }
        }
        Err(denial) => Answer { said: Said::Deny(denial.reason()), scope: by(&denial), would_deny: None },
    }
}

/// Question A.
pub(super) fn a(policy: &Policy, target: &Target) -> Answer {
    answer(policy.admit(target).map(|permit| {
        let said = if permit.open().is_some() { Said::Open } else { Said::Allow };
        (said, permit.would_deny().cloned())
    }))
}

/// A permit for any target, to ask the other questions with.
pub(super) fn free(target: &Target) -> TargetPermit {
    static OPEN: LazyLock<Policy> = LazyLock::new(|| {
        let parsed = document::parse(&"open.yaml".into(), &text("Global", "{mode: Unrestricted}"));
        let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
        let (set, _) = PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None);
        set.policy_for("sbx", None, false)
    });
    OPEN.admit(target).unwrap()
}

/// The same for the path that a call takes.
pub(super) fn routed(policy: &Policy, target: &Target) -> TargetPermit {
    TargetPermit { route: policy.route(target), ..free(target) }
}

/// The network of a call, and whether it counts as skipped.
fn way(policy: &Policy, target: &Target) -> String {
    let skipped = if policy.is_skipped() { ", skipped" } else { "" };
    format!("{}{skipped}", policy.route(target).network())
}

/// Question C, whatever A says.
#[cfg(test)]
pub(super) fn c(policy: &Policy, permit: &TargetPermit, method: &str, path: &str) -> Answer {
    let request = policy.admit_request(permit, &RequestFacts { method, path, secure: false });
    answer(request.map(|permit| (Said::Allow, permit.would_deny().cloned())))
}

/// The same with what becomes of the request: its edits, and where it goes instead.
fn sent(policy: &Policy, permit: &TargetPermit, method: &str, path: &str, secure: bool) -> (Answer, String) {
    let request = policy.admit_request(permit, &RequestFacts { method, path, secure });
    let mut words = String::new();
    let request = request.map(|mut request| {
        words = told(&mut request, path);
        (Said::Allow, request.would_deny().cloned())
    });
    (answer(request), words)
}

/// What becomes of a permitted request.
fn told(permit: &mut RequestPermit, path: &str) -> String {
    let value = |value: &EditValue| match value {
        EditValue::Text(text) => text.to_string(),
        EditValue::Secret(used) => format!("<{}>", used.name),
    };
    let edits = permit.plan().edits().iter().map(|edit| match &edit.change {
        Change::Set(text) => format!("{}={}", edit.name, value(text)),
        Change::Insert(text) => format!("{}?{}", edit.name, value(text)),
        Change::Remove => format!("-{}", edit.name),
    });
    let mut words: Vec<String> = edits.collect();
    words.extend(
        permit.rewritten().map(|new| format!("{} by {}", new.url(path), new.permit.route().network())),
    );
    words.join(" ")
}

/// The secrets of every case: of two names, each once for all and once for the group.
fn secrets() -> Vec<Arc<Secret>> {
    let secret = |about: &str, spec: &str| format!("kind: Secret\nmetadata: {{{about}}}\nspec: {{{spec}}}\n");
    let text = [
        secret("name: bare", "keys: {k: {env: K}}"),
        secret("name: bare, group: grp", "keys: {g: {env: K}}"),
        secret(
            "name: bound",
            "keys: {k: {env: K}, l: {env: L}}, hosts: [a, b, \"*.a\", \"*.b:443\", \"*.x\", 8.8.8.8]",
        ),
        secret(
            "name: bound, group: grp",
            "keys: {k: {env: K}, l: {env: L}}, hosts: [\"*.b\", \"a*.*\", \"*.example\"]",
        ),
        secret("name: foreign, group: other", "keys: {k: {env: K}}"),
    ];
    let parsed = document::parse(&"secrets.yaml".into(), &text.join("---\n"));
    parsed.secrets.into_iter().map(Arc::new).collect()
}

/// Question B, whatever A says.
pub(super) fn b(policy: &Policy, permit: &TargetPermit, address: IpAddr) -> Answer {
    let judged = policy.admit_address(permit, address);
    answer(judged.map(|permit| (Said::Allow, permit.would_deny().cloned())))
}
