// SPDX-License-Identifier: Apache-2.0
//! The real daemon with IPv6, between two sites: what a user would see.
//!
//! They need root, and fail without it.

use crate::support::two_sites::{SITES, TwoSites};
use std::io::{Read, Write};

fn host6(number: u8) -> String {
    format!("2001:db8:{number}::50")
}

fn private6(near: u8) -> String {
    format!("private-interface6 {{ ifname lan; ip 2001:db8:{near}::20; nexthop-ip 2001:db8:{near}::50; }}\n")
}

fn public6(near: u8, far: u8) -> String {
    format!(
        "public-interface6 {{ ifname wan; ip 2001:db8:ffff::{near}; nexthop-ip 2001:db8:ffff::{far}; }}\n"
    )
}

fn route6(far: u8, more: &str) -> String {
    format!(
        "route6 {{ id site{far}; spi 1031; preshared-key {KEY}; net \"2001:db8:{far}::/48\"; {more}
                  gateway {{ ip 2001:db8:ffff::{far}; }} }}\n"
    )
}

fn site6(near: u8, far: u8) -> String {
    private6(near) + &public6(near, far) + &route6(far, "")
}

fn host4(number: u8) -> String {
    format!("10.{number}.0.50")
}

fn private4(near: u8) -> String {
    format!("private-interface4 {{ ifname lan; ip 10.{near}.0.20; nexthop-ip 10.{near}.0.50; }}\n")
}

fn public4(near: u8, far: u8) -> String {
    format!("public-interface4 {{ ifname wan; ip 192.0.2.{near}; nexthop-ip 192.0.2.{far}; }}\n")
}

fn route4(far: u8, more: &str) -> String {
    format!(
        "route4 {{ id old{far}; spi 1032; preshared-key {OTHER_KEY}; net \"10.{far}.0.0/16\"; {more}
                  gateway {{ ip 192.0.2.{far}; }} }}\n"
    )
}

/// Both families inside, and one tunnel for both that is IPv4.
fn all_in_ipv4(near: u8, far: u8) -> String {
    let more = format!("additional-net \"2001:db8:{far}::/48\";");
    private4(near) + &private6(near) + &public4(near, far) + &route4(far, &more)
}

/// Both families inside, and one tunnel for both that is IPv6.
fn all_in_ipv6(near: u8, far: u8) -> String {
    let more = format!("additional-net \"10.{far}.0.0/16\";");
    private4(near) + &private6(near) + &public6(near, far) + &route6(far, &more)
}

/// Each family in a tunnel of its own, at the same time.
fn side_by_side(near: u8, far: u8) -> String {
    private4(near) + &public4(near, far) + &route4(far, "") + &site6(near, far)
}

/// Addresses that a traceroute meets.
fn hops(sites: &TwoSites, options: &str, target: &str) -> Vec<String> {
    let text = sites.host(31).run(&format!("traceroute -n -q 1 -w 5 -m 8 {options} {target}"));
    let lines = text.lines().skip(1);
    lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_string).collect()
}

/// What tracepath says of the way to a host: the path MTU, and how many hops it has.
fn path_mtu(sites: &TwoSites, from: u8, target: &str) -> (u16, u16) {
    // Another process than ping may have learnt it before.
    sites.host(from).run("ip route flush cache");
    sites.host(from).run("ip -6 route flush cache");
    let text = sites.host(from).run(&format!("tracepath -n -m 8 {target}"));
    let resume = text.lines().find_map(|line| line.trim().strip_prefix("Resume: "));
    let words: Vec<&str> = resume.unwrap_or_else(|| panic!("{text}")).split_whitespace().collect();
    let after = |name: &str| words.iter().skip_while(|word| **word != name).nth(1)?.parse().ok();
    (after("pmtu").unwrap_or_else(|| panic!("{text}")), after("hops").unwrap_or_else(|| panic!("{text}")))
}

#[test]
fn two_ipv6_sites_reach_each_other_through_exactly_two_gateways() {
    let sites = TwoSites::raise(site6);
    sites.await_tunnel(host6);
    for (here, there) in [(31, 32), (32, 31)] {
        for target in [host6(there), format!("2001:db8:{there}::20"), format!("2001:db8:{here}::20")] {
            sites.host(here).run(&format!("ping -6 -q -c 20 -i 0.02 -W 5 {target}"));
        }
    }
    let expected = ["2001:db8:31::20", "2001:db8:32::20", "2001:db8:32::50"];
    assert_eq!(hops(&sites, "-6 --udp", &host6(32)), expected);
    assert_eq!(hops(&sites, "-6 --icmp", &host6(32)), expected);
    for number in SITES {
        for place in ["private", "public", "inbound"] {
            assert_ne!(sites.state(number, &format!("/gateway-state/{place}-icmp6/echo-request")), "");
        }
        let state = sites.state(number, "/gateway-state");
        assert!(state.contains("private-icmp6") && !state.contains("icmp4"), "{state}");
        assert_eq!(sites.state(number, "/gateway-state/private-next-hop/nd-errors"), "0");
        assert_eq!(sites.state(number, "/gateway-state/public-next-hop/addresses-added"), "1");
    }
}

#[test]
fn tcp_works_with_the_default_offloads_of_veth_and_the_log_names_them() {
    let sites = TwoSites::raise(all_in_ipv4);
    for number in SITES {
        sites.host(number).run("ethtool -K lan tx on tso on gso on");
    }
    sites.await_tunnel(host4);
    for address in [host4, host6] {
        let bytes = vec![0x5a; 1 << 20];
        let target = std::net::SocketAddr::new(address(32).parse().unwrap(), 7000);
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| {
                sites.host(32).enter();
                std::net::TcpListener::bind(target).unwrap()
            });
            let listener = listener.join().unwrap();
            let receiver = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                received
            });
            scope.spawn(|| {
                sites.host(31).enter();
                let mut stream = std::net::TcpStream::connect(target).unwrap();
                stream.write_all(&bytes).unwrap();
            });
            assert!(receiver.join().unwrap() == bytes);
        });
    }
    for number in SITES {
        let log = sites.log(number);
        let lines = log
            .lines()
            .filter(|line| line.contains("interface lan: TCP and UDP packets come with unfinished"));
        let lines: Vec<&str> = lines.collect();
        assert!(lines.len() == 1 && lines[0].ends_with("ethtool -K PEER tx off"), "{log}");
        let count = sites.state(number, "/gateway-state/private-dispatch/partial-checksums");
        assert!(count.parse::<u64>().unwrap() > 10, "{count}");
    }
}

#[test]
fn what_is_too_big_for_the_tunnel_is_told_the_size_that_fits() {
    let sites = TwoSites::raise(site6);
    sites.await_tunnel(host6);
    assert_eq!(sites.state(31, "/gateway-state/effective-mtu"), "1426");
    let ping = |size: u16| {
        sites.host(31).try_run(&format!("ping -6 -M do -c 2 -i 0.2 -W 3 -s {size} {}", host6(32)))
    };
    let refused = ping(1426 - 48 + 1).unwrap_err();
    assert!(refused.contains("Packet too big: mtu=1426") || refused.contains("mtu: 1426"), "{refused}");
    ping(1426 - 48).unwrap();
    // What Linux has learnt is what it sends from now on.
    let route = sites.host(31).run(&format!("ip -6 route get {}", host6(32)));
    assert!(route.contains("mtu 1426"), "{route}");
}

#[test]
fn tcp_transfers_complete_both_ways() {
    let sites = TwoSites::raise(site6);
    sites.await_tunnel(host6);
    transfer(&sites, &host6(32));
}

#[test]
fn packets_of_both_families_pass_a_tunnel_of_either() {
    for (configuration, mtu) in [(all_in_ipv4 as fn(u8, u8) -> String, 1446), (all_in_ipv6, 1426)] {
        let sites = TwoSites::raise(configuration);
        sites.await_tunnel(host6);
        sites.await_tunnel(host4);
        for probe in ["--icmp", "--udp"] {
            assert_eq!(
                hops(&sites, &format!("-6 {probe}"), &host6(32)),
                ["2001:db8:31::20", "2001:db8:32::20", "2001:db8:32::50"]
            );
            assert_eq!(
                hops(&sites, &format!("-4 {probe}"), &host4(32)),
                ["10.31.0.20", "10.32.0.20", "10.32.0.50"]
            );
        }
        for (here, there) in [(31, 32), (32, 31)] {
            assert_eq!(path_mtu(&sites, here, &host4(there)), (mtu, 3));
            assert_eq!(path_mtu(&sites, here, &host6(there)), (mtu, 3));
        }
        for (target, headers) in [(host4(32), 28), (host6(32), 48)] {
            let ping = |size: u16| {
                sites.host(31).try_run(&format!("ping -M do -c 2 -i 0.2 -W 3 -s {size} {target}"))
            };
            ping(mtu - headers).unwrap();
            let refused = ping(mtu - headers + 1).unwrap_err();
            assert!(refused.contains(&mtu.to_string()), "{refused}");
            transfer(&sites, &target);
        }
        for number in SITES {
            let state = sites.state(number, "/gateway-state");
            assert!(state.contains("private-icmp4") && state.contains("private-icmp6"), "{state}");
            assert_eq!(sites.state(number, "/gateway-state/effective-mtu"), mtu.to_string());
        }
    }
}

#[test]
fn each_family_may_have_its_own_tunnels_in_one_gateway() {
    let sites = TwoSites::raise(side_by_side);
    sites.await_tunnel(host6);
    sites.await_tunnel(host4);
    let ping = |target: String, size: u16| {
        sites.host(31).try_run(&format!("ping -M do -c 2 -i 0.2 -W 3 -s {size} {target}"))
    };
    // Each has the room that its own outer header leaves.
    ping(host4(32), 1446 - 28).unwrap();
    ping(host6(32), 1426 - 48).unwrap();
    assert!(ping(host4(32), 1446 - 28 + 1).unwrap_err().contains("1446"));
    assert!(ping(host6(32), 1426 - 48 + 1).unwrap_err().contains("1426"));
    for (here, there) in [(31, 32), (32, 31)] {
        assert_eq!(path_mtu(&sites, here, &host4(there)), (1446, 3));
        assert_eq!(path_mtu(&sites, here, &host6(there)), (1426, 3));
    }
    transfer(&sites, &host4(32));
    transfer(&sites, &host6(32));
}

/// 32 MB there and back.
fn transfer(sites: &TwoSites, target: &str) {
    let mut server = sites.host(32).command("setpriv");
    server.args(["--pdeathsig", "KILL", "iperf3", "-s", "-1", "--forceflush"]);
    for direction in ["", "-R"] {
        let mut server = server.stdout(std::process::Stdio::piped()).spawn().expect("iperf3 is installed");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let line = format!("timeout 60 iperf3 -c {target} -n 32M {direction}");
            match sites.host(31).try_run(&line) {
                Ok(text) => {
                    assert!(text.contains("receiver"), "{text}");
                    break;
                }
                // The server takes a moment.
                Err(text) => assert!(
                    text.contains("Connection refused") && std::time::Instant::now() < deadline,
                    "{text}"
                ),
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        server.wait().expect("it is our child");
    }
}

const KEY: &str = "00000000000000000000000000000000000000000000000000000000000ACAB1";
const OTHER_KEY: &str = "00000000000000000000000000000000000000000000000000000000000ACAB2";
