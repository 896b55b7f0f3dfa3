// SPDX-License-Identifier: Apache-2.0
//! The key exchange (vita-ske version 5): how two gateways that share a secret come by fresh ESP keys.
//!
//! One [`KeyManager`] serves one queue of the gateway. It does no input or output, reads no clock and owns no
//! source of randomness: datagrams, instants and random bytes are handed in, and what is to be done comes out.
//!
//! ```text
//!   handle(now, source, datagram) ─┐                        ┌─ poll() ─► Send, InstallInbound, RemoveInbound,
//!   authenticated(now, spi) ───────┤                        │            ActivateOutbound, RemoveOutbound,
//!   configure(now, ..) ────────────┼─►   KeyManager   ──────┤            SendDummy, Log
//!   timeout(now) ──────────────────┘  (one per queue)       └─ deadline() ─► when to call timeout() next
//! ```
//!
//! The caller drains [`KeyManager::poll`] after every call and performs the outputs in their order: an inbound SA
//! is installed before the message leaves that tells the peer its SPI. When a packet has authenticated under an inbound
//! SA for the first time, the caller says so with [`KeyManager::authenticated`].
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
//!    ▼                                                            new n and e at once
//!   await agreement            ◄────────── agreement(e, {SPI}) ─
//!    │ the tag verifies: SAs
//!    ▼
//!   idle                       (both waits end after negotiation-ttl; the inbound SPI is kept for the next try)
//!                              (each proposal restarts it, up to four negotiation-ttls after the first knock)
//! ```
//!
//! The messages are those of `Noise_NNpsk0_25519_AESGCM_BLAKE2s`; only the derivation of the ESP keys at the end is
//! the protocol's own. Reading a message never changes a state machine unless the message is good: the states are
//! read through shared references and replaced on success, so there is nothing to roll back.
//!
//! # Capable and deployed peers
//!
//! A newer gateway says so in the encrypted payload of proposal and agreement (format 1). A peer is *capable* from such
//! an exchange on, until there is one with format 0, or until two negotiations in a row expire without a challenge that
//! carries our token. All others are treated as *deployed*: they see what deployed gateways send, and the agreement that
//! answers a proposal of format 0 has format 0.
//!
//! Towards a capable peer the datagram header carries a token, drawn for each negotiation; challenges and agreements
//! without it are ignored, and the knock is repeated every 500 ms until a challenge comes. Its SPIs have 32 bits.
//!
//! # Taking a new SA into use
//!
//! An exchange makes a pair of SAs. A packet that authenticates under its inbound SA confirms the pair.
//!
//! * *Capable peer.* The initiator seals with the new SA at once, and sends dummy packets ([`Output::SendDummy`]) until
//!   the pair is confirmed. The responder never uses a pair before it is confirmed, and then answers with one dummy
//!   packet. So a lost agreement costs nothing, and a peer that has restarted is found again after three round trips.
//! * *Deployed peer.* It installs its keys up to a second late and confirms nothing by itself, so both roles wait for
//!   confirmation or until a time has passed (`lifetime`).
//!
//! # In doubt about a deployed peer
//!
//! A deployed peer that has sent an agreement uses the new keys 1.5 negotiation-ttls later, and one that has not got ours
//! never will. So where messages are lost the ends may use keys that the other lacks. We are in doubt when
//!
//! * a proposal of ours has left and no agreement has come, or
//! * the peer knocks again although it ought to have got our agreement. The pair then waits longer.
//!
//! While in doubt the knock is repeated, each time two round trips after the last, at least 500 ms and at most a second. If
//! the proposal was lost, the nonce is the same and so is the proposal. If the agreement was lost, the nonce is another one,
//! and the peer replaces its SA. Repeated knocks take their turn and their budget among the negotiations that begin. A peer
//! that stays silent gets fewer and fewer, and after eight negotiations none. First knocks are not repeated, so where nothing
//! is lost nothing more is sent.
//!
//! # Standing up to strangers
//!
//! * Datagrams count only if they come from the gateway of the route. The order of checks at the initiator is source,
//!   state, token, budget.
//! * An initiator that waits for an agreement answers further challenges, all with the same ephemeral key. At most 64
//!   nonces are kept, a random one gives way; at most 20 proposals a second are sent. The agreement that authenticates
//!   under any of them wins.
//! * A knock costs no state. Up to 1,000 challenges a second are sent, above that chance decides which.
//! * A proposal is charged to its route (50 a second) only if its tag fails, which is known without a Diffie-Hellman.
//!   When that budget is used up, proposals are still checked from what the queue has to spare, so that authentic ones
//!   pass. Agreements and challenges with the right token have budgets of their own.
//! * Negotiations are started at most 25 times a second for each deployed peer, which processes 100 messages, 500 times
//!   for a capable one, and 500 times in all. A peer that does not answer is asked less and less often, at last every
//!   60 s. Its knock moves the route to the front, at most once a second.
//!
//! # Decisions
//!
//! * *A proposal that a deployed peer did not answer is followed by another negotiation*, even if the peer's own has
//!   meanwhile provided SAs. The peer may have accepted the proposal, and would send under keys that exist only there.
//! * *A pair for which a deployed peer has answered is preferred* to one that it may not have got, even if that is newer.
//! * *A waiting outbound SA may be a rekey already done.* For two negotiation-ttls no further one is started.
//! * *Inbound SAs that the peer is known to have are kept* when a fifth displaces one, the newest that was confirmed and
//!   the newest that we asked for: several agreements in a row may have been lost.
//! * *While the active SA of a silent peer dies*, tries become more frequent again, up to one every negotiation-ttl.
//!
//! # Limits
//!
//! * 65,279 inbound SPIs of 16 bits per public address. When they run out exchanges with deployed peers fail, and say so.
//! * The only AEAD negotiated is `aes-gcm-16-icv`, the one of version 5. There is one lane.
//! * With a deployed peer, a third of the exchange lost and a negotiation-ttl of 1 s, about 1 % of the packets are lost:
//!   the peer takes its keys before four messages have passed. With 5 s or more it is less than 0.1 %.
//! * A deployed peer has no defence against a flood with the spoofed source of its gateway, and a challenge or agreement
//!   from it carries no token: a stranger who can spoof the source can keep us from new keys with such a peer.

use crate::clock::Instant;
use crate::sa::{Algorithm, Direction, PresharedKey, SaParameters};
use crate::wire::ip::Addresses;
use std::net::IpAddr;
use std::time::Duration;

mod initiator;
mod kind;
mod lifetime;
mod manager;
mod message;
mod noise;
mod peering;
mod report;
mod responder;
mod sa;
mod sample;
mod spis;
mod tunnel;
mod turns;
mod waiting;

pub use kind::Kind;
pub use manager::KeyManager;
pub use report::{Counters, Event, Rejection, Role};

/// What the routes of one queue have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The queue this key manager serves, which is the number of its worker.
    pub queue: u16,
    /// Which of the SPIs of 16 bits are ours.
    pub share: Share,
    /// Our addresses as the peers are configured to see them: `nat-ip` where one is set, else `ip`. A route uses the one
    /// of its gateway's family.
    pub own: Addresses,
    /// Whether to offer the extensions of newer gateways. Then the caller has to report authentic packets
    /// ([`KeyManager::authenticated`]) and to send dummy packets ([`Output::SendDummy`]), or keys are never used.
    pub extensions: bool,
    /// How long a negotiation waits for each answer. Kept within one second and 2^32 seconds.
    pub negotiation_ttl: Duration,
    /// How long an SA lives. Kept within one second and 2^32 seconds.
    pub sa_ttl: Duration,
}

/// The part of the SPIs of 16 bits that one of several workers with the same public address may give out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Below `of`.
    pub index: u16,
    /// How many queues share.
    pub of: u16,
}

impl Share {
    /// For a worker with an address of its own.
    pub const WHOLE: Share = Share { index: 0, of: 1 };
}

/// One route as far as the key exchange is concerned.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name of the route.
    pub id: String,
    /// The SPI of the route, not of an SA: it is in the header of every message.
    pub spi: u32,
    /// The secret of both ends.
    pub preshared_key: PresharedKey,
    /// The peer's address for this queue.
    pub gateway: IpAddr,
}

/// What the caller has to do, in this order.
#[allow(missing_docs, reason = "names of fields say it")]
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
    /// Send one dummy packet (next header 59, RFC 4303 section 2.6) through the active outbound SA of the route. Only
    /// capable peers get them.
    SendDummy { route: String },
    /// Something an operator may want to read. Limiting the rate is the caller's part.
    Log(Event),
}

/// Where random bytes come from. Any `FnMut(&mut [u8])` that fills the slice will do.
///
/// Keys depend on it: outside of tests it must be the operating system's generator, and it must not return unless
/// it has filled the slice.
pub trait Random {
    /// Fills all of it.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes)
    }
}

/// One live SA, for the state tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Association<'a> {
    /// The name of the route.
    pub route: &'a str,
    /// The SPI of the route.
    pub route_spi: u32,
    /// Which way its packets go.
    pub direction: Direction,
    /// The SPI of the SA.
    pub spi: u32,
    /// The algorithm of its packets.
    pub algorithm: Algorithm,
    /// When it was agreed on.
    pub created: Instant,
    /// When it ends.
    pub expires: Instant,
    /// False for an outbound SA that waits for its turn.
    pub active: bool,
}
