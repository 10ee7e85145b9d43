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
//!                                 ├─────►│ HostSet   depths that have patterns: 2, 3    │
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
//! | [`HostSet`](crate::policy::host_set::HostSet) | `hostRules`, categories, the hosts of `rules` | one probe for each number of labels that a pattern has, one for each shape whose right end is there | `host_set.rs`, `name_key.rs`, `flat_table.rs` |
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
//! TABLE
//!
//! # Why it can be trusted
//!
//! The same questions are answered by a naive evaluator, which shares no code with this and reads the rules one after the
//! other: in property tests (`src/policy/properties.rs`), by the fuzz target `decision`, and a hundred million times by
//! `SOAK=100000000 cargo bench --no-default-features --features oracle --bench soak`, over names, prefixes, paths and
//! policies that are made near each other so that they collide. There is no `unsafe` in it.
