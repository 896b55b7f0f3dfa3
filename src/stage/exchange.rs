// SPDX-License-Identifier: Apache-2.0
//! Datagrams of the key exchange on their way between the public interface and the control thread.

use crate::count;
use crate::frame::{Batch, Frame, Pool};
use crate::wire::Malformed;
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::{self, PROTOCOL_UDP};
use crate::wire::ipv6;
use crate::wire::udp::{self, Udp};
use std::net::IpAddr;

/// One message, copied out of its frame.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Where it came from, or goes to.
    pub peer: IpAddr,
    len: u8,
    bytes: [u8; Datagram::CAPACITY],
}

impl Datagram {
    /// More than the longest message of the exchange (88 bytes), so that one too long is still seen to be so.
    pub const CAPACITY: usize = 96;

    /// Holds at most [`Datagram::CAPACITY`] bytes of `payload`.
    pub fn new(peer: IpAddr, payload: &[u8]) -> Datagram {
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
        match read(&frame) {
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

fn read(frame: &Frame) -> Result<Option<Datagram>, Malformed> {
    let ip = Ip::parse(frame.data())?;
    let (_, offset) = ip.upper()?;
    let udp = Udp::parse(ip.packet().get(offset..).unwrap_or_default())?;
    let sound = udp.has_checksum() && udp.checksum_ok(ip.source(), ip.destination());
    Ok(sound.then(|| Datagram::new(ip.source(), udp.payload())))
}

/// The IP packet for a datagram, from our address of the peer's family; `None` when we have none, or the pool is empty.
pub fn datagram_frame(pool: &Pool, own: Addresses, port: u16, datagram: &Datagram) -> Option<Frame> {
    let source = own.of(Family::of(datagram.peer))?;
    let mut frame = pool.take()?;
    let payload = datagram.payload();
    let len = udp::HEADER + payload.len();
    udp::build(frame.append(len)?, source, datagram.peer, port, port, payload);
    let payload_len = len as u16;
    match (source, datagram.peer) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = ipv4::Header {
                tos: 0,
                id: 0,
                dont_fragment: true,
                ttl: TTL,
                protocol: PROTOCOL_UDP,
                source,
                destination,
                payload_len,
            };
            header.write(frame.prepend(ipv4::HEADER)?.first_chunk_mut()?);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                next_header: PROTOCOL_UDP,
                hop_limit: TTL,
                source,
                destination,
                payload_len,
            };
            header.write(frame.prepend(ipv6::HEADER)?.first_chunk_mut()?);
        }
        // `source` was chosen to be of the peer's family.
        _ => return None,
    }
    Some(frame)
}

const TTL: u8 = 64;
