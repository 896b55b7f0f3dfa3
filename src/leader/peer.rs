// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a unix socket.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The user id the peer had when it connected, as the kernel recorded it (unix(7), SO_PEERCRED).
pub fn user(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and both pointers are to
    // live, writable values of the sizes the call is told.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(credentials.uid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn both_ends_of_a_socket_pair_are_this_user() {
        let (left, right) = UnixStream::pair().unwrap();
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(user(&left).unwrap(), own);
        assert_eq!(user(&right).unwrap(), own);
    }
}
