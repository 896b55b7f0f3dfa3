// SPDX-License-Identifier: Apache-2.0
//! Associations that were negotiated, in the lists where configured ones would stand. They are shown, and are no part of
//! a document.

use crate::yang::data::{Container, Data, Key, List, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One that is live.
#[derive(Clone, Copy)]
pub struct LiveAssociation<'a> {
    pub is_inbound: bool,
    pub spi: u32,
    pub queue: u16,
    pub route: &'a str,
    pub aead: &'a str,
    pub key: &'a [u8],
    pub salt: &'a [u8],
}

/// Puts them in a tree.
pub(super) fn fill(root: &mut Arc<Container>, live: &[LiveAssociation<'_>]) {
    for (name, is_inbound) in [(OUTBOUND, false), (INBOUND, true)] {
        let of_list = live.iter().filter(|one| one.is_inbound == is_inbound);
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
        Key(vec![u64::from(self.spi).into(), u64::from(self.queue).into()])
    }

    fn entry(&self) -> Container {
        let leaves: [(&str, Value); 6] = [
            ("spi", u64::from(self.spi).into()),
            ("queue", u64::from(self.queue).into()),
            ("route", self.route.into()),
            ("aead", self.aead.into()),
            ("key", hexadecimal(self.key)),
            ("salt", hexadecimal(self.salt)),
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
