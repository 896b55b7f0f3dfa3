// SPDX-License-Identifier: Apache-2.0
//! The one clock of the gateway: CLOCK_BOOTTIME.
//!
//! It goes on while the machine sleeps, so that an SA that has outlived its time during a suspend is dead when
//! the machine wakes up, and no key is used for longer than its life. All threads read the same clock, so a time that one of
//! them notes can be compared in another. The packet path takes it as plain nanoseconds (`now_ns`), read once per batch:
//! [`Instant::as_nanos`] is the only way there.
//!
//! `poll` sleeps by CLOCK_MONOTONIC, which stands still during a suspend; whoever sleeps looks at this clock at least once a
//! second, and so is at most a second late after it.

use rustix::time::{ClockId, clock_gettime};
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time: nanoseconds since the machine was started, suspends included. Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// The present time.
    pub fn now() -> Instant {
        let time = clock_gettime(ClockId::Boottime);
        Instant { ns: time.tv_sec as u64 * NS_PER_S + time.tv_nsec as u64 }
    }

    /// Nanoseconds since the machine was started.
    pub fn as_nanos(self) -> u64 {
        self.ns
    }

    /// How long ago that was; nothing if it lies in the future.
    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    /// The time since `earlier`; nothing if that is later.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant { ns: self.ns.saturating_add(ns) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant { ns: self.ns.saturating_sub(ns) }
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

const NS_PER_S: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward() {
        let before = Instant::now();
        while Instant::now() == before {}
        assert!(Instant::now() > before);
        assert!(before.elapsed() > Duration::ZERO);
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let now = Instant::now();
        assert_eq!((now + Duration::from_secs(3)) - now, Duration::from_secs(3));
        assert_eq!(now - (now + Duration::from_secs(3)), Duration::ZERO);
        assert_eq!((now + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!((now - Duration::MAX).as_nanos(), 0);
    }
}
