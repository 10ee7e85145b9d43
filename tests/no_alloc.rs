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
    compiled(text)
}

/// A Sandbox document that is large in every way: hosts beyond a small table, with ports of their own, with stars in
/// many places and with more labels than are hashed; networks of both families, in each other, with ports; a tree of
/// paths where a look-up goes up again.
fn large_set() -> PolicySet {
    let mut text = String::from(
        "kind: EgressPolicy\nmetadata: {name: own, sandbox: sbx}\nspec:\n  mode: Limited\n  hostRules:\n",
    );
    let deep = "d.".repeat(30);
    text.extend((0..500).map(|n| format!("    - h{n}.example\n    - \"*.s{n}.example\"\n")));
    text.extend([format!("    - {deep}deep.example\n    - \"*.{deep}below.example\"\n")]);
    text.push_str(
        "    - db.example:5432\n    - \"*.db.example:5432\"\n    - \"*.a.*.b.example\"\n    - \"x-*.*.y.example\"\n    \
         - \"[2606:4700::1]:8443\"\n    - {pattern: \"*.s7.example:443\", action: Deny}\n  cidrRules:\n",
    );
    text.extend((0..300).map(|n| {
        let action = if n % 2 == 0 { "Deny" } else { "Allow" };
        format!("    - {{cidr: 20.{}.{}.0/24, action: {action}}}\n    - {{cidr: \"2a00:{n:x}::/32\", action: {action}, ports: [443, 8000-9000]}}\n", n / 256, n % 256)
    }));
    text.push_str("    - {cidr: \"2a00::/16\", action: Allow}\n    - {cidr: 20.0.0.0/8, action: Allow, ports: [80]}\n  rules:\n");
    text.extend((0..100).map(|n| {
        format!(
            "    - {{match: {{host: p.example, path: /v1/*/r{n}, methods: [M{}]}}, action: Allow}}\n",
            n % 40
        )
    }));
    text.push_str(
        "    - {match: {host: p.example, path: /v1/fixed/*}, action: Allow}\n    \
         - {match: {host: p.example, path: /v1/f*d/last}, action: Deny}\n    \
         - {match: {host: \"*.example\", path: /v1, methods: [PUT]}, action: Deny}\n    \
         - {match: {host: p.example}, action: Deny}\n",
    );
    compiled(&text)
}

/// The documents of a text, compiled, under guards of every kind.
fn compiled(text: &str) -> PolicySet {
    let parsed = parse(&"p.yaml".into(), text);
    assert!(parsed.problems.iter().all(|problem| !problem.is_error()), "{:?}", parsed.problems);
    let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
    let guards = Guards {
        exempt: vec!["127.0.0.0/8".parse().unwrap()],
        nat64: vec!["2a00:1:2::/96".parse().unwrap()],
        own: vec!["8.8.4.4/32".parse().unwrap()],
        sockets: vec!["0.0.0.0:3128".parse().unwrap()],
        ..Guards::default()
    };
    PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::new(guards), None, None).0
}

/// Asks A, and where that allows C and B, for a request with `GET`.
fn decide(policy: &Policy, target: &Target, path: &str, address: IpAddr) -> Result<(), Reason> {
    request(policy, target, ("GET", path), address)
}

/// Asks A, and where that allows C and B.
fn request(
    policy: &Policy,
    target: &Target,
    (method, path): (&str, &str),
    address: IpAddr,
) -> Result<(), Reason> {
    let permit = policy.admit(target).map_err(|denial| denial.reason())?;
    let facts = RequestFacts { method, path, secure: false };
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
fn no_question_allocates_however_large_the_policy_and_however_odd_the_question() {
    let set = large_set();
    let policy = set.policy_for("sbx", None, true);
    let deep = |end: &str| format!("{}{end}:443", "d.".repeat(110));
    let (exactly, below) = (format!("{}deep.example:443", "d.".repeat(30)), deep("below.example"));
    let (nowhere, long) = (deep("nowhere.example"), format!("/{}", "v1/x/".repeat(2_000)));
    for (target, method, path, address, said) in [
        ("h7.example:443", "GET", "/", "1.1.1.1", Ok(())),
        ("a.b.s8.example:443", "GET", "/", "1.1.1.1", Ok(())),
        ("a.s7.example:443", "GET", "/", "1.1.1.1", Err(Reason::HostDenied)),
        ("a.s7.example:80", "GET", "/", "1.1.1.1", Ok(())),
        ("s8.example:443", "GET", "/", "1.1.1.1", Err(Reason::DefaultDeny)),
        (exactly.as_str(), "GET", "/", "1.1.1.1", Ok(())),
        (below.as_str(), "GET", "/", "1.1.1.1", Ok(())),
        (nowhere.as_str(), "GET", "/", "1.1.1.1", Err(Reason::DefaultDeny)),
        ("db.example:5432", "GET", "/", "1.1.1.1", Ok(())),
        ("x.db.example:5432", "GET", "/", "1.1.1.1", Ok(())),
        ("db.example:443", "GET", "/", "1.1.1.1", Err(Reason::DefaultDeny)),
        ("x.y.a.z.b.example:443", "GET", "/", "1.1.1.1", Ok(())),
        ("x-1.z.y.example:443", "GET", "/", "1.1.1.1", Ok(())),
        ("x-1.y.example:443", "GET", "/", "1.1.1.1", Err(Reason::DefaultDeny)),
        ("[2606:4700::1]:8443", "GET", "/", "2606:4700::1", Ok(())),
        ("[2606:4700::1]:443", "GET", "/", "2606:4700::1", Err(Reason::DefaultDeny)),
        ("h7.example:443", "GET", "/", "20.0.4.1", Err(Reason::CidrDenied)),
        ("h7.example:443", "GET", "/", "20.0.5.1", Ok(())),
        ("h7.example:443", "GET", "/", "2a00:4::1", Err(Reason::CidrDenied)),
        ("h7.example:80", "GET", "/", "2a00:4::1", Ok(())),
        ("h7.example:443", "PUT", "/v1/x", "1.1.1.1", Err(Reason::RuleDenied)),
        ("h7.example:443", "POST", "/v1/x", "1.1.1.1", Ok(())),
        ("p.example:443", "M7", "/v1/any/r47", "1.1.1.1", Ok(())),
        ("p.example:443", "M8", "/v1/any/r47", "1.1.1.1", Err(Reason::RuleDenied)),
        ("p.example:443", "M7", "/v1/fixed/r47", "1.1.1.1", Ok(())),
        ("p.example:443", "UNHEARD", "/v1/fixed/last", "1.1.1.1", Ok(())),
        ("p.example:443", "M7", "/v1/fold/last", "1.1.1.1", Err(Reason::RuleDenied)),
        ("p.example:443", "M7", long.as_str(), "1.1.1.1", Err(Reason::RuleDenied)),
    ] {
        let (asked, address) = (target.parse().unwrap(), address.parse().unwrap());
        let answer = free(target, || request(&policy, &asked, (method, path), address));
        assert_eq!(answer, said, "{target} {method} {path:.40} {address}");
    }
}

#[test]
fn the_path_of_a_call_and_its_networks_rules_allocate_nothing() {
    let set = compiled(
        "mode: VNet\nvnet:\n  network: prod\n  managedPath: {packageRegistries: {npm: true}, additionalHosts: ['*.m.example', 'a-*.n.example:443']}\n  \
         securityRules:\n    - {name: low, priority: 200, action: Allow, destination: '*', ports: [443]}\n    \
         - {name: no, priority: 100, action: Deny, destination: [20.0.0.0/8, '2a00::/16']}\n",
    );
    for (target, address, said) in [
        ("registry.npmjs.org:443", "1.1.1.1", Ok(())),
        ("x.m.example:443", "20.0.0.1", Ok(())),
        ("a-1.n.example:443", "1.1.1.1", Ok(())),
        ("a-1.n.example:80", "1.1.1.1", Err(Reason::NetworkRuleDenied)),
        ("d.example:443", "10.0.0.1", Ok(())),
        ("d.example:443", "20.0.0.1", Err(Reason::NetworkRuleDenied)),
        ("d.example:443", "64:ff9b::1400:1", Err(Reason::NetworkRuleDenied)),
        ("[2a00::1]:443", "2a00::1", Err(Reason::NetworkRuleDenied)),
    ] {
        let (asked, address) = (target.parse().unwrap(), address.parse().unwrap());
        let policy = free("choosing the policy", || set.policy_for("sbx", None, false));
        assert_eq!(free(target, || decide(&policy, &asked, "/", address)), said, "{target}");
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
    assert!(free("a tunnel", || policy.admit_sealed(&permit)).is_err());
    let denial = free("TLS without a name", || policy.admit_nameless_tls(&permit)).unwrap_err();
    assert_eq!(denial.reason(), Reason::SniMissing);
    let empty = PolicySet::default();
    let nobody = free("no policy", || empty.policy_for("x", None, false).admit(&target).unwrap_err());
    assert_eq!(nobody.reason(), Reason::NoPolicy);
}
