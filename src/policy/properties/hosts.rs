//! Patterns and sets of them are what their definitions say.

use globset::GlobBuilder;

use super::*;
use crate::policy::host_set::{Class, HostKey, HostMatch, HostSet};
use crate::policy::naive::fits;
use crate::policy::pattern_pool::Interner;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn n5_a_host_set_is_a_scan_of_its_list(
        patterns in vec((pattern(), 0..3_u8), 0..24),
        targets in vec(target(), 16),
        more in prop_oneof![Just(0), Just(100_u32)],
        deep in 0..20_usize,
    ) {
        // More patterns make another kind of table, and more labels than are hashed another way of filing.
        let below = |text: &str| if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') && !text.starts_with("*:") && text != "*" {
            let (host, port) = text.split_once(':').map_or((text, String::new()), |(host, port)| (host, format!(":{port}")));
            format!("{host}{}{port}", ".z".repeat(deep))
        } else {
            text.to_owned()
        };
        let mut patterns: Vec<(Class, Pattern)> = patterns.iter().map(|(text, class)| {
            ([Class::Deny, Class::Allow, Class::Rules][usize::from(*class)], below(text).parse().unwrap())
        }).collect();
        patterns.extend((0..more).map(|n| (Class::Allow, format!("{n}.more.invalid").parse().unwrap())));
        let mut interner = Interner::default();
        let set = HostSet::new(&mut interner, patterns.iter().map(|(class, pattern)| (*class, pattern))).unwrap();
        let pool = interner.pool();
        let mut other = Interner::default();
        other.intern(&"first.invalid".parse().unwrap());
        let moved = set.moved(&pool, &mut other).unwrap();
        let moved_pool = other.pool();
        for text in targets.iter().flat_map(|text| [text.clone(), below(text)]) {
            let target: Target = text.parse().unwrap();
            let (host, port) = (target.host(), target.port());
            let all: Vec<(Class, u32)> = (0..).zip(&patterns)
                .filter(|(_, (_, one))| one.matches(host, port)).map(|(place, (class, _))| (*class, place)).collect();
            let (place, number) = place(&text);
            let naive: Vec<(Class, u32)> = (0..).zip(&patterns)
                .filter(|(_, (_, one))| fits(&one.to_string(), &place, number)).map(|(place, (class, _))| (*class, place)).collect();
            prop_assert_eq!(&all, &naive);
            let own = |place: u32| patterns[place as usize].1.port().is_some();
            let best = |class: Class| all.iter().filter(|found| found.0 == class).map(|(_, place)| *place)
                .min_by_key(|place| (!own(*place), *place)).map(|place| HostMatch { place, own_port: own(place) });
            let key = HostKey::new(host);
            for (set, pool) in [(&set, &pool), (&moved, &moved_pool)] {
                let found = set.find(pool, &key, port);
                prop_assert_eq!((found.denied, found.allowed), (best(Class::Deny), best(Class::Allow)), "{}", text);
                let mut ruled = Vec::new();
                set.rules(pool, &key, port, |found| ruled.push(found.place));
                prop_assert_eq!(found.ruled, !ruled.is_empty());
                // Of equal patterns only the first is filed.
                let mut firsts: Vec<u32> = all.iter().filter(|(class, _)| *class == Class::Rules).map(|(_, place)| *place)
                    .filter(|place| host.ip().is_some() || !patterns[..*place as usize].contains(&patterns[*place as usize])).collect();
                ruled.sort_unstable();
                ruled.dedup();
                firsts.sort_unstable();
                prop_assert_eq!(ruled, firsts, "{}", text);
            }
        }
    }

    #[test]
    fn n5_a_pattern_is_the_glob_over_slashes(pattern in pattern(), names in vec(name(), 24)) {
        let parsed: Pattern = pattern.parse().unwrap();
        prop_assume!(parsed.port().is_none() && !LITERALS.contains(&pattern.as_str()));
        // A `*` of globset may be nothing, ours is one character at least; a leading one is any number of labels.
        let glob = pattern.replace('.', "/").replace('*', "?*");
        let glob = if pattern == "*" { "**".to_owned() } else { glob };
        let glob = glob.strip_prefix("?*/").map_or(glob.clone(), |rest| format!("?*/**/{rest}"));
        let glob = GlobBuilder::new(&glob).literal_separator(true).build().unwrap().compile_matcher();
        for name in &names {
            let host = Host::parse(name).unwrap();
            prop_assert_eq!(parsed.matches(&host, Port::HTTPS), glob.is_match(name.replace('.', "/")), "{} {}", pattern, name);
        }
    }
}
