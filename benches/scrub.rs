//! What it costs to keep values out of an answer, beside a copy of it and searches that find less; and what a certificate
//! costs.
//!
//! `cargo bench --bench scrub`, and `-- --values 1 --texts json` for less.
//!
//! | text | is |
//! |---|---|
//! | `json` | an answer of an interface, none of it a value |
//! | `base64` | letters and digits as they come: what begins like a value in some encoding is everywhere |
//! | `echo` | the same answer with a value in every kilobyte |
//! | `nearly` | a value without its last character, again and again: what a sandbox would send that knows how it is done |
//!
//! | contender | finds |
//! |---|---|
//! | `copy` | nothing |
//! | `memmem` | a value as it is, one value after the other |
//! | `memmem × 5` | that, its three forms in base64, and hexadecimal in lower case; not across pieces, and nothing escaped |
//! | `Scrubber` | what `src/secrets/scrub.rs` says |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use memchr::memmem::Finder;
use sluicegate::addr::Host;
use sluicegate::intercept::{Authority, create};
use sluicegate::secrets::{Mask, Revealed};

mod kit;

use kit::{Options, Random, Runner, Table, figure, race};

/// What is pushed at once: the most that is read from an origin.
const PIECE: usize = 16 * 1024 - 1;
/// How much text there is.
const TEXT: usize = 1 << 20;
/// How many certificates are made in a round.
const LEAVES: usize = 256;

/// What an answer says.
const WORDS: [&str; 8] = ["fix", "the", "build", "of", "pages", "after", "ghp", "token"];

/// A token as a service would give it.
fn token(random: &mut Random) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let text: String = (0..36).map(|_| char::from(*random.pick(letters))).collect();
    format!("ghp_{text}")
}

/// An answer of an interface.
fn json(random: &mut Random) -> String {
    let mut text = String::from("[");
    while text.len() < TEXT {
        let (id, size) = (random.next(), random.below(1_000_000));
        let words: Vec<&str> = (0..12).map(|_| *random.pick(&WORDS)).collect();
        let _ = writeln!(
            text,
            "{{\"id\":{id},\"node_id\":\"MDEw{id:x}\",\"private\":false,\"size\":{size},\"html_url\":\
             \"https:\\/\\/api.example.com\\/repos\\/{id:x}\",\"message\":\"{}\",\"date\":\"2026-11-23T10:00:00Z\"}},",
            words.join(" ")
        );
    }
    text
}

/// A text of this kind.
fn text(kind: &str, values: &[String], random: &mut Random) -> String {
    match kind {
        "json" => json(random),
        "base64" => {
            let bytes: Vec<u8> = (0..TEXT * 3 / 4).map(|_| random.next() as u8).collect();
            STANDARD_NO_PAD.encode(bytes)
        }
        "echo" => {
            let lines: Vec<u8> = json(random).into_bytes();
            let parts = lines.chunks(1024).map(|part| String::from_utf8_lossy(part).into_owned());
            parts.map(|part| part + random.pick::<String>(values).as_str()).collect()
        }
        "nearly" => {
            let mut near = values[0].clone();
            near.pop();
            near.repeat(TEXT / near.len())
        }
        _ => panic!("the texts are json, base64, echo and nearly"),
    }
}

/// What is looked for by `memmem × 5`.
fn encoded(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let shifted = |shift: usize| {
        let coded = STANDARD_NO_PAD.encode([&b"xx"[..shift], bytes].concat());
        let (from, to) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
        coded.as_bytes()[from..to].to_vec()
    };
    let mut hex = String::new();
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    vec![bytes.to_vec(), shifted(0), shifted(1), shifted(2), hex.into_bytes()]
}

fn main() {
    let options = Options::read(&[
        ("texts", "json,base64,echo,nearly"),
        ("values", "1,4,16"),
        ("ms", "300"),
        ("leaves", "yes"),
    ]);
    let budget = Duration::from_millis(options.number("ms") as u64);
    let mut table = Table::new(&["text", "values", "contender", "MB/s", "of a copy"]);
    for kind in options.list("texts") {
        for many in options.numbers("values") {
            let mut random = Random(many as u64);
            let values: Vec<String> = (0..many).map(|_| token(&mut random)).collect();
            let pieces: Vec<Bytes> = text(kind, &values, &mut random)
                .as_bytes()
                .chunks(PIECE)
                .map(Bytes::copy_from_slice)
                .collect();
            let results = scrubbed(&values, &pieces, budget);
            let piece = pieces.iter().map(Bytes::len).sum::<usize>() as f64 / pieces.len() as f64;
            for (name, each) in &results {
                let row = [kind.clone(), many.to_string(), name.clone()];
                let figures = [figure(piece * 1e3 / each), format!("{:.3}", results[0].1 / each)];
                table.row(row.into_iter().chain(figures).collect());
            }
        }
    }
    table.print();
    if options.has("leaves", "yes") {
        leaves(budget);
    }
}

/// How long each contender takes for a piece.
fn scrubbed(values: &[String], pieces: &[Bytes], budget: Duration) -> Vec<(String, f64)> {
    let revealed: Vec<Revealed> = values.iter().map(|value| Revealed::new(value.as_bytes())).collect();
    let mask = Mask::new(&revealed);
    let plain: Vec<Finder<'_>> = values.iter().map(|value| Finder::new(value.as_bytes())).collect();
    let forms: Vec<Vec<u8>> = values.iter().flat_map(|value| encoded(value)).collect();
    let forms: Vec<Finder<'_>> = forms.iter().map(|form| Finder::new(form.as_slice())).collect();
    let found = |finders: &[Finder<'_>], piece: &Bytes| {
        finders.iter().map(|finder| finder.find_iter(piece).count() as u64).sum::<u64>()
    };
    // What hyper gives is ours alone, and is masked where it is: each contender gets a copy.
    let each = |work: &mut dyn FnMut(Bytes) -> u64, range: std::ops::Range<usize>| {
        pieces[range].iter().map(|piece| work(Bytes::from(piece.to_vec()))).sum()
    };
    let mut runners: Vec<(String, Runner<'_>)> = vec![
        ("copy".into(), Box::new(move |range| each(&mut |piece| piece.len() as u64, range))),
        ("memmem".into(), Box::new(move |range| each(&mut |piece| found(&plain, &piece), range))),
        ("memmem × 5".into(), Box::new(move |range| each(&mut |piece| found(&forms, &piece), range))),
        (
            "Scrubber".into(),
            Box::new(move |range| {
                let mut stream = mask.stream();
                each(&mut |piece| stream.push(piece).len() as u64, range) + stream.finish().len() as u64
            }),
        ),
    ];
    race(pieces.len(), budget, &mut runners)
}

/// How long a certificate takes.
fn leaves(budget: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let settings = create::create(&directory.path().join("ca"), &[], 30).unwrap();
    let authority = Authority::load(&settings).unwrap();
    let hosts: Vec<Host> = (0..LEAVES).map(|host| format!("h{host}.example.com").parse().unwrap()).collect();
    for host in &hosts {
        authority.accept(host, true, || true).unwrap();
    }
    let mut number = 0;
    let mut runners: Vec<(String, Runner<'_>)> = vec![
        (
            "kept".into(),
            Box::new(|range| {
                let kept = hosts[range].iter().map(|host| authority.accept(host, true, || false));
                kept.flatten().count() as u64
            }),
        ),
        (
            "made".into(),
            Box::new(|range| {
                let made = range.map(|_| {
                    number += 1;
                    let host = format!("n{number}.example.com").parse().unwrap();
                    authority.accept(&host, true, || true)
                });
                made.flatten().count() as u64
            }),
        ),
    ];
    let mut table = Table::new(&["a certificate", "µs"]);
    for (name, each) in race(LEAVES, budget, &mut runners) {
        table.row(vec![name, format!("{:.1}", each / 1e3)]);
    }
    println!();
    table.print();
}
