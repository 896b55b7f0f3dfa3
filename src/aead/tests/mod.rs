// SPDX-License-Identifier: Apache-2.0
//! Every implementation that this CPU has.

use super::*;

mod batches;
