use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::options::{Mark, Sources};

/// A listener on a loopback address.
async fn listener(host: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address on which nothing listens: its port is held without listening.
fn closed() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.14:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A listener whose queue is full, so that connecting to it hangs.
pub(crate) fn silent() -> (Socket, Vec<Socket>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.14:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let fill = |_| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        #[expect(clippy::disallowed_methods, reason = "tests")]
        let _in_progress = client.connect(&address);
        client
    };
    let fillers = (0..8).map(fill).collect();
    let address = address.as_socket().unwrap();
    (socket, fillers, address)
}

/// Dials these addresses.
async fn try_dial(addresses: &[SocketAddr], settings: &DialSettings) -> Result<SocketAddr, DialError> {
    let dialed = race(addresses.iter().copied(), settings).await.map_err(|failure| {
        let tried: Vec<_> = failure.attempts.iter().map(|(address, _)| *address).collect();
        assert!(addresses.starts_with(&tried), "{tried:?}");
        failure.error
    })?;
    assert_eq!(dialed.stream.peer_addr().ok(), dialed.address);
    assert!(dialed.stream.nodelay().unwrap());
    Ok(dialed.address.unwrap())
}

#[tokio::test]
async fn the_first_permitted_address_that_answers_is_used() {
    let (_held, refusing) = closed();
    let (_listener, address) = listener("127.0.0.15").await;
    let settings = DialSettings { stagger: Duration::from_mins(1), ..DialSettings::default() };
    assert_eq!(try_dial(&[address], &settings).await, Ok(address));
    // The second attempt does not wait for the stagger once the first has failed.
    assert_eq!(try_dial(&[refusing, refusing, address], &settings).await, Ok(address));
}

#[tokio::test]
async fn a_silent_address_is_overtaken_after_the_stagger() {
    let (_socket, _fillers, silent) = silent();
    let (_listener, address) = listener("127.0.0.15").await;
    let settings = DialSettings { stagger: Duration::from_millis(20), ..DialSettings::default() };
    assert_eq!(try_dial(&[silent, silent, address], &settings).await, Ok(address));
}

#[tokio::test]
async fn d2_only_permitted_addresses_are_ever_dialled() {
    let (_held, refusing) = closed();
    let (bystander, _) = listener("127.0.0.15").await;
    assert_eq!(try_dial(&[refusing], &DialSettings::default()).await, Err(DialError::Refused));
    assert_eq!(try_dial(&[], &DialSettings::default()).await, Err(DialError::NoAddress));
    let untouched = tokio::time::timeout(Duration::ZERO, bystander.accept()).await;
    assert!(untouched.is_err(), "nobody came to the address without a permit");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let (_socket, _fillers, silent) = silent();
    let (_held, refusing) = closed();
    let short = DialSettings { connect_timeout: Duration::from_millis(50), ..DialSettings::default() };
    assert_eq!(try_dial(&[silent], &short).await, Err(DialError::Timeout));
    assert_eq!(try_dial(&[silent, refusing], &short).await, Err(DialError::Timeout));
    let both = DialSettings { stagger: Duration::from_millis(5), ..short.clone() };
    let failure = race([silent, refusing].into_iter(), &both).await.unwrap_err();
    assert_eq!(failure.error, DialError::Refused);
    assert_eq!(failure.tried(), format!("{silent} timeout, {refusing} refused"));
    let many = DialFailure::new(DialError::Refused, vec![(refusing, DialError::Refused); 64]);
    assert!(many.tried().ends_with(" refused and 56 more"), "{}", many.tried());
    for (code, error) in [
        (Errno::MFILE, DialError::NoDescriptor),
        (Errno::NFILE, DialError::NoDescriptor),
        (Errno::CONNREFUSED, DialError::Refused),
        (Errno::CONNRESET, DialError::Refused),
        (Errno::NETUNREACH, DialError::Unreachable),
        (Errno::HOSTUNREACH, DialError::Unreachable),
        (Errno::TIMEDOUT, DialError::Timeout),
        (Errno::PERM, DialError::NotPermitted),
        (Errno::ADDRINUSE, DialError::NoPort),
        (Errno::ADDRNOTAVAIL, DialError::NoPort),
    ] {
        assert_eq!(DialError::from(&io::Error::from(code)), error, "{code:?}");
    }
}

/// Settings under which connections leave so.
fn leaving(options: SocketOptions) -> DialSettings {
    DialSettings { options, ..DialSettings::default() }
}

/// Options with these source addresses.
fn from(v4: Option<&str>, v6: Option<&str>) -> SocketOptions {
    let source = Sources { v4: v4.map(|v4| v4.parse().unwrap()), v6: v6.map(|v6| v6.parse().unwrap()) };
    SocketOptions { source, ..SocketOptions::default() }
}

#[tokio::test]
async fn connections_leave_from_the_source_address_of_their_family() {
    let (listener, address) = listener("127.0.0.15").await;
    let settings = leaving(from(Some("127.0.0.13"), Some("::1")));
    let only = [address];
    let (dialed, accepted) = tokio::join!(try_dial(&only, &settings), listener.accept());
    assert_eq!(dialed, Ok(address));
    assert_eq!(accepted.unwrap().1.ip().to_string(), "127.0.0.13");
}

#[tokio::test]
async fn an_option_that_cannot_be_set_fails_the_dial_and_nothing_is_sent() {
    let (bystander, address) = listener("127.0.0.15").await;
    let interface = SocketOptions { interface: Some("none0".into()), ..SocketOptions::default() };
    let mark = SocketOptions { mark: Mark::new(0x5b, u32::MAX), ..SocketOptions::default() };
    for (options, code, words) in [
        (interface, "interface", "its `interface` cannot be used: No such device"),
        (from(Some("192.0.2.1"), None), "source", "its `sourceAddress` cannot be used: Cannot assign"),
        (from(None, Some("::1")), "source", "its `sourceAddress` has no IPv4 address"),
        (mark, "mark", "its `mark` cannot be set"),
    ] {
        let error = try_dial(&[address], &leaving(options)).await.unwrap_err();
        // Who may set marks is told that no table of its own is behind it.
        let unrouted = "the routing rules send mark 0x5b to no table of its own";
        assert!(error.to_string().contains(words) || error.to_string() == unrouted, "{error}");
        assert_eq!(error.as_str(), code);
    }
    let untouched = tokio::time::timeout(Duration::ZERO, bystander.accept()).await;
    assert!(untouched.is_err(), "nobody came");
}

#[test]
fn a_mark_changes_the_bits_of_its_mask_and_no_others() {
    let mark = Mark::new(0x5b00_0000, 0xff00_0000).unwrap();
    assert_eq!((mark.over(0), mark.over(0x1234_5678)), (0x5b00_0000, 0x5b34_5678));
    assert_eq!(mark.to_string(), "0x5b000000/0xff000000");
    assert_eq!(Mark::new(7, u32::MAX).unwrap().over(0xff), 7);
    let (wide, narrow) = (Mark::new(0x1, 0xf).unwrap(), Mark::new(0x11, 0xff).unwrap());
    assert!(wide.is_in(narrow) && wide.is_in(wide) && !narrow.is_in(wide));
    assert_eq!((Mark::new(0x100, 0xff), Mark::new(0, u32::MAX)), (None, None));
}
