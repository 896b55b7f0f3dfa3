// SPDX-License-Identifier: Apache-2.0
//! The control socket, from both ends, around an instance that keeps its configuration in a map.
//!
//! Byte sequences marked as captured were recorded between deployed clients and gateways.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::task::Poll;
use std::time::Duration;
use vita::clock::Instant;

use crate::support::instance::while_serving;
use proptest::prelude::*;
use vita::leader::rundir::RunDir;
use vita::leader::{Client, ClientError, Edit, Handler, Query, Request, Server};
use vita::yang::format::Format;

/// An instance that stores whatever it is given.
#[derive(Default)]
struct Memory {
    config: BTreeMap<String, String>,
    defaults_asked_for: bool,
    /// Whether a change is over only when `under_way` is taken away.
    slow: bool,
    under_way: bool,
}

impl Handler for Memory {
    fn schema(&self) -> &str {
        "vita-esp-gateway"
    }

    fn schema_source(&self, schema: &str) -> Option<&str> {
        (schema == self.schema()).then_some("module vita-esp-gateway {\n  // METADATA\n}\n")
    }

    fn get_config(&mut self, path: &str, _: Format, print_default: bool) -> Result<String, String> {
        self.defaults_asked_for = print_default;
        self.config.get(path).cloned().ok_or_else(|| format!("{path}: not found"))
    }

    fn get_state(&mut self, path: &str, _: Format, _: bool) -> Result<String, String> {
        match path {
            "/gateway-state/private-router" => Ok(String::new()),
            "/many" => Ok("x".repeat(LARGE)),
            _ => Err(format!("{path}: not found")),
        }
    }

    fn is_busy(&self) -> bool {
        self.under_way
    }

    fn outcome(&mut self) -> Poll<Result<Option<String>, String>> {
        if self.under_way { Poll::Pending } else { Poll::Ready(Ok(None)) }
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        assert!(!self.under_way, "one change at a time");
        self.under_way = self.slow;
        if config == "99999" {
            return Err(format!("{path}: 99999 is not in 0..8923"));
        }
        self.config.insert(path.to_owned(), config.to_owned());
        Ok(())
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.set_config(path, config)
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.config.remove(path).map(|_| ()).ok_or_else(|| format!("{path}: not found"))
    }
}

/// A server in a directory of its own, and the clock it is told.
struct Instance {
    directory: tempfile::TempDir,
    server: Server,
    memory: Memory,
    now: Instant,
}

impl Instance {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(&directory.path().join("socket")).unwrap();
        let memory = Memory { config: BTreeMap::from([("/mtu".into(), "8923".into())]), ..Memory::default() };
        Self { directory, server, memory, now: Instant::now() }
    }

    fn connect(&mut self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("socket")).unwrap();
        stream.set_nonblocking(true).unwrap();
        self.turn();
        stream
    }

    fn turn(&mut self) {
        self.server.service(self.now, &mut self.memory);
    }

    /// Sends, and returns everything that comes back until nothing moves any more; and whether the
    /// connection survived.
    fn exchange(&mut self, peer: &mut UnixStream, mut bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut received = Vec::new();
        let mut quiet_turns = 0;
        while quiet_turns < 2 {
            let sent = match peer.write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => bytes.len(),
            };
            bytes = &bytes[sent..];
            self.turn();
            quiet_turns += 1;
            let before = received.len();
            if !drain(peer, &mut received) {
                return (received, false);
            }
            if sent > 0 || received.len() > before {
                quiet_turns = 0;
            }
        }
        (received, true)
    }

    /// Whether a connection waits to be written to, by its own account.
    fn is_busy(&self) -> bool {
        let mut fds = Vec::new();
        self.server.poll_fds(&mut fds);
        fds.iter().any(|fd| fd.events & libc::POLLOUT != 0)
    }

    fn connections(&self) -> usize {
        let mut fds = Vec::new();
        self.server.poll_fds(&mut fds);
        fds.len() - 2
    }

    /// One request on a fresh connection.
    fn ask(&mut self, bytes: &str) -> String {
        let mut peer = self.connect();
        let (answer, alive) = self.exchange(&mut peer, bytes.as_bytes());
        assert!(alive, "the connection was closed after {bytes:?}");
        String::from_utf8(answer).unwrap()
    }
}

/// Reads what is there; whether the connection is still open.
fn drain(peer: &mut UnixStream, into: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 1 << 16];
    loop {
        match peer.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => into.extend_from_slice(&chunk[..count]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn framed(payload: &str) -> String {
    format!("{}\n{payload}", payload.len())
}

#[test]
fn captured_requests_get_the_captured_answers() {
    let mut instance = Instance::start();
    for (request, answer) in [
        (
            "13\ndescribe {\n}\n",
            "82\ndescribe {\n  default-schema vita-esp-gateway;\n  native-schema vita-esp-gateway;\n}\n",
        ),
        (
            "95\nget-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            "30\nget-config {\n  config 8923;\n}\n",
        ),
        (
            "72\nset-config {\n  config 1500;\n  path \"/mtu\";\n  schema vita-esp-gateway;\n}\n",
            "15\nset-config {\n}\n",
        ),
        (
            "121\nadd-config {\n  config \"{\\n  ip 7.7.7.7;\\n  queue 2;\\n}\\n\";\n  path \"/route4[id=r1]/gateway\";\n  schema vita-esp-gateway;\n}\n",
            "15\nadd-config {\n}\n",
        ),
        (
            "119\nget-state {\n  format yang;\n  path \"/gateway-state/private-router\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            "26\nget-state {\n  state '';\n}\n",
        ),
    ] {
        assert_eq!(instance.ask(request), answer);
    }
    assert_eq!(instance.memory.config["/mtu"], "1500");
    assert_eq!(instance.memory.config["/route4[id=r1]/gateway"], "{\n  ip 7.7.7.7;\n  queue 2;\n}\n");
    instance.memory.config.insert("/route4[id=r1]/gateway[ip=7.7.7.7]".into(), String::new());
    assert_eq!(
        instance.ask(
            "90\nremove-config {\n  path \"/route4[id=r1]/gateway[ip=7.7.7.7]\";\n  schema vita-esp-gateway;\n}\n"
        ),
        "18\nremove-config {\n}\n"
    );
}

#[test]
fn a_client_is_given_the_schema_it_does_not_know() {
    let answer = Instance::start().ask("42\nget-schema {\n  schema vita-esp-gateway;\n}\n");
    assert_eq!(
        answer,
        framed("get-schema {\n  source \"module vita-esp-gateway {\\n  // METADATA\\n}\\n\";\n}\n")
    );
}

#[test]
fn a_refusal_is_an_error_and_a_status() {
    let mut instance = Instance::start();
    for (request, answer) in [
        (
            "109\nget-config {\n  format yang;\n  path \"/route4[id=nosuch]\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n".to_owned(),
            "get-config {\n  error \"/route4[id=nosuch]: not found\";\n  status 1;\n}\n",
        ),
        (
            framed("set-config { schema vita-esp-gateway; path \"/mtu\"; config 99999; }"),
            "set-config {\n  error \"/mtu: 99999 is not in 0..8923\";\n  status 1;\n}\n",
        ),
        (
            framed("get-config { schema nosuch; path \"/\"; }"),
            "get-config {\n  error \"unsupported schema: nosuch (this instance serves vita-esp-gateway)\";\n  status 1;\n}\n",
        ),
        (
            framed("get-schema { schema nosuch; }"),
            "get-schema {\n  error \"unsupported schema: nosuch (this instance serves vita-esp-gateway)\";\n  status 1;\n}\n",
        ),
        (
            framed("get-config { schema vita-esp-gateway; path \"/mtu\"; format yaml; }"),
            "get-config {\n  error \"Not valid output format: yaml (expected one of yang, xpath, influxdb, json)\";\n  status 1;\n}\n",
        ),
    ] {
        assert_eq!(instance.ask(&request), framed(answer));
    }
}

#[test]
fn a_change_that_takes_its_time_delays_other_changes_and_nothing_else() {
    let mut instance = Instance::start();
    instance.memory.slow = true;
    let set = |value: u32| {
        framed(&format!("set-config {{ schema vita-esp-gateway; path \"/mtu\"; config {value}; }}"))
    };
    let get = "95\nget-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n";
    let done = "15\nset-config {\n}\n";
    let mut peers: Vec<UnixStream> = (0..4).map(|_| instance.connect()).collect();
    for (peer, value) in peers.iter_mut().zip([1001, 1002, 1003, 1004]) {
        assert_eq!(instance.exchange(peer, set(value).as_bytes()), (vec![], true));
    }
    assert_eq!(instance.memory.config["/mtu"], "1001");
    assert_eq!(instance.ask(get), "30\nget-config {\n  config 1001;\n}\n");
    assert!(!instance.is_busy(), "the loop would spin");
    // Nobody who waits for a change of others is stuck.
    instance.now += Duration::from_secs(3600);
    instance.turn();

    instance.memory.under_way = false;
    assert_eq!(instance.exchange(&mut peers[0], b""), (done.into(), true));
    assert_eq!(instance.memory.config["/mtu"], "1002", "the next one in the order of their coming");
    // One leaves while its change is made, one while it waits.
    drop(peers.remove(1));
    drop(peers.remove(1));
    instance.memory.under_way = false;
    let last = peers.len() - 1;
    assert_eq!(instance.exchange(&mut peers[last], b""), (vec![], true));
    let mut value = instance.memory.config["/mtu"].clone();
    while value != "1004" {
        instance.memory.under_way = false;
        instance.turn();
        value = instance.memory.config["/mtu"].clone();
    }
    instance.memory.under_way = false;
    assert_eq!(instance.exchange(&mut peers[last], b""), (done.into(), true));
    instance.memory.slow = false;
    assert_eq!(instance.exchange(&mut peers[0], set(1005).as_bytes()), (done.into(), true));
}

#[test]
fn calls_of_one_request_are_made_one_after_the_other() {
    let mut instance = Instance::start();
    instance.memory.slow = true;
    let set =
        |value: u32| format!("set-config {{ schema vita-esp-gateway; path \"/mtu\"; config {value}; }}");
    let mut peer = instance.connect();
    let both = framed(&[set(1001), set(1002)].concat());
    assert_eq!(instance.exchange(&mut peer, both.as_bytes()), (vec![], true));
    assert_eq!(instance.memory.config["/mtu"], "1001");
    instance.memory.under_way = false;
    assert_eq!(instance.exchange(&mut peer, b""), (vec![], true));
    assert_eq!(instance.memory.config["/mtu"], "1002");
    instance.memory.under_way = false;
    let answer = framed("set-config {\n}\nset-config {\n}\n");
    assert_eq!(instance.exchange(&mut peer, b""), (answer.into(), true));
}

#[test]
fn there_are_no_alarms() {
    let mut instance = Instance::start();
    for (call, answer) in [
        (
            "get-alarms-state { schema ietf-alarms; }",
            "get-alarms-state {\n  state \"alarms {\\n  alarm-inventory {\\n  }\\n  alarm-list {\\n    number-of-alarms 0;\\n  }\\n  summary {\\n  }\\n}\\n\";\n}\n",
        ),
        (
            "get-alarms-state { schema ietf-alarms; path \"/alarms/alarm-list\"; }",
            "get-alarms-state {\n  state \"number-of-alarms 0;\\n\";\n}\n",
        ),
        (
            "get-alarms-state { schema ietf-alarms; path \"/alarms/alarm-list/alarm\"; format json; }",
            "get-alarms-state {\n  state \"{\\n  \\\"ietf-alarms:alarm\\\": []\\n}\\n\";\n}\n",
        ),
        (
            "get-alarms-state { schema vita-esp-gateway; }",
            "get-alarms-state {\n  error \"unsupported schema: vita-esp-gateway (alarms are described by ietf-alarms)\";\n  status 1;\n}\n",
        ),
        (
            "get-alarms-state { schema ietf-alarms; path \"/mtu\"; }",
            "get-alarms-state {\n  error \"Invalid path: Struct has no field named 'mtu'.\\n/ has alarms\";\n  status 1;\n}\n",
        ),
        (
            "set-alarm-operator-state { schema ietf-alarms; resource a; alarm-type-id b; alarm-type-qualifier ''; state ack; }",
            "set-alarm-operator-state {\n  success false;\n}\n",
        ),
        (
            "set-alarm-operator-state { schema nosuch; resource a; alarm-type-id b; alarm-type-qualifier ''; state ack; }",
            "set-alarm-operator-state {\n  error \"unsupported schema: nosuch (alarms are described by ietf-alarms)\";\n  status 1;\n}\n",
        ),
        (
            "set-alarm-operator-state { schema vita-esp-gateway; resource a; alarm-type-id b; alarm-type-qualifier ''; state ack; }",
            "set-alarm-operator-state {\n  error \"Could not locate alarm in alarm-list\";\n  status 1;\n}\n",
        ),
        ("purge-alarms { schema ietf-alarms; alarm-status any; }", "purge-alarms {\n  purged-alarms 0;\n}\n"),
        (
            "purge-alarms { schema vita-esp-gateway; alarm-status any; }",
            "purge-alarms {\n  purged-alarms 0;\n}\n",
        ),
        (
            "purge-alarms { schema nosuch; alarm-status any; }",
            "purge-alarms {\n  error \"unsupported schema: nosuch (alarms are described by ietf-alarms)\";\n  status 1;\n}\n",
        ),
        ("compress-alarms { schema vita-esp-gateway; }", "compress-alarms {\n  compressed-alarms 0;\n}\n"),
        ("compress-alarms { schema ietf-alarms; }", "compress-alarms {\n  compressed-alarms 0;\n}\n"),
    ] {
        assert_eq!(instance.ask(&framed(call)), framed(answer), "{call}");
    }
}

#[test]
fn a_listener_alone_may_change_the_configuration_until_it_leaves() {
    let mut instance = Instance::start();
    let attach = framed("attach-listener { schema vita-esp-gateway; }");
    let set =
        |value| framed(&format!("set-config {{ schema vita-esp-gateway; path \"/mtu\"; config {value}; }}"));
    let mut listener = instance.connect();
    let ok = instance.exchange(&mut listener, attach.as_bytes());
    assert_eq!(ok, (framed("attach-listener {\n}\n").into_bytes(), true));
    assert_eq!(
        instance.ask(&attach),
        framed("attach-listener {\n  error \"Listener already attached\";\n  status 1;\n}\n")
    );
    let refused = |rpc: &str| {
        let error = "Attempt to modify configuration while listener attached";
        framed(&format!("{rpc} {{\n  error \"{error}\";\n  status 1;\n}}\n"))
    };
    assert_eq!(instance.ask(&set(1)), refused("set-config"));
    let add = "add-config { schema vita-esp-gateway; path \"/route4\"; config ''; }";
    assert_eq!(instance.ask(&framed(add)), refused("add-config"));
    let remove = "remove-config { schema vita-esp-gateway; path \"/mtu\"; }";
    assert_eq!(instance.ask(&framed(remove)), refused("remove-config"));
    assert!(instance.ask(&framed("get-config { schema vita-esp-gateway; path \"/mtu\"; }")).contains("8923"));
    assert!(instance.exchange(&mut listener, set(2).as_bytes()).1);
    assert_eq!(instance.memory.config["/mtu"], "2");
    drop(listener);
    instance.turn();
    assert_eq!(instance.ask(&set(3)), framed("set-config {\n}\n"));
    assert_eq!(instance.ask(&attach), framed("attach-listener {\n}\n"));
}

#[test]
fn a_silent_listener_is_not_the_one_that_makes_room() {
    let mut instance = Instance::start();
    let mut listener = instance.connect();
    instance.exchange(&mut listener, framed("attach-listener { schema vita-esp-gateway; }").as_bytes());
    let mut idle = Vec::new();
    for _ in 0..300 {
        instance.now += Duration::from_millis(1);
        idle.push(instance.connect());
    }
    let (answer, alive) = instance.exchange(&mut listener, b"13\ndescribe {\n}\n");
    assert!(alive && answer.starts_with(b"82\n"));
}

#[test]
fn attach_notification_listener_closes_the_connection() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    let request = framed("attach-notification-listener {\n}\n");
    assert_eq!(instance.exchange(&mut peer, request.as_bytes()), (vec![], false));
}

#[test]
fn the_socket_for_notifications_accepts_and_is_silent() {
    let mut instance = Instance::start();
    let path = instance.directory.path().join("notifications");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let before = instance.connections();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_nonblocking(true).unwrap();
        crowd.push(stream);
        instance.turn();
    }
    assert!(instance.connections() - before < 50, "subscribers are bounded");
    let last = crowd.last_mut().unwrap();
    last.write_all(b"what they say is thrown away").unwrap();
    instance.turn();
    let mut heard = Vec::new();
    assert!(drain(crowd.last_mut().unwrap(), &mut heard) && heard.is_empty());
    crowd.clear();
    instance.turn();
    assert_eq!(instance.connections(), before, "who left is let go");
}

#[test]
fn the_revision_is_accepted_and_ignored_and_the_path_defaults_to_the_root() {
    let mut instance = Instance::start();
    instance.memory.config.insert("/".into(), "all".into());
    let request = framed("get-config { schema vita-esp-gateway; revision whatever; print-default true; }");
    assert_eq!(instance.ask(&request), framed("get-config {\n  config all;\n}\n"));
    assert!(instance.memory.defaults_asked_for);
    instance.ask(&framed("set-config { schema vita-esp-gateway; config other; }"));
    assert_eq!(instance.memory.config["/"], "other");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut instance = Instance::start();
    let mut request = String::new();
    let mut expected = String::new();
    for number in 0..500 {
        request +=
            &framed(&format!("set-config {{ schema vita-esp-gateway; path \"/mtu\"; config {number}; }}"));
        request += &framed("get-config { schema vita-esp-gateway; path \"/mtu\"; }");
        expected += "15\nset-config {\n}\n";
        expected += &framed(&format!("get-config {{\n  config {number};\n}}\n"));
    }
    assert_eq!(instance.ask(&request), expected);
}

#[test]
fn several_calls_in_one_request_are_answered_together() {
    let request = framed("describe {}\nget-config { schema vita-esp-gateway; path \"/mtu\"; }");
    let answer = "describe {\n  default-schema vita-esp-gateway;\n  native-schema vita-esp-gateway;\n}\nget-config {\n  config 8923;\n}\n";
    assert_eq!(Instance::start().ask(&request), framed(answer));
}

#[test]
fn an_empty_frame_gets_no_answer_and_does_no_harm() {
    assert_eq!(
        Instance::start().ask("0\n15\ndescribe {\n  }\n"),
        Instance::start().ask("13\ndescribe {\n}\n")
    );
}

#[test]
fn what_is_not_understood_closes_the_connection_without_an_answer() {
    let set_first = "set-config { schema vita-esp-gateway; path \"/mtu\"; config 1; }\n";
    for request in [
        "012\ndescribe {\n}\n".to_owned(),
        " 13\ndescribe {\n}\n".to_owned(),
        "13 \ndescribe {\n}\n".to_owned(),
        "13\r\ndescribe {\n}\n".to_owned(),
        "-1\n".to_owned(),
        "99999999999\n".to_owned(),
        framed("describe{}"),
        framed("describe {"),
        framed("describe { path \"/\"; }"),
        framed("explode { }"),
        framed("get-config { path \"/\"; }"),
        framed("get-config { schema vita-esp-gateway; colour red; }"),
        framed("get-config { schema vita-esp-gateway; print-default maybe; }"),
        framed("get-config { schema vita-esp-gateway; schema vita-esp-gateway; }"),
        framed("set-config { schema vita-esp-gateway; path \"/mtu\"; }"),
        framed(&format!("{set_first} explode {{ }}")),
    ] {
        let mut instance = Instance::start();
        let mut bystander = instance.connect();
        let mut peer = instance.connect();
        assert_eq!(instance.exchange(&mut peer, request.as_bytes()), (vec![], false), "{request:?}");
        assert_eq!(instance.connections(), 1);
        assert_eq!(instance.memory.config["/mtu"], "8923", "nothing of {request:?} may be carried out");
        let (answer, alive) = instance.exchange(&mut bystander, b"13\ndescribe {\n}\n");
        assert!(alive && !answer.is_empty(), "a bystander suffered from {request:?}");
    }
}

#[test]
fn bytes_that_are_no_text_close_the_connection() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    assert_eq!(instance.exchange(&mut peer, b"4\n\xff\xfe{}"), (vec![], false));
}

#[test]
fn answers_before_the_bad_request_still_arrive() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    let (answer, alive) = instance.exchange(&mut peer, b"13\ndescribe {\n}\nnonsense");
    assert!(!alive && answer.starts_with(b"82\ndescribe"));
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    let mut answer = Vec::new();
    for byte in b"13\ndescribe {\n}\n" {
        peer.write_all(&[*byte]).unwrap();
        instance.turn();
        assert!(drain(&mut peer, &mut answer));
    }
    assert!(answer.starts_with(b"82\n"));
}

#[test]
fn a_peer_that_stops_sending_still_gets_its_answers() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    peer.write_all(b"13\ndescribe {\n}\n").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    instance.turn();
    let mut answer = Vec::new();
    assert!(!drain(&mut peer, &mut answer), "the connection ends with the last answer");
    assert!(answer.starts_with(b"82\n"));
    assert_eq!(instance.connections(), 0);
}

#[test]
fn a_slow_reader_stalls_nobody_and_loses_nothing() {
    let mut instance = Instance::start();
    let mut slow = instance.connect();
    let request = framed("get-state { schema vita-esp-gateway; path \"/many\"; }");
    slow.write_all(request.repeat(3).as_bytes()).unwrap();
    instance.turn();
    assert!(instance.is_busy(), "more than a socket holds is still to be written");
    for _ in 0..10 {
        assert!(instance.ask("13\ndescribe {\n}\n").starts_with("82\n"));
    }
    let (answers, alive) = instance.exchange(&mut slow, b"");
    assert!(alive);
    let answer = framed(&format!("get-state {{\n  state {};\n}}\n", "x".repeat(LARGE)));
    assert!(answers == answer.repeat(3).as_bytes());
}

#[test]
fn a_peer_stuck_halfway_is_given_up_and_an_idle_one_is_not() {
    let mut instance = Instance::start();
    let mut idle = instance.connect();
    let mut stuck = instance.connect();
    assert!(instance.exchange(&mut stuck, b"13\ndesc").1);
    instance.now += Duration::from_secs(3600);
    assert!(!instance.exchange(&mut stuck, b"").1);
    let (answer, alive) = instance.exchange(&mut idle, b"13\ndescribe {\n}\n");
    assert!(alive && answer.starts_with(b"82\n"));
}

#[test]
fn any_number_of_idle_connections_leave_room_for_one_more() {
    let mut instance = Instance::start();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(instance.connect());
        instance.now += Duration::from_millis(1);
    }
    assert!(instance.connections() < 100);
    assert!(instance.ask("13\ndescribe {\n}\n").starts_with("82\n"));
}

#[test]
fn a_crowd_cannot_hold_memory_without_end() {
    let mut instance = Instance::start();
    let part = [&b"67108864\n"[..], &vec![b'x'; 15 << 20]].concat();
    let mut crowd: Vec<_> = (0..12).map(|_| instance.connect()).collect();
    for peer in &mut crowd {
        instance.exchange(peer, &part);
    }
    assert!(instance.connections() < crowd.len());
    assert!(instance.ask("13\ndescribe {\n}\n").starts_with("82\n"));
}

#[test]
fn many_calls_in_one_request_are_refused() {
    let mut instance = Instance::start();
    let mut peer = instance.connect();
    let request = framed(&"describe {}\n".repeat(100_000));
    assert_eq!(instance.exchange(&mut peer, request.as_bytes()), (vec![], false));
}

#[test]
fn the_socket_is_for_its_owner() {
    let instance = Instance::start();
    let mode = std::fs::metadata(instance.directory.path().join("socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_disturb_the_others(
        bytes in prop::collection::vec(any::<u8>(), 0..300), prefix in prop::option::of("[0-9]{1,3}\n")
    ) {
        let mut instance = Instance::start();
        let mut hostile = instance.connect();
        let noise = [prefix.unwrap_or_default().as_bytes(), &bytes].concat();
        instance.exchange(&mut hostile, &noise);
        let answer = instance.ask("13\ndescribe {\n}\n");
        prop_assert!(answer.starts_with("82\n"));
    }

    #[test]
    fn random_messages_never_disturb_the_others(
        text in r#"(describe|get-config|set-config|x)? ?\{? ?(schema|path|config)? ?["'/a-z;\n{}\\]{0,30}\}?"#
    ) {
        let mut instance = Instance::start();
        let mut hostile = instance.connect();
        instance.exchange(&mut hostile, framed(&text).as_bytes());
        let answer = instance.ask("13\ndescribe {\n}\n");
        prop_assert!(answer.starts_with("82\n"));
    }
}

fn edit(path: &str, config: &str) -> Edit {
    Edit { schema: "vita-esp-gateway".into(), revision: None, path: path.into(), config: config.into() }
}

fn query(path: &str) -> Query {
    Query {
        schema: "vita-esp-gateway".into(),
        revision: None,
        path: path.into(),
        print_default: false,
        format: Some("yang".into()),
    }
}

#[test]
fn a_client_changes_and_reads_through_one_connection() {
    while_serving(&mut Memory::default(), |root| {
        let mut client = Client::connect_below(root, "paris").unwrap();
        let description = client.call(&Request::Describe).unwrap();
        assert_eq!(description.leaf("default-schema").as_deref(), Some("vita-esp-gateway"));
        let value = "{\n  note \"quotes \\\" and\ttabs\";\n}\n";
        let reply = client.call(&Request::SetConfig(edit("/a", value))).unwrap();
        assert_eq!((reply.status(), reply.error().as_deref()), (0, None));
        let reply = client.call(&Request::GetConfig(query("/a"))).unwrap();
        assert_eq!(reply.leaf("config").as_deref(), Some(value));
        let reply = client.call(&Request::GetConfig(query("/b"))).unwrap();
        assert_eq!((reply.status(), reply.error().as_deref()), (1, Some("/b: not found")));
    });
}

#[test]
fn an_instance_is_found_by_its_process_id_too() {
    while_serving(&mut Memory::default(), |root| {
        Client::connect_below(root, &std::process::id().to_string()).unwrap();
    });
}

#[test]
fn what_fits_an_answer_fits_a_request() {
    // Each line is longer when it is quoted, and longest where a request has most beside it.
    let line = "  net \"10.0.0.0/8\";\n";
    let quoted = line.len() + 3;
    let document = line.repeat((vita::leader::frame::MAX_REPLY - 100) / quoted);
    let path = format!("/{}", "x".repeat(1000));
    while_serving(&mut Memory::default(), |root| {
        let mut client = Client::connect_below(root, "paris").unwrap();
        client.call(&Request::SetConfig(edit(&path, &document))).unwrap();
        let reply = client.call(&Request::GetConfig(query(&path))).unwrap();
        assert!(reply.leaf("config").as_ref() == Some(&document));
        client.call(&Request::SetConfig(edit(&path, &reply.leaf("config").unwrap()))).unwrap();
    });
}

#[test]
fn a_document_of_megabytes_goes_there_and_back() {
    while_serving(&mut Memory::default(), |root| {
        let mut client = Client::connect_below(root, "paris").unwrap();
        let document: String =
            (0..10_000).map(|n| format!("route4 {{\n  id r{n};\n  net \"10.0.0.0/8\";\n}}\n")).collect();
        client.call(&Request::SetConfig(edit("/", &document))).unwrap();
        let reply = client.call(&Request::GetConfig(query("/"))).unwrap();
        assert!(reply.leaf("config").as_ref() == Some(&document));
    });
}

#[test]
fn a_missing_instance_is_named() {
    let root = tempfile::tempdir().unwrap();
    for id in ["tokyo", "../etc", ""] {
        let error = Client::connect_below(root.path(), id).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("Could not connect to config leader socket on Snabb instance '{id}'.")
        );
    }
}

#[test]
fn a_client_understands_a_connection_that_ends_without_an_answer() {
    let root = tempfile::tempdir().unwrap();
    let mut run_dir = RunDir::create(root.path()).unwrap();
    let listener = UnixListener::bind(run_dir.socket()).unwrap();
    run_dir.claim("paris").unwrap();
    let mut client = Client::connect_below(root.path(), "paris").unwrap();
    drop(listener.accept().unwrap());
    let error = client.call(&Request::Describe).unwrap_err();
    assert!(matches!(error, ClientError::Unanswered), "{error}");
}

/// Larger than the buffers of a unix socket.
const LARGE: usize = 2 << 20;
