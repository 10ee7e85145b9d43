//! The unix socket: its owner's only, and never in the way of the next start.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UnixListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A listening socket with mode 0600. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    /// The socket.
    pub(super) listener: UnixListener,
    /// Its file.
    path: PathBuf,
    /// The file's device and inode.
    identity: (u64, u64),
}

/// Why the admin socket cannot be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another process listens on it.
    #[error("somebody listens on the admin socket {0} already")]
    InUse(PathBuf),
    /// Something else is at the path.
    #[error("{0} exists and is not a socket: choose another path for `admin.socket`, or remove it")]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("the admin socket {path} cannot be opened: {error}")]
    Open {
        /// The path.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl UnixSocket {
    /// Listens on `path`; what a killed process left there is removed. Must be called inside the runtime.
    ///
    /// # Errors
    /// When somebody listens there, something else is there, or the operating system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Open { path: path.to_owned(), error };
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) if is_alive(path).map_err(failed)? => return Err(SocketError::InUse(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        listen(path).map_err(failed)
    }
}

/// Binds, restricts and then listens.
fn listen(path: &Path) -> io::Result<UnixSocket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // SECURITY: nobody can connect before `listen`, so there is no moment with another mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let file = std::fs::symlink_metadata(path)?;
    let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())?;
    Ok(UnixSocket { listener, path: path.to_owned(), identity: (file.dev(), file.ino()) })
}

/// Whether somebody listens on a socket file.
fn is_alive(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose backlog is full must not block the start.
    socket.set_nonblocking(true)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a unix socket of this host, to see whether somebody listens"
    )]
    let connected = socket.connect(&SockAddr::unix(path)?);
    match connected {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let own = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if own {
            // When it stays, the next start removes it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p5_the_socket_is_its_owners_only_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = UnixSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_a_killed_process_left_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = UnixSocket::bind(&path).unwrap();
        assert!(matches!(UnixSocket::bind(&path), Err(SocketError::InUse(_))));
        assert!(path.exists());
        drop(first);
        std::fs::write(&path, "notes").unwrap();
        assert!(matches!(UnixSocket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
        let missing = directory.path().join("no/admin.sock");
        assert!(matches!(UnixSocket::bind(&missing), Err(SocketError::Open { .. })));
    }

    #[tokio::test]
    async fn a_socket_that_somebody_replaced_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = UnixSocket::bind(&path).unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        let _other = UnixSocket::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
