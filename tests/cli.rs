// SPDX-License-Identifier: Apache-2.0
//! The command line, by running the program.

use crate::support::VITA;
use std::fs::Permissions;
use std::io::{BufRead, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use crate::support::instance::while_serving;
use vita::leader::Handler;
use vita::yang::format::Format;

fn program() -> Command {
    let mut command = Command::new(VITA);
    command.stdin(Stdio::null()).env_remove("SNABB_SHM_ROOT").env_remove("VITA_LOG");
    command
}

fn vita(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn called_as(name: &str, args: &[&str]) -> Output {
    program().arg0(name).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn help_and_version_succeed_and_help_fits_a_screen() {
    for flag in ["-h", "--help"] {
        let output = vita(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let help = stdout(&output);
        for option in
            ["--name", "--xdp", "--cpu", "--busywait", "--realtime", "--config", "--keygen", "--config-help"]
        {
            assert!(help.contains(option), "{option} is missing in:\n{help}");
        }
        assert!(help.lines().count() <= 45, "{help}");
    }
    let output = vita(&["--version"]);
    assert_eq!(stdout(&output), format!("vita {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn keygen_prints_a_key_that_is_never_the_same() {
    let keys: Vec<String> = [&["--keygen"][..], &["-K"], &["--xdp", "--keygen"]]
        .map(|args| stdout(&vita(args)).to_owned())
        .into();
    for key in &keys {
        let digits = key.strip_suffix('\n').unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{key:?}");
    }
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
}

#[test]
fn config_help_describes_the_whole_model() {
    for flag in ["-H", "--config-help"] {
        let output = vita(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let help = stdout(&output);
        for node in
            ["route4* [id]", "private-interface4", "gateway-state", "default 8923", "key32", "rxerrors"]
        {
            assert!(help.contains(node), "{node} is missing in:\n{help}");
        }
    }
}

#[test]
fn a_name_is_one_component_of_a_path() {
    for bad in ["a/b", "..", ""] {
        let output = vita(&["--name", bad]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("instance name"), "{}", stderr(&output));
    }
}

#[test]
fn usage_errors_have_exit_code_1_and_go_to_standard_error() {
    for args in [
        &["--nosuch"][..],
        &["stray"],
        &["--name"],
        &["--name", "a", "--name", "b"],
        &["--cpu", "x", "-n", "a"],
    ] {
        let output = vita(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn bad_cpu_lists_are_explained() {
    for (list, expected) in [
        ("100000", "CPU 100000 does not exist here; there are 0"),
        ("0,0", "named twice"),
        ("0,", "write e.g. 2,3 or 2-5"),
        ("5-2", "backwards"),
        ("0-99999999999999999999", "does not exist here"),
    ] {
        let output = vita(&["--name", "a", "--cpu", list]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

#[test]
fn a_bad_log_level_is_explained() {
    let output = program().args(["--name", "a"]).env("VITA_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("VITA_LOG"), "{}", stderr(&output));
}

#[test]
fn an_instance_that_does_not_run_is_named() {
    let root = tempfile::tempdir().unwrap();
    for args in
        [&["get", "nosuch", "/"][..], &["set", "nosuch", "/mtu", "1"], &["remove", "nosuch", "/route4[id=a]"]]
    {
        let output = program().arg("config").args(args).env("SNABB_SHM_ROOT", root.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let shown = "Could not connect to config leader socket on Snabb instance 'nosuch'.\n";
        assert_eq!(stderr(&output), shown);
    }
}

/// Reads one line and leaves, like head.
fn head(mut command: Command) -> (String, Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = std::io::BufReader::with_capacity(16, child.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    drop(lines);
    let output = child.wait_with_output().unwrap();
    (line, output.status.code(), stderr(&output).to_owned())
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let config_help = || {
        let mut command = program();
        command.arg("--config-help");
        command
    };
    let (line, code, shown) = head(config_help());
    assert!(line.starts_with("vita-esp-gateway: "), "{line}");
    assert_eq!((code, shown.as_str()), (Some(0), ""));
    // More than a pipe holds.
    struct Long;
    impl Handler for Long {
        fn schema(&self) -> &str {
            "vita-esp-gateway"
        }
        fn schema_source(&self, _: &str) -> Option<&str> {
            None
        }
        fn get_config(&mut self, _: &str, _: Format, _: bool) -> Result<String, String> {
            Ok("mtu 1440;\n".repeat(1 << 18))
        }
        fn get_state(&mut self, path: &str, format: Format, default: bool) -> Result<String, String> {
            self.get_config(path, format, default)
        }
        fn set_config(&mut self, _: &str, _: &str) -> Result<(), String> {
            Err("no luck\n".repeat(1 << 18))
        }
        fn add_config(&mut self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }
        fn remove_config(&mut self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }
    while_serving(&mut Long, |root| {
        let config = |args: &[&str]| {
            let mut command = program();
            command.arg("config").args(args).env("SNABB_SHM_ROOT", root);
            head(command)
        };
        let seen = |line: &str, code| (line.to_owned(), Some(code), String::new());
        assert_eq!(config(&["get", "paris", "/"]), seen("mtu 1440;\n", 0));
        assert_eq!(config(&["get-state", "paris", "/"]), seen("mtu 1440;\n", 0));
        // What was refused was refused.
        assert_eq!(config(&["set", "paris", "/mtu", "7"]), seen("no luck\n", 1));
    });
}

#[test]
fn files_in_other_encodings_are_refused_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("paris.conf");
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let output = vita(&["config", "check", path.to_str().unwrap()]);
        let shown = [stdout(&output), stderr(&output)].concat().replace(path.to_str().unwrap(), "FILE");
        (shown, output.status.code())
    };
    let latin = b"mtu 1440; // le caf\xe9\nsa-ttl 600;\n";
    let (shown, code) = check(latin);
    assert!(shown.starts_with("FILE:1:20: byte 0xe9 is not UTF-8; convert the file"), "{shown}");
    assert_eq!(code, Some(1));
    let wide: Vec<u8> = "\u{feff}mtu 1440;".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (shown, code) = check(&wide);
    assert!(shown.starts_with("FILE:1:1: this is UTF-16LE, and the text has to be UTF-8"), "{shown}");
    assert_eq!(code, Some(1));
    assert_eq!(check("\u{feff}mtu 1440;".as_bytes()), ("FILE: valid (0 queues, 0 routes)\n".into(), Some(0)));
    let json = "\u{feff}{ \"vita-esp-gateway:mtu\": 1440 }";
    assert_eq!(check(json.as_bytes()), ("FILE: valid (0 queues, 0 routes)\n".into(), Some(0)));
    // Standard input and what is sent are no different.
    let root = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["config", "set", "paris", "/"]).env("SNABB_SHM_ROOT", root.path()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(latin).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).starts_with("standard input:1:20: byte 0xe9"), "{}", stderr(&output));
}

#[test]
fn a_check_says_warnings_and_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("paris.conf");
    let key = "0".repeat(64);
    let text = format!(
        "public-interface4 {{ pci 00:00.0; ip 192.0.2.1; nexthop-ip 192.0.2.9; }}
         route4 {{ id a; spi 300; net 10.1.0.0/16; preshared-key {key};
                   gateway {{ ip 198.51.100.1; }} gateway {{ ip 198.51.100.2; queue 2; }} }}"
    );
    std::fs::write(&path, text).unwrap();
    let output = vita(&["config", "check", path.to_str().unwrap()]);
    let shown = stdout(&output).replace(path.to_str().unwrap(), "FILE");
    let expected = "FILE: valid (1 queue, 1 route)\n\
        FILE: warning: /route4[id=a]/gateway[ip=198.51.100.2]/queue 2: there is no public interface with this queue \
        (public-interface4 has queue 1), so this gateway is not used; add the interface\n";
    assert_eq!((shown.as_str(), stderr(&output), output.status.code()), (expected, "", Some(0)));
}

#[test]
fn running_instances_are_listed() {
    let empty = tempfile::tempdir().unwrap();
    let output = program().arg("ps").env("SNABB_SHM_ROOT", empty.path().join("none")).output().unwrap();
    assert_eq!((stdout(&output), output.status.code()), ("", Some(0)));
    let notes = recorded(|root| {
        for (name, args) in [("vita", &["ps"][..]), ("snabb", &["ps"]), ("/usr/bin/snabb-ps", &[])] {
            let output = program().arg0(name).args(args).env("SNABB_SHM_ROOT", root).output().unwrap();
            let expected = format!("{}\t[paris] * [schema: toy]\n", std::process::id());
            assert_eq!((stdout(&output), output.status.code()), (expected.as_str(), Some(0)), "{name}");
        }
    });
    assert!(notes.is_empty());
}

#[test]
fn config_complains_in_the_words_and_on_the_streams_that_scripts_know() {
    let output = vita(&["config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("Usage:") && output.stderr.is_empty());

    let output = vita(&["config", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("get-state"));

    let output = vita(&["config", "get", "paris"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("error: missing path argument\n"), "{}", stdout(&output));
    assert!(stdout(&output).contains("Usage:"));

    let output = vita(&["config", "get", "paris", "/", "more"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("error: too many arguments\n"), "{}", stdout(&output));

    let output = vita(&["config", "get", "-x", "paris", "/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Unknown option `-x'"), "{}", stderr(&output));

    let output = vita(&["config", "explode"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("explode"));

    let output = vita(&["config", "get", "paris", "/route4[id=a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).starts_with("Syntax error in /route4[id=a\n                       ^"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn called_as_snabb_it_is_snabb() {
    for (name, args) in [
        ("snabb", &["config", "get", "paris"][..]),
        ("/usr/local/bin/snabb-config", &["get", "paris"]),
        ("snabb-config-2019.06.0", &["get", "paris"]),
    ] {
        let output = called_as(name, args);
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).starts_with("error: missing path argument\n"), "{name}: {}", stdout(&output));
    }
    let output = called_as("snabb", &["lwaftr"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("lwaftr"));
}

/// An instance that notes what it is told and has one value to give.
struct Recorder<'a>(&'a Mutex<Vec<String>>);

impl Recorder<'_> {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Handler for Recorder<'_> {
    fn schema(&self) -> &str {
        "toy"
    }

    fn schema_source(&self, _: &str) -> Option<&str> {
        None
    }

    fn get_config(&mut self, path: &str, format: Format, print_default: bool) -> Result<String, String> {
        let format = if format == Format::Yang { String::new() } else { format!(" {format}") };
        self.note(format!("get {path} {print_default}{format}"));
        if path == "/missing" { Err("there is no /missing".to_owned()) } else { Ok("value".to_owned()) }
    }

    fn get_state(&mut self, path: &str, _: Format, print_default: bool) -> Result<String, String> {
        self.note(format!("get-state {path} {print_default}"));
        Ok("drops 0;\n".to_owned())
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.note(format!("set {path} {config}"));
        Ok(())
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.note(format!("add {path} {config}"));
        Ok(())
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.note(format!("remove {path}"));
        Ok(())
    }
}

/// Runs `act` while an instance called paris serves; what it was told.
fn recorded(act: impl FnOnce(&Path)) -> Vec<String> {
    let notes = Mutex::new(Vec::new());
    while_serving(&mut Recorder(&notes), act);
    notes.into_inner().unwrap()
}

#[test]
fn a_running_instance_is_read_and_changed() {
    let notes = recorded(|root| {
        let config = |args: &[&str], input: &str| {
            let mut command = program();
            command.arg("config").args(args).env("SNABB_SHM_ROOT", root);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // The program need not read what it has no use for.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap();
            (output.status.code().unwrap(), stdout(&output).to_owned(), stderr(&output).to_owned())
        };
        let silent = |code| (code, String::new(), String::new());
        assert_eq!(config(&["get", "paris", "/mtu"], ""), (0, "value\n".into(), String::new()));
        assert_eq!(config(&["get", "--print-default", "-f", "yang", "paris", "/"], "").0, 0);
        assert_eq!(config(&["get-state", "paris", "/s"], ""), (0, "drops 0;\n\n".into(), String::new()));
        assert_eq!(
            config(&["get", "paris", "/missing"], ""),
            (1, "there is no /missing\n".into(), String::new())
        );
        assert_eq!(config(&["set", "paris", "/mtu", "-5"], ""), silent(0));
        assert_eq!(config(&["set", "paris", "/"], "mtu 1;\n"), silent(0));
        assert_eq!(config(&["add", "paris", "/route4", "{ id a; }"], ""), silent(0));
        assert_eq!(config(&["remove", "paris", "/route4[id=a]"], ""), silent(0));
        let file = root.join("all.conf");
        std::fs::write(&file, "mtu 2;").unwrap();
        assert_eq!(config(&["load", "paris", file.to_str().unwrap()], ""), silent(0));
        assert_eq!(
            config(&["get", "--schema-name=other", "-r", "2020-01-01", "paris", "/"], ""),
            (1, "unsupported schema: other (this instance serves toy)\n".into(), String::new())
        );
        assert_eq!(config(&["get", "--format", "xpath", "paris", "/"], "").0, 0);
    });
    let expected = [
        "get /mtu false",
        "get / true",
        "get-state /s false",
        "get /missing false",
        "set /mtu -5",
        "set / mtu 1;\n",
        "add /route4 { id a; }",
        "remove /route4[id=a]",
        "set / mtu 2;",
        "get / false xpath",
    ];
    assert_eq!(notes, expected);
}

/// A deployed gateway: the same schema, and no JSON.
struct Deployed<'a>(Recorder<'a>);

impl Handler for Deployed<'_> {
    fn schema(&self) -> &str {
        "vita-esp-gateway"
    }

    fn schema_source(&self, _: &str) -> Option<&str> {
        None
    }

    fn get_config(&mut self, path: &str, format: Format, _: bool) -> Result<String, String> {
        self.0.note(format!("get {path} {format}"));
        match format {
            Format::Json => Err("lib/yang/data.lua:1: Not valid output format".to_owned()),
            _ => Ok("ip 10.0.0.1;\nnexthop-ip 10.0.0.2;\n".to_owned()),
        }
    }

    fn get_state(&mut self, path: &str, format: Format, _: bool) -> Result<String, String> {
        self.get_config(path, format, false)?;
        Ok("rxerrors 7;\n".to_owned())
    }

    fn set_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.0.set_config(path, config)
    }

    fn add_config(&mut self, path: &str, config: &str) -> Result<(), String> {
        self.0.add_config(path, config)
    }

    fn remove_config(&mut self, path: &str) -> Result<(), String> {
        self.0.remove_config(path)
    }
}

#[test]
fn a_deployed_gateway_gets_normal_paths_and_text_and_is_read_as_json_all_the_same() {
    let notes = Mutex::new(Vec::new());
    while_serving(&mut Deployed(Recorder(&notes)), |root| {
        let config = |args: &[&str]| {
            let output = program().arg("config").args(args).env("SNABB_SHM_ROOT", root).output().unwrap();
            (stdout(&output).to_owned(), output.status.code().unwrap())
        };
        let done = (String::new(), 0);
        assert_eq!(config(&["remove", "paris", "inbound-sa[spi=0x105]/"]), done);
        assert_eq!(config(&["remove", "paris", "//route4[id=a]/gateway[ip=192.0.2.1]"]), done);
        assert_eq!(config(&["set", "paris", "/mtu", "{\"vita-esp-gateway:mtu\": 1440}"]), done);
        assert_eq!(config(&["set", "-f", "json", "paris", "/mtu", "1441"]), done);
        let gateways = "{ \"vita-esp-gateway:gateway\": [ { \"ip\": \"192.0.2.1\", \"queue\": 2 } ] }";
        assert_eq!(config(&["add", "paris", "/route4[id=a]/gateway", gateways]), done);
        let printed = config(&["get", "-f", "json", "paris", "/private-interface4"]);
        let interface = "{\n  \"vita-esp-gateway:private-interface4\": {\n    \"ip\": \"10.0.0.1\",\n    \"nexthop-ip\": \"10.0.0.2\"\n  }\n}\n\n";
        assert_eq!(printed, (interface.to_owned(), 0));
        let (printed, code) = config(&["get-state", "-f", "json", "paris", "/gateway-state/public-dispatch"]);
        let counters = "{\n  \"vita-esp-gateway:public-dispatch\": {\n    \"rxerrors\": \"7\"\n  }\n}\n\n";
        assert_eq!((printed.as_str(), code), (counters, 0));
    });
    let expected = [
        "remove /inbound-sa[queue=1][spi=261]",
        "remove /route4[id=a]/gateway[ip=192.0.2.1]",
        "set /mtu 1440",
        "set /mtu 1441",
        "add /route4[id=a]/gateway {\n  ip 192.0.2.1;\n  queue 2;\n}\n",
        "get /private-interface4 json",
        "get /private-interface4 yang",
        "get /gateway-state/public-dispatch json",
        "get /gateway-state/public-dispatch yang",
    ];
    assert_eq!(notes.into_inner().unwrap(), expected);
}

#[test]
fn another_user_is_turned_away_even_where_file_modes_would_let_it_in() {
    let notes = recorded(|root| {
        if std::fs::metadata(root).unwrap().uid() != 0 {
            return; // only root can become somebody else
        }
        let program = root.join("vita");
        // By another process: what this one writes, children of other tests hold open for a moment, and the kernel
        // does not run a file that is open for writing.
        assert!(Command::new("cp").args([Path::new(VITA), &program]).status().unwrap().success());
        let instance = root.join(std::process::id().to_string());
        for open in [root, &root.join("by-name"), &instance, &instance.join("config-leader-socket"), &program]
        {
            std::fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
        }
        let get = |user| {
            let mut command = Command::new(&program);
            command.args(["config", "get", "paris", "/mtu"]).env("SNABB_SHM_ROOT", root).uid(user);
            command.output().unwrap()
        };
        assert_eq!(get(0).status.code(), Some(0));
        let output = get(NOBODY);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("closed the connection without an answer"), "{}", stderr(&output));
    });
    assert!(notes.len() <= 1, "{notes:?}");
}

const NOBODY: u32 = 65534;
