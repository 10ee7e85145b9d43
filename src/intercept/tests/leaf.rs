//! What a certificate says, when one is made, and what is kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Instant;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::{Authority, authority, host, now, ordinary};
use crate::intercept::LeafError;
use crate::intercept::leaf::MOST_BYTES;
use crate::intercept::mint::Minted;

/// What an authority makes for a host.
fn minted(authority: &Authority, text: &str) -> Minted {
    authority.leaves.mint.mint(&host(text), now()).unwrap()
}

/// A name of 253 bytes.
fn longest() -> String {
    let label = "a".repeat(63);
    format!("{label}.{label}.{label}.{}", "b".repeat(61))
}

#[test]
fn a_leaf_is_for_exactly_one_host_a_day_at_most_and_no_authority_itself() {
    let authority = authority(&ordinary());
    let longest = longest();
    for text in ["example.com", "xn--bcher-kva.example", "_x.a-.test", &longest, "192.0.2.7", "[2001:db8::1]"]
    {
        let made = minted(&authority, text);
        let (_, leaf) = X509Certificate::from_der(&made.certified.cert[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        match (&names.value.general_names[..], host(text).ip()) {
            ([GeneralName::DNSName(name)], None) => assert_eq!(*name, text),
            ([GeneralName::IPAddress(bytes)], Some(IpAddr::V4(ip))) => assert_eq!(*bytes, ip.octets()),
            ([GeneralName::IPAddress(bytes)], Some(IpAddr::V6(ip))) => assert_eq!(*bytes, ip.octets()),
            (other, _) => panic!("{text}: {other:?}"),
        }
        assert!(names.critical && leaf.subject().iter().count() == 0, "{text}");
        assert!(made.end - made.begin <= Duration::DAY && made.begin <= now() - Duration::minutes(59));
        assert!(!leaf.is_ca() && leaf.basic_constraints().unwrap().unwrap().critical);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.any && !usage.client_auth);
        assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(leaf.raw_serial().len() <= 17 && leaf.raw_serial()[0] < 0x80, "{:?}", leaf.raw_serial());
    }
    assert_eq!(longest.len(), 253);
    assert!("*.example.com".parse::<crate::addr::Host>().is_err(), "a wildcard is no host");
}

#[test]
fn serial_numbers_are_random_and_the_key_is_the_same() {
    let authority = authority(&ordinary());
    let of = |text| {
        let made = minted(&authority, text);
        let (_, leaf) = X509Certificate::from_der(&made.certified.cert[0]).unwrap();
        (leaf.raw_serial().to_vec(), leaf.public_key().raw.to_vec())
    };
    let (a, b) = (of("a.test"), of("a.test"));
    assert_ne!(a.0, b.0);
    assert_eq!(a.1, b.1);
    let other = super::authority(&ordinary());
    assert_ne!(minted(&other, "a.test").certified.cert, minted(&authority, "a.test").certified.cert);
}

#[test]
fn no_leaf_outlives_its_authority() {
    let mut params = ordinary();
    params.not_after = now() + Duration::minutes(30);
    let authority = authority(&params);
    assert_eq!(minted(&authority, "a.test").end.unix_timestamp(), params.not_after.unix_timestamp());
    let leaves = &authority.leaves;
    let soon = now() + Duration::minutes(29);
    let late = now() + Duration::minutes(31);
    let first = leaves.leaf(&host("a.test"), now(), || true).unwrap();
    let again = leaves.leaf(&host("a.test"), soon, || panic!("it is kept to the end")).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(leaves.leaf(&host("a.test"), late, || true).unwrap_err(), LeafError::Expired);
    assert_eq!(leaves.leaf(&host("b.test"), late, || true).unwrap_err(), LeafError::Expired);
    assert_eq!(
        leaves.leaf(&host("b.test"), now() - Duration::days(2), || true).unwrap_err(),
        LeafError::Expired
    );
}

#[test]
fn a_leaf_is_kept_while_it_is_good_whatever_happens_to_the_clock() {
    let authority = authority(&ordinary());
    let (leaves, name) = (&authority.leaves, host("a.test"));
    leaves.leaf(&name, now(), || true).unwrap();
    leaves.leaf(&name, now() + Duration::hours(21), || panic!("it is kept")).unwrap();
    assert_eq!(authority.minted(), 1);
    leaves.leaf(&name, now() + Duration::hours(22), || true).unwrap();
    assert_eq!(authority.minted(), 2, "it would end within the hour");
    leaves.leaf(&name, now(), || true).unwrap();
    assert_eq!(authority.minted(), 3, "it has not begun for a clock that was set back");
}

#[test]
fn a_host_that_name_constraints_leave_out_is_an_error_and_no_certificate() {
    let mut params = ordinary();
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("Example.com".to_owned())],
        excluded_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0))],
    });
    let authority = authority(&params);
    for good in ["example.com", "a.b.example.com", "[2001:db8::1]"] {
        assert!(authority.accept(&host(good), true, || true).is_ok(), "{good}");
    }
    for bad in ["example.org", "evilexample.com", "com", "192.0.2.7"] {
        let error = authority.accept(&host(bad), true, || true).unwrap_err();
        assert_eq!(error, LeafError::Constrained(host(bad)));
        assert!(error.to_string().contains(&format!("leave out {bad}")), "{error}");
        assert!(!authority.is_cached(&host(bad)));
    }
    assert_eq!(authority.minted(), 3);
}

#[test]
fn r2_a_thousand_handshakes_for_a_new_name_make_one_certificate_and_are_charged_once() {
    const ALL: usize = 1000;
    let counted = Arc::new(AtomicU64::new(0));
    let authority = authority(&ordinary()).counted({
        let counted = Arc::clone(&counted);
        Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
    });
    let (barrier, charged) = (Barrier::new(ALL), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..ALL {
            scope.spawn(|| {
                barrier.wait();
                let may_mint = || charged.fetch_add(1, Ordering::Relaxed) < u64::MAX;
                authority.accept(&host("new.test"), true, may_mint).unwrap();
            });
        }
    });
    let counts = (authority.minted(), counted.load(Ordering::Relaxed), charged.load(Ordering::Relaxed));
    assert_eq!(counts, (1, 1, 1));
}

#[test]
fn r2_who_may_not_mint_gets_what_is_kept_and_no_more() {
    let authority = authority(&ordinary());
    let (old, new) = (host("old.test"), host("new.test"));
    authority.accept(&old, true, || true).unwrap();
    assert!(authority.accept(&old, false, || panic!("it is kept, with either protocol")).is_ok());
    assert_eq!(authority.accept(&new, true, || false).unwrap_err(), LeafError::Refused);
    assert!(!authority.is_cached(&new) && authority.is_cached(&old));
    assert!(authority.accept(&new, true, || true).is_ok(), "a refusal is not kept");
}

#[test]
fn r2_one_who_may_not_mint_does_not_refuse_another_who_waits_for_the_same_name() {
    let authority = authority(&ordinary());
    let name = host("new.test");
    let (inside, is_inside) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let may_mint = move || {
                inside.send(()).unwrap();
                may_go.recv().unwrap();
                false
            };
            authority.accept(&name, true, may_mint).map(drop)
        });
        is_inside.recv().unwrap();
        // It waits for the first one, or comes after it: it must be served either way.
        let second = scope.spawn(|| authority.accept(&name, true, || true).map(drop));
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Err(LeafError::Refused));
        assert_eq!(second.join().unwrap(), Ok(()));
    });
    assert_eq!(authority.minted(), 1);
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn r2_a_flood_of_names_stays_within_the_bound_and_push_out_nothing_that_is_used() {
    // As many as show it: those beyond what is kept take the place of others.
    const NAMES: u64 = 30_000;
    let authority = authority(&ordinary());
    let used = host("used.test");
    for _ in 0..10 {
        authority.accept(&used, true, || true).unwrap();
    }
    let before = resident();
    let started = Instant::now();
    for n in 0..NAMES {
        if n % 100 == 0 {
            authority.leaves.leaf(&used, now(), || panic!("{n}: what is used was pushed out")).unwrap();
        }
        authority
            .leaves
            .leaf(&host(&format!("n{n}.a-longer-name-of-some-service.example.com")), now(), || true)
            .unwrap();
    }
    let took = started.elapsed();
    let kept = &authority.leaves.kept;
    kept.run_pending_tasks();
    let (grown, entries) = (resident().saturating_sub(before), kept.entry_count());
    eprintln!(
        "{NAMES} names: {:?} each, {entries} kept, {} bytes by estimate, memory grew by {grown} bytes, {} an entry",
        took / 30_000,
        kept.weighted_size(),
        grown / entries.max(1),
    );
    assert!(kept.weighted_size() <= MOST_BYTES);
    assert!(entries < 20_000, "{entries}");
    assert!(grown < 3 * MOST_BYTES, "{grown}");
    assert_eq!(authority.minted(), NAMES + 1);
}
