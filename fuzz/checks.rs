// SPDX-License-Identifier: Apache-2.0
//! What must hold of any input, whoever makes it: a fuzzer, or the test that replays its corpus.
#![allow(dead_code)] // each fuzz target uses one of these

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use vita::clock::Instant;
use vita::config::{self, Document, State};
use vita::leader::frame::{Decoder, MAX_REPLY, encode};
use vita::leader::{Change, Extension, Handler, Server};
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

/// A connection to the control socket of an instance with a real configuration: what the client sends, byte for byte,
/// or, if the first byte is odd, payloads that are separated by zeros and put in frames here. The second byte is the
/// size of the pieces in which it comes.
pub fn leader(data: &[u8]) {
    let [form, size, data @ ..] = data else { return };
    let mut stream = Vec::new();
    if form % 2 == 0 {
        stream.extend_from_slice(data);
    } else {
        for payload in data.split(|byte| *byte == 0) {
            stream.extend_from_slice(format!("{}\n", payload.len()).as_bytes());
            stream.extend_from_slice(payload);
        }
    }
    let mut instance = Instance::start();
    let mut client = instance.connect();
    let mut answers = Decoder::new(MAX_REPLY);
    let mut count = 0;
    for piece in stream.chunks(usize::from(*size).max(1)) {
        let alive = instance.exchange(&mut client, piece, &mut answers);
        while let Some(answer) = answers.take().expect("answers come in frames") {
            let answer = std::str::from_utf8(&answer).expect("answers are text");
            rpc::parse_replies(answer).expect("answers are messages of the module");
            count += 1;
        }
        if !alive {
            break;
        }
    }
    // A frame takes two bytes at least.
    assert!(count <= stream.len() / 2, "more answers than requests");
    // Whatever happened, the configuration is valid, and others are served.
    prints_the_same(&instance.configuration.0);
    let mut other = instance.connect();
    let mut answers = Decoder::new(MAX_REPLY);
    assert!(instance.exchange(&mut other, b"13\ndescribe {\n}\n", &mut answers), "others are served");
    let described = answers.take().expect("a frame").expect("an answer");
    assert!(described.starts_with(b"describe {\n  default-schema vita-esp-gateway;\n"));
}

/// A server, and the configuration that its clients read and change.
struct Instance {
    server: Server,
    socket: PathBuf,
    configuration: Configuration,
}

struct Configuration(Document);

impl Instance {
    fn start() -> Instance {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vita-fuzz-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory of its own");
        let socket = directory.join("socket");
        let server = Server::bind(&socket).expect("a socket");
        let configuration = Configuration(Document::parse(DOCUMENT).expect("the document is valid"));
        Instance { server, socket, configuration }
    }

    fn connect(&mut self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the server listens");
        stream.set_nonblocking(true).expect("a socket may be nonblocking");
        self.turn();
        stream
    }

    fn turn(&mut self) {
        self.server.service(Instant::now(), &mut self.configuration);
    }

    /// Sends, and takes in what comes back until nothing moves. Says whether the connection is still there.
    fn exchange(&mut self, client: &mut UnixStream, mut bytes: &[u8], answers: &mut Decoder) -> bool {
        let mut chunk = [0; 1 << 16];
        let mut quiet = 0;
        while quiet < 2 {
            quiet += 1;
            match client.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => bytes = &[],
            }
            self.turn();
            loop {
                match client.read(&mut chunk) {
                    Ok(0) => return false,
                    Ok(count) => {
                        answers.push(&chunk[..count]);
                        quiet = 0;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
            if !bytes.is_empty() {
                quiet = 0;
            }
        }
        true
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(directory) = self.socket.parent() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

impl Configuration {
    fn change(&mut self, changed: Result<Document, config::Rejected>) -> Result<(), String> {
        self.0 = changed.map_err(|error| error.to_string())?;
        let _ = self.0.warnings();
        Ok(())
    }
}

impl Handler for Configuration {
    fn schema(&self) -> &str {
        config::SCHEMA
    }

    fn schema_source(&self, schema: &str) -> Option<&str> {
        config::module_source(schema)
    }

    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        self.0.print(path, format, print_default).map_err(|error| error.to_string())
    }

    fn get_state(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        let state = State::at(path).and_then(|state| state.print(path, format, print_default));
        state.map_err(|error| error.to_string())
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.change(self.0.set(path, config))
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.change(self.0.add(path, config))
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.change(self.0.remove(path))
    }

    fn extension(&mut self, call: &Extension) -> Result<String, String> {
        let candidate = match call {
            Extension::DryRun(Change::Set { path, config }) => self.0.set(path, config),
            Extension::DryRun(Change::Add { path, config }) => self.0.add(path, config),
            Extension::DryRun(Change::Remove { path }) => self.0.remove(path),
            Extension::Commit { config, .. } => self.0.set("/", config),
            _ => return Ok(String::new()),
        };
        let candidate = candidate.map_err(|error| error.to_string())?;
        Ok(config::Difference::between(self.0.config(), candidate.config()).to_string())
    }
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
