// SPDX-License-Identifier: Apache-2.0
//! Longest-prefix match: a trie of strides 16, 8, 8, ... with the answers pushed to the leaves. One for each family.
//!
//! ```text
//!   root[65536] ──► answer                       prefixes up to /16: one load
//!        └────────► node[256] ──► answer         up to /24: two
//!                        └──────► node[256]      up to /32: three, and so on
//! ```
//!
//! A slot holds 0 (no route), an answer plus one, or, with the top bit set, the index of a node. 256 KiB for a family
//! that has prefixes at all, and 1 KiB for each /16, /24, /32, ... that has longer prefixes inside.

use ipnet::IpNet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefixes to numbers below 2^31 - 1.
pub struct PrefixTable {
    ipv4: Trie<4>,
    ipv6: Trie<16>,
}

impl PrefixTable {
    /// A table of these prefixes. Of two equal ones the later counts.
    pub fn build(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> PrefixTable {
        let mut sorted: Vec<_> = prefixes.into_iter().collect();
        // Short ones first: a longer prefix then overwrites part of what a shorter one filled.
        sorted.sort_by_key(|(net, _)| net.prefix_len());
        let mut table = PrefixTable { ipv4: Trie::new(), ipv6: Trie::new() };
        for (net, answer) in sorted {
            debug_assert!(answer < INNER - 1);
            match net {
                IpNet::V4(net) => table.ipv4.insert(net.network().octets(), net.prefix_len(), answer + 1),
                IpNet::V6(net) => table.ipv6.insert(net.network().octets(), net.prefix_len(), answer + 1),
            }
        }
        table
    }

    /// The number of the longest prefix that contains the address.
    #[inline]
    pub fn lookup4(&self, address: Ipv4Addr) -> Option<u32> {
        self.ipv4.lookup(address.octets())
    }

    /// As [`PrefixTable::lookup4`].
    #[inline]
    pub fn lookup6(&self, address: Ipv6Addr) -> Option<u32> {
        self.ipv6.lookup(address.octets())
    }
}

/// A trie over addresses of so many bytes.
struct Trie<const BYTES: usize> {
    /// Empty as long as there is no prefix.
    root: Vec<u32>,
    nodes: Vec<[u32; NODE]>,
}

impl<const BYTES: usize> Trie<BYTES> {
    fn new() -> Self {
        Trie { root: Vec::new(), nodes: Vec::new() }
    }

    #[inline(always)]
    fn lookup(&self, address: [u8; BYTES]) -> Option<u32> {
        let mut slot = *self.root.get(usize::from(u16::from_be_bytes([address[0], address[1]])))?;
        for byte in &address[2..] {
            if slot & INNER == 0 {
                break;
            }
            slot = self.nodes[(slot & !INNER) as usize][usize::from(*byte)];
        }
        slot.checked_sub(1)
    }

    fn insert(&mut self, network: [u8; BYTES], length: u8, slot: u32) {
        if self.root.is_empty() {
            self.root = vec![0; ROOT];
        }
        let top = usize::from(u16::from_be_bytes([network[0], network[1]]));
        if length <= 16 {
            self.root[top..top + (1 << (16 - length))].fill(slot);
            return;
        }
        let mut node = self.below(Slot::Root(top));
        // The byte that the prefix ends in, if only at its end.
        let last = usize::from(length - 1) / 8;
        for byte in &network[2..last] {
            node = self.below(Slot::Node(node, usize::from(*byte)));
        }
        let first = usize::from(network[last]);
        let span = 1 << (8 * (last + 1) - usize::from(length));
        self.nodes[node][first..first + span].fill(slot);
    }

    /// The node below a slot; made, and filled with the slot's answer, if there is none.
    fn below(&mut self, place: Slot) -> usize {
        let slot = match place {
            Slot::Root(index) => self.root[index],
            Slot::Node(node, index) => self.nodes[node][index],
        };
        if slot & INNER != 0 {
            return (slot & !INNER) as usize;
        }
        let node = self.nodes.len();
        self.nodes.push([slot; NODE]);
        let link = INNER | node as u32;
        match place {
            Slot::Root(index) => self.root[index] = link,
            Slot::Node(parent, index) => self.nodes[parent][index] = link,
        }
        node
    }
}

enum Slot {
    Root(usize),
    Node(usize, usize),
}

const ROOT: usize = 1 << 16;
const NODE: usize = 1 << 8;
const INNER: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn at(table: &PrefixTable, address: &str) -> Option<u32> {
        lookup(table, address.parse().unwrap())
    }

    fn lookup(table: &PrefixTable, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => table.lookup4(address),
            IpAddr::V6(address) => table.lookup6(address),
        }
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
        let table = PrefixTable::build(prefixes);
        assert_eq!(at(&table, "192.0.2.1"), Some(0));
        assert_eq!(at(&table, "10.200.0.1"), Some(8));
        assert_eq!(at(&table, "10.1.2.1"), Some(24));
        assert_eq!(at(&table, "10.1.2.3"), Some(32));
        assert_eq!(at(&table, "10.1.2.200"), Some(25));
        assert_eq!(at(&table, "2001:db8::1"), None, "families do not mix");
    }

    #[test]
    fn ipv6_prefixes_of_every_length_nest() {
        let address: Ipv6Addr = "2001:db8:1234:5678:9abc:def0:1357:9bdf".parse().unwrap();
        let nested = |length: u8| (Ipv6Net::new(address, length).unwrap().trunc().into(), u32::from(length));
        let table = PrefixTable::build((0..=128).map(nested));
        assert_eq!(table.lookup6(address), Some(128));
        for bit in 0..128 {
            let other = Ipv6Addr::from(u128::from(address) ^ 1 << (127 - bit));
            assert_eq!(table.lookup6(other), Some(bit), "differs in bit {bit}");
        }
    }

    #[test]
    fn without_a_prefix_there_is_no_answer() {
        let table = PrefixTable::build([(net("172.32.0.0/16"), 7), (net("2001:db8:2::/48"), 8)]);
        assert_eq!(at(&table, "172.33.0.0"), None);
        assert_eq!(at(&table, "172.31.255.255"), None);
        assert_eq!(at(&table, "172.32.255.255"), Some(7));
        assert_eq!(at(&table, "2001:db8:2:ffff::1"), Some(8));
        assert_eq!(at(&table, "2001:db8:3::"), None);
        let empty = PrefixTable::build([]);
        assert_eq!((at(&empty, "10.0.0.1"), at(&empty, "2001:db8::1")), (None, None));
    }

    /// What a table has to agree with.
    fn linear_search(prefixes: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
        let matches = prefixes.iter().filter(|(net, _)| net.contains(&address));
        matches.max_by_key(|(net, _)| net.prefix_len()).map(|(_, answer)| *answer)
    }

    /// Few distinct networks, so that prefixes nest.
    fn few4(bits: u32) -> Ipv4Addr {
        (bits & 0x0303_03ff).into()
    }

    fn few6(bits: u128) -> Ipv6Addr {
        (bits & 0x0101_0001_0000_0301_0000_0000_0100_00ff).into()
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            prefixes4 in prop::collection::vec((any::<u32>(), 0u8..=32), 0..60),
            prefixes6 in prop::collection::vec((any::<u128>(), 0u8..=128), 0..60),
            probes in prop::collection::vec(any::<u128>(), 20),
        ) {
            let prefixes4 = prefixes4.into_iter().map(|(bits, length)| {
                Ipv4Net::new(few4(bits), length).unwrap().trunc().into()
            });
            let prefixes6 = prefixes6.into_iter().map(|(bits, length)| {
                Ipv6Net::new(few6(bits), length).unwrap().trunc().into()
            });
            let mut unique: Vec<(IpNet, u32)> = prefixes4.chain(prefixes6).zip(0..).collect();
            unique.sort_by_key(|(net, _)| *net);
            unique.dedup_by_key(|(net, _)| *net);
            let table = PrefixTable::build(unique.iter().copied());
            for probe in probes {
                for address in [IpAddr::V4(few4(probe as u32)), IpAddr::V6(few6(probe))] {
                    prop_assert_eq!(lookup(&table, address), linear_search(&unique, address));
                }
            }
        }
    }
}
