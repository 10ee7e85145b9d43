//! The audit log: `audit`.

use std::path::PathBuf;

use super::Config;
use super::network::path;
use crate::source::{Kind, Spot};

/// The keys of `audit`.
pub(crate) const AUDIT_KEYS: [&str; 3] = ["sinks", "onFull", "open"];
/// The keys of a sink.
pub(crate) const SINK_KEYS: [&str; 2] = ["stdout", "file"];
/// The keys of a file sink.
pub(crate) const FILE_KEYS: [&str; 3] = ["path", "maxBytes", "keep"];

/// The size at which a file is rotated when nothing is said.
const MAX_BYTES: u64 = 256 << 20;
/// The rotated files that are kept when nothing is said.
const KEEP: u32 = 8;

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where records go; at least one.
    pub sinks: Vec<SinkSettings>,
    /// What happens when they cannot keep up.
    pub on_full: OnFull,
    /// Whether a tunnel writes an `open` record when it begins.
    pub open: bool,
}

/// One place that records go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkSettings {
    /// Standard output.
    Stdout,
    /// A file that is rotated by size.
    File {
        /// The file.
        path: PathBuf,
        /// The size at which it is rotated.
        max_bytes: u64,
        /// The rotated files that are kept.
        keep: u32,
    },
}

/// What happens when the audit log is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFull {
    /// New connections wait.
    #[default]
    Block,
    /// Records are dropped and counted.
    Drop,
    /// New connections are denied.
    Deny,
}

/// `audit`.
pub(super) fn audit(spot: &Spot<'_>) -> AuditSettings {
    let mut settings = Config::default().audit;
    let Some(fields) = spot.fields(&AUDIT_KEYS) else { return settings };
    if let Some(spot) = fields.get("sinks") {
        settings.sinks = sinks(&spot);
    }
    let words = [("Block", OnFull::Block), ("Drop", OnFull::Drop), ("Deny", OnFull::Deny)];
    settings.on_full = fields.get("onFull").and_then(|spot| spot.choice(&words)).unwrap_or_default();
    settings.open = fields.get("open").and_then(|spot| spot.boolean()).unwrap_or(true);
    settings
}

/// `audit.sinks`.
fn sinks(spot: &Spot<'_>) -> Vec<SinkSettings> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure(
            "lists no sink: decisions would leave no trace",
            "leave `sinks` out for standard output",
        );
    }
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for item in spot.items() {
        let Some(sink) = sink(&item) else { continue };
        let taken = sinks.iter().any(|other| match (other, &sink) {
            (SinkSettings::Stdout, SinkSettings::Stdout) => true,
            (SinkSettings::File { path: one, .. }, SinkSettings::File { path: other, .. }) => one == other,
            (SinkSettings::Stdout, SinkSettings::File { .. })
            | (SinkSettings::File { .. }, SinkSettings::Stdout) => false,
        });
        if taken {
            item.error_cure("another sink writes to the same place", "remove one of them");
        }
        sinks.push(sink);
    }
    sinks
}

/// One sink: `{stdout: {}}` or `{file: {path: …}}`.
fn sink(item: &Spot<'_>) -> Option<SinkSettings> {
    let fields = item.fields(&SINK_KEYS)?;
    match (fields.get("stdout"), fields.get("file")) {
        (Some(stdout), None) => stdout.fields(&[]).map(|_| SinkSettings::Stdout),
        (None, Some(spot)) => {
            let fields = spot.fields(&FILE_KEYS)?;
            let path = fields.require("path").and_then(|spot| path(&spot));
            let max_bytes =
                fields.get("maxBytes").map_or(Some(MAX_BYTES), |spot| spot.integer(4096, 1 << 50));
            let keep = match fields.get("keep") {
                Some(spot) => spot.integer(1, 10_000).and_then(|keep| u32::try_from(keep).ok()),
                None => Some(KEEP),
            };
            Some(SinkSettings::File { path: path?, max_bytes: max_bytes?, keep: keep? })
        }
        (Some(_), Some(_)) | (None, None) => {
            item.error_cure("a sink is exactly one place", "write {stdout: {}} or {file: {path: …}}");
            None
        }
    }
}
