# SPDX-License-Identifier: Apache-2.0
"""What surrounds the gateway of tests/scapy_peer.rs: hosts on one cable, the far gateways on the other one."""

import select
import socket
import struct
import subprocess
import time

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import CRYPT_ALGOS, ESP, SecurityAssociation, _ESPPlain
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw, raw

INSIDE, OUTSIDE = "02:00:00:00:1f:01", "02:00:00:00:1f:02"
HOST, PEER = "02:00:00:00:00:09", "02:00:00:00:00:08"
GCM = CRYPT_ALGOS["AES-GCM"]
# By the last digit of its SPIs, a route's name and the number of the site that it leads to.
ROUTES = {4: "four", 6: "six", 9: "fence"}
SITES = {4: 32, 6: 33, 9: 34}
# Seconds. On a busy machine only the failure takes this long.
PATIENCE = 60
# Frames that are sent before it is looked what became of them: less than a ring of the device holds.
BURST = 32


def association(spi, high):
    """RFC 4106: 16 bytes of key, 4 of salt."""
    key = spi.to_bytes(16, "big") + spi.to_bytes(4, "big")
    return SecurityAssociation(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key, esn_en=True, esn=high)


def version(packet):
    return packet[0] >> 4


def older(packet):
    """A packet after one more hop."""
    if version(packet) == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    packet = IP(packet)
    packet.ttl -= 1
    del packet.chksum
    return raw(packet)


class Tunnel:
    """The far end of a route: its peer's own SPIs, and what the hosts on both sides are called."""

    def __init__(self, outer, digit, last):
        self.outer, self.digit, self.last = outer, digit, last
        self.sending, self.receiving = 2000 + digit, 1000 + digit
        # Of the packets received: the last number, and all initialisation vectors.
        self.number, self.vectors = last, set()
        self.site = SITES[digit]
        # What has passed: packets and bytes.
        self.passed = {"outbound": [0, 0], "inbound": [0, 0]}
        self.entry = f"route[id={ROUTES[digit]}][queue=1]"

    def header(self, to_gateway, **fields):
        near, far = {4: ("192.0.2.31", "192.0.2.32"), 6: ("2001:db8:ffff::31", "2001:db8:ffff::32")}[self.outer]
        source, destination = (far, near) if to_gateway else (near, far)
        if self.outer == 4:
            return IP(src=source, dst=destination, proto=50, ttl=64, id=0, flags="DF", **fields)
        return IPv6(src=source, dst=destination, nh=50, hlim=64, **fields)

    def hosts(self):
        """Behind the far gateway."""
        return f"10.{self.site}.0.50", f"2001:db8:{self.site}::50"

    def udp(self, family, text, inbound=False, ttl=64):
        """A packet between hosts, of either family."""
        near, far = {4: "10.31.0.50", 6: "2001:db8:31::50"}[family], self.hosts()[family == 6]
        source, destination = (far, near) if inbound else (near, far)
        layer = IP(src=source, dst=destination, ttl=ttl) if family == 4 else IPv6(src=source, dst=destination, hlim=ttl)
        return raw(layer / UDP(sport=4000, dport=5000) / Raw(text))

    def count(self, direction, packet):
        self.passed[direction][0] += 1
        self.passed[direction][1] += len(packet)

    def seal(self, number, inner, spi=None, protocol=None, padding=None, pad_length=None, forge=None):
        """A packet for the gateway. `number` has 64 bits. `forge` is the place of a byte of ESP that is changed."""
        spi = spi or self.sending
        high, low = divmod(number, 1 << 32)
        protocol = {4: 4, 6: 41}[version(inner)] if protocol is None else protocol
        # Nothing says that the vector be the number (RFC 4106 section 3.1), so it is not.
        vector = struct.pack("!Q", number ^ 0x5555_0000_0000_0000)
        plain = GCM.pad(_ESPPlain(spi=spi, seq=low, iv=vector, data=inner, nh=protocol))
        if padding is not None:
            plain.padding, plain.padlen = padding, len(padding)
        if pad_length is not None:
            plain.padlen = pad_length
        sa = association(spi, high)
        esp = bytearray(raw(GCM.encrypt(sa, plain, sa.crypt_key, esn_en=True, esn=high)))
        if forge is not None:
            esp[forge] ^= 1
        return self.carry(bytes(esp))

    def carry(self, esp):
        return raw(self.header(True) / Raw(esp))

    def open(self, packet):
        """The plaintext of a packet of the gateway but for its trailer; it has to be the next one in every respect."""
        layer = {4: IP, 6: IPv6}[self.outer](packet)
        assert layer.haslayer(ESP), layer.show(dump=True)
        esp = layer[ESP]
        assert raw(self.header(False) / Raw(raw(esp))) == packet, layer.show(dump=True)
        self.number += 1
        high, low = divmod(self.number, 1 << 32)
        assert (esp.spi, esp.seq) == (self.receiving, low), (esp.spi, esp.seq, self.number)
        vector = esp.data[:8]
        assert vector not in self.vectors, vector
        self.vectors.add(vector)
        sa = association(self.receiving, high)
        plain = GCM.decrypt(sa, esp, sa.crypt_key, esn_en=True, esn=high)
        assert plain.nh == {4: 4, 6: 41}[version(plain.data)], plain.nh
        assert (len(plain.data) + plain.padlen + 2) % 4 == 0, plain.padlen
        # What its user calls opens it, too, and finds the same.
        inner = sa.decrypt(layer)
        assert raw(inner.payload) == plain.data, inner.show(dump=True)
        return plain.data


class World:
    def __init__(self, vita, last):
        self.vita = vita
        self.lan, self.wan = cable("lan"), cable("wan")
        self.tunnels, self.fence = [Tunnel(4, 4, last), Tunnel(6, 6, last)], Tunnel(4, 9, 0)
        self.fences = []
        self.exchange([])

    def exchange(self, packets):
        """Has the gateway receive these from the far side, and gives what comes out inside."""
        came = []
        for start in range(0, max(len(packets), 1), BURST):
            for packet in packets[start:start + BURST]:
                send(self.wan, PEER, OUTSIDE, packet)
            came += self.until_fence()
        for packet in came:
            source = (IP if version(packet) == 4 else IPv6)(packet).src
            [tunnel] = [tunnel for tunnel in self.tunnels if source in tunnel.hosts()]
            tunnel.count("inbound", packet)
        return came

    def send_out(self, tunnel, packets):
        """Has the gateway receive these from inside, and gives what comes out, opened."""
        came = []
        for start in range(0, len(packets), BURST):
            for packet in packets[start:start + BURST]:
                send(self.lan, HOST, INSIDE, packet)
                tunnel.count("outbound", packet)
            wanted = len(packets[start:start + BURST])
            deadline = time.monotonic() + PATIENCE
            while wanted:
                packet = receive(self.wan, OUTSIDE, PEER, deadline)
                assert packet is not None, f"{wanted} packets do not come out"
                came.append((packet, tunnel.open(packet)))
                wanted -= 1
        return came

    def until_fence(self):
        """What comes out inside before the fence does: a packet of a route of its own, which never fails to come through. What was sent before it has been dealt with by then: packets of one queue do not overtake each other.
        While the daemon starts it may be lost, so it is sent again; one that is merely late is told by its number."""
        came, first, deadline = [], len(self.fences), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            again = time.monotonic() + 0.5
            inner = self.fence.udp(4, b"fence %d" % len(self.fences), inbound=True)
            self.fences.append(older(inner))
            send(self.wan, PEER, OUTSIDE, self.fence.seal(len(self.fences), inner))
            while (packet := receive(self.lan, INSIDE, HOST, again)) is not None:
                if packet in self.fences[first:]:
                    return came
                if packet not in self.fences:
                    came.append(packet)
        raise AssertionError(f"nothing comes through any more; there came {came}")

    def counters(self):
        """All of gateway-state but what interfaces, fences and announcements count. What routes say of traffic has to
        be so."""
        command = [self.vita, "config", "get-state", "--format", "xpath", "scapy", "/gateway-state"]
        text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
        values = {}
        for line in text.splitlines():
            path, _, value = line.rpartition(" ")
            is_announcement = path.endswith(("-announcements", "/mld-reports"))
            if value.isdigit() and "-interface/" not in path and self.fence.entry not in path and not is_announcement:
                values[path.removeprefix("/gateway-state/")] = int(value)
        assert "public-router/route-errors" in values, text
        for tunnel in self.tunnels:
            for direction, passed in tunnel.passed.items():
                told = [values.pop(f"{tunnel.entry}/{direction}/{leaf}") for leaf in ("packets", "bytes")]
                assert told == passed, f"{tunnel.entry}/{direction}: {told}, not {passed}"
        return values

    def moved(self, before):
        after = self.counters()
        return {path: after[path] - before.get(path, 0) for path in after if after[path] != before.get(path, 0)}


def cable(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.bind((name, 3))
    return link


def send(link, source, destination, packet):
    kind = {4: 0x0800, 6: 0x86DD}[version(packet)]
    link.send(raw(Ether(src=source, dst=destination, type=kind) / Raw(packet)))


def receive(link, source, destination, deadline):
    """The next IP packet, without its Ethernet header. None if there is none in time."""
    while select.select([link], [], [], max(deadline - time.monotonic(), 0))[0]:
        frame, (_, _, kind, *_) = link.recvfrom(65535)
        if kind == socket.PACKET_OUTGOING:
            continue
        layer = Ether(frame)
        if layer.src == source and is_announcement(layer):
            continue
        assert (layer.src, layer.dst) == (source, destination), layer.show(dump=True)
        packet = frame[14:]
        assert layer.type == {4: 0x0800, 6: 0x86DD}[version(packet)], layer.show(dump=True)
        return packet
    return None


def is_announcement(layer):
    """What the gateway tells the link when it starts: its addresses (RFC 5227, RFC 4861), its groups (RFC 3810)."""
    if layer.type == 0x0806:
        return layer[ARP].psrc == layer[ARP].pdst
    return layer.type == 0x86DD and layer.dst in ("33:33:00:00:00:01", "33:33:00:00:00:16")


def same(found, expected):
    """Fails with the first difference."""
    for place, (one, other) in enumerate(zip(found, expected)):
        assert one == other, f"at {place}: {one!r}, not {other!r}"
    assert len(found) == len(expected), f"{len(found)}, not {len(expected)}: {found[len(expected):]} too many"
