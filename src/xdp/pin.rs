// SPDX-License-Identifier: Apache-2.0
//! Pins: the link of an interface's program, and the map of what it dropped, under a name in the BPF file system. They outlive
//! the process, so that nothing passes in clear text even after it was killed.
//!
//! ```text
//!   /sys/fs/bpf/vita/NAME/IFNAME/link         NAME of the instance
//!   /sys/fs/bpf/vita/NAME/IFNAME/unserved
//! ```
//!
//! The BPF file system takes no names with a dot; `.` is written as `%2e`, and `%` as `%25`.

use super::link;
use libbpf_rs::libbpf_sys as sys;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where one instance has its pins.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

/// Why nothing can be pinned, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("fail-closed needs a BPF file system at {ROOT}, and there is none: mount -t bpf bpf {ROOT}")]
    NoFileSystem,
    #[error(
        "fail-closed: no right to pin in {path} ({source}): run as root, or as root: \
         mkdir -p {ROOT}/vita && chown {user} {ROOT}/vita"
    )]
    Forbidden { path: PathBuf, user: u32, source: io::Error },
    #[error("cannot {step} {path}: {source}")]
    System { step: &'static str, path: PathBuf, source: io::Error },
}

impl Pins {
    /// Of the instance of that name.
    pub fn of(name: &str) -> Pins {
        Pins { directory: Path::new(ROOT).join("vita").join(encoded(name)) }
    }

    /// Makes the directory; an error if nothing can be pinned.
    pub fn prepare(&self) -> Result<(), PinError> {
        if !is_bpf_file_system(Path::new(ROOT)) {
            return Err(PinError::NoFileSystem);
        }
        self.make(&self.directory)
    }

    /// The pinned link of that program on that interface, under whatever name.
    pub fn find(&self, index: u32, program: u32) -> Option<OwnedFd> {
        self.interfaces().iter().find_map(|interface| {
            let link = open(&self.path(interface, LINK)).ok()?;
            let info = link::info(&link).ok()??;
            (info.interface == index && info.program == program).then_some(link)
        })
    }

    /// Pins the link and map of an interface, in place of what is pinned under its name.
    pub fn pin(&self, interface: &str, link: &impl AsFd, map: &impl AsFd) -> Result<(), PinError> {
        let directory = self.directory.join(encoded(interface));
        self.make(&directory)?;
        for (name, object) in [(LINK, link.as_fd()), (UNSERVED, map.as_fd())] {
            let path = directory.join(name);
            // Whoever pins has descriptors: nothing is detached by this.
            remove(&path)?;
            let text = c_path(&path)?;
            // SAFETY: `text` is a terminated string that outlives the call.
            if unsafe { sys::bpf_obj_pin(object.as_raw_fd(), text.as_ptr()) } != 0 {
                return Err(self.failed("pin", &path, io::Error::last_os_error()));
            }
        }
        Ok(())
    }

    /// Removes the pins of an interface, if there are any.
    pub fn unpin(&self, interface: &str) -> Result<(), PinError> {
        let directory = self.directory.join(encoded(interface));
        if !directory.exists() {
            return Ok(());
        }
        for name in [LINK, UNSERVED] {
            remove(&directory.join(name))?;
        }
        remove_directory(&directory)?;
        let _ = fs::remove_dir(&self.directory);
        Ok(())
    }

    /// Detaches the program of an interface and removes its pins.
    pub fn release(&self, interface: &str) -> Result<(), PinError> {
        if let Ok(link) = open(&self.path(interface, LINK)) {
            // It is detached with its interface, too.
            let _ = link::detach(&link);
        }
        self.unpin(interface)
    }

    /// Interfaces that have pins.
    pub fn interfaces(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(decoded(entry.file_name().to_str()?))).collect();
        names.sort();
        names
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, interface: &str, name: &str) -> PathBuf {
        self.directory.join(encoded(interface)).join(name)
    }

    fn make(&self, directory: &Path) -> Result<(), PinError> {
        fs::create_dir_all(directory).map_err(|source| self.failed("make", directory, source))
    }

    fn failed(&self, step: &'static str, path: &Path, source: io::Error) -> PinError {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::EROFS) => {
                // SAFETY: takes and touches nothing.
                let user = unsafe { libc::geteuid() };
                PinError::Forbidden { path, user, source }
            }
            _ => PinError::System { step, path, source },
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd, PinError> {
    let text = c_path(path)?;
    // SAFETY: `text` is a terminated string that outlives the call.
    let fd = unsafe { sys::bpf_obj_get(text.as_ptr()) };
    if fd < 0 {
        return Err(PinError::System {
            step: "open",
            path: path.to_owned(),
            source: io::Error::last_os_error(),
        });
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PinError::System { step: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<(), PinError> {
    fs::remove_dir(path).map_err(|source| PinError::System { step: "remove", path: path.to_owned(), source })
}

fn c_path(path: &Path) -> Result<CString, PinError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| PinError::System {
        step: "name",
        path: path.to_owned(),
        source: error.into(),
    })
}

fn is_bpf_file_system(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: all zeroes is a valid statfs.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a terminated string, and `answer` is valid for writing.
    unsafe { libc::statfs(path.as_ptr(), &mut answer) == 0 && answer.f_type as u32 == BPF_FS_MAGIC }
}

fn encoded(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e")
}

fn decoded(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

const ROOT: &str = "/sys/fs/bpf";
const LINK: &str = "link";
const UNSERVED: &str = "unserved";
/// Of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_written_without() {
        for name in ["lan0", "eth0.100", "a%2eb", "%", ".."] {
            let encoded = encoded(name);
            assert!(!encoded.contains('.'), "{encoded}");
            assert_eq!(decoded(&encoded), name);
        }
        assert_eq!(Pins::of("paris.fr").directory(), Path::new("/sys/fs/bpf/vita/paris%2efr"));
    }

    #[test]
    fn every_complaint_says_what_to_type() {
        assert!(PinError::NoFileSystem.to_string().ends_with("mount -t bpf bpf /sys/fs/bpf"));
        let source = io::Error::from_raw_os_error(libc::EACCES);
        let error = Pins::of("paris").failed("make", Path::new("/sys/fs/bpf/vita/paris"), source);
        assert!(error.to_string().contains("mkdir -p /sys/fs/bpf/vita && chown "), "{error}");
    }
}
