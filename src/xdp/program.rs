// SPDX-License-Identifier: Apache-2.0
//! The XDP program of one interface: attached while the [`Program`] lives, gone with it or with the process.

use super::device::Device;
use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder, PrintLevel};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Once;

/// The program on an interface, with its maps. Shared by all workers on that interface.
#[derive(Debug)]
pub struct Program {
    interface: String,
    hook: Hook,
    sockets: MapHandle,
    filters: MapHandle,
    /// The kernel detaches the program when the last descriptor of its link is closed, as the death of the
    /// process does.
    link: OwnedFd,
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
    /// For which broadcast ARP requests are answered.
    pub ipv4: Option<Ipv4Addr>,
}

/// Why the program is not on the interface, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "interface {interface}: another XDP program (number {id}) is attached: stop what attached it, or \
         ip link set dev {interface} {off} off"
    )]
    Occupied { interface: String, id: u32, off: &'static str },
    #[error(
        "interface {interface}: frames of its MTU ({mtu}), or of the MTU at the other end of a veth pair, do \
         not fit one XDP buffer: ip link set dev {interface} mtu {MTU_OF_ONE_PAGE}, at both ends"
    )]
    Mtu { interface: String, mtu: u32 },
    #[error("the kernel refuses to load the XDP program (are CAP_BPF, CAP_NET_ADMIN there?): {source}")]
    Load { source: libbpf_rs::Error },
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

impl Program {
    /// Attaches a copy of the program, in the driver if that can be and generically otherwise. Until
    /// [`Program::set_filters`] every frame still goes to the kernel.
    pub fn attach(device: &Device) -> Result<Program, ProgramError> {
        log_libbpf();
        refuse_if_occupied(device)?;
        let object = ObjectBuilder::default()
            .open_memory(OBJECT)
            .and_then(|object| object.load())
            .map_err(|source| ProgramError::Load { source })?;
        let map = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            // The object is compiled in, and a test compares it with the source that names these maps.
            let map = map.expect("the committed object has this map");
            MapHandle::try_from(&map).map_err(|source| ProgramError::Load { source })
        };
        let (sockets, filters) = (map("vita_sockets")?, map("vita_filters")?);
        let program = object.progs_mut().next().expect("the committed object has one program");
        let (link, hook) = attach_anywhere(device, &program.as_fd())?;
        Ok(Program { interface: device.name.clone(), hook, sockets, filters, link })
    }

    /// From now on the frames that are ours on this queue go to this socket. The kernel forgets the socket by
    /// itself when it is closed.
    pub fn register(&self, queue: u32, socket: &impl AsFd) -> Result<(), ProgramError> {
        let fd = socket.as_fd().as_raw_fd();
        self.sockets
            .update(&queue.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| ProgramError::Register { interface: self.interface.clone(), queue, source })
    }

    /// Changes which frames are ours, while packets flow: those of any of these filters.
    pub fn set_filters(&self, filters: &[Filter]) -> Result<(), ProgramError> {
        let interface = || self.interface.clone();
        if filters.len() > Filter::MOST {
            return Err(ProgramError::Addresses { interface: interface(), count: filters.len() });
        }
        self.filters
            .update(&0u32.to_ne_bytes(), &entries(filters), MapFlags::ANY)
            .map_err(|source| ProgramError::Filter { interface: interface(), source })
    }

    pub fn hook(&self) -> Hook {
        self.hook
    }
}

impl Drop for Program {
    /// Detaches at once, even while a child between fork and exec still has a copy of the descriptor.
    fn drop(&mut self) {
        // SAFETY: no memory is involved. Should it fail, closing the descriptor is what is left.
        unsafe { sys::bpf_link_detach(self.link.as_raw_fd()) };
    }
}

impl Filter {
    /// How many one interface can have: `ADDRESSES` of bpf/vita.bpf.c.
    pub const MOST: usize = 16;

    /// `struct filter` of bpf/vita.bpf.c.
    fn entry(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        entry[..6].copy_from_slice(&self.mac);
        entry[6..8].copy_from_slice(&1u16.to_ne_bytes());
        entry[8..12].copy_from_slice(&self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
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
    let driver = match link(device, program, sys::XDP_FLAGS_DRV_MODE) {
        Ok(link) => return Ok((link, Hook::Driver)),
        Err(error) => error,
    };
    match driver.raw_os_error() {
        // veth says so; generic mode would attach and lose every large frame.
        Some(libc::ERANGE) => {
            return Err(ProgramError::Mtu { interface: device.name.clone(), mtu: device.mtu });
        }
        // Somebody was faster.
        Some(libc::EBUSY | libc::EEXIST) => refuse_if_occupied(device)?,
        _ => {}
    }
    match link(device, program, sys::XDP_FLAGS_SKB_MODE) {
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

fn link(device: &Device, program: &impl AsFd, flags: u32) -> io::Result<OwnedFd> {
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

/// A driver program and a generic one exclude each other, so one of either kind is in the way.
fn refuse_if_occupied(device: &Device) -> Result<(), ProgramError> {
    let mut attached = sys::bpf_xdp_query_opts {
        sz: size_of::<sys::bpf_xdp_query_opts>() as sys::size_t,
        ..Default::default()
    };
    // SAFETY: `attached` is valid for writing and says its own size.
    let result = unsafe { sys::bpf_xdp_query(device.index as i32, 0, &mut attached) };
    if result < 0 {
        let source = io::Error::from_raw_os_error(-result);
        return Err(ProgramError::Query { interface: device.name.clone(), source });
    }
    let (id, off) = match u32::from(attached.attach_mode) {
        sys::XDP_ATTACHED_NONE => return Ok(()),
        sys::XDP_ATTACHED_SKB => (attached.skb_prog_id, "xdpgeneric"),
        sys::XDP_ATTACHED_HW => (attached.hw_prog_id, "xdpoffload"),
        _ => (attached.prog_id.max(attached.drv_prog_id), "xdp"),
    };
    Err(ProgramError::Occupied { interface: device.name.clone(), id, off })
}

/// libbpf prints to standard error unless told otherwise.
fn log_libbpf() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, |_, text| tracing::debug!("{}", text.trim_end()))));
    });
}

/// Bytes of `struct filter`.
const ENTRY: usize = 16;

static OBJECT: &[u8] = include_bytes!("../../bpf/vita.bpf.o");

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
    fn the_filter_lies_in_memory_as_the_program_reads_it() {
        let filter = Filter { mac: [2, 0, 0, 0, 0, 9], ipv4: Some(Ipv4Addr::new(10, 1, 2, 3)) };
        assert_eq!(filter.entry()[..6], [2, 0, 0, 0, 0, 9]);
        assert_ne!(filter.entry()[6..8], [0, 0]);
        assert_eq!(filter.entry()[8..], [10, 1, 2, 3, 0, 0, 0, 0]);
        assert_eq!(Filter { ipv4: None, ..filter }.entry()[8..], [0; 8]);
        let two = entries(&[Filter { ipv4: None, ..filter }, filter]);
        assert_eq!(two[ENTRY..2 * ENTRY], filter.entry());
        assert_eq!(two[2 * ENTRY..], [0; (Filter::MOST - 2) * ENTRY]);
    }
}
