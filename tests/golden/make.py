#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the cases of tests/golden with scapy, which shares no code with the gateway.

    tests/golden/make.py          writes all cases anew; needs python3-scapy and python3-cryptography

A case is a directory: what arrives (private-in.pcap, public-in.pcap), what has to leave (private-out.pcap,
public-out.pcap; absent if nothing does), and `expected`: the gateway, and every counter that has to move. Time stamps
are those of the gateway's clock. tests/golden.rs replays the cases; it needs nothing of this.

The gateway is that of Paris in tests/support/site.rs. What it does is what the RFCs say, and where they leave a choice:
what it says itself has TTL 64, id 0 and DF; errors quote a packet as it was when the problem was found.
"""

import pathlib
import shutil
import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, ICMPv6Unknown, IPv6,
    HBHOptUnknown, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, RouterAlert,
)
from scapy.layers.ipsec import CRYPT_ALGOS, ESP, SecurityAssociation, _ESPPlain
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw, raw
from scapy.utils import RawPcapWriter, checksum

TOP = pathlib.Path(__file__).resolve().parent
HOST = "02:00:00:00:00:09"
PRIVATE = "02:00:00:00:1f:01"
PUBLIC = "02:00:00:00:1f:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"
MTU = 1440
START = 100


class Family:
    def __init__(self, name, **addresses):
        self.name = name
        self.__dict__.update(addresses)

    def ip(self, source, destination, ttl=64, **fields):
        if self is V4:
            return IP(src=source, dst=destination, ttl=ttl, **{"id": 7, **fields})
        return IPv6(src=source, dst=destination, hlim=ttl, **fields)

    def udp(self, source=None, destination=None, text=b"hello tokyo", ttl=64, port=5000, **fields):
        layer = self.ip(source or self.host, destination or self.far_host, ttl, **fields)
        return raw(layer / UDP(sport=4000, dport=port) / Raw(text))

    def sized(self, size, **fields):
        """A UDP packet of so many bytes."""
        return self.udp(text=bytes(i % 251 for i in range(size - self.header - 8)), **fields)

    def tcp(self, source, destination):
        return raw(self.ip(source, destination) / TCP(sport=4000, dport=22, flags="S"))

    def ask(self, source, destination, ttl=64, **fields):
        """An echo request."""
        layer = ICMP(type=8, id=7, seq=1) if self is V4 else ICMPv6EchoRequest(id=7, seq=1)
        return raw(self.ip(source, destination, ttl, **fields) / layer / Raw(b"are you there?"))

    def say(self, source, destination, **fields):
        """What the gateway says itself."""
        own = {"id": 0, "flags": "DF"} if self is V4 else {}
        return self.ip(source, destination, **{**own, **fields})

    def echo(self, source, destination, **fields):
        """The gateway's reply."""
        layer = ICMP(type=0, id=7, seq=1) if self is V4 else ICMPv6EchoReply(id=7, seq=1)
        return raw(self.say(source, destination, **fields) / layer / Raw(b"are you there?"))

    def quote(self, packet):
        """The beginning of a packet, as an error carries it: RFC 792; RFC 4443 section 2.4 (c)."""
        return packet[:(packet[0] & 15) * 4 + 8] if self is V4 else packet[:1280 - 48]

    def error(self, source, kind, about, **fields):
        """An error of the gateway to whoever sent the packet."""
        to = IP(about).src if self is V4 else IPv6(about).src
        mtu = fields.get("mtu", 0)
        layer = {
            "expired": ICMP(type=11, code=0) if self is V4 else ICMPv6TimeExceeded(code=0),
            "too big": ICMP(type=3, code=4, nexthopmtu=mtu) if self is V4 else ICMPv6PacketTooBig(mtu=mtu),
            "option": ICMPv6ParamProblem(code=2, ptr=fields.get("pointer", 0)),
            "protocol": ICMP(type=3, code=2) if self is V4
            else ICMPv6ParamProblem(code=1, ptr=fields.get("pointer", 6)),
        }[kind]
        precedence = {"tos": ERROR_TOS} if self is V4 else {}
        return raw(self.say(source, to, **precedence) / layer / Raw(self.quote(about)))

    def icmp(self, kind, code, source, destination, body=b""):
        """Any ICMP message with a sound checksum."""
        if self is V4:
            message = struct.pack("!BBHI", kind, code, 0, 0) + body
            message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
            return raw(self.ip(source, destination, proto=1) / Raw(message))
        return raw(self.ip(source, destination) / ICMPv6Unknown(type=kind, code=code, msgbody=bytes(4) + body))

    def outer(self, source=None, destination=None, **fields):
        return self.say(source or self.outside, destination or self.far_outside, **fields)

    def fragments(self, source, destination, protocol=17, step=24):
        """First, middle and last of a datagram of three."""
        payload = raw(self.ip(source, destination) / UDP(sport=4000, dport=5000) / Raw(bytes(i % 256 for i in range(3 * step - 8))))
        payload = payload[self.header:]
        parts = []
        for i in range(3):
            part, more = payload[i * step:(i + 1) * step], i < 2
            if self is V4:
                layer = self.ip(source, destination, proto=protocol, flags="MF" if more else 0, frag=i * step // 8)
            else:
                fragment = IPv6ExtHdrFragment(nh=protocol, offset=i * step // 8, m=int(more), id=77)
                layer = self.ip(source, destination) / fragment
            parts.append(raw(layer / Raw(part)))
        return parts


V4 = Family(
    "v4", header=20, ethertype=0x0800, protocol=4, icmp_name="icmp4",
    host="172.31.1.50", far_host="172.32.1.50", inside="172.31.1.20", far_inside="172.32.1.20",
    outside="192.0.2.31", far_outside="192.0.2.32", stranger="198.51.100.7", elsewhere="172.33.1.50",
    next_inside="172.31.0.1", next_outside="192.0.2.254",
)
V6 = Family(
    "v6", header=40, ethertype=0x86DD, protocol=41, icmp_name="icmp6",
    host="2001:db8:31::50", far_host="2001:db8:32::50", inside="2001:db8:31::20", far_inside="2001:db8:32::20",
    outside="2001:db8:ffff::31", far_outside="2001:db8:ffff::32", stranger="2001:db8:aaaa::7",
    elsewhere="2001:db8:33::50", next_inside="2001:db8:31::1", next_outside="2001:db8:ffff::fe",
)
# RFC 1812 section 4.3.2.5: errors SHOULD have precedence 6 or 7.
ERROR_TOS = 0xC0


def older(packet):
    """A packet after one more hop."""
    packet = bytearray(packet)
    if packet[0] >> 4 == 6:
        packet[7] -= 1
        return bytes(packet)
    packet[8] -= 1
    return with_checksum(packet)


def with_checksum(packet):
    packet, length = bytearray(packet), (packet[0] & 15) * 4
    packet[10:12] = bytes(2)
    packet[10:12] = struct.pack("!H", checksum(bytes(packet[:length])))
    return bytes(packet)


def with_age(f, packet, ttl):
    return with_checksum(patched(packet, 8, bytes([ttl]))) if f is V4 else patched(packet, 7, bytes([ttl]))


def patched(packet, offset, replacement):
    return packet[:offset] + replacement + packet[offset + len(replacement):]


def esp(direction, number, inner, protocol=None, high=0, iv=None, padding=None, spi=None, pad_length=None):
    """ESP from the SPI on. `number` is the low half of the sequence number, which is what is sent."""
    key, salt = {"out": (b"\x31" * 16, b"\1" * 4), "in": (b"\x32" * 16, b"\2" * 4)}[direction]
    spi = spi or {"out": 1000, "in": 2000}[direction]
    protocol = protocol if protocol is not None else (4 if inner[0] >> 4 == 4 else 41)
    sa = SecurityAssociation(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key + salt, esn_en=True, esn=high)
    iv = iv or struct.pack("!II", high, number)
    algorithm = CRYPT_ALGOS["AES-GCM"]
    plain = algorithm.pad(_ESPPlain(spi=spi, seq=number, iv=iv, data=inner, nh=protocol))
    if padding is not None:
        plain.padding, plain.padlen = padding, len(padding)
    if pad_length is not None:
        plain.padlen = pad_length
    return raw(algorithm.encrypt(sa, plain, sa.crypt_key, esn_en=True, esn=high))


def sealed(f, number, inner, **options):
    """The IP packet in which the gateway sends an inner one."""
    if f is V4:
        return raw(f.outer(proto=50) / Raw(esp("out", number, inner, **options)))
    return raw(f.outer(nh=50) / Raw(esp("out", number, inner, **options)))


def carrying(f, payload, **fields):
    """An ESP packet of the far gateway."""
    layer = f.outer(f.far_outside, f.outside, **{("proto" if f is V4 else "nh"): 50, **fields})
    return raw(layer / Raw(payload))


def coming(f, number, inner, **options):
    return carrying(f, esp("in", number, inner, **options))


def ethernet(source, destination, packet):
    ethertype = 0x0800 if packet[:1] and packet[0] >> 4 == 4 else 0x86DD
    return raw(Ether(dst=destination, src=source, type=ethertype) / Raw(packet))


CASES = []


class Case:
    """Frames in, frames out, counters. Frames are at the case's clock, which `at` sets."""

    def __init__(self, family, name, about, gateway=None):
        self.name, self.about = f"{family.name}/{name}", about
        self.lines = [f"gateway {gateway or family.name}"]
        self.frames = {"private-in": [], "public-in": [], "private-out": [], "public-out": []}
        self.clock = START
        assert all(case.name != self.name for case in CASES), self.name
        CASES.append(self)

    def at(self, clock):
        self.clock = clock
        return self

    def frame(self, file, frame):
        self.frames[file].append((self.clock, frame))
        return self

    def from_host(self, packet):
        return self.frame("private-in", ethernet(HOST, PRIVATE, packet))

    def from_internet(self, packet):
        return self.frame("public-in", ethernet(HOST, PUBLIC, packet))

    def to_host(self, packet):
        return self.frame("private-out", ethernet(PRIVATE, HOST, packet))

    def to_internet(self, packet):
        return self.frame("public-out", ethernet(PUBLIC, HOST, packet))

    def count(self, **groups):
        """count(private_router="route-errors rxerrors*2")"""
        for group, leaves in groups.items():
            for leaf in leaves.split():
                name, _, times = leaf.partition("*")
                self.lines.append(f"{group.replace('_', '-')}/{name} {times or 1}")
        return self

    def say(self, line):
        self.lines.append(line)
        return self

    def write(self):
        directory = TOP / self.name
        directory.mkdir(parents=True)
        (directory / "expected").write_text("".join(f"{line}\n" for line in [f"# {self.about}", *self.lines]))
        for file, frames in self.frames.items():
            if not frames:
                continue
            with RawPcapWriter(str(directory / f"{file}.pcap"), linktype=1, endianness="<") as writer:
                writer._write_header(None)
                for clock, frame in frames:
                    writer._write_packet(frame, sec=clock, usec=0)


def forwarding(f):
    case = Case(f, "outbound-forwarded", "One hop older, sealed; four lengths, so four paddings.")
    for number in range(1, 5):
        packet = f.udp(text=b"hello tokyo"[:6 + number])
        case.from_host(packet).to_internet(sealed(f, number, older(packet)))

    case = Case(f, "inbound-forwarded", "One hop older, in clear.")
    ivs = [None, struct.pack("<Q", 2), b"any text", bytes(8)]
    for number, iv in enumerate(ivs, 1):
        packet = f.udp(f.far_host, f.host, text=b"hello paris"[:6 + number])
        case.from_internet(coming(f, number, packet, iv=iv)).to_host(older(packet))

    case = Case(f, "inbound-any-padding", "The contents of the padding do not matter, nor that there is more than needed.")
    packet = f.udp(f.far_host, f.host, text=b"12")
    room = -(len(packet) + 2) % 4
    for number, padding in enumerate([bytes(room), bytes(room + 4), b"\xff" * (room + 248)], 1):
        case.from_internet(coming(f, number, packet, padding=padding)).to_host(older(packet))

    case = Case(f, "outbound-smallest", "A header and nothing behind it.")
    packet = raw(f.ip(f.host, f.far_host, **({"proto": 253} if f is V4 else {"nh": 59})))
    case.from_host(packet).to_internet(sealed(f, 1, older(packet)))

    case = Case(f, "outbound-ethernet-padding", "What follows the packet in its frame is not carried along.")
    packet = f.udp(text=b"x")
    case.from_host(packet + b"\xaa" * 17).to_internet(sealed(f, 1, older(packet)))

    case = Case(f, "inbound-ethernet-padding", "What follows the outer packet in its frame is not part of it.")
    packet = f.udp(f.far_host, f.host)
    case.from_internet(coming(f, 1, packet) + bytes(13)).to_host(older(packet))

    case = Case(f, "inbound-tfc", "Zeros behind the inner packet are cut (RFC 4303 section 2.7).")
    packet = f.udp(f.far_host, f.host)
    case.from_internet(coming(f, 1, packet + bytes(MTU - len(packet)))).to_host(older(packet))

    case = Case(f, "outbound-tfc", "With tfc every packet is extended to the MTU with zeros.").say("tfc")
    packet = f.udp()
    case.from_host(packet).to_internet(sealed(f, 1, older(packet) + bytes(MTU - len(packet))))

    case = Case(f, "jumbo", "The longest packets that fit a frame, both ways.")
    size = 3822 - f.header - 34
    case.say(f"mtu {size}")
    packet = f.sized(size)
    case.from_host(packet).to_internet(sealed(f, 1, older(packet)))
    packet = f.sized(size, source=f.far_host, destination=f.host)
    case.from_internet(coming(f, 1, packet)).to_host(older(packet))

    case = Case(f, "outbound-without-route", "No route: dropped silently.")
    case.from_host(f.udp(destination=f.elsewhere)).count(private_router="route-errors rxerrors")

    case = Case(f, "outbound-without-key", "No security association: dropped, never sent in clear.").say("keyless")
    case.from_host(f.udp()).count(private_router="sa-errors rxerrors")


def ages(f):
    case = Case(f, "outbound-expired", "TTL 1 and 0 are told so, 2 passes.")
    for ttl in (1, 0):
        packet = f.udp(ttl=ttl)
        case.from_host(packet).to_host(f.error(f.inside, "expired", packet))
    packet = f.udp(ttl=2)
    case.from_host(packet).to_internet(sealed(f, 1, older(packet)))

    case = Case(f, "inbound-expired", "TTL 1 and 0 are told so, through the tunnel; 2 passes.")
    for number, ttl in ((1, 1), (2, 0)):
        packet = f.udp(f.far_host, f.host, ttl=ttl)
        case.from_internet(coming(f, number, packet))
        case.to_internet(sealed(f, number, f.error(f.inside, "expired", packet)))
    packet = f.udp(f.far_host, f.host, ttl=2)
    case.from_internet(coming(f, 3, packet)).to_host(older(packet))

    case = Case(f, "outbound-expired-answerable", "An echo request, and the first fragment of something, may be told.")
    first = with_age(f, f.fragments(f.host, f.far_host)[0], 1)
    for packet in (f.ask(f.host, f.far_host, ttl=1), first):
        case.from_host(packet).to_host(f.error(f.inside, "expired", packet))

    case = Case(f, "outbound-expired-unanswerable", "No error about a later fragment, an error, or to nobody.")
    unanswerable = [with_age(f, f.fragments(f.host, f.far_host)[1], 1)]
    if f is V4:
        errors = [f.icmp(kind, 0, f.host, f.far_host, f.udp(f.far_host, f.host)[:28]) for kind in (3, 4, 5, 11, 12)]
    else:
        # Types 1 to 4, those that are not assigned yet but errors, and redirects (RFC 4443 section 2.4 (e)).
        errors = [f.icmp(kind, 0, f.host, f.far_host, f.udp(f.far_host, f.host)) for kind in (1, 2, 3, 4, 100, 127, 137)]
    unanswerable += [with_age(f, error, 1) for error in errors]
    for packet in unanswerable:
        case.from_host(packet)
    case.count(**{f"private_{f.icmp_name}": f"answer-errors*{len(unanswerable)}"})

    case = Case(f, "outbound-largest", "As long as the MTU: passes.")
    packet = f.sized(MTU)
    case.from_host(packet).to_internet(sealed(f, 1, older(packet)))

    if f is V4:
        case = Case(f, "outbound-too-big-df", "Longer than the MTU with DF: told so (RFC 1191).")
        packet = f.sized(MTU + 1, flags="DF")
        case.from_host(packet).to_host(f.error(f.inside, "too big", older(packet), mtu=MTU))
        case.count(private_router="mtu-errors rxerrors")
        case = Case(f, "outbound-too-big", "Longer than the MTU without DF: cut, then sealed (RFC 4301 section 8.2).")
        cut(case, f.sized(MTU + 1), 1)
        case.count(packet_size="fragmented-packets fragments-created*2")
        case = Case(f, "outbound-too-big-whole", "Longer than the MTU without DF: dropped, if it is not to be cut.")
        case.say("fragment-inner false")
        case.from_host(f.sized(MTU + 1)).count(private_router="mtu-errors rxerrors")
        case = Case(f, "outbound-too-big-fragment", "A fragment is cut like a packet; what is the last stays the last.")
        case.say("mtu 200")
        parts, number = f.fragments(f.host, f.far_host, step=400), 1
        for part in parts:
            number = cut(case, part, number, 200)
        case.count(packet_size=f"fragmented-packets*{len(parts)} fragments-created*{number - 1}")
    else:
        case = Case(f, "outbound-too-big", "Longer than the MTU: told so; the error is as long as the smallest MTU.")
        packet = f.sized(MTU + 1)
        case.from_host(packet).to_host(f.error(f.inside, "too big", older(packet), mtu=MTU))
        case.count(private_router="mtu-errors rxerrors")


def cut(case, packet, number, mtu=MTU):
    """The packet is sent in the fragments that scapy makes of it. Gives the number of the next."""
    case.from_host(packet)
    for piece in fragment(IP(older(packet)), (mtu - 20) // 8 * 8):
        case.to_internet(sealed(V4, number, raw(piece)))
        number += 1
    return number


def sizes(f):
    """What connections say about their segments. The largest is 40 or 60 bytes less than the MTU."""
    most = MTU - f.header - 20

    def syn(flags, mss, before=(), inner=f, back=False):
        options = [*before, ("MSS", mss)] if mss is not None else [*before]
        source, destination = (inner.far_host, inner.host) if back else (inner.host, inner.far_host)
        return raw(inner.ip(source, destination) / TCP(sport=4000, dport=22, flags=flags, options=options))

    window, stamp = ("WScale", 7), ("Timestamp", (1, 0))
    case = Case(f, "outbound-mss", "SYN and its answer announce what the tunnel takes, wherever the option is.")
    offers = [("S", ()), ("SA", ()), ("S", (window,)), ("S", (stamp, window, ("NOP", None)))]
    for number, (flags, before) in enumerate(offers, 1):
        case.from_host(syn(flags, 1460, before))
        case.to_internet(sealed(f, number, older(syn(flags, most, before))))
    case.count(packet_size=f"outbound-mss-clamped*{len(offers)}")

    case = Case(f, "inbound-mss", "What comes out of a tunnel announces no more than it takes, either.")
    for number, (flags, before) in enumerate(offers, 1):
        case.from_internet(coming(f, number, syn(flags, 8900, before, back=True)))
        case.to_host(older(syn(flags, most, before, back=True)))
    case.count(packet_size=f"inbound-mss-clamped*{len(offers)}")

    case = Case(f, "mss-kept", "Never raised; no SYN, or no option: as it was.")
    kept = [syn("S", most), syn("S", 536), syn("S", None), syn("S", None, (window,)), syn("A", 1460), syn("R", 1460)]
    for number, packet in enumerate(kept, 1):
        case.from_host(packet).to_internet(sealed(f, number, older(packet)))

    case = Case(f, "mss-clamp-off", "Nothing is lowered if it is not wanted.").say("mss-clamp false")
    packet, back = syn("S", 1460), syn("S", 1460, back=True)
    case.from_host(packet).to_internet(sealed(f, 1, older(packet)))
    case.from_internet(coming(f, 1, back)).to_host(older(back))


def pieces(f):
    case = Case(f, "outbound-fragments", "First, middle, last: forwarded like anything else.")
    for number, packet in enumerate(f.fragments(f.host, f.far_host), 1):
        case.from_host(packet).to_internet(sealed(f, number, older(packet)))
    case = Case(f, "inbound-inner-fragments", "Fragments from the tunnel are forwarded.")
    for number, packet in enumerate(f.fragments(f.far_host, f.host), 1):
        case.from_internet(coming(f, number, packet)).to_host(older(packet))
    case = Case(f, "inbound-outer-fragments", "No fragment is taken from the public side, whatever it says it is.")
    for protocol in (50, 17):
        for packet in f.fragments(f.far_outside, f.outside, protocol):
            case.from_internet(packet)
    case.count(public_dispatch="fragment-errors*6 rxerrors*6")
    case = Case(f, "own-address-fragments", "Fragments of ICMP to the gateway itself are not put together.")
    for packet in f.fragments(f.host, f.inside, 1 if f is V4 else 58):
        case.from_host(packet)
    case.count(**{f"private_{f.icmp_name}": "protocol-errors*3 rxerrors*3"})

    if f is V4:
        case = Case(f, "options", "IP options pass unchanged, both ways, and are quoted.")
        options = b"\x94\x04\x00\x00" + b"\1\1\1" + b"\x07\x07\x04\x0a\x00\x00\x01" + b"\0\0"
        with_options = lambda source, destination, ttl: raw(
            IP(src=source, dst=destination, ttl=ttl, ihl=9, proto=17, len=36 + 12, id=7) / Raw(bytes(12)))
        build = lambda source, destination, ttl: with_checksum(
            with_options(source, destination, ttl)[:20] + options + bytes(range(12)))
    else:
        case = Case(f, "extension-headers", "Extension headers pass unchanged, both ways, and are quoted.")
        build = lambda source, destination, ttl: raw(
            f.ip(source, destination, ttl) / IPv6ExtHdrHopByHop(options=[RouterAlert()])
            / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(10))]) / IPv6ExtHdrRouting(type=253, segleft=0)
            / UDP(sport=4000, dport=5000) / Raw(b"hello"))
    out, back, old = build(f.host, f.far_host, 64), build(f.far_host, f.host, 64), build(f.host, f.far_host, 1)
    case.from_host(out).to_internet(sealed(f, 1, older(out)))
    case.at(START + 1).from_internet(coming(f, 1, back)).to_host(older(back))
    case.at(START + 2).from_host(old).to_host(f.error(f.inside, "expired", old))

    if f is V6:
        case = Case(f, "own-address-extension-headers", "Options in front of what is meant for the gateway.")
        options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
        asked = raw(f.ip(f.host, f.inside) / options / ICMPv6EchoRequest(id=7, seq=1) / Raw(b"are you there?"))
        case.from_host(asked).to_host(f.echo(f.inside, f.host)).count(private_icmp6="echo-request")
        sent = raw(f.ip(f.host, f.inside) / options / UDP(sport=4000, dport=5000) / Raw(b"hello"))
        case.from_host(sent).to_host(f.error(f.inside, "protocol", sent, pointer=40))
        packet = f.udp(f.far_host, f.host)
        outer = f.outer(f.far_outside, f.outside) / IPv6ExtHdrDestOpt(nh=50, options=[PadN(optdata=bytes(4))])
        case.from_internet(raw(outer / Raw(esp("in", 1, packet)))).to_host(older(packet))
        unknown_options(f)


def unknown_options(f):
    """What the two highest bits of an option ask for, of whoever does not know it: RFC 8200 section 4.2."""
    case = Case(f, "unknown-options", "Options for the gateway that it does not know: skipped, or discarded, or told.")
    kinds = (0x04, 0x1E, 0x3F, 0x5E, 0x7F, 0x9E, 0xC9, 0xDE)

    def behind_option(kind, packet, protocol):
        # What follows is kept as it is: no checksum covers options.
        options = IPv6ExtHdrDestOpt(nh=protocol, options=[PadN(optdata=b"\0"), HBHOptUnknown(otype=kind, optdata=b"what")])
        header = IPv6(packet[:40])
        header.nh, header.plen = 60, None
        return raw(header / options / Raw(packet[40:]))

    for kind in kinds:
        for place, arrives, leaves, them, own in (
            ("private", case.from_host, case.to_host, f.host, f.inside),
            ("public", case.from_internet, case.to_internet, f.stranger, f.outside),
        ):
            asked = behind_option(kind, f.ask(them, own), 58)
            arrives(asked)
            if kind >> 6 == 0:
                leaves(f.echo(own, them))
            elif kind >> 6 != 1:
                leaves(f.error(own, "option", asked, pointer=40 + 2 + 3))
    counted = "echo-request*3 protocol-errors*2 rxerrors*2"
    case.count(private_icmp6=counted, public_icmp6=counted)

    case = Case(f, "unknown-options-elsewhere", "In front of ESP the same; in what is forwarded they are not looked at.")
    for number, kind in enumerate(kinds, 1):
        case.at(START + number)
        out, back = f.udp(), f.udp(f.far_host, f.host)
        sent = behind_option(kind, out, 17)
        case.from_host(sent).to_internet(sealed(f, number, older(sent)))
        arriving = behind_option(kind, coming(f, number, back), 50)
        case.from_internet(arriving)
        if kind >> 6 == 0:
            case.to_host(older(back))
        elif kind >> 6 != 1:
            case.to_internet(f.error(f.outside, "option", arriving, pointer=40 + 2 + 3))
    case.count(public_icmp6="protocol-errors*2 rxerrors*2")


def own_addresses(f):
    icmp = lambda place, leaves: {f"{place}_{f.icmp_name}": leaves}
    quoted = f.udp(f.inside, f.far_host)
    # What a host may say to the gateway, and the answer, if there is one.
    def talk(place, source, own, receive, send):
        case = Case(f, f"own-address-{place}-echo", "An echo request is answered, whatever its TTL; its class is kept.")
        fields = {"tos": 0xB8} if f is V4 else {"tc": 0xB8}
        for number, (ttl, fields) in enumerate([(64, {}), (1, {}), (64, fields)], 1):
            receive(case, number, f.ask(source, own, ttl, **fields))
            send(case, number, f.echo(own, source, **fields))
        case.count(**icmp(place, "echo-request*3"))
        case = Case(f, f"own-address-{place}-other-protocols", "TCP and UDP are not spoken here, and told so.")
        for number, packet in enumerate([f.tcp(source, own), f.udp(source, own)], 1):
            receive(case, number, packet)
            send(case, number, f.error(own if place == "public" else f.inside, "protocol", packet))
        case = Case(f, f"own-address-{place}-unknown-icmp", "A type that nobody knows; a code that nobody knows.")
        receive(case, 1, f.icmp(200 if f is V6 else 99, 0, source, own, quoted))
        receive(case, 2, f.icmp(3, 77, source, own, quoted))
        known = "destination-unreachable" if f is V4 else "time-exceeded"
        case.count(**icmp(place, f"type-not-implemented-errors rxerrors code-not-implemented-errors {known}"))
        case = Case(f, f"own-address-{place}-damaged-icmp", "A wrong ICMP checksum; an error that quotes too little.")
        packet = f.ask(source, own)
        receive(case, 1, packet[:-1] + bytes([packet[-1] ^ 1]))
        receive(case, 2, f.icmp(3, 0, source, own, quoted[:f.header - 1]))
        case.count(**icmp(place, "protocol-errors*2 rxerrors*2"))

    talk("private", f.host, f.inside, lambda case, n, packet: case.from_host(packet),
         lambda case, n, packet: case.to_host(packet))
    talk("public", f.stranger, f.outside, lambda case, n, packet: case.from_internet(packet),
         lambda case, n, packet: case.to_internet(packet))
    talk("inbound", f.far_host, f.inside, lambda case, n, packet: case.from_internet(coming(f, n, packet)),
         lambda case, n, packet: case.to_internet(sealed(f, n, packet)))

    case = Case(f, "public-other-address", "The public side forwards nothing in clear.")
    case.from_internet(f.udp(f.stranger, f.host)).from_internet(f.ask(f.stranger, f.inside))
    case.count(public_dispatch="protocol-errors*2 rxerrors*2")

    case = Case(f, "public-other-destination", "Neither ESP nor the key exchange is taken from an address that is not ours.")
    packet = esp("in", 1, f.udp(f.far_host, f.host))
    protocol = {("proto" if f is V4 else "nh"): 50}
    case.from_internet(raw(f.outer(f.far_outside, f.far_outside, **protocol) / Raw(packet)))
    case.from_internet(f.udp(f.far_outside, f.far_outside, text=b"knock", port=303))
    case.count(public_dispatch="address-errors protocol-errors rxerrors*2")

    case = Case(f, "key-exchange", "UDP to the port of the exchange is delivered; without or with a wrong checksum not.")
    packet = f.udp(f.far_outside, f.outside, text=b"knock", port=303)
    case.from_internet(packet).say(f"key-exchange {f.far_outside} {b'knock'.hex()}")
    case.from_internet(patched(packet, f.header + 6, b"\0\0")).from_internet(packet[:-1] + b"K")
    case.count(key_manager="protocol-errors*2 rxerrors*2")

    case = Case(f, "ip-in-ip", "IP in IP is forwarded like any protocol, and not spoken by the gateway itself.")
    for number, other in enumerate([V4, V6], 1):
        case.at(START + number)
        packet = raw(f.ip(f.host, f.far_host) / (IP if other is V4 else IPv6)(other.udp()))
        case.from_host(packet).to_internet(sealed(f, number, older(packet)))
        packet = raw(f.ip(f.stranger, f.outside) / (IP if other is V4 else IPv6)(other.udp()))
        case.from_internet(packet).to_internet(f.error(f.outside, "protocol", packet))


def links(f):
    good = f.udp()
    odd = [
        ("unknown-ethertype", "Neither IP nor ARP.", lambda to: raw(Ether(src=HOST, dst=to, type=0x88CC) / Raw(good))),
        ("vlan", "Tagged frames.", lambda to: raw(Ether(src=HOST, dst=to) / Dot1Q(vlan=5, type=f.ethertype) / Raw(good))),
        ("length-for-type", "A frame of IEEE 802.3 with a length where the type would be.",
         lambda to: raw(Ether(src=HOST, dst=to, type=len(good)) / Raw(good))),
        ("other-family", "A family that the gateway has no address of.",
         lambda to: ethernet(HOST, to, (V6 if f is V4 else V4).udp())),
    ]
    for name, about, build in odd:
        Case(f, f"private-{name}", about).frame("private-in", build(PRIVATE)).count(private_dispatch="ethertype-errors")
        case = Case(f, f"public-{name}", about).frame("public-in", build(PUBLIC))
        case.count(public_dispatch="ethertype-errors rxerrors")

    case = Case(f, "private-runts", "Frames that end in the Ethernet or IP header.")
    frame = ethernet(HOST, PRIVATE, good)
    for length in range(14 + f.header):
        case.frame("private-in", frame[:length])
    case.count(private_dispatch="ethertype-errors*14", outbound_ttl=f"protocol-errors*{f.header}")
    case = Case(f, "public-runts", "Frames that end in the Ethernet or IP header.")
    for length in range(14 + f.header):
        case.frame("public-in", frame[:length])
    count = f"ethertype-errors*14 protocol-errors*{f.header} rxerrors*{14 + f.header}"
    case.count(public_dispatch=count)

    case = Case(f, "private-group", "What a group or all on the link receive is not forwarded, nor answered.")
    group = "01:00:5e:00:00:fb" if f is V4 else "33:33:00:00:00:fb"
    to_group = f.udp(destination="224.0.0.251" if f is V4 else "ff02::fb")
    for destination, packet in [(BROADCAST, good), (group, to_group), (BROADCAST, f.ask(f.host, f.inside))]:
        case.frame("private-in", ethernet(HOST, destination, packet))
    case.count(private_dispatch="address-errors*3")
    case = Case(f, "public-group", "What a group or all on the link receive is not taken.")
    for destination, packet in [(BROADCAST, coming(f, 1, good)), (group, to_group), (group, f.ask(f.stranger, f.outside))]:
        case.frame("public-in", ethernet(HOST, destination, packet))
    case.count(public_dispatch="address-errors*3 rxerrors*3")
    # RFC 1812 sections 5.3.5.1 and 5.3.7; RFC 4291 sections 2.5.2, 2.5.3, 2.5.6 and 2.7.
    if f is V4:
        sources = ("224.0.0.5", "0.0.0.0", "127.0.0.1", "255.255.255.255")
        destinations = ("224.0.0.5", "239.1.2.3", "255.255.255.255", "127.0.0.1", "0.0.0.0")
    else:
        sources, destinations = ("fe80::1", "::", "::1", "ff02::1"), ("fe80::1", "ff02::1", "ff0e::1", "::1")
    case = Case(f, "outbound-not-to-be-forwarded", "From or to groups, and what must stay on its link: dropped, not answered.")
    if f is V4:
        martians = ("0.1.2.3", "127.255.255.254", "169.254.1.1", "240.0.0.1", "255.255.255.254")
    else:
        martians = ("::10.0.0.1", "::ffff:10.0.0.1", "fec0::1", "febf::1")
    sources, destinations = (*sources, *martians), (*destinations, *martians)
    pairs = [(source, f.far_host) for source in sources] + [(f.host, destination) for destination in destinations]
    for source, destination in pairs:
        case.from_host(f.udp(source, destination)).from_host(f.udp(source, destination, ttl=1))
    case.count(private_dispatch=f"address-errors*{2 * len(pairs)}")
    case = Case(f, "inbound-not-to-be-forwarded", "To groups, and what must stay on its link: dropped, not answered.")
    for number, destination in enumerate(destinations, 1):
        case.from_internet(coming(f, number, f.udp(f.far_host, destination)))
    case.count(inbound_dispatch=f"protocol-errors*{len(destinations)}")
    case = Case(f, "inbound-martian-sources", "From nobody's address: dropped, whatever the policy; nor answered from a link.")
    case.say("check-inner-source false")
    for number, source in enumerate(sources, 1):
        case.from_internet(coming(f, number, f.udp(source, f.host)))
    link = "169.254.1.1" if f is V4 else "fe80::1"
    case.from_internet(coming(f, len(sources) + 1, f.ask(link, f.inside)))
    case.count(inbound_dispatch=f"protocol-errors*{len(sources) + 1}")
    # What is meant for the gateway itself is its own business, but a group or nobody gets no answer.
    case = Case(f, "own-address-unanswerable", "An echo request of a group or of nobody gets no reply.")
    sources = ("224.0.0.5", "0.0.0.0", "127.0.0.1", "255.255.255.255") if f is V4 else ("::", "ff02::1")
    for source in sources:
        case.from_host(f.ask(source, f.inside))
    case.count(**{f"private_{f.icmp_name}": f"echo-request*{len(sources)} answer-errors*{len(sources)}"})


def headers(f):
    good = f.udp()
    lengths = 2 if f is V4 else 4
    faults = {"longer": patched(good, lengths, struct.pack("!H", len(good) + 1 - (0 if f is V4 else 40)))}
    if f is V4:
        faults = {name: with_checksum(packet) for name, packet in {
            **faults, "version": patched(good, 0, b"\x65"), "short header": patched(good, 0, b"\x44"),
            "shorter than its header": patched(good, 2, b"\0\x13"),
        }.items()}
        long_header = patched(good, 0, b"\x4f")
        faults["header longer than the packet"] = long_header
    else:
        faults["version"] = patched(good, 0, b"\x40")
    case = Case(f, "outbound-malformed", "Version and lengths that contradict each other or the frame.")
    for packet in faults.values():
        case.frame("private-in", raw(Ether(src=HOST, dst=PRIVATE, type=f.ethertype) / Raw(packet)))
    case.count(outbound_ttl=f"protocol-errors*{len(faults)}")
    case = Case(f, "public-malformed", "The same from the public side.")
    for packet in faults.values():
        case.frame("public-in", raw(Ether(src=HOST, dst=PUBLIC, type=f.ethertype) / Raw(packet)))
    case.count(public_dispatch=f"protocol-errors*{len(faults)} rxerrors*{len(faults)}")
    case = Case(f, "inbound-malformed", "The same from the tunnel; and what is no IP at all.")
    other_version = faults.pop("version")
    for number, packet in enumerate(faults.values(), 1):
        case.from_internet(coming(f, number, packet, protocol=f.protocol))
    case.from_internet(coming(f, len(faults) + 1, b"this is no packet at all", protocol=f.protocol))
    case.count(inbound_ttl=f"protocol-errors*{len(faults)}", inbound_dispatch="protocol-errors")
    case = Case(f, "inbound-other-version", "The next header says one version, the packet the other.")
    case.from_internet(coming(f, 1, other_version, protocol=f.protocol)).count(inbound_sa="protocol-errors rxerrors")

    if f is V4:
        damaged = lambda packet: patched(packet, 10, bytes([packet[10] ^ 0x55]))
        case = Case(f, "outbound-checksum", "A wrong header checksum: dropped, and not answered.")
        case.from_host(damaged(good)).from_host(damaged(f.udp(ttl=1))).count(outbound_ttl="checksum-errors*2")
        case = Case(f, "inbound-checksum", "A wrong header checksum inside of ESP.")
        case.from_internet(coming(f, 1, damaged(f.udp(f.far_host, f.host)))).count(inbound_ttl="checksum-errors")
        case = Case(f, "own-address-checksum", "A wrong header checksum: not answered.")
        case.from_host(damaged(f.ask(f.host, f.inside))).from_host(damaged(f.tcp(f.host, f.inside)))
        case.count(private_icmp4="protocol-errors*2 rxerrors*2")


def tunnels(f):
    packet = f.udp(f.far_host, f.host)
    arrived = older(packet)
    Case(f, "esp-unknown-spi", "No association of this SPI: dropped silently.").from_internet(
        coming(f, 1, packet, spi=3000)).count(public_router="route-errors")
    case = Case(f, "esp-replayed", "The second copy is dropped, also when others came in between.")
    for number in (1, 3, 2, 3, 1):
        case.from_internet(coming(f, number, packet))
    for _ in range(3):
        case.to_host(arrived)
    case.count(inbound_sa="decrypt-errors*2 rxerrors*2")
    case = Case(f, "esp-late", "A packet may be 1023 numbers late, but not as late as one pleases.")
    for step, number in enumerate((100_000, 100_000 - 1023)):
        case.at(START + step).from_internet(coming(f, number, packet)).to_host(arrived)
    case.from_internet(coming(f, 5, packet)).count(inbound_sa="decrypt-errors rxerrors")
    case = Case(f, "esp-forged", "A tag, a ciphertext, a sequence number, an IV that was changed; and one that was not.")
    good, at = coming(f, 9, packet), f.header
    for offset in (len(good) - 1, at + 20, at + 7, at + 8):
        case.from_internet(patched(good, offset, bytes([good[offset] ^ 1])))
    case.from_internet(good).to_host(arrived).count(inbound_sa="decrypt-errors*4 rxerrors*4")
    case = Case(f, "esp-number-zero", "Sequence numbers start at 1.")
    case.from_internet(coming(f, 0, packet)).count(inbound_sa="decrypt-errors rxerrors")
    case = Case(f, "esp-short", "Too short for header, IV, trailer and ICV.")
    whole = esp("in", 1, packet)
    for length in (0, 3, 4, 7, 8, 15, 16, 31, 33):
        case.from_internet(carrying(f, whole[:length]))
    case.count(public_router="protocol-errors*9")
    case = Case(f, "esp-truncated", "The end is missing.")
    case.from_internet(carrying(f, whole[:-4])).count(inbound_sa="decrypt-errors rxerrors")
    case = Case(f, "esp-next-header", "Authentic, but neither of the gateway's family.")
    other = V6 if f is V4 else V4
    case.from_internet(coming(f, 1, other.udp(other.far_host, other.host))).from_internet(coming(f, 2, packet, protocol=17))
    case.count(inbound_sa="protocol-errors*2 rxerrors*2")
    case = Case(f, "esp-dummy", "Sent to hide when there is traffic: whatever is inside, discarded silently (RFC 4303 section 2.6).")
    for number, inside in enumerate([b"", bytes(1200), packet, b"\x45 no packet"], 1):
        case.from_internet(coming(f, number, inside, protocol=59))
    case.from_internet(coming(f, 5, packet)).to_host(arrived)
    case.from_internet(coming(f, 4, b"", protocol=59)).count(inbound_sa="dummy-packets*4 decrypt-errors rxerrors")
    case = Case(f, "esp-pad-length", "More padding than packet.")
    case.from_internet(coming(f, 1, packet, pad_length=200)).count(inbound_sa="decrypt-errors rxerrors")
    case = Case(f, "esp-nothing-inside", "Padding and trailer, no packet.")
    case.from_internet(coming(f, 1, b"", protocol=f.protocol)).count(inbound_dispatch="protocol-errors")

    case = Case(f, "esp-extended-numbers", "The high half of the sequence number, which is not sent, is found out.")
    # A gateway that has seen number n tells apart the 2^32 numbers around it, so the way to the top takes steps.
    for step, (low, high) in enumerate([(1 << 31, 0), ((1 << 32) - 16, 0), (5, 1), ((1 << 32) - 15, 0), (6, 1), (1 << 31, 1)]):
        case.at(START + step).from_internet(coming(f, low, packet, high=high)).to_host(arrived)
    case.from_internet(coming(f, 7, packet, high=0)).from_internet(coming(f, 5, packet, high=1))
    case.from_internet(coming(f, 9, packet, high=3)).count(inbound_sa="decrypt-errors*3 rxerrors*3")

    other = V6 if f is V4 else V4
    case = Case(f, "other-family-inside", f"Packets of both families in a tunnel of one.", f"dual-{f.name}")
    for number, inner in enumerate([f, other, f, other], 1):
        out, back = inner.udp(), inner.udp(inner.far_host, inner.host)
        case.from_host(out).to_internet(sealed(f, number, older(out)))
        case.from_internet(coming(f, number, back)).to_host(older(back))
    asked = other.ask(other.far_host, other.inside)
    case.from_internet(coming(f, 5, asked)).to_internet(sealed(f, 5, other.echo(other.inside, other.far_host)))
    case.count(**{f"inbound_{other.icmp_name}": "echo-request"})


def arp():
    f = V4
    other = "02:07:07:07:07:07"
    question = lambda source, target, mac=other, to=BROADCAST: raw(
        Ether(src=mac, dst=to) / ARP(op=1, hwsrc=mac, psrc=source, hwdst="00:00:00:00:00:00", pdst=target)
    ).ljust(60, b"\0")
    answer = lambda own, ip, mac, target: raw(
        Ether(src=own, dst=mac) / ARP(op=2, hwsrc=own, psrc=ip, hwdst=mac, pdst=target)).ljust(60, b"\0")
    for side, own, ip, host in [("private", PRIVATE, f.inside, f.host), ("public", PUBLIC, f.outside, "192.0.2.7")]:
        case = Case(f, f"arp-{side}-asked", "Who asks for our address is told: by broadcast, directly, or to see if it is free.")
        for source, to in [(host, BROADCAST), (host, own), ("0.0.0.0", BROADCAST)]:
            case.frame(f"{side}-in", question(source, ip, to=to)).frame(f"{side}-out", answer(own, ip, other, source))
        case.frame(f"{side}-in", question(host, ip)[:42]).frame(f"{side}-out", answer(own, ip, other, host))
        case.count(**{f"{side}_next_hop": "arp-replies*4"})
        case = Case(f, f"arp-{side}-not-ours", "Questions for others, and answers that nobody asked for.")
        case.frame(f"{side}-in", question(host, "192.0.2.99"))
        case.frame(f"{side}-in", answer(other, host, own, ip))
        case = Case(f, f"arp-{side}-malformed", "Not for Ethernet and IPv4, or cut short.")
        good = question(host, ip)
        for offset, value in [(14, b"\0\6"), (16, b"\x86\xdd"), (18, b"\x08"), (19, b"\x10")]:
            case.frame(f"{side}-in", patched(good, offset, value))
        case.frame(f"{side}-in", good[:14 + 27]).frame(f"{side}-in", good[:14])
        case.count(**{f"{side}_next_hop": "arp-errors*6"})

    for side, own, ip, router in [("private", PRIVATE, f.inside, f.next_inside), ("public", PUBLIC, f.outside, f.next_outside)]:
        case = Case(f, f"arp-{side}-asks", "Packets wait for the next hop's address; it is asked for again after 5 seconds, and may change.")
        case.say(f"asks {side}")
        first, second = "02:09:09:09:09:01", "02:09:09:09:09:02"
        def passes(number, mac=None):
            """A packet on its way through the gateway, and the frame that leaves."""
            if side == "public":
                packet = f.udp()
                case.from_host(packet)
                out = sealed(f, number, older(packet))
            else:
                packet = f.udp(f.far_host, f.host)
                case.from_internet(coming(f, number, packet))
                out = older(packet)
            return lambda mac: case.frame(f"{side}-out", ethernet(own, mac, out))
        asks = lambda: case.frame(f"{side}-out", question(ip, router, mac=own))
        waiting = passes(1)
        asks()
        case.at(START + 1).frame(f"{side}-in", answer(first, router, own, ip))
        waiting(first)
        case.at(START + 2)
        passes(2)(first)
        case.at(START + 3).frame(f"{side}-in", question(router, ip, mac=second))
        case.frame(f"{side}-out", answer(own, ip, second, router))
        case.at(START + 5)
        passes(3)(second)
        asks()
        case.count(**{f"{side}_next_hop": "arp-requests*2 arp-replies addresses-added addresses-updated"})


def neighbours():
    f = V6
    other = "02:07:07:07:07:07"
    def solicitation(source, destination, target, mac=None, sender=other, hlim=255, code=0, to=None):
        message = ICMPv6ND_NS(tgt=target, code=code)
        if mac:
            message /= ICMPv6NDOptSrcLLAddr(lladdr=mac)
        to = to or group_mac(destination)
        return raw(Ether(src=sender, dst=to) / IPv6(src=source, dst=destination, hlim=hlim) / message)
    def advertisement(own, to, source, destination, s=1, o=1, hlim=255, option=None):
        message = ICMPv6ND_NA(R=1, S=s, O=o, tgt=source) / ICMPv6NDOptDstLLAddr(lladdr=option or own)
        return raw(Ether(src=own, dst=to) / IPv6(src=source, dst=destination, hlim=hlim) / message)
    def group_mac(address):
        octets = bytes.fromhex("".join(f"{int(part or '0', 16):04x}" for part in address.split(":")[-2:]))
        return "33:33:" + ":".join(f"{octet:02x}" for octet in octets)
    for side, own, ip, host, group in [
        ("private", PRIVATE, f.inside, f.host, "ff02::1:ff00:20"),
        ("public", PUBLIC, f.outside, "2001:db8:ffff::7", "ff02::1:ff00:31"),
    ]:
        case = Case(f, f"nd-{side}-asked", "Who asks for our address is told: by its group, directly, or to see if it is free.")
        case.frame(f"{side}-in", solicitation(host, group, ip, mac=other))
        case.frame(f"{side}-out", advertisement(own, other, ip, host))
        case.frame(f"{side}-in", solicitation(host, ip, ip, mac=other, to=own))
        case.frame(f"{side}-out", advertisement(own, other, ip, host))
        case.frame(f"{side}-in", solicitation("::", group, ip))
        case.frame(f"{side}-out", advertisement(own, "33:33:00:00:00:01", ip, "ff02::1", s=0))
        case.count(**{f"{side}_next_hop": "na-replies*3"})
        case = Case(f, f"nd-{side}-not-ours", "Questions for others, and answers that nobody asked for.")
        case.frame(f"{side}-in", solicitation(host, "ff02::1:ff00:99", "2001:db8:31::99", mac=other))
        case.frame(f"{side}-in", advertisement(other, own, host, ip))
        case = Case(f, f"nd-{side}-invalid", "RFC 4861 sections 7.1.1 and 7.1.2: hop limit, checksum, code, group target, "
                    "zero source, empty option.")
        good = solicitation(host, group, ip, mac=other)
        answer = advertisement(other, own, host, ip)
        bad = [
            solicitation(host, group, ip, mac=other, hlim=254),
            good[:-1] + bytes([good[-1] ^ 1]),
            solicitation(host, group, ip, mac=other, code=1),
            solicitation(host, group, group, mac=other),
            solicitation("::", group, ip, mac=other),
            solicitation("::", ip, ip, to=own),
            advertisement(other, own, host, ip, hlim=254),
            answer[:-1] + bytes([answer[-1] ^ 1]),
            advertisement(other, "33:33:00:00:00:01", host, "ff02::1", s=1),
        ]
        empty = raw(IPv6(src=host, dst=ip, hlim=255) / ICMPv6ND_NS(tgt=ip) / Raw(b"\1\0" + bytes(6)))
        bad.append(ethernet(other, own, empty))
        short = raw(IPv6(src=host, dst=ip, hlim=255) / ICMPv6Unknown(type=135, code=0, msgbody=bytes(4 + 15)))
        bad.append(ethernet(other, own, short))
        for frame in bad:
            case.frame(f"{side}-in", frame)
        case.count(**{f"{side}_next_hop": f"nd-errors*{len(bad)}"})

    for side, own, ip, router, group, ours in [
        ("private", PRIVATE, f.inside, f.next_inside, "ff02::1:ff00:1", "ff02::1:ff00:20"),
        ("public", PUBLIC, f.outside, f.next_outside, "ff02::1:ff00:fe", "ff02::1:ff00:31"),
    ]:
        case = Case(f, f"nd-{side}-asks", "Packets wait for the next hop's address; it is asked for again after 5 seconds, and may change.")
        case.say(f"asks {side}")
        first, second = "02:09:09:09:09:01", "02:09:09:09:09:02"
        def passes(number):
            if side == "public":
                packet = f.udp()
                case.from_host(packet)
                out = sealed(f, number, older(packet))
            else:
                packet = f.udp(f.far_host, f.host)
                case.from_internet(coming(f, number, packet))
                out = older(packet)
            return lambda mac: case.frame(f"{side}-out", ethernet(own, mac, out))
        asks = lambda: case.frame(f"{side}-out", solicitation(ip, group, router, mac=own, sender=own))
        waiting = passes(1)
        asks()
        case.at(START + 1).frame(f"{side}-in", advertisement(first, own, router, ip, o=0))
        waiting(first)
        case.at(START + 2).frame(f"{side}-in", advertisement(second, own, router, ip, o=0))
        passes(2)(first)
        case.at(START + 3).frame(f"{side}-in", solicitation(router, ours, ip, mac=second, sender=second))
        case.frame(f"{side}-out", advertisement(own, second, ip, router))
        case.at(START + 5)
        passes(3)(second)
        asks()
        case.count(**{f"{side}_next_hop": "ns-requests*2 na-replies addresses-added addresses-updated"})


for family in (V4, V6):
    for group in (forwarding, ages, pieces, sizes, own_addresses, links, headers, tunnels):
        group(family)
arp()
neighbours()
for family in (V4, V6):
    shutil.rmtree(TOP / family.name, ignore_errors=True)
for case in CASES:
    case.write()
print(f"{len(CASES)} cases")
