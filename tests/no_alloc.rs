//! A decision allocates nothing: permits and denials share what the compiled documents hold.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and forwards")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use sluicegate::addr::{Host, Target};
use sluicegate::policy::category::CategoryLists;
use sluicegate::policy::document::parse;
use sluicegate::policy::{Guards, Policy, PolicySet, Reason, RequestFacts};

/// The system's allocator, with a count of requests for each thread.
struct Counting;

thread_local! {
    /// How often this thread asked for memory.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded unchanged; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` answers, after it allocated nothing.
fn free<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = ASKED.get();
    let answer = work();
    assert_eq!(ASKED.get() - before, 0, "{what} allocates");
    answer
}

/// A Global, a Group and a Sandbox document with every kind of rule.
fn set() -> PolicySet {
    let text = r#"
kind: EgressPolicy
metadata: {name: global}
spec:
  mode: Unrestricted
  hostRules: [{pattern: "*.denied.example", action: Deny}, {pattern: 9.9.9.9, action: Deny}]
  cidrRules: [{cidr: 8.0.0.0/8, action: Deny}, {cidr: 8.8.0.0/16, action: Allow}, {cidr: 10.0.0.0/8, action: Allow}, {cidr: "64:ff9b::/96", action: Allow}]
---
kind: EgressPolicy
metadata: {name: group, group: grp}
spec:
  mode: Limited
  enforcement: Report
  hostRules: [a.example]
  cidrRules: [{cidr: 10.0.0.0/8, action: Allow}, {cidr: "64:ff9b::/96", action: Allow}]
---
kind: EgressPolicy
metadata: {name: own, group: grp, sandbox: sbx}
spec:
  mode: Limited
  hostRules: ["*.example", "reg.*.data.example", 8.8.8.8, "[64:ff9b::808:808]"]
  cidrRules: [{cidr: 10.0.0.0/8, action: Allow}, {cidr: "64:ff9b::/96", action: Allow}]
  categories: [package-registries]
  rules:
    - {match: {host: "*.ruled.example", path: /admin, methods: [GET, POST]}, action: Deny}
    - {match: {host: "api-*.ruled.example"}, action: Allow}
    - {match: {host: never.ruled.example}, action: Deny}
"#;
    let parsed = parse(&"p.yaml".into(), text);
    assert!(parsed.problems.iter().all(|problem| !problem.is_error()), "{:?}", parsed.problems);
    let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
    let guards = Guards {
        exempt: vec!["127.0.0.0/8".parse().unwrap()],
        nat64: vec!["2a00:1:2::/96".parse().unwrap()],
        own: vec!["8.8.4.4/32".parse().unwrap()],
        sockets: vec!["0.0.0.0:3128".parse().unwrap()],
    };
    PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::new(guards), None, None).0
}

/// Asks A, and where that allows C and B.
fn decide(policy: &Policy, target: &Target, path: &str, address: IpAddr) -> Result<(), Reason> {
    let permit = policy.admit(target).map_err(|denial| denial.reason())?;
    let facts = RequestFacts { method: "GET", path };
    policy.admit_request(&permit, &facts).map_err(|denial| denial.reason())?;
    policy.admit_address(&permit, address).map(drop).map_err(|denial| denial.reason())
}

#[test]
fn no_question_allocates_whether_a_rule_allows_or_denies() {
    let set = set();
    for (target, path, address, said) in [
        ("a.example:443", "/", "8.8.8.8", Ok(())),
        ("www.b.example:443", "/x", "1.1.1.1", Ok(())),
        ("reg.eu.data.example:443", "/", "2606:4700::1", Ok(())),
        ("pypi.org:443", "/", "10.0.0.1", Ok(())),
        ("8.8.8.8:443", "/", "8.8.8.8", Ok(())),
        ("[64:ff9b::808:808]:443", "/", "64:ff9b::808:808", Ok(())),
        ("api-1.ruled.example:443", "/", "8.8.8.8", Ok(())),
        ("api-1.ruled.example:443", "/admin/x", "8.8.8.8", Err(Reason::RuleDenied)),
        ("never.ruled.example:443", "/", "8.8.8.8", Err(Reason::RuleDenied)),
        ("x.denied.example:443", "/", "8.8.8.8", Err(Reason::HostDenied)),
        ("[::ffff:9.9.9.9]:443", "/", "8.8.8.8", Err(Reason::HostDenied)),
        ("8.1.1.1:443", "/", "8.1.1.1", Err(Reason::CidrDenied)),
        ("a.example:443", "/", "8.1.1.1", Err(Reason::CidrDenied)),
        ("a.example:8443", "/", "8.8.8.8", Err(Reason::PortDenied)),
        ("elsewhere.test:443", "/", "8.8.8.8", Err(Reason::DefaultDeny)),
    ] {
        let (asked, address) = (target.parse().unwrap(), address.parse().unwrap());
        let policy = free("choosing the policy", || set.policy_for("sbx", Some("grp"), false));
        assert_eq!(free(target, || decide(&policy, &asked, path, address)), said, "{target}");
    }
}

#[test]
fn the_questions_about_what_is_inside_allocate_nothing() {
    let set = set();
    let policy = set.policy_for("sbx", Some("grp"), false);
    let (target, name) = ("8.8.8.8:443".parse().unwrap(), Host::parse("a.example").unwrap());
    let permit = policy.admit(&target).unwrap();
    let permit = free("a second name", || policy.admit_alias(permit, &name)).unwrap();
    assert!(free("TLS without a name", || policy.admit_nameless_tls(&permit)).is_ok());
    let target = "api-1.ruled.example:443".parse().unwrap();
    let permit = policy.admit(&target).unwrap();
    assert!(free("a tunnel", || policy.admit_tunnel(&permit)).is_err());
    let denial = free("TLS without a name", || policy.admit_nameless_tls(&permit)).unwrap_err();
    assert_eq!(denial.reason(), Reason::SniMissing);
    let empty = PolicySet::default();
    let nobody = free("no policy", || empty.policy_for("x", None, false).admit(&target).unwrap_err());
    assert_eq!(nobody.reason(), Reason::NoPolicy);
}
