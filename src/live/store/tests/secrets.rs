//! Secrets, the policies that need them, and those that need the sandbox CA.

use super::*;

/// A `Secret` document with one key of this variable.
fn secret(about: &str, variable: &str) -> String {
    format!("kind: Secret\nmetadata: {{{about}}}\nspec: {{keys: {{k: {{env: {variable}}}}}}}\n")
}

/// A policy that sends the secret `s` to `x.test`.
const USES: &str = "mode: Limited\nrules: [{match: {host: x.test}, action: {type: Transform, headers: \
    [{operation: Set, name: A, valueRef: {secretRef: {secretId: s}}}]}}]\n";

/// Where the key of `s` comes from in a request to `x.test`; the reason of a denial.
fn source(policies: &PolicySet) -> String {
    let policy = policies.policy_for("default", None, false);
    let permit = policy.admit(&"x.test:443".parse().unwrap()).unwrap();
    let facts = RequestFacts { method: "GET", path: "/", secure: true };
    match policy.admit_request(&permit, &facts) {
        Ok(request) => format!("{:?}", request.plan().secrets().map(|used| &used.source).collect::<Vec<_>>()),
        Err(denial) => denial.reason().to_string(),
    }
}

#[test]
fn p2_a_secret_keeps_its_last_good_version_until_it_is_taken_away() {
    let mut bench = Bench::new(&[("p.yaml", USES), ("s.yaml", &secret("name: s", "FIRST"))]);
    let at = |bench: &Bench, name: &str| {
        assert!(source(&bench.policies).contains(name), "{}", source(&bench.policies));
    };
    at(&bench, "FIRST");
    bench.write("s.yaml", secret("name: s", "SECOND"));
    bench.load_well();
    at(&bench, "SECOND");
    bench.write("s.yaml", "kind: Secret\nmetadata: {name: s}\nspec: {keys: {}}\n");
    bench.load_badly("no good version any more");
    at(&bench, "SECOND");
    fs::remove_file(bench.path("s.yaml")).unwrap();
    bench.load_badly("no good version any more");
    at(&bench, "SECOND");
    bench.write("s.yaml", secret("name: s", "THIRD") + "---\n" + &secret("name: s", "FOURTH"));
    bench.load_badly("a second secret `s`");
    at(&bench, "SECOND");
    bench.write("t.yaml", secret("name: s", "FIFTH"));
    bench.load_badly("a second secret `s`");
    at(&bench, "SECOND");
    fs::remove_file(bench.path("t.yaml")).unwrap();
    bench.write("s.yaml", "kind: Secret\nmetadata: {name: s, removed: true}\n");
    bench.load_badly("there is no secret `s`");
    assert_eq!(source(&bench.policies), "secret_unavailable");
    bench.write("s.yaml", secret("name: s", "SIXTH"));
    bench.load_well();
    at(&bench, "SIXTH");
}

#[test]
fn a_policy_whose_secret_is_not_there_waits_for_it_in_its_last_good_version() {
    let mut bench = Bench::new(&[("p.yaml", OLD)]);
    bench.write("p.yaml", USES);
    bench.load_badly("there is no secret `s`");
    assert!(bench.allows("old.test:443") && !bench.allows("x.test:443"));
    bench.write("s.yaml", secret("name: s", "FIRST"));
    bench.load_well();
    assert!(!bench.allows("old.test:443") && bench.allows("x.test:443"));
    assert_eq!(bench.load(), None);
}

#[test]
fn a_policy_that_needs_decryption_keeps_its_last_good_version_without_an_authority() {
    let mut bench = Bench::new(&[("p.yaml", OLD)]);
    bench.write("p.yaml", "mode: Unrestricted\ntrafficInspection: Full\n");
    let missing = |bench: &mut Bench, authority| {
        let interception = Interception { authority, ..Interception::default() };
        let guards = Arc::new(Guards { interception, ..Guards::default() });
        let loaded = bench.store.load(&guards, Some(&bench.policies)).unwrap();
        bench.policies = loaded.policies;
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let found = missing(&mut bench, Authority::Missing);
    assert!(found.iter().any(|problem| problem.contains("`intercept` authority")), "{found:?}");
    assert!(bench.allows("old.test:443") && !bench.allows("new.test:443"));
    assert_eq!(missing(&mut bench, Authority::Present), Vec::<String>::new());
    assert!(bench.allows("new.test:443"));
}
