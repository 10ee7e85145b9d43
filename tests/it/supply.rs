//! What must never be in the dependency tree.

use std::fs;
use std::path::Path;

/// Crates that are banned, each with the reason; a trailing `*` stands for any ending.
const BANNED: [(&str, &str); 5] = [
    ("openssl-sys", "TLS is rustls; no C library of the system is linked"),
    ("serde_yaml", "archived by its author"),
    ("serde_yml", "RUSTSEC-2025-0068"),
    ("trust-dns-*", "RUSTSEC-2025-0017: renamed to hickory"),
    ("rustls-pemfile", "RUSTSEC-2025-0134"),
];

/// The banned crates that a lock file names, with the reasons.
fn banned_in(lock: &str) -> Vec<String> {
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let reason = |name: &str| {
        let hit = |pattern: &str| {
            pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
        };
        BANNED.iter().find(|(pattern, _)| hit(pattern)).map(|(_, reason)| format!("{name}: {reason}"))
    };
    names.filter_map(reason).collect()
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"hickory-resolver\""), "the lock file is the real one");
    assert_eq!(banned_in(&lock), Vec::<String>::new());
}

#[test]
fn a_banned_crate_would_be_found() {
    let lock = "[[package]]\nname = \"serde_yaml\"\n[[package]]\nname = \"trust-dns-proto\"\n\
                [[package]]\nname = \"serde_yaml_ng\"\n";
    assert_eq!(banned_in(lock).len(), 2);
}
