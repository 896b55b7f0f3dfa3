// SPDX-License-Identifier: Apache-2.0
//! The XDP program of one interface: attached while the [`Program`] lives, gone with it or with the process.

use super::device::{Device, DeviceError};
use super::link::{self, Attached, AttachedIn};
use super::netlink;
use super::pin::{PinError, Pins};
use crate::count::Side;
use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder, PrintLevel};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// The program on an interface, with its maps. Shared by all workers on that interface, and independent of them: on a queue
/// whose worker is not there it drops what the kernel might forward in clear text, and counts it.
#[derive(Debug)]
pub struct Program {
    interface: String,
    hook: Hook,
    sees_tags: bool,
    maps: Maps,
    program: OwnedFd,
    /// The kernel detaches the program when the last descriptor of its link is closed, as the death of the
    /// process does; unless the link is pinned.
    link: Mutex<OwnedFd>,
    pinned: AtomicBool,
}

/// The maps of bpf/vita.bpf.c.
#[derive(Debug)]
struct Maps {
    sockets: MapHandle,
    filters: MapHandle,
    current: MapHandle,
    unserved: MapHandle,
    /// The list of filters that is in use.
    slot: AtomicU32,
}

/// Where the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// In the driver, before the kernel makes a packet of its own.
    Driver,
    /// In the kernel's stack, for drivers without XDP; slower.
    Generic,
}

/// The addresses whose frames are the gateway's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filter {
    pub mac: [u8; 6],
    pub side: Side,
    /// For which broadcast ARP requests are answered.
    pub ipv4: Option<Ipv4Addr>,
    /// For which neighbour solicitations are answered.
    pub ipv6: Option<Ipv6Addr>,
    /// UDP port of the key exchange, which is never the kernel's.
    pub exchange_port: u16,
}

/// Packets that no worker was there for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unserved {
    pub private: u64,
    pub public: u64,
}

/// Why the program is not on the interface, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("interface {interface}: another XDP program (number {id}) is attached: {remedy}")]
    Occupied { interface: String, id: u32, remedy: String },
    #[error(
        "interface {interface}: frames of its MTU ({mtu}), or of the MTU at the other end of a veth pair, do \
         not fit one XDP buffer: ip link set dev {interface} mtu {MTU_OF_ONE_PAGE}, at both ends"
    )]
    Mtu { interface: String, mtu: u32 },
    #[error("the kernel refuses to load the XDP program: {source:#}: {remedy}")]
    Load { source: libbpf_rs::Error, remedy: &'static str },
    #[error("interface {interface}: the driver refuses the XDP program ({driver})")]
    Driver { interface: String, driver: io::Error },
    #[error(
        "interface {interface}: cannot attach the XDP program, neither in the driver ({driver}) nor \
         generic ({generic})"
    )]
    Attach { interface: String, driver: io::Error, generic: io::Error },
    #[error("interface {interface}: cannot ask which XDP program is attached: {source}")]
    Query { interface: String, source: io::Error },
    #[error(
        "interface {interface}: the socket of queue {queue} does not fit the XDP program \
         (queues 0 to 255): {source}"
    )]
    Register { interface: String, queue: u32, source: libbpf_rs::Error },
    #[error("interface {interface}: cannot change the addresses in the XDP program: {source}")]
    Filter { interface: String, source: libbpf_rs::Error },
    #[error(
        "interface {interface}: {count} pairs of MAC and IP address, {} is the most one can have: \
         give the gateway another interface for the rest",
        Filter::MOST
    )]
    Addresses { interface: String, count: usize },
}

impl ProgramError {
    fn load(source: libbpf_rs::Error) -> ProgramError {
        // The library does not hand out the number, but writes it.
        let text = format!("{source:#}");
        let is = |errors: &[i32]| errors.iter().any(|error| text.contains(&format!("(os error {error})")));
        let remedy = if is(&[libc::EMFILE, libc::ENFILE]) {
            "raise the limit of open files (LimitNOFILE of the unit, ulimit -n)"
        } else if is(&[libc::EPERM, libc::EACCES]) {
            "run as root or with CAP_BPF and CAP_NET_ADMIN"
        } else {
            "VITA_LOG=debug shows what the kernel says of it"
        };
        ProgramError::Load { source, remedy }
    }
}

impl Program {
    /// Attaches a copy of the program, in the driver if that can be and generically otherwise. Until
    /// [`Program::set_filters`] every frame still goes to the kernel.
    pub fn attach(device: &Device) -> Result<Program, ProgramError> {
        Program::attach_with(device, &[], None)
    }

    /// As [`Program::attach`], with these filters from the first frame on. A link that was pinned here is taken over: its
    /// program is replaced by the new one, and no frame passes in between.
    pub fn attach_with(
        device: &Device,
        filters: &[Filter],
        pins: Option<&Pins>,
    ) -> Result<Program, ProgramError> {
        log_libbpf();
        if let Some(attached) = attached(device)? {
            let pinned = pins.and_then(|pins| pins.find(device.index, attached.program));
            let link = pinned.ok_or_else(|| occupied(device, attached))?;
            return take_over(device, filters, attached, link);
        }
        if let Some((loaded, link)) = attach_seeing_tags(device, filters) {
            return Ok(Program::new(device, loaded, link, Hook::Driver));
        }
        let loaded = Loaded::new(device, Variant::Plain, filters)?;
        let (link, hook) = attach_anywhere(device, &loaded.program)?;
        Ok(Program::new(device, loaded, link, hook))
    }

    fn new(device: &Device, loaded: Loaded, link: OwnedFd, hook: Hook) -> Program {
        let Loaded { maps, sees_tags, program } = loaded;
        let (interface, pinned) = (device.name.clone(), AtomicBool::new(false));
        Program { interface, hook, sees_tags, maps, program, link: Mutex::new(link), pinned }
    }

    /// Whether the program is still on the interface with this index: anybody with the right to may detach it, and it goes
    /// with the interface. Waits for the kernel's lock of the interfaces.
    pub fn is_attached(&self, index: u32) -> bool {
        matches!(link::info(&*self.link()), Ok(Some(info)) if info.interface == index)
    }

    /// Attaches the program again, with the maps it has: sockets that live stay registered.
    pub fn attach_again(&self, device: &Device) -> Result<(), ProgramError> {
        self.detach();
        if let Some(attached) = attached(device)? {
            return Err(occupied(device, attached));
        }
        let driver = |driver: io::Error| ProgramError::Driver { interface: device.name.clone(), driver };
        let link = match self.sees_tags {
            true => create_link(device, &self.program, sys::XDP_FLAGS_DRV_MODE).map_err(driver)?,
            false => attach_anywhere(device, &self.program)?.0,
        };
        *self.link() = link;
        Ok(())
    }

    /// Takes the program off its interface, at once, even while a child between fork and exec still has a copy of the
    /// descriptor, and even if it is pinned: the pin then is of a link that leads nowhere.
    pub fn detach(&self) {
        // Should it fail, closing the descriptor is what is left.
        let _ = link::detach(&*self.link());
        self.pinned.store(false, Ordering::Relaxed);
    }

    fn link(&self) -> MutexGuard<'_, OwnedFd> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the program outlive the process, or not any more.
    pub fn set_pinned(&self, pins: &Pins, pinned: bool) -> Result<(), PinError> {
        if pinned {
            pins.pin(&self.interface, &*self.link(), &self.maps.unserved)?;
        } else {
            pins.unpin(&self.interface)?;
        }
        self.pinned.store(pinned, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the program outlives the process.
    pub fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }

    /// From now on the frames that are ours on this queue go to this socket. The kernel forgets the socket by
    /// itself when it is closed.
    pub fn register(&self, queue: u32, socket: &impl AsFd) -> Result<(), ProgramError> {
        let fd = socket.as_fd().as_raw_fd();
        let sockets = &self.maps.sockets;
        sockets
            .update(&queue.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| ProgramError::Register { interface: self.interface.clone(), queue, source })
    }

    /// Changes which frames are ours, while packets flow: those of any of these filters.
    pub fn set_filters(&self, filters: &[Filter]) -> Result<(), ProgramError> {
        self.maps.set_filters(&self.interface, filters)
    }

    /// Packets dropped so far because their queue had no socket.
    pub fn unserved(&self) -> Unserved {
        let sum = |places: Range<u32>| places.map(|place| self.maps.dropped(place)).sum();
        Unserved { private: sum(0..QUEUES), public: sum(QUEUES..2 * QUEUES) }
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Whether the program sees VLAN tags that the device took off.
    pub fn sees_tags(&self) -> bool {
        self.sees_tags
    }

    /// Whether tagged frames are told from others: by the program, or because the device leaves tags where they are.
    pub fn check_tags(&self, device: &Device) -> Result<(), DeviceError> {
        if self.sees_tags || !device.offloads.vlan {
            return Ok(());
        }
        let reason = match self.hook {
            Hook::Driver => "the driver does not tell them, or the kernel is older than 6.8",
            Hook::Generic => "it runs in generic mode",
        };
        // A veth hands over what the other end sends.
        let is_veth = device.driver == "veth";
        let peer = if is_veth {
            "; at the other end of the veth pair: ethtool -K PEER txvlan off; here"
        } else {
            ""
        };
        Err(DeviceError::Tags { interface: device.name.clone(), reason, peer })
    }
}

impl Maps {
    fn set_filters(&self, interface: &str, filters: &[Filter]) -> Result<(), ProgramError> {
        if filters.len() > Filter::MOST {
            return Err(ProgramError::Addresses { interface: interface.to_string(), count: filters.len() });
        }
        let slot = 1 - self.slot.load(Ordering::Relaxed);
        let key = 0u32.to_ne_bytes();
        let written = self.filters.update(&slot.to_ne_bytes(), &entries(filters), MapFlags::ANY);
        written
            .and_then(|()| self.current.update(&key, &slot.to_ne_bytes(), MapFlags::ANY))
            .map_err(|source| ProgramError::Filter { interface: interface.to_string(), source })?;
        self.slot.store(slot, Ordering::Relaxed);
        Ok(())
    }

    /// Over all CPUs.
    fn dropped(&self, place: u32) -> u64 {
        let counts = self.unserved.lookup_percpu(&place.to_ne_bytes(), MapFlags::ANY);
        let counts = counts.ok().flatten().unwrap_or_default();
        counts.iter().filter_map(|count| Some(u64::from_ne_bytes(count.first_chunk().copied()?))).sum()
    }
}

/// A copy of the program in the kernel, attached to nothing yet.
struct Loaded {
    program: OwnedFd,
    maps: Maps,
    sees_tags: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// Runs on every device.
    Plain,
    /// Sees VLAN tags that the device took off. For one device with a driver that tells, and only in the driver.
    SeesTags,
}

impl Loaded {
    fn new(device: &Device, variant: Variant, filters: &[Filter]) -> Result<Loaded, ProgramError> {
        let failed = |source: libbpf_rs::Error| ProgramError::load(source);
        let sees_tags = variant == Variant::SeesTags;
        let mut builder = ObjectBuilder::default();
        let mut object =
            builder.open_memory(if sees_tags { OBJECT_SEEING_TAGS } else { OBJECT }).map_err(failed)?;
        if sees_tags {
            for mut program in object.progs_mut() {
                program.set_ifindex(device.index);
                program.set_flags(BPF_F_XDP_DEV_BOUND_ONLY);
            }
        }
        let object = object.load().map_err(failed)?;
        let map = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            // The object is compiled in, and a test compares it with the source that names these maps.
            let map = map.expect("the committed object has this map");
            MapHandle::try_from(&map).map_err(failed)
        };
        let maps = Maps {
            sockets: map("vita_sockets")?,
            filters: map("vita_filters")?,
            current: map("vita_current")?,
            unserved: map("vita_unserved")?,
            slot: AtomicU32::new(0),
        };
        let program = object.progs().next().expect("the committed object has one program");
        let program =
            program.as_fd().try_clone_to_owned().map_err(|source| ProgramError::load(source.into()))?;
        maps.set_filters(&device.name, filters)?;
        Ok(Loaded { program, maps, sees_tags })
    }
}

/// In the driver, with the variant that sees tags; nothing where that cannot be, for whatever reason.
fn attach_seeing_tags(device: &Device, filters: &[Filter]) -> Option<(Loaded, OwnedFd)> {
    if !netlink::tells_tags(device.index) {
        return None;
    }
    let attached = Loaded::new(device, Variant::SeesTags, filters).and_then(|loaded| {
        let driver = |driver: io::Error| ProgramError::Driver { interface: device.name.clone(), driver };
        let link = create_link(device, &loaded.program, sys::XDP_FLAGS_DRV_MODE).map_err(driver)?;
        Ok((loaded, link))
    });
    attached.inspect_err(|error| tracing::debug!("no program that sees VLAN tags: {error}")).ok()
}

/// Puts the program in the place of the one that a pinned link holds.
fn take_over(
    device: &Device,
    filters: &[Filter],
    attached: Attached,
    link: OwnedFd,
) -> Result<Program, ProgramError> {
    let hook = if attached.place == AttachedIn::Generic { Hook::Generic } else { Hook::Driver };
    let replaced = |variant| {
        let loaded = Loaded::new(device, variant, filters)?;
        let driver = |driver| ProgramError::Driver { interface: device.name.clone(), driver };
        link::replace(link.as_fd(), &loaded.program).map_err(driver)?;
        Ok(loaded)
    };
    let seeing = hook == Hook::Driver && netlink::tells_tags(device.index);
    let loaded = match seeing.then(|| replaced(Variant::SeesTags)) {
        Some(Ok(loaded)) => loaded,
        _ => replaced(Variant::Plain)?,
    };
    let program = Program::new(device, loaded, link, hook);
    program.pinned.store(true, Ordering::Relaxed);
    Ok(program)
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.is_pinned() {
            self.detach();
        }
    }
}

impl Filter {
    /// How many one interface can have: `ADDRESSES` of bpf/vita.bpf.c.
    pub const MOST: usize = 16;

    /// `struct filter` of bpf/vita.bpf.c.
    fn entry(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        entry[..6].copy_from_slice(&self.mac);
        let side: u16 = match self.side {
            Side::Private => 1,
            Side::Public => 2,
        };
        entry[6..8].copy_from_slice(&side.to_ne_bytes());
        if let Some(ip) = self.ipv4 {
            entry[8..12].copy_from_slice(&ip.octets());
        }
        if let Some(ip) = self.ipv6 {
            // The group's address ends with that of RFC 4291 section 2.7.1: ff, and the last three bytes.
            entry[12..16].copy_from_slice(&ip.octets()[12..]);
            entry[12] = 0xff;
            entry[16..32].copy_from_slice(&ip.octets());
        }
        entry[32..34].copy_from_slice(&self.exchange_port.to_be_bytes());
        entry
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Hook::Driver => "driver",
            Hook::Generic => "generic",
        })
    }
}

/// `struct filters` of bpf/vita.bpf.c: the first entry that is all zeroes ends the list.
fn entries(filters: &[Filter]) -> [u8; Filter::MOST * ENTRY] {
    let mut entries = [0; Filter::MOST * ENTRY];
    for (entry, filter) in entries.as_chunks_mut().0.iter_mut().zip(filters) {
        *entry = filter.entry();
    }
    entries
}

fn attach_anywhere(device: &Device, program: &impl AsFd) -> Result<(OwnedFd, Hook), ProgramError> {
    let driver = match create_link(device, program, sys::XDP_FLAGS_DRV_MODE) {
        Ok(link) => return Ok((link, Hook::Driver)),
        Err(error) => error,
    };
    match driver.raw_os_error() {
        // veth says so; generic mode would attach and lose every large frame.
        Some(libc::ERANGE) => {
            return Err(ProgramError::Mtu { interface: device.name.clone(), mtu: device.mtu });
        }
        // Somebody was faster.
        Some(libc::EBUSY | libc::EEXIST) => {
            if let Some(attached) = attached(device)? {
                return Err(occupied(device, attached));
            }
        }
        _ => {}
    }
    match create_link(device, program, sys::XDP_FLAGS_SKB_MODE) {
        Ok(link) => {
            let interface = &device.name;
            match device.channels_for_xdp() {
                Some(channels) => tracing::warn!(
                    "interface {interface}: the driver refuses XDP ({driver}), generic mode is used and \
                     slower; \
                     older ENA drivers need half of the queues for themselves: \
                     ethtool --set-channels {interface} combined {channels}"
                ),
                None => tracing::warn!(
                    "interface {interface}: driver {:?} refuses XDP ({driver}), generic mode is used and \
                     slower",
                    device.driver
                ),
            }
            Ok((link, Hook::Generic))
        }
        Err(generic) => Err(ProgramError::Attach { interface: device.name.clone(), driver, generic }),
    }
}

fn create_link(device: &Device, program: &impl AsFd, flags: u32) -> io::Result<OwnedFd> {
    let options = sys::bpf_link_create_opts {
        sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
        flags,
        ..Default::default()
    };
    // SAFETY: the descriptor is that of a loaded program, and `options` says its own size.
    let fd = unsafe {
        sys::bpf_link_create(program.as_fd().as_raw_fd(), device.index as i32, sys::BPF_XDP, &options)
    };
    match fd {
        // SAFETY: the descriptor was just made and belongs to nobody else.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn attached(device: &Device) -> Result<Option<Attached>, ProgramError> {
    let failed = |source| ProgramError::Query { interface: device.name.clone(), source };
    link::attached(device.index).map_err(failed)
}

fn occupied(device: &Device, attached: Attached) -> ProgramError {
    let remedy = link::remedy(&device.name, device.index, attached);
    ProgramError::Occupied { interface: device.name.clone(), id: attached.program, remedy }
}

/// libbpf prints to standard error unless told otherwise.
fn log_libbpf() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, |_, text| tracing::debug!("{}", text.trim_end()))));
    });
}

/// Bytes of `struct filter`.
const ENTRY: usize = 40;

/// `QUEUES` of bpf/vita.bpf.c.
const QUEUES: u32 = 256;

/// Of linux/bpf.h, since 6.3.
const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;

static OBJECT: &[u8] = include_bytes!("../../bpf/vita.bpf.o");
static OBJECT_SEEING_TAGS: &[u8] = include_bytes!("../../bpf/vita_tags.bpf.o");

/// What fits one 4096-byte page next to XDP's headroom and the kernel's own trailer, on veth and most
/// drivers.
const MTU_OF_ONE_PAGE: u32 = 3498;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_serves_the_workers_of_all_queues() {
        fn shared<T: Send + Sync>() {}
        shared::<Program>();
    }

    #[test]
    fn what_is_missing_is_told_by_the_error() {
        let remedy = |error: i32| {
            let context = libbpf_rs::Error::from(io::Error::from_raw_os_error(error));
            ProgramError::load(context).to_string()
        };
        assert!(remedy(libc::EMFILE).contains("LimitNOFILE"), "{}", remedy(libc::EMFILE));
        assert!(!remedy(libc::EMFILE).contains("CAP_"), "{}", remedy(libc::EMFILE));
        assert!(remedy(libc::EPERM).contains("CAP_BPF"), "{}", remedy(libc::EPERM));
        assert!(!remedy(libc::EINVAL).contains("CAP_"), "{}", remedy(libc::EINVAL));
    }

    #[test]
    fn the_filter_lies_in_memory_as_the_program_reads_it() {
        let filter = Filter {
            mac: [2, 0, 0, 0, 0, 9],
            side: Side::Private,
            ipv4: Some(Ipv4Addr::new(10, 1, 2, 3)),
            ipv6: None,
            exchange_port: 303,
        };
        assert_eq!(filter.entry()[..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(filter.entry()[6..8], 1u16.to_ne_bytes());
        assert_eq!(Filter { side: Side::Public, ..filter }.entry()[6..8], 2u16.to_ne_bytes());
        assert_eq!(filter.entry()[8..16], [10, 1, 2, 3, 0, 0, 0, 0]);
        assert_eq!(filter.entry()[16..], [&[0; 16][..], &[1, 47], &[0; 6]].concat());
        assert_eq!(Filter { ipv4: None, ..filter }.entry()[8..32], [0; 24]);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
        let entry = Filter { ipv6: Some(ipv6), ..filter }.entry();
        assert_eq!(entry[8..16], [10, 1, 2, 3, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(entry[16..32], ipv6.octets());
        let two = entries(&[Filter { ipv4: None, ..filter }, filter]);
        assert_eq!(two[ENTRY..2 * ENTRY], filter.entry());
        assert_eq!(two[2 * ENTRY..], [0; (Filter::MOST - 2) * ENTRY]);
    }
}
