//! The busiest hosts, sandboxes and rules, in memory that no client can make grow.
//!
//! Space-saving: each table has a fixed number of rows; a name that is not in a full table takes the row
//! with the smallest count and goes on from there. So a count is at most `error` too high, never too low,
//! and a name with more than `total / rows` calls is always in the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Observe;
use super::event::Event;
use super::vocabulary::Counted;
use super::vocabulary::Decision;

/// The rows of one table.
const ROWS: usize = 512;

/// What is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The name or address that was asked for.
    Host,
    /// Who asked.
    Sandbox,
    /// The document and rule that decided, as `document/rule`.
    Rule,
}

/// One row of an answer.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Row {
    /// What was counted.
    pub name: Arc<str>,
    /// Decisions; at most `error` too high.
    pub count: u64,
    /// By how much `count` may be too high.
    pub error: u64,
    /// Decisions that let it pass, since the name has its row.
    pub allowed: u64,
    /// Decisions that did not, since the name has its row.
    pub denied: u64,
    /// Payload bytes from clients, since the name has its row.
    pub bytes_up: u64,
    /// Payload bytes to clients, since the name has its row.
    pub bytes_down: u64,
}

/// The tables. An observer of the audit log.
#[derive(Debug)]
pub struct Top {
    /// By host.
    hosts: Mutex<Table>,
    /// By sandbox.
    sandboxes: Mutex<Table>,
    /// By rule.
    rules: Mutex<Table>,
}

impl By {
    /// `host`, `sandbox` or `rule`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Sandbox => "sandbox",
            Self::Rule => "rule",
        }
    }

    /// What `host`, `sandbox` or `rule` stands for.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "host" => Some(Self::Host),
            "sandbox" => Some(Self::Sandbox),
            "rule" => Some(Self::Rule),
            _ => None,
        }
    }
}

impl Top {
    /// Empty tables.
    #[must_use]
    pub fn new() -> Self {
        let table = || Mutex::new(Table::new(ROWS));
        Self { hosts: table(), sandboxes: table(), rules: table() }
    }

    /// The rows with the highest counts, highest first.
    #[must_use]
    pub fn rows(&self, by: By, limit: usize) -> Vec<Row> {
        let mut rows = self.table(by).rows.clone();
        rows.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        rows.truncate(limit);
        rows
    }

    /// A table, also after a panic of somebody who held it.
    fn table(&self, by: By) -> MutexGuard<'_, Table> {
        let table = match by {
            By::Host => &self.hosts,
            By::Sandbox => &self.sandboxes,
            By::Rule => &self.rules,
        };
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Top {
    fn default() -> Self {
        Self::new()
    }
}

impl Observe for Top {
    fn observe(&self, event: &Event) {
        if !event.decides() && !event.ends() {
            return;
        }
        if let Some(host) = &event.host {
            self.table(By::Host).count(host.as_str(), || host.shared(), event);
        }
        if let Some(sandbox) = &event.sandbox {
            self.table(By::Sandbox).count(sandbox, || Arc::clone(sandbox), event);
        }
        if let (Some(policy), Some(rule)) = (&event.policy, &event.rule) {
            let name = format!("{policy}/{rule}");
            self.table(By::Rule).count(&name, || name.as_str().into(), event);
        }
    }
}

/// A fixed number of rows, and where each name's row is.
#[derive(Debug)]
struct Table {
    /// The rows.
    rows: Vec<Row>,
    /// The row of each name.
    places: HashMap<Arc<str>, usize>,
    /// The most rows.
    capacity: usize,
}

impl Table {
    /// An empty table of at most `capacity` rows.
    fn new(capacity: usize) -> Self {
        Self { rows: Vec::new(), places: HashMap::new(), capacity }
    }

    /// Counts an event for a name.
    fn count(&mut self, name: &str, owned: impl FnOnce() -> Arc<str>, event: &Event) {
        let place = match self.places.get(name) {
            Some(place) => *place,
            // The end of a tunnel whose row is gone: it was counted, and its bytes have no row.
            None if !event.decides() => return,
            None => self.place(owned()),
        };
        let Some(row) = self.rows.get_mut(place) else { return };
        if event.decides() {
            row.count += 1;
            match event.decision {
                Some(Decision::Allow | Decision::Skip) => row.allowed += 1,
                Some(Decision::Deny) => row.denied += 1,
                None => {}
            }
        }
        if event.ends() && event.counted == Counted::Here {
            row.bytes_up += event.bytes_up.unwrap_or(0);
            row.bytes_down += event.bytes_down.unwrap_or(0);
        }
    }

    /// Makes a row for a new name, at the cost of the smallest one when the table is full.
    fn place(&mut self, name: Arc<str>) -> usize {
        let fresh = |count| Row {
            name: Arc::clone(&name),
            count,
            error: count,
            allowed: 0,
            denied: 0,
            bytes_up: 0,
            bytes_down: 0,
        };
        let smallest = self.rows.iter_mut().enumerate().min_by_key(|(_, row)| row.count);
        let place = match smallest {
            Some((place, row)) if self.places.len() >= self.capacity => {
                let replaced = std::mem::replace(row, fresh(row.count));
                self.places.remove(&replaced.name);
                place
            }
            _ => {
                self.rows.push(fresh(0));
                self.rows.len() - 1
            }
        };
        self.places.insert(name, place);
        place
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::super::{Kind, Text};
    use super::*;

    fn event(kind: Kind, host: &str) -> Event {
        let mut event = Event::new(kind, "x".into());
        event.host = Some(Text::new(host));
        event.sandbox = Some("sbx".into());
        event.decision = Some(Decision::Deny);
        event
    }

    #[test]
    fn m1_any_number_of_hosts_fits_in_the_same_memory_and_the_busy_one_is_found() {
        let top = Top::new();
        for number in 0..100_000 {
            top.observe(&event(Kind::Connection, &format!("{number}.example")));
            if number % 50 == 0 {
                top.observe(&event(Kind::Connection, "busy.example"));
            }
        }
        let table = top.table(By::Host);
        assert_eq!((table.rows.len(), table.places.len()), (ROWS, ROWS));
        drop(table);
        let rows = top.rows(By::Host, 1);
        assert_eq!(&*rows[0].name, "busy.example");
        assert!(rows[0].count >= 2000 && rows[0].count - rows[0].error <= 2000);
        assert_eq!(top.rows(By::Sandbox, 10).len(), 1);
        assert_eq!(top.rows(By::Sandbox, 10)[0].count, 102_000);
        assert!(top.rows(By::Rule, 10).is_empty());
    }

    #[test]
    fn a_tunnel_counts_once_and_brings_its_bytes_at_the_end() {
        let top = Top::new();
        let mut open = event(Kind::Open, "a.example");
        open.decision = Some(Decision::Allow);
        (open.policy, open.rule) = (Some("p".into()), Some("hostRules[0]".into()));
        top.observe(&open);
        let mut end = open.clone();
        (end.kind, end.opened, end.bytes_up, end.bytes_down) = (Kind::Connection, true, Some(3), Some(4));
        top.observe(&end);
        for (by, name) in [(By::Host, "a.example"), (By::Sandbox, "sbx"), (By::Rule, "p/hostRules[0]")] {
            let row = &top.rows(by, 9)[0];
            assert_eq!((&*row.name, row.count, row.allowed, row.denied), (name, 1, 1, 0));
            assert_eq!((row.bytes_up, row.bytes_down), (3, 4));
        }
    }
}
