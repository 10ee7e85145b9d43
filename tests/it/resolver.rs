//! Names to addresses, against a name server that answers as it is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use sluicegate::addr::Name;
use sluicegate::upstream::{DnsSettings, ResolveError, Resolver};

use crate::kit::dns::{Answer, Dns};
use crate::kit::{PATIENCE, within};

/// A name server and a resolver that asks it and waits for both families.
async fn rig() -> (Dns, Resolver) {
    rig_with(DnsSettings { resolution_delay: PATIENCE, ..DnsSettings::default() }).await
}

/// The same with these settings.
async fn rig_with(settings: DnsSettings) -> (Dns, Resolver) {
    let dns = Dns::start().await;
    let resolver = Resolver::new(&DnsSettings { servers: vec![dns.address()], ..settings }).unwrap();
    (dns, resolver)
}

/// What `name` resolves to.
async fn ask(resolver: &Resolver, name: &str) -> Result<Vec<String>, ResolveError> {
    let name = Name::parse(name).unwrap();
    let resolution = within("a resolution", resolver.resolve(&"default".into(), &name)).await?;
    Ok(resolution.addresses.iter().map(IpAddr::to_string).collect())
}

#[tokio::test]
async fn both_families_are_asked_and_interleaved() {
    let (dns, resolver) = rig().await;
    dns.says("x.test", Answer::addresses(["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]));
    let mut found = ask(&resolver, "x.test").await.unwrap();
    assert_eq!(found[0], "2001:db8::1");
    found.sort();
    assert_eq!(found, ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]);
    assert!(dns.asked().iter().all(|asked| asked.name == "x.test"), "no search domain was tried");
    assert_eq!(resolver.servers(), [dns.address()]);
}

#[tokio::test]
async fn names_with_underscores_and_a_labels_are_asked_for_as_they_are() {
    let (dns, resolver) = rig().await;
    for name in ["_acme-challenge.x.test", "a_b.test", "xn--bcher-kva.test", "4.test"] {
        dns.says(name, Answer::addresses(["192.0.2.1"]));
        assert_eq!(ask(&resolver, name).await.unwrap(), ["192.0.2.1"], "{name}");
        assert!(dns.queries(name) > 0);
    }
}

#[tokio::test]
async fn the_hosts_file_is_never_asked() {
    let (dns, resolver) = rig().await;
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = Some(hostname.trim().to_ascii_lowercase()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "ip6-loopback".to_owned());
    assert_eq!(ask(&resolver, &name).await, Err(ResolveError::NotFound));
    assert!(dns.queries(&name) > 0, "`{name}` was asked for");
}

#[tokio::test]
async fn one_family_is_enough() {
    let (dns, resolver) = rig_with(DnsSettings::default()).await;
    let v4 = || Answer::addresses(["192.0.2.1"]);
    dns.says("broken.test", Answer::by_family(v4(), Answer::ServFail));
    dns.says("silent.test", Answer::by_family(v4(), Answer::Silent));
    dns.says("six.test", Answer::by_family(Answer::NoData, Answer::addresses(["2001:db8::1"])));
    assert_eq!(ask(&resolver, "broken.test").await.unwrap(), ["192.0.2.1"]);
    assert_eq!(ask(&resolver, "silent.test").await.unwrap(), ["192.0.2.1"]);
    assert_eq!(ask(&resolver, "six.test").await.unwrap(), ["2001:db8::1"]);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (dns, resolver) = rig().await;
    for (name, answer, error) in [
        ("gone.test", Answer::NxDomain, ResolveError::NotFound),
        ("empty.test", Answer::NoData, ResolveError::NoData),
        ("broken.test", Answer::ServFail, ResolveError::ServFail),
        ("refused.test", Answer::Refused, ResolveError::Other("the DNS server refused")),
        ("half.test", Answer::by_family(Answer::NoData, Answer::ServFail), ResolveError::ServFail),
    ] {
        dns.says(name, answer);
        assert_eq!(ask(&resolver, name).await, Err(error), "{name}");
    }
    let settings = DnsSettings { timeout: Duration::from_millis(300), ..DnsSettings::default() };
    let (dns, resolver) = rig_with(settings).await;
    dns.says("garbage.test", Answer::Garbage);
    assert!(ask(&resolver, "garbage.test").await.is_err());
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let (dns, resolver) = rig().await;
    dns.says("big.test", Answer::addresses(["192.0.2.1"]).truncated_over_udp());
    assert_eq!(ask(&resolver, "big.test").await.unwrap(), ["192.0.2.1"]);
    assert!(dns.asked().iter().any(|asked| asked.over_tcp));
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_and_a_ttl_of_zero_is_not_kept() {
    let (dns, resolver) = rig().await;
    dns.says("kept.test", Answer::addresses(["192.0.2.1", "2001:db8::1"]));
    ask(&resolver, "kept.test").await.unwrap();
    let asked = dns.queries("kept.test");
    ask(&resolver, "kept.test").await.unwrap();
    assert_eq!(dns.queries("kept.test"), asked);

    let turn = |address| Answer::addresses([address, "2001:db8::1"]).ttl(0);
    dns.says_in_turn("moving.test", [turn("192.0.2.1"), turn("127.0.0.1")]);
    assert!(ask(&resolver, "moving.test").await.unwrap().contains(&"192.0.2.1".to_owned()));
    assert!(ask(&resolver, "moving.test").await.unwrap().contains(&"127.0.0.1".to_owned()));
}

#[tokio::test]
async fn the_cap_on_the_ttl_holds_below_the_answers_own() {
    let (dns, resolver) = rig_with(DnsSettings { max_ttl: Duration::ZERO, ..DnsSettings::default() }).await;
    let turn = |address| Answer::addresses([address]).ttl(86_400);
    dns.says_in_turn("kept.test", [turn("192.0.2.1"), turn("192.0.2.2")]);
    assert_eq!(ask(&resolver, "kept.test").await.unwrap(), ["192.0.2.1"]);
    assert_eq!(ask(&resolver, "kept.test").await.unwrap(), ["192.0.2.2"]);
}

#[tokio::test]
async fn lookups_of_one_name_at_the_same_time_share_one_query() {
    let (dns, resolver) = rig().await;
    dns.says("busy.test", Answer::addresses(["192.0.2.1", "2001:db8::1"]).ttl(0));
    dns.hold();
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { ask(&resolver, "busy.test").await.unwrap() })
        })
        .collect();
    dns.wait_for_query("busy.test").await;
    // Every task has been polled once each other one has: the runtime of this test has one thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    dns.release();
    for answer in asking {
        assert_eq!(answer.await.unwrap().len(), 2);
    }
    assert!(dns.queries("busy.test") <= 10, "{} queries for 50 look-ups", dns.queries("busy.test"));
}

#[tokio::test]
async fn d6_a_chain_of_eight_aliases_is_followed_and_a_longer_one_is_refused() {
    let (dns, resolver) = rig().await;
    for at in 0..12 {
        dns.says(&format!("a{at}.test"), Answer::alias(&format!("a{}.test", at + 1)));
    }
    dns.says("a12.test", Answer::addresses(["192.0.2.1"]));
    assert_eq!(ask(&resolver, "a4.test").await.unwrap(), ["192.0.2.1"]);
    assert_eq!(ask(&resolver, "a3.test").await, Err(ResolveError::TooLarge));
    dns.says("loop.test", Answer::alias("loop.test"));
    assert!(ask(&resolver, "loop.test").await.is_err());
}

#[tokio::test]
async fn d6_sixty_four_addresses_are_taken_and_more_are_refused() {
    let (dns, resolver) = rig().await;
    let addresses = |v4: u8, v6: u8| {
        let v4 = (0..v4).map(|last| format!("192.0.2.{last}"));
        let all: Vec<_> = v4.chain((0..v6).map(|last| format!("2001:db8::{last:x}"))).collect();
        Answer::addresses(all.iter().map(String::as_str))
    };
    dns.says("many.test", addresses(32, 32));
    dns.says("too-many.test", addresses(65, 0));
    dns.says("together.test", addresses(33, 32));
    assert_eq!(ask(&resolver, "many.test").await.unwrap().len(), 64);
    assert_eq!(ask(&resolver, "too-many.test").await, Err(ResolveError::TooLarge));
    assert_eq!(ask(&resolver, "together.test").await, Err(ResolveError::TooLarge));
}

#[tokio::test]
async fn d6_a_silent_server_is_given_up_in_time() {
    let (dns, resolver) =
        rig_with(DnsSettings { timeout: Duration::from_millis(200), ..DnsSettings::default() }).await;
    dns.says("silent.test", Answer::Silent);
    assert_eq!(ask(&resolver, "silent.test").await, Err(ResolveError::Timeout));
}

/// Starts so many look-ups of a sandbox, each of another name.
fn flood(resolver: &Resolver, sandbox: &str, count: usize) -> Vec<tokio::task::JoinHandle<()>> {
    let look_up = |number| {
        let (resolver, sandbox) = (resolver.clone(), Arc::from(sandbox));
        let name = Name::parse(&format!("n{number}.{sandbox}.test")).unwrap();
        tokio::spawn(async move { drop(resolver.resolve(&sandbox, &name).await) })
    };
    (0..count).map(look_up).collect()
}

#[tokio::test]
async fn r2_what_is_known_waits_for_no_look_up_and_one_sandbox_leaves_room_for_others() {
    let (dns, resolver) = rig_with(DnsSettings { timeout: PATIENCE, ..DnsSettings::default() }).await;
    dns.says("kept.test", Answer::addresses(["192.0.2.1", "2001:db8::1"]));
    dns.says("four.test", Answer::addresses(["192.0.2.4"]));
    ask(&resolver, "kept.test").await.unwrap();
    dns.hold();
    let mut greedy = flood(&resolver, "greedy", 2000);
    let asked = |sandbox: &str| {
        let all = dns.asked();
        let of_it = |asked: &&str| asked.ends_with(&format!(".{sandbox}.test"));
        all.iter().map(|asked| asked.name.as_str()).filter(of_it).collect::<BTreeSet<_>>().len()
    };
    dns.wait_for_query("n127.greedy.test").await;
    let other = flood(&resolver, "other", 1);
    dns.wait_for_query("n0.other.test").await;
    assert_eq!(asked("greedy"), 128, "one sandbox has so many look-ups at once");

    for number in 0..7 {
        greedy.extend(flood(&resolver, &format!("more{number}"), 128));
    }
    dns.wait_for_query("n126.more6.test").await;
    let late = flood(&resolver, "late", 1);
    // Every task has been polled once each other one has: the runtime of this test has one thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&resolver, "kept.test").await.unwrap().len(), 2);
    let (sandbox, kept) = ("late".into(), Name::parse("kept.test").unwrap());
    let known = resolver.records(&sandbox, &kept, RecordType::A);
    assert_eq!(within("a known answer", known).await.unwrap().records.len(), 1);
    assert_eq!(asked("late"), 0, "every place is taken");
    for task in greedy.into_iter().chain(other).chain(late) {
        task.abort();
    }
}

#[tokio::test]
async fn records_come_with_what_is_left_of_their_life_below_the_cap() {
    let cap = DnsSettings { max_ttl: Duration::from_secs(30), ..DnsSettings::default() };
    let (dns, resolver) = rig_with(cap).await;
    dns.says("long.test", Answer::addresses(["192.0.2.1"]).ttl(86_400));
    dns.says("short.test", Answer::addresses(["192.0.2.1"]).ttl(5));
    dns.says("alias.test", Answer::alias("short.test"));
    for (name, kind, longest) in [
        ("long.test", RecordType::A, 30),
        ("short.test", RecordType::A, 5),
        ("alias.test", RecordType::A, 5),
        ("alias.test", RecordType::CNAME, 30),
    ] {
        for again in ["from the server", "from the cache"] {
            let (name, sandbox) = (Name::parse(name).unwrap(), "default".into());
            let answer = within("an answer", resolver.records(&sandbox, &name, kind)).await.unwrap();
            assert_eq!(answer.records.len(), 1, "{name} {again}");
            assert!(answer.ttl <= longest && answer.ttl + 3 > longest, "{name} {again}: {}", answer.ttl);
        }
    }
    let (sandbox, name) = ("default".into(), Name::parse("long.test").unwrap());
    assert_eq!(resolver.records(&sandbox, &name, RecordType::AAAA).await, Err(ResolveError::NoData));
}
