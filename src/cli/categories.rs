//! `categories`: the lists of hosts that policies take by name.
//!
//! | exit | means |
//! |---|---|
//! | 0 | shown; `diff`: nothing differs |
//! | 1 | a file is not in order; `diff`: something differs, as diff(1) has it |
//! | 2 | the command line, or a name that the list does not have; `diff`: also a file that is not in order |

mod diff;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::policy::rendered;
use crate::live::store::categories::operators_list;
use crate::policy::category::{Category, CategoryList, CategoryLists, Mark, Part};
use crate::source::printable;
use crate::source::render::render;

/// Show the lists of hosts that policies take by name, or what differs between two of them
#[derive(Debug, Args)]
pub(super) struct Categories {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

/// Show or compare.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print the categories and their parts, and what each is marked as
    List(List),
    /// Print the hosts that a name stands for in `categories` of a policy
    Show(Show),
    /// Print what differs between two lists; exit 0 if nothing does, 1 if something does
    Diff(diff::Diff),
}

/// Every category and part.
#[derive(Debug, Args)]
struct List {
    /// The policy file or directory, whose `kind: CategoryList` is meant; without one there, the shipped list
    #[arg(long, value_name = "PATH", env = "SLUICEGATE_POLICY")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one name stands for.
#[derive(Debug, Args)]
struct Show {
    /// The policy file or directory, whose `kind: CategoryList` is meant; without one there, the shipped list
    #[arg(long, value_name = "PATH", env = "SLUICEGATE_POLICY")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// `category` or `category/part`
    #[arg(value_name = "NAME[/PART]")]
    name: String,
}

impl Categories {
    /// Does what is asked.
    pub(super) fn run(self) -> u8 {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Diff(diff) => diff.run(),
        }
    }
}

impl List {
    /// Prints them.
    fn run(self) -> u8 {
        let Some((list, origin)) = in_force(self.policy.as_deref()) else { return super::FAILED };
        if self.json {
            let categories: Vec<Value> = list.categories.iter().map(category_json).collect();
            let value = json!({
                "name": &*list.name, "version": list.version, "origin": origin, "categories": categories,
            });
            super::print(&format!("{value:#}\n"));
            return 0;
        }
        let mut out = format!("{}, version {} ({origin})\n", printable(&list.name), list.version);
        for category in &list.categories {
            let _ = writeln!(out, "{:<32} {:>4}", category.name, whole(category).len());
            for part in &category.parts {
                let line = format!("  {:<30} {:>4}  {}", part.name, part.written().count(), marks(part));
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        super::print(&out);
        0
    }
}

impl Show {
    /// Prints it.
    fn run(self) -> u8 {
        let Some((list, _)) = in_force(self.policy.as_deref()) else { return super::FAILED };
        let (category, part) = match self.name.split_once('/') {
            Some((category, part)) => (category, Some(part)),
            None => (self.name.as_str(), None),
        };
        let (text, value) = match list.find(category, part) {
            Ok((category, Some(part))) => (part_text(category, part), named_json(category, part)),
            Ok((category, None)) => (whole_text(category), whole_json(category)),
            Err(problem) => {
                super::complain(&render(&problem, None));
                return super::USAGE;
            }
        };
        super::print(&if self.json { format!("{value:#}\n") } else { text });
        0
    }
}

/// The list that is in force by the policy files at `path`, and where it comes from; else says what is wrong with them.
fn in_force(path: Option<&Path>) -> Option<(CategoryList, String)> {
    let own = match path.map(operators_list).transpose() {
        Ok(own) => own.flatten(),
        Err(unclear) => {
            super::complain(&rendered(&unclear.problems, &unclear.texts));
            return None;
        }
    };
    Some(match own {
        Some(list) => {
            let origin = list.place.to_string();
            (list, origin)
        }
        None => (CategoryLists::shipped().list().clone(), "shipped with the program".to_owned()),
    })
}

/// The hosts that a whole category adds, as they are written.
fn whole(category: &Category) -> Vec<String> {
    category.parts.iter().filter(|part| part.is_whole()).flat_map(Part::written).collect()
}

/// The marks of a part in one line.
fn marks(part: &Part) -> String {
    part.marks().map(Mark::as_str).collect::<Vec<_>>().join(", ")
}

/// The hosts of a whole category, and what it leaves out, for people.
fn whole_text(category: &Category) -> String {
    let mut out = format!("{}\n", category.name);
    for host in whole(category) {
        let _ = writeln!(out, "  {}", printable(&host));
    }
    for part in category.parts.iter().filter(|part| !part.is_whole()) {
        let _ = writeln!(out, "left out: {}/{} ({})", category.name, part.name, marks(part));
    }
    out
}

/// The hosts of a part for people.
fn part_text(category: &Category, part: &Part) -> String {
    let mut out = format!("{}/{}", category.name, part.name);
    if !part.is_whole() {
        let _ = write!(out, " ({})", marks(part));
    }
    out.push('\n');
    for host in part.written() {
        let _ = writeln!(out, "  {}", printable(&host));
    }
    if !part.templates.is_empty() {
        out.push_str("no policy can take it: write the real hosts under hostRules\n");
    }
    if let Some(note) = &part.note {
        let words: Vec<&str> = note.split_whitespace().collect();
        let _ = writeln!(out, "note: {}", printable(&words.join(" ")));
    }
    out
}

/// A category for programs.
fn category_json(category: &Category) -> Value {
    let part = |part: &Part| {
        let marks: Vec<&str> = part.marks().map(Mark::as_str).collect();
        json!({"name": &*part.name, "hosts": part.written().count(), "marks": marks})
    };
    let parts: Vec<Value> = category.parts.iter().map(part).collect();
    json!({"name": &*category.name, "hosts": whole(category).len(), "parts": parts})
}

/// What a whole category stands for, for programs.
fn whole_json(category: &Category) -> Value {
    let left_out = category.parts.iter().filter(|part| !part.is_whole()).map(|part| {
        let marks: Vec<&str> = part.marks().map(Mark::as_str).collect();
        json!({"part": &*part.name, "marks": marks})
    });
    json!({"category": &*category.name, "hosts": whole(category), "leftOut": left_out.collect::<Vec<_>>()})
}

/// A part that is named, for programs.
fn named_json(category: &Category, part: &Part) -> Value {
    json!({
        "category": &*category.name,
        "part": &*part.name,
        "hosts": part.written().collect::<Vec<_>>(),
        "marks": part.marks().map(Mark::as_str).collect::<Vec<_>>(),
        "note": part.note.as_deref(),
    })
}
