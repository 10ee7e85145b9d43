//! What a path of its own costs a CONNECT. Run by `tests/load.sh vnet`; standard library only.
//!
//! ```text
//! vnet GATEWAY TUNNELS ROUNDS
//! ```
//! Two gateways take turns: the document of one delegates every call to a network with a source address, for which the
//! kernel's routes are asked at each dial; that of the other does not. Loopback only; ends by itself.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

mod kit;

use kit::{CLOSE, Gateway, Origin, open, spent};

/// Clients at once.
const AT_ONCE: usize = 16;
/// The network: its source address, and a DNS server that nobody asks.
const NETWORK: &str = "networks: {prod: {sourceAddress: 127.0.0.1, dns: ['127.0.0.2:53']}}\n";

/// Opens and closes tunnels; how many a second, and the gateway's processor time for one in microseconds.
fn turn(gateway: &Gateway, origin: SocketAddr, count: usize) -> (f64, f64) {
    let proxy = gateway.proxy;
    let (begun, before) = (Instant::now(), spent(gateway.id()).1);
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|_| thread::spawn(move || (0..count / AT_ONCE).for_each(|_| drop(open(proxy, origin)))))
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    #[allow(clippy::cast_precision_loss)]
    let (done, took) = ((count / AT_ONCE * AT_ONCE) as f64, (spent(gateway.id()).1 - before) as f64);
    (done / begun.elapsed().as_secs_f64(), took * 1000.0 / done)
}

/// The middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, count, rounds] = &arguments[..] else { panic!("vnet GATEWAY TUNNELS ROUNDS") };
    let (count, rounds): (usize, usize) = (count.parse().unwrap(), rounds.parse().unwrap());
    let origin = Origin::start();
    origin.does.store(CLOSE, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("sluicegate-vnet-{}", std::process::id()));
    let [managed, delegated] = ["Unrestricted", "VNet"].map(|mode| {
        let own = directory.join(mode);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("policy.yaml"), format!("mode: {mode}\nvnet: {{network: prod}}\n")).unwrap();
        Gateway::start_with(binary, &own, NETWORK)
    });
    let mut results = [Vec::new(), Vec::new()];
    let mut used = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (at, gateway) in [&managed, &delegated].into_iter().enumerate() {
            let (rate, each) = turn(gateway, origin.address, count);
            // The first fills what is bounded and kept.
            if round > 0 {
                results[at].push(rate);
                used[at].push(each);
            }
        }
    }
    let rates = results.each_mut().map(|rates| median(rates));
    let each = used.each_mut().map(|each| median(each));
    for (what, at) in [("managed", 0), ("delegated", 1)] {
        println!("{what:>9}: {:.0} CONNECTs a second, {:.1} µs of the gateway's time each", rates[at], each[at]);
    }
    println!("{:>9.2} of the rate, {:+.1} µs each", rates[1] / rates[0], each[1] - each[0]);
    drop([managed, delegated]);
    let _ = fs::remove_dir_all(&directory);
}
