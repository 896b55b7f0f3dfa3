// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a unix socket.

use std::io;
use std::os::unix::net::UnixStream;

/// The user id the peer had when it connected, as the kernel recorded it (unix(7), SO_PEERCRED).
pub(super) fn user(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
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
