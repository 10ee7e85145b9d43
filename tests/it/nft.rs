//! The kernel's rules as text: what is printed loads, what is loaded verifies, and what was altered does not.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use sluicegate::capture::{
    self, Interface, Mode, Observed, Ports, Settings, SettingsError, Verdict, Who, judge, table, verify,
};

use crate::kit::net::{At, Net};
use crate::kit::process::BINARY;
use crate::kit::tool::{self, Ran};

/// Settings of a gateway.
fn gateway(interfaces: &[&str], change: impl FnOnce(&mut Settings)) -> Settings {
    let interfaces = interfaces.iter().map(|text| text.parse().unwrap()).collect();
    let who = Who::Interfaces { interfaces, mode: Mode::Redirect, gateway: Vec::new() };
    let ports = Ports { admin: Some(9901), ..Ports::default() };
    let mut settings = Settings { who, ipv6: true, ports };
    change(&mut settings);
    settings.check().unwrap();
    settings
}

/// What files show: the shipped one, and one for each other way.
fn examples() -> Vec<(&'static str, Settings)> {
    vec![
        ("deploy/nftables/sluicegate.nft", gateway(&["veth-*"], |settings| settings.ipv6 = false)),
        (
            "tests/nft/tproxy.nft",
            gateway(&["veth-1=10.200.1.2,10.200.1.3,fd00:1::/64", "tap0=10.9.0.0/16"], |settings| {
                let Who::Interfaces { mode, gateway, .. } = &mut settings.who else { return };
                *mode = Mode::TProxy;
                gateway.extend([
                    "10.200.1.1".parse::<std::net::IpAddr>().unwrap(),
                    "fd00:1::1".parse().unwrap(),
                ]);
                settings.ports.explicit = Some(3128);
            }),
        ),
        (
            "tests/nft/redirect.nft",
            gateway(&["veth-1=10.200.1.2,fd00:1::2", "veth-2=10.200.2.2,fd00:2::2"], |settings| {
                settings.ports.explicit = Some(3128);
            }),
        ),
        (
            "tests/nft/sidecar.nft",
            Settings {
                who: Who::EveryoneBut(65532),
                ipv6: false,
                ports: Ports { admin: Some(9901), ..Ports::default() },
            },
        ),
    ]
}

/// A file of the repository.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every interface that settings name, or anything for a sidecar.
fn ours(settings: &Settings) -> impl Fn(&str) -> bool + '_ {
    |name| match &settings.who {
        Who::Interfaces { interfaces, .. } => interfaces.iter().any(|interface| interface.covers(name)),
        Who::EveryoneBut(_) => true,
    }
}

/// How many findings there are in a listing.
fn findings(settings: &Settings, listing: &Value) -> usize {
    verify(&table(settings), ours(settings), &listing.to_string()).unwrap().len()
}

#[test]
fn what_is_printed_is_what_the_shipped_files_hold() {
    for (name, settings) in examples() {
        let printed = table(&settings).to_string();
        if std::env::var_os("SLUICEGATE_BLESS").is_some() {
            fs::write(file(name), &printed).unwrap();
        }
        let held = fs::read_to_string(file(name)).unwrap_or_default();
        assert_eq!(held, printed, "{name}: SLUICEGATE_BLESS=1 writes it anew");
    }
}

#[test]
fn what_is_printed_loads_twice_and_verifies_and_its_listing_is_the_kept_one() {
    let Some(net) = Net::bare() else { return };
    for (name, settings) in examples() {
        net.run(At::Gateway, &["nft", "flush", "ruleset"]);
        net.run(At::Gateway, &["nft", "-c", "-f", file(name).to_str().unwrap()]);
        assert_eq!(findings(&settings, &without_handles(&net.listing())), 1, "{name}: only checked");
        for _ in 0..2 {
            net.run(At::Gateway, &["nft", "-f", file(name).to_str().unwrap()]);
            let listing = without_handles(&net.listing());
            assert_eq!(findings(&settings, &listing), 0, "{name}");
            let kept = file("tests/nft").join(Path::new(name).file_name().unwrap()).with_extension("json");
            if std::env::var_os("SLUICEGATE_BLESS").is_some() {
                fs::write(&kept, format!("{}\n", lines(&listing))).unwrap();
            }
            let kept: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
            assert_eq!(kept, listing, "{name}: SLUICEGATE_BLESS=1 writes it anew");
        }
    }
}

/// A listing without what differs from load to load.
fn without_handles(listing: &str) -> Value {
    let mut listing: Value = serde_json::from_str(listing).unwrap();
    for object in listing["nftables"].as_array_mut().unwrap() {
        for (kind, inside) in object.as_object_mut().unwrap() {
            let varying = if kind == "metainfo" { &["version", "release_name"][..] } else { &["handle"] };
            for key in varying {
                inside.as_object_mut().unwrap().remove(*key);
            }
        }
    }
    listing
}

/// A listing, one object a line.
fn lines(listing: &Value) -> String {
    let objects: Vec<_> = listing["nftables"].as_array().unwrap().iter().map(Value::to_string).collect();
    format!("{{\"nftables\": [\n{}\n]}}", objects.join(",\n"))
}

/// The kept listings with their settings.
fn kept() -> Vec<(&'static str, Settings, Value)> {
    let read = |name: &str| {
        let kept = file("tests/nft").join(Path::new(name).file_name().unwrap()).with_extension("json");
        serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap()
    };
    examples().into_iter().map(|(name, settings)| (name, settings, read(name))).collect()
}

/// The positions of the objects of a kind.
fn positions(listing: &Value, kind: &str) -> Vec<usize> {
    let objects = listing["nftables"].as_array().unwrap();
    objects.iter().enumerate().filter(|(_, object)| object.get(kind).is_some()).map(|(at, _)| at).collect()
}

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

/// Any settings that can be.
fn settings() -> impl Strategy<Value = Settings> {
    let source =
        select(vec!["10.0.0.1", "10.0.0.2", "10.0.1.0/24", "10.0.2.0/23", "fd00::/64", "2001:db8::7"]);
    let interface = (select(vec!["veth-1", "veth-*", "tap0", "br-1.2"]), prop::collection::vec(source, 0..4));
    let interfaces = prop::collection::vec(interface, 1..4);
    let address = select(vec!["10.200.1.1", "192.0.2.1", "fd00:1::1"]);
    let port = |range: std::ops::Range<u16>| prop::option::of(range);
    (
        (interfaces, any::<bool>(), prop::collection::vec(address, 0..3), prop::option::of(1..70_000_u32)),
        (any::<bool>(), 1000..2000_u16, port(2000..3000), port(3000..4000), port(4000..5000)),
    )
        .prop_map(|((interfaces, tproxy, gateway, uid), (ipv6, transparent, dns, explicit, admin))| {
            let mut named: Vec<Interface> = Vec::new();
            for (name, sources) in interfaces {
                let sources: Vec<_> = sources
                    .iter()
                    .map(|text| {
                        text.parse().unwrap_or_else(|_| {
                            format!("{text}/{}", if text.contains(':') { 128 } else { 32 }).parse().unwrap()
                        })
                    })
                    .collect();
                if named.iter().all(|other| other.name() != name) {
                    named.push(Interface::new(name, &sources).unwrap());
                }
            }
            let mode = if tproxy { Mode::TProxy } else { Mode::Redirect };
            let mut gateway: Vec<std::net::IpAddr> =
                gateway.iter().map(|text| text.parse().unwrap()).collect();
            gateway.sort_unstable();
            gateway.dedup();
            let who = uid.map_or(Who::Interfaces { interfaces: named, mode, gateway }, Who::EveryoneBut);
            Settings { who, ipv6, ports: Ports { transparent, dns, explicit, admin } }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_of_any_settings_load_and_verify_and_those_of_others_do_not(one in settings(), other in settings()) {
        let Some(net) = Net::bare() else { return Ok(()) };
        net.load(&table(&one).to_string());
        let listing: Value = serde_json::from_str(&net.listing()).unwrap();
        prop_assert_eq!(findings(&one, &listing), 0);
        let same = table(&one).to_string().lines().filter(|line| !line.starts_with('#')).eq(
            table(&other).to_string().lines().filter(|line| !line.starts_with('#')));
        prop_assert_eq!(findings(&other, &listing) == 0, same);
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_proven() {
    let (_, settings, good) = kept().remove(0);
    let observed = |ruleset: Result<String, String>, forwarding: &[&str]| Observed {
        ruleset,
        forwarding: forwarding.iter().map(ToString::to_string).collect(),
        members: Vec::new(),
    };
    let good = || Ok(good.to_string());
    let verdict = |observed: &Observed| judge(&settings, observed);
    assert_eq!(verdict(&observed(good(), &[])), Verdict::Proven);
    assert_eq!(verdict(&observed(good(), &["net.ipv4.ip_forward"])), Verdict::Proven);
    let unknown = verdict(&observed(Err("no nft".to_owned()), &[]));
    assert!(matches!(&unknown, Verdict::Unknown(reason) if reason == "no nft") && !unknown.holds());
    assert!(unknown.describe().contains("not proven"));
    let Verdict::Broken(found) = verdict(&observed(Err("no nft".to_owned()), &["net.ipv4.ip_forward"]))
    else {
        panic!("forwarding without rules is open");
    };
    assert!(found[0].cause.contains("net.ipv4.ip_forward") && found[1].cause.contains("no nft"));
    for listing in
        ["", "{}", "[]", "{\"nftables\": 7}", "{\"nftables\": [1, {\"table\": 2}, {\"rule\": []}]}"]
    {
        assert!(!verdict(&observed(Ok(listing.to_owned()), &[])).holds(), "{listing}");
    }
    let bridged = Observed {
        members: vec![("veth-3".into(), "br0".into()), ("eth0".into(), "br1".into())],
        ..observed(good(), &[])
    };
    let Verdict::Broken(found) = verdict(&bridged) else { panic!("a bridge hides its ports") };
    assert!(found.len() == 1 && found[0].cure.contains("br0"), "{found:?}");
}

#[test]
fn what_belongs_to_another_interface_is_found_whatever_that_is() {
    let root = tempfile::tempdir().unwrap();
    // A port of a bridge, a link of a bond; the bond is nobody's.
    for (name, master) in [("veth-1", Some("br0")), ("veth-2", Some("bond0")), ("bond0", None)] {
        let place = root.path().join(name);
        std::fs::create_dir(&place).unwrap();
        if let Some(master) = master {
            std::os::unix::fs::symlink(format!("../{master}"), place.join("master")).unwrap();
        }
    }
    let found = capture::members(root.path());
    assert_eq!(found, [("veth-1".into(), "br0".into()), ("veth-2".into(), "bond0".into())]);
}

#[test]
fn forwarding_is_found_wherever_it_is_on() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, value: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    };
    assert_eq!(capture::forwarding(root.path()), [""; 0]);
    write("ipv4/ip_forward", "0\n");
    write("ipv6/conf/all/forwarding", "0\n");
    write("ipv6/conf/veth-1/forwarding", "1\n");
    assert_eq!(capture::forwarding(root.path()), ["net.ipv6.conf.veth-1.forwarding"]);
    write("ipv4/ip_forward", "1\n");
    assert_eq!(capture::forwarding(root.path()).len(), 2);
}

/// Runs the binary, in the gateway's namespace where there is one.
async fn ran(net: Option<&Net>, arguments: &[&str]) -> Ran {
    let words: Vec<&str> = [BINARY].into_iter().chain(arguments.iter().copied()).collect();
    match net {
        None => tool::run(Path::new(words[0]), &words[1..]).await,
        Some(net) => {
            let name = net.name(At::Gateway);
            let words: Vec<&str> = ["netns", "exec", &name].into_iter().chain(words).collect();
            tool::run(&tool::find("ip").unwrap(), words).await
        }
    }
}

#[tokio::test]
async fn print_and_verify_have_the_exit_codes_that_scripts_rely_on() {
    for (arguments, part) in [
        (&[][..], "--interface"),
        (&["--interface", "a b"], "`a b` is not an interface"),
        (&["--interface", "*"], "is not an interface"),
        (&["--interface", "lo"], "loopback"),
        (&["--interface", "v=300.1.1.1"], "`300.1.1.1` is not an address"),
        (&["--interface", "v", "--interface", "v"], "named twice"),
        (&["--interface", "v", "--transparent-port", "9901"], "port 9901"),
        (&["--interface", "v", "--mode", "bridge"], "--mode"),
        (&["--interface", "v", "--sidecar-uid", "5"], "--sidecar-uid"),
        (&["--sidecar-uid", "0"], "--sidecar-uid"),
    ] {
        for command in ["print", "verify"] {
            let words: Vec<&str> = ["nft", command].into_iter().chain(arguments.iter().copied()).collect();
            let ran = ran(None, &words).await;
            assert!(ran.code == 2 && ran.stderr.contains(part), "{arguments:?}: {} {}", ran.code, ran.stderr);
            assert!(ran.stdout.is_empty(), "{}", ran.stdout);
        }
    }
    let Some(net) = Net::bare() else { return };
    let arguments = ["--interface", "veth-*=10.200.0.0/16", "--explicit-port", "3128"];
    let words = |command: &'static str| ["nft", command].into_iter().chain(arguments).collect::<Vec<_>>();
    let missing = ran(Some(&net), &words("verify")).await;
    assert!(missing.code == 1 && missing.stdout.contains("there is no table `inet sluicegate`"));
    let printed = ran(Some(&net), &words("print")).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    net.load(&printed.stdout);
    let verified = ran(Some(&net), &words("verify")).await;
    assert_eq!((verified.code, verified.stdout.as_str()), (0, "ok: every rule is loaded\n"));
    // The command in the head of the file is the one that checks it.
    let told = printed.stdout.lines().find_map(|line| line.split_once("sluicegate nft verify ")).unwrap().1;
    let told: Vec<String> = told.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
    let told: Vec<&str> =
        ["nft", "verify", "--json"].into_iter().chain(told.iter().map(String::as_str)).collect();
    let verified = ran(Some(&net), &told).await;
    let answer: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((verified.code, &answer["ok"]), (0, &json!(true)));
    net.run(At::Gateway, &["nft", "add", "chain", "inet", "sluicegate", "forward", "{ policy accept ; }"]);
    let verified = ran(Some(&net), &told).await;
    let answer: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((verified.code, answer["findings"].as_array().unwrap().len()), (1, 1), "{answer}");
    let cause = answer["findings"][0]["cause"].as_str().unwrap();
    assert_eq!(cause, "the policy of chain `forward` is \"accept\" and must be \"drop\"");
}

#[tokio::test]
async fn without_nft_or_the_right_to_ask_it_is_said_so() {
    let arguments = ["nft", "verify", "--interface", "veth-*"];
    let mut command = tokio::process::Command::new(BINARY);
    let ran = command.args(arguments).env("PATH", "/nowhere").output().await.unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(1) && told.contains("install nftables"), "{told}");
    let Some(_net) = Net::bare() else { return };
    let Some(setpriv) = tool::find("setpriv") else { return };
    // The binary may be where the user may not look.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = directory.path().join("sluicegate");
    fs::copy(BINARY, &copy).unwrap();
    let words = ["--reuid", "65532", "--clear-groups", copy.to_str().unwrap()];
    let ran = tool::run(&setpriv, words.into_iter().chain(arguments)).await;
    assert!(ran.code == 1 && ran.stderr.contains("CAP_NET_ADMIN"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_configuration_says_which_rules_there_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gate.yaml");
    let print = async |text: &str, more: &[&str]| {
        fs::write(&config, text).unwrap();
        let always = ["nft", "print", "--config", config.to_str().unwrap()];
        let words: Vec<&str> = always.into_iter().chain(more.iter().copied()).collect();
        ran(None, &words).await
    };
    let text = "listeners:
  - {address: '10.0.0.1:3129'}
  - {address: '0.0.0.0:15001', kind: Transparent, mode: TProxy}
admin: {address: 127.0.0.1:9999}
sandboxes: [{id: sbx-1, sources: [10.200.1.2]}]
capture:
  interfaces: [{name: veth-1, sandbox: sbx-1}, {name: tap0, sources: [10.9.0.0/16]}, {name: \"veth-*\"}]
  ipv6: true
  gatewayAddresses: [10.0.0.1]
";
    let printed = print(text, &[]).await;
    let head = printed.stdout.lines().next().unwrap_or_default();
    let expected = "# Made by: sluicegate nft print --interface 'veth-1=10.200.1.2/32' --interface 'tap0=10.9.0.0/16' \
                    --interface 'veth-*' --mode tproxy --gateway-address 10.0.0.1 --ipv6 --transparent-port 15001 \
                    --no-dns --explicit-port 3129 --admin-port 9999";
    assert_eq!((printed.code, head), (0, expected), "{}", printed.stderr);
    let printed = print(text, &["--interface", "eth7=sbx-1", "--explicit-port", "3130"]).await;
    assert!(
        printed.stdout.contains("--interface 'eth7=10.200.1.2/32' --mode tproxy --ipv6"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains("--explicit-port 3130"));
    let two = "listeners:
  - {address: '10.0.0.1:15001', kind: Transparent}
  - {address: '[::1]:15001', kind: Transparent, mode: TProxy}
capture: {interfaces: [{name: a}]}
";
    let printed = print(two, &[]).await;
    assert!(printed.code == 2 && printed.stderr.contains("different modes"), "{}", printed.stderr);
    let printed = print("capture: {sidecarUid: 7}\n", &[]).await;
    assert!(printed.stdout.contains("meta skuid 7 accept"));
    for (text, part) in [
        ("capture: {}\n", "names nobody"),
        ("capture: {interfaces: []}\n", "names nobody"),
        ("capture: {interfaces: [{name: 'a b'}]}\n", "is not an interface"),
        ("capture: {interfaces: [{name: a}, {name: a}]}\n", "named twice"),
        ("capture: {interfaces: [{name: a, sandbox: b}]}\n", "no sandbox `b` is listed"),
        ("capture: {interfaces: [{name: a}], sidecarUid: 7}\n", "a sidecar shares"),
        ("capture: {sidecarUid: 0}\n", "0"),
        ("capture: {interfaces: [{name: a}], gatewayAddresses: [x]}\n", "is not an address"),
        ("capture: {interfaces: [{name: a}], mode: TProxy}\n", "unknown key `mode`"),
        (
            "listeners: [{address: '127.0.0.1:15001', kind: Transparent, mode: TProxy}]\ncapture: {sidecarUid: 7}\n",
            "give that listener `mode: Redirect`",
        ),
    ] {
        let printed = print(text, &[]).await;
        assert!(printed.code == 1 && printed.stderr.contains(part), "{text}: {}", printed.stderr);
    }
    let clash = print("capture: {interfaces: [{name: a}]}\nadmin: {address: '127.0.0.1:15001'}\n", &[]).await;
    assert!(clash.code == 2 && clash.stderr.contains("port 15001"), "{}", clash.stderr);
    assert_eq!(SettingsError::Nobody.to_string(), "no interface is named: the rules would take nothing");
}
