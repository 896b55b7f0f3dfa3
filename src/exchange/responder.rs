// SPDX-License-Identifier: Apache-2.0
//! The side of an exchange that answers. It holds what the next exchange will need and waits for nothing, so it can
//! neither be blocked nor be filled up by those who knock.

use x25519_dalek::StaticSecret;

use super::Random;
use super::initiator::ephemeral;
use super::kind::KEY_MESSAGE;
use super::message::Payload;
use super::noise::{self, Ephemeral, Keys, Received};
use super::peering::Peering;
use super::report::Rejection;

pub(super) struct Responder {
    nonce: [u8; 32],
    ephemeral: StaticSecret,
}

impl Responder {
    pub(super) fn new(random: &mut dyn Random) -> Self {
        let mut nonce = [0; 32];
        random.fill(&mut nonce);
        Responder { nonce, ephemeral: ephemeral(random) }
    }

    /// What every knock is answered with until an exchange completes.
    pub(super) fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Whether the proposal is authentic. That takes no Diffie-Hellman.
    pub(super) fn receive(
        &self,
        peering: &Peering<'_>,
        proposal: &[u8; KEY_MESSAGE],
    ) -> Result<Received, Rejection> {
        noise::receive(&peering.prologue_as_responder(&self.nonce), peering.secret, proposal)
    }

    /// Answers an authentic proposal with the agreement that is returned, together with the keys. Unless the public key
    /// is bad, nonce and key are spent: the same proposal will not be accepted again.
    pub(super) fn agree(
        &mut self,
        received: Received,
        own: Payload,
        random: &mut dyn Random,
    ) -> Result<(Keys, [u8; KEY_MESSAGE]), Rejection> {
        let agreed = received.agree(&Ephemeral::new(self.ephemeral.clone()), own)?;
        *self = Responder::new(random);
        Ok(agreed)
    }

    /// Makes challenges that are under way worthless.
    pub(super) fn reset(&mut self, random: &mut dyn Random) {
        *self = Responder::new(random);
    }
}
