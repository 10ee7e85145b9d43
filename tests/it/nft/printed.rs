//! What is printed is what is shipped, loads, and verifies.

use super::*;

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
