//! `networks`: what can be said of the ways out, and what is refused.

use super::*;
use crate::addr::Host;
use crate::upstream::parent::Protocol;
use crate::upstream::{Mark, Sources};

/// The only network besides `managed` of this text.
fn prod(text: &str) -> NetworkSettings {
    let networks = good(&format!("networks: {{prod: {{dns: [10.20.0.53:53], {text}}}}}")).networks;
    assert_eq!(networks.managed, NetworkSettings::default());
    networks.delegated.into_values().next().unwrap()
}

/// Every problem of a network of this text.
fn wrong(text: &str, part: &str) {
    error(&format!("networks: {{prod: {{dns: [10.20.0.53:53], {text}}}}}"), part);
}

#[test]
fn everything_can_be_said_of_a_network() {
    let network = prod("interface: eth1, sourceAddress: 10.20.0.4, mark: 0x5b000000, groups: [agents]");
    assert_eq!(network.options.interface.as_deref(), Some("eth1"));
    let v4 = Sources { v4: Some("10.20.0.4".parse().unwrap()), v6: None };
    assert_eq!(network.options.source, v4);
    assert_eq!(network.options.mark, Mark::new(0x5b00_0000, u32::MAX));
    assert_eq!(network.dns, ["10.20.0.53:53".parse().unwrap()]);
    assert_eq!(network.groups.unwrap(), ["agents".into()]);
    let both = prod("sourceAddress: ['2001:db8::4', 10.20.0.4]").options.source;
    assert_eq!(both, Sources { v6: Some("2001:db8::4".parse().unwrap()), ..v4 });
    for (text, value, mask) in [
        ("7", 7, u32::MAX),
        ("'0x7'", 7, u32::MAX),
        ("0x5b000000/0xff000000", 0x5b00_0000, 0xff00_0000),
        ("'91/255'", 91, 255),
    ] {
        assert_eq!(prod(&format!("mark: {text}")).options.mark, Mark::new(value, mask), "{text}");
    }
}

#[test]
fn a_parent_proxy_is_a_url_or_a_mapping() {
    let proxy = |text: &str| prod(&format!("proxy: {text}")).proxy.unwrap();
    let plain = proxy("'http://10.20.0.9:3128'");
    assert_eq!((plain.address.to_string().as_str(), plain.protocol), ("10.20.0.9:3128", Protocol::Http));
    assert_eq!((&plain.server_name, &plain.credentials), (&None, &None));
    let socks = proxy("'socks5://[2001:db8::9]:1080/'");
    assert_eq!(
        (socks.address.to_string().as_str(), socks.protocol),
        ("[2001:db8::9]:1080", Protocol::Socks5)
    );
    let secure = proxy("'https://10.20.0.9:3129'");
    assert_eq!(secure.server_name, Some(Host::Ip("10.20.0.9".parse().unwrap())));
    let whole =
        proxy("{url: 'https://10.20.0.9:3129', serverName: Proxy.corp., username: gate, password: {env: P}}");
    assert_eq!(whole.server_name, Some(Host::parse("proxy.corp").unwrap()));
    assert_eq!(whole.credentials, Some(("gate".into(), TokenSource::Env("P".into()))));
}

#[test]
fn who_resolves_follows_from_the_network() {
    let remote = good("networks: {prod: {proxy: 'http://10.20.0.9:3128', resolve: Remote}}");
    assert!(remote.networks.delegated.values().all(|network| network.by_name && network.dns.is_empty()));
    assert!(!prod("proxy: 'http://10.20.0.9:3128', resolve: Local").by_name);
    wrong("interface: eth1, resolve: Remote", "no parent proxy that could resolve");
    wrong("proxy: 'http://10.20.0.9:3128', resolve: Remote", "the parent proxy resolves names");
    error("networks: {prod: {interface: eth1}}", "has no DNS servers");
    error("networks: {prod: {interface: eth1, dns: []}}", "lists no server");
    error("networks: {managed: {dns: [10.0.0.1:53]}}\ndns: {servers: [10.0.0.2:53]}", "says this already");
    let by_name = "networks: {managed: {proxy: 'http://10.0.0.9:3128', resolve: Remote}}";
    assert!(good(by_name).networks.managed.by_name);
    error(&format!("{by_name}\ndns: {{servers: [10.0.0.2:53]}}"), "nobody would ask");
}

#[test]
fn the_managed_path_has_platform_hosts_and_every_sandbox() {
    let networks = good("networks: {managed: {platformHosts: ['*.platform.test'], mark: 5}}").networks;
    assert_eq!(networks.platform_hosts.first().unwrap().to_string(), "*.platform.test");
    assert_eq!(networks.managed.options.mark, Mark::new(5, u32::MAX));
    error("networks: {managed: {groups: [a]}}", "every sandbox has the managed path");
    error("networks: {managed: {platformHosts: [10.0.0.9], mark: 5}}", "always takes the delegated path");
    wrong("mark: 5, platformHosts: [a.test]", "only `managed` has platform hosts");
    wrong("groups: [a]", "nothing tells this network from any other");
    wrong("mark: 5, groups: []", "lists no group");
    let sandboxes = "sandboxes: [{id: a, group: agents, sources: [10.0.0.1]}]\n";
    let networks = "networks: {prod: {mark: 5, dns: [10.0.0.1:53], groups: [agent]}}";
    let warnings = load(&format!("{sandboxes}{networks}")).unwrap().warnings;
    assert!(
        warnings.iter().any(|warning| {
            let said = warning.to_string();
            said.contains("which no sandbox is in") && said.contains("sluicegate.yaml:2:57")
        }),
        "{warnings:?}"
    );
}

#[test]
fn what_is_wrong_with_a_network_is_said_where_it_is() {
    for (text, part) in [
        ("interface: averyveryverylongname", "longer than 15"),
        ("interface: äöüäöüäö", "longer than 15 bytes"),
        ("interface: eth1/0", "not the name of an interface"),
        ("sourceAddress: x", "not an address"),
        ("sourceAddress: 0.0.0.0", "not an address that packets can leave from"),
        ("sourceAddress: '::ffff:10.0.0.1'", "not an address that packets can leave from"),
        ("sourceAddress: 224.0.0.1", "not an address that packets can leave from"),
        ("sourceAddress: [10.0.0.1, 10.0.0.2]", "a second address of this family"),
        ("sourceAddress: []", "lists no address"),
        ("mark: 0", "not in the range"),
        ("mark: '0'", "0 is what every packet"),
        ("mark: 0x1ff/0xff", "bits that are not in the mask"),
        ("mark: 5/", "not a packet mark"),
        ("mark: '-5'", "not a packet mark"),
        ("mark: '+5'", "not a packet mark"),
        ("mark: 0x100000000/0xff", "not a packet mark"),
        ("proxy: ftp", "not the URL of a parent proxy"),
        ("proxy: 'http://proxy.corp:3128'", "named by an IP address and a port"),
        ("proxy: 'http://[::ffff:10.0.0.9]:3128'", "IPv4 written as IPv6"),
        ("proxy: 'http://10.0.0.9'", "named by an IP address and a port"),
        ("proxy: 'http://10.0.0.9:0'", "named by an IP address and a port"),
        ("proxy: 'http://10.0.0.9:3128/x'", "named by an IP address and a port"),
        ("proxy: 'http://u:hunter2@10.0.0.9:3128'", "credentials do not belong into a URL"),
        ("proxy: {url: 'http://10.0.0.9:1', serverName: a.test}", "only a proxy that is reached over TLS"),
        ("proxy: {url: 'https://10.0.0.9:1', serverName: 10.0.0.9}", "an address, not a name"),
        ("proxy: {url: 'http://10.0.0.9:1', username: a}", "belong together"),
        ("proxy: {url: 'http://10.0.0.9:1', username: 'a:b', password: {env: P}}", "with a colon"),
        ("proxy: {url: 'http://10.0.0.9:1', username: a, password: hunter2}", "values do not belong here"),
        ("proxy: {username: a, password: {env: P}}", "`url` is missing"),
        ("mark: 5, resolve: local", "did you mean `Local`"),
        ("mark: 5, interfaces: eth1", "did you mean `interface`"),
    ] {
        let file = format!("networks: {{prod: {{dns: [10.20.0.53:53], {text}}}}}");
        let found = load(&file).map(|loaded| loaded.config).unwrap_err();
        assert!(found.len() == 1 && found[0].contains(part), "{text}: {found:?} is not {part:?}");
        assert!(found[0].contains("sluicegate.yaml:1:") && !found[0].contains("hunter2"), "{found:?}");
    }
    let mapped = "mark: 5, dns: ['[::ffff:10.20.0.53]:53']";
    error(&format!("networks: {{prod: {{{mapped}}}}}"), "IPv4 written as IPv6");
    error("dns: {servers: ['[::ffff:127.0.0.1]:53']}", "IPv4 written as IPv6");
    error("networks: {' prod': {mark: 5, dns: [10.0.0.1:53]}}", "not the name of a network");
    error("networks: []", "expected a mapping");
    error("skipEgressProxy: true", "expected text");
    error("skipEgressProxy: permitted", "did you mean `Permitted`");
    assert!(good("skipEgressProxy: Permitted").skip_egress_proxy);
}
