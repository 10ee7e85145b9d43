//! Named lists of hosts: what `categories` in a policy stands for.
//!
//! | use | gives |
//! |---|---|
//! | `name/part` | the part's hosts; a warning when it is optional or a way out for data; an error when it is templated |
//! | `name` | every part that is none of these |
//! | anything else | an error, with the nearest name |
//!
//! The presets of the collected data are not part of the list: they repeat hosts that the categories have.

use std::sync::{Arc, OnceLock};

use super::document::CategoryUse;
use super::pattern::Pattern;
use crate::source::{Place, Problem, nearest, quoted};

mod decode;
pub mod difference;

pub(super) use decode::decode;

/// The list that comes with the program.
const SHIPPED: &str = include_str!("../../policies/categories.yaml");
/// The name of its file in problems.
const SHIPPED_FILE: &str = "policies/categories.yaml";

/// The keys of a list's document.
pub(crate) use super::document::metadata::DOCUMENT_KEYS;
/// The keys of a list's `metadata`.
pub(crate) const LIST_METADATA_KEYS: [&str; 1] = ["name"];
/// The keys of a list's `spec`.
pub(crate) const LIST_SPEC_KEYS: [&str; 2] = ["version", "categories"];
/// The keys of a part.
pub(crate) const PART_KEYS: [&str; 6] = ["hosts", "optional", "risk", "scheme", "note", "src"];

/// A list of categories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryList {
    /// Its name.
    pub name: Arc<str>,
    /// What `categoriesVersion` pins.
    pub version: u32,
    /// The categories, in the order written.
    pub categories: Vec<Category>,
    /// Where it begins.
    pub place: Place,
}

/// One category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its name.
    pub name: Arc<str>,
    /// Its parts, in the order written.
    pub parts: Vec<Part>,
}

/// One part of a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: Arc<str>,
    /// Its hosts that are patterns.
    pub hosts: Vec<Pattern>,
    /// Its hosts that are templates: `{registry}.azurecr.io`.
    pub templates: Vec<Arc<str>>,
    /// Whether it must be named to be taken.
    pub optional: bool,
    /// Whether it accepts uploads from anybody.
    pub exfil: bool,
    /// Whether plain HTTP is among its schemes.
    pub plain_http: bool,
    /// A remark for readers.
    pub note: Option<Arc<str>>,
}

impl CategoryList {
    /// A category by name, and its part where one is named.
    ///
    /// # Errors
    /// There is none; the problem has the nearest name, and no place.
    pub fn find(&self, category: &str, part: Option<&str>) -> Result<(&Category, Option<&Part>), Problem> {
        let names = || self.categories.iter().map(|known| known.name.as_ref());
        let Some(found) = self.categories.iter().find(|known| *known.name == *category) else {
            return Err(Problem::error(format!("unknown category {}", quoted(category))).cure(suggest(
                category,
                names(),
                "the categories are",
            )));
        };
        let Some(part) = part else { return Ok((found, None)) };
        let parts = || found.parts.iter().map(|known| known.name.as_ref());
        match found.parts.iter().find(|known| *known.name == *part) {
            Some(part) => Ok((found, Some(part))),
            None => Err(Problem::error(format!("{} has no part {}", quoted(category), quoted(part)))
                .cure(suggest(part, parts(), "its parts are"))),
        }
    }
}

impl Part {
    /// Whether a whole category includes it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        !self.optional && !self.exfil && self.templates.is_empty()
    }

    /// Its hosts as they are written, templates last.
    pub fn written(&self) -> impl Iterator<Item = String> {
        let templates = self.templates.iter().map(ToString::to_string);
        self.hosts.iter().map(ToString::to_string).chain(templates)
    }

    /// Its marks, in the order of [`Mark`].
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let marked = [
            (Mark::Optional, self.optional),
            (Mark::Exfil, self.exfil),
            (Mark::Templated, !self.templates.is_empty()),
        ];
        marked.into_iter().filter_map(|(mark, is)| is.then_some(mark))
    }
}

/// Why a whole category leaves a part out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It must be named to be taken.
    Optional,
    /// It accepts uploads from anybody.
    Exfil,
    /// A host of it is a template, so that it cannot be taken at all.
    Templated,
}

impl Mark {
    /// `optional`, `exfil` or `templated`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Exfil => "exfil",
            Self::Templated => "templated",
        }
    }
}

/// What a use of a category stands for.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// The Allow patterns.
    pub patterns: Vec<Pattern>,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
}

/// The list in force: the shipped one, or the operator's.
#[derive(Debug, Clone)]
pub struct CategoryLists {
    /// That list.
    list: Arc<CategoryList>,
}

impl Default for CategoryLists {
    fn default() -> Self {
        Self::shipped()
    }
}

impl CategoryLists {
    /// The list that comes with the program.
    #[must_use]
    pub fn shipped() -> Self {
        static LIST: OnceLock<Arc<CategoryList>> = OnceLock::new();
        let list = LIST.get_or_init(|| {
            let found = super::document::parse(&SHIPPED_FILE.into(), SHIPPED).lists.pop();
            // A test proves that it parses. Were it broken, no category would resolve: closed.
            Arc::new(found.unwrap_or_else(nothing))
        });
        Self { list: Arc::clone(list) }
    }

    /// The list in force after this one, where these are the operator's good ones; beside it what is wrong with them.
    ///
    /// | the operator has | in force |
    /// |---|---|
    /// | one list | that |
    /// | none, and had none before | the shipped one |
    /// | none any more, or two | what was in force; a problem |
    #[must_use]
    pub fn followed_by(&self, lists: &[&CategoryList]) -> (Self, Option<Problem>) {
        match lists {
            [list] if **list == *self.list => (self.clone(), None),
            [list] => (Self { list: Arc::new((*list).clone()) }, None),
            [] if self.is(&Self::shipped()) => (self.clone(), None),
            [] => {
                let problem = Problem::error(format!(
                    "the CategoryList `{}` has no good version any more",
                    self.list.name
                ))
                .at(self.list.place.clone())
                .cure(
                    "its last good version stays in force; mend or put back its file, or restart without it",
                );
                (self.clone(), Some(problem))
            }
            [first, second, ..] => {
                let problem = Problem::error("a second CategoryList")
                    .at(second.place.clone())
                    .cure(format!("keep one; the first is at {}", first.place));
                (self.clone(), Some(problem))
            }
        }
    }

    /// Whether both are the very same list.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.list, &other.list)
    }

    /// The list.
    #[must_use]
    pub fn list(&self) -> &CategoryList {
        &self.list
    }

    /// Whether a pinned version is this list's; the problem names both.
    #[must_use]
    pub fn check_version(&self, pinned: u32, place: &Place) -> Option<Problem> {
        let version = self.list.version;
        (pinned != version).then(|| {
            Problem::error(format!(
                "categoriesVersion is {pinned}, but the list `{}` is version {version}",
                self.list.name
            ))
            .at(place.clone())
            .path("spec.categoriesVersion")
            .cure(format!("review the list and write {version}, or install a version with list {pinned}"))
        })
    }

    /// The patterns that a use stands for.
    ///
    /// # Errors
    /// No such category or part, or a part whose hosts are templates.
    pub fn resolve(&self, wanted: &CategoryUse) -> Result<Resolved, Problem> {
        let placed = |problem: Problem| problem.at(wanted.place.clone()).path("spec.categories");
        let (category, part) = self.list.find(&wanted.category, wanted.part.as_deref()).map_err(placed)?;
        let Some(part) = part else { return Ok(whole(category)) };
        if let Some(template) = part.templates.first() {
            let problem =
                Problem::error(format!("the hosts of `{}/{}` are templates", category.name, part.name));
            let cure = format!("write your own host under `hostRules`, in place of `{template}`");
            return Err(placed(problem.cure(cure)));
        }
        let warnings = warning(category, part, wanted).into_iter().collect();
        Ok(Resolved { patterns: part.hosts.clone(), warnings })
    }
}

/// The patterns of a category that is taken as a whole.
fn whole(category: &Category) -> Resolved {
    let parts = category.parts.iter().filter(|part| part.is_whole());
    Resolved { patterns: parts.flat_map(|part| part.hosts.iter().cloned()).collect(), warnings: Vec::new() }
}

/// The warning that naming a part deserves.
fn warning(category: &Category, part: &Part, wanted: &CategoryUse) -> Option<Problem> {
    let what = match (part.exfil, part.optional) {
        (true, _) => "accepts uploads from anybody: data can leave through it",
        (false, true) => "is optional: it is rarely needed, or wider than its purpose",
        (false, false) => return None,
    };
    let problem = Problem::warning(format!("`{}/{}` {what}", category.name, part.name))
        .at(wanted.place.clone())
        .path("spec.categories");
    Some(problem.cure("list the hosts that are needed under `hostRules`, or leave it when it is meant"))
}

/// The nearest name, or all of them.
fn suggest<'a>(written: &str, names: impl Iterator<Item = &'a str> + Clone, lead: &str) -> String {
    match nearest(written, names.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("{lead} {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// A list without categories.
fn nothing() -> CategoryList {
    let place = Place { file: SHIPPED_FILE.into(), line: 1, column: 1 };
    CategoryList { name: "shipped".into(), version: 0, categories: Vec::new(), place }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
