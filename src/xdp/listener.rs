// SPDX-License-Identifier: Apache-2.0
//! What neighbours say to everyone, and what it takes to receive what they say to us.
//!
//! The XDP program leaves broadcasts and multicasts that do not ask for us to the kernel, which may need them. A
//! [`Listener`] gets a copy of the few that matter to a gateway, by packet sockets with a filter each:
//!
//! ```text
//!   NIC ──► XDP program ──► worker                        to us; questions for our address
//!                   └─────► kernel ──► filter ──► socket  announcements of next hops, queries for multicast groups
//! ```
//!
//! It also has the device receive what its own filter would drop: frames to the groups of our IPv6 addresses, and to MAC
//! addresses that are not the device's own. The kernel undoes this when the listener is dropped or the process ends.

use super::device::{self, Device};
use super::umem::set_option;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a gateway wants to hear on one device.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interest {
    /// MAC addresses and groups whose frames the device is to receive, besides its own.
    pub macs: BTreeSet<[u8; 6]>,
    /// Next hops whose ARP announcements are wanted.
    pub ipv4: BTreeSet<Ipv4Addr>,
    /// Next hops whose unsolicited neighbour advertisements are wanted.
    pub ipv6: BTreeSet<Ipv6Addr>,
    /// Whether queries of multicast listener discovery are wanted.
    pub queries: bool,
}

/// Packet sockets on one device.
#[derive(Debug)]
pub struct Listener {
    name: CString,
    index: u32,
    own_mac: [u8; 6],
    interest: Interest,
    /// Never receives anything; has the memberships.
    members: OwnedFd,
    joined: BTreeSet<[u8; 6]>,
    arp: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
}

impl Listener {
    /// A listener that is not interested in anything yet.
    pub fn open(device: &Device) -> io::Result<Listener> {
        Ok(Listener {
            name: CString::new(device.name.as_str()).map_err(io::Error::other)?,
            index: device.index,
            own_mac: device.mac,
            interest: Interest::default(),
            members: packet_socket()?,
            joined: BTreeSet::new(),
            arp: None,
            ipv6: None,
        })
    }

    /// Changes what is wanted. What could be done before an error stays done.
    pub fn listen(&mut self, device: &Device, interest: &Interest) -> io::Result<()> {
        self.own_mac = device.mac;
        self.join(&interest.macs)?;
        if self.interest == *interest {
            return Ok(());
        }
        let arp = (!interest.ipv4.is_empty()).then(|| announcements4(&interest.ipv4));
        let ipv6 = (interest.queries || !interest.ipv6.is_empty())
            .then(|| announcements6(&interest.ipv6, interest.queries));
        for (socket, protocol, filter) in
            [(&mut self.arp, libc::ETH_P_ARP, arp), (&mut self.ipv6, libc::ETH_P_IPV6, ipv6)]
        {
            match (&socket, filter) {
                (_, None) => *socket = None,
                (Some(socket), Some(filter)) => attach(socket, &filter)?,
                (None, Some(filter)) => {
                    let new = packet_socket()?;
                    // Before it is bound, so that nothing else is ever received.
                    attach(&new, &filter)?;
                    bind(&new, self.index, protocol)?;
                    *socket = Some(new);
                }
            }
        }
        self.interest = interest.clone();
        Ok(())
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        [&self.arp, &self.ipv6].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    /// Takes the frames that have arrived, at most so many of each socket; those that are longer than the buffer are lost.
    /// Whether there may be more.
    pub fn receive(&self, most: usize, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> bool {
        let mut is_more = false;
        for socket in [&self.arp, &self.ipv6].into_iter().flatten() {
            let count = (0..most).take_while(|_| match receive(socket, buffer) {
                // One that was too long has been taken from the queue.
                Ok(len) => buffer.get(..len).map(&mut take).is_some() || len > buffer.len(),
                // Nothing is there; or the device went down, which is told once.
                Err(_) => false,
            });
            is_more |= count.count() == most;
        }
        is_more
    }

    /// Whether frames get through: the device is up and has a link.
    pub fn has_link(&self) -> bool {
        device::has_link(&self.name)
    }

    fn join(&mut self, wanted: &BTreeSet<[u8; 6]>) -> io::Result<()> {
        // The device's own address may have become one of these, or have been one.
        let wanted: BTreeSet<_> = wanted.iter().copied().filter(|mac| *mac != self.own_mac).collect();
        for mac in wanted.difference(&self.joined.clone()) {
            self.membership(libc::PACKET_ADD_MEMBERSHIP, *mac)?;
            self.joined.insert(*mac);
        }
        for mac in self.joined.clone().difference(&wanted) {
            // Where the device is gone, so is the membership.
            let _ = self.membership(libc::PACKET_DROP_MEMBERSHIP, *mac);
            self.joined.remove(mac);
        }
        Ok(())
    }

    fn membership(&self, action: libc::c_int, mac: [u8; 6]) -> io::Result<()> {
        let is_group = mac[0] & 1 != 0;
        let mut address = [0; 8];
        address[..mac.len()].copy_from_slice(&mac);
        let request = libc::packet_mreq {
            mr_ifindex: self.index as libc::c_int,
            mr_type: if is_group { libc::PACKET_MR_MULTICAST } else { libc::PACKET_MR_UNICAST } as u16,
            mr_alen: mac.len() as u16,
            mr_address: address,
        };
        set_option(&self.members, libc::SOL_PACKET, action, request)
    }
}

/// ARP to everyone from these addresses.
fn announcements4(next_hops: &BTreeSet<Ipv4Addr>) -> Vec<libc::sock_filter> {
    let mut filter = untagged();
    filter.extend(require(WORD, 0, 0xffff_ffff));
    filter.extend(require(HALF, 4, 0xffff));
    // Ethernet and IPv4.
    filter.extend(require(WORD, 14, 0x0001_0800));
    filter.extend(require(HALF, 18, 0x0604));
    let addresses: Vec<u32> = next_hops.iter().map(|ip| u32::from(*ip)).collect();
    filter.extend(accept_if_one_of(SENDER_IP, &addresses));
    filter
}

/// Neighbour advertisements to a group about these addresses, and queries. Whoever reads them checks everything else.
fn announcements6(next_hops: &BTreeSet<Ipv6Addr>, queries: bool) -> Vec<libc::sock_filter> {
    let mut query = Vec::new();
    if queries {
        // The only option is the router alert, which with its header has eight bytes.
        query.extend(require(HALF, IPV6_PAYLOAD, 0x3a00));
        query.extend(require(BYTE, IPV6_PAYLOAD + 8, 130));
        query.push(give(u32::MAX));
    } else {
        query.push(give(0));
    }
    let mut filter = untagged();
    filter.extend(require(HALF, 0, 0x3333));
    filter.push(load(BYTE, IPV6_NEXT_HEADER));
    // A hop-by-hop header makes it a query, or nothing.
    filter.push(compare(0, 0, query.len() as u8));
    filter.extend(query);
    filter.extend(require(BYTE, IPV6_NEXT_HEADER, 58));
    filter.extend(require(BYTE, IPV6_PAYLOAD, 136));
    let addresses: Vec<u32> = next_hops.iter().map(|ip| u128::from(*ip) as u32).collect();
    filter.extend(accept_if_one_of(TARGET_END, &addresses));
    filter
}

/// Goes on if the frame had no VLAN tag, or one that only has a priority. The kernel may have taken the tag off, and
/// remembers it, or, where there is no such VLAN, but that the frame is for somebody else.
fn untagged() -> Vec<libc::sock_filter> {
    let kept = |what: libc::c_int| (libc::SKF_AD_OFF + what) as u32;
    vec![
        load(HALF, kept(libc::SKF_AD_VLAN_TAG)),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xfff),
        compare(0, 1, 0),
        give(0),
        load(BYTE, kept(libc::SKF_AD_PKTTYPE)),
        compare(libc::PACKET_OTHERHOST.into(), 0, 1),
        give(0),
    ]
}

/// Goes on if the frame has this value there.
fn require(size: u32, at: u32, value: u32) -> [libc::sock_filter; 3] {
    [load(size, at), compare(value, 1, 0), give(0)]
}

/// Takes the frame if one of these values is there, or if there are too many of them to look.
fn accept_if_one_of(at: u32, values: &[u32]) -> Vec<libc::sock_filter> {
    if values.len() > MOST_VALUES {
        return vec![give(u32::MAX)];
    }
    let mut filter = vec![load(WORD, at)];
    for value in values {
        filter.extend([compare(*value, 0, 1), give(u32::MAX)]);
    }
    filter.push(give(0));
    filter
}

fn load(size: u32, at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_ABS | size, at)
}

/// Skips so many instructions if what was loaded is the value, and so many if it is not.
fn compare(value: u32, equal: u8, other: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    libc::sock_filter { jt: equal, jf: other, ..instruction(code, value) }
}

/// Ends with so many bytes of the frame; with 0 it is dropped.
fn give(bytes: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, bytes)
}

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// A raw packet socket that receives nothing until it is bound.
fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(socket: &OwnedFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        // The kernel only reads it.
        filter: filter.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

fn bind(socket: &OwnedFd, index: u32, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = index as libc::c_int;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` outlives the call and its size is given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The length of the next frame, which is in the buffer as far as there is room.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the buffer is as long as said.
    let len = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

const WORD: u32 = libc::BPF_W;
const HALF: u32 = libc::BPF_H;
const BYTE: u32 = libc::BPF_B;
/// Where things are in a frame.
const SENDER_IP: u32 = 14 + 14;
const IPV6_NEXT_HEADER: u32 = 14 + 6;
const IPV6_PAYLOAD: u32 = 14 + 40;
/// The last four bytes of the target of a neighbour advertisement.
const TARGET_END: u32 = IPV6_PAYLOAD + 8 + 12;
/// A filter has 4096 instructions at most, and two for each value.
const MOST_VALUES: usize = 1024;
