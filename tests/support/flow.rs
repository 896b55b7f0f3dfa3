// SPDX-License-Identifier: Apache-2.0
//! A steady flow of numbered UDP packets from one network namespace to another.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A flow that goes on until it is asked for its figures.
pub struct Flow {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Arrivals>,
}

struct Arrivals {
    numbers: HashSet<u64>,
    longest_gap: Duration,
}

#[derive(Debug)]
pub struct Figures {
    pub sent: u64,
    pub lost: u64,
    /// The longest time between two arrivals. Part of it is the machine's.
    pub longest_gap: Duration,
}

impl Flow {
    /// One packet every `interval`, to an address of the other namespace.
    pub fn start(from: &str, to: &str, address: Ipv4Addr, interval: Duration) -> Flow {
        let (source, sink) = (socket(from), socket(to));
        sink.set_read_timeout(Some(LOOK_EVERY)).expect("a timeout can be set");
        let port = sink.local_addr().expect("it is bound").port();
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_sender, stop_receiver, count) = (stop.clone(), stop.clone(), arrived.clone());
        let sender = thread::spawn(move || {
            let (start, mut number) = (Instant::now(), 0u64);
            while !stop_sender.load(Ordering::Relaxed) {
                // What the kernel does not take counts as lost.
                let _ = source.send_to(&number.to_be_bytes(), SocketAddrV4::new(address, port));
                number += 1;
                let due = start + interval * number as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            number
        });
        let receiver = thread::spawn(move || receive(&sink, &stop_receiver, &count));
        Flow { stop, arrived, sender, receiver }
    }

    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends the flow.
    pub fn figures(self) -> Figures {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        let arrivals = self.receiver.join().expect("the receiver does not panic");
        let lost = sent - arrivals.numbers.len() as u64;
        Figures { sent, lost, longest_gap: arrivals.longest_gap }
    }
}

/// Until nothing has come for a while after the end.
fn receive(sink: &UdpSocket, stop: &AtomicBool, count: &AtomicU64) -> Arrivals {
    let mut arrivals = Arrivals { numbers: HashSet::new(), longest_gap: Duration::ZERO };
    let (mut last, mut number) = (None, [0; 8]);
    let mut quiet_since = None;
    loop {
        match sink.recv(&mut number) {
            Ok(_) => {
                let now = Instant::now();
                let gap = last.replace(now).map_or(Duration::ZERO, |last| now - last);
                arrivals.longest_gap = arrivals.longest_gap.max(gap);
                arrivals.numbers.insert(u64::from_be_bytes(number));
                count.store(arrivals.numbers.len() as u64, Ordering::Relaxed);
                quiet_since = None;
            }
            Err(_) if stop.load(Ordering::Relaxed) => {
                if quiet_since.get_or_insert_with(Instant::now).elapsed() > LAST_WAIT {
                    return arrivals;
                }
            }
            Err(_) => {}
        }
    }
}

/// A socket of another namespace.
fn socket(namespace: &str) -> UdpSocket {
    let namespace = File::open(format!("/run/netns/{namespace}")).expect("the namespace exists");
    // A thread of its own, because a thread that has entered a namespace stays there.
    let socket = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: takes a descriptor that is open; changes only the network namespace of this thread.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        });
        inside.join().expect("the thread does not panic")
    });
    socket.expect("a socket can be made there")
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);
