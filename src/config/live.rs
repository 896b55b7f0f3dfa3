// SPDX-License-Identifier: Apache-2.0
//! Associations that were negotiated, in the lists where configured ones would stand. They are shown, and are no part of
//! a document.

use crate::sa::{Direction, SaParameters};
use crate::yang::data::{Container, Data, Key, List, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One that is live.
#[derive(Clone, Copy)]
pub struct LiveAssociation<'a> {
    pub direction: Direction,
    pub queue: u16,
    /// The id of its route.
    pub route: &'a str,
    pub sa: &'a SaParameters,
}

/// Puts them in a tree.
pub(super) fn fill(root: &mut Arc<Container>, live: &[LiveAssociation<'_>]) {
    for (name, direction) in [(OUTBOUND, Direction::Outbound), (INBOUND, Direction::Inbound)] {
        let of_list = live.iter().filter(|one| one.direction == direction);
        let entries: BTreeMap<_, _> = of_list.map(|one| (one.key(), Arc::new(one.entry()))).collect();
        if !entries.is_empty() {
            let list = Data::List(Arc::new(List { entries }));
            Arc::make_mut(root).members.insert(name.into(), list);
        }
    }
}

impl LiveAssociation<'_> {
    /// In the order of the model.
    fn key(&self) -> Key {
        Key(vec![u64::from(self.sa.spi).into(), u64::from(self.queue).into()])
    }

    fn entry(&self) -> Container {
        let leaves: [(&str, Value); 6] = [
            ("spi", u64::from(self.sa.spi).into()),
            ("queue", u64::from(self.queue).into()),
            ("route", self.route.into()),
            ("aead", self.sa.key.algorithm().name().into()),
            ("key", hexadecimal(self.sa.key.bytes())),
            ("salt", hexadecimal(&self.sa.salt)),
        ];
        Container { members: leaves.map(|(name, value)| (name.into(), Data::Leaf(value))).into() }
    }
}

/// As deployed gateways print it.
fn hexadecimal(bytes: &[u8]) -> Value {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(" ").as_str().into()
}

pub(super) const OUTBOUND: &str = "outbound-sa";
pub(super) const INBOUND: &str = "inbound-sa";
