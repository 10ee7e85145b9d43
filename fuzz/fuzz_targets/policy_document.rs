//! Policy files: no panic, and what loads without a problem compiles and answers.
#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sluicegate::addr::Target;
use sluicegate::policy::category::CategoryLists;
use sluicegate::policy::{Guards, PolicySet, RequestFacts, Scope, document};
use sluicegate::source::render::{Lines, render};

/// Names, literals and ports that differ in what decides them.
static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    [
        "pypi.org:443",
        "a.b.github.com:80",
        "db.corp:5432",
        "10.1.2.3:443",
        "[2001:db8::1]:8443",
        "169.254.169.254:80",
    ]
    .iter()
    .map(|text| Target::parse(text).expect("a target"))
    .collect()
});

fuzz_target!(|text: &str| {
    let parsed = document::parse(&Arc::from("fuzz.yaml"), text);
    let lines = Lines::new(text);
    for problem in &parsed.problems {
        assert!(!problem.to_string().contains('\n'), "a problem is one line");
        assert!(render(problem, Some(&lines)).contains(&*problem.message));
    }
    let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
    let lists: Vec<_> = parsed.lists.iter().collect();
    let (lists, _) = CategoryLists::shipped().followed_by(&lists);
    let (set, _) = PolicySet::compile(&documents, &lists, Arc::new(Guards::default()), None, None);
    let addresses: [IpAddr; 3] = [[10, 1, 2, 3].into(), [192, 0, 2, 7].into(), [93, 184, 215, 14].into()];
    for document in set.documents() {
        let (sandbox, group) = match document.scope() {
            Scope::Global => ("default", None),
            Scope::Group(group) => ("default", Some(&**group)),
            Scope::Sandbox { group, sandbox } => (&**sandbox, group.as_deref()),
        };
        let policy = set.policy_for(sandbox, group, true);
        for target in TARGETS.iter() {
            let Ok(permit) = policy.admit(target) else { continue };
            let facts = RequestFacts { method: "GET", path: "/simple/x", secure: false };
            let _ = policy.admit_request(&permit, &facts);
            for address in addresses {
                let _ = policy.admit_address(&permit, address);
            }
        }
    }
});
