// SPDX-License-Identifier: Apache-2.0
//! The side of an exchange that answers. It holds what the next exchange will need and waits for nothing, so it can
//! neither be blocked nor be filled up by those who knock.

use x25519_dalek::StaticSecret;

use super::Random;
use super::initiator::ephemeral;
use super::message::KEY_MESSAGE;
use super::noise::{self, Keys};
use super::report::Rejection;
use super::spis::Spis;
use super::tunnel::Peering;

pub(super) struct Responder {
    nonce: [u8; 32],
    ephemeral: StaticSecret,
    /// None only where all SPIs were in use when it was to be drawn.
    spi: Option<u32>,
}

impl Responder {
    pub fn new(spis: &mut Spis, random: &mut dyn Random) -> Self {
        let mut nonce = [0; 32];
        random.fill(&mut nonce);
        Responder { nonce, ephemeral: ephemeral(random), spi: spis.allocate() }
    }

    /// What every knock is answered with until an exchange completes.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Answers a proposal with the agreement that is returned, together with the keys and our inbound SPI. Unless the
    /// proposal is bad, nonce, key and SPI are spent: the same proposal will not be accepted again.
    pub fn proposed(
        &mut self,
        peering: &Peering<'_>,
        proposal: &[u8; KEY_MESSAGE],
        spis: &mut Spis,
        random: &mut dyn Random,
    ) -> Result<(Keys, u32, [u8; KEY_MESSAGE]), Rejection> {
        if self.spi.is_none() {
            self.spi = spis.allocate();
        }
        let spi = self.spi.ok_or(Rejection::NoSpi)?;
        let prologue = peering.prologue_as_responder(&self.nonce);
        let (keys, message) = noise::agree(&prologue, peering.secret, &self.ephemeral, spi, proposal)?;
        *self = Responder::new(spis, random);
        Ok((keys, spi, message))
    }

    /// Makes challenges that are under way worthless. The SPI has never carried traffic, so it is kept.
    pub fn reset(&mut self, random: &mut dyn Random) {
        random.fill(&mut self.nonce);
        self.ephemeral = ephemeral(random);
    }

    pub fn spi(&self) -> Option<u32> {
        self.spi
    }
}
