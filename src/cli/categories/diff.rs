//! `categories diff`: what a policy would get from one list and not from another.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::policy::rendered;
use crate::live::store::categories::operators_list;
use crate::policy::category::difference::{Difference, PartDifference};
use crate::policy::category::{CategoryList, CategoryLists, Mark};
use crate::source::printable;

/// Print what differs between two lists; exit 0 if nothing does, 1 if something does
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The list files or directories, the old one first; with one only, the old one is the shipped list
    #[arg(required = true, num_args = 1..=2, value_name = "[OLD] NEW")]
    files: Vec<PathBuf>,
}

impl Diff {
    /// Compares and prints.
    pub(super) fn run(self) -> u8 {
        let (old, new) = match self.files.as_slice() {
            [old, new] => (list_of(old), list_of(new)),
            [new] => (Some(CategoryLists::shipped().list().clone()), list_of(new)),
            _ => (None, None),
        };
        let (Some(old), Some(new)) = (old, new) else { return crate::cli::USAGE };
        let difference = Difference::between(&old, &new);
        crate::cli::print(&if self.json {
            format!("{:#}\n", as_json(&difference))
        } else {
            text(&difference)
        });
        if difference.is_none() { 0 } else { crate::cli::FAILED }
    }
}

/// The list in a file or directory; else says what is wrong with it.
fn list_of(path: &Path) -> Option<CategoryList> {
    match operators_list(path) {
        Ok(None) => {
            crate::cli::complain(&format!("error: {} holds no `kind: CategoryList`\n", path.display()));
            None
        }
        Ok(found) => found,
        Err(unclear) => {
            crate::cli::complain(&rendered(&unclear.problems, &unclear.texts));
            None
        }
    }
}

/// The warning of a list that changed under a number that policies may have pinned.
fn warning(difference: &Difference) -> Option<String> {
    difference.is_unnoticed().then(|| {
        let version = difference.versions.1;
        format!(
            "WARNING: the content differs and the version is {version} in both: a policy with \
             `categoriesVersion: {version}` takes the new content as if it had been reviewed; raise the version"
        )
    })
}

/// The difference for people: nothing where there is none.
fn text(difference: &Difference) -> String {
    let mut out = String::new();
    if difference.is_none() {
        return out;
    }
    let Difference { names, versions, parts } = difference;
    if let Some(warning) = warning(difference) {
        let _ = writeln!(out, "{warning}");
    }
    let (old, new) = (printable(&names.0), printable(&names.1));
    let _ = writeln!(out, "{old}, version {} -> {new}, version {}", versions.0, versions.1);
    for part in parts {
        part_text(&mut out, part);
    }
    out
}

/// What differs in one part.
fn part_text(out: &mut String, part: &PartDifference) {
    let _ = writeln!(out, "{} {}/{}", part.fate.as_str(), part.category, part.part);
    for (sign, hosts, marks) in
        [('-', &part.hosts_removed, &part.marks_removed), ('+', &part.hosts_added, &part.marks_added)]
    {
        for mark in marks {
            let _ = writeln!(out, "  {sign} ({})", mark.as_str());
        }
        for host in hosts {
            let _ = writeln!(out, "  {sign} {}", printable(host));
        }
    }
    match part.whole {
        (false, true) => drop(writeln!(out, "  `{}` takes it in", part.category)),
        (true, false) => drop(writeln!(out, "  `{}` leaves it out", part.category)),
        (false, false) | (true, true) => {}
    }
}

/// The difference for programs.
fn as_json(difference: &Difference) -> Value {
    let marks = |marks: &[Mark]| marks.iter().map(|mark| mark.as_str()).collect::<Vec<_>>();
    let part = |part: &PartDifference| {
        json!({
            "category": &*part.category,
            "part": &*part.part,
            "fate": part.fate.as_str(),
            "hostsAdded": part.hosts_added,
            "hostsRemoved": part.hosts_removed,
            "marksAdded": marks(&part.marks_added),
            "marksRemoved": marks(&part.marks_removed),
            "inWhole": {"old": part.whole.0, "new": part.whole.1},
        })
    };
    let Difference { names, versions, parts } = difference;
    json!({
        "same": difference.is_none(),
        "old": {"name": &*names.0, "version": versions.0},
        "new": {"name": &*names.1, "version": versions.1},
        "warning": warning(difference),
        "parts": parts.iter().map(part).collect::<Vec<_>>(),
    })
}
