# SPDX-License-Identifier: Apache-2.0
"""What scapy does to the gateway of tests/scapy_peer.rs, and what has to come of it.

    stories.py STORY VITA LAST WINDOW MTU

LAST is the number after which all associations go on, WINDOW that of packets that the anti-replay window spans."""

import sys

from scapy.layers.inet import IP, UDP
from scapy.packet import raw

from world import World, older, same

STORY, VITA, LAST, WINDOW, MTU = [sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])]
EPOCH = 1 << 32


def texts():
    """Of lengths that need every padding, and of the most that a packet may hold."""
    return [b"x" * length for length in (0, 1, 2, 3, 4, 5, 6, 7, 64, 511, 1024, MTU - 48 - 1, MTU - 48)]


def outbound(world):
    before = world.counters()
    for tunnel in world.tunnels:
        for family in (4, 6):
            packets = [tunnel.udp(family, text) for text in texts()]
            packets += [tunnel.udp(family, b"old", ttl=2)] * 2
            same([inner for _, inner in world.send_out(tunnel, packets)], list(map(older, packets)))
        assert tunnel.number == 2 * (len(texts()) + 2)
    assert world.moved(before) == {}, world.moved(before)


def inbound(world):
    before = world.counters()
    for tunnel in world.tunnels:
        number = 0
        for family in (4, 6):
            packets = [tunnel.udp(family, text, inbound=True) for text in texts()]
            sealed = []
            for packet in packets:
                number += 1
                sealed.append(tunnel.seal(number, packet))
            same(world.exchange(sealed), list(map(older, packets)))
    assert world.moved(before) == {}, world.moved(before)


def long_numbers(world):
    for tunnel in world.tunnels:
        packets = [tunnel.udp(4, b"out %d" % i) for i in range(9)]
        same([inner for _, inner in world.send_out(tunnel, packets)], list(map(older, packets)))
        assert tunnel.number == LAST + 9 > EPOCH

        table = Table(tunnel)
        table.refused(LAST, "used up")
        table.passes(LAST + 2, LAST + 1, EPOCH - 1)
        # The right low half under the high half that is over, or yet to come.
        table.refused(EPOCH + LAST % EPOCH, "2^32 ahead")
        table.passes(EPOCH + 1)
        table.refused(1, "2^32 behind")
        table.refused(2, "2^32 behind")
        table.passes(EPOCH, EPOCH + 2)
        table.refused(EPOCH - 1, "again, from before")
        table.refused(EPOCH, "again")
        table.passes(EPOCH + WINDOW - 3)
        table.refused(EPOCH - 3, "just too old")
        table.check(world)
        # Into the next epoch, in two jumps: a single one of 2^32 nobody could tell from none.
        table.passes(EPOCH + EPOCH // 2)
        table.check(world)
        table.passes(2 * EPOCH - 1)
        table.passes(2 * EPOCH + 5)
        table.refused(2 * EPOCH - 1, "again")
        table.check(world)


def replay(world):
    for tunnel in world.tunnels:
        table = Table(tunnel)
        table.refused(0, "never used")
        table.passes(*range(1, 6))
        table.passes(*range(20, 10, -1))
        for number in (1, 5, 11, 15, 20):
            table.refused(number, "again")
        table.passes(*range(6, 11))
        table.refused(10, "again")

        # The window moves, and a number is used up, by what is authentic alone. Places: SPI, number, vector, text, ICV.
        table.refused(1_000_000, "forged far ahead", forge=-1)
        table.refused(EPOCH - 1, "forged farther ahead", forge=20)
        table.passes(21)
        for place in (7, 8, 16, -16, -1):
            table.refused(22, "forged", forge=place)
        table.passes(22)

        table.passes(100_000)
        table.refused(23, "much too old")
        table.refused(100_000 - WINDOW - 1, "too old")
        table.refused(100_000 - WINDOW, "just too old")
        table.passes(100_000 - WINDOW + 1)
        table.refused(100_000 - WINDOW + 1, "again")
        table.passes(99_999, 99_000)
        table.refused(100_000, "again")
        table.passes(100_000 + WINDOW)
        table.refused(100_000, "again, and just too old")
        table.passes(100_001)
        # What was seen before a jump is not taken for something after it.
        table.passes(100_000 + 3 * WINDOW)
        table.passes(*range(100_000 + 2 * WINDOW + 1, 100_000 + 2 * WINDOW + 30))
        table.passes(1 << 31, EPOCH - 1)
        table.refused(1 << 31, "much too old")
        table.check(world)


class Table:
    """Packets of an association in the order in which they are sent, and whether they have to come out."""

    def __init__(self, tunnel):
        self.tunnel, self.sealed, self.expected, self.errors = tunnel, [], [], 0

    def packet(self, number, about):
        return self.tunnel.udp(4, b"%d %s" % (number, about.encode()), inbound=True)

    def passes(self, *numbers):
        for number in numbers:
            packet = self.packet(number, "passes")
            self.sealed.append(self.tunnel.seal(number, packet))
            self.expected.append(older(packet))

    def refused(self, number, why, **options):
        self.sealed.append(self.tunnel.seal(number, self.packet(number, why), **options))
        self.errors += 1

    def check(self, world):
        before = world.counters()
        same(world.exchange(self.sealed), self.expected)
        expect(world, before, self.tunnel, decrypt_errors=self.errors)
        self.sealed, self.expected, self.errors = [], [], 0


def tfc(world):
    before = world.counters()
    for tunnel in world.tunnels:
        lengths, number = set(), 0
        for family in (4, 6):
            packets = [tunnel.udp(family, text) for text in texts()]
            came = world.send_out(tunnel, packets)
            zeros = [older(packet) + bytes(MTU - len(packet)) for packet in packets]
            same([inner for _, inner in came], zeros)
            lengths |= {len(packet) for packet, _ in came}

            packets, sealed = [], []
            for added in (b"\0", bytes(7), bytes(1000), b"anything else", b"\x45" * 40):
                number += 1
                packets.append(tunnel.udp(family, b"padded", inbound=True))
                sealed.append(tunnel.seal(number, packets[-1] + added))
            same(world.exchange(sealed), list(map(older, packets)))
        assert len(lengths) == 1, lengths
    assert world.moved(before) == {}, world.moved(before)


def strange(world):
    for tunnel in world.tunnels:
        other = world.tunnels[tunnel.digit == 4]
        inner = {family: tunnel.udp(family, b"inside", inbound=True) for family in (4, 6)}
        number = 0

        def seal(packet, **options):
            nonlocal number
            number += 1
            return tunnel.seal(number, packet, **options)

        # RFC 4303 section 2.4: 1, 2, 3 .., as much of it as the sender likes.
        before, packets, sealed = world.counters(), [], []
        for family, packet in inner.items():
            room = -(len(packet) + 2) % 4
            for length in (room, room + 4, room + 248):
                packets.append(packet)
                sealed.append(seal(packet, padding=bytes(range(1, length + 1))))
        same(world.exchange(sealed), list(map(older, packets)))
        assert world.moved(before) == {}, world.moved(before)

        # Not what its next header says, or a next header that is none of IP's.
        before = world.counters()
        sealed = [seal(inner[4], protocol=protocol) for protocol in (0, 1, 6, 17, 41, 50, 58, 255)]
        sealed += [seal(inner[6], protocol=4)]
        same(world.exchange(sealed), [])
        expect(world, before, tunnel, protocol_errors=9)

        # RFC 4303 section 2.6: dummy packets, which are no errors.
        before = world.counters()
        same(world.exchange([seal(inside, protocol=59) for inside in (inner[4], inner[6], bytes(100))]), [])
        expect(world, before, tunnel, dummy_packets=3)

        # More padding than packet.
        before = world.counters()
        length = len(raw(IP() / UDP())) + 2
        sealed = [seal(raw(IP() / UDP()), padding=b"\1\2", pad_length=excess) for excess in (length + 1, 255)]
        same(world.exchange(sealed), [])
        expect(world, before, tunnel, decrypt_errors=2)

        # An SPI of nobody; one of the other direction; too short for anything sealed.
        before = world.counters()
        sealed = [tunnel.seal(9_000, inner[4], spi=spi) for spi in (256, 0xFFFF_FFFF, tunnel.receiving)]
        sealed += [tunnel.carry(tunnel.sending.to_bytes(4, "big") + bytes(29))]
        same(world.exchange(sealed), [])
        moved = world.moved(before)
        assert moved == {"public-router/route-errors": 3, "public-router/protocol-errors": 1}, moved

        # Sound, but of hosts behind the other tunnel.
        before = world.counters()
        same(world.exchange([seal(other.udp(family, b"not mine", inbound=True)) for family in (4, 6)]), [])
        expect(world, before, tunnel, inner_source_errors=2)

        # And nothing of all that has done harm.
        same(world.exchange([seal(inner[4]), seal(inner[6])]), [older(inner[4]), older(inner[6])])


def expect(world, before, tunnel, **leaves):
    """Of all counters just these of the association and its route may have moved, and just so far."""
    moved, expected = world.moved(before), {}
    association = f"inbound-sa[queue=1][spi={tunnel.sending}]/sa-state"
    for leaf, count in leaves.items():
        leaf = leaf.replace("_", "-")
        expected |= {f"{association}/{leaf}": count, f"{tunnel.entry}/inbound/{leaf}": count}
    # Dummy packets are discarded, but not for an error.
    expected[f"{association}/rxerrors"] = sum(leaves.values()) - leaves.get("dummy_packets", 0)
    expected = {path: count for path, count in expected.items() if count}
    assert moved == expected, f"{moved}, not {expected}"


if __name__ == "__main__":
    tell = {story.__name__: story for story in (outbound, inbound, long_numbers, replay, tfc, strange)}
    tell[STORY](World(VITA, LAST))
