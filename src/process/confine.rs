// SPDX-License-Identifier: Apache-2.0
//! What a worker may still do once its sockets are bound: move packets.
//!
//! A worker reads what strangers send. Should one of them get it to run code of his, that code has no capability and no
//! system call but those of the loop: no file, no other socket, no program, no other process, no memory that can be executed.
//! What the loop does not need fails with EPERM, and the kernel logs it (`auditd`, or `dmesg`); what nobody but an intruder
//! would try ends the process.

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Why a thread keeps its rights.
#[allow(missing_docs, reason = "the text of each says it")]
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("its capabilities cannot be dropped: {0}")]
    Capabilities(io::Error),
    #[error("its system calls cannot be filtered: {0}")]
    Filter(#[from] BackendError),
    #[error("its system calls cannot be filtered (is CONFIG_SECCOMP_FILTER set?): {0}")]
    Install(io::Error),
}

/// Takes from the thread that calls it all capabilities and all system calls but those of a worker's loop.
pub fn confine() -> Result<(), ConfineError> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(|error| ConfineError::Capabilities(error.into()))?;
    // Without it a thread that has no CAP_SYS_ADMIN may not install a filter.
    set_no_new_privs(true).map_err(|error| ConfineError::Install(error.into()))?;
    // The stricter answer of the two holds. The first lets the second be installed.
    for filter in [intruders()?, loops()?] {
        install(&filter).map_err(ConfineError::Install)?;
    }
    Ok(())
}

/// What the loop needs, and the end of the thread, which may be that of a panic.
fn loops() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = LOOP.iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = SeccompCondition::new(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![not_executable])?]);
    }
    // abort, to this process only.
    let own = SeccompCondition::new(0, Dword, Eq, std::process::id().into())?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture()?)?.try_into()
}

fn intruders() -> Result<BpfProgram, BackendError> {
    let rules = INTRUDERS.iter().map(|call| (*call, Vec::new())).collect();
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, architecture()?)?.try_into()
}

fn architecture() -> Result<TargetArch, BackendError> {
    std::env::consts::ARCH.try_into()
}

/// Logs what is refused. Without SPEC_ALLOW kernels before 5.16 would switch speculation off for the thread, and packets
/// would pay for it; what the worker runs is no code of a stranger.
fn install(filter: &BpfProgram) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel copies the program, which lives until it has; `seccompiler` lays out its instructions as the
    // kernel's `sock_filter`.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waiting, AF_XDP, eventfd, the clock where it is no vDSO call; what the allocator does; what ends a thread.
const LOOP: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_getsockopt,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_close,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Running programs, looking into other processes, reaching the network in another way, changing the kernel.
const INTRUDERS: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bpf,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_chroot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_capset,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::thread;

    /// In a thread that ends with it.
    fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(|| {
            confine().unwrap();
            act()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_confined_thread_allocates_waits_and_ends_and_opens_nothing() {
        let (opened, memory) = confined(|| {
            let memory = vec![1u8; 64 << 20].len();
            thread::sleep(std::time::Duration::from_millis(1));
            (File::open("/proc/self/status").map(drop), memory)
        });
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(memory, 64 << 20);
        // The others are not.
        fs::read("/proc/self/status").unwrap();
    }

    #[test]
    fn a_confined_thread_may_panic() {
        let thread = thread::spawn(|| {
            confine().unwrap();
            panic!("as it may");
        });
        assert!(thread.join().is_err());
    }

    #[test]
    fn a_confined_thread_has_no_capability_and_a_filter() {
        let (send, receive) = std::sync::mpsc::channel();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let id = rustix::thread::gettid();
            confine().unwrap();
            send.send(id).unwrap();
            let _ = finished.recv();
        });
        let id = receive.recv().unwrap();
        let status = fs::read_to_string(format!("/proc/self/task/{}/status", id.as_raw_nonzero())).unwrap();
        for line in
            ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1"]
        {
            assert!(status.contains(line), "no {line} in {status}");
        }
        drop(finish);
        thread.join().unwrap();
    }

    #[test]
    fn nothing_is_both_needed_and_fatal() {
        assert!(INTRUDERS.iter().all(|call| !LOOP.contains(call)));
    }
}
