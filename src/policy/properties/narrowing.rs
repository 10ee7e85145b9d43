//! What is added only narrows.

use super::*;

/// Whether `after` answers nothing more widely than `before`.
fn narrows(before: &Policy, after: &Policy, target: &str) -> Result<(), TestCaseError> {
    let permit = free(target);
    prop_assert!(width(a(after, target)) <= width(a(before, target)), "A {}", target);
    for path in PATHS {
        for method in METHODS {
            let (old, new) = (c(before, &permit, method, path), c(after, &permit, method, path));
            prop_assert!(width(new) <= width(old), "C {} {} {}: {:?} {:?}", target, method, path, old, new);
        }
    }
    for address in ADDRESSES {
        let (old, new) = (b(before, &permit, address), b(after, &permit, address));
        prop_assert!(width(new) <= width(old), "B {} {}: {:?} {:?}", target, address, old, new);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn adding_a_document_to_a_non_empty_set_only_narrows(drafts in drafts(), targets in vec(target(), 3), drop in any::<Index>()) {
        prop_assume!(drafts.len() > 1);
        let mut fewer = drafts.clone();
        fewer.remove(drop.index(drafts.len()));
        let (before, after) = (policy_over(&text(&fewer), Guards::default()), policy_over(&text(&drafts), Guards::default()));
        for target in &targets {
            narrows(&before, &after, target)?;
        }
    }

    #[test]
    fn adding_a_deny_only_narrows(drafts in drafts(), denies in (host_rule(true), cidr_rule(true), rule(true)),
        which in any::<(Index, Index, Index)>(), targets in vec(target(), 3)) {
        prop_assume!(!reports_and_rewrites(&drafts));
        let mut more = drafts.clone();
        let draft = &mut more[which.0.index(drafts.len())].1;
        let (list, deny) = match which.1.index(3) {
            0 => (&mut draft.hosts, denies.0),
            1 => (&mut draft.cidrs, denies.1),
            _ => (&mut draft.rules, denies.2),
        };
        list.insert(which.2.index(list.len() + 1), deny);
        let (before, after) = (policy_over(&text(&drafts), Guards::default()), policy_over(&text(&more), Guards::default()));
        for target in &targets {
            narrows(&before, &after, target)?;
        }
    }

    #[test]
    fn adding_a_guard_only_narrows(drafts in drafts(), lists in operator(), target in target()) {
        let text = text(&drafts);
        let [exempt, own, sockets] = lists;
        let before = policy_over(&text, guards(&[exempt.clone(), Vec::new(), Vec::new()]));
        let after = policy_over(&text, guards(&[exempt, own, sockets]));
        narrows(&before, &after, &target)?;
    }
}
