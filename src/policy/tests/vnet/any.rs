//! Any lists: order, narrowing, the naive chooser.

use super::*;

/// Names of the managed path, or not.
const NAMES: [&str; 6] = ["a.example", "b.example", "*.b.example", "c.d.example", "*.d.example", "*"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_of_lists_and_other_documents_never_matter_for_the_path(
        mut names in subsequence(NAMES.to_vec(), 0..=5),
        host in select(vec!["a.example", "b.example", "x.b.example", "c.d.example", "y.example", "8.8.8.8"]),
        other in select(vec![OPEN, "{mode: Limited}", "{mode: Limited, vnet: {network: other, managedPath: {additionalHosts: [\"*\"]}}}"]),
    ) {
        let spec = |names: &[&str]| {
            let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
            delegating(&format!("additionalHosts: [{}]", quoted.join(", ")))
        };
        let target = target(&format!("{host}:443"));
        let alone = policy(&spec(&names)).route(&target);
        names.reverse();
        let turned = spec(&names);
        prop_assert_eq!(&policy(&turned).route(&target), &alone);
        for text in [layers(&[("Global", other), ("Sandbox", &turned)]), layers(&[("Global", &turned), ("Group", other)])] {
            prop_assert_eq!(&policy_over(&text, Guards::default()).route(&target), &alone);
        }
    }

    #[test]
    fn adding_a_document_that_delegates_never_widens_what_a_delegated_call_reaches(
        first in select(vec!["10.0.0.0/8", "20.0.0.0/8", "2001:4860::/32"]),
        second in select(vec!["10.0.0.0/9", "20.0.0.0/8", "0.0.0.0/0"]),
        address in select(vec!["10.1.1.1", "10.200.0.1", "20.1.1.1", "2001:4860::1", "::ffff:10.1.1.1", "127.0.0.1"]),
    ) {
        let rule = |net: &str| ruled(&format!("{{name: a, priority: 100, action: Allow, destination: \"{net}\"}}"));
        let before = policy(&rule(first));
        let after = policy_over(&layers(&[("Global", &rule(first)), ("Sandbox", &rule(second))]), Guards::default());
        let allows = |policy: &Policy| b(policy, "d.example:443", address) == "Allow";
        prop_assert!(allows(&before) || !allows(&after));
    }
}

#[test]
fn twenty_thousand_calls_take_the_path_and_get_the_verdict_of_a_naive_chooser() {
    use crate::policy::oracle::{Case, Choices};
    let (mut pairs, mut delegated) = (0, 0);
    for seed in 1_000_000..1_001_000 {
        let case = Case::draw(&mut Choices::Seed(seed));
        let (own, away) =
            case.compare_paths().unwrap_or_else(|difference| panic!("seed {seed}\n{difference}"));
        pairs += own;
        delegated += away;
    }
    assert!(pairs >= 20_000, "{pairs}");
    assert!(delegated > pairs / 5 && delegated < pairs * 4 / 5, "{delegated} of {pairs}");
}
