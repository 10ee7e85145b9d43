//! The sockets of a resolver: those of its network, over UDP and TCP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use socket2::Socket;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::dial::connect;
use super::options::{OpenError, OptionError, SocketOptions};

/// How long a connection to a server may take where the library does not say.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens sockets that leave by one network, for the library that speaks DNS.
#[derive(Clone)]
pub(super) struct Runtime {
    /// Everything else is as in any program.
    inner: TokioRuntimeProvider,
    options: Arc<SocketOptions>,
    /// Why the last socket could not be opened, which the library does not pass on.
    fault: Arc<Mutex<Option<OptionError>>>,
}

impl Runtime {
    /// Sockets with these options.
    pub(super) fn new(options: &SocketOptions) -> Self {
        Self {
            inner: TokioRuntimeProvider::default(),
            options: Arc::new(options.clone()),
            fault: Arc::default(),
        }
    }

    /// Why the last socket could not be made to leave by its network; None: it could.
    pub(super) fn fault(&self) -> Option<OptionError> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a socket, and notes whether that worked.
    fn open(&self, make: impl FnOnce(&SocketOptions) -> Result<Socket, OpenError>) -> io::Result<Socket> {
        let opened = make(&self.options);
        let fault = match &opened {
            Err(OpenError::Option(error)) => Some(*error),
            Err(OpenError::Io(_)) | Ok(_) => None,
        };
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        Ok(opened?)
    }
}

/// What the library waits for.
type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Runtime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _local: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let runtime = self.clone();
        Box::pin(async move {
            let socket = runtime.open(|options| options.stream(server))?;
            socket.set_tcp_nodelay(true)?;
            let socket = TcpSocket::from_std_stream(socket.into());
            let connected = timeout(patience.unwrap_or(PATIENCE), connect(socket, server)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(AsyncIoTokioAsStd)
        })
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Opening<Self::Udp> {
        let runtime = self.clone();
        Box::pin(async move {
            let socket = runtime.open(|options| options.datagrams(server, local.port()))?;
            UdpSocket::from_std(socket.into())
        })
    }
}
