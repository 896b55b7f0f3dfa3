// SPDX-License-Identifier: Apache-2.0
//! The four messages on the wire. A datagram is parsed once; what [`parse`] returns has exact lengths in its types.
//!
//! ```text
//!   0        4      5      6       8
//!   ├────────┼──────┼──────┼───────┼─────────────────────────────┤
//!   │  SPI   │ type │ lane │ token │ message, of an exact length │
//! ```
//!
//! Lane and token are zero towards a peer that is not known to be capable. Deployed gateways send zero and ignore them.

use crate::sa::Algorithm;
use std::net::IpAddr;

use super::kind::{KEY_MESSAGE, Kind, PAYLOAD};
use super::report::Rejection;

/// The header and the message of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Datagram<'a> {
    pub route_spi: u32,
    /// Compared with the payload of a capable peer, else ignored.
    pub lane: u8,
    /// Zero where there is none.
    pub token: u16,
    pub message: Message<'a>,
}

/// What proposal and agreement carry encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Payload {
    /// The sender's inbound ESP SPI.
    pub spi: u32,
    /// Whether the sender understands the extensions: format 1 or above. A deployed gateway sends 0.
    pub is_capable: bool,
    /// The lane of this SA pair. Means something only where `is_capable`.
    pub lane: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message<'a> {
    /// Its version is for the eyes of a packet capture only.
    Knock,
    Challenge {
        version: u32,
        aead: &'a [u8; 32],
        nonce: &'a [u8; 32],
    },
    Proposal(&'a [u8; KEY_MESSAGE]),
    Agreement(&'a [u8; KEY_MESSAGE]),
}

pub(super) fn parse(bytes: &[u8]) -> Result<Datagram<'_>, Rejection> {
    let too_short = Rejection::TooShort(bytes.len());
    let (spi, rest) = bytes.split_first_chunk::<4>().ok_or(too_short)?;
    let ([kind, lane, token @ ..], message) = rest.split_first_chunk::<4>().ok_or(too_short)?;
    let kind = Kind::from_wire(*kind)?;
    let message = Message::parse(kind, message).ok_or(Rejection::Length { kind, length: message.len() })?;
    let token = u16::from_be_bytes(*token);
    Ok(Datagram { route_spi: u32::from_be_bytes(*spi), lane: *lane, token, message })
}

pub(super) fn knock(route_spi: u32, token: u16) -> Vec<u8> {
    datagram(route_spi, token, Kind::Knock, &[&VERSION.to_be_bytes()])
}

pub(super) fn challenge(route_spi: u32, token: u16, nonce: &[u8; 32]) -> Vec<u8> {
    datagram(route_spi, token, Kind::Challenge, &[&VERSION.to_be_bytes(), &AEAD_FIELD, nonce])
}

pub(super) fn proposal(route_spi: u32, token: u16, message: &[u8; KEY_MESSAGE]) -> Vec<u8> {
    datagram(route_spi, token, Kind::Proposal, &[message])
}

pub(super) fn agreement(route_spi: u32, token: u16, message: &[u8; KEY_MESSAGE]) -> Vec<u8> {
    datagram(route_spi, token, Kind::Agreement, &[message])
}

impl Payload {
    pub(super) fn to_wire(self) -> [u8; PAYLOAD] {
        let mut bytes = [0; PAYLOAD];
        bytes[..4].copy_from_slice(&self.spi.to_be_bytes());
        bytes[FORMAT_AT] = u8::from(self.is_capable);
        bytes[LANE_AT] = self.lane;
        bytes
    }

    pub(super) fn from_wire(bytes: &[u8; PAYLOAD]) -> Payload {
        let [a, b, c, d, ..] = *bytes;
        let spi = u32::from_be_bytes([a, b, c, d]);
        // Later versions of the format only add fields.
        Payload { spi, is_capable: bytes[FORMAT_AT] >= 1, lane: bytes[LANE_AT] }
    }
}

/// What both sides have to agree on before the first key is derived. A message that was made under another version,
/// route, pair of addresses, AEAD or nonce does not authenticate.
pub(super) fn prologue(
    route_spi: u32,
    initiator: IpAddr,
    responder: IpAddr,
    nonce: &[u8; 32],
) -> [u8; PROLOGUE] {
    let mut prologue = [0; PROLOGUE];
    prologue[..4].copy_from_slice(&VERSION.to_be_bytes());
    prologue[4..8].copy_from_slice(&route_spi.to_be_bytes());
    prologue[8..24].copy_from_slice(&address_field(initiator));
    prologue[24..40].copy_from_slice(&address_field(responder));
    prologue[40..72].copy_from_slice(&AEAD_FIELD);
    prologue[72..].copy_from_slice(nonce);
    prologue
}

impl Kind {
    fn from_wire(value: u8) -> Result<Kind, Rejection> {
        match value {
            11 => Ok(Kind::Knock),
            12 => Ok(Kind::Challenge),
            13 => Ok(Kind::Proposal),
            14 => Ok(Kind::Agreement),
            other => Err(Rejection::UnknownType(other)),
        }
    }
}

impl<'a> Message<'a> {
    /// None where the length is not exact.
    fn parse(kind: Kind, bytes: &'a [u8]) -> Option<Message<'a>> {
        if bytes.len() != kind.length() {
            return None;
        }
        match kind {
            Kind::Knock => Some(Message::Knock),
            Kind::Challenge => {
                let (version, rest) = bytes.split_first_chunk::<4>()?;
                let (aead, nonce) = rest.split_first_chunk::<32>()?;
                let nonce = nonce.try_into().ok()?;
                Some(Message::Challenge { version: u32::from_be_bytes(*version), aead, nonce })
            }
            Kind::Proposal => bytes.try_into().ok().map(Message::Proposal),
            Kind::Agreement => bytes.try_into().ok().map(Message::Agreement),
        }
    }
}

fn datagram(route_spi: u32, token: u16, kind: Kind, message: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + kind.length());
    bytes.extend_from_slice(&route_spi.to_be_bytes());
    bytes.extend_from_slice(&[kind as u8, LANE]);
    bytes.extend_from_slice(&token.to_be_bytes());
    for part in message {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn address_field(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut field = [0; 16];
            field[..4].copy_from_slice(&v4.octets());
            field
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The one version spoken here.
pub(super) const VERSION: u32 = 5;
/// The one algorithm of that version.
pub(super) const ALGORITHM: Algorithm = Algorithm::Aes128Gcm;
/// Its name as it stands on the wire: ASCII, padded with zeros.
pub(super) const AEAD_FIELD: [u8; 32] = *b"aes-gcm-16-icv\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The one lane that is negotiated.
pub(super) const LANE: u8 = 0;
/// Version, route SPI, two addresses, AEAD, nonce.
pub(super) const PROLOGUE: usize = 4 + 4 + 16 + 16 + 32 + 32;

const HEADER: usize = 8;
const FORMAT_AT: usize = 4;
const LANE_AT: usize = 27;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_is_parsed() {
        let nonce = [7; 32];
        let key_message = [9; KEY_MESSAGE];
        for (bytes, message) in [
            (knock(1234, 7), Message::Knock),
            (challenge(1234, 7, &nonce), Message::Challenge { version: 5, aead: &AEAD_FIELD, nonce: &nonce }),
            (proposal(1234, 7, &key_message), Message::Proposal(&key_message)),
            (agreement(1234, 7, &key_message), Message::Agreement(&key_message)),
        ] {
            assert_eq!(parse(&bytes), Ok(Datagram { route_spi: 1234, lane: 0, token: 7, message }));
        }
    }

    #[test]
    fn lengths_are_exact() {
        for bytes in [
            knock(1, 0),
            challenge(1, 0, &[0; 32]),
            proposal(1, 0, &[0; KEY_MESSAGE]),
            agreement(1, 0, &[0; KEY_MESSAGE]),
        ] {
            for length in 0..HEADER {
                assert_eq!(parse(&bytes[..length]), Err(Rejection::TooShort(length)));
            }
            for length in HEADER..bytes.len() {
                assert!(matches!(parse(&bytes[..length]), Err(Rejection::Length { .. })), "{length}");
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(matches!(parse(&longer), Err(Rejection::Length { .. })));
        }
    }

    #[test]
    fn lane_and_token_are_read_and_refuse_nothing() {
        let mut bytes = knock(1, 0);
        assert_eq!(bytes[5..8], [0; 3], "a deployed peer gets zeros");
        bytes[5..8].copy_from_slice(&[0xff, 0x12, 0x34]);
        let expected = Datagram { route_spi: 1, lane: 0xff, token: 0x1234, message: Message::Knock };
        assert_eq!(parse(&bytes), Ok(expected));
    }

    #[test]
    fn the_payload_has_the_layout_of_format_1() {
        let payload = Payload { spi: 0x0102_0304, is_capable: true, lane: 9 };
        let mut bytes = payload.to_wire();
        assert_eq!((&bytes[..5], bytes[27]), (&[1, 2, 3, 4, 1][..], 9));
        bytes[4] = 200;
        assert_eq!(Payload::from_wire(&bytes), payload, "a later format is read as format 1");
        let deployed = Payload { spi: 300, is_capable: false, lane: 0 };
        assert_eq!(deployed.to_wire()[4..], [0; 28]);
        assert_eq!(Payload::from_wire(&deployed.to_wire()), deployed);
    }

    #[test]
    fn there_are_four_types() {
        for kind in (0..=255).filter(|kind| !(11..=14).contains(kind)) {
            let mut bytes = knock(1, 0);
            bytes[4] = kind;
            assert_eq!(parse(&bytes), Err(Rejection::UnknownType(kind)));
        }
    }

    #[test]
    fn the_version_of_a_knock_is_not_acted_on() {
        let mut bytes = knock(1, 0);
        bytes[8..].copy_from_slice(&[0xff; 4]);
        assert_eq!(parse(&bytes).map(|datagram| datagram.message), Ok(Message::Knock));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }
    }
}
