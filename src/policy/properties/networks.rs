//! The deciding network is that of a scan.

use super::*;
use crate::policy::cidr_set::CidrSet;
use crate::policy::mode::Action;
use crate::policy::port_set::PortSet;

/// A rule as numbers: network, length, action, the one range of ports.
type Plain = (u128, u8, Action, Option<(u16, u16)>);

/// The verdict of the plainest scan: the longest covering length, Deny before Allow.
fn scan(rules: &[Plain], address: u128, port: u16, shift: u32) -> Option<Action> {
    let covering = rules.iter().filter(|(net, length, _, ports)| {
        let gap = shift - u32::from(*length);
        ports.is_none_or(|(low, high)| low <= port && port <= high)
            && (net ^ address).checked_shr(gap).unwrap_or(0) == 0
    });
    covering
        .max_by_key(|(_, length, action, _)| (*length, *action == Action::Deny))
        .map(|(_, _, action, _)| *action)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    // 1000 policies, 1000 addresses each.
    #[test]
    fn a5_the_deciding_network_is_that_of_a_linear_scan(
        rules in vec((any::<u128>(), 0u8..=128, any::<bool>(), of((440u16..445, 440u16..445))), 0..14),
        v4 in any::<bool>(), seed in any::<u64>(),
    ) {
        let shift = if v4 { 32 } else { 128 };
        // Few distinct bits, so that networks nest and addresses fall into them.
        let near = |number: u128| if v4 { number & 0x0303_0103 } else { number & 0x0003_0000_0001_0000_0003_0000_0000_0001 };
        let address = |bits: u128| -> IpAddr {
            if v4 { u32::try_from(bits).unwrap().to_be_bytes().into() } else { bits.to_be_bytes().into() }
        };
        let rules: Vec<Plain> = rules.into_iter().map(|(bits, length, deny, ports)| {
            let length = if v4 { length / 4 } else { length };
            let gap = shift - u32::from(length);
            let net = near(bits).checked_shr(gap).unwrap_or(0).checked_shl(gap).unwrap_or(0);
            let action = if deny { Action::Deny } else { Action::Allow };
            (net, length, action, ports.map(|(a, b)| (a.min(b), a.max(b))))
        }).collect();
        let ports: Vec<Option<PortSet>> = rules.iter().map(|(_, _, _, ports)| ports.map(|range| [range].into_iter().collect())).collect();
        let set = CidrSet::new((0..).zip(&rules).zip(&ports).map(|((id, (net, length, action, _)), ports)| {
            (id, IpNet::new(address(*net), *length).unwrap(), *action, ports.as_ref())
        }));
        let mut state = seed;
        for _ in 0..1000 {
            let bits = near(u128::from(next(&mut state)) << 64 | u128::from(next(&mut state)));
            let port = 439 + u16::try_from(next(&mut state) % 7).unwrap();
            let found = set.longest(address(bits), Port::new(port).unwrap());
            prop_assert_eq!(found.map(|found| found.action), scan(&rules, bits, port, shift));
            if let Some(found) = found {
                let (_, _, action, ports) = rules[found.id as usize];
                prop_assert_eq!((action, ports.is_some()), (found.action, found.lists_port));
            }
        }
    }
}

/// Rules near one another: prefixes of a few addresses that differ in a few bits.
fn crowd(v4: bool) -> impl Strategy<Value = Vec<Plain>> {
    let bits = if v4 { 32 } else { 128_u8 };
    let crowd = (vec(any::<u128>(), 1..4), 1..300_usize).prop_flat_map(move |(bases, count)| {
        let one =
            (select(bases), vec(0..bits, 0..4), 0..=bits, any::<bool>(), of((440u16..445, 440u16..445)));
        vec(one, count)
    });
    crowd.prop_map(move |rules| {
        let rule = |(base, flips, length, deny, ports): (u128, Vec<u8>, u8, bool, Option<(u16, u16)>)| {
            let near = flips.iter().fold(base >> (128 - bits), |base, bit| base ^ 1 << bit);
            let gap = u32::from(bits - length);
            let net = near.checked_shr(gap).unwrap_or(0).checked_shl(gap).unwrap_or(0);
            let action = if deny { Action::Deny } else { Action::Allow };
            (net, length, action, ports.map(|(a, b)| (a.min(b), a.max(b))))
        };
        rules.into_iter().map(rule).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a5_among_hundreds_of_nested_networks_the_deciding_rule_is_that_of_a_linear_scan(
        (v4, rules) in any::<bool>().prop_flat_map(|v4| (Just(v4), crowd(v4))), seed in any::<u64>(),
    ) {
        let bits: u32 = if v4 { 32 } else { 128 };
        let last = u128::MAX >> (128 - bits);
        let address = |number: u128| -> IpAddr {
            if v4 { u32::try_from(number).unwrap().to_be_bytes().into() } else { number.to_be_bytes().into() }
        };
        let ports: Vec<Option<PortSet>> = rules.iter().map(|(_, _, _, ports)| ports.map(|range| [range].into_iter().collect())).collect();
        let set = CidrSet::new((0..).zip(&rules).zip(&ports).map(|((id, (net, length, action, _)), ports)| {
            (id, IpNet::new(address(*net), *length).unwrap(), *action, ports.as_ref())
        }));
        prop_assert_eq!(set.len(), rules.len());
        let mut state = seed;
        for (net, length, _, _) in &rules {
            let end = net | last.checked_shr((*length).into()).unwrap_or(0);
            let inside = net | (u128::from(next(&mut state)) << 64 | u128::from(next(&mut state))) & (end - net);
            for place in [*net, end, inside, net.saturating_sub(1), end.saturating_add(1).min(last)] {
                let port = 439 + u16::try_from(next(&mut state) % 7).unwrap();
                let covering = (0..).zip(&rules).filter(|(_, (net, length, _, ports))| {
                    (net ^ place).checked_shr(bits - u32::from(*length)).unwrap_or(0) == 0
                        && ports.is_none_or(|(low, high)| low <= port && port <= high)
                });
                let first = covering.min_by_key(|(id, (_, length, action, ports))| {
                    (std::cmp::Reverse(*length), *action == Action::Allow, ports.is_none(), *id)
                });
                let naive = first.map(|(id, (_, _, action, ports))| (id, *action, ports.is_some()));
                let found = set.longest(address(place), Port::new(port).unwrap());
                prop_assert_eq!(found.map(|found| (found.id, found.action, found.lists_port)), naive, "{} {}", address(place), port);
            }
        }
    }
}
