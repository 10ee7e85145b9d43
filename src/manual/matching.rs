//! How a rule is found: the indexes behind a decision, what they cost, and what bounds them.
//!
//! A decision asks up to three documents about one target. None of them is scanned: its hosts, addresses and paths are each
//! in an index that is made once, when the document is loaded, and never changes.
//!
//! ```text
//!                        www.example.com : 443
//!                                 │ NameKey: one pass from the right, a hash for each suffix
//!          com ───────── h1 ──────┤
//!          example.com ─ h2 ──────┤        for each document, Global first
//!          www.example… ─ h3 ─────┤      ┌──────────────────────────────────────────────┐
//!                                 ├─────►│ HostSet   ends: h2 is in none of them? done  │
//!                                 │      │           depths that have patterns: 2, 3    │
//!                                 │      │           h2 ^ BELOW ─► FlatTable ─► *.example.com
//!                                 │      │           h3         ─► FlatTable ─► nothing │
//!                                 │      │           shapes (a.*.b): one look-up each   │
//!                                 │      └──────────────┬───────────────────────────────┘
//!                                 │                     │ a candidate: 30 bits
//!                                 │      ┌──────────────▼───────────────────────────────┐
//!                                 │      │ PatternPool, one for all documents           │
//!                                 │      │ the text, compared as a whole: only that decides
//!                                 │      └──────────────┬───────────────────────────────┘
//!                                 ▼                     ▼
//!            Verdict ◄── place in the document ── { denied, allowed, ruled }
//! ```
//!
//! | index | of | a look-up costs | module |
//! |---|---|---|---|
//! | [`HostSet`](crate::policy::host_set::HostSet) | `hostRules`, categories, the hosts of `rules` | one bit filter for the last two labels; then one probe for each number of labels that a pattern has, one for each shape whose right end is there; a probe is one line of the cache | `host_set.rs`, `name_key.rs`, `filter.rs`, `flat_table.rs` |
//! | [`PatternPool`](crate::policy::pattern_pool::PatternPool) | every distinct pattern of the process, once | one comparison for each candidate | `pattern_pool.rs` |
//! | [`CidrSet`](crate::policy::cidr_set::CidrSet) | `cidrRules` | a line of an index, one or two of ranges | `cidr_set.rs` |
//! | [`RuleList`](crate::policy::rule_list::RuleList) | the `rules` of one host | the nodes that the path reaches | `rule_list.rs`, `path_tree.rs` |
//!
//! # What an attacker chooses
//!
//! * **Names.** The hashes are keyed anew in each process, so nobody outside can make names collide. A name's first 120
//!   labels cost no more than its ninth: eight are hashed one by one, the rest as one, and no set is asked for a depth that
//!   none of its patterns has.
//! * **Policies**, where tenants write them. What only a scan could answer is refused when it is loaded: more than 1024
//!   patterns that differ in nothing but the labels with a star, and more than 64 combinations of such labels.
//! * **Nothing of it allocates**: `tests/no_alloc.rs` counts.
//!
//! # What it was measured at
//!
//! `cargo bench --no-default-features --bench hosts`, `--bench cidr`, `--bench paths` and `--bench decision` print the
//! whole grid, with ratios. This is one run on two cores of a virtual machine; only the ratios carry over.
//!
//! Names, a mix of exact names, `*.x`, `a.*.x` and `a-*.x`, half of the questions matching; nanoseconds a look-up:
//!
//! | | 10 | 1k | 100k | 1M | bytes a rule, 1M | built, 1M |
//! |---|---|---|---|---|---|---|
//! | `HostSet` | 31 | 53 | 136 | 341 | 48 | 0.50 s |
//! | ... none of them matching | 21 | 25 | 44 | 98 | | |
//! | ... names of as many labels as there can be | 35 | 61 | 181 | 419 | | |
//! | hash map of suffixes | 49 | 92 | 282 | 546 | 74 | 0.30 s |
//! | ... none matching | 56 | 81 | 152 | 269 | | |
//! | trie of labels | 46 | 68 | 438 | 727 | 153 | 0.49 s |
//! | one set of globs | 57 | 238 | 40,416 | | 834 | |
//! | globs one by one | 164 | 47,753 | | | 7,132 | |
//!
//! The same with `*.x` alone: `HostSet` 36 / 38 / 98 / 307, the set of globs 91 / 114 / 540 / 1,154, the trie 58 / 73 / 419 / 699.
//! Bringing a text into its canonical form takes 36 to 47 on top, for each of them. A million rules are waits for memory: a
//! match reads the filter, a line of the table and the text.
//!
//! | | | beside |
//! |---|---|---|
//! | addresses, 953k prefixes of IPv4, mixed | 88 ns | prefix-trie 169 ns |
//! | ... 200k of IPv6 | 100 ns | prefix-trie 234 ns |
//! | ... 64 of IPv4: matching, none matching | 14, 12 ns | prefix-trie 21, 5 ns |
//! | 1,000 rules by path, the last fits | 72 ns | a scan 19 µs, a set of regular expressions 0.53 µs |
//! | questions A, C and B over three documents of 1k hosts each | 301 ns | one look-up 53 ns |
//! | ... of 100k hosts each | 450 ns | one look-up 134 ns |
//! | a sandbox's policy of 50 rules, 10,000 of them | 768 bytes in all | a set of globs each: 120,805 bytes |
//! | one of these 10,000 changed | 1.1 ms | all of them: 334 ms |
//! | a group of 1M rules | compiled in 0.65 s, 53 bytes a rule in all | |
//! | ... swapped | the slowest decision of 300 µs takes 0.6 µs | without a swap 0.5 µs |
//!
//! Over three documents A and C are six look-ups, so with few hosts a decision is more than five times one.
//!
//! `tests/load.sh rules`, whole gateways on the same two cores: with a million rules 1.05 times the CONNECTs a second of ten
//! rules; the 99th of a hundred CONNECTs takes 1.3 ms while a million rules are read, compiled and swapped, and 1.5 ms when
//! nothing is.
//!
//! # Why it can be trusted
//!
//! The same questions are answered by a naive evaluator, which shares no code with this and reads the rules one after the
//! other: in property tests (`properties.rs`), by the fuzz target `decision`, and a hundred million times by
//! `SOAK=100000000 cargo bench --no-default-features --features oracle --bench soak`, over names, prefixes, paths and
//! policies that are made near each other so that they collide. There is no `unsafe` in it.
