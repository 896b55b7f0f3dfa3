// SPDX-License-Identifier: Apache-2.0
//! A packet of either version, where the version does not matter.

use super::Malformed;
use super::ipv4::{self, Ipv4};
use super::ipv6::{self, Ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The two versions of the Internet protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    V4,
    V6,
}

/// A packet of either.
#[derive(Clone, Copy, Debug)]
pub enum Ip<'a> {
    V4(Ipv4<'a>),
    V6(Ipv6<'a>),
}

/// At most one address of each family.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Addresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Family {
    /// What the first byte of a packet says.
    #[inline]
    pub fn of_packet(bytes: &[u8]) -> Option<Family> {
        match bytes.first()? & 0xf0 {
            0x40 => Some(Family::V4),
            0x60 => Some(Family::V6),
            _ => None,
        }
    }

    #[inline]
    pub const fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl<'a> Ip<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Ip<'a>, Malformed> {
        match Family::of_packet(bytes) {
            Some(Family::V4) => Ipv4::parse(bytes).map(Ip::V4),
            Some(Family::V6) => Ipv6::parse(bytes).map(Ip::V6),
            None if bytes.is_empty() => Err(Malformed::Truncated),
            None => Err(Malformed::Version),
        }
    }

    #[inline]
    pub fn source(&self) -> IpAddr {
        match self {
            Ip::V4(ip) => ip.source().into(),
            Ip::V6(ip) => ip.source().into(),
        }
    }

    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self {
            Ip::V4(ip) => ip.destination().into(),
            Ip::V6(ip) => ip.destination().into(),
        }
    }

    /// Its type of service or traffic class.
    #[inline]
    pub fn class(&self) -> u8 {
        match self {
            Ip::V4(ip) => ip.tos(),
            Ip::V6(ip) => ip.traffic_class(),
        }
    }

    /// Whether both addresses may be those of a packet that a router forwards.
    #[inline(always)]
    pub fn is_forwardable(&self) -> bool {
        match self {
            Ip::V4(ip) => ipv4::is_forwardable(ip.source()) && ipv4::is_forwardable(ip.destination()),
            Ip::V6(ip) => ipv6::is_forwardable(ip.source()) && ipv6::is_forwardable(ip.destination()),
        }
    }

    /// Whether the source has no meaning beyond its link.
    #[inline]
    pub fn is_from_link(&self) -> bool {
        match self {
            Ip::V4(ip) => ip.source().is_link_local(),
            Ip::V6(ip) => ipv6::is_link_local(&ip.source()),
        }
    }

    /// In bytes, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        match self {
            Ip::V4(ip) => ip.total_len(),
            Ip::V6(ip) => ip.total_len(),
        }
    }

    /// The packet, cut to the length it announces.
    #[inline]
    pub fn packet(&self) -> &'a [u8] {
        match self {
            Ip::V4(ip) => ip.packet(),
            Ip::V6(ip) => ip.packet(),
        }
    }

    /// The protocol behind all headers of IP, and where in the packet it starts.
    #[inline]
    pub fn upper(&self) -> Result<(u8, usize), Malformed> {
        match self {
            Ip::V4(ip) => Ok((ip.protocol(), ip.header_len())),
            Ip::V6(ip) => ip.upper().map(|upper| (upper.protocol, upper.offset)),
        }
    }
}

impl From<IpAddr> for Addresses {
    fn from(address: IpAddr) -> Addresses {
        Addresses::from_iter([address])
    }
}

impl FromIterator<IpAddr> for Addresses {
    /// Of two addresses of one family the later counts.
    fn from_iter<Iter: IntoIterator<Item = IpAddr>>(addresses: Iter) -> Addresses {
        let mut all = Addresses::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => all.v4 = Some(address),
                IpAddr::V6(address) => all.v6 = Some(address),
            }
        }
        all
    }
}

impl Addresses {
    /// Whether the packet is for one of these.
    #[inline]
    pub fn contain_destination(&self, packet: &Ip<'_>) -> bool {
        match packet {
            Ip::V4(ip) => self.v4 == Some(ip.destination()),
            Ip::V6(ip) => self.v6 == Some(ip.destination()),
        }
    }

    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    #[inline]
    pub fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.is_some(),
            Family::V6 => self.v6.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    #[test]
    fn either_version_is_told_by_its_first_byte() {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        let udp = |builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>, out: &mut Vec<u8>| {
            builder.udp(1, 2).write(out, b"data").unwrap();
        };
        udp(PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64), &mut four);
        udp(PacketBuilder::ipv6([1; 16], [2; 16], 64), &mut six);
        for (bytes, family, header) in [(&four, Family::V4, 20), (&six, Family::V6, 40)] {
            let ip = Ip::parse(bytes).unwrap();
            assert_eq!((Family::of(ip.source()), Family::of(ip.destination())), (family, family));
            assert_eq!((ip.total_len(), ip.packet()), (bytes.len(), &bytes[..]));
            assert_eq!(ip.upper(), Ok((17, header)));
            let own = Addresses { v4: Some([10, 0, 0, 2].into()), v6: Some([2; 16].into()) };
            assert!(own.contain_destination(&ip) && !Addresses::default().contain_destination(&ip));
            assert_eq!(own.of(family), Some(ip.destination()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(ip) = Ip::parse(&bytes) {
                let _ = (ip.source(), ip.destination(), ip.upper());
                prop_assert!(ip.total_len() <= bytes.len());
            }
        }
    }
}
