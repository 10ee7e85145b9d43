//! Marks and source addresses in a host with two ways out: what the rules do not lead to a table of its own is not sent.

use std::net::Ipv4Addr;
use std::time::Duration;

use sluicegate::addr::Name;
use sluicegate::upstream::{DnsSettings, Mark, OptionError, ResolveError, Resolver, SocketOptions, Sources};

use crate::kit::tool;
use crate::namespace::Namespace;

/// A host whose default way is `wide`, and whose marked and sourced packets have a table with the way `own`.
fn host(label: &str) -> Option<Namespace> {
    tool::find("ip")?;
    let host = Namespace::new(label);
    // What IPv6 says by itself would be counted too.
    host.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    host.sysctl("net.ipv6.conf.default.disable_ipv6=1");
    // The server is known on both links, as what asks who has its address would be counted too.
    host.ip("link add wide type veth peer name wide-end\nlink add own type veth peer name own-end\n\
             link set wide up\nlink set own up\nlink set wide-end up\nlink set own-end up\n\
             addr add 10.1.0.1/24 dev wide\naddr add 10.2.0.1/24 dev own\nroute add default dev wide\n\
             rule add fwmark 0x5b lookup 100\nrule add from 10.2.0.1 lookup 100\nroute add default dev own table 100\n\
             neigh add 203.0.113.53 lladdr 02:00:00:00:00:53 dev wide\n\
             neigh add 203.0.113.53 lladdr 02:00:00:00:00:53 dev own");
    Some(host)
}

/// What a query that leaves so ends with; nobody ever answers.
fn ask(host: &Namespace, options: &SocketOptions) -> ResolveError {
    host.inside(async || {
        let servers = vec!["203.0.113.53:53".parse().unwrap()];
        let timeout = Duration::from_millis(300);
        let settings = DnsSettings { servers, timeout, ..DnsSettings::default() };
        let resolver = Resolver::leaving(&settings, options).unwrap();
        resolver.resolve(&"s".into(), &Name::parse("x.test").unwrap()).await.unwrap_err()
    })
}

/// How many packets to the server an interface sent.
async fn sent(host: &Namespace, interface: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/tx_packets");
    host.run("cat", [path.as_str()]).await.stdout.trim().parse().unwrap()
}

/// Checks that a query goes by its own way only, and not at all once its table is empty.
async fn only_by_its_own(label: &str, options: SocketOptions, expected: OptionError) {
    let Some(host) = host(label) else { return };
    let (wide, own) = (sent(&host, "wide").await, sent(&host, "own").await);
    assert_eq!(ask(&host, &options), ResolveError::Timeout);
    assert!(sent(&host, "own").await > own, "the query left by its own way");
    host.ip("route flush table 100");
    let own = sent(&host, "own").await;
    assert_eq!(ask(&host, &options), ResolveError::Option(expected));
    assert_eq!((sent(&host, "wide").await, sent(&host, "own").await), (wide, own), "nothing was sent");
    // Without options the same query would have gone.
    ask(&host, &SocketOptions::default());
    assert!(sent(&host, "wide").await > wide);
}

#[tokio::test]
async fn a_mark_whose_table_is_empty_sends_nothing() {
    let options = SocketOptions { mark: Mark::new(0x5b, 0xff), ..SocketOptions::default() };
    only_by_its_own("mark", options, OptionError::Unrouted { mark: 0x5b }).await;
}

#[tokio::test]
async fn a_source_address_whose_table_is_empty_sends_nothing() {
    let source = Sources { v4: Some(Ipv4Addr::new(10, 2, 0, 1)), v6: None };
    let options = SocketOptions { source, ..SocketOptions::default() };
    only_by_its_own("source", options, OptionError::Astray).await;
}

#[tokio::test]
async fn a_mark_whose_table_says_unreachable_sends_nothing() {
    let Some(host) = host("unreachable") else { return };
    host.ip("route replace unreachable default table 100");
    let options = SocketOptions { mark: Mark::new(0x5b, u32::MAX), ..SocketOptions::default() };
    let error = ask(&host, &options);
    assert!(matches!(error, ResolveError::Option(OptionError::NoRoute(_))), "{error}");
}
