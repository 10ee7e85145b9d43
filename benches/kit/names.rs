//! Real host names, patterns over them, and questions near them.
//!
//! The names are the 56,000 domains of disposable mail services that the crate `mailchecker` ships. Seven of eight
//! are listed in patterns, the others never are. Beyond their number, sub-names of them are made.

use std::collections::HashSet;

use sluicegate::addr::Host;

use super::Random;

/// Labels of sub-names, the most frequent of real ones first.
const LABELS: [&str; 48] = [
    "www", "api", "cdn", "mail", "static", "img", "app", "blog", "dev", "shop", "m", "assets", "auth",
    "login", "images", "media", "docs", "status", "support", "portal", "test", "staging", "beta", "admin",
    "webmail", "smtp", "ns1", "vpn", "git", "files", "download", "news", "forum", "my", "store", "s3",
    "data", "search", "edge", "video", "help", "events", "gateway", "metrics", "sso", "eu", "us", "registry",
];
/// Labels in the place of a wildcard.
const REGIONS: [&str; 8] =
    ["eastus", "westeurope", "us-east-1", "eu-central-1", "ap-southeast-2", "b7f2", "prod", "a"];
/// The longest name in bytes.
const LONGEST: usize = 253;

/// A kind of pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `name`.
    Exact,
    /// `*.name`.
    Suffix,
    /// `api.*.name`, `api-*.name`.
    Inner,
    /// `api-7.*.data.example.com`: as inner, and all of them end alike.
    Crowd,
    /// 45 % exact, 45 % suffix, 10 % inner.
    Mix,
}

impl Kind {
    /// The kind of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "exact" => Some(Self::Exact),
            "suffix" => Some(Self::Suffix),
            "inner" => Some(Self::Inner),
            "crowd" => Some(Self::Crowd),
            "mix" => Some(Self::Mix),
            _ => None,
        }
    }
}

/// The names of the list, those that patterns may use and those that they may not.
pub struct Names {
    /// In patterns.
    listed: Vec<&'static str>,
    /// In no pattern.
    unlisted: Vec<&'static str>,
}

impl Names {
    /// The list of the crate, in an order of its own and the same in every run.
    #[must_use]
    pub fn load() -> Self {
        let canonical = |text: &&str| {
            text.len() <= 80
                && Host::parse(text).is_ok_and(|host| host.name().is_some_and(|name| name.as_str() == *text))
        };
        let mut seen = HashSet::new();
        let mut listed: Vec<&'static str> = mailchecker::blacklist();
        listed.retain(|text| canonical(text) && seen.insert(*text));
        assert!(listed.len() > 50_000, "the list has {} names only", listed.len());
        Random(1).shuffle(&mut listed);
        let unlisted = listed.split_off(listed.len() / 8 * 7);
        Self { listed, unlisted }
    }

    /// How many there are, listed and unlisted.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.listed.len(), self.unlisted.len())
    }

    /// The listed name at an index: a real one, then sub-names of them.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        let base = self.listed[index % self.listed.len()];
        match index / self.listed.len() {
            0 => base.to_owned(),
            // As in life, two domains seldom have the same hosts: `api52.a.com`, `cdn77.b.com`.
            round => {
                let mixed = Random(index as u64).next() as usize;
                format!("{}{}.{base}", LABELS[mixed % LABELS.len()], round * 50 + mixed / 64 % 50)
            }
        }
    }

    /// The pattern of a kind at an index.
    #[must_use]
    pub fn pattern(&self, kind: Kind, index: usize) -> String {
        let name = self.name(index);
        let label = LABELS[index * 7 % LABELS.len()];
        match (kind, index % 20) {
            (Kind::Exact, _) | (Kind::Mix, 0..=8) => name,
            (Kind::Suffix, _) | (Kind::Mix, 9..=17) => format!("*.{name}"),
            (Kind::Crowd, _) => format!("{label}-{index}.*.data.example.com"),
            (Kind::Inner | Kind::Mix, n) if n % 2 == 0 => format!("{label}.*.{name}"),
            (Kind::Inner | Kind::Mix, _) => format!("{label}-*.{name}"),
        }
    }

    /// A name that a pattern matches.
    #[must_use]
    pub fn hit(pattern: &str, random: &mut Random) -> String {
        match pattern.strip_prefix("*.") {
            Some(rest) if random.below(4) > 0 => format!("{}.{rest}", random.pick(&LABELS)),
            Some(rest) => format!("{}.{}.{rest}", random.pick(&LABELS), random.pick(&LABELS)),
            None => pattern.replace('*', random.pick::<&str>(&REGIONS)),
        }
    }

    /// A name that patterns may well not match: below an unlisted name, a listed one with more before it, or one
    /// that looks like it.
    #[must_use]
    pub fn other(&self, pattern: &str, random: &mut Random) -> String {
        let label = random.pick(&LABELS);
        let tail = pattern.rsplit_once("*.").map_or(pattern, |(_, tail)| tail);
        match random.below(8) {
            0..=3 => format!("{label}.{}", random.pick(&self.unlisted)),
            4 => (*random.pick(&self.unlisted)).to_owned(),
            5 => format!("{label}.x{tail}"),
            6 => tail.to_owned(),
            _ => format!("{label}.zz.{tail}"),
        }
    }

    /// A name of as many labels as there can be: 127 of one letter each, or nearly as many below a listed name.
    #[must_use]
    pub fn deep(pattern: &str, random: &mut Random) -> String {
        let letters = |count: usize, random: &mut Random| -> Vec<String> {
            let letter = |random: &mut Random| char::from(b'a' + (random.next() % 26) as u8).to_string();
            (0..count).map(|_| letter(random)).collect()
        };
        if random.below(2) == 0 {
            return letters(127, random).join(".");
        }
        let tail = pattern.rsplit_once("*.").map_or(pattern, |(_, tail)| tail);
        let tail = tail.rsplit_once('*').map_or(tail, |(_, tail)| tail.trim_start_matches(['-', '.']));
        let mut labels = letters((LONGEST - tail.len()) / 2, random);
        labels.push(tail.to_owned());
        labels.join(".")
    }

    /// A name of 253 bytes in as few labels as there can be, below a listed name or an unlisted one.
    #[must_use]
    pub fn long(&self, pattern: &str, random: &mut Random) -> String {
        let tail = pattern.rsplit_once("*.").map_or(pattern, |(_, tail)| tail);
        let mut name =
            if random.below(2) == 0 { tail.to_owned() } else { (*random.pick(&self.unlisted)).to_owned() };
        if name.contains('*') {
            name = name.replace('*', "a");
        }
        while name.len() < LONGEST - 1 {
            let room = LONGEST - 1 - name.len();
            // No label may be left for which only its dot has room.
            let length = if room == 64 { 62 } else { room.min(63) };
            let label: String = (0..length).map(|_| char::from(b'a' + (random.next() % 26) as u8)).collect();
            name = format!("{label}.{name}");
        }
        name
    }
}
