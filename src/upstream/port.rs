//! A source address whose port is chosen late: with the destination, so that one port serves many destinations.
//!
//! A socket that is bound to an address and no port is given a port that no other socket of that address has, whatever
//! either is connected to, for as long as the connection is open and a minute more. One sandbox could use them all up for
//! everybody. A socket with `IP_BIND_ADDRESS_NO_PORT` gets its port when it is connected, and only the whole of source,
//! destination and both ports must be its own.

use std::io;
use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// Leaves the port of a TCP socket open when it is bound to port 0; for IPv6 as for IPv4.
pub(super) fn choose_late(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "neither socket2 nor rustix knows this option; the kernel reads one number and keeps no pointer"
    )]
    // SAFETY: the descriptor is open while `socket` is borrowed, and the pointer is to `on`, which has this length and lives
    // until the call has returned (setsockopt(2), ip(7)).
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn r2_a_source_address_takes_no_port_until_the_socket_is_connected() {
        for text in ["127.0.0.13:0", "[::1]:0"] {
            let address: SocketAddr = text.parse().unwrap();
            for late in [true, false] {
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
                if late {
                    choose_late(&socket).unwrap();
                }
                socket.bind(&address.into()).unwrap();
                let bound = socket.local_addr().unwrap().as_socket().unwrap();
                assert_eq!((bound.ip(), bound.port() == 0), (address.ip(), late), "{text}");
            }
        }
    }
}
