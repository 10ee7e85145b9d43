//! The operator's list of categories among policy files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::read;
use crate::policy::category::CategoryList;
use crate::policy::document;
use crate::source::Problem;

/// Why it is not known which list policy files put in force.
#[derive(Debug)]
pub struct Unclear {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The text of each file, to show the line.
    pub texts: BTreeMap<String, String>,
}

/// The operator's list under `path`, a file or a directory; `None` where no file has one.
///
/// Documents of other kinds need only be well formed: a policy that pins another version is no obstacle.
///
/// # Errors
/// A file cannot be read or does not parse, or there are two lists.
pub fn operators_list(path: &Path) -> Result<Option<CategoryList>, Unclear> {
    let (texts, mut problems) = read(path);
    let texts: BTreeMap<_, _> =
        texts.into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    let mut lists: Vec<CategoryList> = Vec::new();
    for (file, text) in &texts {
        let parsed = document::parse(&Arc::from(file.as_str()), text);
        lists.extend(parsed.lists);
        problems.extend(parsed.problems.into_iter().filter(Problem::is_error));
    }
    if let [first, second, ..] = lists.as_slice() {
        let problem = Problem::error("a second CategoryList").at(second.place.clone());
        problems.push(problem.cure(format!("keep one; the first is at {}", first.place)));
    }
    if problems.is_empty() { Ok(lists.pop()) } else { Err(Unclear { problems, texts }) }
}
