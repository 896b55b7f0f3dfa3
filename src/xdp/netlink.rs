// SPDX-License-Identifier: Apache-2.0
//! Questions about an interface that only netlink answers. Each is one request and one answer of the kernel.

use rustix::net::netlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;

/// Whether the driver tells XDP programs of VLAN tags that the device took off (netdev family, Linux 6.8). False where the
/// kernel does not know the question.
pub(super) fn tells_tags(index: u32) -> bool {
    let known = || -> io::Result<bool> {
        let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
        let reply = generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
        let Some(family) = find(&reply, CTRL_ATTR_FAMILY_ID).and_then(|id| id.first_chunk().copied()) else {
            return Ok(false);
        };
        let device = attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
        let reply = generic(u16::from_ne_bytes(family), NETDEV_CMD_DEV_GET, &device)?;
        let features =
            find(&reply, NETDEV_A_DEV_XDP_RX_METADATA_FEATURES).and_then(|bits| bits.first_chunk());
        Ok(features.is_some_and(|bits| u64::from_ne_bytes(*bits) & NETDEV_XDP_RX_METADATA_VLAN_TAG != 0))
    };
    known().unwrap_or(false)
}

/// The interface below another one, or the other end of a cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lower {
    pub index: u32,
    /// Whether it is in another network namespace, where it cannot be looked at.
    pub is_elsewhere: bool,
}

/// What an interface is connected to: the lower device of a VLAN or macvlan, the peer of a veth.
pub(super) fn lower(index: u32) -> Option<Lower> {
    let mut request = vec![0; IFINFOMSG];
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    let reply = ask(NETLINK_ROUTE, libc::RTM_GETLINK, &request).ok()?;
    let attributes = reply.get(IFINFOMSG..)?;
    let lower = find(attributes, libc::IFLA_LINK)?.first_chunk()?;
    let is_elsewhere = find(attributes, libc::IFLA_LINK_NETNSID).is_some();
    let lower = u32::from_ne_bytes(*lower);
    (lower != 0 && (is_elsewhere || lower != index)).then_some(Lower { index: lower, is_elsewhere })
}

fn generic(family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    // struct genlmsghdr: command, version, reserved.
    let request = [&[command, 1, 0, 0], attributes].concat();
    let reply = ask(Some(netlink::GENERIC), family, &request)?;
    Ok(reply.get(GENLMSGHDR..).unwrap_or_default().to_vec())
}

/// Sends a request and gives what follows the header of the answer.
fn ask(protocol: Option<Protocol>, kind: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    // struct nlmsghdr: length, type, flags, sequence number, port.
    let length = (NLMSGHDR + request.len()) as u32;
    let message = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8],
        request,
    ]
    .concat();
    // The kernel answers before this returns.
    send(&socket, &message, SendFlags::empty())?;
    let mut reply = vec![0; REPLY];
    let (received, _) = recv(&socket, &mut reply[..], RecvFlags::DONTWAIT)?;
    reply.truncate(received);
    let [a, b, c, d, e, f] = *reply.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    if u16::from_ne_bytes([e, f]) == libc::NLMSG_ERROR as u16 {
        let error = reply.get(NLMSGHDR..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(error)));
    }
    let length = u32::from_ne_bytes([a, b, c, d]) as usize;
    reply.get(NLMSGHDR..length).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (NLATTR + value.len()) as u16;
    let mut attribute = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let [a, b, c, d] = *attributes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(NLATTR..length)?;
        if u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// It has the number 0, which a socket has without naming a protocol.
const NETLINK_ROUTE: Option<Protocol> = None;
const NLMSGHDR: usize = 16;
const NLATTR: usize = 4;
const GENLMSGHDR: usize = 4;
const IFINFOMSG: usize = 16;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// An interface with many virtual functions has the longest answer.
const REPLY: usize = 1 << 16;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Of linux/netdev.h.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_RX_METADATA_FEATURES: u16 = 5;
const NETDEV_XDP_RX_METADATA_VLAN_TAG: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_broken_ones_end_the_search() {
        let two = [attribute(7, b"abc"), attribute(9, b"defgh")].concat();
        assert_eq!(find(&two, 7), Some(&b"abc"[..]));
        assert_eq!(find(&two, 9), Some(&b"defgh"[..]));
        assert_eq!(find(&two, 8), None);
        for length in 0..two.len() {
            assert!(find(&two[..length], 9).is_none_or(|value| value == b"defgh"));
        }
        assert_eq!(find(&[0, 0, 1, 0], 2), None, "a length of zero does not go on for ever");
    }

    #[test]
    fn the_loopback_device_is_on_top_of_nothing() {
        assert_eq!(lower(1), None);
        assert!(!tells_tags(1));
    }
}
