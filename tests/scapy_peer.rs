// SPDX-License-Identifier: Apache-2.0
//! The real daemon between a far gateway and hosts that are both played by scapy, which shares no code with us: the
//! other end of the tunnels is somebody else's ESP. Keys are configured.
//!
//! ```text
//!   scapy, as hosts ──── lan [vita] wan ──── scapy, as the far gateways and the hosts behind them
//! ```
//!
//! One daemon has a tunnel of each family, and each tunnel carries both families; a third one says when all is done. The stories are in `tests/scapy/`; they
//! wait for packets, never for a time. They need root, /usr/bin/python3 with scapy and cryptography, and fail without.

use crate::support::VITA;
use crate::support::netns::Netns;
use std::process::{Child, Stdio};
use vita::esp::WINDOW;

#[test]
fn host_packets_come_out_sealed_under_consecutive_numbers() {
    play("outbound", "", 0);
}

#[test]
fn what_the_peer_seals_comes_out_as_it_was_one_hop_older() {
    play("inbound", "", 0);
}

#[test]
fn numbers_pass_the_32nd_bit_both_ways() {
    play("long_numbers", "", (1 << 32) - 4);
}

#[test]
fn the_anti_replay_window_lets_pass_what_is_fresh_and_authentic() {
    play("replay", "", 0);
}

#[test]
fn with_tfc_all_packets_look_the_same_and_what_the_peer_adds_is_cut() {
    play("tfc", "tfc true;", 0);
}

#[test]
fn authentic_nonsense_is_counted_and_goes_nowhere() {
    play("strange", "", 0);
}

/// Has scapy act out a story with a gateway whose associations go on after the number `last`.
fn play(story: &str, more: &str, last: u64) {
    let (gateway, world) = (Netns::new(), Netns::new());
    for cable in ["lan", "wan"] {
        gateway.veth(cable, &world, cable, 1);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [file, log, run] = ["gateway.conf", "log", "run"].map(|name| directory.path().join(name));
    std::fs::write(&file, configuration(more, last)).expect("the directory can be written");
    let output = std::fs::File::create(&log).expect("the directory can be written");
    // Dies with the test, however that ends.
    let mut daemon = gateway.command("setpriv");
    daemon.args(["--pdeathsig", "KILL", VITA, "--name", "scapy", "--config"]).arg(&file);
    daemon.env("SNABB_SHM_ROOT", &run).env("VITA_STATE_DIR", directory.path().join("state"));
    daemon.stdin(Stdio::null());
    daemon.stdout(output.try_clone().expect("a descriptor is free")).stderr(output);
    let daemon = Daemon(daemon.spawn().expect("setpriv is installed"));

    let mut scapy = world.command("timeout");
    scapy.args(["120", "/usr/bin/python3", "-B", STORIES, story, VITA]);
    scapy.args([last.to_string(), WINDOW.to_string(), MTU.to_string()]).env("SNABB_SHM_ROOT", &run);
    let output = scapy.output().expect("timeout is installed");
    drop(daemon);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(output.status.success(), "{story}: {}\n{said}\n--- the log of vita:\n{log}", output.status);
}

/// tests/scapy/world.py knows the same addresses and derives the keys the same way.
fn configuration(more: &str, last: u64) -> String {
    let associations = [("four", 4, last), ("six", 6, last), ("fence", 9, 0)].map(|(route, digit, last)| {
        let entry = |list: &str, spi: u32| {
            format!(
                "{list}-sa {{ route {route}; queue 1; spi {spi}; aead aes-gcm-16-icv; key \"{spi:032x}\";
                              salt \"{spi:08x}\"; sequence-number {last}; }}\n"
            )
        };
        entry("outbound", 1000 + digit) + &entry("inbound", 2000 + digit)
    });
    format!(
        "private-interface4 {{ ifname lan; mac {INSIDE}; ip 10.31.0.20; nexthop-ip 10.31.0.50; nexthop-mac {HOST}; }}
         private-interface6 {{ ifname lan; mac {INSIDE}; ip 2001:db8:31::20; nexthop-ip 2001:db8:31::50;
                               nexthop-mac {HOST}; }}
         public-interface4 {{ ifname wan; mac {OUTSIDE}; ip 192.0.2.31; nexthop-ip 192.0.2.32; nexthop-mac {PEER}; }}
         public-interface6 {{ ifname wan; mac {OUTSIDE}; ip 2001:db8:ffff::31; nexthop-ip 2001:db8:ffff::32;
                              nexthop-mac {PEER}; }}
         route4 {{ id four; spi 1031; preshared-key {:064x}; net 10.32.0.0/16; additional-net 2001:db8:32::/48;
                   gateway {{ ip 192.0.2.32; }} }}
         route6 {{ id six; spi 1032; preshared-key {:064x}; net 2001:db8:33::/48; additional-net 10.33.0.0/16;
                   gateway {{ ip 2001:db8:ffff::32; }} }}
         route4 {{ id fence; spi 1033; preshared-key {:064x}; net 10.34.0.0/16; gateway {{ ip 192.0.2.33; }} }}
         mtu {MTU};
         data-plane true;
         {more}
         {}",
        1,
        2,
        3,
        associations.concat()
    )
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scapy/stories.py");
/// Less than either tunnel could take over a path of 1500 bytes, so that it is the same for both.
const MTU: u16 = 1300;
const INSIDE: &str = "02:00:00:00:1f:01";
const OUTSIDE: &str = "02:00:00:00:1f:02";
const HOST: &str = "02:00:00:00:00:09";
const PEER: &str = "02:00:00:00:00:08";
