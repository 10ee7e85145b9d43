//! What others send to this room, read as it is read from them: for the fuzzer (`fuzz/`).

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{join, sink};

use super::dial_error::DialError;
use super::netlink;
use super::parent::{Credentials, Protocol, To, ask};

/// What a parent proxy's bytes come to, and how many of them were read. It is asked for an address, and shown credentials
/// where it is to be.
#[must_use]
pub fn parent_answer(protocol: Protocol, shown: bool, bytes: &[u8]) -> (Result<(), DialError>, usize) {
    let credentials = shown.then(|| Credentials { username: "user".to_owned(), password: "word".into() });
    let address = SocketAddr::from(([192, 0, 2, 1], 443));
    let mut stream = join(bytes, sink());
    let answer = {
        let asked = pin!(ask(protocol, &mut stream, To::Address(address), credentials.as_ref()));
        // Nothing of it waits: the bytes are there, and what is sent is taken.
        match asked.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Err(DialError::Timeout),
        }
    };
    (answer, bytes.len().saturating_sub(stream.reader().len()))
}

/// The number at a place of the kernel's answer, and its attribute of a type behind so many bytes; None: it is no answer.
#[must_use]
pub fn kernel_answer(message: &[u8], at: usize, wanted: u16) -> Option<(Option<u32>, Option<u32>)> {
    let answer = netlink::answer(message.to_vec()).ok()?;
    Some((answer.number(at), answer.attribute(at, wanted)))
}
