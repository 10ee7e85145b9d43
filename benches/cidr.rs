//! How long the longest prefix takes to find, beside a trie and a linear scan.
//!
//! `cargo bench --no-default-features --bench cidr`
//!
//! The rivals take turns on the same slice of addresses. A fence ends every look-up, as those of different calls do
//! not overlap; without it the processor runs ahead into the next ones. What the loop and the fence alone take is
//! taken off. A figure is the mean over the slices of each slice's minimum.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "benchmarks")]
#![allow(unsafe_code, reason = "the allocator that counts is the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use sluicegate::addr::Port;
use sluicegate::policy::Action;
use sluicegate::policy::cidr_set::CidrSet;

/// Bytes that are allocated and not freed.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// How many allocations there were.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a count.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size, Ordering::Relaxed);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many IPv4 prefixes of each length a full table has, in the proportions of the public Internet.
const V4: [(u8, u32); 17] = [
    (8, 16),
    (9, 14),
    (10, 40),
    (11, 100),
    (12, 300),
    (13, 580),
    (14, 1_200),
    (15, 2_000),
    (16, 13_500),
    (17, 8_200),
    (18, 13_800),
    (19, 25_000),
    (20, 43_000),
    (21, 51_000),
    (22, 108_000),
    (23, 96_000),
    (24, 590_000),
];
/// The same for IPv6.
const V6: [(u8, u32); 20] = [
    (20, 10),
    (24, 40),
    (28, 150),
    (29, 5_000),
    (30, 700),
    (31, 300),
    (32, 25_000),
    (33, 4_500),
    (34, 3_500),
    (35, 1_500),
    (36, 8_500),
    (38, 2_500),
    (40, 22_000),
    (42, 5_000),
    (44, 20_000),
    (45, 2_500),
    (46, 5_000),
    (47, 4_500),
    (48, 88_000),
    (64, 800),
];
/// The blocks of IPv6 that the registries hand out from: the block, its length, its share in percent.
const BLOCKS: [(u128, u8, u64); 6] = [
    (0x2001 << 112, 16, 20),
    (0x2400 << 112, 12, 25),
    (0x2600 << 112, 12, 20),
    (0x2800 << 112, 12, 10),
    (0x2a00 << 112, 12, 22),
    (0x2c00 << 112, 12, 3),
];
/// How many addresses a rival looks up before the next one's turn.
const SLICE: usize = 1 << 13;
/// How many slices there are.
const SLICES: usize = 8;
/// How many turns each rival gets at each slice.
const TURNS: usize = 9;

/// The name of the loop without a look-up.
const LOOP: &str = "loop";

/// A prefix with its bits at the top, and its length.
type Prefix = (u128, u8);

/// A stream of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    /// The next number.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// The next bits, below the first `length` ones.
    fn host(&mut self, length: u8) -> u128 {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        bits.checked_shr(length.into()).unwrap_or(0)
    }

    /// One of a list.
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        let place = usize::try_from(self.below(list.len() as u64)).unwrap();
        *list.get(place).unwrap()
    }

    /// A block of IPv6, by share.
    fn block(&mut self) -> Prefix {
        let mut percent = self.below(100);
        let block = BLOCKS.iter().find(|(_, _, share)| {
            let chosen = percent < *share;
            percent = percent.saturating_sub(*share);
            chosen
        });
        block.map(|(net, length, _)| (*net, *length)).unwrap()
    }
}

/// A full table: short prefixes first, longer ones mostly inside them and, for IPv6, handed out from the low end.
fn table(v6: bool) -> Vec<Prefix> {
    let (mut numbers, mut table) = (Numbers(7), Vec::new());
    for (length, count) in if v6 { V6.as_slice() } else { V4.as_slice() } {
        let shorter = table.clone();
        let nested = match (v6, *length) {
            (false, _) => 60,
            (true, ..=32) => 5,
            (true, _) => 85,
        };
        let mut seen = HashSet::new();
        while seen.len() < *count as usize {
            let (base, from) = match shorter.as_slice() {
                [_, ..] if numbers.below(100) < nested => numbers.of(&shorter),
                _ if v6 => numbers.block(),
                _ => (0, 0),
            };
            let Some(gap) = length.checked_sub(from).filter(|gap| *gap > 0) else { continue };
            let mut subnet = numbers.host(128 - gap);
            if v6 && gap > 8 && numbers.below(2) == 0 {
                subnet >>= numbers.below(u64::from(gap) - 7);
            }
            let net = base | subnet << (128 - length);
            if (v6 || (1..224).contains(&(net >> 120))) && seen.insert(net) {
                table.push((net, *length));
            }
        }
    }
    table
}

/// An address of top bits.
fn address(bits: u128, v6: bool) -> IpAddr {
    if v6 { bits.to_be_bytes().into() } else { u32::try_from(bits >> 96).unwrap().to_be_bytes().into() }
}

/// A way to look all of a list up; the sum of what was found.
type Find<'a> = Box<dyn Fn(&[IpAddr]) -> u32 + 'a>;

/// One of those who look up.
struct Rival<'a> {
    name: &'static str,
    find: Find<'a>,
    /// How many addresses of a slice it gets.
    share: usize,
    build: Duration,
    bytes: usize,
}

/// Looks all addresses up, one after the other; the sum of what was found.
#[inline]
fn chain(addresses: &[IpAddr], find: impl Fn(IpAddr) -> Option<u32>) -> u32 {
    let each = addresses.iter().map(|address| {
        let found = black_box(find(*address));
        fence(Ordering::SeqCst);
        found.map_or(0, |id| id + 1)
    });
    each.fold(0, u32::wrapping_add)
}

/// What `build` makes, how long that took and what it holds.
fn built<T>(build: impl FnOnce() -> T) -> (T, Duration, usize) {
    let (before, start) = (HELD.load(Ordering::Relaxed), Instant::now());
    let made = build();
    (made, start.elapsed(), HELD.load(Ordering::Relaxed) - before)
}

/// The trie of either family.
enum Trie {
    V4(PrefixMap<Ipv4Net, u32>),
    V6(PrefixMap<Ipv6Net, u32>),
}

/// Measures one set of prefixes.
fn measure(prefixes: &[Prefix], v6: bool) {
    let nets: Vec<IpNet> =
        prefixes.iter().map(|(bits, length)| IpNet::new(address(*bits, v6), *length).unwrap()).collect();
    let (set, set_build, set_bytes) =
        built(|| CidrSet::new((0..).zip(&nets).map(|(id, net)| (id, *net, Action::Allow, None))));
    let (trie, trie_build, trie_bytes) = built(|| {
        let mut trie = if v6 { Trie::V6(PrefixMap::new()) } else { Trie::V4(PrefixMap::new()) };
        for (id, net) in (0..).zip(&nets) {
            match (&mut trie, net) {
                (Trie::V4(map), IpNet::V4(net)) => map.insert(*net, id),
                (Trie::V6(map), IpNet::V6(net)) => map.insert(*net, id),
                _ => None,
            };
        }
        trie
    });
    let mut rivals = vec![
        Rival {
            name: "CidrSet",
            find: Box::new(|list| chain(list, |ip| set.longest(ip, Port::HTTPS).map(|found| found.id))),
            share: SLICE,
            build: set_build,
            bytes: set_bytes,
        },
        Rival {
            name: "prefix-trie",
            find: match &trie {
                Trie::V4(map) => Box::new(|list| {
                    chain(list, |ip| {
                        let IpAddr::V4(ip) = ip else { return None };
                        map.get_lpm(&ip.into()).map(|(_, id)| *id)
                    })
                }),
                Trie::V6(map) => Box::new(|list| {
                    chain(list, |ip| {
                        let IpAddr::V6(ip) = ip else { return None };
                        map.get_lpm(&ip.into()).map(|(_, id)| *id)
                    })
                }),
            },
            share: SLICE,
            build: trie_build,
            bytes: trie_bytes,
        },
    ];
    if nets.len() <= 10_000 {
        rivals.push(Rival {
            name: "linear ipnet",
            find: Box::new(|list| {
                chain(list, |ip| {
                    let covering = (0..).zip(&nets).filter(|(_, net)| net.contains(&ip));
                    covering.max_by_key(|(_, net)| net.prefix_len()).map(|(id, _)| id)
                })
            }),
            // A scan takes up to a thousand times as long.
            share: (SLICE * 8 / nets.len()).clamp(8, SLICE),
            build: Duration::ZERO,
            bytes: size_of_val(nets.as_slice()),
        });
    }
    rivals.push(Rival {
        name: LOOP,
        find: Box::new(|list| chain(list, |ip| black_box(ip).is_ipv4().then_some(0))),
        share: SLICE,
        build: Duration::ZERO,
        bytes: 0,
    });
    let lists = questions(prefixes, v6, &set);
    let calls = CALLS.load(Ordering::Relaxed);
    for ip in lists.iter().flatten() {
        black_box(set.longest(*ip, Port::HTTPS));
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), calls, "a look-up allocates nothing");
    let columns = lists.map(|addresses| minima(&rivals, &addresses));
    report(&rivals, &columns, &format!("{} {}", nets.len(), if v6 { "v6" } else { "v4" }), nets.len());
}

/// Addresses that hit, that miss, and both mixed, each in random order.
fn questions(prefixes: &[Prefix], v6: bool, set: &CidrSet) -> [Vec<IpAddr>; 3] {
    let mut numbers = Numbers(99);
    let mut hit = || {
        let (bits, length) = numbers.of(prefixes);
        address(bits | numbers.host(length), v6)
    };
    let hits: Vec<IpAddr> = (0..SLICE * SLICES).map(|_| hit()).collect();
    let mut miss = || loop {
        let block = numbers.block();
        let ip = address(if v6 { block.0 | numbers.host(block.1) } else { numbers.host(0) }, v6);
        if set.longest(ip, Port::HTTPS).is_none() {
            return ip;
        }
    };
    let misses: Vec<IpAddr> = (0..SLICE * SLICES).map(|_| miss()).collect();
    let mixed = hits.iter().zip(&misses).map(|(hit, miss)| *numbers.of(&[hit, miss])).collect();
    [hits, misses, mixed]
}

/// Prints a row a rival.
fn report(rivals: &[Rival<'_>], columns: &[Vec<f64>; 3], set: &str, prefixes: usize) {
    for (place, rival) in rivals.iter().enumerate().filter(|(_, rival)| rival.name != LOOP) {
        let cells = columns.each_ref().map(|column| {
            let [own, first, idle] = [place, 0, rivals.len() - 1].map(|place| *column.get(place).unwrap());
            format!("{:.1} ({:.2})", own - idle, (own - idle) / (first - idle))
        });
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let bytes = rival.bytes as f64 / prefixes as f64;
        let build = rival.build.as_secs_f64() * 1e3;
        println!("| {} | {set} | {} | {bytes:.1} | {build:.2} ms |", rival.name, cells.join(" | "));
    }
}

/// The nanoseconds that each rival takes for a look-up.
fn minima(rivals: &[Rival<'_>], addresses: &[IpAddr]) -> Vec<f64> {
    let mut best = vec![vec![Duration::MAX; SLICES]; rivals.len()];
    for _ in 0..TURNS {
        for (number, slice) in addresses.chunks(SLICE).enumerate() {
            let sums: Vec<u32> = rivals
                .iter()
                .zip(&mut best)
                .map(|(rival, best)| {
                    let (slice, best) = (slice.get(..rival.share).unwrap(), best.get_mut(number).unwrap());
                    let start = Instant::now();
                    let sum = black_box((rival.find)(black_box(slice)));
                    *best = start.elapsed().min(*best);
                    sum
                })
                .collect();
            let whole =
                sums.iter().zip(rivals).filter(|(_, rival)| rival.share == SLICE && rival.name != LOOP);
            assert!(whole.map(|(sum, _)| sum).collect::<HashSet<_>>().len() == 1, "the rivals disagree");
        }
    }
    let per = |(best, rival): (&Vec<Duration>, &Rival<'_>)| {
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let count = (rival.share * SLICES) as f64;
        best.iter().sum::<Duration>().as_secs_f64() * 1e9 / count
    };
    best.iter().zip(rivals).map(per).collect()
}

fn main() {
    let calls = CALLS.load(Ordering::Relaxed);
    assert!(
        CidrSet::new([]).is_empty() && CALLS.load(Ordering::Relaxed) == calls,
        "an empty set needs no heap"
    );
    println!("A CidrSet itself takes {} bytes. Times as × CidrSet in brackets.\n", size_of::<CidrSet>());
    println!(
        "| | prefixes | hit ns | miss ns | mixed ns | B/prefix | build |\n|---|---|---|---|---|---|---|"
    );
    for v6 in [false, true] {
        let full = table(v6);
        let mut numbers = Numbers(3);
        for size in [1, 5, 64, 10_000] {
            let chosen: HashSet<Prefix> = (0..size).map(|_| numbers.of(&full)).collect();
            let mut chosen: Vec<Prefix> = chosen.into_iter().collect();
            chosen.sort_unstable();
            measure(&chosen, v6);
        }
        measure(&full, v6);
    }
}
