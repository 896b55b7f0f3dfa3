// SPDX-License-Identifier: Apache-2.0
//! Hears what neighbours say to everyone, and tells the workers it concerns. See [`device::Listener`].

use super::devices::DeviceId;
use super::layout::{self, Layout, OwnAddresses};
use crate::clock::Instant;
use crate::config::Config;
use crate::count::Side;
use crate::device::Attachment;
use crate::device::{self, Device, Interest};
use crate::stage::NeighbourFrame;
use crate::wire::nd;
use crate::worker::WorkerPlacement;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::Duration;

/// One listener for each device that workers use.
#[derive(Default)]
pub(super) struct Listeners {
    of: BTreeMap<DeviceId, Listening>,
}

struct Listening {
    listener: device::Listener,
    /// Until then nothing is read: there was too much.
    paused_until: Option<Instant>,
    had_link: bool,
}

impl Listeners {
    /// Listens on the devices of this layout, and on no other. A gateway runs without it, so a failure is but told.
    pub(super) fn follow(&mut self, config: &Config, layout: &Layout) {
        let interests = interests(config, layout.placements());
        let devices = layout.devices();
        self.of.retain(|place, _| interests.contains_key(place));
        for (place, interest) in interests {
            let Some(device) = devices.get(&place) else { continue };
            if let Err(error) = self.listen(&place, device, &interest) {
                tracing::warn!(
                    "interface {}: cannot listen to neighbours: announcements of next hops are missed, and the device \
                     may drop questions for IPv6 addresses: {error}",
                    device.name
                );
            }
        }
    }

    fn listen(&mut self, place: &DeviceId, device: &Device, interest: &Interest) -> std::io::Result<()> {
        if let Some(listening) = self.of.get_mut(place) {
            return listening.listener.listen(device, interest);
        }
        let mut listener = device::Listener::open(device)?;
        let listened = listener.listen(device, interest);
        let had_link = listener.has_link();
        self.of.insert(*place, Listening { listener, paused_until: None, had_link });
        listened
    }

    /// Listens no more on a device that has gone, and may come back.
    pub(super) fn forget(&mut self, place: DeviceId) {
        self.of.remove(&place);
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        let active = self.of.values().filter(|listening| listening.paused_until.is_none());
        active.flat_map(|listening| listening.listener.fds())
    }

    /// When [`Listeners::receive`] is due even if nothing has arrived.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.of.values().filter_map(|listening| listening.paused_until).min()
    }

    /// Takes what has arrived: a bounded number of frames at a time, and at a bounded rate.
    pub(super) fn receive(&mut self, now: Instant, mut take: impl FnMut(&DeviceId, &[u8])) {
        let mut buffer = [0; NeighbourFrame::LONGEST];
        for (place, listening) in &mut self.of {
            if listening.paused_until.is_some_and(|until| now < until) {
                continue;
            }
            let is_more = listening.listener.receive(MOST_AT_A_TIME, &mut buffer, |frame| take(place, frame));
            listening.paused_until = is_more.then(|| now + PAUSE);
        }
    }

    /// The devices that have a link and did not have one before.
    pub(super) fn links_that_came(&mut self) -> Vec<DeviceId> {
        let mut came = Vec::new();
        for (place, listening) in &mut self.of {
            let had_link = std::mem::replace(&mut listening.had_link, listening.listener.has_link());
            if listening.had_link && !had_link {
                came.push(*place);
            }
        }
        came
    }
}

/// The sides that a worker has on a device.
pub(super) fn sides<'a>(
    placement: &'a WorkerPlacement,
    place: &'a DeviceId,
) -> impl Iterator<Item = Side> + 'a {
    let sides = [(Side::Private, &placement.private), (Side::Public, &placement.public)];
    sides.into_iter().filter_map(move |(side, attachment)| {
        attachment.as_ref().is_some_and(|attachment| layout::place(attachment) == *place).then_some(side)
    })
}

fn interests<'a>(config: &Config, placements: &'a [WorkerPlacement]) -> BTreeMap<DeviceId, Interest> {
    let mut interests = BTreeMap::<DeviceId, Interest>::new();
    for placement in placements {
        let public = config.public.iter().filter(|public| public.queue == placement.queue);
        let private_next_hops =
            config.private.iter().map(|private| (private.nexthop_ip, private.nexthop_mac));
        let public_next_hops = public.map(|public| (public.nexthop_ip, public.nexthop_mac));
        let device =
            |attachment: &'a Option<Attachment>| attachment.as_ref().map(|attachment| &attachment.device);
        let [own_private, own_public] = [
            OwnAddresses::private(config, device(&placement.private)),
            OwnAddresses::public(config, placement.queue, device(&placement.public)),
        ];
        for (attachment, own, next_hops) in [
            (&placement.private, own_private, private_next_hops.collect::<Vec<_>>()),
            (&placement.public, own_public, public_next_hops.collect()),
        ] {
            let (Some(attachment), Some(own)) = (attachment, own) else { continue };
            let interest = interests.entry(layout::place(attachment)).or_default();
            interest.macs.insert(own.mac.0);
            if let Some(ip) = own.ip.v6 {
                let groups = [nd::solicited_node(ip), nd::ALL_NODES];
                interest.macs.extend(groups.map(|group| nd::group_mac(group).0));
                interest.queries = true;
            }
            // An address that is configured is not learnt.
            for (ip, mac) in next_hops {
                match (ip, mac) {
                    (IpAddr::V4(ip), None) => _ = interest.ipv4.insert(ip),
                    (IpAddr::V6(ip), None) => _ = interest.ipv6.insert(ip),
                    _ => {}
                }
            }
        }
    }
    interests
}

/// Frames of one socket. A flood costs the control thread no more than this, ten times a second.
const MOST_AT_A_TIME: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
