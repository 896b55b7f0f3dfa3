// SPDX-License-Identifier: Apache-2.0
//! The configuration of the gateway: the text that operators write, and the types that the program uses.
//!
//! ```text
//!            set, add, remove                    validate            convert
//!   Document ────────────────► candidate tree ──────────────► tree ──────────► Config ──► Document
//!      │                            │ syntax, types,           mandatory,        │ what the model
//!      │ get                        │ paths                    unique, ...       │ cannot say
//!      ▼                            ▼                            ▼               ▼
//!     text                       Rejected ◄───────────────────────────────────────
//! ```
//!
//! A [`Document`] is valid by construction: there is no way to one but through every check. An edit yields another
//! document, so a rejected one leaves nothing behind. Documents share what they have in common; to copy one is
//! cheap, whatever its size.
//!
//! A valid document may have entries that do not work yet, such as a gateway of a queue without a worker.
//! [`Document::warnings`] names them.
//!
//! [`Config`] is what the rest of the program sees: addresses, networks, keys, with the defaults of the model filled
//! in. [`Difference`] tells what a change touches. [`State`] is the other way: counters to text.
//!
//! Security associations are part of a document only where they are configured (`data-plane true`). Otherwise the key
//! exchange makes them: [`Document::print_live`] shows them, and whoever writes them is told that they are dropped.

mod check;
mod convert;
mod describe;
mod difference;
mod document;
mod live;
mod state;
mod typed;
mod warning;

pub use check::Refusal;
pub(crate) use describe::first_names;
pub use difference::{Changes, Difference};
pub use document::{Document, Rejected, decode, named};
pub use live::LiveAssociation;
pub use state::State;
pub use typed::{Association, Config, Gateway, Link, PrivateInterface, PublicInterface, Route};
pub use warning::Warning;

use crate::yang::rpc;
use crate::yang::schema::Schema;
use std::sync::LazyLock;

/// Name of the module that describes configuration and state.
pub const SCHEMA: &str = "vita-esp-gateway";

/// Its text.
pub fn schema_source() -> &'static str {
    include_str!("../../yang/vita-esp-gateway.yang")
}

/// The text of a module that clients may ask for: that of the model, those that it imports, and that of the control
/// protocol.
pub fn module_source(name: &str) -> Option<&'static str> {
    match name {
        SCHEMA => Some(schema_source()),
        "ietf-yang-types" => Some(crate::yang::IETF_YANG_TYPES),
        "ietf-inet-types" => Some(crate::yang::IETF_INET_TYPES),
        rpc::MODULE_NAME => Some(rpc::MODULE),
        _ => None,
    }
}

/// The model of configuration and state: what paths lead to, and what values are.
pub fn schema() -> &'static Schema {
    &MODEL
}

static MODEL: LazyLock<Schema> = LazyLock::new(|| {
    let imports = [crate::yang::IETF_YANG_TYPES, crate::yang::IETF_INET_TYPES];
    Schema::compile(schema_source(), &imports, &SECRET)
        .expect("the module is part of the program, and the tests compile it")
        .with_series(&SERIES)
});

/// Leaves whose name no other leaf has in the model of deployed gateways: measurements in InfluxDB are called by it.
const SERIES: [&str; 22] = [
    "/data-plane",
    "/mtu",
    "/negotiation-ttl",
    "/protocol-port",
    "/sa-ttl",
    "/tfc",
    "/gateway-state/inbound-sa/sa-state/decrypt-errors",
    "/gateway-state/key-manager/authentication-errors",
    "/gateway-state/key-manager/challenges-accepted",
    "/gateway-state/key-manager/challenges-offered",
    "/gateway-state/key-manager/inbound-sa-expired",
    "/gateway-state/key-manager/keypairs-negotiated",
    "/gateway-state/key-manager/keypairs-offered",
    "/gateway-state/key-manager/negotiations-expired",
    "/gateway-state/key-manager/negotiations-initiated",
    "/gateway-state/key-manager/outbound-sa-expired",
    "/gateway-state/key-manager/outbound-sa-updated",
    "/gateway-state/key-manager/parameter-errors",
    "/gateway-state/key-manager/public-key-errors",
    "/gateway-state/key-manager/version-errors",
    "/gateway-state/private-router/mtu-errors",
    "/gateway-state/public-dispatch/fragment-errors",
];

/// Types whose values must not appear in messages.
const SECRET: [&str; 3] = ["key32", "aead-key", "key4"];

#[cfg(test)]
mod tests;
