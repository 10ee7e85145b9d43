//! A policy file as written: typed, strict, with every problem at once.
//!
//! Nothing is decided here. A document that says anything this version cannot do, or says it in a way that could be
//! misread, does not load; what loads is what the author wrote.
//!
//! | document | is |
//! |---|---|
//! | a mapping without `kind` | the `spec` of a Global policy named after its file |
//! | `kind: EgressPolicy` | a policy for a scope |
//! | `kind: Secret` | where values come from, never the values |
//! | `kind: CategoryList` | replaces the shipped list of categories |
//! | an empty file, `null`, a list, a scalar | a problem |

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::category::{self, CategoryList};
use super::limit::Limits;
use super::mode::{Action, Enforcement, Inspection, Mode, Scope};
use super::path_pattern::PathPattern;
use super::pattern::Pattern;
use super::port_set::PortSet;
use crate::source::{Decoder, Place, Problem, Spot, read};

pub(crate) mod change;
pub(crate) mod destination;
pub(crate) mod header;
pub(crate) mod key_source;
pub(crate) mod limit;
pub(crate) mod metadata;
pub(crate) mod rule;
pub(crate) mod secret;
pub(crate) mod spec;
pub(crate) mod transform;
pub(crate) mod unbuilt;
pub(crate) mod vnet;

pub use change::{Changes, HeaderChange, HeaderEdit, HeaderValue, IdentityRef, NewPlace, SecretRef};
pub use destination::network;
pub use secret::{
    ClientCredentials, GithubApp, KeySource, ManagedIdentity, Scrub, Secret, SecretKey, SecretSource,
};
pub use vnet::{ManagedHost, ManagedPath, Protocol, SecurityRule, Toggle, Vnet};

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "sluicegate/v1";
/// The longest name of a document, group, sandbox, rule or secret, in characters.
pub const LONGEST_NAME: usize = 128;

/// What was read of one file.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The policies that decoded.
    pub documents: Vec<Document>,
    /// The secrets that decoded.
    pub secrets: Vec<Secret>,
    /// The category lists that decoded.
    pub lists: Vec<CategoryList>,
    /// The documents that did not; their scope where it is known.
    pub failed: Vec<Option<Scope>>,
    /// Everything that is wrong, warnings too.
    pub problems: Vec<Problem>,
}

/// One policy.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its name in records and answers.
    pub name: Arc<str>,
    /// Whom it applies to.
    pub scope: Scope,
    /// Whether it takes the policy of this scope away.
    pub removed: bool,
    /// Where it begins.
    pub place: Place,
    /// What it says. Of a removed document without a `spec`: Limited and empty.
    pub spec: Spec,
}

/// What a policy says, `policy.md` §2.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The egress mode.
    pub mode: Mode,
    /// What happens to a destination that no rule mentions; follows from the mode.
    pub default_action: Action,
    /// By name.
    pub host_rules: Vec<HostRule>,
    /// By the address really dialled.
    pub cidr_rules: Vec<CidrRule>,
    /// Ordered; the first match decides.
    pub rules: Vec<Rule>,
    /// Bounds every Allow but those of `cidr_rules` and of patterns with a port. None: by `default_action`.
    pub ports: Option<PortSet>,
    /// Shipped lists of Allow patterns.
    pub categories: Vec<CategoryUse>,
    /// The version of the list that was reviewed.
    pub categories_version: Option<u32>,
    /// What of TLS is decrypted.
    pub inspection: Inspection,
    /// Whether its Deny is carried out.
    pub enforcement: Enforcement,
    /// Bounds on lower documents.
    pub constraints: Constraints,
    /// How much one sandbox may use.
    pub limits: Limits,
    /// The network that calls are delegated to; in force in mode `VNet` only.
    pub vnet: Option<Vnet>,
    /// Where it asks that rules are not asked (`skipEgressProxy: true`).
    pub skip: Option<Place>,
}

/// One `hostRules` entry.
#[derive(Debug, Clone)]
pub struct HostRule {
    /// The hosts.
    pub pattern: Pattern,
    /// What happens to them.
    pub action: Action,
    /// Where it is written.
    pub place: Place,
}

/// One `cidrRules` entry.
#[derive(Debug, Clone)]
pub struct CidrRule {
    /// The addresses; host bits are zero, and an IPv6 network is not an IPv4 one in disguise.
    pub net: IpNet,
    /// What happens to them.
    pub action: Action,
    /// The ports it is about; None: any.
    pub ports: Option<PortSet>,
    /// Where it is written.
    pub place: Place,
}

/// One `rules` entry.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name in records.
    pub name: Option<Arc<str>>,
    /// The hosts.
    pub host: Pattern,
    /// The paths; None: any.
    pub path: Option<PathPattern>,
    /// The methods, case-sensitive; None: any.
    pub methods: Option<Box<[Box<str>]>>,
    /// What happens.
    pub action: RuleAction,
    /// What a `Transform` or `Rewrite` does.
    pub changes: Option<Arc<Changes>>,
    /// Where it is written.
    pub place: Place,
}

/// What a `rules` entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Let it pass.
    Allow,
    /// Refuse it.
    Deny,
    /// Let it pass with other headers.
    Transform,
    /// Let it pass to another place.
    Rewrite,
}

/// A category or a part of one, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryUse {
    /// The category.
    pub category: Arc<str>,
    /// One part of it; None: all that are safe to take as a whole.
    pub part: Option<Arc<str>>,
    /// Where it is written.
    pub place: Place,
}

/// Bounds on lower documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Constraints {
    /// The widest mode.
    pub max_mode: Option<Mode>,
    /// The weakest inspection.
    pub min_inspection: Option<Inspection>,
    /// Whether lower documents may not open a managed path.
    pub managed_path_forbidden: bool,
    /// Whether lower documents may skip the rules.
    pub skip_permitted: bool,
}

impl Spec {
    /// The spec that allows nothing.
    #[must_use]
    pub const fn closed() -> Self {
        Self {
            mode: Mode::Limited,
            default_action: Action::Deny,
            host_rules: Vec::new(),
            cidr_rules: Vec::new(),
            rules: Vec::new(),
            ports: None,
            categories: Vec::new(),
            categories_version: None,
            inspection: Inspection::Partial,
            enforcement: Enforcement::Enforce,
            constraints: Constraints {
                max_mode: None,
                min_inspection: None,
                managed_path_forbidden: false,
                skip_permitted: false,
            },
            limits: Limits::NONE,
            vnet: None,
            skip: None,
        }
    }
}

/// Reads one file. A bare document is Global and named after the file's stem.
#[must_use]
pub fn parse(file: &Arc<str>, text: &str) -> Parsed {
    let stream = read(file, text);
    let decoder = Decoder::new(file);
    let mut parsed = Parsed { problems: stream.problems, ..Parsed::default() };
    for _ in 0..stream.lost {
        parsed.failed.push(None);
    }
    if stream.documents.is_empty() && stream.lost == 0 {
        let problem = Problem::error("the file is empty").at(start(file));
        decoder.report(
            problem.cure("write a policy; to take one away, write `metadata: {removed: true}` in it"),
        );
        parsed.failed.push(None);
    }
    for root in &stream.documents {
        let before = decoder.errors();
        let spot = decoder.root(&root.node);
        let (scope, found) = document(&spot);
        let sound = root.sound && decoder.errors() == before;
        match found {
            Some(found) if sound => parsed.take(found),
            Some(_) | None => parsed.failed.push(scope.filter(|_| !root.ambiguous)),
        }
    }
    parsed.problems.extend(decoder.into_problems());
    parsed
}

/// A document that stands inside another file.
#[derive(Debug)]
pub enum Inline {
    /// A policy.
    Policy(Box<Document>),
    /// A secret.
    Secret(Secret),
}

/// Reads a policy or secret that stands inside another file; what is wrong with it is reported to the spot's decoder.
#[must_use]
pub fn inline(spot: &Spot<'_>) -> Option<Inline> {
    match document(spot) {
        (_, Some(Decoded::Policy(document))) => Some(Inline::Policy(document)),
        (_, Some(Decoded::Secret(secret))) => Some(Inline::Secret(secret)),
        (_, Some(Decoded::List(_)) | None) => None,
    }
}

/// A decoded document of any kind.
enum Decoded {
    /// A policy.
    Policy(Box<Document>),
    /// A secret.
    Secret(Secret),
    /// A category list.
    List(CategoryList),
}

impl Parsed {
    /// Files a document by its kind.
    fn take(&mut self, decoded: Decoded) {
        match decoded {
            Decoded::Policy(document) => self.documents.push(*document),
            Decoded::Secret(secret) => self.secrets.push(secret),
            Decoded::List(list) => self.lists.push(list),
        }
    }
}

/// The start of a file.
fn start(file: &Arc<str>) -> Place {
    Place { file: Arc::clone(file), line: 1, column: 1 }
}

/// One document: its scope as far as that is known, and what it is when nothing is wrong.
fn document(spot: &Spot<'_>) -> (Option<Scope>, Option<Decoded>) {
    if !spot.is_map() {
        spot.error_cure(
            format!("a document must be a mapping, this is {}", spot.node().kind.noun()),
            "write a policy; the smallest one is `mode: Limited`",
        );
        return (None, None);
    }
    let Some(kind) = metadata::kind(spot) else { return (None, None) };
    match kind {
        metadata::Kind::Bare => {
            let name = bare_name(spot);
            let spec = spec::decode(spot, &Scope::Global);
            let found = name.zip(spec).map(|(name, spec)| Document {
                name,
                scope: Scope::Global,
                removed: false,
                place: spot.place(),
                spec,
            });
            (Some(Scope::Global), found.map(|document| Decoded::Policy(Box::new(document))))
        }
        metadata::Kind::Policy => policy(spot),
        metadata::Kind::Secret => (None, secret::decode(spot).map(Decoded::Secret)),
        metadata::Kind::List => (None, category::decode(spot).map(Decoded::List)),
    }
}

/// A document with `kind: EgressPolicy`.
fn policy(spot: &Spot<'_>) -> (Option<Scope>, Option<Decoded>) {
    let Some(fields) = spot.fields(&metadata::DOCUMENT_KEYS) else { return (None, None) };
    let about = fields.require("metadata").and_then(|spot| metadata::decode(&spot));
    let scope = about.as_ref().map(|about| about.scope.clone());
    let removed = about.as_ref().is_some_and(|about| about.removed);
    let inner = scope.clone().unwrap_or(Scope::Global);
    let spec = match fields.get("spec") {
        Some(spec) => spec::decode(&spec, &inner),
        None if removed => Some(Spec::closed()),
        None => fields.require("spec").and(None),
    };
    let found = about.zip(spec).map(|(about, spec)| Document {
        name: about.name,
        scope: about.scope,
        removed: about.removed,
        place: spot.place(),
        spec,
    });
    (scope, found.map(|document| Decoded::Policy(Box::new(document))))
}

/// The name of a bare document: its file's stem.
fn bare_name(spot: &Spot<'_>) -> Option<Arc<str>> {
    let file = spot.decoder().file();
    let stem = Path::new(file.as_ref()).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file);
    let good =
        !stem.is_empty() && stem.chars().count() <= LONGEST_NAME && !stem.chars().any(char::is_control);
    if !good {
        spot.error_cure(
            "a document without `kind` is named after its file, and this file's name cannot be a name",
            "write `kind: EgressPolicy` and `metadata: {name: …}`, or rename the file",
        );
    }
    good.then(|| stem.into())
}

/// A host pattern.
pub(crate) fn pattern(spot: &Spot<'_>) -> Option<Pattern> {
    let text = spot.text()?;
    let network = text.split_once('/').is_some_and(|(address, bits)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            && !bits.is_empty()
            && bits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if network {
        spot.error_cure(
            format!("{} is a network, not a host pattern", crate::source::quoted(text)),
            format!("write it under `cidrRules`: {{cidr: \"{text}\", action: …}}"),
        );
        return None;
    }
    match text.parse::<Pattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            match error.hint() {
                Some(hint) => spot.error_cure(error.to_string(), hint),
                None => spot.error(error.to_string()),
            }
            None
        }
    }
}

#[cfg(test)]
mod tests;
