// SPDX-License-Identifier: Apache-2.0
//! Follows the interfaces: they go and come back, and change, while the gateway runs.
//!
//! A thread of its own asks the kernel, because the answer may take seconds: such questions wait for whoever
//! configures any interface at that moment (the kernel's rtnl lock). It wakes the control thread when something
//! is different. It asks again and again instead of waiting for notifications: there is none when somebody detaches an
//! XDP program.

use super::devices::{self, DeviceId, Devices};
use crate::device::{Device, Program};
use crate::process;
use crate::wait::EventFd;
use crate::wire::Mac;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What the interfaces were like when they were last looked at.
pub(super) struct Watch {
    seen: Devices,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the control thread knows.
    known: Devices,
    programs: Vec<(DeviceId, Weak<Program>)>,
    /// Changes with `known`: what was seen for another is out of date.
    version: u64,
    /// What is different from that.
    found: Option<Devices>,
    /// Whether a program is no longer attached.
    is_detached: bool,
    stop: bool,
}

impl Watch {
    /// Starts the thread, with nothing to look at yet.
    pub(super) fn start(wakeup: Arc<EventFd>) -> io::Result<Watch> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let watched = shared.clone();
        let watch = move || {
            process::limit();
            watched.watch(&wakeup);
        };
        std::thread::Builder::new().name(NAME.to_string()).spawn(watch)?;
        Ok(Watch { seen: Devices::new(), shared })
    }

    /// Whether something is different from what was noted. What has been found since is noted.
    pub(super) fn poll(&mut self) -> bool {
        let (found, is_detached) = {
            let mut state = self.shared.lock();
            (state.found.take(), std::mem::take(&mut state.is_detached))
        };
        if let Some(found) = &found {
            self.log_changes(found);
        }
        found.is_some() || is_detached
    }

    /// Remembers what the interfaces are like, and writes what is different to the log. These and these programs are
    /// looked at from now on.
    pub(super) fn note(&mut self, devices: &Devices, programs: &BTreeMap<DeviceId, Arc<Program>>) {
        self.log_changes(devices);
        let mut state = self.shared.lock();
        state.known.clone_from(devices);
        state.programs = programs.iter().map(|(place, one)| (*place, Arc::downgrade(one))).collect();
        state.version += 1;
        (state.found, state.is_detached) = (None, false);
        self.shared.changed.notify_one();
    }

    /// The interfaces as they were last seen.
    pub(super) fn seen(&self) -> &Devices {
        &self.seen
    }

    fn log_changes(&mut self, devices: &Devices) {
        for (name, now) in devices {
            match (self.seen.get(name), now) {
                (Some(Some(before)), Some(now)) => compare(before, now),
                (Some(Some(_)), None) => {
                    tracing::warn!("interface {name} is gone: its workers stop until it is back");
                }
                (Some(None), Some(now)) => {
                    tracing::info!("interface {name} is back");
                    warn_if_down(now);
                }
                _ => {}
            }
        }
        self.seen.clone_from(devices);
    }
}

impl Drop for Watch {
    /// The thread ends by itself; it may be held up by the kernel, so nobody waits for it.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete in itself, so it is good even if a thread died holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn watch(&self, wakeup: &EventFd) {
        let mut last = Devices::new();
        let mut state = self.lock();
        loop {
            let timeout = self.changed.wait_timeout(state, WATCH_EVERY);
            state = timeout.unwrap_or_else(PoisonError::into_inner).0;
            if state.stop {
                return;
            }
            if state.known.is_empty() {
                continue;
            }
            let (version, known) = (state.version, state.known.clone());
            let programs = state.programs.clone();
            drop(state);
            // Device by device what was seen last, so that one that is renamed twice is not lost.
            last.retain(|name, _| known.contains_key(name));
            for (name, device) in &known {
                if device.is_some() || !last.contains_key(name) {
                    last.insert(name.clone(), device.clone());
                }
            }
            let devices = devices::inspect(known.keys().map(String::as_str), &last);
            let is_detached = programs.iter().any(|(place, program)| {
                let is_there = devices.values().flatten().any(|device| device.index == *place);
                is_there && program.upgrade().is_some_and(|program| !program.is_attached(*place))
            });
            state = self.lock();
            if state.version == version {
                let is_new =
                    is_detached && !state.is_detached || devices != *state.found.as_ref().unwrap_or(&known);
                state.is_detached |= is_detached;
                if is_new {
                    state.found = (devices != known).then_some(devices);
                    wakeup.notify();
                }
            }
        }
    }
}

fn compare(before: &Device, now: &Device) {
    let name = &now.name;
    if before.index != now.index {
        tracing::info!("interface {name} was replaced by another of this name");
    } else if before.kernel_name != now.kernel_name {
        if now.kernel_name == *name || now.is_altname {
            tracing::info!("interface {name} has its name again");
        } else {
            tracing::warn!(
                "interface {name} is called {0} now: its workers go on, and do not find it at the next start; \
                 ip link property add dev {0} altname {name}, or change the configuration",
                now.kernel_name
            );
        }
    }
    if before.up && !now.up {
        warn_if_down(now);
    } else if !before.up && now.up {
        tracing::info!("interface {name} is up");
    }
    if before.mtu != now.mtu {
        tracing::info!("interface {name}: its MTU was {} and is {}", before.mtu, now.mtu);
    }
    if before.mac != now.mac {
        tracing::info!("interface {name}: its MAC address was {} and is {}", Mac(before.mac), Mac(now.mac));
    }
}

fn warn_if_down(device: &Device) {
    if !device.up {
        let name = &device.name;
        tracing::warn!("interface {name} is down, no packet passes: ip link set dev {name} up");
    }
}

/// Looks often enough that a fault is healed within a second.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// The thread's name, as `top -H` shows it.
const NAME: &str = "vita-watch";
