// SPDX-License-Identifier: Apache-2.0
//! Network namespaces for tests that need real interfaces. A namespace has no name in the file system: it
//! lives as long as its descriptor or a process in it, so that nothing stays behind however a test ends.
#![allow(dead_code, reason = "a bench and a test of another package use a part of this")]

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// A network namespace with its loopback interface up.
pub struct Netns {
    file: File,
    /// Unique on this machine, for messages.
    name: String,
    _turn: Arc<Turn>,
}

impl Netns {
    /// Makes one; panics with what is missing where that is not allowed. Waits until it is this story's turn.
    pub fn new() -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: takes and touches nothing.
        assert!(unsafe { libc::geteuid() } == 0, "this test makes network namespaces and must run as root");
        let turn = Turn::take();
        let file = std::thread::spawn(|| {
            // SAFETY: changes this thread only, which ends right after.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert!(result == 0, "cannot make a network namespace: {}", io::Error::last_os_error());
            File::open("/proc/thread-self/ns/net").expect("the namespace of a thread can be opened")
        })
        .join()
        .expect("making a network namespace needs CAP_SYS_ADMIN");
        let name = format!("vita-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let netns = Netns { file, name, _turn: turn };
        netns.run("ip link set dev lo up");
        netns
    }

    /// What `ip link set dev X netns PATH` and `nsenter --net=PATH` take, while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into the namespace for good, with /sys showing its interfaces. Threads and
    /// processes that it starts are there too.
    pub fn enter(&self) {
        enter(self.file.as_raw_fd()).expect("root may enter a namespace it made");
    }

    /// Does something in a thread that has entered the namespace: sockets made there belong to it.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let there = || {
            self.enter();
            act()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).expect("the thread does not panic")
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let fd = self.file.as_raw_fd();
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only system calls are made, nothing is allocated.
        unsafe { command.pre_exec(move || enter(fd)) };
        command
    }

    /// Runs a command line (words apart by spaces, no quoting) and gives its output; panics when it fails.
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|output| panic!("{}: `{line}` failed: {output}", self.name))
    }

    /// As [`Netns::run`], with the outcome as a value: the output of success or of failure.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a command line has a first word"));
        let output = command.args(words).output().map_err(|error| error.to_string())?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// A cable: `here` in this namespace and `there` in the other one, both up, each with `queues` queues.
    pub fn veth(&self, here: &str, other: &Netns, there: &str, queues: u32) {
        let ends = format!("numtxqueues {queues} numrxqueues {queues}");
        self.run(&format!(
            "ip link add {here} {ends} type veth peer name {there} {ends} netns {}",
            other.path()
        ));
        for (netns, end) in [(self, here), (other, there)] {
            // The kernel's own neighbour and router solicitations would come in between.
            netns.run(&format!("sysctl -q -w net.ipv6.conf.{end}.disable_ipv6=1"));
            netns.run(&format!("ip link set dev {end} up"));
        }
    }
}

/// The right of a story, which is a thread, to have namespaces and daemons: a small machine has no more cores, and most
/// stories mostly wait. It ends with the last namespace or lab that holds it. Stories that need neither do not ask.
pub struct Turn {
    share: usize,
}

impl Turn {
    /// One of [`STORIES_AT_ONCE`]; the one that the story has, if it has one.
    pub fn take() -> Arc<Turn> {
        Turn::take_share(1)
    }

    /// Waits until no other story has a turn, and keeps them all: for gateways that are measured against time. A story
    /// asks for it before it makes its first namespace.
    pub fn take_alone() -> Arc<Turn> {
        Turn::take_share(STORIES_AT_ONCE)
    }

    fn take_share(share: usize) -> Arc<Turn> {
        OF_THIS_STORY.with_borrow_mut(|of_this_story| {
            if let Some(turn) = of_this_story.upgrade() {
                assert!(share <= turn.share, "a story asks to be alone before it makes a namespace");
                return turn;
            }
            let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            let is_full = |taken: &mut usize| *taken + share > STORIES_AT_ONCE;
            *RETURNED.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner) += share;
            let turn = Arc::new(Turn { share });
            *of_this_story = Arc::downgrade(&turn);
            turn
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.share;
        RETURNED.notify_all();
    }
}

/// setns, and a private mount of /sys, which otherwise shows the namespace in which it was mounted.
fn enter(fd: libc::c_int) -> io::Result<()> {
    let sysfs: &CStr = c"sysfs";
    // SAFETY: all strings are terminated constants; the flags change the calling thread only.
    unsafe {
        if libc::setns(fd, libc::CLONE_NEWNET) != 0 || libc::unshare(libc::CLONE_NEWNS) != 0 {
            return Err(io::Error::last_os_error());
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let none = std::ptr::null();
        if libc::mount(none, c"/".as_ptr(), none, private, none.cast()) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Where /sys cannot be mounted again, tests do without it.
        libc::mount(sysfs.as_ptr(), c"/sys".as_ptr(), sysfs.as_ptr(), 0, none.cast());
    }
    Ok(())
}

const STORIES_AT_ONCE: usize = 2;
static TAKEN: Mutex<usize> = Mutex::new(0);
static RETURNED: Condvar = Condvar::new();

thread_local! {
    static OF_THIS_STORY: RefCell<Weak<Turn>> = const { RefCell::new(Weak::new()) };
}
