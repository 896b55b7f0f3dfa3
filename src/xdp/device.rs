// SPDX-License-Identifier: Apache-2.0
//! An interface is read before it is used: what is wrong with it is said together with the command that
//! mends it.

use super::netlink;
use crate::frame::Pool;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What an interface of the current network namespace says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// As it is configured; may be an alternative name (`ip link property add dev X altname Y`).
    pub name: String,
    /// As the kernel calls it.
    pub kernel_name: String,
    /// Whether `name` is an alternative name.
    pub is_altname: bool,
    pub index: u32,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub up: bool,
    /// As `ethtool -i` shows it; empty where the driver has nothing to say.
    pub driver: String,
    pub driver_version: String,
    pub queues: Queues,
    pub offloads: Offloads,
    /// The device below this one, or at the other end of a veth pair, if it can be looked at from here.
    pub lower: Option<Lower>,
}

/// A device that others depend on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lower {
    pub name: String,
    pub offloads: Offloads,
}

/// What a device does to packets on their way in or out, as `ethtool -k` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offloads {
    /// Takes VLAN tags off received frames (`rxvlan`).
    pub vlan: bool,
    /// Merges received packets into larger ones (`gro`, `lro`).
    pub gro: bool,
    pub lro: bool,
    /// Leaves it to the device to compute the checksums of what is sent (`tx`).
    pub transmit_checksum: bool,
}

/// Receive and transmit queues, as `ethtool -l` shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queues {
    /// Queues that can both receive and transmit.
    pub usable: u32,
    /// To how many that can be raised.
    pub maximum: u32,
    /// Queues that frames arrive on.
    pub receiving: u32,
    /// Whether receiving and transmitting are set apart (`rx N tx N`) or together (`combined N`).
    pub separate: bool,
}

/// Why an interface cannot be used, and what to type.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("interface {interface}: there is none of this name; `ip link` lists those there are")]
    Missing { interface: String },
    #[error("interface {interface:?}: a name has 1 to 15 bytes, no `/` and no space")]
    Name { interface: String },
    #[error("interface {interface}: not an Ethernet interface, so no gateway can run on it")]
    NotEthernet { interface: String },
    #[error("interface {interface} is down: ip link set dev {interface} up")]
    Down { interface: String },
    #[error(
        "interface {interface} has no queue {}: {}; ethtool --set-channels {interface} {}",
        queue + 1, count(.queues.usable), .queues.channels(queue + 1)
    )]
    NoSuchQueue { interface: String, queue: u32, queues: Queues },
    #[error(
        "interface {interface} has no queue {} and cannot have it: {}, and can have {} at most; use another queue \
         or interface",
        queue + 1, count(.queues.usable), .queues.maximum
    )]
    NeverSuchQueue { interface: String, queue: u32, queues: Queues },
    #[error(
        "interface {interface} has MTU {mtu}, more than one XDP frame can hold ({limit}, {whose}): \
         ip link set dev {interface} mtu {limit}"
    )]
    Mtu { interface: String, mtu: u32, limit: u32, whose: &'static str },
    #[error(
        "interface {interface} takes VLAN tags off frames, and the XDP program does not see them ({reason}): tagged \
         frames would enter the tunnel{peer}: ethtool -K {interface} rxvlan off"
    )]
    Tags { interface: String, reason: &'static str, peer: &'static str },
    #[error("interface {interface}: cannot read its {what}: {source}")]
    System { interface: String, what: &'static str, source: io::Error },
}

impl Device {
    /// Reads the interface; anything that keeps it from being used at all is an error, a state that can be
    /// changed (down, too few queues, MTU) is left to [`Device::check`].
    pub fn inspect(name: &str) -> Result<Device, DeviceError> {
        let interface = || name.to_string();
        let valid = (1..libc::IFNAMSIZ).contains(&name.len())
            && !name.bytes().any(|b| b == b'/' || b == 0 || b.is_ascii_whitespace());
        let c_name = match CString::new(name) {
            Ok(c_name) if valid => c_name,
            _ => return Err(DeviceError::Name { interface: interface() }),
        };
        // SAFETY: a terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(DeviceError::Missing { interface: interface() });
        }
        let kernel_name = name_of(index).ok_or_else(|| DeviceError::Missing { interface: interface() })?;
        let failed = |what| move |source| DeviceError::System { interface: name.to_string(), what, source };
        let query = Query::new(&c_name).map_err(failed("state"))?;
        let (family, mac) = query.hardware_address().map_err(failed("MAC address"))?;
        if family != libc::ARPHRD_ETHER {
            return Err(DeviceError::NotEthernet { interface: interface() });
        }
        let (driver, driver_version) = query.driver();
        Ok(Device {
            name: interface(),
            is_altname: kernel_name != name,
            index,
            mac,
            mtu: query.mtu().map_err(failed("MTU"))?,
            up: query.is_up().map_err(failed("flags"))?,
            driver,
            driver_version,
            queues: query.queues(&kernel_name).map_err(failed("queues"))?.at_most(QUEUES_OF_THE_PROGRAM),
            offloads: query.offloads(),
            lower: lower(index),
            kernel_name,
        })
    }

    /// The same interface under the name it has now, if it is still in this namespace and has been renamed.
    pub fn renamed(before: &Device) -> Option<Device> {
        let now = Device::inspect(&name_of(before.index)?).ok()?;
        let is_same = (&now.driver, now.mac) == (&before.driver, before.mac);
        is_same.then(|| Device { name: before.name.clone(), is_altname: false, ..now })
    }

    /// How many interfaces lie below this one, one upon the other: a VLAN or macvlan is above its device, a bridge or bond
    /// above its ports. The kernel attaches no XDP program to an interface while one directly above it has one.
    pub fn height(&self) -> usize {
        height_of(&self.kernel_name, HIGHEST)
    }

    /// Names of the interfaces directly above this one.
    pub fn uppers(&self) -> Vec<String> {
        neighbours(&self.kernel_name, "upper_")
    }

    /// Whether an AF_XDP socket can serve this queue now.
    pub fn check(&self, queue: u32) -> Result<(), DeviceError> {
        let interface = || self.name.clone();
        if !self.up {
            return Err(DeviceError::Down { interface: interface() });
        }
        if queue >= self.queues.maximum {
            return Err(DeviceError::NeverSuchQueue { interface: interface(), queue, queues: self.queues });
        }
        if queue >= self.queues.usable {
            return Err(DeviceError::NoSuchQueue { interface: interface(), queue, queues: self.queues });
        }
        let (limit, whose) = self.mtu_limit();
        if self.mtu > limit {
            return Err(DeviceError::Mtu { interface: interface(), mtu: self.mtu, limit, whose });
        }
        Ok(())
    }

    /// The largest MTU whose frames fit one XDP buffer, and who sets that limit.
    pub fn mtu_limit(&self) -> (u32, &'static str) {
        match self.driver.as_str() {
            "ena" if has_larger_ena_buffers(&self.driver_version) => (3502, "ENA driver 2.13.3 or later"),
            "ena" => (3498, "ENA driver before 2.13.3 or of the kernel"),
            _ => (SOCKET_MTU, "AF_XDP with chunks of 4096 bytes"),
        }
    }

    /// ENA before 2.17.0 keeps half of its queues for XDP transmission and refuses XDP when more are in use.
    /// The number of channels to set, where that may be the reason of a refusal.
    pub fn channels_for_xdp(&self) -> Option<u32> {
        let half = self.queues.maximum / 2;
        (self.driver == "ena" && half > 0 && self.queues.usable > half).then_some(half)
    }
}

/// The name of the interface with this index.
fn name_of(index: u32) -> Option<String> {
    let mut buffer = [0u8; libc::IFNAMSIZ];
    // SAFETY: the buffer is as long as this function wants it.
    let name = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) };
    (!name.is_null()).then(|| text(&buffer))
}

/// Interfaces next to this one, as sysfs shows them: links called `upper_NAME` and `lower_NAME`.
fn neighbours(name: &str, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/sys/class/net/{name}")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_prefix(prefix).map(str::to_string)).collect()
}

fn height_of(name: &str, most: usize) -> usize {
    if most == 0 {
        return 0;
    }
    let below = neighbours(name, "lower_");
    below.iter().map(|lower| 1 + height_of(lower, most - 1)).max().unwrap_or(0)
}

impl Queues {
    /// As if there were no more than these: the others go unserved.
    fn at_most(self, most: u32) -> Queues {
        Queues { usable: self.usable.min(most), maximum: self.maximum.min(most), ..self }
    }

    /// What `ethtool --set-channels DEVICE` is to be told.
    pub fn channels(&self, wanted: u32) -> String {
        if self.separate { format!("rx {wanted} tx {wanted}") } else { format!("combined {wanted}") }
    }
}

fn lower(index: u32) -> Option<Lower> {
    let lower = netlink::lower(index).filter(|lower| !lower.is_elsewhere)?;
    let mut name = [0; libc::IFNAMSIZ];
    // SAFETY: `name` has the size that the call needs.
    if unsafe { libc::if_indextoname(lower.index, name.as_mut_ptr()) }.is_null() {
        return None;
    }
    let name = text(&name.map(|byte| byte as u8));
    let query = Query::new(&CString::new(name.as_str()).ok()?).ok()?;
    Some(Lower { name, offloads: query.offloads() })
}

/// People count queues from 1, as the configuration does.
fn count(queues: u32) -> String {
    match queues {
        1 => "it has 1 queue".into(),
        n => format!("it has {n} queues"),
    }
}

/// Only the driver outside the kernel tree, whose versions end in `g`, has them: 3502 instead of 3498.
fn has_larger_ena_buffers(version: &str) -> bool {
    let Some(version) = version.strip_suffix('g') else { return false };
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= (2, 13, 3)
}

/// Whether an interface is up and has a link.
pub(super) fn has_link(name: &CString) -> bool {
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    Query::new(name).and_then(|query| query.flags()).is_ok_and(|flags| flags & wanted == wanted)
}

/// The questions that one `ioctl` each answers.
struct Query {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Query {
    fn new(name: &CString) -> io::Result<Query> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
            *to = *from as libc::c_char;
        }
        Ok(Query { socket, request })
    }

    fn ask(&self, question: libc::c_ulong, data: *mut libc::c_char) -> io::Result<libc::ifreq> {
        let mut request = self.request;
        if !data.is_null() {
            request.ifr_ifru.ifru_data = data;
        }
        // SAFETY: `request` is a valid ifreq and `data`, where the question needs it, points to the structure
        // that belongs to it and that the caller keeps alive.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), question as _, &mut request) } {
            0.. => Ok(request),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn hardware_address(&self) -> io::Result<(u16, [u8; 6])> {
        let answer = self.ask(libc::SIOCGIFHWADDR, std::ptr::null_mut())?;
        // SAFETY: SIOCGIFHWADDR fills this member of the union.
        let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok((address.sa_family, mac))
    }

    fn mtu(&self) -> io::Result<u32> {
        let answer = self.ask(libc::SIOCGIFMTU, std::ptr::null_mut())?;
        // SAFETY: SIOCGIFMTU fills this member of the union.
        Ok(unsafe { answer.ifr_ifru.ifru_mtu } as u32)
    }

    fn is_up(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::IFF_UP != 0)
    }

    fn flags(&self) -> io::Result<libc::c_int> {
        let answer = self.ask(libc::SIOCGIFFLAGS, std::ptr::null_mut())?;
        // SAFETY: SIOCGIFFLAGS fills this member of the union.
        Ok(unsafe { answer.ifr_ifru.ifru_flags }.into())
    }

    fn driver(&self) -> (String, String) {
        let mut information = DriverInformation {
            command: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            version: [0; 32],
            unused: [0; DRIVER_INFORMATION_REST],
        };
        match self.ask(SIOCETHTOOL, (&raw mut information).cast()) {
            Ok(_) => (text(&information.driver), text(&information.version)),
            Err(_) => Default::default(),
        }
    }

    fn offloads(&self) -> Offloads {
        let value = |command| {
            let mut value = [command, 0u32];
            let answer = self.ask(SIOCETHTOOL, (&raw mut value).cast());
            answer.map_or(0, |_| value[1])
        };
        let flags = value(ETHTOOL_GFLAGS);
        Offloads {
            vlan: flags & ETH_FLAG_RXVLAN != 0,
            lro: flags & ETH_FLAG_LRO != 0,
            gro: value(ETHTOOL_GGRO) != 0,
            transmit_checksum: value(ETHTOOL_GTXCSUM) != 0,
        }
    }

    fn queues(&self, name: &str) -> io::Result<Queues> {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Default::default() };
        if self.ask(SIOCETHTOOL, (&raw mut channels).cast()).is_ok() {
            return Ok(channels.queues());
        }
        // Not every driver answers: then the number cannot be changed either, and sysfs shows it.
        let (mut receive, mut transmit) = (0, 0);
        for entry in std::fs::read_dir(format!("/sys/class/net/{name}/queues"))? {
            match entry?.file_name().to_string_lossy() {
                queue if queue.starts_with("rx-") => receive += 1,
                queue if queue.starts_with("tx-") => transmit += 1,
                _ => {}
            }
        }
        let usable = u32::min(receive, transmit);
        Ok(Queues { usable, maximum: usable, receiving: receive, separate: false })
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

impl Channels {
    fn queues(&self) -> Queues {
        let apart = u32::min(self.receive, self.transmit);
        let separate = self.max_combined == 0;
        let apart_maximum = u32::min(self.max_receive, self.max_transmit);
        Queues {
            usable: self.combined + apart,
            maximum: if separate { apart_maximum } else { self.max_combined.max(self.combined + apart) },
            receiving: self.combined + self.receive,
            separate,
        }
    }
}

/// `struct ethtool_drvinfo` of linux/ethtool.h, its first two texts by name.
#[repr(C)]
struct DriverInformation {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    unused: [u8; DRIVER_INFORMATION_REST],
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;
const DRIVER_INFORMATION_REST: usize = 32 + 32 + 32 + 12 + 5 * 4;

/// A received frame starts after the headroom of its chunk; 14 bytes of Ethernet and 4 of a VLAN tag come off
/// what is left.
const SOCKET_MTU: u32 = (Pool::LONGEST - 14 - 4) as u32;

/// As many as the kernel allows (`MAX_NEST_DEV`).
const HIGHEST: usize = 8;

/// The size of the socket map in `bpf/vita.bpf.c`.
const QUEUES_OF_THE_PROGRAM: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device {
            name: "wan0".into(),
            kernel_name: "wan0".into(),
            is_altname: false,
            index: 7,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            driver: "ena".into(),
            driver_version: "6.1.0".into(),
            queues: Queues { usable: 2, maximum: 8, receiving: 2, separate: false },
            offloads: Offloads::default(),
            lower: None,
        }
    }

    fn complaint(device: &Device, queue: u32) -> String {
        device.check(queue).unwrap_err().to_string()
    }

    #[test]
    fn structures_have_the_size_the_kernel_expects() {
        assert_eq!(size_of::<Channels>(), 36);
        assert_eq!(size_of::<DriverInformation>(), 196);
    }

    #[test]
    fn every_complaint_says_what_to_type() {
        assert!(device().check(1).is_ok());
        assert!(
            complaint(&Device { up: false, ..device() }, 0)
                .ends_with("wan0 is down: ip link set dev wan0 up")
        );
        assert_eq!(
            complaint(&device(), 2),
            "interface wan0 has no queue 3: it has 2 queues; ethtool --set-channels wan0 combined 3"
        );
        let queues = Queues { usable: 1, maximum: 4, receiving: 1, separate: true };
        assert!(complaint(&Device { queues, ..device() }, 3).ends_with("--set-channels wan0 rx 4 tx 4"));
        assert!(complaint(&device(), 8).contains("cannot have it"));
    }

    #[test]
    fn the_limit_of_the_mtu_is_the_drivers() {
        let jumbo = Device { mtu: 9001, ..device() };
        assert!(complaint(&jumbo, 0).ends_with("ip link set dev wan0 mtu 3498"));
        for (version, limit) in
            [("2.13.3g", 3502), ("2.14.1g", 3502), ("2.13.2g", 3498), ("6.18.44", 3498), ("", 3498)]
        {
            let device = Device { driver_version: version.into(), ..device() };
            assert_eq!(device.mtu_limit().0, limit, "{version}");
        }
        assert_eq!(Device { driver: "veth".into(), ..device() }.mtu_limit().0, 3822);
    }

    #[test]
    fn ena_is_told_to_free_half_of_its_queues() {
        let queues = Queues { usable: 8, maximum: 8, receiving: 8, separate: false };
        assert_eq!(Device { queues, ..device() }.channels_for_xdp(), Some(4));
        assert_eq!(device().channels_for_xdp(), None);
    }

    #[test]
    fn combined_and_separate_channels_add_up() {
        let combined = Channels { max_combined: 8, combined: 3, ..Default::default() };
        assert_eq!(combined.queues(), Queues { usable: 3, maximum: 8, receiving: 3, separate: false });
        let separate =
            Channels { max_receive: 4, max_transmit: 6, receive: 2, transmit: 6, ..Default::default() };
        assert_eq!(separate.queues(), Queues { usable: 2, maximum: 4, receiving: 2, separate: true });
    }

    #[test]
    fn names_that_cannot_be_interfaces_are_refused() {
        for name in ["", "a/b", "two words", "sixteen-letters-"] {
            assert!(matches!(Device::inspect(name), Err(DeviceError::Name { .. })), "{name}");
        }
        assert!(matches!(Device::inspect("no-such-if"), Err(DeviceError::Missing { .. })));
        assert!(matches!(Device::inspect("lo"), Err(DeviceError::NotEthernet { .. })));
    }
}
