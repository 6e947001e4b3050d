//! A Unix socket at a path: a file that outlives its process, unless it is removed.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::listen;
use socket2::{Domain, SockAddr, Socket, Type};

/// Its owner and its group may connect.
const MODE: u32 = 0o660;

/// The file of a socket. It is removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// Listens at `path`, with so many connections in the backlog. The file of a socket on which nobody
/// listens any more is replaced.
///
/// # Errors
/// What the system says. `AddrInUse` if a process listens there, or the file is no socket.
pub fn bind(path: &Path, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    // The standard library has set the system's greatest backlog.
    listen(&listener, backlog)?;
    Ok((listener, file))
}

/// Whether the file is that of a socket on which nobody listens.
fn is_abandoned(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path);
    if !metadata.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        return false;
    }
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Without this, a connect waits while the backlog of the other process is full.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it stays, the next start replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
