//! What a list says is what a scan of its rules says, however they are written, and it looks at few of them.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::*;
use crate::policy::method_set::Methods;
use crate::policy::path_pattern::ROWS;
use crate::policy::path_tree::TRIED;

/// Methods that rules list; case tells the first and the last apart.
const LISTED: [&str; 4] = ["GET", "POST", "PUT", "get"];
/// Methods of requests; no rule lists the last.
const ASKED: [&str; 5] = ["GET", "POST", "PUT", "get", "DELETE"];

/// A rule as it is written, its place being its id.
#[derive(Debug, Clone)]
struct Written {
    action: RuleAction,
    path: Option<PathPattern>,
    methods: Option<Vec<&'static str>>,
}

impl Written {
    /// Whether it fits a request, by the meaning of its parts.
    fn fits(&self, path: &str, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(&method))
            && self.path.as_ref().is_none_or(|own| own.matches(path, self.action == RuleAction::Deny))
    }

    /// Whether it asks for a path or a method.
    fn is_conditional(&self) -> bool {
        self.path.is_some() || self.methods.is_some()
    }
}

/// A rule for any method.
fn written(action: RuleAction, path: &str) -> Written {
    Written { action, path: Some(path.parse().unwrap()), methods: None }
}

/// The rules compiled, the `n`th with the id `3 n + 1`, and their methods.
fn compiled(rules: &[Written]) -> (RuleList, Methods) {
    let methods = Methods::of(rules.iter().flat_map(|rule| rule.methods.iter().flatten().copied())).unwrap();
    let lines = (0_u32..)
        .zip(rules)
        .map(|(n, rule)| (3 * n + 1, rule.action, rule.path.as_ref(), methods.set(rule.methods.as_deref())));
    (RuleList::new(lines), methods)
}

/// The id of the first rule that some test holds for.
fn scan(rules: &[Written], test: impl FnMut(&Written) -> bool) -> Option<u32> {
    rules.iter().position(test).map(|n| 3 * u32::try_from(n).unwrap() + 1)
}

/// Every question that a list answers, compared with a scan.
fn agrees<P: AsRef<str>>(rules: &[Written], paths: impl IntoIterator<Item = P>) {
    let (list, methods) = compiled(rules);
    for path in paths {
        let path = path.as_ref();
        for method in ASKED {
            let expected = scan(rules, |rule| rule.fits(path, method));
            assert_eq!(list.first(path, methods.bit(method)), expected, "{method} {path} {rules:#?}");
        }
    }
    let unconditional = scan(rules, |rule| !rule.is_conditional());
    assert_eq!(list.unconditional(), unconditional);
    let before = |id: &u32| unconditional.is_none_or(|end| *id < end);
    for action in [RuleAction::Allow, RuleAction::Deny] {
        let first = scan(rules, |rule| rule.is_conditional() && rule.action == action);
        assert_eq!(list.conditional(action == RuleAction::Deny), first.filter(before), "{rules:#?}");
    }
}

/// How many texts a look-up looks at.
fn tried(list: &RuleList, path: &str) -> usize {
    TRIED.set(0);
    let _ = list.first(path, MethodSet::ANY);
    TRIED.get()
}

/// A segment of a pattern or, without stars, of a path.
fn segment(stars: bool) -> impl Strategy<Value = &'static str> {
    // Some end in the same four bytes.
    let texts = vec!["a", "b", "ab", "aa", "aab", "ba", "abab", "aabab", "babab"];
    let parts = if stars { vec!["*", "a*", "*b", "a*b", "*a*b", "b*"] } else { vec!["a", "aba"] };
    prop_oneof![3 => select(texts), 2 => select(parts)]
}

/// A path pattern.
fn pattern() -> impl Strategy<Value = PathPattern> {
    let tail = select(vec!["", "", "", "/", "*", "*", "/*"]);
    let near = (vec(segment(true), 0..4), tail)
        .prop_map(|(segments, tail)| format!("/{}{tail}", segments.join("/")));
    prop_oneof![4 => near, 1 => "/[ab*/]{0,8}"].prop_map(|mut text| {
        for twice in ["//", "**"] {
            while text.contains(twice) {
                text = text.replace(twice, &twice[1..]);
            }
        }
        text.parse().unwrap()
    })
}

/// A rule.
fn rule() -> impl Strategy<Value = Written> {
    let action = select(vec![RuleAction::Allow, RuleAction::Deny]);
    let methods = subsequence(LISTED.to_vec(), 1..=LISTED.len());
    (action, weighted(0.95, pattern()), weighted(0.4, methods)).prop_map(|(action, path, methods)| Written {
        action,
        path,
        methods,
    })
}

/// A path: of its own, or one that fits a pattern but for its tail.
#[derive(Debug, Clone)]
enum Asked {
    Own(String),
    Near(Index, &'static str, &'static str),
}

impl Asked {
    /// The path.
    fn path(&self, rules: &[Written]) -> String {
        match self {
            Self::Own(path) => path.clone(),
            Self::Near(index, star, tail) => {
                let text = index.get(rules).path.as_ref().map_or_else(|| "/".to_owned(), ToString::to_string);
                text.replace('*', star) + tail
            }
        }
    }
}

/// A path.
fn asked() -> impl Strategy<Value = Asked> {
    let tail = select(vec!["", "", "", "/", "/a", "b", "a/b"]);
    let near = (any::<Index>(), select(vec!["a", "b", "ab", "abab", "", "a/b"]), tail);
    let own = (vec(segment(false), 0..5), select(vec!["", "", "/", "//", "/a/"]));
    prop_oneof![
        4 => near.prop_map(|(index, star, tail)| Asked::Near(index, star, tail)),
        4 => own.prop_map(|(segments, tail)| Asked::Own(format!("/{}{tail}", segments.join("/")))),
        1 => "/?[ab/*]{0,8}".prop_map(Asked::Own),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_list_is_the_scan_of_its_rules(rules in vec(rule(), 1..60), asked in vec(asked(), 12)) {
        agrees(&rules, asked.iter().map(|asked| asked.path(&rules)));
    }

    #[test]
    fn each_rule_that_follows_is_found_once_those_before_it_are_gone(rules in vec(rule(), 1..20), asked in asked()) {
        let path = asked.path(&rules);
        for start in 0..rules.len() {
            agrees(&rules[start..], [&path]);
        }
    }
}

#[test]
fn each_row_of_the_table_of_patterns_holds_for_a_list() {
    for (pattern, path, grants, denies) in ROWS {
        for (action, fits) in [(RuleAction::Allow, grants), (RuleAction::Deny, denies)] {
            let (list, methods) = compiled(&[written(action, pattern)]);
            assert_eq!(
                list.first(path, methods.bit("GET")),
                fits.then_some(1),
                "{action:?} {pattern} {path}"
            );
        }
    }
    let actions = [RuleAction::Deny, RuleAction::Allow];
    let all = ROWS.iter().rev().flat_map(|(pattern, ..)| actions.map(|action| written(action, pattern)));
    agrees(&all.collect::<Vec<_>>(), ROWS.map(|(_, path, ..)| path));
}

#[test]
fn a_list_of_one_rule_for_all_has_no_tree_and_nothing_stands_behind_it() {
    let rules = [
        Written { action: RuleAction::Allow, path: None, methods: None },
        written(RuleAction::Deny, "/admin"),
        Written { action: RuleAction::Allow, path: None, methods: Some(vec!["GET"]) },
    ];
    let (list, methods) = compiled(&rules);
    assert!(list.tree.is_none());
    assert_eq!(list.first("/admin", methods.bit("GET")), Some(1));
    assert_eq!(
        (list.unconditional(), list.conditional(true), list.conditional(false)),
        (Some(1), None, None)
    );
    let empty = RuleList::new([]);
    assert!(empty.tree.is_none() && empty.unconditional().is_none());
    assert_eq!(empty.first("/", MethodSet::ANY), None);
}

#[test]
fn what_is_no_path_fits_only_rules_without_one() {
    let rules = [
        written(RuleAction::Deny, "/"),
        written(RuleAction::Deny, "/*"),
        Written { action: RuleAction::Allow, path: None, methods: Some(vec!["GET"]) },
        Written { action: RuleAction::Deny, path: None, methods: None },
    ];
    agrees(&rules, ["*", "", "x", "a/b", "//", "/", "/\u{fc}/x", "\u{fc}"]);
    let (list, methods) = compiled(&rules);
    assert_eq!(list.first("*", methods.bit("GET")), Some(7));
    assert_eq!(list.first("*", methods.bit("OPTIONS")), Some(10));
}

#[test]
fn a_rule_that_lists_no_method_never_fits_but_is_asked_for() {
    let rules = [Written { action: RuleAction::Deny, path: None, methods: Some(Vec::new()) }];
    agrees(&rules, ["/"]);
    assert_eq!(compiled(&rules).0.conditional(true), Some(1));
}

#[test]
fn the_rules_of_one_path_that_are_kept_are_no_more_than_the_methods() {
    let rules: Vec<Written> = (0..5_000)
        .map(|n| Written {
            action: RuleAction::Allow,
            path: Some("/a".parse().unwrap()),
            methods: Some(vec![LISTED[n % 4]]),
        })
        .chain([written(RuleAction::Allow, "/a"), written(RuleAction::Allow, "/a")])
        .collect();
    agrees(&rules, ["/a"]);
    assert_eq!(compiled(&rules).0.tree.unwrap().rules(), 5);
}

#[test]
fn a_thousand_rules_of_one_host_are_not_scanned() {
    const ENDS: [&str; 3] = ["page", "item", "list"];
    type Kind = (&'static str, fn(usize) -> String, fn(usize) -> String);
    let kinds: [Kind; 7] = [
        ("texts", |n| format!("/api/v1/item-{n}"), |n| format!("/api/v1/item-{n}")),
        ("first segments", |n| format!("/item-{n}/x"), |n| format!("/item-{n}/x")),
        (
            "texts that end alike",
            |n| format!("/api/{n}-{}", ENDS[n % 3]),
            |n| format!("/api/{n}-{}", ENDS[n % 3]),
        ),
        ("open", |n| format!("/api/item-{n}/*"), |n| format!("/api/item-{n}/x/y")),
        ("beginnings", |n| format!("/api/item-{n}.*"), |n| format!("/api/item-{n}.json")),
        ("below a star", |n| format!("/repos/*/item-{n}"), |n| format!("/repos/x/item-{n}")),
        ("above a star", |n| format!("/item-{n}/*/x"), |n| format!("/item-{n}/y/x")),
    ];
    for action in [RuleAction::Allow, RuleAction::Deny] {
        for (kind, pattern, path) in kinds {
            let rules: Vec<Written> = (0..1_000).map(|n| written(action, &pattern(n))).collect();
            let (list, methods) = compiled(&rules);
            for n in [0, 1, 499, 998, 999, 1_000] {
                let path = path(n);
                let expected = scan(&rules, |rule| rule.fits(&path, "GET"));
                assert_eq!(expected.is_some(), n < 1_000, "{kind} {path}");
                assert_eq!(list.first(&path, methods.bit("GET")), expected, "{kind} {path}");
                assert!(tried(&list, &path) <= 16, "{kind} {path}: {}", tried(&list, &path));
            }
        }
    }
}

#[test]
fn a_branch_that_cannot_have_a_smaller_id_is_not_entered() {
    let mut rules = vec![written(RuleAction::Allow, "/a/b")];
    rules.extend((0..100).map(|n| written(RuleAction::Allow, &format!("/a*/*{n}"))));
    rules.extend((0..100).map(|n| written(RuleAction::Allow, &format!("/*{n}/b"))));
    let (list, _) = compiled(&rules);
    assert!(tried(&list, "/a/b") <= 4, "{}", tried(&list, "/a/b"));
}

#[test]
fn beginnings_of_each_other_are_all_found() {
    let texts = ["/abc*", "/ab*", "/abcd*", "/a*", "/abd*", "/b*", "/*", "/ac*", "/abcde*"];
    for turn in 0..texts.len() {
        let mut rules: Vec<Written> = texts.iter().map(|text| written(RuleAction::Allow, text)).collect();
        rules.rotate_left(turn);
        let paths = ["/abcdef", "/abcd/x", "/abce", "/abe", "/ad", "/a", "/c", "/b/c", "/", "/abd/", "/abc"];
        agrees(&rules, paths);
    }
}

#[test]
fn stars_at_every_level_are_tried_in_every_way_but_each_node_once() {
    // Without a match at the end, every mix of texts and stars is walked: 2^12 - 1 nodes, each of them once.
    let mut patterns = vec![String::new()];
    for _ in 0..12 {
        patterns = patterns.iter().flat_map(|start| [format!("{start}/a"), format!("{start}/*")]).collect();
    }
    let rules: Vec<Written> =
        patterns.iter().map(|start| written(RuleAction::Allow, &format!("{start}/end"))).collect();
    let (list, methods) = compiled(&rules);
    assert!(tried(&list, &("/a".repeat(12) + "/other")) <= 3 * (1 << 13));
    for path in ["/a".repeat(12) + "/end", "/b".repeat(12) + "/end", "/a/b".repeat(6) + "/end"] {
        let expected = scan(&rules, |rule| rule.fits(&path, "GET"));
        assert!(expected.is_some());
        assert_eq!(list.first(&path, methods.bit("GET")), expected);
    }
}

#[test]
fn a_hundred_thousand_rules_compile() {
    let action = |n| if n % 3 == 0 { RuleAction::Deny } else { RuleAction::Allow };
    let rules: Vec<Written> = (0..100_000)
        .map(|n| {
            let tail = ["", "/", "*", "/*", "/*/x", "/a*b"][n % 6];
            written(action(n), &format!("/{}/{}/n{n}{tail}", n % 7, n % 1_000))
        })
        .collect();
    let (list, methods) = compiled(&rules);
    for n in (0..100_000).step_by(9_973) {
        let path = rules[n].path.as_ref().unwrap().to_string().replace('*', "1");
        let expected = scan(&rules, |rule| rule.fits(&path, "GET"));
        assert!(expected.is_some());
        assert_eq!(list.first(&path, methods.bit("GET")), expected, "{path}");
    }
}

#[test]
fn ten_thousand_segments_and_64_kib_of_path_do_no_harm() {
    let deep = "/a".repeat(10_000);
    let starred = "/*".repeat(9_999);
    let rules = [
        written(RuleAction::Allow, &format!("{starred}/b")),
        written(RuleAction::Deny, &format!("{deep}/b")),
        written(RuleAction::Allow, &format!("{starred}/c*")),
        written(RuleAction::Allow, &format!("/{}", "a*".repeat(20_000))),
        written(RuleAction::Deny, &format!("/{}/x", "b".repeat(60_000))),
    ];
    let paths = [
        deep.clone(),
        format!("{deep}/b/c"),
        format!("{}/b", "/a".repeat(9_999)),
        format!("{}/cc", "/a".repeat(9_999)),
        format!("/{}", "a".repeat(65_536)),
        format!("/{}/x/y", "b".repeat(60_000)),
        "/".repeat(65_536),
        "/a".repeat(32_768),
    ];
    agrees(&rules, paths);
}
