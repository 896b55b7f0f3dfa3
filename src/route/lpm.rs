// SPDX-License-Identifier: Apache-2.0
//! Longest-prefix match for IPv4: a trie of strides 16, 8, 8 with the answers pushed to the leaves.
//!
//! ```text
//!   root[65536] ──► answer                       prefixes up to /16: one load
//!        └────────► node[256] ──► answer         up to /24: two
//!                        └──────► node[256]      up to /32: three
//! ```
//!
//! A slot holds 0 (no route), an answer plus one, or, with the top bit set, the index of a node. 256 KiB, and
//! 1 KiB for each /16 or /24 that has longer prefixes inside.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Prefixes to numbers below 2^31 - 1.
pub struct Ipv4Table {
    root: Box<[u32]>,
    nodes: Vec<[u32; NODE]>,
}

impl Ipv4Table {
    /// A table of these prefixes. Of two equal ones the later counts.
    pub fn build(prefixes: impl IntoIterator<Item = (Ipv4Net, u32)>) -> Ipv4Table {
        let mut sorted: Vec<_> = prefixes.into_iter().collect();
        // Short ones first: a longer prefix then overwrites part of what a shorter one filled.
        sorted.sort_by_key(|(net, _)| net.prefix_len());
        let mut table = Ipv4Table { root: vec![0; ROOT].into_boxed_slice(), nodes: Vec::new() };
        for (net, answer) in sorted {
            debug_assert!(answer < INNER - 1);
            table.insert(u32::from(net.network()), net.prefix_len(), answer + 1);
        }
        table
    }

    /// The number of the longest prefix that contains `address`.
    #[inline]
    pub fn lookup(&self, address: Ipv4Addr) -> Option<u32> {
        let address = u32::from(address);
        let mut slot = self.root[(address >> 16) as usize];
        if slot & INNER != 0 {
            slot = self.nodes[(slot & !INNER) as usize][(address >> 8) as usize & 0xff];
            if slot & INNER != 0 {
                slot = self.nodes[(slot & !INNER) as usize][address as usize & 0xff];
            }
        }
        slot.checked_sub(1)
    }

    fn insert(&mut self, network: u32, length: u8, slot: u32) {
        let top = (network >> 16) as usize;
        if length <= 16 {
            let span = 1 << (16 - length);
            self.root[top..top + span].fill(slot);
            return;
        }
        let middle = self.expand(Place::Root(top));
        let byte = (network >> 8) as usize & 0xff;
        if length <= 24 {
            let span = 1 << (24 - length);
            self.nodes[middle][byte..byte + span].fill(slot);
            return;
        }
        let last = self.expand(Place::Node(middle, byte));
        let byte = network as usize & 0xff;
        let span = 1 << (32 - length);
        self.nodes[last][byte..byte + span].fill(slot);
    }

    /// The node below a slot; made, and filled with the slot's answer, if there is none.
    fn expand(&mut self, place: Place) -> usize {
        let slot = match place {
            Place::Root(index) => self.root[index],
            Place::Node(node, index) => self.nodes[node][index],
        };
        if slot & INNER != 0 {
            return (slot & !INNER) as usize;
        }
        let node = self.nodes.len();
        self.nodes.push([slot; NODE]);
        let link = INNER | node as u32;
        match place {
            Place::Root(index) => self.root[index] = link,
            Place::Node(parent, index) => self.nodes[parent][index] = link,
        }
        node
    }
}

enum Place {
    Root(usize),
    Node(usize, usize),
}

const ROOT: usize = 1 << 16;
const NODE: usize = 1 << 8;
const INNER: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn at(table: &Ipv4Table, address: &str) -> Option<u32> {
        table.lookup(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let prefixes = [
            (net("10.1.2.3/32"), 32),
            (net("0.0.0.0/0"), 0),
            (net("10.1.2.0/24"), 24),
            (net("10.0.0.0/8"), 8),
            (net("10.1.2.128/25"), 25),
        ];
        let table = Ipv4Table::build(prefixes);
        assert_eq!(at(&table, "192.0.2.1"), Some(0));
        assert_eq!(at(&table, "10.200.0.1"), Some(8));
        assert_eq!(at(&table, "10.1.2.1"), Some(24));
        assert_eq!(at(&table, "10.1.2.3"), Some(32));
        assert_eq!(at(&table, "10.1.2.200"), Some(25));
    }

    #[test]
    fn without_a_prefix_there_is_no_answer() {
        let table = Ipv4Table::build([(net("172.32.0.0/16"), 7)]);
        assert_eq!(at(&table, "172.33.0.0"), None);
        assert_eq!(at(&table, "172.31.255.255"), None);
        assert_eq!(at(&table, "172.32.255.255"), Some(7));
        assert_eq!(at(&Ipv4Table::build([]), "10.0.0.1"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            prefixes in prop::collection::vec((any::<u32>(), 0u8..=32), 0..60),
            probes in prop::collection::vec(any::<u32>(), 20),
        ) {
            // Few distinct networks, so that prefixes nest.
            let prefixes: Vec<_> = prefixes
                .iter()
                .enumerate()
                .map(|(i, (bits, length))| {
                    (Ipv4Net::new(Ipv4Addr::from(bits & 0x0303_03ff), *length).unwrap().trunc(), i as u32)
                })
                .collect();
            let mut unique = prefixes.clone();
            unique.sort_by_key(|(net, _)| *net);
            unique.dedup_by_key(|(net, _)| *net);
            let table = Ipv4Table::build(unique.iter().copied());
            for probe in probes {
                let address = Ipv4Addr::from(probe & 0x0303_03ff);
                let expected = unique
                    .iter()
                    .filter(|(net, _)| net.contains(&address))
                    .max_by_key(|(net, _)| net.prefix_len())
                    .map(|(_, answer)| *answer);
                prop_assert_eq!(table.lookup(address), expected);
            }
        }
    }
}
