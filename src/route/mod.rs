// SPDX-License-Identifier: Apache-2.0
//! Tables that a packet is looked up in: prefixes to routes ([`PrefixTable`]), SPIs to security associations
//! ([`SpiTable`]).
//!
//! The prefix table is immutable: the control thread builds a new one for each change of the routes and the
//! workers exchange a pointer. The SPI table belongs to a worker and changes in place, without allocation.

mod lpm;
mod spi;

pub use lpm::PrefixTable;
pub use spi::{Slot, SpiTable};

/// The number by which workers know a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteNumber(pub u32);
