//! The record of a connection on which nothing was asked: it leaves one all the same.

use std::sync::{Arc, Mutex, PoisonError};

use super::exchange::Exchange;
use super::refusal::Refusal;
use super::session::Session;
use super::strict::Control;
use crate::audit::Kind;

/// A record that waits for its request.
pub(super) type Opened = Arc<Mutex<Option<Exchange>>>;

/// Leaves the record of a connection that asked nothing, or ended inside a request head.
pub(super) struct Silence {
    session: Arc<Session>,
    control: Arc<Control>,
    opened: Opened,
    told: bool,
}

impl Silence {
    /// Says nothing so far.
    pub(super) fn new(session: &Arc<Session>, control: Arc<Control>, opened: Opened) -> Self {
        Self { session: Arc::clone(session), control, opened, told: false }
    }

    /// Whether there is something that no record tells of.
    fn is_untold(&self) -> bool {
        !self.told && (!self.session.was_asked() || self.control.is_partial())
    }

    /// Leaves the record, once the audit log has room for it.
    pub(super) async fn tell(&mut self) {
        if self.is_untold() {
            // From here on the record is its own guard.
            self.told = true;
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
            let opened = match opened {
                Some(exchange) => Ok(exchange),
                None => Exchange::admitted(&self.session, Kind::Connection).await,
            };
            if let Ok(exchange) = opened {
                let what = if self.control.is_partial() {
                    "the connection ended inside a request head"
                } else {
                    "the connection ended before any request"
                };
                exchange.refuse(&Refusal::malformed(what), None, None);
            }
        }
    }
}

impl Drop for Silence {
    /// The task was dropped before it came to that.
    fn drop(&mut self) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        if opened.is_none() && self.is_untold() {
            drop(Exchange::unadmitted(&self.session, Kind::Connection));
        }
    }
}
