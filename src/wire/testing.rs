// SPDX-License-Identifier: Apache-2.0
//! What the tests of every header share.

use super::Malformed;

/// Parses every proper prefix of `valid` shorter than `needed` bytes and expects it to be refused as cut short,
/// and every longer one to be accepted.
pub fn needs_exactly<'a, T>(
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

/// Outer and inner packets as deployed gateways made them.
pub fn deployed_packets() -> Vec<(Vec<u8>, Vec<u8>)> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/esp-static.json")).unwrap();
    let packets: Vec<_> = vectors
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| (unhex(&vector["outer_ip_packet"]), unhex(&vector["inner_ip_packet"])))
        .collect();
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
