//! What each sandbox has under way and has asked for, in memory that grows with their number only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use super::limit::Usage;
use crate::addr::Name;

/// How many TCP connections one sandbox may have.
const CONNECTIONS: usize = 32;
/// How many accounts there may be before spent ones are looked for.
const SWEEP_AT: usize = 1024;

/// The accounts of one listener.
#[derive(Debug)]
pub(super) struct Accounts(Mutex<Book>);

/// The accounts by sandbox.
#[derive(Debug)]
struct Book {
    /// Each one's.
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// With how many of them spent ones are looked for.
    sweep_at: usize,
}

/// The account of one sandbox.
#[derive(Debug)]
pub(super) struct Account {
    /// What it asked for of late.
    usage: Mutex<Usage>,
    /// Places for TCP connections.
    connections: Arc<Semaphore>,
}

impl Accounts {
    /// No account yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Book { accounts: HashMap::new(), sweep_at: SWEEP_AT }))
    }

    /// The account of a sandbox.
    pub(super) fn of(&self, sandbox: &Arc<str>, now: Instant) -> Arc<Account> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = book.accounts.get(sandbox) {
            return Arc::clone(account);
        }
        if book.accounts.len() >= book.sweep_at {
            book.accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_spent(now));
            book.sweep_at = (2 * book.accounts.len()).max(SWEEP_AT);
        }
        let account = Arc::new(Account::new(now));
        book.accounts.insert(Arc::clone(sandbox), Arc::clone(&account));
        account
    }
}

impl Account {
    /// An account with nothing in it.
    fn new(now: Instant) -> Self {
        Self { usage: Mutex::new(Usage::new(now)), connections: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Counts a name, if it is not one too many.
    pub(super) fn name(&self, name: &Name, settings: &Settings, now: Instant) -> bool {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).name(name, settings, now)
    }

    /// A place for a TCP connection, if there is one.
    pub(super) fn connect(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Whether forgetting it would let nothing through that it would not.
    fn is_spent(&self, now: Instant) -> bool {
        let idle = self.connections.available_permits() == CONNECTIONS;
        idle && self.usage.lock().unwrap_or_else(PoisonError::into_inner).is_spent(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn r2_the_account_of_one_sandbox_is_not_that_of_another() {
        let (accounts, now) = (Accounts::new(), Instant::now());
        let two = Settings { distinct_names_per_minute: 2, ..Settings::DEFAULT };
        let account = |id: &str| accounts.of(&id.into(), now);
        let name = |at: i32| Name::parse(&format!("n{at}.test")).unwrap();
        let asked = |id: &str, from: i32| {
            (from..from + 9).filter(|at| account(id).name(&name(*at), &two, now)).count()
        };
        assert_eq!((asked("a", 0), asked("a", 9), asked("b", 0)), (2, 0, 2));
        let held: Vec<_> = std::iter::from_fn(|| account("a").connect()).collect();
        assert_eq!(held.len(), CONNECTIONS);
        assert!(account("b").connect().is_some());
    }

    #[test]
    fn spent_accounts_are_forgotten_and_others_are_kept() {
        let (accounts, start) = (Accounts::new(), Instant::now());
        let busy = accounts.of(&"busy".into(), start).connect().unwrap();
        for number in 1..SWEEP_AT {
            accounts.of(&number.to_string().into(), start);
        }
        let later = start + Duration::from_mins(2);
        accounts.of(&"fresh".into(), later);
        let held = |id: &str| accounts.0.lock().unwrap().accounts.contains_key(id);
        assert!(held("busy") && held("fresh") && !held("1"));
        drop(busy);
    }
}
