// SPDX-License-Identifier: Apache-2.0
//! What must hold of any input, whoever makes it: a fuzzer, or the test that replays its corpus.
#![allow(dead_code)] // each fuzz target uses one of these

use vita::config::{self, Document, State};
use vita::leader::frame::{Decoder, encode};
use vita::yang::format::Format;
use vita::yang::path::Path;
use vita::yang::{json as yang_json, rpc};

/// The textual form, of documents and of messages.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(document) = Document::parse(text) {
        prints_the_same(&document);
    }
    if let Ok(calls) = rpc::parse_calls(text) {
        for call in calls {
            // Leaf-lists and lists are in replies only, so a call that was read can be printed.
            let printed =
                rpc::print_call(&call.name, &call.leaves).expect("a call that was read can be printed");
            assert_eq!(rpc::parse_calls(&printed), Ok(vec![call]), "{printed}");
        }
    }
    let _ = rpc::parse_replies(text);
}

/// JSON, as documents.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let schema = config::schema();
    if yang_json::read(&schema.name, &Path::root(&schema.root), text).is_ok() {
        assert!(
            serde_json::from_str::<serde_json::Value>(text).is_ok(),
            "no JSON, by the word of serde: {text}"
        );
        assert!(yang_json::is_json(text), "{text}");
    }
    if yang_json::is_json(text)
        && let Ok(document) = Document::parse(text)
    {
        prints_the_same(&document);
    }
}

/// Paths, on an empty configuration and on one with something in it.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let schema = config::schema();
    if let Ok(path) = Path::resolve(&schema.root, text) {
        let normal = path.to_string();
        let again = Path::resolve(&schema.root, &normal).expect("the normal form leads to the same place");
        assert_eq!((again.to_string(), &again.steps), (normal, &path.steps));
    }
    if let Ok(normal) = Path::normalise(text) {
        assert_eq!(Path::normalise(&normal), Ok(normal));
    }
    let document = Document::parse(DOCUMENT).expect("the document is valid");
    for format in [Format::Yang, Format::Json, Format::Xpath, Format::Influxdb] {
        let _ = State::new().print(text, format, true);
        if let (Ok(printed), Format::Yang | Format::Json) = (document.print(text, format, false), format)
            && let Ok(again) = document.set(text, &printed)
        {
            assert_eq!(again.config(), document.config(), "{text}");
        }
    }
    let _ = (document.add(text, "{ id b; }"), document.set(text, "1"), document.remove(text));
}

/// Frames, cut into pieces of the size of the first byte.
pub fn framing(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let whole = frames(data, data.len().max(1));
    assert_eq!(frames(data, usize::from(*size).max(1)), whole);
    for payload in whole.0 {
        let Ok(text) = std::str::from_utf8(&payload) else { continue };
        let mut bytes = Vec::new();
        encode(text, &mut bytes);
        assert_eq!(frames(&bytes, bytes.len()), (vec![payload], false));
    }
}

/// The payloads, and whether the stream broke the rules after them.
fn frames(data: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut payloads = Vec::new();
    for piece in data.chunks(size) {
        decoder.push(piece);
        loop {
            let ready = decoder.is_ready();
            match decoder.take() {
                Ok(Some(payload)) => payloads.push(payload),
                Ok(None) => break assert!(!ready),
                Err(_) => return (payloads, true),
            }
        }
    }
    (payloads, false)
}

/// What `get /` prints, in either format that can be read, is read as the same.
fn prints_the_same(document: &Document) {
    for format in [Format::Yang, Format::Json] {
        for print_default in [false, true] {
            let printed = document.print("/", format, print_default).expect("the root can be printed");
            let again = Document::parse(&printed).expect("what is printed can be read");
            assert_eq!(again.config(), document.config(), "{format}");
            assert_eq!(again.print("/", format, print_default), Ok(printed));
        }
    }
}

/// Longest payload that the decoder is to accept: short, so that the limit is met.
const LIMIT: usize = 4096;

const DOCUMENT: &str = "mtu 1440;
private-interface4 { pci 00:00.0; ip 10.0.0.1; nexthop-ip 10.0.0.2; }
public-interface4 { ip 10.10.0.1; pci 00:00.0; nexthop-ip 10.10.0.9; }
route4 {
  id a;
  net \"10.10.2.0/24\";
  gateway { ip 10.20.0.2; }
  spi 1001;
  preshared-key 0000000000000000000000000000000000000000000000000000000000000001;
}";
