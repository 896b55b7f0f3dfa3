// SPDX-License-Identifier: Apache-2.0
//! The lab of `examples/ec2-k8s`, with the real daemon in it, for tests.
//!
//! `Lab::raise` builds the namespaces under a prefix of its own. A keeper, a process of its own session, removes them with
//! everything that runs in them once the lab is dropped or the test process is gone, Ctrl-C and SIGKILL included. Should the
//! keeper be killed too, the next test process removes what is left.

use super::VITA;
use super::netns::Turn;
use super::wait::within;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A lab that is up. Its gateways are `paris` and `tokyo`, as in the example.
pub struct Lab {
    prefix: String,
    directory: tempfile::TempDir,
    keeper: Child,
    gateways: Vec<Gateway>,
    servants: Vec<Child>,
    _turn: Arc<Turn>,
}

struct Gateway {
    site: &'static str,
    process: Child,
}

/// What a command said, both streams together, and whether it was content.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub text: String,
}

/// The figures of one `ping`.
#[derive(Debug)]
pub struct Pings {
    pub sent: u32,
    pub received: u32,
    pub said: Said,
}

impl Lab {
    /// The example's networks, without a gateway running.
    pub fn raise() -> Lab {
        assert_eq!(
            fs::metadata("/proc/self").expect("/proc is mounted").uid(),
            0,
            "these tests need root, for network namespaces and AF_XDP: sudo -E make test"
        );
        let turn = Turn::take();
        remove_leftovers();
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let lab = Lab {
            directory: tempfile::tempdir().expect("a temporary directory"),
            keeper: keeper(&prefix),
            prefix,
            gateways: Vec::new(),
            servants: Vec::new(),
            _turn: turn,
        };
        let said = lab_script(&lab.prefix, &["up"]);
        assert!(said.status.success(), "the lab does not come up: {}", said.text);
        lab
    }

    /// The example with both gateways configured and packets passing. `settings` are statements added to both configurations.
    pub fn with_tunnel(settings: &str) -> Lab {
        let mut lab = Lab::raise();
        for site in SITES {
            lab.start(site, &[]);
            lab.configure(site, &configuration(site, settings));
        }
        lab.await_tunnel();
        lab
    }

    /// Starts the daemon of a site and waits until it answers.
    pub fn start(&mut self, site: &'static str, arguments: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file(site))
            .expect("the log can be written");
        // Dies with the test, however that ends.
        let process = self
            .command(&format!("vita-{site}"), &["setpriv", "--pdeathsig", "KILL", VITA])
            .args(["--name", site, "--xdp", "--cpu", "0,1"])
            .args(arguments)
            .env("SNABB_SHM_ROOT", self.run_directory())
            .env("VITA_STATE_DIR", self.file("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor is free"))
            .stderr(log)
            .spawn()
            .expect("ip is installed");
        self.gateways.push(Gateway { site, process });
        within(START_WAIT, &format!("vita-{site} answers"), || {
            let exited = self.gateway(site).process.try_wait().expect("it is our child");
            assert!(exited.is_none(), "vita-{site} has gone: {exited:?}");
            self.config(&["get", site, "/mtu"]).status.success()
        });
    }

    pub fn pid(&self, site: &str) -> u32 {
        let gateway = self.gateways.iter().find(|gateway| gateway.site == site);
        gateway.expect("the gateway was started").process.id()
    }

    pub fn signal(&self, site: &str, signal: &str) {
        let pid = self.pid(site).to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill is installed");
        assert!(status.success(), "vita-{site} is not there to be sent SIG{signal}");
    }

    /// Sends a signal and waits until the daemon has ended.
    pub fn stop(&mut self, site: &str, signal: &str) -> ExitStatus {
        self.signal(site, signal);
        let mut status = None;
        within(STOP_WAIT, &format!("vita-{site} ends after SIG{signal}"), || {
            status = self.gateway(site).process.try_wait().expect("it is our child");
            status.is_some()
        });
        self.gateways.retain(|gateway| gateway.site != site);
        status.expect("it has ended")
    }

    /// Applies a whole configuration that has to be accepted.
    pub fn configure(&self, site: &str, text: &str) {
        let said = self.set(site, "/", text);
        assert!(said.status.success(), "vita-{site} refuses its configuration: {}", said.text);
    }

    /// `snabb config set SITE PATH`, the value on standard input.
    pub fn set(&self, site: &str, path: &str, value: &str) -> Said {
        let mut child = self
            .cli(&["set", site, path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("timeout is installed");
        // A client that refuses the value may end without reading it; what it says is what counts.
        let _ = child.stdin.take().expect("stdin is piped").write_all(value.as_bytes());
        said(child.wait_with_output().expect("it is our child"))
    }

    /// `snabb config ARGUMENTS...`
    pub fn config(&self, arguments: &[&str]) -> Said {
        run(&mut self.cli(arguments))
    }

    /// What `get /` prints, without the associations that the key exchange makes meanwhile.
    pub fn configured(&self, site: &str) -> String {
        let said = self.config(&["get", site, "/"]);
        assert!(said.status.success(), "{said:?}");
        let mut negotiated = false;
        let mut kept = String::new();
        for line in said.text.lines() {
            negotiated |= ["outbound-sa {", "inbound-sa {"].contains(&line);
            if !negotiated {
                kept.push_str(line);
                kept.push('\n');
            }
            negotiated &= line != "}";
        }
        kept
    }

    /// One leaf below /gateway-state.
    pub fn counter(&self, site: &str, leaf: &str) -> u64 {
        let said = self.config(&["get-state", site, &format!("/gateway-state/{leaf}")]);
        said.text.trim().parse().unwrap_or_else(|_| panic!("{leaf} of vita-{site}: {said:?}"))
    }

    /// Runs a command on a node to its end.
    pub fn run(&self, node: &str, words: &[&str]) -> Said {
        run(&mut self.command(node, words))
    }

    /// The same, where it has to succeed.
    pub fn must(&self, node: &str, words: &[&str]) -> String {
        let said = self.run(node, words);
        assert!(said.status.success(), "{words:?} on {node}: {}", said.text);
        said.text
    }

    /// Starts a command on a node; what it says is the child's output.
    pub fn spawn(&self, node: &str, words: &[&str]) -> Child {
        let mut command = self.command(node, words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("ip is installed")
    }

    /// Starts a command that runs on a node until the lab goes.
    pub fn background(&mut self, node: &str, words: &[&str]) {
        let mut command = self.command(node, words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servants.push(command.spawn().expect("ip is installed"));
    }

    pub fn ping(&self, site: &str, target: &str, options: &[&str]) -> Pings {
        Pings::read(self.run(&format!("kube-node-{site}"), &[&["ping", "-q"], options, &[target]].concat()))
    }

    /// A ping from paris to tokyo that runs while the test does something else.
    pub fn pings(&self, interval: &str, count: u32) -> Child {
        let count = count.to_string();
        self.spawn("kube-node-paris", &["ping", "-q", "-i", interval, "-W", "3", "-c", &count, KUBE_TOKYO])
    }

    /// The same, 50 packets a second for the given seconds.
    pub fn ping_for(&self, seconds: u32) -> Child {
        self.pings("0.02", 50 * seconds)
    }

    /// Until packets pass the tunnel both ways.
    pub fn await_tunnel(&self) {
        for (site, target) in [("paris", KUBE_TOKYO), ("tokyo", KUBE_PARIS)] {
            within(TUNNEL_WAIT, &format!("kube-node-{site} reaches {target}"), || {
                self.ping(site, target, &["-c", "1", "-W", "1"]).received == 1
            });
        }
    }

    /// Where the daemons keep their sockets (`SNABB_SHM_ROOT`).
    pub fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Where a test may put files; it goes with the lab.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The namespace of a node.
    pub fn namespace(&self, node: &str) -> String {
        format!("{}{node}", self.prefix)
    }

    /// What the daemons of a site have said so far. What they have on their lips is waited for: a thread of its own
    /// writes it, and sleeps when it is done.
    pub fn log(&self, site: &str) -> String {
        let writes = |gateway: &Gateway| writes_its_log(gateway.process.id());
        within(START_WAIT, "what was logged is written", || {
            !self.gateways.iter().any(|gateway| gateway.site == site && writes(gateway))
        });
        fs::read_to_string(self.log_file(site)).unwrap_or_default()
    }

    fn log_file(&self, site: &str) -> PathBuf {
        self.file(&format!("vita-{site}.log"))
    }

    fn gateway(&mut self, site: &str) -> &mut Gateway {
        let gateway = self.gateways.iter_mut().find(|gateway| gateway.site == site);
        gateway.expect("the gateway was started")
    }

    fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).args(words);
        command
    }

    fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args([CLI_SECONDS, VITA, "config"])
            .args(arguments)
            .env("SNABB_SHM_ROOT", self.run_directory());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            for site in SITES {
                let log = fs::read_to_string(self.log_file(site)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                eprintln!("--- the end of the log of vita-{site}:\n{end}");
            }
        }
        drop(self.keeper.stdin.take());
        if !self.keeper.wait().is_ok_and(|status| status.success()) {
            eprintln!("the lab {} was not removed", self.prefix);
        }
        let daemons = self.gateways.iter_mut().map(|gateway| &mut gateway.process);
        for process in daemons.chain(&mut self.servants) {
            let _ = process.wait();
        }
    }
}

impl Pings {
    pub fn read(said: Said) -> Pings {
        let figure = |word: &str| {
            let line = said.text.lines().find(|line| line.contains(" packets transmitted"))?;
            let part = line.split(", ").find(|part| part.contains(word))?;
            part.split(' ').next()?.parse().ok()
        };
        Pings { sent: figure("transmitted").unwrap_or(0), received: figure("received").unwrap_or(0), said }
    }

    pub fn of(child: Child) -> Pings {
        Pings::read(said(child.wait_with_output().expect("it is our child")))
    }

    pub fn assert_none_lost(&self) {
        assert!(self.sent > 0 && self.received == self.sent, "packets were lost: {}", self.said.text);
    }
}

/// The example's configuration of a site, with statements added at its end.
pub fn configuration(site: &str, settings: &str) -> String {
    let text = match site {
        "paris" => include_str!("../../examples/ec2-k8s/vita-paris.conf"),
        _ => include_str!("../../examples/ec2-k8s/vita-tokyo.conf"),
    };
    format!("{text}\n{settings}\n")
}

/// Whether the thread that writes a daemon's log is awake.
fn writes_its_log(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let mut of_log = stats.filter(|stat| stat.contains("(vita-log)"));
    of_log.any(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')))
}

/// Labs whose test process is gone.
fn remove_leftovers() {
    let Ok(labs) = fs::read_dir("/run/vita-lab") else { return };
    for prefix in labs.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = prefix.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            lab_script(&prefix, &["down"]);
        }
    }
}

/// Waits for the end of its input, which comes when the lab or this process ends, and removes the lab.
fn keeper(prefix: &str) -> Child {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", r#"read -r _; exec "$0" down"#, LAB_SCRIPT]).env("LAB_PREFIX", prefix);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("setsid is installed")
}

fn lab_script(prefix: &str, arguments: &[&str]) -> Said {
    run(Command::new(LAB_SCRIPT).args(arguments).env("LAB_PREFIX", prefix))
}

fn run(command: &mut Command) -> Said {
    said(command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

fn said(output: Output) -> Said {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Said { status: output.status, text }
}

pub const SITES: [&str; 2] = ["paris", "tokyo"];
pub const KUBE_PARIS: &str = "172.31.1.50";
pub const KUBE_TOKYO: &str = "172.32.1.50";

const LAB_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ec2-k8s/lab.sh");

/// Generous: on a busy machine only the failure takes this long.
pub const TUNNEL_WAIT: Duration = Duration::from_secs(60);
const START_WAIT: Duration = Duration::from_secs(30);
const STOP_WAIT: Duration = Duration::from_secs(30);
const CLI_SECONDS: &str = "60";
const LOG_LINES: usize = 30;

/// Names the namespaces of a test: this, the process, a number.
const PREFIX: &str = "vt";
static SERIAL: AtomicU32 = AtomicU32::new(0);
