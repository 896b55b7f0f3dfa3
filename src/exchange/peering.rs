// SPDX-License-Identifier: Apache-2.0
//! What the handshake has to know of a route.

use crate::sa::PresharedKey;
use std::net::IpAddr;

use super::message::{self, PROLOGUE};

/// The two ends of a route, and their secret.
pub(super) struct Peering<'a> {
    pub route_spi: u32,
    pub own: IpAddr,
    pub peer: IpAddr,
    pub secret: &'a PresharedKey,
}

impl Peering<'_> {
    pub(super) fn prologue_as_initiator(&self, nonce: &[u8; 32]) -> [u8; PROLOGUE] {
        message::prologue(self.route_spi, self.own, self.peer, nonce)
    }

    pub(super) fn prologue_as_responder(&self, nonce: &[u8; 32]) -> [u8; PROLOGUE] {
        message::prologue(self.route_spi, self.peer, self.own, nonce)
    }
}
