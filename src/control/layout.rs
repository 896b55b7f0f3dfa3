// SPDX-License-Identifier: Apache-2.0
//! Which devices a configuration uses, and which worker sits on which of their queues.

use super::watch::{self, Devices};
use super::{ApplyError, Options};
use crate::config::{Config, Link};
use crate::frame::{CHUNK, HEADROOM};
use crate::wire::{Mac, esp, ethernet, ipv4};
use crate::worker::{Attachment, Seat};
use crate::xdp::{Device, DeviceError, Filter};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// A device by name and index: an interface that was deleted and made again is another one.
pub type Place = (String, u32);

/// The seats of all workers that can work, every device read and found fit.
pub struct Layout {
    seats: Vec<Seat>,
    /// Queues whose interfaces are not fit now, and why.
    waiting: BTreeMap<u16, DeviceError>,
    watched: Devices,
}

/// What runs already. Its interfaces may be broken at the moment without keeping anything else from being configured.
pub struct Known<'a> {
    /// Device queues of the running configuration.
    configured: BTreeSet<(&'a str, u16)>,
    running: BTreeSet<(Place, u32)>,
}

impl<'a> Known<'a> {
    pub fn new(config: &'a Config, seats: impl Iterator<Item = &'a Seat>) -> Known<'a> {
        let attachments = seats.flat_map(|seat| [&seat.private, &seat.public]).flatten();
        Known {
            configured: device_queues(config).collect(),
            running: attachments.map(|attachment| (place(attachment), attachment.queue)).collect(),
        }
    }
}

impl Layout {
    /// Reads the devices. Says what is wrong with them, and changes nothing. One that the running configuration
    /// has as well is waited for; a worker that runs goes on while its device is down.
    pub fn of(config: &Config, options: &Options, known: &Known<'_>) -> Result<Layout, ApplyError> {
        let watched = watch::devices(config);
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
        let is_known = |link: &Link, queue: u16| matches!(link, Link::Interface(name) if known.configured.contains(&(name.as_str(), queue)));
        let (mut seats, mut waiting) = (Vec::new(), BTreeMap::new());
        let interfaces = config.private.iter().flat_map(|private| {
            config.public.iter().enumerate().map(move |(index, public)| (index, private, public))
        });
        for (index, private, public) in interfaces {
            let sides = [(&private.link, public.queue), (&public.link, public.device_queue)];
            let mut attached = Vec::new();
            for (link, queue) in sides {
                match attach(link, queue) {
                    Ok(attachment) => attached.push(attachment),
                    Err(error) if is_known(link, queue) => {
                        waiting.insert(public.queue, error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if let Ok([private, public_attachment]) = <[_; 2]>::try_from(attached) {
                seats.push(Seat {
                    queue: public.queue,
                    private,
                    public: public_attachment,
                    cpu: options.cpus.get(index).copied(),
                    busywait: options.busywait,
                    realtime: options.realtime,
                });
            }
        }
        Ok(Layout { seats, waiting, watched })
    }

    /// Queues that have no worker until their interfaces are fit.
    pub fn waiting(&self) -> &BTreeMap<u16, DeviceError> {
        &self.waiting
    }

    /// All interfaces of the configuration as they are, missing ones included.
    pub fn watched(&self) -> &Devices {
        &self.watched
    }

    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub fn seat(&self, queue: u16) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.queue == queue)
    }

    /// Every device once.
    pub fn devices(&self) -> BTreeMap<Place, &Device> {
        let attachments = self.seats.iter().flat_map(|seat| [&seat.private, &seat.public]).flatten();
        attachments.map(|attachment| (place(attachment), &attachment.device)).collect()
    }

    /// Which frames are the gateway's on each device. Several interfaces may be on one.
    pub fn filters(&self, config: &Config) -> BTreeMap<Place, Vec<Filter>> {
        let mut filters = BTreeMap::<Place, Vec<Filter>>::new();
        for seat in &self.seats {
            let private = config.private.as_ref().map(|private| (private.mac, private.ip));
            let public = config.public(seat.queue).map(|public| (public.mac, public.ip));
            for (attachment, configured, side) in
                [(&seat.private, private, Side::Private), (&seat.public, public, Side::Public)]
            {
                if let (Some(attachment), Some((mac, IpAddr::V4(ip)))) = (attachment, configured) {
                    let Mac(mac) = own_mac(mac, Some(attachment), ip, side);
                    let filter = Filter { mac, ipv4: Some(ip) };
                    let of_device = filters.entry(place(attachment)).or_default();
                    // The private interface is the same for every seat.
                    if !of_device.contains(&filter) {
                        of_device.push(filter);
                    }
                }
            }
        }
        filters
    }

    /// The largest inner packet that every interface can carry, at most what is configured.
    pub fn effective_mtu(&self, config: &Config) -> u16 {
        let mut mtu = u32::from(config.mtu).min(LARGEST_IN_A_CHUNK);
        for seat in &self.seats {
            if let Some(private) = &seat.private {
                mtu = mtu.min(private.device.mtu);
            }
            if let Some(public) = &seat.public {
                mtu = mtu.min(inner_mtu(public.device.mtu));
            }
        }
        // At most what was configured, which has this type.
        mtu as u16
    }
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

pub enum Side {
    Private,
    Public,
}

/// The address an interface has: configured, else the device's, else derived from the IP address.
pub fn own_mac(configured: Option<Mac>, attachment: Option<&Attachment>, ip: Ipv4Addr, side: Side) -> Mac {
    let derived = || {
        let [a, b, c, d] = ip.octets();
        let first = match side {
            Side::Private => 0x2a,
            Side::Public => 0x3a,
        };
        Mac([first, 0xbb, a, b, c, d])
    };
    configured.or(attachment.map(|attachment| Mac(attachment.device.mac))).unwrap_or_else(derived)
}

/// Whether a worker on one seat would do the same on the other.
pub fn same(one: &Seat, other: &Seat) -> bool {
    let on = |attachment: &Option<Attachment>| {
        attachment.as_ref().map(|attachment| (place(attachment), attachment.queue))
    };
    on(&one.private) == on(&other.private)
        && on(&one.public) == on(&other.public)
        && (one.cpu, one.busywait, one.realtime) == (other.cpu, other.busywait, other.realtime)
}

pub fn place(attachment: &Attachment) -> Place {
    (attachment.device.name.clone(), attachment.device.index)
}

/// The largest inner packet that fits an outer one of this size (RFC 4303: the trailer ends on four bytes).
fn inner_mtu(outer: u32) -> u32 {
    let sealed = outer.saturating_sub((ipv4::HEADER + esp::HEADER + esp::ICV) as u32);
    (sealed & !3).saturating_sub(esp::TRAILER as u32)
}

/// An inner packet with everything that is put around it, in one chunk; a frame arrives behind the headroom.
const LARGEST_IN_A_CHUNK: u32 = (CHUNK - HEADROOM - ethernet::HEADER - 3 - esp::TRAILER - esp::ICV) as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_mtu_is_what_deployed_gateways_compute() {
        for (path, inner) in [(1500, 1446), (3498, 3442), (8500, 8446), (9001, 8946)] {
            assert_eq!(inner_mtu(path), inner);
        }
        assert_eq!(inner_mtu(0), 0);
    }

    #[test]
    fn without_a_device_the_address_follows_from_ip() {
        let ip = [10, 20, 0, 1].into();
        assert_eq!(own_mac(None, None, ip, Side::Private), Mac([0x2a, 0xbb, 10, 20, 0, 1]));
        assert_eq!(own_mac(None, None, ip, Side::Public), Mac([0x3a, 0xbb, 10, 20, 0, 1]));
        let configured = Some(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(own_mac(configured, None, ip, Side::Public), Mac([2, 0, 0, 0, 0, 1]));
    }
}
