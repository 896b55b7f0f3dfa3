// SPDX-License-Identifier: Apache-2.0
//! The gateway and the neighbours on its links: ARP, neighbour discovery, multicast listener discovery.
//!
//! * `memory`: the packet path in memory, with a clock of its own
//! * `links`: the real daemon on real links; needs root, and fails without it

mod links;
mod memory;
