// SPDX-License-Identifier: Apache-2.0
//! Watches over what may leave in clear text: counts the packets that the XDP programs dropped because no worker served their
//! queue, and warns of settings under which packets go there, or past the gateway.

use super::devices::{self, DeviceId, Devices};
use super::layout::OwnAddresses;
use crate::clock::Instant;
use crate::config::{Config, Link, first_names};
use crate::device::{Device, Offloads, PinError, Pins, Program, Unserved};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Guard {
    /// Counted by programs that are no more.
    past: Unserved,
    /// Warnings that hold at present, each written to the log once.
    warned: BTreeSet<String>,
    look_at: Option<Instant>,
}

impl Guard {
    /// Keeps the counts of a program that is going to be detached.
    pub(super) fn retire(&mut self, program: &Program) {
        let Unserved { private, public } = program.unserved();
        self.past.private += private;
        self.past.public += public;
    }

    /// Counted so far, those of the past included.
    pub(super) fn unserved(&self, programs: &BTreeMap<DeviceId, Arc<Program>>) -> Unserved {
        programs.values().map(|program| program.unserved()).fold(self.past, |sum, program| Unserved {
            private: sum.private + program.private,
            public: sum.public + program.public,
        })
    }

    /// Looks, if it is time again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        config: &Config,
        devices: &Devices,
        programs: &BTreeMap<DeviceId, Arc<Program>>,
    ) {
        if self.look_at.is_none_or(|at| now >= at) {
            self.look_now(now, config, devices, programs);
        }
    }

    /// Warns of what is new.
    pub(super) fn look_now(
        &mut self,
        now: Instant,
        config: &Config,
        devices: &Devices,
        programs: &BTreeMap<DeviceId, Arc<Program>>,
    ) {
        self.look_at = Some(now + LOOK_EVERY);
        let mut warnings = BTreeSet::new();
        for device in devices.values().flatten() {
            warnings.extend(unserved_queues(device, &queues_in_use(config, &device.name)));
            warnings.extend(forwarding(&device.kernel_name));
            warnings.extend(merging(device));
            warnings.extend(same_address(config, device));
            let program = programs.get(&device.index);
            let untold = program.and_then(|program| program.check_tags(device).err());
            warnings.extend(untold.map(|error| error.to_string()));
        }
        for warning in warnings.difference(&self.warned) {
            tracing::warn!("{warning}");
        }
        self.warned = warnings;
    }
}

/// Has the programs outlive the process, if that is configured, and no others.
pub(super) fn pin(
    pins: &Pins,
    programs: &BTreeMap<DeviceId, Arc<Program>>,
    config: &Config,
) -> Result<(), PinError> {
    let pinned = pins.interfaces();
    for program in programs.values() {
        // One that was taken over may be pinned under a name that its interface no longer has.
        let is_pinned = program.is_pinned() && pinned.iter().any(|name| name == program.interface());
        if is_pinned != config.fail_closed {
            program.set_pinned(pins, config.fail_closed)?;
        }
    }
    // Of a process before this one, with another configuration. Nobody else has these links: they go with their pins.
    let names: BTreeSet<&str> = devices::names(config).collect();
    for interface in pins.interfaces() {
        if !names.contains(interface.as_str()) || !config.fail_closed {
            pins.unpin(&interface)?;
        }
    }
    Ok(())
}

/// Queues of a device that workers are configured to serve, counted from 1.
fn queues_in_use(config: &Config, name: &str) -> BTreeSet<u32> {
    let is_on = |link: &Link| matches!(link, Link::Interface(of_link) if of_link == name);
    let is_private = config.private.first().is_some_and(|private| is_on(&private.link));
    let private = config.workers().filter(|_| is_private).map(|public| public.queue);
    let public = config.workers().filter(|public| is_on(&public.link)).map(|public| public.device_queue);
    private.chain(public).map(u32::from).collect()
}

/// Frames may arrive on any queue that there is.
fn unserved_queues(device: &Device, in_use: &BTreeSet<u32>) -> Option<String> {
    let Device { name, queues, .. } = device;
    let last = *in_use.last()?;
    let without: Vec<u32> = (1..=queues.receiving).filter(|queue| !in_use.contains(queue)).collect();
    if without.is_empty() {
        return None;
    }
    let shown = first_names(&without, MOST_NAMED);
    let mut text = format!(
        "interface {name} has {} queues, and no worker serves {shown}: what arrives there is dropped \
         (unserved-packets)",
        queues.receiving
    );
    // Writing to a string cannot fail.
    if queues.receiving > last {
        let first =
            if device.driver == "veth" { "first at the other end of the veth pair, then " } else { "" };
        let _ = write!(text, ": {first}ethtool --set-channels {name} {}", queues.channels(last));
    } else {
        text.push_str(": configure a public interface with that queue");
    }
    Some(text)
}

/// A kernel that forwards does so with what is not the gateway's, and with everything once the gateway is gone.
fn forwarding(name: &str) -> Vec<String> {
    let settings = [
        (format!("/proc/sys/net/ipv4/conf/{name}/forwarding"), "IPv4", "net.ipv4.ip_forward"),
        (format!("/proc/sys/net/ipv6/conf/{name}/forwarding"), "IPv6", "net.ipv6.conf.all.forwarding"),
        (format!("/proc/sys/net/ipv6/conf/{name}/force_forwarding"), "IPv6", "force_forwarding"),
    ];
    let on = settings.iter().filter(|(path, ..)| {
        std::fs::read_to_string(path).is_ok_and(|value| !matches!(value.trim(), "0" | ""))
    });
    on.map(|(path, family, all)| {
        let setting = path.trim_start_matches("/proc/sys/");
        // A name with a dot needs the form with slashes.
        let dotted = setting.replace('/', ".");
        let setting = if name.contains('.') { setting } else { &dotted };
        format!(
            "interface {name}: the kernel forwards {family} ({all}): what is not the gateway's, and everything while \
             no gateway runs unless fail-closed is true, would be sent in clear text: sysctl -w {setting}=0"
        )
    })
    .collect()
}

/// Where both sides are on one device, only their addresses tell frames to one from frames to the other.
fn same_address(config: &Config, device: &Device) -> Option<String> {
    let is_on = |link: &Link| matches!(link, Link::Interface(name) if *name == device.name);
    let private = config.private.first().filter(|private| is_on(&private.link))?;
    let mac = OwnAddresses::private(config, Some(device))?.mac;
    let same = config.workers().filter(|public| is_on(&public.link)).find(|public| {
        OwnAddresses::public(config, public.queue, Some(device)).is_some_and(|own| own.mac == mac)
    })?;
    Some(format!(
        "interface {}: {} and {} have the same MAC address {mac}: what is sent to one may be taken for the other's; give \
         each a mac of its own",
        device.name, private.ip, same.ip
    ))
}

/// Below a stacked device packets are merged before the gateway sees them, and are then too long for it.
fn merging(device: &Device) -> Option<String> {
    // At the other end of a veth pair nothing is merged that comes here.
    let lower = device.lower.as_ref().filter(|_| device.driver != "veth")?;
    let Offloads { gro, lro, .. } = lower.offloads;
    let switches: Vec<&str> =
        [(gro, "gro off"), (lro, "lro off")].iter().filter(|one| one.0).map(|one| one.1).collect();
    (!switches.is_empty()).then(|| {
        format!(
            "interface {} is on top of {1}, which merges packets into larger ones than the gateway can carry; TCP becomes \
             very slow: ethtool -K {1} {2}",
            device.name,
            lower.name,
            switches.join(" ")
        )
    })
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Queues that a warning names.
const MOST_NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;
    use crate::device::{Lower, Queues};

    fn device(receiving: u32, separate: bool) -> Device {
        Device {
            name: "lan0".into(),
            kernel_name: "lan0".into(),
            is_altname: false,
            index: 7,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            driver: "ice".into(),
            driver_version: String::new(),
            queues: Queues { usable: receiving, maximum: 8, receiving, separate },
            offloads: Offloads::default(),
            lower: None,
        }
    }

    fn warning(device: &Device, in_use: &[u32]) -> Option<String> {
        unserved_queues(device, &in_use.iter().copied().collect())
    }

    #[test]
    fn sides_with_one_address_on_one_device_are_told() {
        let text = |mac: &str| {
            format!(
                "private-interface4 {{ ifname lan0; ip 10.0.0.1; nexthop-ip 10.0.0.2; }}
                 public-interface4 {{ ifname lan0; device-queue 2; {mac} ip 192.0.2.1; nexthop-ip 192.0.2.9; }}"
            )
        };
        let warning = |mac| same_address(Document::parse(&text(mac)).unwrap().config(), &device(2, false));
        let shown = warning("").unwrap();
        assert!(shown.contains("10.0.0.1 and 192.0.2.1") && shown.contains("02:00:00:00:00:01"), "{shown}");
        assert_eq!(warning("mac 02:00:00:00:00:02;"), None);
    }

    #[test]
    fn merging_below_a_stacked_device_is_told() {
        let lower =
            |gro, lro| Lower { name: "eth0".into(), offloads: Offloads { gro, lro, ..Offloads::default() } };
        let on = |lower| Device { driver: "macvlan".into(), lower: Some(lower), ..device(1, false) };
        assert_eq!(merging(&on(lower(false, false))), None);
        let text = merging(&on(lower(true, true))).unwrap();
        assert!(text.ends_with("ethtool -K eth0 gro off lro off"), "{text}");
        // At the other end of a cable nothing is merged that comes here.
        assert_eq!(merging(&Device { driver: "veth".into(), ..on(lower(true, false)) }), None);
    }

    #[test]
    fn queues_without_a_worker_are_named_with_the_command_that_takes_them_away() {
        assert_eq!(warning(&device(2, false), &[1, 2]), None);
        assert_eq!(warning(&device(4, false), &[]), None, "no worker is configured on it");
        let text = warning(&device(4, false), &[1]).unwrap();
        assert!(text.contains("serves 2, 3, 4:"), "{text}");
        assert!(text.ends_with("ethtool --set-channels lan0 combined 1"), "{text}");
        let text = warning(&device(4, true), &[1, 2]).unwrap();
        assert!(text.ends_with("ethtool --set-channels lan0 rx 2 tx 2"), "{text}");
        let text = warning(&device(3, false), &[1, 3]).unwrap();
        assert!(text.contains("serves 2:") && text.contains("configure"), "{text}");
        let text = warning(&device(64, false), &[1]).unwrap();
        assert!(text.contains("10, 11, ..:"), "{text}");
    }
}
