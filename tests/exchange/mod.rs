// SPDX-License-Identifier: Apache-2.0
//! Stories of two gateways that exchange keys, told in virtual time.

mod attacks;
mod changes;
mod counting;
mod deployed;
mod life;
mod losses;
mod pair;
mod simulation;
mod transcripts;
mod world;
