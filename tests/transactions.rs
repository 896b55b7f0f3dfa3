// SPDX-License-Identifier: Apache-2.0
//! Changes of a gateway without devices (`pci 00:00.0`): workers run, packets do not. The real program is asked, but
//! for the last test, which says how long each step of a change takes as routes become more:
//! `cargo test --release --test vita grows -- --nocapture`.

use crate::support::VITA;
use crate::support::wait::eventually;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use vita::clock::Instant;
use vita::config::{Difference, Document};
use vita::control::{Options, Supervisor};

/// What an instance says of itself.
const DESCRIPTION: &str =
    "describe {\n  default-schema vita-esp-gateway;\n  native-schema vita-esp-gateway;\n}\n";

const INTERFACES: &str = "\
private-interface4 { pci 00:00.0; ip 172.31.1.20; nexthop-ip 172.31.0.1; }
public-interface4 { ip 172.31.1.30; queue 1; pci 00:00.0; nexthop-ip 172.31.0.1; }
public-interface4 { ip 172.31.1.40; queue 2; pci 00:00.0; nexthop-ip 172.31.0.1; }
";

fn gateway(routes: u32) -> String {
    let routes = (0..routes).map(|number| format!("route4 {{ id r{number}; {} }}\n", route(number)));
    INTERFACES.to_owned() + &routes.collect::<String>()
}

fn route(number: u32) -> String {
    let net = std::net::Ipv4Addr::from((10 << 24) + (number << 8));
    format!(
        "net \"{net}/24\"; spi {}; preshared-key {:064x}; \
         gateway {{ ip 192.0.2.1; queue 1; }} gateway {{ ip 192.0.2.2; queue 2; }}",
        1000 + number,
        number + 1
    )
}

/// A gateway called t and where it keeps its things.
struct Daemon {
    directory: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start(configuration: &str) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("start.conf"), configuration).unwrap();
        let process = Daemon::spawn(directory.path());
        let daemon = Daemon { directory, process };
        daemon.await_answer();
        daemon
    }

    fn spawn(directory: &Path) -> Child {
        Daemon::spawn_with(directory, &[])
    }

    fn spawn_with(directory: &Path, options: &[&str]) -> Child {
        let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(VITA);
        command.args(options).args(["--name", "t", "--config"]).arg(directory.join("start.conf"));
        let command = command.env("SNABB_SHM_ROOT", directory.join("run"));
        command.env("VITA_STATE_DIR", directory.join("state")).stderr(log).spawn().unwrap()
    }

    fn restart(&mut self) {
        self.signal("TERM");
        assert!(self.process.wait().unwrap().success());
        self.process = Daemon::spawn(self.directory.path());
        self.await_answer();
    }

    fn await_answer(&self) {
        eventually("the gateway answers", || self.config(&["get", "t", "/mtu"]).status.success());
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn config(&self, arguments: &[&str]) -> Output {
        self.begin(arguments).wait_with_output().unwrap()
    }

    /// A command that may take its time.
    fn begin(&self, arguments: &[&str]) -> Child {
        let root = self.directory.path().join("run");
        let mut command = Command::new(VITA);
        command.arg("config").args(arguments).env("SNABB_SHM_ROOT", root).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a command that succeeds prints.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.config(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that is refused prints.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.config(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn mtu(&self) -> String {
        self.ok(&["get", "t", "/mtu"]).trim().to_owned()
    }

    /// The history without the times.
    fn history(&self) -> Vec<String> {
        let text = self.ok(&["history", "t"]);
        text.lines().map(|line| [&line[..4], &line[26..]].concat()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_file_is_checked_without_a_gateway_and_told_where_it_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = directory.path().join("site.conf");
        fs::write(&path, text).unwrap();
        let output = Command::new(VITA).args(["config", "check"]).arg(&path).output().unwrap();
        let shown = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code().unwrap(), shown)
    };
    let (code, [out, err]) = check(&gateway(3));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("site.conf: valid (2 queues, 3 routes)\n"), "{out}");
    for (from, to, words) in [
        ("spi 1001;", "spi 99;", &["4", "spi: '99'", "^"][..]),
        ("spi 1001;", "spi 1000;", &["not unique: spi"]),
        ("queue 2; pci", "queue 2; mac zz; pci", &["3", "mac"]),
        ("queue 2; pci", "queue 2; mac 01:00:5e:00:00:01; pci", &["3", "the address of a group"]),
        ("route4", "rout4", &["4", "rout4"]),
    ] {
        let (code, [out, err]) = check(&gateway(3).replace(from, to));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(words.iter().all(|word| err.contains(word)), "{from} -> {to}: {err}");
    }
    let output = Command::new(VITA).args(["config", "check", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let daemon = Daemon::start(&gateway(3));
    let before = daemon.ok(&["get", "t", "/"]);
    let path = "/route4[id=r1]";
    for (arguments, shown) in [
        (&["set", "--dry-run", "t", "/mtu", "1400"][..], "~ mtu 8923 -> 1400\nroutes not touched: 3\n".to_owned()),
        (&["set", "--dry-run", "t", "/mtu", "8923"], "no change\n".to_owned()),
        (
            &["add", "--dry-run", "t", "/route4", &format!("{{ id new; {} }}", route(9))],
            "+ route4[id=new]: net 10.0.9.0/24, spi 1009, gateway 192.0.2.1 (queue 1) and 192.0.2.2 (queue 2)\n\
             routes not touched: 3\n"
                .to_owned(),
        ),
        (
            &["set", "--dry-run", "t", path, &route(7).replace("spi 1007", "spi 1001")],
            "~ route4[id=r1]: net 10.0.1.0/24 -> 10.0.7.0/24, preshared-key changed\n\
             SAs lost and negotiated anew: 1 of r1\nroutes not touched: 2\n"
                .to_owned(),
        ),
        (
            &["remove", "--dry-run", "t", "/public-interface4[ip=172.31.1.40]"],
            "- public-interface4[ip=172.31.1.40]: queue 2, no device queue 2, nexthop-ip 172.31.0.1\n\
             workers stopped, their SAs lost: queue 2\n"
                .to_owned(),
        ),
        (
            &["set", "--dry-run", "t", "/route4[id=r1]/gateway", "{ ip 192.0.2.1; queue 0; }"],
            "<argument>:1:23: /route4[id=r1]/gateway: queue".to_owned(),
        ),
        (
            &["remove", "--dry-run", "t", path],
            "- route4[id=r1]: net 10.0.1.0/24, spi 1001, gateway 192.0.2.1 (queue 1) and 192.0.2.2 (queue 2)\n\
             SAs lost: 1 of r1\nroutes not touched: 2\n"
                .to_owned(),
        ),
    ] {
        let output = daemon.config(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), shown.ends_with('\n'), "{arguments:?}: {text}");
        assert!(text.starts_with(&shown), "{arguments:?}: {text}");
    }
    // Fewer queues, other addresses, a slower exchange.
    let less = INTERFACES
        .lines()
        .take(2)
        .collect::<String>()
        .replace("ip 172.31.1.30", "nat-ip 192.0.2.9; ip 172.31.1.30");
    let less = daemon.file(
        "less.conf",
        &(less + "route4 { id r1; " + &route(1).replace("gateway { ip 192.0.2.2; queue 2; }", "") + " }"),
    );
    let shown = daemon.ok(&["load", "--dry-run", "t", less.to_str().unwrap()]);
    for line in [
        "workers stopped, their SAs lost: queue 2",
        "SAs lost: 2 of r0, r2",
        "exchanges under way begun anew, SAs kept: 1 of r1",
        "routes not touched: 0",
    ] {
        assert!(shown.contains(line), "no {line:?} in:\n{shown}");
    }
    assert_eq!(daemon.ok(&["get", "t", "/"]), before);
    assert_eq!(daemon.history().len(), 1);
}

#[test]
fn a_trial_ends_with_its_confirmation_or_with_the_configuration_before() {
    let daemon = Daemon::start(&gateway(3));
    let file = daemon.file("new.conf", &(gateway(2) + "mtu 1400;"));
    let file = file.to_str().unwrap();
    assert_eq!(daemon.refused(&["confirm", "t"]), "no configuration awaits confirmation\n");

    // Confirmed.
    let shown = daemon.ok(&["commit", "--confirm", "1h", "t", file]);
    assert!(
        shown.starts_with("~ mtu 8923 -> 1400\n- route4[id=r2]") && shown.contains("taken back in 3600 s"),
        "{shown}"
    );
    assert!(daemon.refused(&["set", "t", "/mtu", "1300"]).contains("a configuration is on trial"));
    assert!(daemon.history()[0].contains("(on trial for another"));
    assert_eq!(daemon.ok(&["confirm", "t"]), "");
    daemon.ok(&["set", "t", "/mtu", "1300"]);

    // Taken back by hand, also after one trial upon another.
    daemon.ok(&["commit", "--confirm", "1h", "t", file]);
    let other = daemon.file("other.conf", &(gateway(1) + "mtu 1200;"));
    daemon.ok(&["commit", "--confirm", "1h", "t", other.to_str().unwrap()]);
    daemon.ok(&["rollback", "t"]);
    assert_eq!(daemon.mtu(), "1300");
    daemon.refused(&["confirm", "t"]);

    // Taken back by itself.
    daemon.ok(&["commit", "--confirm", "1s", "t", file]);
    eventually("the trial ends", || daemon.mtu() == "1300");
    assert_eq!(daemon.history()[0], " 0  rollback, not confirmed in time: mtu 1400 -> 1300");
    daemon.ok(&["set", "t", "/mtu", "1301"]);

    // Refused: nothing to take back.
    let wrong = daemon.file("wrong.conf", &gateway(1).replace("pci 00:00.0", "ifname nosuch0"));
    assert!(daemon.refused(&["commit", "--confirm", "1h", "t", wrong.to_str().unwrap()]).contains("nosuch0"));
    assert_eq!(daemon.mtu(), "1301");
    daemon.ok(&["set", "t", "/mtu", "1302"]);
}

#[test]
fn every_configuration_of_the_history_can_be_returned_to_also_after_a_restart() {
    let mut daemon = Daemon::start(&gateway(2));
    let mut texts = vec![daemon.ok(&["get", "t", "/"])];
    for number in 5..9 {
        daemon.ok(&["add", "t", "/route4", &format!("{{ id r{number}; {} }}", route(number))]);
        texts.push(daemon.ok(&["get", "t", "/"]));
    }
    daemon.ok(&["remove", "t", "/route4[id=r0]"]);
    daemon.ok(&["set", "t", "/mtu", "8923"]);
    let expected = [
        " 0  remove /route4[id=r0]: 1 route removed (r0)",
        " 1  add /route4: 1 route added (r8)",
        " 2  add /route4: 1 route added (r7)",
    ];
    assert_eq!(daemon.history()[..3], expected);
    assert_eq!(daemon.ok(&["rollback", "t", "5"]).lines().count(), 5);
    assert_eq!(daemon.ok(&["get", "t", "/"]), texts[0]);
    daemon.ok(&["rollback", "t", "2"]);
    assert_eq!(daemon.ok(&["get", "t", "/"]), texts[4]);

    let listed = daemon.history();
    daemon.restart();
    // It starts with its file, which is not the newest.
    assert_eq!(daemon.history().len(), listed.len() + 1);
    assert_eq!(daemon.history()[1][4..], listed[0][4..]);
    daemon.restart();
    assert_eq!(daemon.history().len(), listed.len() + 1, "the same once more is not news");
    daemon.ok(&["rollback", "t"]);
    assert_eq!(daemon.ok(&["get", "t", "/"]), texts[4]);
    for (number, shown) in [("0", "the one that runs"), ("99", "no configuration 99")] {
        assert!(daemon.refused(&["rollback", "t", number]).contains(shown));
    }
    let state = daemon.directory.path().join("state/t");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert!(fs::read_dir(&state).unwrap().all(|file| mode(&file.unwrap().path()) == 0o600));
}

#[test]
fn a_state_directory_that_cannot_be_used_stops_no_change() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state"), "in the way").unwrap();
    fs::write(directory.path().join("start.conf"), gateway(1)).unwrap();
    let process = Daemon::spawn(directory.path());
    let daemon = Daemon { directory, process };
    daemon.await_answer();
    daemon.ok(&["set", "t", "/mtu", "1400"]);
    daemon.ok(&["rollback", "t"]);
    assert_eq!(daemon.mtu(), "8923");
    assert!(
        daemon.log().contains("WARN") && daemon.log().contains("end with this process"),
        "{}",
        daemon.log()
    );
}

#[test]
fn sighup_has_the_file_read_again_and_a_wrong_one_changes_nothing() {
    let daemon = Daemon::start(&gateway(2));
    daemon.file("start.conf", &(gateway(2) + "mtu 1400;"));
    daemon.signal("HUP");
    eventually("the file is read", || daemon.mtu() == "1400");
    let before = daemon.ok(&["get", "t", "/"]);
    daemon.file("start.conf", "mtu 1300;\nmtu many;\n");
    daemon.signal("HUP");
    eventually("the error is told", || daemon.log().contains("nothing is changed"));
    assert!(daemon.log().contains("start.conf") && daemon.log().contains('2'), "{}", daemon.log());
    assert_eq!(daemon.ok(&["get", "t", "/"]), before);
}

#[test]
fn a_reload_that_would_remove_everything_is_refused_unless_it_is_allowed() {
    let mut daemon = Daemon::start(&gateway(2));
    let before = daemon.ok(&["get", "t", "/"]);
    let whole = gateway(2);
    let routes = whole.find("route4").unwrap();
    let public = whole.find("public-interface4").unwrap();
    for (place, (text, missing)) in [
        ("", "configuration"),
        (" // all of it is gone\n", "configuration"),
        ("mtu 1400;\n", "route"),
        // Cut between two statements, where no reader could tell.
        (&whole[..routes], "route"),
        (&format!("{}{}", &whole[..public], &whole[routes..]), "public interface"),
        (&whole[public..], "private interface"),
        // Cut inside of one.
        (&whole[..routes + 30], "start.conf:4:21: a quoted string"),
    ]
    .into_iter()
    .enumerate()
    {
        daemon.file("start.conf", text);
        daemon.signal("HUP");
        let refusals = || daemon.log().matches("nothing is changed: ").count();
        eventually("the refusal is told", || refusals() == place + 1);
        let log = daemon.log();
        let last = log.rsplit("nothing is changed: ").next().unwrap();
        let expected = format!("the file has no {missing}, and the running configuration has");
        assert!(last.starts_with(&expected) || last.contains(missing), "{last}");
        assert_eq!(daemon.ok(&["get", "t", "/"]), before, "{text}");
    }
    // One that removes a part is what reloads are for.
    daemon.file("start.conf", &gateway(1));
    daemon.signal("HUP");
    eventually("a route is gone", || !daemon.ok(&["get", "t", "/"]).contains("id r1;"));

    daemon.signal("TERM");
    assert!(daemon.process.wait().unwrap().success());
    daemon.process = Daemon::spawn_with(daemon.directory.path(), &["--allow-empty"]);
    daemon.await_answer();
    assert!(daemon.ok(&["get", "t", "/"]).contains("id r0;"));
    daemon.file("start.conf", "");
    daemon.signal("HUP");
    eventually("all is gone", || daemon.ok(&["get", "t", "/"]) == "\n");
    // At the start there is nothing that an empty file could remove.
    daemon.restart();
    assert_eq!(daemon.ok(&["get", "t", "/"]), "\n");
    assert!(daemon.log().contains("the file holds no configuration"), "{}", daemon.log());
}

#[test]
fn a_pipe_is_no_configuration_file() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("start.conf");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Nobody will ever write to it.
    let mut process = Daemon::spawn(directory.path());
    let mut status = None;
    eventually("the daemon gives up", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("start.conf: expected a regular file"), "{log}");

    // The same when it is read again.
    fs::remove_file(&pipe).unwrap();
    let daemon = Daemon::start(&gateway(1));
    let file = daemon.directory.path().join("start.conf");
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    daemon.signal("HUP");
    eventually("the log says so", || daemon.log().contains("nothing is changed: "));
    assert_eq!(daemon.mtu(), "8923");
}

#[test]
fn clients_without_a_descriptor_are_sent_away_and_cost_no_time() {
    let daemon = Daemon::start(&gateway(1));
    let pid = daemon.process.id();
    let limit = |soft: &str| {
        let pid = pid.to_string();
        let nofile = format!("--nofile={soft}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &nofile]).status().unwrap().success());
    };
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let figures = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        figures.map(|figure| figure.parse::<u64>().unwrap()).sum()
    };
    let usual = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let usual: Vec<&str> =
        usual.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(usual[3], usual[4], "the soft limit is the hard one");
    eventually("the last client has gone", || {
        let before = open();
        std::thread::sleep(Duration::from_millis(50));
        open() == before
    });
    // The lowest number that is free, so that there is none below the limit.
    let taken = |number: &u32| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    let free = (0..).find(|number| !taken(number)).unwrap();
    limit(&free.to_string());
    let socket = daemon.directory.path().join(format!("run/{pid}/config-leader-socket"));
    let mut clients: Vec<_> =
        (0..20).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let answer = std::io::Read::read(client, &mut [0]);
        assert!(matches!(answer, Ok(0)) || answer.is_err_and(|error| error.raw_os_error() == Some(104)));
    }
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 50, "the daemon spins");
    let log = daemon.log();
    assert_eq!(log.matches("no descriptor left").count(), 1, "{log}");
    limit(usual[3]);
    assert_eq!(daemon.mtu(), "8923");
}

#[test]
fn changes_of_several_clients_are_made_one_after_the_other() {
    let daemon = Daemon::start(&gateway(2));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let daemon = &daemon;
            scope.spawn(move || {
                for number in 0..3 {
                    let number = 100 + 10 * client + number;
                    daemon.ok(&["add", "t", "/route4", &format!("{{ id r{number}; {} }}", route(number))]);
                }
            });
        }
    });
    assert_eq!(daemon.ok(&["get", "t", "/"]).matches("route4 {").count(), 14);
    assert_eq!(daemon.history().len(), 13);
}

#[test]
fn a_change_waits_for_a_worker_without_cpu_and_says_so() {
    let daemon = Daemon::start(&gateway(1));
    let worker = Halted::thread_of(daemon.process.id(), "vita-queue1");
    let file = daemon.file("more.conf", &gateway(2));
    let change = daemon.begin(&["load", "t", file.to_str().unwrap()]);
    let waits = "worker of queue 1: has not carried out its commands";
    eventually("the log names the worker", || daemon.log().contains(waits));
    // Once, and others are answered meanwhile.
    assert_eq!(daemon.mtu(), "8923");
    assert_eq!(daemon.log().matches(waits).count(), 1);
    drop(worker);
    let output = change.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(daemon.ok(&["get", "t", "/route4[id=r1]/spi"]).contains("1001"));
    assert!(!daemon.log().contains("going back"), "{}", daemon.log());
}

/// A thread that gets no CPU.
struct Halted(libc::pid_t);

impl Halted {
    fn thread_of(process: u32, name: &str) -> Halted {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
        let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).unwrap().trim() == name;
        let task = tasks.into_iter().find(is_it).expect("the thread lives");
        let thread = Halted(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        thread.trace(libc::PTRACE_SEIZE);
        thread.trace(libc::PTRACE_INTERRUPT);
        let state = || fs::read_to_string(task.join("stat")).unwrap();
        eventually("the thread has stopped", || state().rsplit_once(") ").unwrap().1.starts_with('t'));
        thread
    }

    fn trace(&self, request: libc::c_uint) {
        // SAFETY: these requests involve no memory of ours.
        let result = unsafe { libc::ptrace(request, self.0, 0, 0) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Halted {
    /// It goes on.
    fn drop(&mut self) {
        // A thread has to be waited for before its tracer may let it go.
        // SAFETY: a null status is what the call allows.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL) };
        self.trace(libc::PTRACE_DETACH);
    }
}

#[test]
fn an_instance_of_another_make_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("by-name/old")).unwrap();
    let socket = UnixListener::bind(root.path().join("by-name/old/config-leader-socket")).unwrap();
    // It answers the first call and closes the connection upon one it does not know, as deployed instances do.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in socket.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 1000]);
            let _ = stream.read(&mut request);
            let _ = write!(stream, "{}\n{DESCRIPTION}", DESCRIPTION.len());
            let _ = stream.read(&mut request);
        }
    });
    for (arguments, name) in
        [(&["set", "--dry-run", "old", "/mtu", "1"][..], "--dry-run"), (&["history", "old"], "history")]
    {
        let mut command = Command::new(VITA);
        let output =
            command.arg("config").args(arguments).env("SNABB_SHM_ROOT", root.path()).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(shown.starts_with(&format!("the instance does not know {name}:")), "{shown}");
    }
}

#[test]
fn what_a_change_costs_grows_slowly_with_the_number_of_routes() {
    println!("{:>28} {:>10} {:>10} {:>10}", "routes", 100, 1000, 10_000);
    let columns = [100, 1000, 10_000].map(measure);
    for (row, (step, _)) in columns[0].iter().enumerate() {
        let times = columns.each_ref().map(|column| format!("{:>7.2} ms", column[row].1));
        println!("{step:>28} {}", times.join(" "));
    }
}

/// The steps of loading that many routes, and of changing one of them; in milliseconds, the best of a few.
fn measure(count: u32) -> Vec<(&'static str, f64)> {
    let mut best: Vec<(&str, f64)> = Vec::new();
    for _ in 0..5 {
        let mut steps = Vec::new();
        let mut last = Instant::now();
        let mut step = |name: &'static str| {
            steps.push((name, last.elapsed().as_secs_f64() * 1e3));
            last = Instant::now();
        };
        let text = gateway(count);
        let mut supervisor = Supervisor::new(Options::default()).unwrap();
        step("");
        let document = Document::parse(&text).unwrap();
        step("load: read and check");
        supervisor.apply(Instant::now(), document.clone()).unwrap();
        step("load: workers run it");
        let added = document.add("/route4", &format!("{{ id new; {} }}", route(20_000))).unwrap();
        step("add one: read and check");
        supervisor.apply(Instant::now(), added.clone()).unwrap();
        step("add one: workers run it");
        let changed = added.set("/route4[id=r50]", &route(20_001)).unwrap();
        step("change one: read and check");
        supervisor.apply(Instant::now(), changed.clone()).unwrap();
        step("change one: workers run it");
        let removed = changed.remove("/route4[id=r50]").unwrap();
        step("remove one: read and check");
        supervisor.apply(Instant::now(), removed.clone()).unwrap();
        step("remove one: workers run it");
        let shown = Difference::between(document.config(), removed.config()).summary();
        assert_eq!(shown, "1 route added (new), 1 route removed (r50)");
        step("difference, in words");
        let state = |path: &str| supervisor.state(path).and_then(|state| state.get(path, false)).unwrap();
        assert_eq!(state("/gateway-state").matches(" id ").count(), 2 * count as usize);
        step("state: all of it");
        state("/gateway-state/route[id=r51][queue=2]");
        step("state: one route");
        state("/gateway-state/private-router/route-errors");
        step("state: one leaf");
        assert_eq!(supervisor.document(), &removed);
        best = match best.len() {
            0 => steps,
            _ => best.into_iter().zip(steps).map(|((name, a), (_, b))| (name, a.min(b))).collect(),
        };
    }
    best.remove(0);
    best
}
