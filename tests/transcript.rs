// SPDX-License-Identifier: Apache-2.0
//! What deployed clients and gateways say to each other, played against this gateway: the command line as its users
//! know it, and the bytes on the control socket as they were recorded. The gateway runs without a device
//! (`pci 00:00.0`), so that nothing but the configuration is at work.
//!
//! Where deployed gateways show a fault of their own (an error of the Lua they are written in, success after a syntax
//! error), the table has what this one does instead.

use crate::support::VITA;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A gateway in a run directory of its own.
struct Daemon {
    directory: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = program(directory.path());
        let process = command.args(["--name", "ref"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let daemon = Daemon { directory, process };
        let patience = Instant::now() + PATIENCE;
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < patience, "the gateway does not start: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// With a route, and an interface on either side that leads nowhere.
    fn configured() -> Daemon {
        let daemon = Daemon::start();
        daemon.config(&["set", "ref", "/"], CONFIGURATION).expect_silence();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("by-name/ref/config-leader-socket")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Runs `snabb config`.
    fn config(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.spawn(args);
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        said(child, args)
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let mut command = program(self.directory.path());
        command.arg("config").args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Sends bytes on a connection of their own and returns what comes back, until the gateway has nothing more to say.
    fn play(&self, bytes: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client printed, and its exit code.
#[derive(Debug, PartialEq)]
struct Said {
    args: String,
    stdout: String,
    stderr: String,
    code: i32,
}

impl Said {
    fn expect_silence(&self) {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str(), self.code), ("", "", 0), "{}", self.args);
    }
}

fn said(child: Child, args: &[&str]) -> Said {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Said { args: args.join(" "), stdout: text(output.stdout), stderr: text(output.stderr), code }
}

fn program(root: &Path) -> Command {
    let mut command = Command::new(VITA);
    command.stdin(Stdio::null()).env("SNABB_SHM_ROOT", root).env_remove("VITA_LOG");
    command.env("VITA_STATE_DIR", root.join("state"));
    command
}

fn framed(payload: &str) -> String {
    format!("{}\n{payload}", payload.len())
}

/// One line of a table: arguments, standard input, standard output, standard error, exit code.
type Line<'a> = (&'a [&'a str], &'a str, &'a str, &'a str, i32);

fn walk(daemon: &Daemon, lines: &[Line]) {
    for (args, input, stdout, stderr, code) in lines {
        let said = daemon.config(args, input);
        let expected = (*stdout, *stderr, *code);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str(), said.code), expected, "config {args:?}");
    }
}

const ROUTE: &str = "gateway {\n  ip 10.20.0.2;\n}\nnet \"10.10.2.0/24\";\npreshared-key 0000000000000000000000000000000000000000000000000000000000000001;\nspi 1001;\n";

#[test]
fn each_kind_of_node_is_printed_in_its_form() {
    let daemon = Daemon::configured();
    let entry = |indent: &str| {
        let members = ROUTE.lines().map(|line| format!("{indent}  {line}\n")).collect::<String>();
        format!("{indent}  id test1;\n{members}")
    };
    let list = format!("{{\n{}}}\n\n", entry(""));
    let route = format!("{ROUTE}\n");
    let all = format!(
        "private-interface4 {{\n  ip 10.0.0.1;\n  nexthop-ip 10.0.0.2;\n  pci 00:00.0;\n}}\n\
         public-interface4 {{\n  ip 10.10.0.1;\n  nexthop-ip 10.10.0.9;\n  pci 00:00.0;\n}}\n\
         route4 {{\n{}}}\n\n",
        entry("")
    );
    walk(
        &daemon,
        &[
            (&["get", "ref", "/route4[id=test1]"], "", &route, "", 0),
            (&["get", "ref", "/route4"], "", &list, "", 0),
            (&["get", "ref", "//route4//"], "", &list, "", 0),
            (&["get", "ref", "route4"], "", &list, "", 0),
            (&["get", "ref", "/route4[id=test1]/net"], "", "\"10.10.2.0/24\"\n", "", 0),
            (&["get", "ref", "/route4[id=test1]/spi"], "", "1001\n", "", 0),
            (&["get", "ref", "/mtu"], "", "8923\n", "", 0),
            (&["get", "ref", "/"], "", &all, "", 0),
            (&["get", "ref", ""], "", &all, "", 0),
            (&["get", "ref", "/outbound-sa"], "", "\n", "", 0),
            (
                &["get", "--print-default", "ref", "/route4[id=test1]/gateway"],
                "",
                "{\n  ip 10.20.0.2;\n  queue 1;\n}\n\n",
                "",
                0,
            ),
            (&["get", "ref", "/route4[id=test1]/gateway[ip=10.20.0.2]"], "", "\n", "", 0),
            (
                &["get", "-s", "vita-esp-gateway", "-r", "any", "-f", "yang", "ref", "/mtu"],
                "",
                "8923\n",
                "",
                0,
            ),
            (
                &[
                    "get",
                    "--schema-name=vita-esp-gateway",
                    "--revision-date=x",
                    "--format=yang",
                    "ref",
                    "/mtu",
                ],
                "",
                "8923\n",
                "",
                0,
            ),
        ],
    );
}

#[test]
fn lines_of_paths_and_of_measurements_are_printed_as_tools_read_them() {
    let daemon = Daemon::configured();
    let net = "/route4[id=test1]/net \"10.10.2.0/24\"\n/route4[id=test1]/preshared-key 0000000000000000000000000000000000000000000000000000000000000001\n/route4[id=test1]/spi 1001\n";
    let explicit = format!("{net}\n");
    let defaults = format!("/route4[id=test1]/gateway[ip=10.20.0.2]/queue 1\n{net}\n");
    let key = "0000000000000000000000000000000000000000000000000000000000000001";
    let influx = |path: &str, tag: &str| {
        let line = |leaf: &str, value: &str| format!("{path}/{leaf}{tag} value={value}\n");
        line("net", "\"10.10.2.0/24\"")
            + &line("preshared-key", &format!("\"{key}\""))
            + &line("spi", "1001i")
            + "\n"
    };
    walk(
        &daemon,
        &[
            (&["get", "-f", "xpath", "ref", "/route4"], "", &explicit, "", 0),
            (&["get", "-f", "xpath", "ref", "/route4[id=test1]"], "", &explicit, "", 0),
            (&["get", "-f", "xpath", "--print-default", "ref", "/route4"], "", &defaults, "", 0),
            (&["get", "-f", "xpath", "--print-default", "ref", "/mtu"], "", "/mtu 8923\n\n", "", 0),
            (&["get", "-f", "xpath", "ref", "/mtu"], "", "\n", "", 0),
            // Paths and tags begin where the question did.
            (&["get", "-f", "influxdb", "ref", "/route4"], "", &influx("/", ",/id=test1"), "", 0),
            (&["get", "-f", "influxdb", "ref", "/route4[id=test1]"], "", &influx("", ""), "", 0),
            (&["get", "-f", "influxdb", "ref", "/mtu"], "", "mtu value=8923i\n\n", "", 0),
            (
                &["get", "-f", "influxdb", "ref", "/route4[id=test1]/spi"],
                "",
                "/route4/spi,route4/id=test1 value=1001i\n\n",
                "",
                0,
            ),
            (&["get", "-f", "json", "ref", "/mtu"], "", "{\n  \"vita-esp-gateway:mtu\": 8923\n}\n\n", "", 0),
        ],
    );
    let said = daemon.config(&["get", "-f", "yaml", "ref", "/"], "");
    assert_eq!((said.stdout.as_str(), said.code), ("", 1));
    assert!(said.stderr.contains("Not valid output format"), "{}", said.stderr);
}

#[test]
fn values_are_set_added_and_removed() {
    let daemon = Daemon::configured();
    let key = "0000000000000000000000000000000000000000000000000000000000000002";
    let other = format!("net \"10.10.3.0/24\"; gateway {{ ip 10.20.0.3; }} spi 1002; preshared-key {key};");
    let printed = format!(
        "gateway {{\n  ip 10.20.0.3;\n}}\nnet \"10.10.3.0/24\";\npreshared-key {key};\nspi 1002;\n\n"
    );
    walk(
        &daemon,
        &[
            (&["set", "ref", "/mtu", "1280"], "", "", "", 0),
            (&["get", "ref", "/mtu"], "", "1280\n", "", 0),
            (&["set", "ref", "/mtu"], "0x514\n", "", "", 0),
            (&["get", "ref", "/mtu"], "", "1300\n", "", 0),
            (&["add", "ref", "/route4", &format!("{{ id r1; {other} }}")], "", "", "", 0),
            (&["get", "ref", "/route4[id=r1]"], "", &printed, "", 0),
            // A gateway may come before the interface of its worker, and stay after it.
            (&["add", "ref", "/route4[id=r1]/gateway", "{ ip 7.7.7.7; queue 2; }"], "", "", "", 0),
            (
                &[
                    "add",
                    "ref",
                    "/public-interface4",
                    "{ip 10.10.0.2; queue 2; pci 00:00.0; nexthop-ip 10.10.0.9;}",
                ],
                "",
                "",
                "",
                0,
            ),
            (&["remove", "ref", "/public-interface4[ip=10.10.0.2]"], "", "", "", 0),
            (&["get", "ref", "/route4[id=r1]/gateway[ip=7.7.7.7]"], "", "queue 2;\n\n", "", 0),
            (&["remove", "ref", "/route4[id=r1]/gateway[ip=7.7.7.7]"], "", "", "", 0),
            (&["set", "ref", "/route4[id=r1]", &other.replace("1002", "1003")], "", "", "", 0),
            (&["get", "ref", "/route4[id=r1]/spi"], "", "1003\n", "", 0),
            (&["remove", "ref", "/route4[id=r1]"], "", "", "", 0),
            (&["get", "ref", "/route4[id=r1]"], "", "/route4[id=r1]: Not found\n", "", 1),
            (
                &["set", "ref", "/private-interface4", "pci 00:00.0; ip 10.0.0.1; nexthop-ip 10.0.0.3;"],
                "",
                "",
                "",
                0,
            ),
            (&["get", "ref", "/private-interface4/nexthop-ip"], "", "10.0.0.3\n", "", 0),
            (&["set", "ref", "/"], CONFIGURATION, "", "", 0),
            (&["get", "ref", "/mtu"], "", "8923\n", "", 0),
            (&["set", "ref", "/"], "", "", "", 0),
            (&["get", "ref", "/"], "", "\n", "", 0),
        ],
    );
}

/// In the order that is documented for deployed gateways, and backwards.
#[test]
fn gateways_and_associations_of_a_queue_may_come_before_its_interface_and_go_after_it() {
    let daemon = Daemon::configured();
    let warning = "/route4[id=test1]/gateway[ip=7.7.7.7]/queue 2: there is no public interface with this queue \
                   (public-interface4 has queue 1), so this gateway is not used; add the interface";
    let add = ["add", "ref", "/route4[id=test1]/gateway", "{ ip 7.7.7.7; queue 2; }"];
    let tried = daemon.config(&[&["add", "--dry-run"], &add[1..]].concat(), "");
    assert!(tried.stdout.ends_with(&format!("warning: {warning}\n")), "{tried:?}");
    assert_eq!(tried.code, 0);
    assert!(!daemon.log().contains(warning));
    daemon.config(&add, "").expect_silence();
    assert_eq!(daemon.log().matches(warning).count(), 1);
    // It is not said again with every change.
    daemon.config(&["set", "ref", "/mtu", "1400"], "").expect_silence();
    assert_eq!(daemon.log().matches(warning).count(), 1);
    let interface = "{ ip 10.10.0.2; queue 2; pci 00:00.0; nexthop-ip 10.10.0.9; }";
    daemon.config(&["add", "ref", "/public-interface4", interface], "").expect_silence();
    let removed = ["remove", "ref", "/public-interface4[ip=10.10.0.2]"];
    let tried = daemon.config(&[&["remove", "--dry-run"], &removed[1..]].concat(), "");
    assert!(tried.stdout.ends_with(&format!("warning: {warning}\n")), "{tried:?}");
    daemon.config(&removed, "").expect_silence();
    daemon.config(&["remove", "ref", "/route4[id=test1]/gateway[ip=7.7.7.7]"], "").expect_silence();

    // The same of SAs.
    let data_plane = format!("{CONFIGURATION} data-plane true;");
    daemon.config(&["set", "ref", "/"], &data_plane).expect_silence();
    let entry = "{ spi 400; queue 2; route test1; aead aes-gcm-16-icv; \
                 key 000102030405060708090a0b0c0d0e0f; salt 01020304; }";
    daemon.config(&["add", "ref", "/inbound-sa", entry], "").expect_silence();
    assert!(daemon.log().contains("/inbound-sa[queue=2][spi=400]/queue 2: there is no public interface"));
    daemon.config(&["add", "ref", "/public-interface4", interface], "").expect_silence();
    daemon.config(&removed, "").expect_silence();
    let shown = daemon.config(&["get", "ref", "/inbound-sa[spi=400][queue=2]/route"], "");
    assert_eq!((shown.stdout.as_str(), shown.code), ("test1\n", 0));
}

#[test]
fn an_additional_net_is_read_added_and_removed_by_its_path() {
    let daemon = Daemon::configured();
    let net = "/route4[id=test1]/additional-net[.='10.3.0.0/16']";
    let bare = "/route4[id=test1]/additional-net[.=10.3.0.0/16]";
    let missing = format!("{net}: Not found\n");
    let exists = format!("{net}: already-existing entry 10.3.0.0/16\n");
    walk(
        &daemon,
        &[
            (&["get", "ref", net], "", &missing, "", 1),
            (&["remove", "ref", net], "", &missing, "", 1),
            (&["add", "ref", net], "", "", "", 0),
            (&["add", "ref", bare], "", &exists, "", 1),
            (&["get", "ref", net], "", "\"10.3.0.0/16\"\n", "", 0),
            (&["get", "ref", bare], "", "\"10.3.0.0/16\"\n", "", 0),
            (&["add", "ref", "/route4[id=test1]/additional-net", "2001:db8::/32"], "", "", "", 0),
            (
                &["get", "ref", "/route4[id=test1]/additional-net"],
                "",
                "\"10.3.0.0/16\"\n\"2001:db8::/32\"\n\n",
                "",
                0,
            ),
            (&["remove", "ref", bare], "", "", "", 0),
            (&["get", "ref", net], "", &missing, "", 1),
            (&["remove", "ref", "/route4[id=test1]/additional-net[.='2001:db8::/32']"], "", "", "", 0),
            (&["get", "ref", "/route4[id=test1]"], "", &format!("{ROUTE}\n"), "", 0),
        ],
    );
}

#[test]
fn the_modules_that_the_model_imports_are_served() {
    let daemon = Daemon::start();
    for module in ["ietf-inet-types", "ietf-yang-types", "snabb-config-leader-v1", "vita-esp-gateway"] {
        let answer = daemon.play(&framed(&format!("get-schema {{ schema {module}; }}")));
        let (length, payload) = answer.split_once('\n').unwrap();
        assert_eq!(length, payload.len().to_string());
        assert!(
            payload.starts_with("get-schema {\n  source \"")
                && payload.contains(&format!("module {module} {{"))
        );
    }
    let answer = daemon.play(&framed("get-schema { schema ietf-interfaces; }"));
    assert!(
        answer.contains("unsupported schema: ietf-interfaces") && answer.contains("status 1;"),
        "{answer}"
    );
}

#[test]
fn a_payload_of_no_length_gets_no_answer() {
    let daemon = Daemon::start();
    assert_eq!(daemon.play("0\n"), "");
    let get = "95\nget-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n";
    assert_eq!(daemon.play(&format!("0\n{get}0\n0\n")), "30\nget-config {\n  config 8923;\n}\n");
}

#[test]
fn without_a_name_an_instance_is_known_by_its_process_id() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = program(directory.path()).arg("--xdp").stderr(Stdio::null()).spawn().unwrap();
    let id = process.id().to_string();
    let socket = directory.path().join(&id).join("config-leader-socket");
    let patience = Instant::now() + PATIENCE;
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < patience, "the gateway does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = |args: &[&str]| {
        let output = program(directory.path()).args(args).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    assert_eq!(run(&["config", "get", &id, "/mtu"]), ("8923\n".into(), Some(0)));
    assert_eq!(run(&["config", "get-state", &id, "/gateway-state/private-router"]), ("\n".into(), Some(0)));
    assert_eq!(run(&["ps"]), (format!("{id} * [schema: vita-esp-gateway]\n"), Some(0)));
    assert_eq!(fs::read_dir(directory.path().join("by-name")).unwrap().count(), 0);
    assert!(!directory.path().join("state").exists(), "there is no name to keep anything under");
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(run(&["ps"]), (String::new(), Some(0)));
}

/// What `get /` prints, `set /` accepts, whatever its length; and no text takes memory beyond its own.
#[test]
fn documents_of_any_length_that_is_printed_are_accepted() {
    let daemon = Daemon::configured();
    // White space between the bytes of a key is kept as it was written.
    let key = format!("\"00{}{}\"", " ".repeat(17 << 20), "00".repeat(31));
    let long = CONFIGURATION
        .replace(&"0".repeat(63), "")
        .replace("preshared-key 1", &format!("preshared-key {key}"));
    daemon.config(&["set", "ref", "/"], &long).expect_silence();
    let printed = daemon.config(&["get", "ref", "/"], "");
    assert!(printed.stdout.len() > 16 << 20, "{}", printed.stdout.len());
    daemon.config(&["set", "ref", "/"], &printed.stdout).expect_silence();
    let again = daemon.config(&["get", "ref", "/"], "");
    assert!(again.stdout == printed.stdout && again.code == 0);
    daemon.config(&["set", "ref", "/"], CONFIGURATION).expect_silence();
}

#[test]
fn no_text_costs_more_than_its_length() {
    let daemon = Daemon::start();
    let memory_kb = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory_kb();
    for text in ["a{}".repeat(5_500_000), "{ \"\": {} }".repeat(1_600_000), "\\".repeat(16_000_000)] {
        let said = daemon.config(&["set", "ref", "/"], &text);
        assert_eq!(said.code, 1);
        assert!(said.stdout.starts_with("<stdin>:1:"), "{}", &said.stdout[..said.stdout.len().min(300)]);
    }
    // The text is there as it came, as it was unquoted, and as it was handed on.
    let more = memory_kb() - before;
    assert!(more < 12 * 16_000, "{more} kB for 16 MB");
    let patience = Instant::now();
    let escapes =
        format!("set-config {{ schema vita-esp-gateway; config \"{}\"; }}", "\\\"\\\"a".repeat(400_000));
    assert!(daemon.play(&framed(&escapes)).contains("status 1;"));
    assert!(patience.elapsed() < PATIENCE, "{:?}", patience.elapsed());
}

#[test]
fn what_is_wrong_is_said_on_the_stream_and_with_the_code_that_scripts_know() {
    let daemon = Daemon::configured();
    let keys = "\n/route4[id=test1] has additional-net, gateway, net, preshared-key, spi\n";
    let no_id = format!("Invalid path: Struct has no field named 'id'.{keys}");
    walk(
        &daemon,
        &[
            // Paths, before the gateway is asked.
            (&["get", "ref", "/route4[id=test1]/id"], "", "", &no_id, 1),
            (
                &["get", "ref", "/route4[foo=a]"],
                "",
                "",
                "Invalid path: 'foo' is not a table key\nThe keys of /route4 are id, each given once\n",
                1,
            ),
            (
                &["get-state", "ref", "/gateway-state/inbound-sa[queue=1]"],
                "",
                "",
                "Invalid path: Table query missing required key 'spi'\n\
                 /gateway-state/inbound-sa has entries with several keys: give [spi=...]\n",
                1,
            ),
            (
                &["get", "ref", "/mtu/x"],
                "",
                "",
                "Invalid path: Invalid path.\n/mtu is a leaf: it has no field named 'x'\n",
                1,
            ),
            (
                &["set", "ref", "/route4/net", "1"],
                "",
                "",
                "Invalid path: Invalid path.\n/route4 is a list: name the entry by [id=...]\n",
                1,
            ),
            (
                &["get", "ref", "/mtu[id=1]"],
                "",
                "",
                "Invalid path: Path query parameters only supported for structs and tables.\n\
                 /mtu is not a list, so it has no entries to choose by [id=...]\n",
                1,
            ),
            (
                &["remove", "ref", "/route4[id=test1"],
                "",
                "",
                "Syntax error in /route4[id=test1\n                       ^ this bracket is not closed\n",
                1,
            ),
            // What the gateway refuses.
            (&["get", "ref", "/route4[id=nosuch]"], "", "/route4[id=nosuch]: Not found\n", "", 1),
            (&["get", "ref", "/tfc"], "", "/tfc has no value\n", "", 1),
            // Deployed gateways have one family at a time and refuse the other's lists; here the list is there, and empty.
            (&["get", "ref", "/route6"], "", "\n", "", 0),
            (
                &["set", "ref", "/mtu", "99999"],
                "",
                "<argument>:1:1: /mtu: mtu: '99999' is not a valid uint16: expected a whole number in 0..8923\n99999\n^\n",
                "",
                1,
            ),
            (
                &["set", "ref", "/"],
                "mtu 1440;\nroute4 {\n  id a\n}\n",
                "<stdin>:4:1: expected ';', found '}'\n}\n^\n",
                "",
                1,
            ),
            (&["add", "ref", "/mtu", "1"], "", "/mtu: Add only allowed on lists\n", "", 1),
            (&["remove", "ref", "/route4[id=nosuch]"], "", "/route4[id=nosuch]: Not found\n", "", 1),
            (
                &["add", "ref", "/inbound-sa", ""],
                "",
                "/inbound-sa: SA database is auto-managed (data-plane option is not set): the key exchange makes its entries; \
                 to configure them, set /data-plane true\n",
                "",
                1,
            ),
            (
                &["get", "-s", "nosuch", "ref", "/mtu"],
                "",
                "unsupported schema: nosuch (this instance serves vita-esp-gateway)\n",
                "",
                1,
            ),
            (
                &["get", "nosuch", "/"],
                "",
                "",
                "Could not connect to config leader socket on Snabb instance 'nosuch'.\n",
                1,
            ),
        ],
    );
    // Nothing of this changed anything.
    assert_eq!(daemon.config(&["get", "ref", "/route4[id=test1]"], "").stdout, format!("{ROUTE}\n"));
}

#[test]
fn a_file_is_loaded_from_text_and_from_json_and_its_mistakes_have_a_line() {
    let daemon = Daemon::start();
    let file = |name: &str, text: &str| {
        let path = daemon.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let good = file("good.conf", CONFIGURATION);
    daemon.config(&["load", "ref", &good], "").expect_silence();
    let before = daemon.config(&["get", "ref", "/"], "").stdout;

    let json = file("good.json", &daemon.config(&["get", "-f", "json", "ref", "/"], "").stdout);
    daemon.config(&["set", "ref", "/"], "").expect_silence();
    daemon.config(&["load", "ref", &json], "").expect_silence();
    assert_eq!(daemon.config(&["get", "ref", "/"], "").stdout, before);

    for (name, text, place, caret) in [
        ("word.conf", "mtu 1440;\nmuc 1;\n", "2:1: unrecognized parameter: muc", "muc 1;\n^"),
        (
            "unique.conf",
            &format!(
                "{CONFIGURATION}\n{}",
                CONFIGURATION.replace("test1", "test2")[CONFIGURATION.find("route4").unwrap()..].to_owned()
            ),
            "15:1: /route4[id=test2]: not unique: spi is also in entry /route4[id=test1]",
            "route4 {\n^",
        ),
        (
            "pci.conf",
            &CONFIGURATION.replacen("00:00.0", "01:00.0", 1),
            "2:3: /private-interface4/pci 01:00.0: PCI",
            "  ^",
        ),
        (
            "word.json",
            "{\n  \"vita-esp-gateway:muc\": 1\n}",
            "2:3: unrecognized parameter: vita-esp-gateway:muc",
            "  ^",
        ),
    ] {
        let path = file(name, text);
        let said = daemon.config(&["load", "ref", &path], "");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stdout.starts_with(&format!("{path}:{place}")), "{}", said.stdout);
        assert!(said.stdout.contains(caret), "{}", said.stdout);
        assert_eq!(daemon.config(&["get", "ref", "/"], "").stdout, before, "{name} changed something");
    }
    // A gateway that starts with such a file says the same.
    let path = file("start.conf", "mtu 1440;\n  muc 1;\n");
    let output =
        program(daemon.directory.path()).args(["--name", "other", "--config", &path]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains(&format!("{path}:2:3: unrecognized parameter: muc\n  muc 1;\n  ^")), "{shown}");
}

#[test]
fn the_recorded_bytes_get_the_recorded_answers() {
    let daemon = Daemon::start();
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
            "119\nget-state {\n  format yang;\n  path \"/gateway-state/private-router\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            "26\nget-state {\n  state '';\n}\n",
        ),
        (
            // The words of the error are this gateway's; its form is the recorded one.
            "109\nget-config {\n  format yang;\n  path \"/route4[id=nosuch]\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n",
            "68\nget-config {\n  error \"/route4[id=nosuch]: Not found\";\n  status 1;\n}\n",
        ),
    ] {
        assert_eq!(daemon.play(request), answer, "{request}");
    }
    let schema = daemon.play("42\nget-schema {\n  schema vita-esp-gateway;\n}\n");
    let (length, payload) = schema.split_once('\n').unwrap();
    assert_eq!(length, payload.len().to_string());
    assert!(
        payload.starts_with("get-schema {\n  source \"")
            && payload.contains("\\nmodule vita-esp-gateway {\\n")
    );

    // Interfaces, so that there is a queue 2; then the recorded route.
    let two = CONFIGURATION.replace("public-interface4 {", "public-interface4 {\n  ip 10.10.0.2; queue 2; pci 00:00.0; nexthop-ip 10.10.0.9;\n}\npublic-interface4 {");
    daemon.config(&["set", "ref", "/"], &two.replace("test1", "r1")).expect_silence();
    for (request, answer) in [
        (
            "121\nadd-config {\n  config \"{\\n  ip 7.7.7.7;\\n  queue 2;\\n}\\n\";\n  path \"/route4[id=r1]/gateway\";\n  schema vita-esp-gateway;\n}\n",
            "15\nadd-config {\n}\n",
        ),
        (
            "90\nremove-config {\n  path \"/route4[id=r1]/gateway[ip=7.7.7.7]\";\n  schema vita-esp-gateway;\n}\n",
            "18\nremove-config {\n}\n",
        ),
    ] {
        assert_eq!(daemon.play(request), answer, "{request}");
    }
    let state = daemon.play("119\nget-state {\n  format yang;\n  path \"/gateway-state/private-router\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n");
    assert!(state.contains("state \"mtu-errors 0;\\nroute-errors 0;\\nrxerrors 0;\\n"), "{state}");

    let refused = framed("set-config { schema vita-esp-gateway; path \"/mtu\"; config 99999; }");
    let answer = daemon.play(&refused);
    assert!(
        answer.contains("set-config {\n  error \"") && answer.contains("\";\n  status 1;\n}\n"),
        "{answer}"
    );
    let answer = daemon.play(&framed("get-config { schema nosuch; path \"/\"; }"));
    assert!(answer.contains("unsupported schema: nosuch") && answer.ends_with("status 1;\n}\n"), "{answer}");
}

#[test]
fn requests_on_one_connection_are_answered_in_order_and_bad_ones_end_only_their_own() {
    let daemon = Daemon::start();
    let mut bystander = daemon.connect();
    let set = "72\nset-config {\n  config 1500;\n  path \"/mtu\";\n  schema vita-esp-gateway;\n}\n";
    let get = "95\nget-config {\n  format yang;\n  path \"/mtu\";\n  print-default false;\n  schema vita-esp-gateway;\n}\n";
    assert_eq!(
        daemon.play(&[get, set, get].concat()),
        "30\nget-config {\n  config 8923;\n}\n15\nset-config {\n}\n30\nget-config {\n  config 1500;\n}\n"
    );
    for bad in [
        "012\ndescribe {}\n",
        " 12\ndescribe {}\n",
        "12 \ndescribe {}\n",
        "12\r\ndescribe {}\n",
        "-1\n",
        "11\ndescribe{}\n",
        "14\nno-such-rpc {}",
        "29\nattach-notification-listener{}",
        "32\nattach-notification-listener {\n}\n",
        "99999999999999999999\n",
        "x",
    ] {
        assert_eq!(daemon.play(bad), "", "{bad:?}");
    }
    bystander.write_all(b"13\ndescribe {\n}\n").unwrap();
    let mut answer = [0; 85];
    bystander.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"82\ndescribe {\n"));
}

#[test]
fn a_listener_serves_requests_in_json_and_keeps_others_from_writing() {
    let daemon = Daemon::configured();
    let mut child = daemon.spawn(&["listen", "ref"]);
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut ask = |request: &str, answer: &str| {
        input.write_all(request.as_bytes()).unwrap();
        let mut buffer = vec![0; answer.len()];
        output.read_exact(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer), answer, "{request}");
    };
    ask(
        "{\"id\":\"0\",\"verb\":\"get\",\"path\":\"/mtu\"}{\"id\":\"1\",\"verb\":\"set\",\"path\":\"/mtu\",\"value\":\"1506\"}",
        "{\"status\":\"ok\",\"value\":\"8923\",\"id\":\"0\"}{\"status\":\"ok\",\"id\":\"1\"}",
    );
    walk(
        &daemon,
        &[
            (&["get", "ref", "/mtu"], "", "1506\n", "", 0),
            (
                &["set", "ref", "/mtu", "1400"],
                "",
                "Attempt to modify configuration while listener attached\n",
                "",
                1,
            ),
            (&["listen", "ref"], "", "", "error: Listener already attached\n", 1),
        ],
    );
    ask(
        " \n{\"id\":\"2\",\"verb\":\"get\",\"path\":\"/route4[id=test1]/gateway\"}",
        "{\"status\":\"ok\",\"value\":\"{\\n  ip 10.20.0.2;\\n}\\n\",\"id\":\"2\"}",
    );
    // What is refused is said to be.
    ask(
        "{\"id\":\"3\",\"verb\":\"remove\",\"path\":\"/route4[id=nosuch]\"}",
        "{\"status\":\"error\",\"error\":\"/route4[id=nosuch]: Not found\",\"id\":\"3\"}",
    );
    ask(
        "{\"id\":\"4\",\"verb\":\"get-state\",\"path\":\"/gateway-state/public-router\"}",
        "{\"status\":\"ok\",\"value\":\"protocol-errors 0;\\nroute-errors 0;\\n\",\"id\":\"4\"}",
    );
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let ended = said(child, &["listen"]);
    assert_eq!((ended.stderr.as_str(), ended.code), ("Input pipe closed.\n", 0));
    daemon.config(&["set", "ref", "/mtu", "1400"], "").expect_silence();
}

#[test]
fn a_listener_ends_when_it_does_not_understand() {
    let daemon = Daemon::start();
    for (request, shown) in [
        ("{\"id\":\"0\",\"verb\":\"explode\"}", "error: invalid verb: explode"),
        ("{\"id\":\"0\",\"verb\":\"set\",\"path\":\"/mtu\"}", "error: set needs a value"),
        ("{\"id\":\"0\"}", "error: a request has to be a JSON object"),
        ("[]", "error: a request has to be a JSON object"),
        ("nonsense", "error: the input is no JSON"),
        ("{\"id\":", "error: the input is no JSON"),
    ] {
        let said = daemon.config(&["listen", "ref"], request);
        assert_eq!((said.stdout.as_str(), said.code), ("", 1), "{request}");
        assert!(said.stderr.starts_with(shown), "{request}: {}", said.stderr);
    }
}

#[test]
fn a_listener_serves_one_client_of_a_socket() {
    let daemon = Daemon::start();
    let path = daemon.directory.path().join("agent");
    let child = daemon.spawn(&["listen", "--socket", path.to_str().unwrap(), "ref"]);
    let patience = Instant::now() + PATIENCE;
    let mut stream = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream.write_all(b"{\"id\":7,\"verb\":\"get\",\"path\":\"/sa-ttl\"}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "{\"status\":\"ok\",\"value\":\"600\",\"id\":7}");
    let ended = said(child, &["listen"]);
    assert_eq!((ended.stderr.as_str(), ended.code), ("Input pipe closed.\n", 0));
    assert!(!path.exists(), "the socket is taken away");
}

/// How long a gateway or client may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const CONFIGURATION: &str = "private-interface4 {
  pci 00:00.0; ip 10.0.0.1; nexthop-ip 10.0.0.2;
}
public-interface4 {
  ip 10.10.0.1; pci 00:00.0; nexthop-ip 10.10.0.9;
}
route4 {
  id test1;
  net \"10.10.2.0/24\";
  gateway { ip 10.20.0.2; }
  spi 1001;
  preshared-key 0000000000000000000000000000000000000000000000000000000000000001;
}
";
