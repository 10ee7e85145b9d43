//! One question to the kernel and its answer, by rtnetlink(7), with the few messages that are needed here.
//!
//! The kernel answers while it takes the question, so nothing waits. Each thread keeps its socket and the room for answers,
//! as a connection asks once or twice; a socket on which anything but an answer to the question was seen is not kept.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The longest answer that is taken.
const LONGEST: usize = 32 * 1024;
/// The type of an answer that is an error.
const ERROR: u16 = 2;
/// That a message is a question.
const REQUEST: u16 = 1;

/// An answer without its header.
pub(super) struct Answer(Vec<u8>);

/// A socket to the kernel, and what is needed to ask by it again.
struct Line {
    socket: OwnedFd,
    /// The number of the last question.
    asked: u32,
    /// Room for an answer.
    room: Vec<u8>,
}

thread_local! {
    /// The socket of this thread.
    static KEPT: RefCell<Option<Line>> = const { RefCell::new(None) };
}

/// Asks one question: its type, its fixed part, its attributes.
///
/// # Errors
/// What the kernel says instead of an answer.
pub(super) fn ask(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<Answer> {
    // Nothing below asks again while it has the line; were it so, that question would open its own.
    let kept = KEPT.with(|kept| kept.try_borrow_mut().ok()?.take());
    let mut line = kept.map_or_else(Line::open, Ok)?;
    let message = line.exchange(kind, fixed, attributes)?;
    KEPT.with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut() {
            *kept = Some(line);
        }
    });
    answer(message)
}

impl Line {
    /// Opens one.
    fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The default protocol of the family is rtnetlink, and who is not connected sends to the kernel.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Self { socket, asked: 0, room: vec![0; LONGEST] })
    }

    /// Sends a question; the message that answers it.
    fn exchange(&mut self, kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<Vec<u8>> {
        self.asked = self.asked.wrapping_add(1);
        send(&self.socket, &question(kind, self.asked, fixed, attributes), SendFlags::empty())?;
        // The length is that of the whole message: one that was cut short is longer than the room.
        let (_, length) = recv(&self.socket, self.room.as_mut_slice(), RecvFlags::TRUNC)?;
        let message = self.room.get(..length).filter(|message| is_for(message, self.asked));
        message.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Whether a message answers the question of this number.
fn is_for(message: &[u8], asked: u32) -> bool {
    message.get(8..12) == Some(&asked.to_ne_bytes()[..])
}

/// The bytes of a question.
fn question(kind: u16, number: u32, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let (kind, flags, number) = (kind.to_ne_bytes(), REQUEST.to_ne_bytes(), number.to_ne_bytes());
    let mut bytes = [&[0; 4], &kind[..], &flags, &number, &[0; 4], fixed].concat();
    for (kind, value) in attributes {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        bytes.extend([&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
    bytes.splice(..4, length);
    bytes
}

/// What a message says.
pub(super) fn answer(mut message: Vec<u8>) -> io::Result<Answer> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = message.get(4..6).and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?;
    if message.len() < HEADER {
        return Err(malformed());
    }
    let rest = message.split_off(HEADER);
    if u16::from_ne_bytes(kind) == ERROR {
        let code = rest.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    Ok(Answer(rest))
}

impl Answer {
    /// A number of the fixed part.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// The attribute of this type that is a number, behind a fixed part of this length.
    pub(super) fn attribute(&self, fixed: usize, wanted: u16) -> Option<u32> {
        let mut rest = self.0.get(fixed..)?;
        loop {
            let (header, _) = rest.split_first_chunk::<4>()?;
            let [low, high, kind @ ..] = *header;
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let value = rest.get(4..length)?;
            if u16::from_ne_bytes(kind) == wanted {
                return value.try_into().ok().map(u32::from_ne_bytes);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn attributes_are_found_behind_others_of_any_length() {
        let bytes = question(7, 1, &[1, 2, 3, 4], &[(5, &[9]), (6, &8_u32.to_ne_bytes())]);
        assert_eq!(bytes.len(), HEADER + 4 + 8 + 8);
        let found = answer(bytes).unwrap();
        assert_eq!(found.number(0), Some(u32::from_ne_bytes([1, 2, 3, 4])));
        assert_eq!(
            (found.attribute(4, 6), found.attribute(4, 5), found.attribute(4, 7)),
            (Some(8), None, None)
        );
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let bytes = question(7, 9, &[1, 2, 3, 4], &[]);
        assert!(is_for(&bytes, 9));
        assert!(!is_for(&bytes, 8) && !is_for(&[], 0));
    }

    #[test]
    fn a_thread_keeps_its_socket_also_where_the_kernel_says_no() {
        // `RTM_GETLINK` by index: there is no interface of this number, and the first is the loopback.
        let link = |index: i32| ask(18, &[&[0; 4], &index.to_ne_bytes()[..], &[0; 8]].concat(), &[]);
        let kept =
            || KEPT.with(|kept| kept.borrow().as_ref().map(|line| (line.socket.as_raw_fd(), line.asked)));
        assert!(link(1).is_ok());
        let (socket, asked) = kept().unwrap();
        assert!(link(i32::MAX).is_err());
        assert!(link(1).is_ok());
        assert_eq!(kept(), Some((socket, asked + 2)));
    }

    #[test]
    fn what_is_cut_short_or_an_error_is_no_answer() {
        assert!(answer(vec![0; 15]).is_err());
        let mut error = vec![0; HEADER];
        error.splice(4..6, ERROR.to_ne_bytes());
        assert_eq!(answer(error.clone()).err().unwrap().kind(), io::ErrorKind::InvalidData);
        error.extend((-19_i32).to_ne_bytes());
        assert_eq!(answer(error).err().unwrap().raw_os_error(), Some(19));
        let endless = answer([vec![0; HEADER + 4], vec![0; 4]].concat()).unwrap();
        assert_eq!(endless.attribute(4, 1), None, "an attribute without length ends the search");
    }
}
