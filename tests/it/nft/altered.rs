//! What differs from it in one thing does not verify.

use super::*;

/// Pointers to every value that is not a list or an object, below a pointer.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(map) => {
            map.iter().flat_map(|(key, inside)| leaves(inside, &format!("{at}/{key}"))).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().flat_map(|(key, inside)| leaves(inside, &format!("{at}/{key}"))).collect()
        }
        _ => vec![at.to_owned()],
    }
}

/// Another value of the same type.
fn another(value: &Value) -> Value {
    match value {
        Value::Null => json!({"x": 1}),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::String(text) => json!(format!("{text}x")),
        other => panic!("{other} is no leaf"),
    }
}

/// Every listing that differs from a good one in one thing.
fn altered(good: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut push = |what: String, change: &dyn Fn(&mut Vec<Value>)| {
        let mut listing = good.clone();
        change(listing["nftables"].as_array_mut().unwrap());
        assert_ne!(&listing, good, "{what}");
        all.push((what, listing));
    };
    for kind in ["table", "chain", "rule"] {
        for at in positions(good, kind) {
            push(format!("{kind} {at} deleted"), &|objects| drop(objects.remove(at)));
            for leaf in leaves(&good["nftables"][at], "") {
                push(format!("{leaf} of {at} altered"), &|objects| {
                    let place = objects[at].pointer_mut(&leaf).unwrap();
                    *place = another(place);
                });
                push(format!("{leaf} of {at} deleted"), &|objects| {
                    let (parent, key) = leaf.rsplit_once('/').unwrap();
                    match objects[at].pointer_mut(parent).unwrap() {
                        Value::Object(map) => drop(map.remove(key)),
                        Value::Array(list) => drop(list.remove(key.parse().unwrap())),
                        other => panic!("{other}"),
                    }
                });
            }
        }
    }
    let rules = positions(good, "rule");
    let chain_of = |at: usize| good["nftables"][at]["rule"]["chain"].clone();
    for (index, at) in rules.iter().copied().enumerate() {
        for other in rules[index + 1..].iter().copied().filter(|other| chain_of(*other) == chain_of(at)) {
            push(format!("rules {at} and {other} swapped"), &|objects| objects.swap(at, other));
        }
        for verdict in ["accept", "return", "drop"] {
            let rule = json!({"family": "inet", "table": "sluicegate", "chain": chain_of(at), "expr": [{verdict: null}]});
            push(format!("{verdict} before {at}"), &|objects| objects.insert(at, json!({"rule": rule})));
        }
        push(format!("rule {at} twice"), &|objects| objects.insert(at, objects[at].clone()));
    }
    for at in positions(good, "chain") {
        let chain = good["nftables"][at]["chain"]["name"].clone();
        let rule =
            json!({"family": "inet", "table": "sluicegate", "chain": chain, "expr": [{"accept": null}]});
        push(format!("accept at the end of {chain}"), &|objects| objects.push(json!({"rule": rule})));
    }
    let chain = json!({"family": "inet", "table": "sluicegate", "name": "more", "type": "nat", "hook": "prerouting", "prio": -200, "policy": "accept"});
    push("another chain".to_owned(), &|objects| objects.push(json!({"chain": chain})));
    push("asleep".to_owned(), &|objects| {
        let at = objects.iter().position(|object| object.get("table").is_some()).unwrap();
        objects[at]["table"]["flags"] = json!("dormant");
    });
    all
}

#[test]
fn no_listing_that_differs_in_one_thing_verifies() {
    for (name, settings, good) in kept() {
        assert_eq!(findings(&settings, &good), 0, "{name}");
        let altered = altered(&good);
        assert!(altered.len() > 200, "{name}: {}", altered.len());
        for (what, listing) in altered {
            assert!(findings(&settings, &listing) > 0, "{name}: {what}");
        }
    }
}

#[test]
fn what_changes_nothing_still_verifies() {
    for (name, settings, mut good) in kept() {
        let objects = good["nftables"].as_array_mut().unwrap();
        for object in objects.iter_mut() {
            if let Some(rule) = object.get_mut("rule") {
                rule["comment"] = json!("renamed");
                rule["handle"] = json!(7);
                let counter = json!({"counter": {"packets": 1, "bytes": 40}});
                let expr = rule["expr"].as_array_mut().unwrap();
                expr.insert(expr.len() - 1, counter);
                for statement in expr {
                    if let Some(set) = statement.pointer_mut("/match/right/set").and_then(Value::as_array_mut)
                    {
                        set.reverse();
                    }
                }
            }
        }
        let elsewhere =
            json!({"family": "ip", "table": "nat", "chain": "PREROUTING", "expr": [{"accept": null}]});
        objects.push(json!({"table": {"family": "ip", "name": "nat", "handle": 1}}));
        objects.push(json!({"rule": elsewhere}));
        assert_eq!(findings(&settings, &good), 0, "{name}");
    }
}

#[test]
fn a_rule_of_another_table_that_leads_packets_around_ours_is_found() {
    let (_, settings, good) = kept().remove(0);
    let with = |expr: Value| {
        let mut listing = good.clone();
        let rule = json!({"family": "netdev", "table": "t", "chain": "c", "expr": expr});
        listing["nftables"].as_array_mut().unwrap().push(json!({"rule": rule}));
        findings(&settings, &listing)
    };
    let from =
        |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    let payload =
        json!({"mangle": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "value": "192.0.2.1"}});
    for around in [
        json!({"fwd": {"dev": "eth0"}}),
        json!({"dup": {"addr": "192.0.2.1"}}),
        json!({"flow": {"op": "add", "flowtable": "@f"}}),
        json!({"notrack": null}),
        json!("notrack"),
        json!({"xt": {"type": "target", "name": "TEE"}}),
        payload,
    ] {
        assert_eq!(with(json!([around])), 1, "{around}");
        assert_eq!(with(json!([from("veth-7"), around])), 1, "{around}");
        assert_eq!(with(json!([from("ve*"), around])), 1, "{around}");
        assert_eq!(with(json!([from("eth0"), around])), 0, "{around}");
    }
    let mark = json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}});
    assert_eq!(with(json!([mark])), 0);
}

#[test]
fn each_rule_that_is_taken_out_of_the_kernel_is_missed() {
    let Some(net) = Net::bare() else { return };
    for (name, settings) in examples() {
        net.run(At::Gateway, &["nft", "flush", "ruleset"]);
        let (rules, path) = (table(&settings), file(name));
        let load = || drop(net.run(At::Gateway, &["nft", "-f", path.to_str().unwrap()]));
        load();
        let listing: Value = serde_json::from_str(&net.listing()).unwrap();
        let places: Vec<(String, usize)> = positions(&listing, "rule")
            .into_iter()
            .map(|at| listing["nftables"][at]["rule"]["chain"].as_str().unwrap().to_owned())
            .scan(std::collections::BTreeMap::<String, usize>::new(), |seen, chain| {
                let index = seen.entry(chain.clone()).or_default();
                *index += 1;
                Some((chain, *index - 1))
            })
            .collect();
        assert!(places.len() > 10);
        for (chain, index) in places {
            let all: Value =
                serde_json::from_str(&net.run(At::Gateway, &["nft", "-j", "list", "ruleset"])).unwrap();
            let of_chain: Vec<_> = all["nftables"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|object| object["rule"]["chain"] == chain.as_str())
                .collect();
            let handle = of_chain[index]["rule"]["handle"].to_string();
            net.run(At::Gateway, &["nft", "delete", "rule", "inet", "sluicegate", &chain, "handle", &handle]);
            let found = verify(&rules, ours(&settings), &net.listing()).unwrap();
            assert_eq!(found.len(), 1, "{name}: rule {index} of {chain}: {found:#?}");
            load();
        }
        net.load("add table inet sluicegate { flags dormant; }\n");
        // Some versions cannot list such a table at all.
        let found = verify(&rules, ours(&settings), &net.listing());
        assert!(!found.is_ok_and(|found| found.is_empty()), "{name}: asleep");
    }
}
