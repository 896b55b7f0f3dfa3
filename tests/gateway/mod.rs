// SPDX-License-Identifier: Apache-2.0
//! The real daemon, two workers per gateway, in the networks of `examples/ec2-k8s`: what a user would see.
//!
//! * `traffic`: packets between the sites, and what the internet sees of them
//! * `operation`: starting, stopping, restarting, rekeying
//! * `refusals`: configurations that are not accepted, and what that does to running traffic (nothing)
//! * `leaves`: every leaf of the configuration, from end to end
//! * `data_plane`: keys that are configured, and keys that were negotiated on view
//! * `devices`: interfaces that are missing, renamed, moved, replaced or taken, and who is answered meanwhile
//! * `faults`: interfaces that go and come back, signals, use of the machine
//! * `transactions`: changes while packets flow
//! * `hostile`: garbage on every interface and socket
//!
//! They need root, and fail without it.

mod data_plane;
mod devices;
mod faults;
mod hostile;
mod leaves;
mod operation;
mod refusals;
mod traffic;
mod transactions;
