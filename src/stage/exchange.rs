// SPDX-License-Identifier: Apache-2.0
//! Datagrams of the key exchange on their way between the public interface and the control thread.
//!
//! ```text
//!   public dispatch ── UDP to the port ──► checksum ──► route SPI known? ──► source its gateway? ──► control thread
//!                                             └ protocol-errors   └ route-errors      └ source-errors
//! ```
//!
//! A worker has time for a flood, the control thread does not. So what a worker can tell from a datagram and its own table
//! of routes, without a key, it decides here: a stranger who does not use the address of a route's gateway costs no more
//! than a packet that is dropped.

use super::exception::{Drops, Owner};
use super::prepend_ip;
use crate::count::{Counters, Reason};
use crate::frame::{Batch, Frame, Pool};
use crate::route::SpiTable;
use crate::wire::Malformed;
use crate::wire::ip::{Addresses, Family, Ip};
use crate::wire::ipv4::PROTOCOL_UDP;
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
        bytes.iter_mut().zip(payload).for_each(|(byte, of_payload)| *byte = *of_payload);
        Datagram { peer, len: len as u8, bytes }
    }
    /// The message.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The route that it claims to be about; `None` if it is too short to say.
    pub fn route_spi(&self) -> Option<u32> {
        self.payload().first_chunk().map(|spi| u32::from_be_bytes(*spi))
    }

    /// The type of its message, whether there is such a type or not.
    pub fn kind(&self) -> Option<u8> {
        self.payload().get(KIND).copied()
    }
}

/// Lets those datagrams through that come from the gateway of the route they are about.
pub struct ExchangeFilter {
    /// The gateways' addresses, by route SPI.
    pub peers: SpiTable<IpAddr>,
}

impl ExchangeFilter {
    /// Takes the datagrams out of the packets. `deliver` says whether it had room for one. The checksum is required.
    pub fn collect(
        &self,
        now_ns: u64,
        input: &mut Batch,
        mut deliver: impl FnMut(Datagram) -> bool,
        drops: &mut Drops,
        counters: &Counters,
    ) {
        for frame in input.drain(..) {
            if let Err((reason, owner)) = self.check(&frame, &mut deliver) {
                drops.account(now_ns, reason, owner, &frame, counters);
            }
        }
    }

    fn check(
        &self,
        frame: &Frame,
        mut deliver: impl FnMut(Datagram) -> bool,
    ) -> Result<(), (Reason, Owner<'static>)> {
        let datagram = read(frame).ok().flatten();
        let spi = datagram.as_ref().and_then(Datagram::route_spi);
        let (datagram, route_spi) = datagram.zip(spi).ok_or((Reason::ExchangeMalformed, Owner::Nothing))?;
        let owner = Owner::Message { source: datagram.peer, route_spi };
        match self.peers.find(route_spi).and_then(|slot| self.peers.at(slot)) {
            None => Err((Reason::ExchangeRoute, owner)),
            Some(gateway) if *gateway != datagram.peer => Err((Reason::ExchangeSource, owner)),
            Some(_) if deliver(datagram) => Ok(()),
            Some(_) => Err((Reason::ExchangeOverflow, owner)),
        }
    }

    /// Goes over to other gateways of some routes: `gone` are the SPIs of routes that are no more, or have another one.
    pub fn change(&mut self, gone: &[u32], peers: &[(u32, IpAddr)]) {
        for spi in gone {
            self.peers.remove(*spi);
        }
        for (spi, gateway) in peers {
            // The control thread makes the table large enough for all routes that there can be.
            let _ = self.peers.insert(*spi, *gateway);
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
    prepend_ip(&mut frame, 0, PROTOCOL_UDP, source, datagram.peer)?;
    Some(frame)
}

/// Where the type of the message is.
const KIND: usize = 4;
