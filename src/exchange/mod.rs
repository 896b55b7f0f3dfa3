// SPDX-License-Identifier: Apache-2.0
//! The key exchange (vita-ske version 5): how two gateways that share a secret come by fresh ESP keys.
//!
//! One [`KeyManager`] serves one queue of the gateway. It does no input or output, reads no clock and owns no
//! source of randomness: datagrams, instants and random bytes are handed in, and what is to be done comes out.
//!
//! ```text
//!   handle(now, source, datagram) ─┐                        ┌─ poll() ─► Send, InstallInbound, RemoveInbound,
//!   configure(now, ..) ────────────┼─►   KeyManager   ──────┤            ActivateOutbound, RemoveOutbound, Log
//!   timeout(now) ──────────────────┘  (one per queue)       └─ deadline() ─► when to call timeout() next
//! ```
//!
//! The caller drains [`KeyManager::poll`] after every call and performs the outputs in their order: an inbound SA
//! is installed before the message leaves that tells the peer its SPI.
//!
//! # The exchange
//!
//! Every gateway is initiator and responder for every route at once; the two roles share nothing but the route.
//!
//! ```text
//!   initiator                                                     responder
//!   idle
//!    │ rekey is due            ── knock(vi) ──────────────────►   (no state changes, whoever knocks)
//!    ▼
//!   await challenge            ◄────── challenge(vr, aead, n) ──
//!    │ version and aead fit
//!    │                         ── proposal(e, {SPI}) ─────────►   the tag verifies: SAs;
//!    ▼                                                            new n, e and SPI at once
//!   await agreement            ◄────────── agreement(e, {SPI}) ─
//!    │ the tag verifies: SAs
//!    ▼
//!   idle                       (both waits end after negotiation-ttl; the inbound SPI is kept for the next try)
//! ```
//!
//! The messages are those of `Noise_NNpsk0_25519_AESGCM_BLAKE2s`; only the derivation of the ESP keys at the end is
//! the protocol's own. Reading a message never changes a state machine unless the message is good: the states are
//! read through shared references and replaced on success, so there is nothing to roll back.
//!
//! # Decisions
//!
//! * *Source addresses are not filtered.* Answers go to the gateway address that is configured for the route, never
//!   to where a datagram claims to come from, and the prologue binds both configured addresses. A peer whose
//!   datagrams are translated on the way therefore still works. What a stranger sends (a source other than the route's gateway)
//!   may use no more than a quarter of the message budget, so that a flood from elsewhere does not stop rekeying.
//! * *Negotiations are started at most 25 times a second*, first come first served. Each costs both sides two
//!   received messages, and both sides start their own: 4 × 25 is the message budget. Without this pace a gateway
//!   with thousands of routes would knock for all of them at once, and its peer would drop the proposals that follow.
//! * *A proposal that was not answered is followed by another negotiation*, even if the peer's own has meanwhile
//!   provided SAs. The peer may have accepted the proposal, and would send under keys that exist only there.
//! * *A waiting outbound SA is a rekey already done.* No further one is started until it is active.
//!
//! # Limits
//!
//! * 65,279 inbound SPIs per queue, about six for each route. When they run out exchanges fail, and say so.
//! * The only AEAD negotiated is `aes-gcm-16-icv`, the one of version 5.
//! * A lost agreement leaves the responder with an SA that the initiator lacks, until the initiator has tried
//!   again. The protocol has no message that would confirm an agreement. Each costs one of the responder's four
//!   inbound SAs, so that several in a row can displace the one that the initiator still uses.

use crate::clock::Instant;
use crate::wire::ip::Addresses;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

mod initiator;
mod lifetime;
mod limit;
mod manager;
mod message;
mod noise;
mod report;
mod responder;
mod spis;
mod tunnel;

pub use manager::KeyManager;
pub use message::Kind;
pub use report::{Counters, Event, Rejection, Role};

/// What the routes of one queue have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The queue this key manager serves.
    pub queue: u16,
    /// Our addresses as the peers are configured to see them: `nat-ip` where one is set, else `ip`. A route uses the one
    /// of its gateway's family.
    pub own: Addresses,
    /// How long a negotiation waits for each answer. Kept within one second and 2^32 seconds.
    pub negotiation_ttl: Duration,
    /// How long an SA lives. Kept within one second and 2^32 seconds.
    pub sa_ttl: Duration,
}

/// One route as far as the key exchange is concerned.
#[derive(Clone, Debug)]
pub struct Route {
    pub id: String,
    pub spi: u32,
    pub preshared_key: PresharedKey,
    /// The peer's address for this queue.
    pub gateway: IpAddr,
}

/// A secret shared by two gateways. Erased when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    pub fn new(key: [u8; 32]) -> Self {
        PresharedKey(key)
    }

    fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

/// One security association, ready for ESP. The key material is erased when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SaParameters {
    pub spi: u32,
    pub key: [u8; 16],
    pub salt: [u8; 4],
    #[zeroize(skip)]
    pub aead: &'static str,
}

impl fmt::Debug for SaParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaParameters")
            .field("spi", &self.spi)
            .field("aead", &self.aead)
            .finish_non_exhaustive()
    }
}

/// What the caller has to do, in this order.
#[derive(Debug)]
pub enum Output {
    /// A UDP payload for the peer.
    Send { to: IpAddr, payload: Vec<u8> },
    /// Accept packets of this SA from now on.
    InstallInbound { route: String, sa: SaParameters },
    /// This SPI of the route is no longer ours.
    RemoveInbound { route: String, spi: u32 },
    /// Send through this SA from now on, instead of the one active before.
    ActivateOutbound { route: String, sa: SaParameters },
    /// The route has no outbound SA any more.
    RemoveOutbound { route: String },
    /// Something an operator may want to read. Limiting the rate is the caller's part.
    Log(Event),
}

/// Where random bytes come from. Any `FnMut(&mut [u8])` that fills the slice will do.
///
/// Keys depend on it: outside of tests it must be the operating system's generator, and it must not return unless
/// it has filled the slice.
pub trait Random {
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        })
    }
}

/// One live SA, for the state tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Association<'a> {
    pub route: &'a str,
    pub route_spi: u32,
    pub direction: Direction,
    pub spi: u32,
    pub aead: &'static str,
    pub created: Instant,
    pub expires: Instant,
    /// False for an outbound SA that waits for its turn.
    pub active: bool,
}
