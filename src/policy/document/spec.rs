//! `spec`: the fields of a policy and what they say together.

use super::destination::{categories, cidr_rules, host_rules, ports};
use super::limit;
use super::rule::rules;
use super::{Constraints, Spec, unbuilt, vnet};
use crate::policy::limit::Limits;
use crate::policy::mode::{Action, Enforcement, Inspection, Mode, Scope};
use crate::source::{Fields, Spot};

/// The keys of a `spec`.
pub(crate) const SPEC_KEYS: [&str; 16] = [
    "defaultAction",
    "hostRules",
    "rules",
    "trafficInspection",
    "mode",
    "cidrRules",
    "ports",
    "categories",
    "categoriesVersion",
    "vnet",
    "skipEgressProxy",
    "enforcement",
    "constraints",
    "limits",
    "ask",
    "hooks",
];
/// The keys of `constraints`.
pub(crate) const CONSTRAINT_KEYS: [&str; 4] = ["maxMode", "managedPath", "skipEgressProxy", "minInspection"];

/// The words for an action.
pub(super) const ACTIONS: [(&str, Action); 2] = [("Allow", Action::Allow), ("Deny", Action::Deny)];
/// The words for a mode.
const MODES: [(&str, Mode); 3] =
    [("Limited", Mode::Limited), ("Unrestricted", Mode::Unrestricted), ("VNet", Mode::VNet)];
/// The words for an inspection.
const INSPECTIONS: [(&str, Inspection); 4] = [
    ("Partial", Inspection::Partial),
    ("Full", Inspection::Full),
    ("Legacy", Inspection::Legacy),
    ("None", Inspection::None),
];

/// A spec for a scope, when nothing of it is wrong.
pub(super) fn decode(spot: &Spot<'_>, scope: &Scope) -> Option<Spec> {
    let before = spot.decoder().errors();
    let fields = spot.fields(&SPEC_KEYS)?;
    let (mode, default_action) = mode(&fields);
    let (inspection, enforcement) = (inspection(&fields), enforcement(&fields));
    let spec = Spec {
        mode,
        default_action,
        host_rules: fields.get("hostRules").map(|spot| host_rules(&spot)).unwrap_or_default(),
        cidr_rules: fields.get("cidrRules").map(|spot| cidr_rules(&spot)).unwrap_or_default(),
        rules: fields.get("rules").map(|spot| rules(&spot, inspection)).unwrap_or_default(),
        ports: fields.get("ports").and_then(|spot| ports(&spot)),
        categories: fields.get("categories").map(|spot| categories(&spot)).unwrap_or_default(),
        categories_version: fields.get("categoriesVersion").and_then(|spot| version(&spot)),
        inspection,
        enforcement,
        constraints: fields.get("constraints").map(|spot| constraints(&spot, scope)).unwrap_or_default(),
        limits: limits(&fields, enforcement),
        vnet: vnet::decode(&fields, mode),
        skip: fields.get("skipEgressProxy").and_then(|spot| spot.boolean()?.then(|| spot.place())),
    };
    unbuilt::report(&fields);
    (spot.decoder().errors() == before).then_some(spec)
}

/// The mode and the default action; each follows from the other, and nothing at all is the narrow one.
fn mode(fields: &Fields<'_>) -> (Mode, Action) {
    let mode_spot = fields.get("mode");
    let default_spot = fields.get("defaultAction");
    let mode = mode_spot.and_then(|spot| spot.choice(&MODES));
    let default = default_spot.and_then(|spot| spot.choice(&ACTIONS));
    let fixed = match mode {
        Some(Mode::Limited) => Some(Action::Deny),
        Some(Mode::VNet | Mode::Unrestricted) => Some(Action::Allow),
        None => None,
    };
    if let (Some(fixed), Some(written), Some(spot), Some(mode)) = (fixed, default, default_spot, mode)
        && fixed != written
    {
        spot.error_cure(
            format!("`mode: {mode:?}` means `defaultAction: {fixed:?}`, but {written:?} is written"),
            "remove one of the two",
        );
    }
    match (mode, default) {
        (Some(Mode::Limited), _) | (None, None | Some(Action::Deny)) => (Mode::Limited, Action::Deny),
        (Some(Mode::Unrestricted), _) | (None, Some(Action::Allow)) => (Mode::Unrestricted, Action::Allow),
        (Some(Mode::VNet), _) => (Mode::VNet, Action::Allow),
    }
}

/// `trafficInspection`.
fn inspection(fields: &Fields<'_>) -> Inspection {
    fields.get("trafficInspection").and_then(|spot| spot.choice(&INSPECTIONS)).unwrap_or_default()
}

/// `enforcement`.
fn enforcement(fields: &Fields<'_>) -> Enforcement {
    let words = [("Enforce", Enforcement::Enforce), ("Report", Enforcement::Report)];
    fields.get("enforcement").and_then(|spot| spot.choice(&words)).unwrap_or_default()
}

/// `categoriesVersion`.
fn version(spot: &Spot<'_>) -> Option<u32> {
    spot.integer(1, u64::from(u32::MAX)).and_then(|version| u32::try_from(version).ok())
}

/// `limits`.
fn limits(fields: &Fields<'_>, enforcement: Enforcement) -> Limits {
    let Some(spot) = fields.get("limits") else { return Limits::NONE };
    if enforcement == Enforcement::Report {
        spot.warn(
            "a document that only reports limits nothing",
            "write the limits into a document with `enforcement: Enforce`",
        );
    }
    limit::limits(&spot)
}

/// `constraints`: only a document with others below it can have them.
fn constraints(spot: &Spot<'_>, scope: &Scope) -> Constraints {
    if matches!(scope, Scope::Sandbox { .. }) {
        spot.error_cure(
            "constraints bound lower documents, and nothing is below a Sandbox",
            "move them to a Global or Group document",
        );
    }
    let Some(fields) = spot.fields(&CONSTRAINT_KEYS) else { return Constraints::default() };
    Constraints {
        max_mode: fields.get("maxMode").and_then(|spot| spot.choice(&MODES)),
        min_inspection: fields.get("minInspection").and_then(|spot| spot.choice(&INSPECTIONS)),
        managed_path_forbidden: fields
            .get("managedPath")
            .and_then(|spot| spot.choice(&[("Forbidden", ())]))
            .is_some(),
        skip_permitted: fields
            .get("skipEgressProxy")
            .and_then(|spot| spot.choice(&[("Permitted", ())]))
            .is_some(),
    }
}
