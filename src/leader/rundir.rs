// SPDX-License-Identifier: Apache-2.0
//! The run directory: where a running gateway can be found.
//!
//! ```text
//!   /var/run/snabb/                      or $SNABB_SHM_ROOT
//!     4711/                              one directory per process, named by its pid
//!       config-leader-socket
//!       name -> /var/run/snabb/by-name/paris
//!     by-name/
//!       paris -> /var/run/snabb/4711
//! ```
//!
//! A name belongs to whoever listens behind its link. The order at start is therefore: create the
//! directory, listen on its socket, claim the name; then a claimed name always has a listener, and one
//! without is left over from a process that died. Everything disappears when `RunDir` is dropped.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum RunDirError {
    #[error(
        "{name:?} cannot be an instance name: use one to {MAX_NAME} bytes without \"/\" and control characters, \
         other than \".\" and \"..\""
    )]
    Name { name: String },
    #[error(
        "Name already taken: {name:?} is in use by the running instance {owner}. Choose another --name, or stop \
         that instance first"
    )]
    Taken { name: String, owner: PathBuf },
    #[error(
        "{path} is in use by another instance with the same process id (another container?). Give each its own \
         directory with {ROOT_VARIABLE}"
    )]
    Shared { path: PathBuf },
    #[error(
        "{path} can be changed by other users, so nobody may trust what is found there. Use chmod and chown, or \
         choose another directory with {ROOT_VARIABLE}"
    )]
    Untrusted { path: PathBuf },
    #[error("cannot {action} {path}: {error}. Run as root, or choose a directory with {ROOT_VARIABLE}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
}

/// The directory of this process, and its name if it has claimed one.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    path: PathBuf,
    link: Option<PathBuf>,
}

/// The directory all instances live in.
pub fn root() -> PathBuf {
    match std::env::var_os(ROOT_VARIABLE) {
        Some(root) if !root.is_empty() => PathBuf::from(root),
        _ => PathBuf::from(DEFAULT_ROOT),
    }
}

/// Where the control socket of instance `id`, a name or else a process id, can be: in this order.
pub fn sockets(root: &Path, id: &str) -> Result<[PathBuf; 2], RunDirError> {
    check_name(id)?;
    Ok([root.join(BY_NAME).join(id).join(SOCKET), root.join(id).join(SOCKET)])
}

/// A process with a run directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Instance {
    pub pid: u32,
    pub name: Option<String>,
    /// Of a worker, the process that it works for. Workers of this program are threads and have no directory.
    pub leader: Option<String>,
}

/// All of them, by process id. Those that are dead have left theirs behind and are left out.
pub fn instances(root: &Path) -> io::Result<Vec<Instance>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: BTreeMap<PathBuf, String> = BTreeMap::new();
    for link in fs::read_dir(root.join(BY_NAME)).into_iter().flatten().flatten() {
        if let (Ok(target), Ok(name)) = (fs::canonicalize(link.path()), link.file_name().into_string()) {
            names.insert(target, name);
        }
    }
    let mut instances: Vec<Instance> = entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let path = fs::canonicalize(entry.path()).ok()?;
            let alive = is_alive(pid) || is_listening(&path.join(SOCKET));
            let group = fs::read_link(path.join(GROUP)).ok();
            let leader = group.as_deref().and_then(Path::parent).and_then(Path::file_name);
            let leader = leader.map(|leader| leader.to_string_lossy().into_owned());
            alive.then(|| Instance { pid, name: names.remove(&path), leader })
        })
        .collect();
    instances.sort_by_key(|instance| instance.pid);
    Ok(instances)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Names become path components and log fields, so they are held to what is safe as both.
pub fn check_name(name: &str) -> Result<(), RunDirError> {
    let mut components = Path::new(name).components();
    let single = matches!((components.next(), components.next()), (Some(Component::Normal(only)), None)
        if only == name);
    if single && name.len() <= MAX_NAME && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(RunDirError::Name { name: name.chars().take(MAX_NAME).collect() })
    }
}

impl RunDir {
    /// Creates the directory of this process below `root`.
    pub fn create(root: &Path) -> Result<Self, RunDirError> {
        Self::create_for(root, std::process::id())
    }

    fn create_for(root: &Path, pid: u32) -> Result<Self, RunDirError> {
        // Links are made of absolute paths, so that they work from any working directory.
        let root = std::path::absolute(root).map_err(failed("resolve", root))?;
        private_dir().recursive(true).create(&root).map_err(failed("create", &root))?;
        let path = root.join(pid.to_string());
        remove_leftover(&path)?;
        private_dir().create(&path).map_err(failed("create", &path))?;
        let run_dir = Self { root, path, link: None };
        let own_user = fs::metadata(&run_dir.path).map_err(failed("inspect", &run_dir.path))?.uid();
        let by_name = run_dir.root.join(BY_NAME);
        match private_dir().create(&by_name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("create", &by_name)(error));
            }
            _ => {}
        }
        check_trust(&run_dir.root, own_user)?;
        check_trust(&by_name, own_user)?;
        Ok(run_dir)
    }

    /// Where the control socket of this process belongs.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes this process the one called `name`. The control socket must be listening by now.
    pub fn claim(&mut self, name: &str) -> Result<(), RunDirError> {
        check_name(name)?;
        let link = self.root.join(BY_NAME).join(name);
        for _ in 0..CLAIM_ATTEMPTS {
            match symlink(&self.path, &link) {
                Ok(()) => {
                    self.link = Some(link.clone());
                    let back = self.path.join(BACK_LINK);
                    return symlink(&link, &back).map_err(failed("create", &back));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.evict(name, &link)?,
                Err(error) => return Err(failed("create", &link)(error)),
            }
        }
        // Only a crowd of processes that claim the same name at the same moment gets here.
        Err(RunDirError::Taken { name: name.to_owned(), owner: owner(&link) })
    }

    /// Takes the link of a dead instance away; an error if the instance lives.
    ///
    /// Two processes may do this at the same time. The link is moved to a private place and looked at
    /// again before it is deleted, so that the faster one's new link is not taken for the dead one.
    fn evict(&self, name: &str, link: &Path) -> Result<(), RunDirError> {
        let dead = owner(link);
        if is_listening(&link.join(SOCKET)) {
            return Err(RunDirError::Taken { name: name.to_owned(), owner: dead });
        }
        let aside = self.path.join(EVICTED);
        match fs::rename(link, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("replace", link))?,
        }
        let moved = owner(&aside);
        let removed = if aside.is_symlink() { fs::remove_file(&aside) } else { fs::remove_dir_all(&aside) };
        removed.map_err(failed("remove", &aside))?;
        if moved == dead {
            self.remove_remains(&dead);
            return Ok(());
        }
        match symlink(&moved, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("restore", link)(error)),
            _ => Ok(()),
        }
    }

    /// Deletes the directory of a process that is gone. Best effort: it only takes space.
    fn remove_remains(&self, dead: &Path) {
        let pid =
            dead.strip_prefix(&self.root).ok().and_then(Path::to_str).and_then(|pid| pid.parse::<u32>().ok());
        if let Some(pid) = pid
            && dead != self.path
            && !is_alive(pid)
        {
            let _ = fs::remove_dir_all(dead);
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && owner(link) == self.path
        {
            let _ = fs::remove_file(link);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A process that starts owns its pid, so a directory of that name was left behind by an earlier one;
/// unless it belongs to another pid namespace that shares the file system.
fn remove_leftover(path: &Path) -> Result<(), RunDirError> {
    if is_listening(&path.join(SOCKET)) {
        return Err(RunDirError::Shared { path: path.to_owned() });
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether a process listens there. Whatever prevents an answer counts as yes: nothing is taken from an
/// instance that cannot be shown to be dead.
fn is_listening(socket: &Path) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ConnectionRefused | NotFound | NotADirectory),
    }
}

fn owner(link: &Path) -> PathBuf {
    fs::read_link(link).unwrap_or_else(|_| link.to_owned())
}

fn check_trust(path: &Path, own_user: u32) -> Result<(), RunDirError> {
    let metadata = fs::metadata(path).map_err(failed("inspect", path))?;
    let owned = metadata.uid() == own_user || metadata.uid() == 0;
    if owned && metadata.mode() & WRITABLE_BY_OTHERS == 0 {
        Ok(())
    } else {
        Err(RunDirError::Untrusted { path: path.to_owned() })
    }
}

fn private_dir() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    move |error| RunDirError::Io { action, path, error }
}

/// The environment variable that moves the root, for clients and instances alike.
pub const ROOT_VARIABLE: &str = "SNABB_SHM_ROOT";
const DEFAULT_ROOT: &str = "/var/run/snabb";
const BY_NAME: &str = "by-name";
const BACK_LINK: &str = "name";
const SOCKET: &str = "config-leader-socket";
const EVICTED: &str = "evicted";
/// A link from a worker's directory into that of its leader.
const GROUP: &str = "group";
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// A unix socket path holds 107 bytes; this leaves room for the root and the socket's name.
const MAX_NAME: usize = 64;
/// Each failed attempt means that another process claimed or gave up the same name just then.
const CLAIM_ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    /// Larger than any pid the kernel gives out (2^22), so these directories are nobody's.
    const DEAD: u32 = 2_000_000_000;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_instance_is_found_by_name_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let mut run_dir = RunDir::create(root.path()).unwrap();
        let _listener = UnixListener::bind(run_dir.socket()).unwrap();
        run_dir.claim("paris").unwrap();

        let [by_name, by_pid] = sockets(root.path(), "paris").unwrap();
        assert!(by_name.exists() && !by_pid.exists());
        let [_, by_pid] = sockets(root.path(), &std::process::id().to_string()).unwrap();
        assert_eq!(by_pid, run_dir.socket());
        assert_eq!(fs::read_link(root.path().join("by-name/paris")).unwrap(), run_dir.path());
        assert_eq!(fs::read_link(run_dir.path().join("name")).unwrap(), root.path().join("by-name/paris"));
        assert_eq!((mode(run_dir.path()), mode(&root.path().join("by-name"))), (0o700, 0o700));

        let path = run_dir.path().to_owned();
        drop(run_dir);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(root.path().join("by-name")).unwrap().count(), 0);
    }

    #[test]
    fn the_name_of_a_living_instance_is_not_given_away() {
        let root = tempfile::tempdir().unwrap();
        let mut first = RunDir::create_for(root.path(), DEAD).unwrap();
        let _listener = UnixListener::bind(first.socket()).unwrap();
        first.claim("paris").unwrap();

        let mut second = RunDir::create_for(root.path(), DEAD + 1).unwrap();
        let refused = second.claim("paris").unwrap_err();
        assert!(refused.to_string().starts_with("Name already taken"), "{refused}");
        drop(second);
        assert_eq!(fs::read_link(root.path().join("by-name/paris")).unwrap(), first.path());
    }

    #[test]
    fn the_name_of_a_dead_instance_is_taken_over_and_its_directory_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut first = RunDir::create_for(root.path(), DEAD).unwrap();
        drop(UnixListener::bind(first.socket()).unwrap());
        first.claim("paris").unwrap();
        std::mem::forget(first);

        let mut second = RunDir::create_for(root.path(), DEAD + 1).unwrap();
        let _listener = UnixListener::bind(second.socket()).unwrap();
        second.claim("paris").unwrap();
        assert_eq!(fs::read_link(root.path().join("by-name/paris")).unwrap(), second.path());
        assert!(!root.path().join(DEAD.to_string()).exists());
        assert!(!second.path().join(EVICTED).exists());
    }

    #[test]
    fn a_name_whose_instance_vanished_without_a_trace_is_free() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("by-name")).unwrap();
        symlink(root.path().join("77"), root.path().join("by-name/paris")).unwrap();
        let mut run_dir = RunDir::create(root.path()).unwrap();
        run_dir.claim("paris").unwrap();
        assert_eq!(fs::read_link(root.path().join("by-name/paris")).unwrap(), run_dir.path());
    }

    #[test]
    fn a_directory_left_by_an_earlier_process_of_this_pid_is_emptied() {
        let root = tempfile::tempdir().unwrap();
        std::mem::forget(RunDir::create_for(root.path(), DEAD).unwrap());
        fs::write(root.path().join(DEAD.to_string()).join("debris"), "x").unwrap();
        let run_dir = RunDir::create_for(root.path(), DEAD).unwrap();
        assert_eq!(fs::read_dir(run_dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_in_use_from_another_pid_namespace_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDir::create_for(root.path(), DEAD).unwrap();
        let _listener = UnixListener::bind(first.socket()).unwrap();
        let refused = RunDir::create_for(root.path(), DEAD).unwrap_err();
        assert!(matches!(refused, RunDirError::Shared { .. }), "{refused}");
        assert!(first.socket().exists());
    }

    #[test]
    fn a_directory_others_may_write_to_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = RunDir::create(root.path()).unwrap_err();
        assert!(matches!(refused, RunDirError::Untrusted { .. }), "{refused}");
    }

    #[test]
    fn an_instance_that_lost_its_name_does_not_take_it_from_the_new_owner() {
        let root = tempfile::tempdir().unwrap();
        let mut first = RunDir::create_for(root.path(), DEAD).unwrap();
        first.claim("paris").unwrap();
        let mut second = RunDir::create_for(root.path(), DEAD + 1).unwrap();
        second.claim("paris").unwrap();
        drop(first);
        assert_eq!(fs::read_link(root.path().join("by-name/paris")).unwrap(), second.path());
    }

    #[test]
    fn instances_are_listed_by_process_id_with_name_and_leader_and_dead_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(instances(&root.path().join("nothing")).unwrap(), []);
        let mut run_dir = RunDir::create(root.path()).unwrap();
        run_dir.claim("paris").unwrap();
        // Of another program: process 1 works for this one.
        fs::create_dir(root.path().join("1")).unwrap();
        symlink(run_dir.path().join("group"), root.path().join("1/group")).unwrap();
        fs::create_dir(root.path().join(DEAD.to_string())).unwrap();
        fs::create_dir(root.path().join("intel-pmu")).unwrap();
        let own = std::process::id();
        let expected = [
            Instance { pid: 1, name: None, leader: Some(own.to_string()) },
            Instance { pid: own, name: Some("paris".into()), leader: None },
        ];
        assert_eq!(instances(root.path()).unwrap(), expected);
    }

    #[test]
    fn only_single_path_components_are_names() {
        for good in ["paris", "my-vita", "a.b", "日本", "123", "..."] {
            check_name(good).unwrap();
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", ".", "..", "a/b", "/", "/a", "a/", "./a", "a\n", "a\0b", &long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
