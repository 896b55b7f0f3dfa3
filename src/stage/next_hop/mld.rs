// SPDX-License-Identifier: Apache-2.0
//! Multicast listening: the link is told that the solicited-node group of our address is listened to (RFC 4861 section
//! 7.2.1), or a switch that prunes multicast would keep the solicitations of our neighbours from us.
//!
//! A report is sent at the start and repeated once (RFC 3810 section 9.1), then as long as the address is there. Queries
//! are answered. They may not reach us: those about all groups go to all nodes, which the kernel receives. So a report is
//! sent without a query, too, often enough that no switch forgets the group (section 9.4: 260 s by default).

use crate::wire::mld::{Query, Reason, Version};
use std::net::Ipv6Addr;

/// When to report the group next.
pub(super) struct Listener {
    /// The next report that nobody has asked for; never before [`Listener::start`].
    report_at_ns: u64,
    /// Whether that is the repetition of the first one.
    repeats: bool,
    /// The answer to a query.
    answer_at_ns: u64,
    reported_at_ns: u64,
    /// Until then the querier is one of version 1, to be answered in kind (RFC 3810 section 8.2.1).
    v1_until_ns: u64,
}

/// What a report is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub reason: Reason,
    pub version: Version,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            report_at_ns: u64::MAX,
            repeats: false,
            answer_at_ns: u64::MAX,
            reported_at_ns: 0,
            v1_until_ns: 0,
        }
    }
}

impl Listener {
    /// The group is new on the link.
    pub(super) fn start(&mut self) {
        *self = Listener { report_at_ns: 0, v1_until_ns: self.v1_until_ns, ..Listener::default() };
    }

    /// Takes a query. `random` decides when it is answered: all listeners of a link hear it at once.
    pub(super) fn query(&mut self, now_ns: u64, query: &Query, group: Ipv6Addr, random: u64) {
        if query.group.is_some_and(|asked| asked != group) {
            return;
        }
        if query.version == Version::V1 {
            self.v1_until_ns = now_ns + OLDER_QUERIER_NS;
        }
        let delay_ns = random % (query.max_response_delay.as_nanos() as u64).max(1);
        let earliest_ns = self.reported_at_ns + LEAST_BETWEEN_REPORTS_NS;
        self.answer_at_ns = self.answer_at_ns.min((now_ns + delay_ns).max(earliest_ns));
    }

    /// When [`Listener::take`] has something.
    pub(super) fn due_ns(&self) -> u64 {
        self.report_at_ns.min(self.answer_at_ns)
    }

    /// The report that is due.
    pub(super) fn take(&mut self, now_ns: u64, random: u64) -> Option<Report> {
        if now_ns < self.due_ns() {
            return None;
        }
        let version = if now_ns < self.v1_until_ns { Version::V1 } else { Version::V2 };
        let is_first = self.report_at_ns == 0;
        let reason = if is_first || self.repeats { Reason::Joined } else { Reason::Asked };
        if self.report_at_ns <= now_ns {
            let pause_ns = if is_first { random % REPEAT_WITHIN_NS } else { REPORT_EVERY_NS };
            (self.report_at_ns, self.repeats) = (now_ns + pause_ns.max(1), is_first);
        }
        // Any report answers.
        (self.answer_at_ns, self.reported_at_ns) = (u64::MAX, now_ns);
        Some(Report { reason, version })
    }
}

/// RFC 3810 section 9.11: the unsolicited report interval.
const REPEAT_WITHIN_NS: u64 = 1_000_000_000;
/// Twice within the time that a switch remembers a group, with some to spare.
const REPORT_EVERY_NS: u64 = 100_000_000_000;
/// RFC 3810 section 9.12, with the default values.
const OLDER_QUERIER_NS: u64 = 260_000_000_000;
/// Whatever queries ask for.
const LEAST_BETWEEN_REPORTS_NS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 50 * SECOND;
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3457);

    fn query(group: Option<Ipv6Addr>, version: Version) -> Query {
        Query { group, max_response_delay: Duration::from_secs(10), version }
    }

    fn started() -> Listener {
        let mut listener = Listener::default();
        assert_eq!(listener.due_ns(), u64::MAX);
        listener.start();
        listener
    }

    /// One whose first reports are out.
    fn settled() -> Listener {
        let mut listener = started();
        assert!(listener.take(NOW, 5).is_some());
        assert!(listener.take(NOW + SECOND, 5).is_some());
        listener
    }

    #[test]
    fn the_first_report_is_repeated_within_a_second_and_others_follow() {
        let mut listener = started();
        let joined = Some(Report { reason: Reason::Joined, version: Version::V2 });
        assert_eq!(listener.take(NOW, SECOND / 2), joined);
        assert_eq!(listener.take(NOW, 0), None);
        let second = listener.due_ns();
        assert_eq!(second, NOW + SECOND / 2);
        assert_eq!(listener.take(second, 0), joined);
        let third = listener.due_ns();
        // Two reports, should one be lost, are out before a switch forgets.
        assert!(third > second + 10 * SECOND && 2 * (third - second) < 260 * SECOND);
        assert_eq!(listener.take(third, 0), Some(Report { reason: Reason::Asked, version: Version::V2 }));
        assert_eq!(listener.due_ns(), third + third - second);
    }

    #[test]
    fn a_query_is_answered_once_within_the_time_it_gives() {
        for group in [None, Some(GROUP)] {
            let mut listener = settled();
            let now = NOW + 20 * SECOND;
            listener.query(now, &query(group, Version::V2), GROUP, 4 * SECOND);
            listener.query(now, &query(group, Version::V2), GROUP, 9 * SECOND);
            assert_eq!(listener.due_ns(), now + 4 * SECOND, "the earlier one stays");
            let answer = listener.take(now + 4 * SECOND, 0);
            assert_eq!(answer, Some(Report { reason: Reason::Asked, version: Version::V2 }));
            assert!(listener.due_ns() > now + 10 * SECOND);
        }
        let mut listener = settled();
        let due = listener.due_ns();
        listener.query(NOW + 20 * SECOND, &query(Some(OTHER), Version::V2), GROUP, 1);
        assert_eq!(listener.due_ns(), due, "another group");
    }

    #[test]
    fn queries_that_leave_no_time_are_not_answered_all() {
        let mut listener = settled();
        let at_once = Query { max_response_delay: Duration::ZERO, ..query(None, Version::V2) };
        let start = NOW + 20 * SECOND;
        let answers = (0..1000).filter(|ms| {
            listener.query(start + ms * 1_000_000, &at_once, GROUP, 7);
            listener.take(start + ms * 1_000_000, 7).is_some()
        });
        assert_eq!(answers.count(), 10);
    }

    #[test]
    fn a_querier_of_version_1_is_answered_in_kind_until_it_is_silent() {
        let mut listener = settled();
        let now = NOW + 20 * SECOND;
        listener.query(now, &query(None, Version::V1), GROUP, 1);
        assert_eq!(listener.take(now + 1, 1).unwrap().version, Version::V1);
        let next = listener.due_ns();
        assert_eq!(listener.take(next, 1).unwrap().version, Version::V1);
        assert_eq!(listener.take(now + 300 * SECOND, 1).unwrap().version, Version::V2);
    }

    #[test]
    fn a_gateway_that_starts_does_not_wait_for_a_query() {
        let mut listener = settled();
        listener.query(NOW + 2 * SECOND, &query(None, Version::V2), GROUP, 9 * SECOND);
        listener.start();
        assert_eq!(listener.due_ns(), 0);
    }
}
