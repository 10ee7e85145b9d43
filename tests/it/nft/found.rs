//! What else is found, or cannot be looked at.

use super::*;

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
