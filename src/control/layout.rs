// SPDX-License-Identifier: Apache-2.0
//! Which devices a configuration uses, and which worker sits on which of their queues.

use super::devices::{self, DeviceId, Devices};
use super::{ApplyError, Options};
use crate::config::{Config, Link};
use crate::count::Side;
use crate::device::{Attachment, Device, DeviceError, Filter};
use crate::frame::Pool;
use crate::wire::ip::{Addresses, Family};
use crate::wire::{Mac, envelope, esp, ethernet};
use crate::worker::WorkerPlacement;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The placements of all workers that can work, every device read and found fit.
pub struct Layout {
    placements: Vec<WorkerPlacement>,
    /// Queues whose interfaces are not fit now, and why.
    waiting: BTreeMap<u16, ApplyError>,
    /// Queues that may be without a worker without keeping anything else from being configured.
    optional: BTreeSet<u16>,
    watched: Devices,
}

/// What runs already. Its interfaces may be broken at the moment without keeping anything else from being configured.
pub struct RunningDevices {
    /// Device queues of the running configuration.
    configured: BTreeSet<(String, u16)>,
    running: BTreeSet<(DeviceId, u32)>,
    /// Whether every interface may be broken.
    lenient: bool,
    /// The interfaces as they were last seen.
    seen: Devices,
}

impl RunningDevices {
    pub fn new<'a>(
        config: &Config,
        placements: impl Iterator<Item = &'a WorkerPlacement>,
        seen: &Devices,
    ) -> RunningDevices {
        let attachments = placements.flat_map(|placement| [&placement.private, &placement.public]).flatten();
        RunningDevices {
            configured: device_queues(config).map(|(name, queue)| (name.to_string(), queue)).collect(),
            running: attachments.map(|attachment| (place(attachment), attachment.queue)).collect(),
            lenient: false,
            seen: seen.clone(),
        }
    }

    /// Whether a worker runs on this device.
    pub fn has_worker_on(&self, place: &DeviceId) -> bool {
        self.running.iter().any(|(running, _)| running == place)
    }

    /// Has every interface be waited for that is not fit, also where the running configuration does not have it.
    pub fn lenient(self, lenient: bool) -> RunningDevices {
        RunningDevices { lenient, ..self }
    }
}

impl Layout {
    /// Reads the devices. Says what is wrong with them, and changes nothing. One that the running configuration
    /// has as well is waited for; a worker that runs goes on while its device is down. Takes as long as the devices do.
    pub fn of(config: &Config, options: &Options, known: &RunningDevices) -> Result<Layout, ApplyError> {
        let watched = devices::inspect(devices::names(config), &known.seen);
        let attach = |link: &Link, queue: u16| -> Result<Option<Attachment>, DeviceError> {
            let Link::Interface(name) = link else { return Ok(None) };
            let device = match watched.get(name) {
                Some(Some(device)) => device.clone(),
                _ => Device::inspect(name)?,
            };
            // Queues count from 1 in the configuration and from 0 in the device.
            let attachment = Attachment { device, queue: u32::from(queue) - 1 };
            if !known.running.contains(&(place(&attachment), attachment.queue)) {
                attachment.device.check(attachment.queue)?;
            }
            Ok(Some(attachment))
        };
        let is_optional = |link: &Link, queue: u16| match link {
            Link::Interface(name) => known.lenient || known.configured.contains(&(name.clone(), queue)),
            _ => true,
        };
        let mut layout = Layout {
            placements: Vec::new(),
            waiting: BTreeMap::new(),
            optional: BTreeSet::new(),
            watched: watched.clone(),
        };
        let mut taken = BTreeMap::new();
        // Both families share the device, so the first private interface stands for either.
        let interfaces = config.private.first().into_iter().flat_map(|private| {
            config.workers().enumerate().map(move |(index, public)| (index, private, public))
        });
        for (index, private, public) in interfaces {
            let sides = [(&private.link, public.queue), (&public.link, public.device_queue)];
            let mut attached = Vec::new();
            for (link, queue) in sides {
                match attach(link, queue) {
                    Ok(attachment) => attached.push(attachment),
                    Err(error) if is_optional(link, queue) => {
                        layout.waiting.insert(public.queue, error.into());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if sides.iter().all(|(link, queue)| is_optional(link, *queue)) {
                layout.optional.insert(public.queue);
            }
            if let Ok([private, public_attachment]) = <[_; 2]>::try_from(attached) {
                let placement = WorkerPlacement {
                    queue: public.queue,
                    private,
                    public: public_attachment,
                    cpu: options.cpus.get(index).copied(),
                    busywait: options.busywait,
                    realtime: options.realtime,
                };
                match taken_twice(&mut taken, &placement) {
                    None => layout.placements.push(placement),
                    Some(error) if known.lenient => {
                        layout.waiting.insert(placement.queue, error);
                    }
                    Some(error) => return Err(error),
                }
            }
        }
        Ok(layout)
    }

    /// Takes the placements of a device away, which has a fault, if nothing else depends on that. Gives the error back if
    /// something does.
    pub fn do_without(&mut self, place: &DeviceId, error: ApplyError) -> Result<(), ApplyError> {
        let on_it = |placement: &WorkerPlacement| {
            [&placement.private, &placement.public]
                .into_iter()
                .flatten()
                .any(|one| self::place(one) == *place)
        };
        if self
            .placements
            .iter()
            .any(|placement| on_it(placement) && !self.optional.contains(&placement.queue))
        {
            return Err(error);
        }
        let text = error.to_string();
        for placement in self.placements.extract_if(.., |placement| on_it(placement)) {
            self.waiting.insert(placement.queue, ApplyError::Waits(text.clone()));
        }
        Ok(())
    }

    /// Whether a queue may be without a worker without keeping anything else from being configured.
    pub fn is_optional(&self, queue: u16) -> bool {
        self.optional.contains(&queue)
    }

    /// Queues that have no worker until their interfaces are fit.
    pub fn waiting(&self) -> &BTreeMap<u16, ApplyError> {
        &self.waiting
    }

    /// All interfaces of the configuration as they are, missing ones included.
    pub fn watched(&self) -> &Devices {
        &self.watched
    }

    pub fn placements(&self) -> &[WorkerPlacement] {
        &self.placements
    }

    pub fn placement(&self, queue: u16) -> Option<&WorkerPlacement> {
        self.placements.iter().find(|placement| placement.queue == queue)
    }

    /// Every device of the configuration that there is, whether a worker can work on it now or not: nothing may pass it in
    /// clear text.
    pub fn devices(&self) -> BTreeMap<DeviceId, &Device> {
        let devices = self.watched.values().flatten();
        devices.map(|device| (device.index, device)).collect()
    }

    /// Whether a worker is to use this device.
    pub fn has_worker_on(&self, place: &DeviceId) -> bool {
        let mut attachments =
            self.placements.iter().flat_map(|placement| [&placement.private, &placement.public]).flatten();
        attachments.any(|attachment| self::place(attachment) == *place)
    }

    /// Which frames are the gateway's on each device. Several interfaces may be on one.
    pub fn filters(&self, config: &Config) -> BTreeMap<DeviceId, Vec<Filter>> {
        let mut filters = BTreeMap::<DeviceId, Vec<Filter>>::new();
        let mut add = |link: &Link, side, own: &dyn Fn(&Device) -> Option<OwnAddresses>| {
            let Link::Interface(name) = link else { return };
            let Some(Some(device)) = self.watched.get(name) else { return };
            let Some(OwnAddresses { mac, ip }) = own(device) else { return };
            filters.entry(device.index).or_default().push(Filter {
                mac: mac.0,
                side,
                ipv4: ip.v4,
                ipv6: ip.v6,
                exchange_port: config.protocol_port,
            });
        };
        // Both families share the device.
        if let Some(private) = config.private.first() {
            add(&private.link, Side::Private, &|device| OwnAddresses::private(config, Some(device)));
        }
        for public in config.workers() {
            let own = |device: &Device| OwnAddresses::public(config, public.queue, Some(device));
            add(&public.link, Side::Public, &own);
        }
        filters
    }

    /// The largest inner packets that every interface can carry, at most what is configured.
    pub fn mtus(&self, config: &Config) -> Mtus {
        let mut inner = u32::from(config.mtu).min(LARGEST_IN_A_CHUNK);
        let mut outer = u32::MAX;
        for placement in &self.placements {
            inner = placement.private.iter().fold(inner, |mtu, private| mtu.min(private.device.mtu));
            outer = placement.public.iter().fold(outer, |mtu, public| mtu.min(public.device.mtu));
        }
        // At most what was configured, which has this type.
        let over = |family| inner.min(envelope::inner_mtu(family, outer)) as u16;
        Mtus { over_ipv4: over(Family::V4), over_ipv6: over(Family::V6) }
    }
}

/// The largest inner packets, by what they are wrapped in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mtus {
    over_ipv4: u16,
    over_ipv6: u16,
}

impl Mtus {
    pub fn of(&self, outer: Family) -> u16 {
        match outer {
            Family::V4 => self.over_ipv4,
            Family::V6 => self.over_ipv6,
        }
    }

    /// What fits every route's tunnel.
    pub fn least(&self, config: &Config) -> u16 {
        let outer = config.public.iter().map(|public| Family::of(public.ip));
        outer.map(|family| self.of(family)).min().unwrap_or(self.over_ipv4)
    }
}

/// Names may be different and the device the same (altnames), which the configuration does not show.
fn taken_twice(taken: &mut BTreeMap<(u32, u32), String>, placement: &WorkerPlacement) -> Option<ApplyError> {
    for attachment in [&placement.private, &placement.public].into_iter().flatten() {
        let Attachment { device, queue } = attachment;
        if let Some(other) = taken.insert((device.index, *queue), device.name.clone()) {
            let (interface, queue) = (device.name.clone(), queue + 1);
            return Some(ApplyError::TakenTwice { interface, other, queue });
        }
    }
    None
}

/// The private interface serves each worker with the queue of the worker's number.
fn device_queues(config: &Config) -> impl Iterator<Item = (&str, u16)> {
    let private = config.private.iter();
    let private =
        private.flat_map(|private| config.public.iter().map(|public| (&private.link, public.queue)));
    let public = config.public.iter().map(|public| (&public.link, public.device_queue));
    private.chain(public).filter_map(|(link, queue)| match link {
        Link::Interface(name) => Some((name.as_str(), queue)),
        _ => None,
    })
}

/// The gateway's addresses on one side of a placement.
pub(super) struct OwnAddresses {
    pub mac: Mac,
    pub ip: Addresses,
}

impl OwnAddresses {
    pub(super) fn private(config: &Config, device: Option<&Device>) -> Option<OwnAddresses> {
        let configured = config.private.iter().map(|private| (private.mac, private.ip));
        OwnAddresses::of(configured, device, DERIVED_PRIVATE)
    }

    /// The public addresses of a queue's worker.
    pub(super) fn public(config: &Config, queue: u16, device: Option<&Device>) -> Option<OwnAddresses> {
        let of_queue = config.public.iter().filter(|public| public.queue == queue);
        let configured = of_queue.map(|public| (public.mac, public.ip));
        OwnAddresses::of(configured, device, DERIVED_PUBLIC)
    }

    /// The MAC address is what is configured, else the device's, else derived from the first IP address.
    fn of(
        configured: impl Iterator<Item = (Option<Mac>, IpAddr)> + Clone,
        device: Option<&Device>,
        derived: [u8; 2],
    ) -> Option<OwnAddresses> {
        let (_, first) = configured.clone().next()?;
        let ip = configured.clone().map(|(_, ip)| ip).collect();
        let of_device = device.map(|device| Mac(device.mac));
        let mac = configured.clone().find_map(|(mac, _)| mac).or(of_device).unwrap_or_else(|| {
            let [a, b, c, d] = match first {
                IpAddr::V4(ip) => ip.octets(),
                IpAddr::V6(ip) => (u128::from(ip) as u32).to_be_bytes(),
            };
            let [first, second] = derived;
            Mac([first, second, a, b, c, d])
        });
        Some(OwnAddresses { mac, ip })
    }
}

/// Whether a worker on one placement would do the same on the other.
pub(super) fn same(one: &WorkerPlacement, other: &WorkerPlacement) -> bool {
    let on = |attachment: &Option<Attachment>| {
        attachment.as_ref().map(|attachment| (place(attachment), attachment.queue))
    };
    on(&one.private) == on(&other.private)
        && on(&one.public) == on(&other.public)
        && (one.cpu, one.busywait, one.realtime) == (other.cpu, other.busywait, other.realtime)
}

pub(super) fn place(attachment: &Attachment) -> DeviceId {
    attachment.device.index
}

/// An inner packet with everything that is put around it, in one chunk; a frame arrives behind the headroom.
const LARGEST_IN_A_CHUNK: u32 = (Pool::LONGEST - ethernet::HEADER - 3 - esp::TRAILER - esp::ICV) as u32;

/// How MAC addresses begin that are derived from IP addresses.
const DERIVED_PRIVATE: [u8; 2] = [0x2a, 0xbb];
const DERIVED_PUBLIC: [u8; 2] = [0x3a, 0xbb];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_the_address_follows_from_ip() {
        let mac = |configured: Option<Mac>, ip: &str, derived| {
            let configured = [(None, ip.parse().unwrap()), (configured, "2001:db8::9".parse().unwrap())];
            OwnAddresses::of(configured.into_iter(), None, derived).unwrap().mac
        };
        assert_eq!(mac(None, "10.20.0.1", DERIVED_PRIVATE), Mac([0x2a, 0xbb, 10, 20, 0, 1]));
        assert_eq!(mac(None, "10.20.0.1", DERIVED_PUBLIC), Mac([0x3a, 0xbb, 10, 20, 0, 1]));
        assert_eq!(mac(None, "2001:db8::a14:2", DERIVED_PUBLIC), Mac([0x3a, 0xbb, 0x0a, 0x14, 0, 2]));
        let configured = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(mac(Some(configured), "10.20.0.1", DERIVED_PUBLIC), configured);
    }
}
