// SPDX-License-Identifier: Apache-2.0
//! What the process gives up at its start.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Has the process leave no core dump, be no target for a debugger, gain no privilege by exec, and keep its memory out of
/// swap. Before the first thread is started: each inherits it.
///
/// Gives what the system does not grant, for the log; the gateway runs without it.
pub fn harden() -> Vec<String> {
    let steps = [
        ("core dumps cannot be switched off", no_core_dump()),
        ("no_new_privs cannot be set", set_no_new_privs(true).map_err(Into::into)),
        (
            "memory is not locked, so that keys may be swapped out (give the process CAP_IPC_LOCK, or do without swap)",
            lock_memory(),
        ),
    ];
    let failed = steps.into_iter().filter_map(|(what, result)| Some(format!("{what}: {}", result.err()?)));
    failed.collect()
}

/// Without the second, a core pattern that is a pipe (systemd-coredump) gets the dump whatever the limit.
fn no_core_dump() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    Ok(())
}

/// Locks what is touched: stacks and arenas are far larger than what is used of them. Where the limit is not none, memory
/// that comes later is left to [`lock_again`]: workers, which have no capability, could not allocate any more.
fn lock_memory() -> io::Result<()> {
    // Packet memory and the maps of old kernels count towards the limit, too.
    let is_unlimited = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_ok()
        || getrlimit(Resource::Memlock).current.is_none();
    let later = if is_unlimited { MlockAllFlags::FUTURE } else { MlockAllFlags::empty() };
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT | later)?;
    LOCKS_AGAIN.store(!is_unlimited, Ordering::Relaxed);
    Ok(())
}

/// Locks the memory that has been added since, where the system does not do so by itself.
pub fn lock_again() {
    if LOCKS_AGAIN.load(Ordering::Relaxed) {
        // It went well before, and if it does not now the memory works all the same.
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    }
}

static LOCKS_AGAIN: AtomicBool = AtomicBool::new(false);

/// Takes from this thread, and from those that it starts, all capabilities but the ones that a gateway needs.
///
/// The first thread does it once the gateway has started: what holds an interface's program in the way, for a message, only
/// CAP_SYS_ADMIN finds out.
pub fn limit() {
    if let Err(error) = drop_capabilities() {
        tracing::warn!("capabilities cannot be dropped: {error}");
    }
}

/// Keeps those of [`NEEDED`] that the thread has.
fn drop_capabilities() -> io::Result<()> {
    let had = capabilities(None)?.permitted;
    let keep = kept(had, capability_is_in_bounding_set(CapabilitySet::BPF).is_ok());
    // Only who has CAP_SETPCAP can; without exec, and with no_new_privs, it changes nothing.
    if had.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep).iter() {
            // One that this kernel does not know.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    // Kernels before 4.3 have none.
    let _ = clear_ambient_capability_set();
    set_capabilities(
        None,
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}

/// What is kept of these. Before Linux 5.8 there is no CAP_BPF, and loading a program takes CAP_SYS_ADMIN.
fn kept(had: CapabilitySet, has_bpf: bool) -> CapabilitySet {
    let bpf = if has_bpf && had.contains(CapabilitySet::BPF) {
        CapabilitySet::BPF
    } else {
        CapabilitySet::SYS_ADMIN
    };
    had.intersection(NEEDED.union(bpf))
}

/// Besides the one to load the XDP program: devices and the socket map; AF_XDP and packet sockets; packet memory and locked
/// memory; real-time workers.
const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::SYS_NICE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_are_kept_as_far_as_they_are_there() {
        let five = NEEDED.union(CapabilitySet::BPF);
        assert_eq!(kept(CapabilitySet::all(), true), five);
        assert_eq!(kept(CapabilitySet::NET_ADMIN | CapabilitySet::CHOWN, true), CapabilitySet::NET_ADMIN);
    }

    #[test]
    fn where_there_is_no_bpf_capability_the_one_for_all_is_kept() {
        let old = CapabilitySet::all().difference(CapabilitySet::BPF);
        let expected = NEEDED.union(CapabilitySet::SYS_ADMIN);
        assert_eq!(kept(old, false), expected);
        // One who grants CAP_SYS_ADMIN only, as units for old kernels do.
        assert_eq!(kept(old, true), expected);
    }
}
