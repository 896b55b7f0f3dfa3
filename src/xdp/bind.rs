// SPDX-License-Identifier: Apache-2.0
//! How a socket comes to be: options, rings, memory and the bind itself, in the order the kernel wants them.

use super::device::Device;
use super::ring::{Consumer, Producer};
use super::socket::{InterfaceStatistics, Mode, Options, Rings, Share, Socket};
use super::umem::{self, Mapping, RING, Umem};
use crate::clock::Instant;
use crate::frame::{Frame, Pool};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Why a queue has no socket, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "queue {} of interface {interface} is in use, by another worker or another process: \
         give each its own queue", queue + 1
    )]
    Busy { interface: String, queue: u32 },
    #[error(
        "AF_XDP sockets are refused: run as root or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF ({source})"
    )]
    Permission { source: io::Error },
    #[error(
        "no AF_XDP socket: too many files are open: raise LimitNOFILE of the unit, or ulimit -n ({source})"
    )]
    Descriptors { source: io::Error },
    #[error("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS): use one that has ({source})")]
    Unknown { source: io::Error },
    #[error(
        "the kernel does not pin {bytes} bytes of packet memory: raise LimitMEMLOCK or add \
         CAP_IPC_LOCK ({source})"
    )]
    Memory { bytes: usize, source: io::Error },
    #[error(
        "queue {} of interface {interface}: the kernel refuses it; \
         `ethtool --show-channels {interface}` shows its queues ({source})", queue + 1
    )]
    Refused { interface: String, queue: u32, source: io::Error },
    #[error("queue {} of interface {interface}: cannot {step}: {source}", queue + 1)]
    System { interface: String, queue: u32, step: &'static str, source: io::Error },
}

impl Socket {
    /// Binds a queue that [`Device::check`] found fit. Waits as long as `options.patience` when it is in use.
    pub fn bind(umem: &Umem, device: &Device, queue: u32, options: Options) -> Result<Socket, BindError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match bind_once(umem, device, queue, options) {
                Err(BindError::Busy { .. }) if started.elapsed() + pause <= options.patience => {
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }
}

/// Shares the registered memory if there is some. A device that cannot work in the mode of the first one gets
/// a registration of its own: the memory is the same, only the kernel's bookkeeping is not.
fn bind_once(umem: &Umem, device: &Device, queue: u32, options: Options) -> Result<Socket, BindError> {
    let attempt = Attempt { umem, device, queue, options };
    if let Some(registrar) = umem.registrar() {
        match attempt.bind(Some(&registrar)) {
            Err(BindError::Refused { .. }) => {}
            result => return result,
        }
    }
    let socket = attempt.bind(None)?;
    umem.set_registrar(&socket.fd);
    Ok(socket)
}

struct Attempt<'a> {
    umem: &'a Umem,
    device: &'a Device,
    queue: u32,
    options: Options,
}

impl Attempt<'_> {
    fn bind(&self, registrar: Option<&OwnedFd>) -> Result<Socket, BindError> {
        let fd = self.open(registrar.is_none())?;
        let (mut rings, mappings) = self.rings(&fd)?;

        // A driver takes its first chunks while it binds. They are ours until that has worked.
        let share = Share::of(self.umem.pool().chunks());
        let first: Vec<Frame> =
            std::iter::from_fn(|| self.umem.pool().take()).take(share.receive as usize).collect();
        let posted = rings.fill.room(first.len() as u32);
        for (offset, frame) in (0..posted).zip(&first) {
            rings.fill.write(offset, self.umem.chunk_at(frame.data().as_ptr()));
        }
        rings.fill.submit(posted);
        self.bind_address(&fd, registrar)?;
        for frame in first.into_iter().take(posted as usize) {
            frame.into_address();
        }

        let mode = self.mode(&fd)?;
        // People count queues from 1, as the configuration does.
        tracing::info!("queue {} of interface {}: AF_XDP in {mode} mode", self.queue + 1, self.device.name);
        Ok(Socket {
            rings,
            _mappings: mappings,
            fd: Rc::new(fd),
            pool: self.umem.pool().clone(),
            mode,
            share,
            posted,
            in_flight: 0,
            busy_poll: false,
            statistics: InterfaceStatistics::default(),
        })
    }

    /// A socket with all its options set.
    fn open(&self, register: bool) -> Result<OwnedFd, BindError> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            let source = io::Error::last_os_error();
            return Err(match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => BindError::Permission { source },
                Some(libc::EMFILE | libc::ENFILE) => BindError::Descriptors { source },
                Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BindError::Unknown { source },
                _ => self.failed("make an AF_XDP socket", source),
            });
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if register {
            self.umem.register(&fd).map_err(|source| match source.raw_os_error() {
                Some(libc::ENOBUFS | libc::ENOMEM) => {
                    BindError::Memory { bytes: self.umem.pool().memory().1, source }
                }
                _ => self.failed("register the packet memory", source),
            })?;
        }
        for ring in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            umem::set_option(&fd, libc::SOL_XDP, ring, RING)
                .map_err(|source| self.failed("size the rings", source))?;
        }
        // Both only save system calls: older kernels refuse the first, other limits apply to the second.
        let _ = umem::set_option(&fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, RING);
        let _ = umem::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        Ok(fd)
    }

    fn rings(&self, fd: &OwnedFd) -> Result<(Rings, [Mapping; 4]), BindError> {
        let failed = |source| self.failed("map the rings", source);
        // SAFETY: a structure of plain numbers, which is what the kernel writes for this option.
        let offsets: libc::xdp_mmap_offsets =
            unsafe { umem::option(fd, libc::XDP_MMAP_OFFSETS) }.map_err(failed)?;
        let (receive_mapping, receive) =
            Mapping::new(fd, libc::XDP_PGOFF_RX_RING, &offsets.rx, RING).map_err(failed)?;
        let (transmit_mapping, transmit) =
            Mapping::new(fd, libc::XDP_PGOFF_TX_RING, &offsets.tx, RING).map_err(failed)?;
        let (fill_mapping, fill) =
            Mapping::new(fd, libc::XDP_UMEM_PGOFF_FILL_RING as i64, &offsets.fr, RING).map_err(failed)?;
        let (completion_mapping, completion) =
            Mapping::new(fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, &offsets.cr, RING)
                .map_err(failed)?;
        // SAFETY: the layouts are those of the mappings, which the socket drops after the cursors; RING is a
        // power of two and the number of entries asked for; there is one cursor for each ring.
        let rings = unsafe {
            Rings {
                receive: Consumer::new(receive),
                transmit: Producer::new(transmit),
                fill: Producer::new(fill),
                completion: Consumer::new(completion),
            }
        };
        Ok((rings, [receive_mapping, transmit_mapping, fill_mapping, completion_mapping]))
    }

    /// With flags for neither mode the kernel itself tries zero copy first. A socket that shares memory takes
    /// over the flags of the first one and must not bring any.
    fn bind_address(&self, fd: &OwnedFd, registrar: Option<&OwnedFd>) -> Result<(), BindError> {
        let flags = match registrar {
            Some(_) => libc::XDP_SHARED_UMEM,
            None if self.options.zero_copy => libc::XDP_USE_NEED_WAKEUP,
            None => libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: self.device.index,
            sxdp_queue_id: self.queue,
            sxdp_shared_umem_fd: registrar.map_or(0, |fd| fd.as_raw_fd() as u32),
        };
        // SAFETY: `address` lives through the call and its size is given.
        let result = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let (interface, queue, source) = (self.device.name.clone(), self.queue, io::Error::last_os_error());
        Err(match source.raw_os_error() {
            Some(libc::EBUSY) => BindError::Busy { interface, queue },
            Some(libc::EPERM) => BindError::Permission { source },
            Some(libc::EINVAL | libc::EOPNOTSUPP) => BindError::Refused { interface, queue, source },
            _ => self.failed("bind the AF_XDP socket", source),
        })
    }

    fn mode(&self, fd: &OwnedFd) -> Result<Mode, BindError> {
        // SAFETY: a structure of plain numbers, which is what the kernel writes for this option.
        let options: libc::xdp_options = unsafe { umem::option(fd, libc::XDP_OPTIONS) }
            .map_err(|source| self.failed("read the mode of the socket", source))?;
        Ok(if options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0 { Mode::ZeroCopy } else { Mode::Copy })
    }

    fn failed(&self, step: &'static str, source: io::Error) -> BindError {
        BindError::System { interface: self.device.name.clone(), queue: self.queue, step, source }
    }
}

/// Frames that one `sendto` may send in copy mode; without it 32 (linux/if_xdp.h since 6.17).
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// In copy mode sent packets count against the socket's buffer, with the kernel's own overhead on each: a
/// full ring of full chunks.
const SEND_BUFFER: i32 = 2 * (RING * Pool::CHUNK_SIZE as u32) as i32;

/// A queue is usually free again after 40 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
