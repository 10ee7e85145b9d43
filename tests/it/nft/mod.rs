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

mod altered;
mod command;
mod found;
mod printed;

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
