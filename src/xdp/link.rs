// SPDX-License-Identifier: Apache-2.0
//! What holds a program on an interface: whoever set it by netlink, or a BPF link, which is gone with its last descriptor or
//! pin.

use libbpf_rs::libbpf_sys as sys;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The program that is attached to an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attached {
    pub program: u32,
    pub place: AttachedIn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttachedIn {
    Driver,
    Generic,
    Hardware,
}

/// What the kernel tells of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LinkInfo {
    pub id: u32,
    pub program: u32,
    /// 0 once the interface is gone.
    pub interface: u32,
}

/// The program on an interface, if there is one. A driver program and a generic one exclude each other.
pub(super) fn attached(index: u32) -> io::Result<Option<Attached>> {
    let mut answer = sys::bpf_xdp_query_opts {
        sz: size_of::<sys::bpf_xdp_query_opts>() as sys::size_t,
        ..Default::default()
    };
    // SAFETY: `answer` is valid for writing and says its own size.
    let result = unsafe { sys::bpf_xdp_query(index as i32, 0, &mut answer) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    let (program, place) = match u32::from(answer.attach_mode) {
        sys::XDP_ATTACHED_NONE => return Ok(None),
        sys::XDP_ATTACHED_SKB => (answer.skb_prog_id, AttachedIn::Generic),
        sys::XDP_ATTACHED_HW => (answer.hw_prog_id, AttachedIn::Hardware),
        _ => (answer.prog_id.max(answer.drv_prog_id), AttachedIn::Driver),
    };
    Ok(Some(Attached { program, place }))
}

/// What a message says to do about a program that is in the way.
pub(super) fn remedy(interface: &str, index: u32, attached: Attached) -> String {
    let link = xdp_link_of(index, attached.program);
    let holder = link.and_then(|link| holder(link.id));
    match (link, holder) {
        (Some(link), Some((process, name))) => {
            format!("stop process {process} ({name}), which holds it, or bpftool link detach id {}", link.id)
        }
        (Some(link), None) => format!("nobody but a pin holds it: bpftool link detach id {}", link.id),
        (None, _) => {
            let off = match attached.place {
                AttachedIn::Driver => "xdp",
                AttachedIn::Generic => "xdpgeneric",
                AttachedIn::Hardware => "xdpoffload",
            };
            format!(
                "where a link holds it, find that with bpftool link list and detach it by its number; otherwise \
                 stop what attached it, or ip link set dev {interface} {off} off"
            )
        }
    }
}

/// The link that holds a program on an interface. None where it was attached without, or links cannot be listed,
/// which takes CAP_SYS_ADMIN.
fn xdp_link_of(index: u32, program: u32) -> Option<LinkInfo> {
    let mut id = 0;
    loop {
        // SAFETY: `id` is valid for writing.
        if unsafe { sys::bpf_link_get_next_id(id, &mut id) } != 0 {
            return None;
        }
        // SAFETY: no memory is involved. The link may be gone meanwhile.
        let fd = unsafe { sys::bpf_link_get_fd_by_id(id) };
        if fd < 0 {
            continue;
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let info = info(&fd).ok().flatten();
        // Interfaces of other namespaces may have the same index; their programs do not.
        if info.is_some_and(|info| info.interface == index && info.program == program) {
            return info;
        }
    }
}

/// What the kernel tells of a link, if it is one of XDP.
pub(super) fn info(link: &impl AsFd) -> io::Result<Option<LinkInfo>> {
    let mut info = MaybeUninit::<sys::bpf_link_info>::zeroed();
    let mut length = size_of::<sys::bpf_link_info>() as u32;
    // SAFETY: `info` is valid for writing `length` bytes.
    let result = unsafe {
        sys::bpf_obj_get_info_by_fd(link.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), &mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a structure of plain numbers; all zeroes, and whatever the kernel wrote over them, is valid.
    let info = unsafe { info.assume_init() };
    if info.type_ != sys::BPF_LINK_TYPE_XDP {
        return Ok(None);
    }
    // SAFETY: the kernel fills this member for links of this type.
    let interface = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    Ok(Some(LinkInfo { id: info.id, program: info.prog_id, interface }))
}

/// A process that has a descriptor of a link: its number and name. Finds nothing where /proc hides others.
fn holder(id: u32) -> Option<(u32, String)> {
    let line = format!("link_id:\t{id}");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|process| {
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
        let holds = |number: &str| {
            let target = std::fs::read_link(format!("/proc/{process}/fd/{number}"));
            target.is_ok_and(|target| target.to_string_lossy().contains("bpf_link"))
                && std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}"))
                    .is_ok_and(|text| text.lines().any(|one| one == line))
        };
        let mut names = descriptors.filter_map(|entry| entry.file_name().into_string().ok());
        names.any(|name| holds(&name)).then(|| {
            let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            (process, name.trim().to_string())
        })
    })
}

/// Puts another program in the place of the one that a link holds. Every packet meets one or the other.
pub(super) fn replace(link: BorrowedFd<'_>, program: &impl AsFd) -> io::Result<()> {
    // SAFETY: no memory is involved: no options are given.
    let result =
        unsafe { sys::bpf_link_update(link.as_raw_fd(), program.as_fd().as_raw_fd(), std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the program off the interface, whoever else has a descriptor or pin of the link.
pub(super) fn detach(link: &impl AsFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let result = unsafe { sys::bpf_link_detach(link.as_fd().as_raw_fd()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
