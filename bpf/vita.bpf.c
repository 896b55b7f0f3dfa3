// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Which frames are the gateway's, decided where they enter the machine.
 *
 *   frame on a queue ──► to a MAC of ours? ────────────────────────► redirect ──► AF_XDP socket of the queue
 *                        broadcast ARP that asks for an IP of ours? ► redirect ─┐
 *                        anything else ──► XDP_PASS (the kernel)                └► no socket: XDP_PASS
 *
 * One copy of this program per interface, each with its own two maps, so that an address can change while
 * packets flow. An interface may carry the addresses of several workers, and of both sides.
 * VLAN-tagged frames to a MAC of ours are redirected like any other: the gateway counts them.
 *
 * Limits: the program is not in section "xdp.frags". A frame in several buffers cannot be redirected whole to
 * a socket without XDP_USE_SG, so such frames must not exist: the kernel then refuses to attach where the MTU
 * does not fit one buffer.
 *
 * Nothing is included, so that clang alone builds this. The declarations below are the parts of the kernel's
 * stable interface that are used; no GPL-only helper is among them.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { XDP_PASS = 2 };
enum { BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_XSKMAP = 17 };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SEC(name) __attribute__((section(name), used))
#define BIG_ENDIAN_16(x) ((u16)((x) << 8 | (x) >> 8))

enum {
	ETHERTYPE_ARP = BIG_ENDIAN_16(0x0806),
	/* Hardware queues of one interface. The largest adapters in use have 128. */
	QUEUES = 256,
	/* Pairs of MAC and IP address on one interface: its private one and the public ones of several workers.
	 * Two cache lines per eight; a frame is compared with no more than there are. */
	ADDRESSES = 16,
};

/* Addresses are halves of words here: packet data is aligned to two bytes, not to four. */
struct ethernet {
	u16 destination[3];
	u16 source[3];
	u16 ethertype;
};

/* RFC 826, for IPv4 over Ethernet. */
struct arp {
	u16 hardware;
	u16 protocol;
	u8 hardware_length;
	u8 protocol_length;
	u16 operation;
	u16 sender_mac[3];
	u16 sender_ip[2];
	u16 target_mac[3];
	u16 target_ip[2];
};

/* Addresses in network byte order, as they stand in the packet. */
struct filter {
	u16 mac[3];
	/* 0 marks the end of the list: what matched nothing before is the kernel's. */
	u16 active;
	/* 0.0.0.0: no ARP request is ours. */
	u16 ipv4[2];
	u32 unused;
};

/* All addresses that the gateway has on this interface. */
struct filters {
	struct filter of[ADDRESSES];
};

struct {
	int (*type)[BPF_MAP_TYPE_XSKMAP];
	int (*max_entries)[QUEUES];
	u32 *key;
	u32 *value;
} vita_sockets SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	struct filters *value;
} vita_filters SEC(".maps");

static __attribute__((always_inline)) int same_mac(const u16 *a, const u16 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __attribute__((always_inline)) int is_broadcast(const u16 *mac)
{
	return (mac[0] & mac[1] & mac[2]) == 0xffff;
}

/* Broadcast or multicast that asks for one of our addresses. Neighbour solicitations for an IPv6 address,
 * sent to 33:33:ff:xx:xx:xx, are decided here too once the filter carries one. */
static __attribute__((always_inline)) int asks_for_us(const struct ethernet *ethernet, const void *end,
						      const struct filter *filter)
{
	const struct arp *arp = (const void *)(ethernet + 1);

	if (!is_broadcast(ethernet->destination) || ethernet->ethertype != ETHERTYPE_ARP)
		return 0;
	if ((const void *)(arp + 1) > end)
		return 0;
	return (filter->ipv4[0] | filter->ipv4[1]) != 0 && arp->target_ip[0] == filter->ipv4[0] &&
	       arp->target_ip[1] == filter->ipv4[1];
}

/* To one of our MAC addresses, or a question for one of our IP addresses. */
static __attribute__((always_inline)) int is_ours(const struct ethernet *ethernet, const void *end,
						  const struct filters *filters)
{
#pragma unroll
	for (int i = 0; i < ADDRESSES; i++) {
		const struct filter *filter = &filters->of[i];

		if (!filter->active)
			return 0;
		if (same_mac(ethernet->destination, filter->mac) || asks_for_us(ethernet, end, filter))
			return 1;
	}
	return 0;
}

SEC("xdp") int vita(struct xdp_md *context)
{
	const struct ethernet *ethernet = (const void *)(u64)context->data;
	const void *end = (const void *)(u64)context->data_end;
	const struct filters *filters;
	u32 only = 0;

	if ((const void *)(ethernet + 1) > end)
		return XDP_PASS;
	filters = bpf_map_lookup_elem(&vita_filters, &only);
	if (!filters || !is_ours(ethernet, end, filters))
		return XDP_PASS;
	/* The flags are what to return where the queue has no socket. */
	return bpf_redirect_map(&vita_sockets, context->rx_queue_index, XDP_PASS);
}

char vita_license[] SEC("license") = "Apache-2.0 OR GPL-2.0-only";
