//! One question to the kernel and its answer, by rtnetlink(7), with the few messages that are needed here.
//!
//! The kernel answers while it takes the question, so nothing waits.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The type of an answer that is an error.
const ERROR: u16 = 2;
/// That a message is a question.
const REQUEST: u16 = 1;

/// An answer without its header.
pub(super) struct Answer(Vec<u8>);

/// Asks one question: its type, its fixed part, its attributes.
///
/// # Errors
/// What the kernel says instead of an answer.
pub(super) fn ask(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<Answer> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The default protocol of the family is rtnetlink, and who is not connected sends to the kernel.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    send(&socket, &question(kind, fixed, attributes), SendFlags::empty())?;
    let mut message = vec![0; 32 * 1024];
    let (_, length) = recv(&socket, message.as_mut_slice(), RecvFlags::empty())?;
    message.truncate(length);
    answer(message)
}

/// The bytes of a question.
fn question(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = [&[0; 4], &kind.to_ne_bytes()[..], &REQUEST.to_ne_bytes(), &[0; 8], fixed].concat();
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
fn answer(mut message: Vec<u8>) -> io::Result<Answer> {
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
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_of_any_length() {
        let bytes = question(7, &[1, 2, 3, 4], &[(5, &[9]), (6, &8_u32.to_ne_bytes())]);
        assert_eq!(bytes.len(), HEADER + 4 + 8 + 8);
        let found = answer(bytes).unwrap();
        assert_eq!(found.number(0), Some(u32::from_ne_bytes([1, 2, 3, 4])));
        assert_eq!(
            (found.attribute(4, 6), found.attribute(4, 5), found.attribute(4, 7)),
            (Some(8), None, None)
        );
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
