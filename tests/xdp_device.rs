// SPDX-License-Identifier: Apache-2.0
//! What the device layer says about interfaces that do not fit, and that doing what it says helps. Needs root.

use crate::support::netns::Netns;
use crate::support::veth::*;
use std::os::unix::process::ExitStatusExt;
use vita::frame::Port;
use vita::xdp::{Device, DeviceError, Hook, Offloads, Options, Program, ProgramError, Queues, Socket};

const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/vita.bpf.o");

/// Types what a message ends with.
fn obey(netns: &Netns, message: &str) {
    let start = [": ", "; ", "or "].iter().filter_map(|mark| Some(message.rfind(mark)? + mark.len())).max();
    netns.run(&message[start.unwrap()..]);
}

#[test]
fn each_complaint_about_an_interface_ends_with_the_command_that_mends_it() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("wan", &right, "peer", 4);
    left.run("ethtool --set-channels wan rx 2 tx 2");
    left.enter();
    assert!(matches!(Device::inspect("lan"), Err(DeviceError::Missing { interface }) if interface == "lan"));

    let wan = Device::inspect("wan").unwrap();
    assert_eq!(wan.queues, Queues { usable: 2, maximum: 4, receiving: 2, separate: true });
    assert_eq!((wan.driver.as_str(), wan.mtu, wan.up), ("veth", 1500, true));
    let address = left.run("ip -br link show wan");
    let mac = wan.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert!(address.contains(&mac), "{address} has {mac}");
    wan.check(1).unwrap();

    let error = wan.check(3).unwrap_err();
    assert!(matches!(error, DeviceError::NoSuchQueue { queue: 3, .. }), "{error}");
    obey(&left, &error.to_string());
    Device::inspect("wan").unwrap().check(3).unwrap();
    assert!(matches!(wan.check(4), Err(DeviceError::NeverSuchQueue { queue: 4, .. })));

    left.run("ip link set dev wan mtu 9000");
    let error = Device::inspect("wan").unwrap().check(0).unwrap_err();
    assert!(matches!(error, DeviceError::Mtu { mtu: 9000, limit: 3822, .. }), "{error}");
    obey(&left, &error.to_string());
    Device::inspect("wan").unwrap().check(0).unwrap();

    left.run("ip link set dev wan down");
    let error = Device::inspect("wan").unwrap().check(0).unwrap_err();
    assert!(matches!(error, DeviceError::Down { .. }), "{error}");
    obey(&left, &error.to_string());
    Device::inspect("wan").unwrap().check(0).unwrap();
}

#[test]
fn queues_are_found_without_the_drivers_help() {
    let netns = Netns::new();
    netns.run("ip link add hub type bridge");
    let hub = device(&netns, "hub");
    assert_eq!(hub.queues, Queues { usable: 1, maximum: 1, receiving: 1, separate: false });
}

#[test]
fn a_program_of_someone_else_is_left_alone() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("wan", &right, "peer", 1);
    for way in ["xdpdrv", "xdpgeneric"] {
        left.run(&format!("ip link set dev wan {way} obj {OBJECT} sec xdp"));
        let wan = device(&left, "wan");
        let error = Program::attach(&wan).unwrap_err();
        assert!(matches!(error, ProgramError::Occupied { id: 1.., .. }), "{error}");
        obey(&left, &error.to_string());
        Program::attach(&wan).unwrap();
    }
    let wan = device(&left, "wan");
    let first = Program::attach(&wan).unwrap();
    assert!(left.run("ip link show wan").contains("xdp"));
    // It is held by a link, which `ip link set .. xdp off` cannot take away: by this process.
    let error = Program::attach(&wan).unwrap_err().to_string();
    let process = format!("stop process {} (", std::process::id());
    assert!(error.contains(&process) && error.contains("bpftool link detach id "), "{error}");
    let id = error.rsplit(' ').next().unwrap();
    assert!(link_ids().contains(&id.to_string()), "{error}");
    assert!(left.try_run("ip link set dev wan xdp off").is_err());
    drop(first);
    assert!(!left.run("ip link show wan").contains("xdp"), "dropping detaches");
    Program::attach(&wan).unwrap();
}

/// Of the BPF links that this process holds.
fn link_ids() -> Vec<String> {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let ids = texts.flat_map(|text| {
        text.lines()
            .filter_map(|line| Some(line.strip_prefix("link_id:")?.trim().to_string()))
            .collect::<Vec<_>>()
    });
    ids.collect()
}

#[test]
fn a_device_whose_tags_the_program_cannot_see_is_refused() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("wan", &right, "peer", 1);
    left.run("ip link add link wan name virtual type macvlan mode bridge");
    let virtual_device = device(&left, "virtual");
    let program = Program::attach(&virtual_device).unwrap();
    assert_eq!((program.hook(), program.sees_tags()), (Hook::Generic, false));
    program.check_tags(&virtual_device).unwrap();
    let offloads = Offloads { vlan: true, ..virtual_device.offloads };
    let error = program.check_tags(&Device { offloads, ..virtual_device }).unwrap_err();
    assert!(error.to_string().ends_with("ethtool -K virtual rxvlan off"), "{error}");
    drop(program);
    // A veth tells, so it may take tags off.
    let wan = device(&left, "wan");
    assert!(wan.offloads.vlan);
    Program::attach(&wan).unwrap().check_tags(&wan).unwrap();
}

#[test]
fn a_driver_that_cannot_take_the_mtu_is_not_worked_around() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("wan", &right, "peer", 1);
    right.run("ip link set dev peer mtu 9000");
    let error = Program::attach(&device(&left, "wan")).unwrap_err();
    assert!(matches!(error, ProgramError::Mtu { mtu: 1500, .. }), "{error}");
    right.run("ip link set dev peer mtu 3498");
    Program::attach(&device(&left, "wan")).unwrap();
}

#[test]
fn a_driver_without_xdp_is_served_in_generic_mode() {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("one", &right, "two", 1);
    right.run("ip link add link two name virtual address 02:00:00:00:00:77 type macvlan mode bridge");
    right.run("ip link set dev virtual up");
    let (umem1, umem2) = (umem(), umem());
    let one = device(&left, "one");
    let mut sender = Socket::bind(&umem1, &one, 0, Options::default()).unwrap();
    let (device2, program, mut socket) = attach(&right, "virtual", &umem2);
    assert_eq!(program.hook(), Hook::Generic);
    assert!(right.run("ip link show virtual").contains("xdpgeneric"));
    let frames: Vec<Vec<u8>> = (0..50).map(|n| frame(device2.mac, 0x0800, n, 46 + 20 * n)).collect();
    send(&mut sender, umem1.pool(), &frames);
    assert!(receive_copies(&mut socket, 50) == frames);

    // And out again, at the other end into the kernel.
    let mut batch = [umem2.pool().copy_of(&frame(one.mac, 0x0800, 1, 46)).unwrap()].into_iter().collect();
    socket.transmit(&mut batch);
    settle(&mut socket, umem2.pool());
}

#[test]
fn the_program_is_gone_with_the_process_that_attached_it() {
    const NAMED: &str = "VITA_TEST_ATTACH_AND_DIE";
    if let Ok(interface) = std::env::var(NAMED) {
        // The child: it has been started inside the namespace.
        let program = Program::attach(&Device::inspect(&interface).unwrap()).unwrap();
        program.set_filters(&[filter([2; 6])]).unwrap();
        std::process::abort();
    }
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("wan", &right, "peer", 1);
    let this = std::env::current_exe().unwrap();
    let mut child = left.command(this.to_str().unwrap());
    child
        .args(["--exact", "xdp_device::the_program_is_gone_with_the_process_that_attached_it"])
        .env(NAMED, "wan");
    let output = child.output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", String::from_utf8_lossy(&output.stdout));
    eventually("the program is detached", || !left.run("ip link show wan").contains("xdp"));
    Program::attach(&device(&left, "wan")).unwrap();
}
