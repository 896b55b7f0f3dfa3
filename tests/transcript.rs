// SPDX-License-Identifier: Apache-2.0
//! What deployed clients and gateways say to each other, played against this gateway: the command line as its users
//! know it, and the bytes on the control socket as they were recorded. The gateway runs without a device
//! (`pci 00:00.0`), so that nothing but the configuration is at work.
//!
//! Where deployed gateways show a fault of their own (an error of the Lua they are written in, success after a syntax
//! error), the table has what this one does instead.

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_vita"));
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
    let influx = "/route4/net,id=test1 value=\"10.10.2.0/24\"\n/route4/preshared-key,id=test1 value=\"0000000000000000000000000000000000000000000000000000000000000001\"\n/route4/spi,id=test1 value=1001i\n\n";
    walk(
        &daemon,
        &[
            (&["get", "-f", "xpath", "ref", "/route4"], "", &explicit, "", 0),
            (&["get", "-f", "xpath", "ref", "/route4[id=test1]"], "", &explicit, "", 0),
            (&["get", "-f", "xpath", "--print-default", "ref", "/route4"], "", &defaults, "", 0),
            (&["get", "-f", "xpath", "--print-default", "ref", "/mtu"], "", "/mtu 8923\n\n", "", 0),
            (&["get", "-f", "xpath", "ref", "/mtu"], "", "\n", "", 0),
            (&["get", "-f", "influxdb", "ref", "/route4"], "", influx, "", 0),
            (
                &["get", "-f", "influxdb", "ref", "/mtu"],
                "",
                "/mtu is a leaf: the format influxdb prints containers and lists, ask for what contains it\n",
                "",
                1,
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
            (&["add", "ref", "/route4[id=r1]/gateway", "{ ip 7.7.7.7; queue 2; }"], "", NO_QUEUE, "", 1),
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
            (&["add", "ref", "/route4[id=r1]/gateway", "{ ip 7.7.7.7; queue 2; }"], "", "", "", 0),
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

const NO_QUEUE: &str =
    "/route4[id=r1]/gateway[ip=7.7.7.7]/queue 2: expected the queue of a public interface, one of 1\n";

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
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("{path}:2:3: unrecognized parameter: muc\n  muc 1;\n  ^")), "{told}");
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
    for (request, told) in [
        ("{\"id\":\"0\",\"verb\":\"explode\"}", "error: invalid verb: explode"),
        ("{\"id\":\"0\",\"verb\":\"set\",\"path\":\"/mtu\"}", "error: set needs a value"),
        ("{\"id\":\"0\"}", "error: a request has to be a JSON object"),
        ("[]", "error: a request has to be a JSON object"),
        ("nonsense", "error: the input is no JSON"),
        ("{\"id\":", "error: the input is no JSON"),
    ] {
        let said = daemon.config(&["listen", "ref"], request);
        assert_eq!((said.stdout.as_str(), said.code), ("", 1), "{request}");
        assert!(said.stderr.starts_with(told), "{request}: {}", said.stderr);
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
