//! What is different between two lists of categories.
//!
//! | differs | is told |
//! |---|---|
//! | a part is in one list only | `Added` or `Removed`, with all its hosts and marks |
//! | hosts or marks of a part | `Changed`, with what came and went |
//! | the order of parts or hosts, `note`, `src`, `scheme` | no: a policy means the same |
//! | the version or the name alone | yes: what `categoriesVersion` pins differs |
//! | the content, not the version | [`Difference::is_unnoticed`]: a pinned policy would take the new content as reviewed |

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Category, CategoryList, Mark, Part};

/// What is different between an old list and a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The names of both.
    pub names: (Arc<str>, Arc<str>),
    /// The versions of both.
    pub versions: (u32, u32),
    /// The parts that differ, by name.
    pub parts: Vec<PartDifference>,
}

/// What is different in one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartDifference {
    /// Its category.
    pub category: Arc<str>,
    /// Its name.
    pub part: Arc<str>,
    /// What became of it.
    pub fate: Fate,
    /// Hosts that only the new list has, templates too.
    pub hosts_added: Vec<String>,
    /// Hosts that only the old list has.
    pub hosts_removed: Vec<String>,
    /// Marks that only the new list has.
    pub marks_added: Vec<Mark>,
    /// Marks that only the old list has.
    pub marks_removed: Vec<Mark>,
    /// Whether the whole category included it, and does so.
    pub whole: (bool, bool),
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Only the new list has it.
    Added,
    /// Only the old list has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

impl Fate {
    /// `added`, `removed` or `changed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl Difference {
    /// What is different in `new`.
    #[must_use]
    pub fn between(old: &CategoryList, new: &CategoryList) -> Self {
        let names: BTreeSet<_> = parts(old).chain(parts(new)).map(|(name, _)| name).collect();
        let part = |list, wanted| parts(list).find(|(name, _)| *name == wanted).map(|(_, part)| part);
        Self {
            names: (Arc::clone(&old.name), Arc::clone(&new.name)),
            versions: (old.version, new.version),
            parts: names
                .into_iter()
                .filter_map(|name| PartDifference::between(name, part(old, name), part(new, name)))
                .collect(),
        }
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.parts.is_empty() && self.names.0 == self.names.1 && self.versions.0 == self.versions.1
    }

    /// Whether the content changed and the version did not, so that no `categoriesVersion` notices it.
    #[must_use]
    pub const fn is_unnoticed(&self) -> bool {
        !self.parts.is_empty() && self.versions.0 == self.versions.1
    }
}

impl PartDifference {
    /// What is different in a part, where anything is.
    fn between(name: Name<'_>, old: Option<&Part>, new: Option<&Part>) -> Option<Self> {
        let fate = match (old, new) {
            (None, None) => return None,
            (None, Some(_)) => Fate::Added,
            (Some(_), None) => Fate::Removed,
            (Some(_), Some(_)) => Fate::Changed,
        };
        let hosts = |part: Option<&Part>| part.into_iter().flat_map(Part::written).collect();
        let (hosts_added, hosts_removed) = changes(&hosts(old), &hosts(new));
        let marks = |part: Option<&Part>| part.into_iter().flat_map(Part::marks).collect();
        let (marks_added, marks_removed) = changes(&marks(old), &marks(new));
        let nothing = [hosts_added.len(), hosts_removed.len(), marks_added.len(), marks_removed.len()];
        if fate == Fate::Changed && nothing == [0; 4] {
            return None;
        }
        let whole = |part: Option<&Part>| part.is_some_and(Part::is_whole);
        let (category, part) = name;
        Some(Self {
            category: Arc::clone(category),
            part: Arc::clone(part),
            fate,
            hosts_added,
            hosts_removed,
            marks_added,
            marks_removed,
            whole: (whole(old), whole(new)),
        })
    }
}

/// A category and a part of it.
type Name<'a> = (&'a Arc<str>, &'a Arc<str>);

/// The parts of a list.
fn parts(list: &CategoryList) -> impl Iterator<Item = (Name<'_>, &Part)> {
    list.categories.iter().flat_map(parts_of)
}

/// The parts of a category.
fn parts_of(category: &Category) -> impl Iterator<Item = (Name<'_>, &Part)> {
    category.parts.iter().map(|part| ((&category.name, &part.name), part))
}

/// What came and what went.
fn changes<T: Ord + Clone>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> (Vec<T>, Vec<T>) {
    (new.difference(old).cloned().collect(), old.difference(new).cloned().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn list(version: u32, categories: &str) -> CategoryList {
        let text = format!(
            "kind: CategoryList\nmetadata: {{name: ours}}\nspec: {{version: {version}, categories: {categories}}}"
        );
        let parsed = super::super::super::document::parse(&"list.yaml".into(), &text);
        assert_eq!(parsed.problems, []);
        parsed.lists.into_iter().next().unwrap()
    }

    /// Each part that differs, in one line.
    fn told(difference: &Difference) -> Vec<String> {
        let line = |part: &PartDifference| {
            let PartDifference { category, part: name, fate, hosts_added, hosts_removed, .. } = part;
            let marks = |marks: &[Mark]| marks.iter().map(|mark| mark.as_str()).collect::<Vec<_>>().join(",");
            format!(
                "{} {category}/{name} +[{}] -[{}] +({}) -({}) {:?}",
                fate.as_str(),
                hosts_added.join(","),
                hosts_removed.join(","),
                marks(&part.marks_added),
                marks(&part.marks_removed),
                part.whole,
            )
        };
        difference.parts.iter().map(line).collect()
    }

    #[test]
    fn each_way_in_which_a_part_can_differ_is_told() {
        for (old, new, expected) in [
            (
                "{}",
                "{a: {b: {hosts: [x.corp, y.corp]}}}",
                "added a/b +[x.corp,y.corp] -[] +() -() (false, true)",
            ),
            (
                "{a: {b: {hosts: [x.corp], optional: true}}}",
                "{a: {}}",
                "removed a/b +[] -[x.corp] +() -(optional) (false, false)",
            ),
            (
                "{a: {b: {hosts: [x.corp]}}}",
                "{a: {b: {hosts: [y.corp]}}}",
                "changed a/b +[y.corp] -[x.corp] +() -() (true, true)",
            ),
            (
                "{a: {b: {hosts: [x.corp], risk: exfil}}}",
                "{a: {b: {hosts: [x.corp]}}}",
                "changed a/b +[] -[] +() -(exfil) (false, true)",
            ),
            (
                "{a: {b: {hosts: [x.corp]}}}",
                "{a: {b: {hosts: [x.corp, '{r}.corp']}}}",
                "changed a/b +[{r}.corp] -[] +(templated) -() (true, false)",
            ),
            (
                "{a: {b: {hosts: [x.corp]}}}",
                "{a: {b: {hosts: ['x.corp:22']}}}",
                "changed a/b +[x.corp:22] -[x.corp] +() -() (true, true)",
            ),
        ] {
            let difference = Difference::between(&list(1, old), &list(2, new));
            assert_eq!(told(&difference), [expected], "{old} {new}");
            assert!(!difference.is_none() && !difference.is_unnoticed(), "{old} {new}");
        }
    }

    #[test]
    fn what_does_not_change_a_policy_is_no_difference() {
        let old = list(1, "{a: {b: {hosts: [x.corp, y.corp]}, c: {hosts: [z.corp]}}}");
        let new = list(
            1,
            "{a: {c: {hosts: [Z.corp.], note: now, scheme: [http]}, b: {hosts: [y.corp, x.corp], src: [me]}}}",
        );
        let difference = Difference::between(&old, &new);
        assert!(difference.is_none(), "{difference:?}");
        assert!(!difference.is_unnoticed());
    }

    #[test]
    fn a_new_version_or_name_alone_is_a_difference() {
        let old = list(1, "{}");
        assert!(!Difference::between(&old, &list(2, "{}")).is_none());
        let named = CategoryList { name: "theirs".into(), ..old.clone() };
        let difference = Difference::between(&old, &named);
        assert!(!difference.is_none() && !difference.is_unnoticed());
    }

    #[test]
    fn a_list_that_changed_without_a_new_version_goes_unnoticed_by_what_pins_it() {
        let difference = Difference::between(&list(3, "{}"), &list(3, "{a: {b: {hosts: [x.corp]}}}"));
        assert!(difference.is_unnoticed());
    }

    #[test]
    fn the_shipped_list_does_not_differ_from_itself() {
        let shipped = super::super::CategoryLists::shipped();
        assert!(Difference::between(shipped.list(), shipped.list()).is_none());
    }
}
