//! A tunnel from its first `ClientHello` to the server's answer.
//!
//! A server may ask for a second hello, and goes by the name in that (RFC 8446 §4.1.2). So the server's first message is
//! looked at on its way to the client, and no hello reaches the server but those that were judged:
//!
//! | the client's records meanwhile | go on |
//! |---|---|
//! | alert, `ChangeCipherSpec`, early data | at once |
//! | anything else | once the server has answered without asking for a hello, or has asked and this is one for the same name |
//!
//! No version of TLS lets a client send another handshake record before the answer, so nobody honest waits.

use std::future::poll_fn;
use std::net::Shutdown;

use bytes::BufMut;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use super::account::Pace;
use super::exchange::Exchange;
use super::peek::{AHEAD, FIRST_BYTES, at_once, until};
use super::relay::{Meter, RelayError, failed};
use super::tunnel::End;
use crate::audit::Text;
use crate::policy::Denial;
use crate::policy::hello::{HelloFacts, admit_hello_again, other_hello};
use crate::wire::client_hello::{self, ClientHello, Hello, MAX_HELLO};
use crate::wire::server_hello::Scanner;

/// The phase of a tunnel in which a server may ask for another hello.
pub(super) struct Handshake<'a> {
    pub(super) client: &'a TcpStream,
    pub(super) origin: &'a TcpStream,
    pub(super) meter: &'a Meter,
    pub(super) exchange: &'a mut Exchange,
    /// What decides which bytes go on.
    pub(super) gate: Gate,
    /// On its way to the client.
    pub(super) down: Vec<u8>,
}

impl Handshake<'_> {
    /// Carries bytes until the server takes no hello any more; answers what the client has not taken yet.
    ///
    /// A client's end is left to the relay, once everything before it has gone on.
    ///
    /// # Errors
    /// A side failed, or another hello is not for the same server.
    pub(super) async fn run(mut self) -> Result<Vec<u8>, End> {
        let (client, origin, meter) = (self.client, self.origin, self.meter);
        let (mut client_ended, mut origin_ended) = (false, false);
        let mut deadline = None;
        let mut pace = Pace::of(&meter.account);
        loop {
            consume_budget().await;
            let over = self.gate.judge(client_ended).map_err(|other| self.refuse(other))?;
            if over && self.gate.up.is_empty() {
                return Ok(self.down);
            }
            if self.gate.waits_for_more() {
                deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
            } else {
                deadline = None;
            }
            let (sends, speaks) = (!self.gate.up.is_empty(), !self.down.is_empty());
            let hears = !sends && !client_ended && self.gate.has_room();
            let answers = !speaks && !origin_ended;
            if !speaks {
                // A tunnel that waits holds no buffer.
                self.down = Vec::new();
            }
            let send = async {
                origin.writable().await?;
                let most = self.gate.up.len();
                let room = poll_fn(|cx| pace.poll_room(most, cx)).await;
                origin.try_write(self.gate.up.get(..room).unwrap_or_default())
            };
            tokio::select! {
                biased;
                written = send, if sends => {
                    let written = at_once(written).map_err(|error| End::Failed(RelayError::Origin(error)))?;
                    let written = written.unwrap_or_default();
                    pace.went(written);
                    self.gate.sent(written);
                    meter.add_up(written);
                }
                ready = client.readable(), if hears => {
                    let mut bytes = Vec::with_capacity(AHEAD);
                    let read = ready.and_then(|()| client.try_read_buf(&mut (&mut bytes).limit(AHEAD)));
                    let read = at_once(read).map_err(|error| End::Failed(RelayError::Client(error)))?;
                    client_ended = read == Some(0);
                    self.gate.hear(&bytes);
                }
                ready = client.writable(), if speaks => {
                    let written = ready.and_then(|()| client.try_write(&self.down));
                    let written = at_once(written).map_err(|error| End::Failed(RelayError::Client(error)))?;
                    let written = written.unwrap_or_default();
                    self.down.drain(..written);
                    meter.add_down(written);
                }
                ready = origin.readable(), if answers => {
                    self.down.reserve_exact(AHEAD);
                    let read = ready.and_then(|()| origin.try_read_buf(&mut (&mut self.down).limit(AHEAD)));
                    let read = at_once(read).map_err(|error| End::Failed(RelayError::Origin(error)))?;
                    self.gate.server.advance(&self.down);
                    if read == Some(0) {
                        origin_ended = true;
                        self.gate.server.end();
                        // A client that is gone already has nothing to be told.
                        let _ = SockRef::from(client).shutdown(Shutdown::Write);
                    }
                }
                // A side that is not read from can still be reset.
                error = failed(client), if !hears => return Err(End::Failed(RelayError::Client(error))),
                error = failed(origin), if !answers => return Err(End::Failed(RelayError::Origin(error))),
                () = until(deadline) => return Err(self.refuse(Other::of("does not come whole in time"))),
            }
        }
    }

    /// Refuses the tunnel for what was found instead of another hello for the same server.
    fn refuse(&mut self, other: Other) -> End {
        if let Some(hello) = &other.hello {
            self.exchange.note(|event| {
                event.sni = hello.server_name.as_ref().map(|name| Text::new(name.as_str()));
                event.ech |= hello.ech;
            });
        }
        End::Refused(other.denial.into())
    }
}

/// Something else than another hello for the same server.
#[derive(Debug)]
struct Other {
    denial: Denial,
    /// The hello, if it is one.
    hello: Option<ClientHello>,
}

impl Other {
    /// Something that is no hello.
    fn of(found: &str) -> Self {
        Self { denial: other_hello(found), hello: None }
    }
}

/// Which of the client's bytes may go on, and when.
#[derive(Debug)]
pub(super) struct Gate {
    /// The hello that was judged.
    first: ClientHello,
    /// Where the client's bytes are in their records.
    records: Records,
    /// What the server has said.
    server: Scanner,
    /// How many hellos the server has had for its requests.
    retried: usize,
    /// May go on.
    up: Vec<u8>,
    /// Must not go on yet: from the first record that waits for the server's answer.
    held: Vec<u8>,
}

impl Gate {
    /// The gate behind a hello whose records are the first `length` of `bytes`.
    pub(super) fn new(first: ClientHello, length: usize, bytes: &[u8]) -> Self {
        let (up, behind) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        let (server, records) = (Scanner::new(), Records::default());
        let mut gate = Self { first, records, server, retried: 0, up: up.to_vec(), held: Vec::new() };
        gate.hear(behind);
        gate
    }

    /// Whether more may be read from the client.
    fn has_room(&self) -> bool {
        self.held.len() < MAX_HELLO
    }

    /// Whether the client has begun another hello that the server waits for.
    fn waits_for_more(&self) -> bool {
        self.is_asked() && !self.held.is_empty()
    }

    /// Whether the server waits for another hello.
    const fn is_asked(&self) -> bool {
        self.server.retries() > self.retried
    }

    /// Takes bytes from the client.
    fn hear(&mut self, bytes: &[u8]) {
        let free = if self.held.is_empty() { self.records.advance(bytes) } else { 0 };
        let (free, rest) = bytes.split_at_checked(free).unwrap_or((bytes, &[]));
        self.up.extend_from_slice(free);
        self.held.extend_from_slice(rest);
    }

    /// Forgets what has gone on.
    fn sent(&mut self, bytes: usize) {
        self.up.drain(..bytes);
        if self.up.is_empty() {
            self.up = Vec::new();
        }
    }

    /// Lets go on what may by now. Answers whether the rest needs no judging; `ended` when the client has.
    ///
    /// # Errors
    /// The server waits for another hello, and this is none for the same server.
    fn judge(&mut self, ended: bool) -> Result<bool, Other> {
        while self.is_asked() && !self.held.is_empty() {
            let (hello, length) = match client_hello::split(&self.held) {
                (Hello::NeedMore, _) if !ended => return Ok(false),
                (Hello::NeedMore, _) => return Err(Other::of("ends in the middle")),
                (Hello::Invalid(error), _) => return Err(Other::of(&format!("is malformed: {error}"))),
                (Hello::Complete(hello), length) => (hello, length),
            };
            if let Err(denial) = admit_hello_again(facts(&self.first), facts(&hello)) {
                return Err(Other { denial, hello: Some(hello) });
            }
            self.retried += 1;
            let behind = self.held.split_off(length);
            self.up.append(&mut self.held);
            self.hear(&behind);
        }
        if self.is_asked() {
            return Ok(ended);
        }
        if self.server.is_over() {
            self.up.append(&mut self.held);
            return Ok(true);
        }
        Ok(ended && self.held.is_empty())
    }
}

/// What of a hello decides.
const fn facts(hello: &ClientHello) -> HelloFacts<'_> {
    HelloFacts { server_name: hello.server_name.as_ref(), ech: hello.ech }
}

/// Where a stream of records stands, by their headers alone.
#[derive(Debug, Default)]
struct Records {
    /// The next byte's place in its record's header.
    at: usize,
    /// The bytes of the record that are still to come.
    left: usize,
}

impl Records {
    /// How many of the next bytes belong to records that no server takes a hello from. Where that is not all of them,
    /// the rest begins with another record.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if self.at == 0 && self.left > 0 {
                let taken = self.left.min(rest.len());
                self.left -= taken;
                rest = rest.get(taken..).unwrap_or_default();
                continue;
            }
            match self.at {
                0 if !matches!(byte, 0x14 | 0x15 | 0x17) => break,
                3 => self.left = usize::from(*byte) << 8,
                4 => self.left |= usize::from(*byte),
                _ => {}
            }
            self.at = (self.at + 1) % 5;
            rest = after;
        }
        bytes.len() - rest.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A gate behind a hello of no bytes.
    fn gate() -> Gate {
        Gate::new(ClientHello::default(), 0, &[])
    }

    proptest! {
        #[test]
        fn i1_what_goes_on_is_the_same_however_the_records_are_cut(
            records in prop::collection::vec((0x14u8..0x19, 0u16..20), 0..8), size in 1usize..12,
        ) {
            let record = |(kind, length): &(u8, u16)| {
                [&[*kind, 3, 3][..], &length.to_be_bytes(), &vec![0x16; usize::from(*length)]].concat()
            };
            let waits = |(kind, _): &(u8, u16)| !matches!(kind, 0x14 | 0x15 | 0x17);
            let first = records.iter().position(waits).unwrap_or(records.len());
            let [up, held] = [&records[..first], &records[first..]].map(|part| part.iter().flat_map(record).collect::<Vec<_>>());
            let mut gate = gate();
            for piece in [up.as_slice(), &held].concat().chunks(size) {
                gate.hear(piece);
            }
            prop_assert!(!gate.judge(false).unwrap());
            prop_assert_eq!((&gate.up, &gate.held), (&up, &held));
            // An answer that is no retry lets all of it go on.
            gate.server.end();
            prop_assert!(gate.judge(false).unwrap());
            prop_assert_eq!((gate.up, gate.held), ([up, held].concat(), Vec::new()));
        }
    }
}
