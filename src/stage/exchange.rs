// SPDX-License-Identifier: Apache-2.0
//! Datagrams of the key exchange on their way between the public interface and the control thread.

use crate::count;
use crate::frame::{Batch, Frame, Pool};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::udp::{self, Udp};
use std::net::Ipv4Addr;

/// One message, copied out of its frame.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Where it came from, or goes to.
    pub peer: Ipv4Addr,
    len: u8,
    bytes: [u8; Datagram::CAPACITY],
}

impl Datagram {
    /// More than the longest message of the exchange (88 bytes), so that one too long is still seen to be so.
    pub const CAPACITY: usize = 96;

    /// Holds at most [`Datagram::CAPACITY`] bytes of `payload`.
    pub fn new(peer: Ipv4Addr, payload: &[u8]) -> Datagram {
        let len = payload.len().min(Self::CAPACITY);
        let mut bytes = [0; Self::CAPACITY];
        bytes[..len].copy_from_slice(&payload[..len]);
        Datagram { peer, len: len as u8, bytes }
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Takes the datagrams out of the packets. `deliver` says whether it had room for one. The checksum is required.
pub fn collect(input: &mut Batch, mut deliver: impl FnMut(Datagram) -> bool, count: &count::KeyManager) {
    for frame in input.drain(..) {
        let datagram = Ipv4::parse(frame.data()).and_then(|ip| {
            let udp = Udp::parse(ip.payload())?;
            let sound = udp.has_checksum() && udp.checksum_ok(ip.source().into(), ip.destination().into());
            Ok(sound.then(|| Datagram::new(ip.source(), udp.payload())))
        });
        match datagram {
            Ok(Some(datagram)) if deliver(datagram) => {}
            Ok(Some(_)) => {
                count.overflow_errors.add(1);
                count.rxerrors.add(1);
            }
            Ok(None) | Err(_) => {
                count.protocol_errors.add(1);
                count.rxerrors.add(1);
            }
        }
    }
}

/// The IP packet for a datagram; `None` when the pool is empty.
pub fn datagram_frame(pool: &Pool, source: Ipv4Addr, port: u16, datagram: &Datagram) -> Option<Frame> {
    let mut frame = pool.take()?;
    let payload = datagram.payload();
    let len = udp::HEADER + payload.len();
    udp::build(frame.append(len)?, source.into(), datagram.peer.into(), port, port, payload);
    let header = ipv4::Header {
        tos: 0,
        id: 0,
        dont_fragment: true,
        ttl: TTL,
        protocol: ipv4::PROTOCOL_UDP,
        source,
        destination: datagram.peer,
        payload_len: len as u16,
    };
    header.write(frame.prepend(ipv4::HEADER)?.first_chunk_mut()?);
    Some(frame)
}

const TTL: u8 = 64;
