// SPDX-License-Identifier: Apache-2.0
//! Vita: an IPsec gateway in user space.
pub mod aead;
pub mod cli;
pub mod config;
pub mod control;
pub mod count;
pub mod esp;
pub mod exchange;
pub mod frame;
pub mod graph;
pub mod leader;
pub mod route;
pub mod stage;
pub mod wire;
pub mod worker;
pub mod xdp;
pub mod yang;
