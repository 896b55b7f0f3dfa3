// SPDX-License-Identifier: Apache-2.0
//! The process of a gateway: its log when nobody reads it, its privileges, and the keys in its memory. The gateways have
//! workers but no devices (`pci 00:00.0`), so these stories need no namespace; they look into another process, so they need root.

use crate::support::VITA;
use crate::support::wait::eventually;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use vita::config::Document;
use vita::control::{Options, Supervisor};

/// A gateway called t.
struct Daemon {
    directory: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start(configuration: &str, error: impl Into<Stdio>) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let process = Daemon::spawn(directory.path(), configuration, error);
        let daemon = Daemon { directory, process };
        daemon.await_answer();
        daemon
    }

    fn with_log(configuration: &str) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let process = Daemon::spawn(directory.path(), configuration, log(directory.path()));
        let daemon = Daemon { directory, process };
        daemon.await_answer();
        daemon
    }

    fn spawn(directory: &Path, configuration: &str, error: impl Into<Stdio>) -> Child {
        fs::write(directory.join("start.conf"), configuration).unwrap();
        let mut command = Command::new(VITA);
        command.args(["--name", "t", "--config"]).arg(directory.join("start.conf"));
        command.env("SNABB_SHM_ROOT", directory.join("run")).env("VITA_STATE_DIR", directory.join("state"));
        command.stderr(error).spawn().unwrap()
    }

    /// Ends and starts it, with another configuration.
    fn restart(&mut self, signal: &str, configuration: &str) {
        self.end(signal);
        self.process = Daemon::spawn(self.directory.path(), configuration, log(self.directory.path()));
        self.await_answer();
    }

    fn await_answer(&self) {
        eventually("the gateway answers", || self.config(&["get", "t", "/mtu"], "").status.success());
    }

    fn config(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(VITA);
        command.arg("config").args(arguments).env("SNABB_SHM_ROOT", self.directory.path().join("run"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that needs no input may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.config(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.config(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn end(&mut self, signal: &str) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let mut status = None;
        eventually("the gateway ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    /// How often these bytes stand in its memory.
    fn copies(&self, needle: &[u8]) -> usize {
        let mut memory = File::open(format!("/proc/{}/mem", self.process.id())).unwrap();
        let mut count = 0;
        for line in self.proc("maps").lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            if !rest.starts_with('r') || rest.contains("[v") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
            let mut bytes = vec![0; (end - start) as usize];
            // Maps of devices and what was unmapped meanwhile cannot be read.
            if memory.seek(SeekFrom::Start(start)).and_then(|_| memory.read_exact(&mut bytes)).is_ok() {
                let (first, last) = (needle[0], needle.len());
                let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
                count += starts.filter(|(at, _)| bytes[*at..].starts_with(&needle[..last])).count();
            }
        }
        count
    }

    /// The same for a key, as bytes and as text of either case.
    fn copies_of_key(&self, key: &str) -> usize {
        let bytes: Vec<u8> =
            (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
        self.copies(&bytes) + self.copies(key.as_bytes()) + self.copies(key.to_uppercase().as_bytes())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!(
                "--- log:\n{}",
                fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
        }
    }
}

fn log(directory: &Path) -> File {
    File::options().create(true).append(true).open(directory.join("log")).unwrap()
}

/// A change, a look at the state, and the end, as if everybody were reading the log.
fn works_and_ends(mut daemon: Daemon) {
    for number in 0..50 {
        daemon.ok(&["set", "t", "/mtu"], &format!("{}", 1300 + number));
    }
    assert_eq!(daemon.ok(&["get", "t", "/mtu"], "").trim(), "1349");
    assert!(daemon.ok(&["get-state", "t", "/gateway-state"], "").contains("private-router"));
    let start = Instant::now();
    assert_eq!(daemon.end("TERM").code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "it waited for its log: {:?}", start.elapsed());
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    // Until the next byte would wait.
    let is_full = |writer: &io::PipeWriter| {
        let mut fds = [libc::pollfd { fd: writer.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
        !vita::wait::poll(&mut fds, Some(Duration::ZERO)).unwrap()
    };
    while !is_full(&writer) {
        writer.write_all(&[b'.'; 4096]).unwrap();
    }
    works_and_ends(Daemon::start(&gateway(""), writer.try_clone().unwrap()));
    drop(writer);
    // Nothing of it was written by anybody else.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.iter().all(|byte| *byte == b'.'));
}

#[test]
fn a_closed_standard_error_is_no_reason_to_end() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    works_and_ends(Daemon::start(&gateway(""), writer));

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("start.conf"), gateway("")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --name t --config \"$1\" 2>&- >&- <&-", VITA]);
    command.arg(directory.path().join("start.conf"));
    command.env("SNABB_SHM_ROOT", directory.path().join("run"));
    let process = command.env("VITA_STATE_DIR", directory.path().join("state")).spawn().unwrap();
    let daemon = Daemon { directory, process };
    daemon.await_answer();
    works_and_ends(daemon);
}

#[test]
fn a_full_disk_under_the_log_is_no_reason_to_end() {
    works_and_ends(Daemon::start(&gateway(""), File::options().write(true).open("/dev/full").unwrap()));
}

#[test]
fn the_process_has_what_it_needs_and_its_workers_have_nothing() {
    let daemon = Daemon::with_log(&gateway(""));
    let limits = daemon.proc("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let mut names = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.process.id())).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap().trim().to_owned();
        let status = fs::read_to_string(task.join("status")).unwrap();
        let value = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_once(':').unwrap().1.trim().to_owned()
        };
        let is_worker = name.starts_with("vita-queue");
        assert_eq!(value("NoNewPrivs"), "1", "{name}");
        assert_eq!(value("Seccomp:"), if is_worker { "2" } else { "0" }, "{name}");
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            let capabilities = u64::from_str_radix(&value(set), 16).unwrap();
            let allowed = if is_worker || !matches!(set, "CapPrm" | "CapEff") { 0 } else { THE_FIVE };
            assert_eq!(capabilities & !allowed, 0, "{set} of {name}: {capabilities:x}");
        }
        names.push(name);
    }
    assert!(["vita-queue1", "vita-log"].iter().all(|name| names.iter().any(|one| one == name)), "{names:?}");
    let locked = daemon.proc("status").lines().find(|line| line.starts_with("VmLck")).unwrap().to_owned();
    assert_ne!(locked.split_whitespace().nth(1), Some("0"), "memory is not locked: {}", daemon.log());
}

#[test]
fn a_process_of_the_same_user_cannot_look_into_it() {
    let daemon = Daemon::with_log(&gateway(""));
    // With the same capabilities, so that nothing is in the way but that it is not dumpable.
    let environment = format!("/proc/{}/environ", daemon.process.id());
    let five = "-all,+net_admin,+net_raw,+bpf,+ipc_lock,+sys_nice";
    let mut look = Command::new("setpriv");
    let output = look.args(["--bounding-set", five, "cat", &environment]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    // As is possible with another process of this user.
    let own = format!("/proc/{}/environ", std::process::id());
    assert!(fs::read(&own).is_ok());
}

#[test]
fn a_key_that_was_replaced_is_nowhere_in_memory() {
    let [old, new] = ["a1", "5d"].map(key);
    let daemon = Daemon::with_log(&gateway(&old));
    assert!(daemon.copies_of_key(&old) > 0, "it can be found");
    daemon.ok(&["set", "t", "/route4[id=r0]/preshared-key"], &new);
    assert!(daemon.copies_of_key(&new) > 0);
    let start = Instant::now();
    eventually("the old key is gone", || daemon.copies_of_key(&old) == 0);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    // So it is with a route that is removed.
    daemon.ok(&["remove", "t", "/route4[id=r0]"], "");
    eventually("the new key is gone", || daemon.copies_of_key(&new) == 0);
}

#[test]
fn what_is_asked_for_leaves_no_copy_of_a_key() {
    let [shared, sa] = [key("a1"), key("7e")[..32].to_owned()];
    for configuration in [gateway(&shared), gateway(&shared) + &association(&sa, "")] {
        let daemon = Daemon::with_log(&configuration);
        let keys = if configuration.contains(&sa) { vec![&shared, &sa] } else { vec![&shared] };
        // What the start has left on its way is gone once it is on disk.
        eventually("the start is over", || daemon.directory.path().join("state/t/00000001.conf").exists());
        daemon.ok(&["get", "t", "/mtu"], "");
        let count = || keys.iter().map(|key| daemon.copies_of_key(key)).collect::<Vec<_>>();
        let before = count();
        for format in ["yang", "xpath", "json"] {
            assert!(daemon.ok(&["get", "--format", format, "t", "/"], "").contains(shared.as_str()));
        }
        let printed = daemon.ok(&["get", "t", "/"], "");
        daemon.ok(&["set", "--dry-run", "t", "/"], &printed);
        daemon.refused(&["set", "t", "/"], &(printed.clone() + "nonsense 1;"));
        let mut after = Vec::new();
        eventually("there are as many copies as before", || {
            after = count();
            after <= before
        });
        assert!(before.iter().all(|count| *count <= COPIES_IN_USE), "{before:?}");
    }
}

#[test]
fn a_configured_key_goes_on_behind_what_it_may_have_used() {
    let configuration = |more: &str| gateway(&key("a1")) + &association(&key("7e")[..32], more);
    let mut daemon = Daemon::with_log(&configuration(""));
    let begins = |daemon: &Daemon| -> Vec<String> {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| line.split_once("goes on after number "));
        lines.map(|(_, number)| number.to_owned()).collect()
    };
    eventually("it begins", || begins(&daemon) == ["0"]);
    // Orderly: it has not sent anything.
    daemon.restart("TERM", &configuration(""));
    eventually("it begins", || begins(&daemon).len() == 2);
    assert_eq!(begins(&daemon)[1], "0");
    // Not orderly: it may have used the whole block.
    daemon.restart("KILL", &configuration(""));
    eventually("it begins", || begins(&daemon).len() == 3);
    assert_eq!(begins(&daemon)[2], "4294901760");
    daemon.restart("KILL", &configuration("sequence-number 9000000000;"));
    eventually("it begins", || begins(&daemon).len() == 4);
    assert_eq!(begins(&daemon)[3], "9000000000");
    // The key itself is not in the file.
    let ledger = fs::read_to_string(daemon.directory.path().join("state/t/ledger")).unwrap();
    assert!(!ledger.contains(&key("7e")[..32]), "{ledger}");
}

#[test]
fn a_key_that_cannot_be_shown_to_be_fresh_is_refused_without_a_sequence_number() {
    let plain = gateway(&key("a1")) + "data-plane true;\n";
    let mut daemon = Daemon::with_log(&plain);
    let ledger = daemon.directory.path().join("state/t/ledger");
    eventually("there is a ledger", || ledger.exists());
    eventually("there is a history", || daemon.directory.path().join("state/t/00000001.conf").exists());
    daemon.end("TERM");
    // Somebody has taken the ledger away.
    fs::remove_file(&ledger).unwrap();
    daemon.process = Daemon::spawn(daemon.directory.path(), &plain, log(daemon.directory.path()));
    daemon.await_answer();
    let sa = &key("7e")[..32];
    let said = daemon.refused(&["add", "t", "/outbound-sa"], &entry(sa, ""));
    assert!(said.contains("cannot be shown to be fresh") && said.contains("sequence-number"), "{said}");
    assert!(!said.contains(sa), "{said}");
    assert_eq!(daemon.ok(&["get", "t", "/outbound-sa"], "").trim(), "");
    daemon.ok(&["add", "t", "/outbound-sa"], &entry(sa, "sequence-number 0;"));
    eventually("it begins", || daemon.log().contains("goes on after number 0"));
    // Now it is known.
    daemon.restart("KILL", &(plain.clone() + &association(sa, "").replace("data-plane true;", "")));
    eventually("it goes on", || daemon.log().contains("goes on after number 4294901760"));
}

#[test]
fn a_key_carries_nothing_before_the_disk_has_it_and_nobody_waits_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    // In the way of the file that is written first.
    let obstacle = directory.path().join("ledger.new");
    fs::create_dir(&obstacle).unwrap();
    let mut supervisor = Supervisor::new(Options::default()).unwrap();
    supervisor.remember_in(directory.path());
    let sa = association(&key("7e")[..32], "sequence-number 0;");
    let document = |mtu: u32| Document::parse(&format!("{}{sa}mtu {mtu};", gateway(&key("a1")))).unwrap();
    let now = vita::clock::Instant::now;
    let sends = |supervisor: &Supervisor| {
        supervisor.associations().iter().any(|sa| sa.direction == vita::sa::Direction::Outbound)
    };
    for mtu in [1300, 1400] {
        supervisor.apply(now(), document(mtu)).unwrap();
        supervisor.service(now());
        assert!(!sends(&supervisor));
    }
    fs::remove_dir(&obstacle).unwrap();
    eventually("the disk has it", || {
        supervisor.service(now());
        sends(&supervisor)
    });
    assert!(directory.path().join("ledger").exists());
}

#[test]
fn a_machine_resumed_from_a_snapshot_sends_nothing_under_a_configured_key_before_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut supervisor = Supervisor::new(Options::default()).unwrap();
    supervisor.remember_in(directory.path());
    let document = |more: &str, mtu: u32| {
        let sa = association(&key("7e")[..32], more);
        Document::parse(&format!("{}{sa}mtu {mtu};", gateway(&key("a1")))).unwrap()
    };
    let now = vita::clock::Instant::now;
    let sends = |supervisor: &Supervisor| {
        supervisor.associations().iter().any(|sa| sa.direction == vita::sa::Direction::Outbound)
    };
    let settle = |supervisor: &mut Supervisor| {
        eventually("the disk has it", || {
            supervisor.service(now());
            sends(supervisor)
        });
    };
    supervisor.apply(now(), document("", 1400)).unwrap();
    settle(&mut supervisor);
    supervisor.renew(now());
    assert!(!sends(&supervisor));
    // Other changes are not held up by it, and do not bring it back.
    supervisor.apply(now(), document("", 1300)).unwrap();
    supervisor.service(now());
    assert!(!sends(&supervisor));
    supervisor.apply(now(), document("sequence-number 5000000;", 1300)).unwrap();
    settle(&mut supervisor);
}

/// One worker, no devices, one route with this key if there is one.
fn gateway(key: &str) -> String {
    let interfaces = "private-interface4 { pci 00:00.0; ip 172.31.1.20; nexthop-ip 172.31.0.1; }
        public-interface4 { ip 172.31.1.30; queue 1; pci 00:00.0; nexthop-ip 172.31.0.1; }\n";
    let route = format!(
        "route4 {{ id r0; net \"10.0.0.0/24\"; spi 1000; preshared-key {key}; gateway {{ ip 192.0.2.1; queue 1; }} }}\n"
    );
    if key.is_empty() { interfaces.to_owned() } else { interfaces.to_owned() + &route }
}

fn association(key: &str, more: &str) -> String {
    format!("data-plane true;\noutbound-sa {}\n", entry(key, more))
}

fn entry(key: &str, more: &str) -> String {
    format!("{{ spi 300; queue 1; route r0; aead aes-gcm-16-icv; key {key}; salt 01020304; {more} }}")
}

/// A key of 64 digits that has no half in common with another.
fn key(seed: &str) -> String {
    (0..32u8)
        .map(|at| format!("{:02x}", at.wrapping_mul(41) ^ u8::from_str_radix(seed, 16).unwrap()))
        .collect()
}

/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE, CAP_BPF.
const THE_FIVE: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 23 | 1 << 39;
/// The document as text and as types, the key manager or the worker's SA, with room for another to be added.
const COPIES_IN_USE: usize = 5;
