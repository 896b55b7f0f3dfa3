// SPDX-License-Identifier: Apache-2.0
//! Scheduling of a worker's thread.

use std::io;

/// Makes the calling thread a real-time one (`SCHED_FIFO`, lowest priority of that class).
pub fn realtime() -> io::Result<()> {
    // SAFETY: asks for a number, then passes a structure that outlives the call; 0 is the calling thread.
    let result = unsafe {
        let parameters = libc::sched_param { sched_priority: libc::sched_get_priority_min(libc::SCHED_FIFO) };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
