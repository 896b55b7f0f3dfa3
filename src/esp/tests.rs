// SPDX-License-Identifier: Apache-2.0
//! Packets of deployed gateways, and our own through both ends.

use super::*;
use crate::aead;
use crate::count::Reason;
use crate::frame::{Frame, Pool};
use crate::sa::Key;
use crate::wire::esp::{Esp, HEADER, ICV, TRAILER};
use serde_json::{Value, json};
use std::collections::HashMap;

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    let text = vector[field].as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn vectors() -> Vec<Value> {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/vectors/esp-static.json")).unwrap();
    assert!(!vectors.is_empty());
    vectors
}

fn parameters(vector: &Value) -> SaParameters {
    SaParameters {
        spi: vector["spi"].as_u64().unwrap() as u32,
        key: Key::Aes128Gcm(bytes(vector, "key").try_into().unwrap()),
        salt: bytes(vector, "salt").try_into().unwrap(),
    }
}

fn seal(sa: &mut OutboundSa, frame: &mut Frame, padded: usize) -> Result<(), Reason> {
    let (_, _, job) = sa.encapsulate::<0, 0>(sa.draw()?, frame, 4, padded)?;
    aead::preferred().seal(&mut [job]);
    Ok(())
}

fn open(sa: &mut InboundSa, frame: &mut Frame, offset: usize) -> Result<u8, Reason> {
    let esp = Esp::parse(&frame.data()[offset..]).map_err(|_| Reason::TooShort)?;
    let sequence = sa.inspect(&esp)?;
    let mut jobs = [sa.job(sequence, &mut frame.data_mut()[offset..]).unwrap()];
    aead::preferred().open(&mut jobs);
    if !jobs[0].authentic {
        return Err(Reason::Forged);
    }
    sa.accept(sequence)?;
    let (inner, next_header) = InboundSa::decapsulate(&frame.data()[offset..])?;
    frame.cut(offset + HEADER, inner.len());
    Ok(next_header)
}

#[test]
fn packets_of_deployed_gateways_open_to_their_plaintext() {
    opens(&vectors());
}

/// Opens the packets of any number of runs, one after another or mixed, with one SA for each key.
fn opens(vectors: &[Value]) {
    let pool = Pool::new(1).unwrap();
    let mut sas: HashMap<(u32, Vec<u8>, Vec<u8>), InboundSa> = HashMap::new();
    for vector in vectors {
        let parameters = parameters(vector);
        let name = (parameters.spi, bytes(vector, "key"), bytes(vector, "salt"));
        let sa = sas.entry(name).or_insert_with(|| {
            // A record may begin late in the life of an SA.
            let before = vector["sequence"].as_u64().unwrap() - 1;
            InboundSa::new(&parameters, aead::preferred()).after(before, &LastNumber::default())
        });
        let outer = bytes(vector, "outer_ip_packet");
        let offset = outer_header(&outer);
        let mut frame = pool.copy_of(&outer).unwrap();
        let next_header = vector["next_header"].as_u64().unwrap() as u8;
        assert_eq!(open(sa, &mut frame, offset), Ok(next_header));
        assert_eq!(frame.data(), bytes(vector, "inner_ip_packet"));
    }
}

fn outer_header(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 6 { crate::wire::ipv6::HEADER } else { usize::from(packet[0] & 0xf) * 4 }
}

/// Another file of the same format, as a deployed gateway would have written it: three runs that are mixed, of one, of
/// five and of seven packets, one with an IPv6 packet inside, and one that begins above 2^32.
#[test]
fn vectors_may_hold_any_number_of_runs_and_packets() {
    let pool = Pool::new(1).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut vectors = Vec::new();
    for (run, (first, count)) in [(1_u64, 1_u64), (1, 5), ((1 << 32) + 9, 7)].into_iter().enumerate() {
        let (key, salt) = ([run as u8; 16], [7; 4]);
        for sequence in first..first + count {
            let sa = OutboundSa::new(
                &SaParameters { spi: 300, key: Key::Aes128Gcm(key), salt },
                aead::preferred(),
            );
            let sa = sa.after(sequence - 1, &LastNumber::default());
            let (inner, next_header) = if run == 1 { (vec![0x60; 61], 41) } else { (vec![0x45; 40], 4) };
            let mut frame = pool.copy_of(&inner).unwrap();
            let (_, _, job) = sa.encapsulate::<0, 0>(sa.draw().unwrap(), &mut frame, next_header, 0).unwrap();
            aead::preferred().seal(&mut [job]);
            let outer = [&[0x45][..], &[0; 19], frame.data()].concat();
            vectors.push(json!({
                "spi": 300, "key": hex(&key), "salt": hex(&salt), "sequence": sequence,
                "next_header": next_header, "outer_ip_packet": hex(&outer), "inner_ip_packet": hex(&inner),
            }));
        }
    }
    opens(&vectors);
    vectors.sort_by_key(|vector| vector["sequence"].as_u64());
    opens(&vectors);
}

/// Deployed gateways write the IV in little-endian order and leave the padding zero; with both put in place of ours
/// every byte is theirs.
#[test]
fn we_seal_as_deployed_gateways_do_but_for_iv_and_padding() {
    let pool = Pool::new(1).unwrap();
    for vector in vectors() {
        let sequence = vector["sequence"].as_u64().unwrap();
        let sa = OutboundSa::new(&parameters(&vector), aead::preferred());
        let sa = sa.after(sequence - 1, &LastNumber::default());
        let mut frame = pool.copy_of(&bytes(&vector, "inner_ip_packet")).unwrap();
        let next_header = vector["next_header"].as_u64().unwrap() as u8;
        sa.encapsulate::<0, 0>(sa.draw().unwrap(), &mut frame, next_header, 0).unwrap();
        let outer = bytes(&vector, "outer_ip_packet");
        let expected = &outer[outer_header(&outer)..];
        assert_eq!(frame.len(), expected.len());
        assert_eq!(frame.data()[..8], expected[..8]);
        let padding = 16 + bytes(&vector, "inner_ip_packet").len()..frame.len() - ICV - TRAILER;
        frame.data_mut()[padding].fill(0);
        let iv = sequence.to_le_bytes();
        frame.data_mut()[8..16].copy_from_slice(&iv);
        let job = sa.cipher.job(sequence, iv, &mut frame.data_mut()[HEADER..]);
        aead::preferred().seal(&mut [job]);
        assert_eq!(frame.data(), expected);
    }
}

fn pair() -> (OutboundSa, InboundSa) {
    let parameters = SaParameters { spi: 300, key: Key::Aes128Gcm([9; 16]), salt: [4; 4] };
    (OutboundSa::new(&parameters, aead::preferred()), InboundSa::new(&parameters, aead::preferred()))
}

#[test]
fn every_length_survives_and_grows_as_little_as_it_may() {
    let pool = Pool::new(1).unwrap();
    let (mut outbound, mut inbound) = pair();
    for len in 0..200 {
        let inner: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut frame = pool.copy_of(&inner).unwrap();
        seal(&mut outbound, &mut frame, 0).unwrap();
        let growth = frame.len() - inner.len();
        assert!((HEADER + TRAILER + ICV..HEADER + TRAILER + ICV + 4).contains(&growth));
        assert_eq!((frame.len() - HEADER - ICV) % 4, 0);
        assert_eq!(open(&mut inbound, &mut frame, 0), Ok(4));
        assert_eq!(frame.data(), inner);
    }
}

#[test]
fn traffic_flow_confidentiality_hides_the_length() {
    let pool = Pool::new(2).unwrap();
    let (mut outbound, mut inbound) = pair();
    let (mut short, mut long) = (pool.copy_of(b"short").unwrap(), pool.copy_of(&[1; 90]).unwrap());
    seal(&mut outbound, &mut short, 100).unwrap();
    seal(&mut outbound, &mut long, 100).unwrap();
    assert_eq!(short.len(), long.len());
    assert_eq!(open(&mut inbound, &mut short, 0), Ok(4));
    assert_eq!(short.data()[..5], *b"short");
    assert_eq!(short.data()[5..], [0; 95]);
}

#[test]
fn a_packet_opens_once_and_a_forged_one_never() {
    let pool = Pool::new(1).unwrap();
    let (mut outbound, mut inbound) = pair();
    let mut frame = pool.copy_of(b"inner packet").unwrap();
    seal(&mut outbound, &mut frame, 0).unwrap();
    let sealed = frame.data().to_vec();
    drop(frame);
    for position in 4..sealed.len() {
        let mut forged = sealed.clone();
        forged[position] ^= 0x10;
        let mut frame = pool.copy_of(&forged).unwrap();
        assert_eq!(open(&mut inbound, &mut frame, 0), Err(Reason::Forged), "byte {position}");
    }
    assert_eq!(open(&mut inbound, &mut pool.copy_of(&sealed).unwrap(), 0), Ok(4));
    assert_eq!(open(&mut inbound, &mut pool.copy_of(&sealed).unwrap(), 0), Err(Reason::Replayed));
    for len in 0..HEADER + TRAILER + ICV {
        assert_eq!(open(&mut inbound, &mut pool.copy_of(&sealed[..len]).unwrap(), 0), Err(Reason::TooShort));
    }
}

#[test]
fn a_pad_length_beyond_the_packet_is_refused() {
    let pool = Pool::new(1).unwrap();
    let (outbound, mut inbound) = pair();
    let mut frame = pool.copy_of(b"abcdef").unwrap();
    let (_, _, job) = outbound.encapsulate::<0, 0>(outbound.draw().unwrap(), &mut frame, 4, 0).unwrap();
    let pad_length = job.data.len() - ICV - TRAILER;
    job.data[pad_length] = 7;
    aead::preferred().seal(&mut [job]);
    assert_eq!(open(&mut inbound, &mut frame, 0), Err(Reason::BadPadding));
}

#[test]
fn the_last_sequence_number_is_the_end() {
    let pool = Pool::new(1).unwrap();
    let mut last = LastNumber::default();
    let mut outbound = pair().0.after(u64::MAX - 1, &last);
    assert_eq!(seal(&mut outbound, &mut pool.copy_of(b"last").unwrap(), 0), Ok(()));
    let mut frame = pool.copy_of(b"one too many").unwrap();
    assert_eq!(seal(&mut outbound, &mut frame, 0), Err(Reason::SequenceExhausted));
    assert_eq!(frame.data(), b"one too many");
    assert_eq!(last.number(), None);
    drop(outbound);
    assert_eq!(last.number(), Some(u64::MAX));
}

#[test]
fn an_association_stops_at_its_ceiling_until_that_is_raised() {
    let pool = Pool::new(1).unwrap();
    let last = LastNumber::bounded(STRIDE - 2, 2 * STRIDE - 2);
    let mut outbound = pair().0.after(STRIDE - 2, &last);
    let mut draw = || seal(&mut outbound, &mut pool.copy_of(b"inner").unwrap(), 0);
    assert_eq!(draw(), Ok(()));
    assert_eq!(draw(), Err(Reason::SequenceExhausted), "the next stride ends beyond the ceiling");
    assert_eq!(draw(), Err(Reason::SequenceExhausted));
    last.allow(2 * STRIDE - 1);
    assert_eq!(draw(), Ok(()));
    assert_eq!(outbound.last(), STRIDE);
}

#[test]
fn a_frame_without_room_is_left_alone_and_its_number_is_not_used_again() {
    let pool = Pool::new(1).unwrap();
    let (mut outbound, _) = pair();
    let mut frame = pool.copy_of(&[0; 4096 - 256]).unwrap();
    assert_eq!(seal(&mut outbound, &mut frame, 0), Err(Reason::NoRoom));
    assert_eq!(frame.len(), 4096 - 256);
    let mut frame = {
        drop(frame);
        pool.copy_of(b"fits").unwrap()
    };
    seal(&mut outbound, &mut frame, 0).unwrap();
    assert_eq!(frame.data()[4..8], [0, 0, 0, 2]);
}
