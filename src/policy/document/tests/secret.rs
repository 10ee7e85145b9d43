//! Secrets.

use super::*;

#[test]
fn a_secret_says_where_its_values_come_from() {
    let parsed = load(
        "kind: Secret\nmetadata: {name: github, group: agents}\nspec: {keys: {token: {file: /run/secrets/github}, id: {env: GITHUB_ID}}, hosts: [api.github.com]}\n",
    );
    assert_eq!(parsed.problems, []);
    let secret = &parsed.secrets[0];
    assert_eq!((&*secret.name, secret.group.as_deref(), secret.keys.len()), ("github", Some("agents"), 2));
    let given = |at: usize| &*secret.keys[at].source;
    assert_eq!(*given(0), KeySource::Given(SecretSource::File("/run/secrets/github".into())));
    assert_eq!(*given(1), KeySource::Given(SecretSource::Env("GITHUB_ID".into())));
    assert_eq!(secret.hosts.as_ref().map(Vec::len), Some(1));
    for (spec, part) in [
        ("{}", "`keys` is missing"),
        ("{keys: {}}", "without keys"),
        ("{keys: {a: {}}}", "exactly one source"),
        ("{keys: {a: {file: x, env: Y}}}", "exactly one source"),
        ("{keys: {a: {env: A-B}}}", "environment variable"),
        ("{keys: {a: {file: x}}, hosts: []}", "lists no host"),
        ("{keys: {a: {file: x}}, hosts: [\"*\"]}", "every host"),
        ("{keys: {a: hunter2}}", "values do not belong here"),
        ("{keys: {a: {file: x}}, placeholder: true}", "needs `hosts`"),
        ("{keys: {a: {file: x}}, scrub: text}", "did you mean `Text`?"),
    ] {
        let found = errors(&format!("kind: Secret\nmetadata: {{name: s}}\nspec: {spec}\n"));
        assert!(found[0].contains(part), "{found:?}");
        assert!(!found[0].contains("hunter2"));
    }
}
