// SPDX-License-Identifier: Apache-2.0
//! What the stories share.
//!
//! * `site`: a packet path in memory, and packets for it
//! * `field`: where the fields of a frame are
//! * `netns`, `veth`, `injector`, `flow`, `pcap`: namespaces, the devices in them, and traffic
//! * `two_sites`, `lab`: gateways with the real daemon in namespaces
//! * `instance`: an instance behind a control socket
//! * `alone`: stories with a process of their own
//! * `wait`: waiting for something that must happen

pub mod alone;
pub mod field;
pub mod flow;
pub mod injector;
pub mod instance;
pub mod lab;
pub mod netns;
pub mod pcap;
pub mod site;
pub mod two_sites;
pub mod veth;
pub mod wait;

/// The program.
pub const VITA: &str = env!("CARGO_BIN_EXE_vita");
