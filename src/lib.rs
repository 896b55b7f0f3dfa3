// SPDX-License-Identifier: Apache-2.0
//! Vita: an IPsec gateway in user space.
//!
//! A gateway stands between a private network and a public one and joins the private network to others of its kind.
//! What it takes in on the one side it seals and sends out on the other:
//!
//! ```text
//!             control thread   configuration, keys, counters: config, exchange, control, leader
//!                   │ bounded rings
//!   private ──► ┌───▼──────────────────────────────┐ ──► public     one worker per queue, which
//!   network     │ worker   route, seal │ open      │     network    shares nothing with the others
//!           ◄── └──────────────────────────────────┘ ◄──
//! ```
//!
//! The rooms from the bottom up: [`process`], [`wire`], [`frame`], [`count`]; [`aead`], [`route`], [`esp`]; [`exchange`]; [`xdp`];
//! [`stage`], [`graph`], [`worker`]; [`yang`], [`config`]; [`control`], [`leader`], [`cli`]. Each knows only rooms below
//! it and begins with an essay of its own. The program is [`cli::run`]. As a library Vita is for its own tests and
//! benches; its interface may change with any version.
//!
//! # What it defends, and against whom
//!
//! The attacker owns the public network: he reads, delays, drops, repeats, changes and invents packets, with any source
//! address, as fast as the link allows. He may own other gateways, which have keys for routes of their own. He does not
//! own the machines at the two ends of a route, nor that route's pre-shared key. Against him Vita keeps
//!
//! * *secret* what the inner packets hold, addresses included; not how many there are and when, nor, without `tfc`, how
//!   long they are;
//! * *authentic* what leaves on the private side: the route's peer sealed it, and it is delivered once at most;
//! * *closed* what was recorded, to whoever gets at keys later, pre-shared keys included;
//! * *running* what runs: no packet stops a worker, makes it wait, or has it take more memory.
//!
//! The private network is trusted to send what it likes to where the routes lead. A peer is trusted with its own networks:
//! a packet out of a tunnel with another source is dropped, unless `check-inner-source` is false. Root on the gateway is
//! trusted with everything.
//!
//! # Why a default is what it is
//!
//! | default | because |
//! | --- | --- |
//! | `sa-ttl` 600 | a key is replaced after five to six and a quarter of its ten minutes, at a random time, so that many routes do not rekey at once; what is left is time for many attempts |
//! | `negotiation-ttl` 5 | longer than any round trip, and short against `sa-ttl` |
//! | AES-128-GCM, ICV of 16 bytes | what version 5 of the key exchange negotiates, and what CPUs have instructions for |
//! | 64-bit sequence numbers | 32 bits last for minutes at line rate. They are the nonce as well |
//! | a window of 1984 packets | packets are received in batches of 64 and can overtake each other by several; see [`esp::WINDOW`] |
//! | `mtu` 8923 | what deployed configurations assume where they are silent; it is cut to what the interfaces carry |
//! | `tfc` off | padding each packet to the MTU multiplies the traffic of small ones |
//! | outer header: DF, `dscp` none | gateways do not reassemble, and a copied DSCP would tell something about the inner packet. `ecn` true copies ECN: it tells little, and senders need the answer (RFC 6040) |
//! | `check-inner-source` true | the prefixes that packets go to are known anyway, and RFC 4301 wants their senders held to them |
//! | `fail-closed` false | after the end of the process its interfaces are the kernel's again, as everyone expects who stops a program; who wants them shut says so |
//! | 100 messages of the key exchange a second and worker | enough to rekey a thousand routes in 20 s, and little work even if every one is forged |
//! | 50 ICMP messages a second, 100 at once | enough for traceroute and path MTU discovery, too little to reflect a flood |
//! | workers sleep | an idle gateway costs nothing; `--busywait` is for those who pay for latency |
//!
//! # Attacks that do not apply, and why
//!
//! * *Nonce reuse.* A key belongs to one [`esp::OutboundSa`], which counts upwards, stops at the last number, and is never
//!   stored: a gateway that restarts negotiates new keys. What a configured key has used is on disk before it is used
//!   ([`control::ledger`]). Each direction has its own key.
//! * *A worker that is broken into* has no capability and no system call but those of its loop ([`process`]).
//! * *Replay.* A number is accepted once. The window moves only after the ICV was right, so forged packets cannot push it.
//! * *Downgrade.* There is one version and one AEAD, and both sides hash them into the handshake.
//! * *Replayed handshakes.* A proposal answers a nonce of the responder that is spent with it.
//! * *Reflection.* Answers of the key exchange go to the address that is configured for the route, not to where a datagram
//!   claims to come from.
//! * *Exhaustion.* A knock creates no state. Tables grow with the configuration and with nothing else; rings, batches and
//!   the rate of the log are bounded.
//! * *Oracles.* Padding is looked at after the ICV that covers it, tags are compared in constant time, and why a packet or
//!   message was refused is counted and logged, never answered.
//! * *Fragments.* On the public side they are dropped, so there is no reassembly to poison.
//! * *ICMP and redirects from the public side* change nothing, but for "too big" that quotes a packet sent lately. Who cannot
//!   see our packets has to guess that, and no path is taken to be narrower than 576 bytes (IPv6: 1280).
//! * *Clear packets that claim an inner source.* Nothing gets from the public side to the private one but out of ESP.
//!
//! # What it does not defend
//!
//! * A flood that fills the link, or one with a peer's forged address that uses up the budget of the key exchange.
//! * ARP and neighbour discovery on the gateway's own links: an announcement is believed as an answer is. Configure
//!   `nexthop-mac` where the neighbours are not trusted.
//! * What was recorded, from someone who has both a quantum computer and the pre-shared key.

pub mod aead;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod count;
pub mod esp;
pub mod exchange;
pub mod frame;
pub mod graph;
pub mod leader;
pub mod process;
pub mod route;
pub mod stage;
pub mod wire;
pub mod worker;
pub mod xdp;
pub mod yang;

/// In the tests and benches, too: what it costs is in all figures.
#[global_allocator]
static ALLOCATOR: process::Erasing = process::Erasing;
