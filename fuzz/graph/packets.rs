// SPDX-License-Identifier: Apache-2.0
//! Packets for the fuzzer to start from, made by etherparse; and what it may do to them.

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, PacketBuilder};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is left of the input. Behind its end are zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// As many as the first one says, at most what is left.
    pub fn bytes(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
}

/// One of the packets below, edited.
pub fn packet(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    let size = usize::from(input.byte());
    // Small steps up to a full packet and beyond.
    let payload = vec![choice; if size & 0x80 == 0 { size } else { (size & 0x7f) * 32 }];
    let packet = match choice % 16 {
        0 => udp4(FAR_HOST4, &payload),
        1 => udp6(FAR_HOST6, &payload),
        2 => udp4(NEAR_HOST4, &payload),
        3 => udp6(NEAR_HOST6, &payload),
        4 => echo4(INSIDE4, &payload),
        5 => echo6(INSIDE6, &payload),
        6 => echo4(OUTSIDE4, &payload),
        7 => echo6(OUTSIDE6, &payload),
        8 => message4(OUTSIDE4, 3, &udp4(PEER4, &payload)),
        9 => message6(OUTSIDE6, 1, &udp6(PEER6, &payload)),
        10 => message4(FAR_HOST4, 11, &payload),
        11 => message6(FAR_HOST6, 3, &payload),
        12 => udp4(OUTSIDE4, &payload),
        13 => udp6(OUTSIDE6, &payload),
        14 => solicitation(&payload),
        _ => arp(),
    };
    edited(input, packet)
}

/// Sets bytes of a packet and cuts it, as the input says; repairs its checksums, if that is wanted.
pub fn edited(input: &mut Input<'_>, mut packet: Vec<u8>) -> Vec<u8> {
    let how = input.byte();
    for _ in 0..how & 3 {
        let (place, value) = (usize::from(input.byte()), input.byte());
        if let Some(byte) = packet.get_mut(place) {
            *byte = value;
        }
    }
    if how & 4 != 0 {
        let cut = usize::from(input.byte());
        packet.truncate(packet.len().saturating_sub(cut));
    }
    if how & 8 == 0 {
        repair(&mut packet);
    }
    if how & 16 != 0 {
        packet.extend_from_slice(&[0xee; 20]);
    }
    packet
}

/// Makes the checksums right that luck would not make right.
fn repair(packet: &mut [u8]) {
    match packet.first() {
        Some(first) if first >> 4 == 4 && packet.len() >= 20 => {
            let header = (usize::from(first & 0x0f) * 4).clamp(20, 60).min(packet.len());
            set(packet, 10, 0..header, Sum16BitWords::new());
            if packet[9] == 1 && packet.len() >= header + 8 {
                let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]))
                    .clamp(header + 8, packet.len().max(header + 8));
                set(packet, header + 2, header..end, Sum16BitWords::new());
            }
        }
        Some(first) if first >> 4 == 6 && packet.len() >= 48 && packet[6] == 58 => {
            let announced = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            let end = (40 + announced).clamp(48, packet.len());
            let pseudo = Sum16BitWords::new()
                .add_slice(&packet[8..40])
                .add_4bytes((end as u32 - 40).to_be_bytes())
                .add_2bytes([0, 58]);
            set(packet, 42, 40..end, pseudo);
        }
        _ => {}
    }
}

fn set(packet: &mut [u8], at: usize, covered: std::ops::Range<usize>, sum: Sum16BitWords) {
    packet[at..at + 2].fill(0);
    let sum = sum.add_slice(&packet[covered]).ones_complement().to_be();
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Bits of the first byte: 1 to a group, 2 of the wrong type, 4 padded.
pub fn frame(how: u8, packet: &[u8]) -> Vec<u8> {
    let kind: u16 = match packet.first().map_or(0, |first| first >> 4) {
        0 => 0x0806,
        6 => 0x86dd,
        _ => 0x0800,
    };
    let destination = if how & 1 != 0 { [0x33, 0x33, 0, 0, 0, 1] } else { OWN };
    let kind = if how & 2 != 0 { kind ^ 0x8edd } else { kind };
    let padding: &[u8] = if how & 4 != 0 { &[0xee; 46] } else { &[] };
    [&destination[..], &HOST, &kind.to_be_bytes(), packet, padding].concat()
}

pub fn is_of_neighbours(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => match frame.get(20) {
            Some(58) => matches!(frame.get(54), Some(135 | 136)),
            // To a group, behind hop-by-hop options: queries and reports of multicast listener discovery.
            Some(0) if frame[0] & 1 != 0 && frame.get(54) == Some(&58) => {
                let options = frame.get(55).map_or(0, |eights| (usize::from(*eights) + 1) * 8);
                matches!(frame.get(54 + options), Some(130 | 131 | 143))
            }
            _ => false,
        },
        _ => false,
    }
}

/// A packet with ESP between the gateways.
pub fn outer4(esp: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(PEER4.octets(), OUTSIDE4.octets(), 64);
    write(|out| builder.write(out, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, esp))
}

pub fn outer6(esp: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv6(PEER6.octets(), OUTSIDE6.octets(), 64);
    write(|out| builder.write(out, IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, esp))
}

fn udp4(destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let source = if destination == NEAR_HOST4 { FAR_HOST4 } else { NEAR_HOST4 };
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64).udp(PORT, PORT);
    write(|out| builder.write(out, payload))
}

fn udp6(destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let source = if destination == NEAR_HOST6 { FAR_HOST6 } else { NEAR_HOST6 };
    let builder = PacketBuilder::ipv6(source.octets(), destination.octets(), 64).udp(PORT, PORT);
    write(|out| builder.write(out, payload))
}

fn echo4(destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(FAR_HOST4.octets(), destination.octets(), 64).icmpv4_echo_request(7, 1);
    write(|out| builder.write(out, payload))
}

fn echo6(destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv6(FAR_HOST6.octets(), destination.octets(), 64).icmpv6_echo_request(7, 1);
    write(|out| builder.write(out, payload))
}

fn message4(destination: Ipv4Addr, kind: u8, quote: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(PEER4.octets(), destination.octets(), 64).icmpv4_raw(kind, 0, [0; 4]);
    write(|out| builder.write(out, quote))
}

fn message6(destination: Ipv6Addr, kind: u8, quote: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv6(PEER6.octets(), destination.octets(), 64).icmpv6_raw(kind, 0, [0; 4]);
    write(|out| builder.write(out, quote))
}

/// Who has the outer address, asks its router; edits make of it what else there is.
fn solicitation(payload: &[u8]) -> Vec<u8> {
    let body = [&OUTSIDE6.octets()[..], &[1, 1], &HOST, payload].concat();
    let builder = PacketBuilder::ipv6(ROUTER6.octets(), OUTSIDE6.octets(), 255).icmpv6_raw(135, 0, [0; 4]);
    write(|out| builder.write(out, &body))
}

fn arp() -> Vec<u8> {
    let front = [0, 1, 8, 0, 6, 4, 0, 1];
    [&front[..], &HOST, &ROUTER4.octets(), &[0; 6], &OUTSIDE4.octets()].concat()
}

fn write<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut packet = Vec::new();
    write(&mut packet).expect("a packet that is not too long");
    packet
}

pub const OWN: [u8; 6] = [2, 0, 0, 0, 31, 1];
pub const HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const PORT: u16 = 303;
pub const FIRST_SPI: u32 = 1000;

pub const INSIDE4: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 20);
pub const HOST4: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
pub const OUTSIDE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 31);
pub const ROUTER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
pub const PEER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 32);
pub const NEAR_HOST4: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 50);
const FAR_HOST4: Ipv4Addr = Ipv4Addr::new(172, 32, 1, 50);

pub const INSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0, 0, 0, 0, 0x20);
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0, 0, 0, 0, 1);
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x31);
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfe);
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x32);
pub const NEAR_HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x31, 0, 0, 0, 0, 0x50);
const FAR_HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x32, 0, 0, 0, 0, 0x50);
