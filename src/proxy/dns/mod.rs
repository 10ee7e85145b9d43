//! DNS queries of sandboxes: message → who asks → question A → look-up → answer.
//!
//! | type | is answered with |
//! |---|---|
//! | A, AAAA, HTTPS | the records at the end of the aliases, under the name that was asked for; HTTPS without `ech` |
//! | CNAME | the alias |
//! | SVCB | nothing, so that no client is told of another resolver (RFC 9462) |
//! | PTR | NXDOMAIN |
//! | any other | REFUSED |
//!
//! A name that question A denies on every port gets NXDOMAIN or REFUSED, as `denied` says, and causes no query. What is
//! asked upstream is made of the canonical name and the type alone. Addresses are passed on as they are: question B
//! judges the one that is dialled, when it is dialled.
//!
//! A query that is refused, would be under `enforcement: Report`, or whose look-up fails leaves one `query` record; one that
//! is answered leaves none and is counted in `dns_answers_total`. Nothing waits for the record of a query that is nobody's or
//! beyond the rate of its sandbox, as nothing bounds how many such come.
//!
//! The sockets are our own and the messages the library's: its server would spawn tasks that nobody waits for, takes any
//! number of TCP connections, and answers from zones, of which there are none here.

mod account;
mod answer;
mod asking;
mod datagram;
mod limit;
pub mod question;
mod refused;
mod stream;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use datagram::serve as serve_datagrams;
pub use stream::serve as serve_streams;

use super::session::Listener;
use account::Accounts;
use asking::answer;

/// How many queries of one listener may be under way; a datagram beyond is dropped.
const UNDER_WAY: usize = 4096;
/// The longest message that is read: no query needs more.
const LONGEST: usize = 4096;

/// What the operator says of a DNS listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What a denied name is told.
    pub denied: Denied,
    /// Different names a minute of one sandbox, without those that a rule spells out.
    pub distinct_names_per_minute: u32,
    /// Bytes of a name that no rule spells out.
    pub max_name_bytes: u32,
    /// Bytes of a label of such a name.
    pub max_label_bytes: u32,
    /// Bits of a label of such a name.
    pub max_label_bits: u32,
}

/// What a denied name is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Denied {
    /// That it does not exist: clients give up at once.
    #[default]
    NxDomain,
    /// That it is not answered: clients may ask another server.
    Refused,
}

impl Settings {
    /// What holds where the operator says nothing.
    pub const DEFAULT: Self = Self {
        denied: Denied::NxDomain,
        distinct_names_per_minute: 600,
        max_name_bytes: 128,
        max_label_bytes: 63,
        max_label_bits: 256,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A DNS listener.
#[derive(Debug)]
pub struct Door {
    /// Where it listens, and whose everything on it is.
    listener: Arc<Listener>,
    /// What the operator says of it.
    settings: Settings,
    /// What each sandbox has under way and has asked for.
    accounts: Accounts,
    /// Places for queries that are under way.
    places: Arc<Semaphore>,
}

impl Door {
    /// A listener that nobody has asked anything yet.
    #[must_use]
    pub fn new(listener: Listener, settings: Settings) -> Self {
        let (accounts, places) = (Accounts::new(), Arc::new(Semaphore::new(UNDER_WAY)));
        Self { listener: Arc::new(listener), settings, accounts, places }
    }
}
