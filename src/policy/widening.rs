//! What a change of documents widened: for each document, sentences for whoever reads the audit log.
//!
//! | a change of a document | is told |
//! |---|---|
//! | a default, mode, `ports`, `trafficInspection`, `enforcement`, `constraints`, `limits` that let more through | always |
//! | a host that `hostRules` or `categories` allow | unless the document let it through before; a literal always, which lets TLS to it pass that names no server |
//! | a network that `cidrRules` allow | always |
//! | a Deny of `hostRules` or `cidrRules` that is gone | unless another one holds it |
//! | `rules` that grant: new, changed or in front of others; any other that is gone or behind one that grants | always |
//! | an Allow of `rules` that is gone | where something else of the document may allow the same: without its port, unread, or with no server name |
//! | `skipEgressProxy`; another network, or another path for a host; an Allow of `securityRules` that is new, a Deny that is gone | always |
//! | it is taken away | where others stay that apply in its place: what it denied is left to them |
//! | it is the first of its scope | what it grants, where its sandboxes were denied everything before; else a `Rewrite`, whose new place no document below is asked about |
//! | none, but that of a higher one because of which it was not in force | what it grants |
//! | a Secret that may go to more places, or more may be had of | always, as a change of its own ([`SecretSet::widened_since`])
//!
//! It is never silent about what may let a call pass that was denied; so it may tell of what turns out to let none pass. One
//! thing is left out: a name may be looked up whatever its shape where a rule spells it out, and that a rule begins to do so
//! below a wildcard is not told. To ask for that name says no more than the policy says.

use std::sync::Arc;

use super::compile::Compiled;
use super::mode::{Action, Enforcement, Mode, Scope};
use super::scope::{PolicySet, Roster};
#[cfg(doc)]
use super::secret_set::SecretSet;

mod host;
mod path;
mod rule;
mod secret;

/// The most sentences of one document.
const MOST: usize = 50;

/// What became wider in the document of one scope, or in one Secret.
#[derive(Debug, Clone)]
pub struct Widening<D = Compiled> {
    /// The version before, if there was one.
    pub before: Option<Arc<D>>,
    /// The version after; none when it was taken away.
    pub after: Option<Arc<D>>,
    /// A sentence for each thing, each with its place.
    pub widened: Vec<String>,
}

impl<D> Widening<D> {
    /// The document as it is, or as it was where it is gone.
    #[must_use]
    pub fn document(&self) -> Option<&Arc<D>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// The sentences about one document.
#[derive(Debug, Default)]
struct Told {
    sentences: Vec<String>,
    more: usize,
}

impl Told {
    /// Adds a sentence, or counts it.
    fn say(&mut self, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < MOST {
            self.sentences.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing was said.
    const fn is_empty(&self) -> bool {
        self.sentences.is_empty()
    }

    /// All of it.
    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.sentences.push(format!("and {} more", self.more));
        }
        self.sentences
    }
}

impl PolicySet {
    /// What is wider in these documents than it was in `before`, in the order of scopes. `roster` is as for
    /// [`conflicts`](Self::conflicts); `required` says of a sandbox that it is denied while it has no document of its own.
    #[must_use]
    pub fn widened_since(
        &self,
        before: &Self,
        roster: Option<&Roster>,
        required: impl Fn(&str) -> bool,
    ) -> Vec<Widening> {
        let (mut all, mut stayed) = (Vec::new(), 0);
        // A document that is the same can be in force because of one above it that is not.
        let may_be_freed = !self.has_higher_of(before) && before.may_bar();
        let is_freed =
            |own, after| before.barrier(own, roster).is_some() && self.barrier(after, roster).is_none();
        for after in self.units() {
            let own = before.unit(after.scope());
            stayed += usize::from(own.is_some());
            let is_same = own.is_some_and(|own| Arc::ptr_eq(own, after));
            if is_same && !may_be_freed {
                continue;
            }
            // What was not permitted, nor anything beside it, let nothing through.
            let opens = match own {
                Some(own) => is_freed(own, after),
                None => before.denies_all(after.scope(), roster, &required),
            };
            if is_same && !opens {
                continue;
            }
            let widened = match own {
                Some(own) if !opens => widened(own, after),
                Some(_) | None if opens => opened(own.is_some(), after),
                Some(_) | None => joined(after),
            };
            all.push(Widening { before: own.cloned(), after: Some(Arc::clone(after)), widened });
        }
        let beside = self.beside();
        let some_are_gone = stayed < before.units().count();
        for gone in before.units().filter(|_| some_are_gone) {
            // A sandbox that nobody lists goes with its document.
            let stays = || roster.is_none_or(|roster| super::lists(roster, gone.scope()));
            if self.unit(gone.scope()).is_none() && stays() && beside.has(gone.scope()) {
                all.push(Widening { before: Some(Arc::clone(gone)), after: None, widened: left(gone) });
            }
        }
        all.retain(|widening| !widening.widened.is_empty());
        all.sort_by(|one, two| {
            one.document().map(|own| own.scope()).cmp(&two.document().map(|own| own.scope()))
        });
        all
    }

    /// Whether some sandbox of a scope that has no document here is denied everything.
    fn denies_all(&self, scope: &Scope, roster: Option<&Roster>, required: impl Fn(&str) -> bool) -> bool {
        match scope {
            Scope::Global => true,
            Scope::Group(_) => self.unit(&Scope::Global).is_none(),
            Scope::Sandbox { sandbox, .. } => required(sandbox) || self.above(scope, roster).next().is_none(),
        }
    }

    /// What kinds of documents there are.
    fn beside(&self) -> Beside {
        let mut found = Beside::default();
        for unit in self.units() {
            match unit.scope() {
                Scope::Global => found.global = true,
                Scope::Group(_) => found.group = true,
                Scope::Sandbox { .. } => found.sandbox = true,
            }
        }
        found
    }
}

/// Of which kinds of scopes there are documents.
#[derive(Default)]
struct Beside {
    global: bool,
    group: bool,
    sandbox: bool,
}

impl Beside {
    /// Whether others than its own may apply to a sandbox of this scope.
    const fn has(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Global => self.global || self.group || self.sandbox,
            Scope::Group(_) => self.global || self.sandbox,
            Scope::Sandbox { .. } => self.global || self.group,
        }
    }
}

/// What a version of a document lets through that the one before it did not.
fn widened(before: &Compiled, after: &Compiled) -> Vec<String> {
    let mut told = Told::default();
    always(Some(before), after, &mut told);
    default(Some(before), after, &mut told);
    mode(before, after, &mut told);
    ports(before, after, &mut told);
    inspection(before, after, &mut told);
    enforcement(Some(before), after, &mut told);
    constraints(before, after, &mut told);
    limits(before, after, &mut told);
    host::allowed(Some(before), after, &mut told);
    host::denied(before, after, &mut told);
    host::literals(before, after, &mut told);
    host::networks(Some(before), after, &mut told);
    rule::rules(Some(before), after, &mut told);
    if told.is_empty() && is_let_through(before, after) {
        told.say(|| {
            let place = after.place();
            format!("what it denies goes on without what its `rules` change of a request: it only reports ({place})")
        });
    }
    told.finish()
}

/// What a document grants whose sandboxes were denied everything before: they had none, or one that was not permitted.
fn opened(was_there: bool, after: &Compiled) -> Vec<String> {
    let mut told = Told::default();
    if was_there {
        told.say(|| {
            format!("it is permitted beside the documents above it, and was not ({})", after.place())
        });
    }
    always(None, after, &mut told);
    default(None, after, &mut told);
    enforcement(None, after, &mut told);
    host::allowed(None, after, &mut told);
    host::networks(None, after, &mut told);
    rule::rules(None, after, &mut told);
    told.finish()
}

/// What a document widens by being there beside others, which all have to allow: it can only narrow, but for what
/// lifts more than its own rules.
fn joined(after: &Compiled) -> Vec<String> {
    let mut told = Told::default();
    always(None, after, &mut told);
    rule::elsewhere(after, &mut told);
    told.finish()
}

/// What becomes wider by a field whatever documents there are beside. Each such field has a function of its own, which gets
/// the version before, if it was in force.
fn always(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    path::skip(before, after, told);
    path::network(before, after, told);
}

/// What a document that is gone leaves to the others.
fn left(gone: &Compiled) -> Vec<String> {
    let mut told = Told::default();
    let place = gone.place();
    told.say(|| {
        format!(
            "`{}` is taken away: what it denied is left to the other documents (it was at {place})",
            gone.name()
        )
    });
    told.finish()
}

/// `defaultAction`.
fn default(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let was = before.map_or(Action::Deny, Compiled::default_action);
    if (was, after.default_action()) == (Action::Deny, Action::Allow) {
        told.say(|| format!("`defaultAction` is Allow, and was Deny ({})", after.place()));
    }
}

/// `mode`.
fn mode(before: &Compiled, after: &Compiled, told: &mut Told) {
    let (was, is) = (before.mode(), after.mode());
    if was != is && is != Mode::Limited {
        told.say(|| format!("`mode` is {is:?}, and was {was:?} ({})", after.place()));
    }
}

/// `ports`, or what holds without them.
fn ports(before: &Compiled, after: &Compiled, told: &mut Told) {
    let same = before.ports() == after.ports() && before.default_action() == after.default_action();
    if same {
        return;
    }
    let more = after.bound_ports().without(&before.bound_ports());
    if !more.is_empty() {
        told.say(|| format!("`ports` allow {more} besides ({})", after.place()));
    }
}

/// `trafficInspection`.
fn inspection(before: &Compiled, after: &Compiled, told: &mut Told) {
    let (was, is) = (before.inspection(), after.inspection());
    if is < was {
        told.say(|| format!("`trafficInspection` is {is:?}, and was {was:?} ({})", after.place()));
    }
}

/// `enforcement`.
fn enforcement(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let was = before.map_or(Enforcement::Enforce, Compiled::enforcement);
    if (was, after.enforcement()) == (Enforcement::Enforce, Enforcement::Report) {
        told.say(|| {
            format!("`enforcement` is Report, and was Enforce: what it denies goes on ({})", after.place())
        });
    }
}

/// `constraints`.
fn constraints(before: &Compiled, after: &Compiled, told: &mut Told) {
    let (was, is) = (before.constraints(), after.constraints());
    let place = after.place();
    let mut say = |key: &str, is: Option<String>, was: String| {
        let is = is.unwrap_or_else(|| "gone".to_owned());
        told.say(|| format!("`constraints.{key}` is {is}, and was {was} ({place})"));
    };
    if let Some(max) = was.max_mode.filter(|max| is.max_mode.is_none_or(|is| is > *max)) {
        say("maxMode", is.max_mode.map(|is| format!("{is:?}")), format!("{max:?}"));
    }
    if let Some(min) = was.min_inspection.filter(|min| is.min_inspection.is_none_or(|is| is < *min)) {
        say("minInspection", is.min_inspection.map(|is| format!("{is:?}")), format!("{min:?}"));
    }
    if was.managed_path_forbidden && !is.managed_path_forbidden {
        say("managedPath", None, "Forbidden".to_owned());
    }
    if is.skip_permitted && !was.skip_permitted {
        told.say(|| format!("`constraints.skipEgressProxy` is Permitted ({place})"));
    }
}

/// `limits`; those of a document that only reports are none.
fn limits(before: &Compiled, after: &Compiled, told: &mut Told) {
    if before.enforcement() == Enforcement::Report {
        return;
    }
    for (limit, was) in before.limits().iter() {
        let (key, place) = (limit.key(), after.place());
        match after.limits().get(limit) {
            Some(is) if is > was => told.say(|| format!("`limits.{key}` is {is}, and was {was} ({place})")),
            Some(_) => {}
            None => told.say(|| format!("`limits.{key}` is gone, and was {was} ({place})")),
        }
    }
}

/// Whether a document that only reports may deny more of what its `rules` change: that goes on as it came.
fn is_let_through(before: &Compiled, after: &Compiled) -> bool {
    let reports = after.enforcement() == Enforcement::Report;
    let changes = before.rules().any(|rule| rule.changes.is_some());
    reports && changes && !(host::same(before, after) && rule::same(before, after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
