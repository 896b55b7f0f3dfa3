// SPDX-License-Identifier: Apache-2.0
//! What the tests of every header share.

use super::Malformed;

/// Parses every proper prefix of `valid` shorter than `needed` bytes and expects it to be refused as cut short,
/// and every longer one to be accepted.
pub(crate) fn needs_exactly<'a, T>(
    needed: usize,
    valid: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<T, Malformed>,
) {
    for length in 0..=valid.len() {
        let result = parse(&valid[..length]).err();
        let expected = (length < needed).then_some(Malformed::Truncated);
        assert_eq!(result, expected, "{length} of {} bytes, {needed} needed", valid.len());
    }
}

/// A packet as a deployed gateway made it.
pub(crate) struct DeployedPacket {
    pub(crate) spi: u32,
    pub(crate) sequence: u64,
    pub(crate) next_header: u8,
    pub(crate) outer: Vec<u8>,
    pub(crate) inner: Vec<u8>,
}

/// Any number of them.
pub(crate) fn deployed_packets() -> Vec<DeployedPacket> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/esp-static.json")).unwrap();
    let packet = |vector: &serde_json::Value| DeployedPacket {
        spi: vector["spi"].as_u64().unwrap() as u32,
        sequence: vector["sequence"].as_u64().unwrap(),
        next_header: vector["next_header"].as_u64().unwrap() as u8,
        outer: unhex(&vector["outer_ip_packet"]),
        inner: unhex(&vector["inner_ip_packet"]),
    };
    let packets: Vec<_> = vectors.as_array().unwrap().iter().map(packet).collect();
    assert!(!packets.is_empty());
    packets
}

fn unhex(text: &serde_json::Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
