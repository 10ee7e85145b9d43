//! Every distinct host pattern of the process, once: ten thousand sandboxes that name the same hosts share their text.
//!
//! ```text
//! chunk 0  │len kind [port] text…│len kind [port] text…│…    records in units of two bytes, written once
//! chunk 1  │…                                            what later documents added
//! PatternRef = chunk (6 bits), unit in it (24 bits)
//! ```
//! An [`Interner`] writes while documents are compiled; a [`PatternPool`] is what is written by then, and shares the
//! chunks. What nobody names any more is left behind when the documents move to a new pool,
//! [`PolicySet::compacted`](super::PolicySet::compacted).

use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashTable;

use super::name_key;
use super::pattern::{Pattern, PatternKind};
use crate::addr::Port;

/// The bytes of a unit.
const UNIT: usize = 2;
/// The bytes before the port and the text: the text's length, the kind.
const HEAD: usize = 2;
/// The bytes of a port, where there is one.
const PORT: usize = 2;
/// The bit of the kind that says so.
const HAS_PORT: u8 = 0x80;
/// The bits of a reference that say the unit.
const UNIT_BITS: u32 = 24;
/// The bits of a reference.
pub(super) const REF_BITS: u32 = 30;
/// The most bytes of a chunk.
const CHUNK: usize = UNIT << UNIT_BITS;
/// A chunk of fewer bytes is copied and goes on, so that many small changes do not make many chunks.
const GOES_ON: usize = 256 * 1024;
/// The most chunks.
const MOST_CHUNKS: usize = 1 << (REF_BITS - UNIT_BITS);
/// So many bytes may be of no use before it is worth moving.
const SPARE: usize = 1024 * 1024;

/// A pattern in a pool. It means nothing in another pool that is not a later state of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PatternRef(u32);

impl PatternRef {
    /// The reference in the low [`REF_BITS`] of a number.
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << REF_BITS) - 1))
    }

    /// The number; it has [`REF_BITS`] bits.
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// The chunk, and the byte in it.
    fn place(self) -> (usize, usize) {
        let unit = usize::try_from(self.0 & ((1 << UNIT_BITS) - 1)).unwrap_or(usize::MAX);
        (usize::try_from(self.0 >> UNIT_BITS).unwrap_or(usize::MAX), unit.saturating_mul(UNIT))
    }
}

/// What a stored pattern says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It is the text.
    Whole,
    /// It ends in the text, behind one label or more; without a text any name does.
    Below,
    /// It fits the text, which has stars.
    Inner,
}

/// One pattern of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'p> {
    form: Form,
    /// The only port; 0 for any.
    port: u16,
    text: &'p [u8],
}

impl<'p> Stored<'p> {
    /// Reads the record at the start of some bytes.
    fn read(record: &'p [u8]) -> Option<Self> {
        let (&[len, kind], mut rest) = record.split_first_chunk::<HEAD>()?;
        let form = match kind & !HAS_PORT {
            0 => Form::Whole,
            1 => Form::Below,
            _ => Form::Inner,
        };
        let mut port = 0;
        if kind & HAS_PORT != 0 {
            let (own, text) = rest.split_first_chunk::<PORT>()?;
            (port, rest) = (u16::from_le_bytes(*own), text);
        }
        Some(Self { form, port, text: rest.get(..usize::from(len))? })
    }

    /// The plain meaning, whatever led here.
    pub(super) fn matches(&self, name: &str, port: Port) -> bool {
        let name = name.as_bytes();
        (self.port == 0 || self.port == port.get())
            && match self.form {
                Form::Whole => self.text == name,
                Form::Below => {
                    let before = name.strip_suffix(self.text);
                    self.text.is_empty() || before.is_some_and(|before| before.ends_with(b"."))
                }
                Form::Inner => labels_match(self.text, name),
            }
    }

    /// Whether it is about one port only.
    pub(super) const fn has_port(&self) -> bool {
        self.port != 0
    }

    /// The bytes of the record.
    const fn bytes(&self) -> usize {
        let port = if self.port == 0 { 0 } else { PORT };
        (HEAD + port + self.text.len()).next_multiple_of(UNIT)
    }
}

impl fmt::Display for Stored<'_> {
    /// As the [`Pattern`] that was stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = match self.form {
            Form::Below if self.text.is_empty() => "*",
            Form::Below => "*.",
            Form::Whole | Form::Inner => "",
        };
        f.write_str(below)?;
        f.write_str(&String::from_utf8_lossy(self.text))?;
        if self.port == 0 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Whether a name fits a text with stars, label by label from the right.
fn labels_match(text: &[u8], name: &[u8]) -> bool {
    let mut patterns = text.rsplit(|byte| *byte == b'.').peekable();
    let mut labels = name.rsplit(|byte| *byte == b'.');
    while let Some(pattern) = patterns.next() {
        let Some(label) = labels.next() else { return false };
        if pattern == b"*" && patterns.peek().is_none() {
            // A leading star is one label or more.
            return true;
        }
        if !label_matches(pattern, label) {
            return false;
        }
    }
    labels.next().is_none()
}

/// Whether a label fits a text in which each star is one character or more.
fn label_matches(pattern: &[u8], label: &[u8]) -> bool {
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = pieces.next().and_then(|head| label.strip_prefix(head)) else { return false };
    let Some(mut piece) = pieces.next() else { return rest.is_empty() };
    for next in pieces {
        // The first place is the best one: it leaves the most for the pieces that follow.
        let Some(after) = rest.get(1..).and_then(|rest| past(rest, piece)) else { return false };
        (rest, piece) = (after, next);
    }
    rest.len() > piece.len() && rest.ends_with(piece)
}

/// What comes after the first place of a piece in a text.
fn past<'t>(text: &'t [u8], piece: &[u8]) -> Option<&'t [u8]> {
    (0..=text.len().checked_sub(piece.len())?).find_map(|at| text.get(at..)?.strip_prefix(piece))
}

/// What is stored; shared by every document, immutable.
#[derive(Debug, Clone, Default)]
pub struct PatternPool {
    chunks: Arc<[Arc<Vec<u8>>]>,
    /// Tells pools apart whose references mean different things.
    lineage: u64,
}

impl PatternPool {
    /// The pattern at a reference.
    pub(super) fn get(&self, at: PatternRef) -> Option<Stored<'_>> {
        let (chunk, byte) = at.place();
        Stored::read(self.chunks.get(chunk)?.get(byte..)?)
    }

    /// Equal in pools whose references mean the same.
    pub(super) const fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Whether moving is worth while, if these are the patterns in use.
    pub(super) fn is_wasteful(&self, used: impl Iterator<Item = PatternRef>) -> bool {
        if self.bytes() < SPARE {
            return false;
        }
        let distinct: std::collections::HashSet<PatternRef, foldhash::fast::FixedState> = used.collect();
        let bytes =
            distinct.iter().filter_map(|at| self.get(*at)).map(|stored| stored.bytes()).sum::<usize>();
        bytes * 2 + SPARE < self.bytes() || is_crowded(self.chunks.len())
    }
}

/// The text of every pattern that a lineage has, for documents, which outlive the pool of their time.
///
/// A document that kept a pool would keep the chunks that were copied since, too.
#[derive(Debug, Default)]
pub(super) struct Texts {
    lineage: u64,
    newest: RwLock<PatternPool>,
}

impl Texts {
    /// The text of a pattern, once its pool was taken.
    pub(super) fn get(&self, at: PatternRef) -> Option<String> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(at).map(|stored| stored.to_string())
    }

    /// Equal to that of the pools it follows.
    pub(super) const fn lineage(&self) -> u64 {
        self.lineage
    }
}

/// Writes patterns into a pool, each once.
#[derive(Debug)]
pub struct Interner {
    /// Where each pattern is.
    known: HashTable<PatternRef>,
    /// The chunks that are full, or were when the pool was last taken.
    chunks: Vec<Arc<Vec<u8>>>,
    /// The chunk after these.
    last: Vec<u8>,
    /// The record on its way.
    draft: Vec<u8>,
    /// Follows the pools that are taken.
    texts: Arc<Texts>,
    /// How many bytes there were when waste was last looked for.
    looked: usize,
}

impl Default for Interner {
    fn default() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        /// The lineages given so far.
        static LINEAGES: AtomicU64 = AtomicU64::new(1);
        let lineage = LINEAGES.fetch_add(1, Ordering::Relaxed);
        Self {
            known: HashTable::new(),
            chunks: Vec::new(),
            last: Vec::new(),
            draft: Vec::new(),
            texts: Arc::new(Texts { lineage, newest: RwLock::default() }),
            looked: 0,
        }
    }
}

impl Interner {
    /// What is written by now.
    pub fn pool(&mut self) -> PatternPool {
        self.end_chunk();
        let pool = PatternPool { chunks: self.chunks.as_slice().into(), lineage: self.texts.lineage };
        self.texts.newest.write().unwrap_or_else(PoisonError::into_inner).clone_from(&pool);
        pool
    }

    /// The texts of what it writes.
    pub(super) const fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// Whether so much came since waste was last looked for, or in so many pieces, that it is time to look again.
    pub(super) fn is_due(&mut self) -> bool {
        let bytes = self.last.len() + self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
        let due = bytes > self.looked / 4 * 5 + SPARE || is_crowded(self.chunks.len());
        if due {
            self.looked = bytes;
        }
        due
    }

    /// The place of a pattern. `None`: the pool is full.
    ///
    /// A literal has a text that no name has.
    pub(super) fn intern(&mut self, pattern: &Pattern) -> Option<PatternRef> {
        let mut text = String::new();
        let form = match pattern.kind() {
            kind @ PatternKind::Ip(_) => {
                write!(text, "{kind}").ok()?;
                Form::Whole
            }
            PatternKind::Any => Form::Below,
            PatternKind::Exact(name) => {
                text.push_str(name.as_str());
                Form::Whole
            }
            PatternKind::Suffix(name) => {
                text.push_str(name.as_str());
                Form::Below
            }
            kind @ PatternKind::Inner(_) => {
                write!(text, "{kind}").ok()?;
                Form::Inner
            }
        };
        let port = pattern.port().map_or(0, Port::get);
        self.add(Stored { form, port, text: text.as_bytes() })
    }

    /// The place of a pattern that is stored somewhere.
    pub(super) fn add(&mut self, stored: Stored<'_>) -> Option<PatternRef> {
        let form = match stored.form {
            Form::Whole => 0,
            Form::Below => 1,
            Form::Inner => 2,
        };
        self.draft.clear();
        let has_port = if stored.port == 0 { 0 } else { HAS_PORT };
        self.draft.extend([u8::try_from(stored.text.len()).ok()?, form | has_port]);
        if stored.port != 0 {
            self.draft.extend(stored.port.to_le_bytes());
        }
        self.draft.extend_from_slice(stored.text);
        self.draft.resize(stored.bytes(), 0);
        let hash = name_key::text(&self.draft);
        let (chunks, last) = (&self.chunks, &self.last);
        if let Some(known) = self.known.find(hash, |at| record(chunks, last, *at).starts_with(&self.draft)) {
            return Some(*known);
        }
        self.begin_chunk();
        let chunk =
            u32::try_from(self.chunks.len()).ok().filter(|chunk| chunk >> (REF_BITS - UNIT_BITS) == 0)?;
        let unit = u32::try_from(self.last.len() / UNIT).ok()?;
        let at = PatternRef(chunk << UNIT_BITS | unit);
        self.last.extend_from_slice(&self.draft);
        let (chunks, last) = (&self.chunks, &self.last);
        self.known.insert_unique(hash, at, |at| {
            let record = record(chunks, last, *at);
            let bytes = Stored::read(record).map_or(0, |stored| stored.bytes());
            name_key::text(record.get(..bytes).unwrap_or_default())
        });
        Some(at)
    }

    /// Makes room for a record in the last chunk.
    fn begin_chunk(&mut self) {
        if self.last.len() + self.draft.len() > CHUNK {
            self.end_chunk();
        }
        if self.last.is_empty()
            && let Some(small) = self.chunks.pop_if(|chunk| chunk.len() < GOES_ON)
        {
            self.last = Arc::unwrap_or_clone(small);
        }
    }

    /// Closes the last chunk.
    fn end_chunk(&mut self) {
        if !self.last.is_empty() {
            self.last.shrink_to_fit();
            self.chunks.push(Arc::new(std::mem::take(&mut self.last)));
        }
    }
}

/// Whether so few chunks are left that moving is worth while in any case: it leaves no more than the bytes need.
const fn is_crowded(chunks: usize) -> bool {
    chunks * 4 > MOST_CHUNKS * 3
}

/// What lies at a reference, to the end of its chunk.
fn record<'a>(chunks: &'a [Arc<Vec<u8>>], last: &'a [u8], at: PatternRef) -> &'a [u8] {
    let (chunk, byte) = at.place();
    let chunk =
        if chunk == chunks.len() { Some(last) } else { chunks.get(chunk).map(|chunk| chunk.as_slice()) };
    chunk.and_then(|chunk| chunk.get(byte..)).unwrap_or_default()
}

#[cfg(test)]
#[path = "pattern_pool_tests.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
