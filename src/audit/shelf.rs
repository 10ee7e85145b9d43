//! The last lines, packed into blocks.
//!
//! Kept one by one, thousands of lines from the time of a burst would each hold a page of the heap that everything
//! around them has left, and none of it could go back to the system.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::event::Line;
use super::vocabulary::{Decision, Kind};
use crate::policy::Reason;

/// The bytes of text in one block; a longer line gets a block of its own.
const BLOCK: usize = 64 * 1024;

/// The last lines in order, at most `capacity` of them.
#[derive(Debug)]
pub(super) struct Shelf {
    /// The blocks, oldest first; none is empty.
    blocks: VecDeque<Block>,
    /// How many lines there are.
    len: usize,
    /// How many lines there may be.
    capacity: usize,
}

/// Some lines in a row.
#[derive(Debug)]
struct Block {
    /// The texts of all lines, one after the other.
    text: String,
    /// Where each line stands in it.
    lines: VecDeque<Entry>,
}

/// What is known of a line without reading it.
#[derive(Debug)]
struct Entry {
    seq: u64,
    time: Timestamp,
    kind: Kind,
    decision: Option<Decision>,
    reason: Option<Reason>,
    /// Where its texts begin.
    at: usize,
    /// The length of the host, if there is one.
    host: Option<usize>,
    /// The length of the sandbox, if there is one.
    sandbox: Option<usize>,
    /// The length of the body.
    body: usize,
}

/// A line on the shelf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    entry: &'a Entry,
    text: &'a str,
}

impl Shelf {
    /// An empty shelf for at least one line.
    pub(super) fn new(capacity: usize) -> Self {
        Self { blocks: VecDeque::new(), len: 0, capacity: capacity.max(1) }
    }

    /// Adds the newest line and lets go of the oldest if there are too many.
    pub(super) fn push(&mut self, line: &Line) {
        let (host, sandbox) = (line.host.as_ref().map(super::Text::as_str), line.sandbox.as_deref());
        let texts = [host.unwrap_or_default(), sandbox.unwrap_or_default(), line.body()];
        let needed: usize = texts.iter().map(|text| text.len()).sum();
        let is_full = |block: &Block| block.text.capacity() - block.text.len() < needed;
        if self.blocks.back().is_none_or(is_full) {
            self.blocks
                .push_back(Block { text: String::with_capacity(needed.max(BLOCK)), lines: VecDeque::new() });
        }
        let Some(block) = self.blocks.back_mut() else { return };
        block.lines.push_back(Entry {
            seq: line.seq,
            time: line.time,
            kind: line.kind,
            decision: line.decision,
            reason: line.reason,
            at: block.text.len(),
            host: host.map(str::len),
            sandbox: sandbox.map(str::len),
            body: line.body().len(),
        });
        block.text.extend(texts);
        self.len += 1;
        while self.len > self.capacity {
            self.drop_oldest();
        }
    }

    /// The lines, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Kept<'_>> {
        self.blocks.iter().flat_map(|block| {
            block
                .lines
                .iter()
                .map(|entry| Kept { entry, text: block.text.get(entry.at..).unwrap_or_default() })
        })
    }

    /// The place of the oldest line; 0 without one.
    pub(super) fn oldest(&self) -> u64 {
        self.iter().next().map_or(0, Kept::seq)
    }

    /// The place of the newest line; 0 without one.
    pub(super) fn newest(&self) -> u64 {
        self.iter().next_back().map_or(0, Kept::seq)
    }

    /// Lets go of the oldest line, and of its block with the last one in it.
    fn drop_oldest(&mut self) {
        let Some(block) = self.blocks.front_mut() else { return };
        block.lines.pop_front();
        if block.lines.is_empty() {
            self.blocks.pop_front();
        }
        self.len -= 1;
    }
}

impl Kept<'_> {
    /// Its place.
    pub(super) const fn seq(self) -> u64 {
        self.entry.seq
    }

    /// What it is about.
    pub(super) const fn kind(self) -> Kind {
        self.entry.kind
    }

    /// What was decided.
    pub(super) const fn decision(self) -> Option<Decision> {
        self.entry.decision
    }

    /// Why it was denied.
    pub(super) const fn reason(self) -> Option<Reason> {
        self.entry.reason
    }

    /// The name or address that was asked for.
    pub(super) fn host(&self) -> Option<&str> {
        self.text.get(..self.entry.host?)
    }

    /// Who asked.
    pub(super) fn sandbox(&self) -> Option<&str> {
        let start = self.entry.host.unwrap_or(0);
        self.text.get(start..start + self.entry.sandbox?)
    }

    /// The line, taken off the shelf as a copy.
    pub(super) fn copy(self) -> Line {
        let start = self.entry.host.unwrap_or(0) + self.entry.sandbox.unwrap_or(0);
        let body = self.text.get(start..start + self.entry.body).unwrap_or_default();
        Line::kept(
            (self.entry.seq, self.entry.time),
            (self.entry.kind, self.entry.decision, self.entry.reason),
            (self.host(), self.sandbox()),
            body,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::event::Event;
    use super::super::{Outcome, Text};
    use super::*;

    /// A line about a host, of roughly `size` bytes.
    fn line(seq: u64, host: Option<&str>, size: usize) -> Line {
        let mut event = Event::new(Kind::Request, format!("{seq:x}").into());
        event.seq = seq;
        event.host = host.map(Text::new);
        event.sandbox = host.map(|host| format!("of-{host}").into());
        event.policy = Some("p".repeat(size).into());
        event.reason = Some(Reason::HostDenied);
        event.decision = Some(Decision::Deny);
        event.outcome = Some(Outcome::Refused);
        let body = event.body();
        Line::new(&event, body)
    }

    #[test]
    fn a_line_comes_off_the_shelf_as_it_was_put_on() {
        let mut shelf = Shelf::new(1000);
        let lines: Vec<Line> = (1..=300)
            .map(|seq| line(seq, Some("h.test").filter(|_| seq % 3 > 0), usize::try_from(seq * 7).unwrap()))
            .collect();
        for line in &lines {
            shelf.push(line);
        }
        let copies: Vec<Line> = shelf.iter().map(Kept::copy).collect();
        assert_eq!(copies.len(), 300);
        for (copy, line) in copies.iter().zip(&lines) {
            assert_eq!(copy.to_string(), line.to_string());
            assert_eq!((&copy.host, &copy.sandbox), (&line.host, &line.sandbox));
            assert_eq!((copy.kind, copy.decision, copy.reason), (line.kind, line.decision, line.reason));
        }
    }

    #[test]
    fn only_the_newest_lines_stay_and_empty_blocks_go() {
        let mut shelf = Shelf::new(10);
        for seq in 1..=5000 {
            shelf.push(&line(seq, Some("h.test"), 400));
        }
        assert_eq!((shelf.oldest(), shelf.newest()), (4991, 5000));
        assert_eq!(shelf.iter().count(), 10);
        assert!(shelf.blocks.len() <= 2, "{} blocks for ten lines", shelf.blocks.len());
    }

    #[test]
    fn a_line_longer_than_a_block_is_kept_whole() {
        let mut shelf = Shelf::new(10);
        shelf.push(&line(1, None, 3 * BLOCK));
        shelf.push(&line(2, None, 1));
        let copies: Vec<String> = shelf.iter().map(|kept| kept.copy().to_string()).collect();
        assert!(copies.first().unwrap().len() > 3 * BLOCK);
        assert_eq!(copies.len(), 2);
    }
}
