// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
/*
 * Which frames are the gateway's, decided where they enter the machine.
 *
 *   frame on a queue ──► to a MAC of ours? ──► redirect ──► AF_XDP socket of the queue
 *            │                                    └► no socket: fail closed, see below
 *            ├► ARP or neighbour solicitation for an IP of ours? ──► redirect ──► socket
 *            │                                                          └► no socket: XDP_PASS
 *            └► anything else ──► XDP_PASS (the kernel)
 *
 * Fail closed: a kernel that forwards would send what it gets for a MAC of ours in clear text. On a queue without a
 * socket (no such worker, or it waits for an interface, starts again, or died) this program drops instead and counts:
 *
 *   private MAC:  all IP, tagged frames included
 *   public MAC:   all IP but packets to the public address that are neither ESP nor the key exchange's
 *
 * VLAN tags: priority tags (VLAN 0) are taken off frames that are ours, as Linux does. Other tagged frames to a MAC of ours
 * are redirected with their tag, and the gateway counts them. Where the device takes tags off (rxvlan) and the program is
 * built with SEE_TAGS, it puts them back. That variant must be loaded for one device, and needs the driver's help.
 *
 * One copy of this program per interface, each with its own maps, so that an address can change while packets flow. An
 * interface may carry the addresses of several workers, and of both sides.
 *
 * Limits: the program is not in section "xdp.frags". A frame in several buffers cannot be redirected whole to a socket
 * without XDP_USE_SG, so such frames must not exist: the kernel then refuses to attach where the MTU does not fit one
 * buffer.
 *
 * Nothing is included, so that clang alone builds this. The declarations below are the parts of the kernel's stable
 * interface that are used. Only the SEE_TAGS variant uses what the kernel keeps for GPL-compatible programs.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { XDP_ABORTED = 0, XDP_DROP = 1, XDP_PASS = 2, XDP_REDIRECT = 4 };
enum { BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_XSKMAP = 17 };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_xdp_adjust_head)(struct xdp_md *context, int delta) = (void *)44;
static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline))
#define BIG_ENDIAN_16(x) ((u16)((u16)(x) << 8 | (u16)(x) >> 8))

#ifdef SEE_TAGS
/* 0 if the device has taken a tag off: protocol in network order, control information in the host's. */
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *context, u16 *protocol, u16 *control) SEC(".ksyms");
#endif

enum {
	ETHERTYPE_IPV4 = BIG_ENDIAN_16(0x0800),
	ETHERTYPE_ARP = BIG_ENDIAN_16(0x0806),
	ETHERTYPE_VLAN = BIG_ENDIAN_16(0x8100),
	ETHERTYPE_IPV6 = BIG_ENDIAN_16(0x86dd),
	ETHERTYPE_MPLS = BIG_ENDIAN_16(0x8847),
	ETHERTYPE_MPLS_GROUP = BIG_ENDIAN_16(0x8848),
	ETHERTYPE_PPPOE = BIG_ENDIAN_16(0x8864),
	ETHERTYPE_VLAN_SERVICE = BIG_ENDIAN_16(0x88a8),
	VLAN_ID = 0x0fff,
	PROTOCOL_UDP = 17,
	PROTOCOL_ESP = 50,
	/* ESP in UDP, RFC 3948. */
	PORT_NAT_TRAVERSAL = BIG_ENDIAN_16(4500),
	/* Hardware queues of one interface. The largest adapters in use have 128. */
	QUEUES = 256,
	/* Pairs of MAC and IP address on one interface: its private one and the public ones of several workers. A frame is
	 * compared with no more than there are. */
	ADDRESSES = 16,
	/* Of `struct filter`. */
	PRIVATE = 1,
	PUBLIC = 2,
};

/* Addresses are halves of words here: packet data is aligned to two bytes, not to four. */
struct ethernet {
	u16 destination[3];
	u16 source[3];
	u16 ethertype;
};

/* What follows an Ethertype of a VLAN: the tag's own, and the next one. */
struct tag {
	u16 control;
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

/* RFC 791, without options. */
struct ipv4 {
	u8 version_and_length;
	u8 traffic_class;
	u16 total_length;
	u16 identification;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u16 source[2];
	u16 destination[2];
};

/* RFC 8200. */
struct ipv6 {
	u16 version[2];
	u16 payload_length;
	u8 next_header;
	u8 hop_limit;
	u16 source[8];
	u16 destination[8];
};

struct udp {
	u16 source_port;
	u16 destination_port;
};

/* Addresses and ports in network byte order, as they stand in the packet. */
struct filter {
	u16 mac[3];
	/* PRIVATE or PUBLIC. 0 marks the end of the list: what matched nothing before is the kernel's. */
	u16 side;
	/* 0.0.0.0: there is none. */
	u16 ipv4[2];
	/* The end of 33:33:ff:xx:xx:xx, to which neighbours send solicitations for our IPv6 address (RFC 4291 section
	 * 2.7.1, RFC 2464 section 7). 0: no such group is ours. */
	u16 group[2];
	/* ::: there is none. */
	u16 ipv6[8];
	/* UDP port of the key exchange. */
	u16 exchange_port;
	u16 unused[3];
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

/* Two, of which one is in use: a list is never seen half written. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[2];
	u32 *key;
	struct filters *value;
} vita_filters SEC(".maps");

/* Which list of filters is in use. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	u32 *value;
} vita_current SEC(".maps");

/* Packets dropped because no worker serves their queue: of private MACs by queue, then of public ones. */
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[2 * QUEUES];
	u32 *key;
	u64 *value;
} vita_unserved SEC(".maps");

/* What a frame is to us. */
enum owner {
	/* The kernel's. */
	OTHERS,
	/* To a MAC of ours. */
	OURS,
	/* A broadcast or multicast question for an IP of ours. */
	QUESTION,
};

INLINE int same_mac(const u16 *a, const u16 *b)
{
	/* One branch is less work for the verifier than three. */
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) == 0;
}

INLINE int is_broadcast(const u16 *mac)
{
	return (mac[0] & mac[1] & mac[2]) == 0xffff;
}

INLINE int is_vlan(u16 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_VLAN_SERVICE;
}

/* A broadcast or multicast question for our address. */
INLINE int asks_for_us(const struct ethernet *ethernet, u16 ethertype, const void *payload, const void *end,
		       const struct filter *filter)
{
	const struct arp *arp = payload;

	if (ethertype == ETHERTYPE_IPV6)
		return filter->group[0] != 0 && ethernet->destination[0] == 0x3333 &&
		       ethernet->destination[1] == filter->group[0] && ethernet->destination[2] == filter->group[1];
	if (!is_broadcast(ethernet->destination) || ethertype != ETHERTYPE_ARP)
		return 0;
	if ((const void *)(arp + 1) > end)
		return 0;
	return (filter->ipv4[0] | filter->ipv4[1]) != 0 && arp->target_ip[0] == filter->ipv4[0] &&
	       arp->target_ip[1] == filter->ipv4[1];
}

INLINE const struct filters *current_filters(void)
{
	u32 zero = 0, *current = bpf_map_lookup_elem(&vita_current, &zero);

	return current ? bpf_map_lookup_elem(&vita_filters, current) : 0;
}

INLINE enum owner owner(const struct ethernet *ethernet, u16 ethertype, const void *payload, const void *end,
			const struct filters *filters)
{
#pragma unroll
	for (int i = 0; i < ADDRESSES; i++) {
		const struct filter *filter = &filters->of[i];

		if (!filter->side)
			return OTHERS;
		if (same_mac(ethernet->destination, filter->mac))
			return OURS;
		if (asks_for_us(ethernet, ethertype, payload, end, filter))
			return QUESTION;
	}
	return OTHERS;
}

/* Whether a packet to the public address is for the kernel: whatever a tunnel or the key exchange may consist of is not. */
INLINE int is_kernels(u8 protocol, int is_fragment, const struct udp *udp, const void *end, const struct filter *filter)
{
	if (protocol == PROTOCOL_ESP)
		return 0;
	if (protocol != PROTOCOL_UDP)
		return 1;
	/* The port may be in another fragment. */
	if (is_fragment || (const void *)(udp + 1) > end)
		return 0;
	return udp->destination_port != filter->exchange_port && udp->destination_port != PORT_NAT_TRAVERSAL;
}

/* Protocols that stand for another header, behind which anything may follow: RFC 8200 section 4, RFC 4302. */
INLINE int is_extension(u8 next_header)
{
	switch (next_header) {
	case 0:
	case 43:
	case 44:
	case 51:
	case 60:
	case 135:
	case 139:
	case 140:
		return 1;
	default:
		return 0;
	}
}

/* What fail_closed has to know of a packet: who it is for, and whether it is none of a tunnel or the key exchange. */
struct facts {
	/* Of IPv4 the first two are used. */
	u16 destination[8];
	int is_kernels;
};

INLINE void look4(const struct ipv4 *ip, const void *end, const struct filter *filter, struct facts *facts)
{
	u32 length;

	if ((const void *)(ip + 1) > end)
		return;
	facts->destination[0] = ip->destination[0];
	facts->destination[1] = ip->destination[1];
	length = (ip->version_and_length & 15) * 4;
	if (ip->version_and_length >> 4 != 4 || length < sizeof *ip)
		return;
	/* Options are seen as a fragment is: without CAP_PERFMON no register can be added to a pointer into a packet. */
	facts->is_kernels = is_kernels(ip->protocol,
				       length != sizeof *ip || (ip->fragment & BIG_ENDIAN_16(0x3fff)) != 0,
				       (const void *)(ip + 1), end, filter);
}

INLINE void look6(const struct ipv6 *ip, const void *end, const struct filter *filter, struct facts *facts)
{
	if ((const void *)(ip + 1) > end)
		return;
#pragma unroll
	for (int i = 0; i < 8; i++)
		facts->destination[i] = ip->destination[i];
	facts->is_kernels = !is_extension(ip->next_header) &&
			    is_kernels(ip->next_header, 0, (const void *)(ip + 1), end, filter);
}

INLINE int is_for(const struct facts *facts, u32 ethertype, const struct filter *filter)
{
	u32 difference = 0, any = 0;

	if (ethertype == ETHERTYPE_IPV4)
		return (filter->ipv4[0] | filter->ipv4[1]) != 0 &&
		       ((facts->destination[0] ^ filter->ipv4[0]) | (facts->destination[1] ^ filter->ipv4[1])) == 0;
#pragma unroll
	for (int i = 0; i < 8; i++) {
		difference |= facts->destination[i] ^ filter->ipv6[i];
		any |= filter->ipv6[i];
	}
	return ethertype == ETHERTYPE_IPV6 && difference == 0 && any != 0;
}

/* Whether a frame can bring IP packets to the kernel: those in frames of other kinds (tags, labels, sessions) included. */
INLINE int carries_ip(u16 ethertype)
{
	return ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6 || is_vlan(ethertype) ||
	       ethertype == ETHERTYPE_MPLS || ethertype == ETHERTYPE_MPLS_GROUP || ethertype == ETHERTYPE_PPPOE;
}

/*
 * A frame to a MAC of ours on a queue that no worker serves: its Ethertype, and how many bytes of priority tags it has.
 * A function of its own and not static, because the kernel then verifies it once, not again for each way that leads here.
 */
__attribute__((noinline)) int vita_fail_closed(struct xdp_md *context, u32 ethertype, u32 tags)
{
	const struct ethernet *ethernet = (const void *)(u64)context->data;
	const void *end = (const void *)(u64)context->data_end;
	u32 place = context->rx_queue_index < QUEUES ? context->rx_queue_index : QUEUES - 1;
	const void *payload = ethernet + 1;
	const struct filters *filters = current_filters();
	struct facts facts = {};
	u64 *count;

	if ((const void *)(ethernet + 1) > end || !filters || !carries_ip(ethertype))
		return XDP_PASS;
	if (tags == 4)
		payload = (const u8 *)(ethernet + 1) + 4;
	else if (tags == 8)
		payload = (const u8 *)(ethernet + 1) + 8;
	/* All addresses of an interface have the same port. */
	if (ethertype == ETHERTYPE_IPV4)
		look4(payload, end, &filters->of[0], &facts);
	else if (ethertype == ETHERTYPE_IPV6)
		look6(payload, end, &filters->of[0], &facts);
	/* Without CAP_PERFMON the kernel refuses to add a register to a pointer that is different in each round. */
#pragma unroll
	for (int i = 0; i < ADDRESSES; i++) {
		const struct filter *filter = &filters->of[i];

		if (!filter->side)
			break;
		if (!same_mac(ethernet->destination, filter->mac))
			continue;
		/* It comes first in the list. */
		if (filter->side == PRIVATE)
			goto drop;
		if (facts.is_kernels && is_for(&facts, ethertype, filter))
			return XDP_PASS;
	}
	place += QUEUES;
drop:
	count = bpf_map_lookup_elem(&vita_unserved, &place);
	if (count)
		(*count)++;
	return XDP_DROP;
}

/* Takes that many bytes of priority tags out of a frame that goes to a socket. */
INLINE int strip(struct xdp_md *context, u32 tags)
{
	struct ethernet saved, *ethernet = (void *)(u64)context->data;

	if ((void *)(ethernet + 1) > (void *)(u64)context->data_end)
		return XDP_DROP;
	saved = *ethernet;
	if (bpf_xdp_adjust_head(context, tags))
		return XDP_DROP;
	ethernet = (void *)(u64)context->data;
	if ((void *)(ethernet + 1) > (void *)(u64)context->data_end)
		return XDP_DROP;
	/* The Ethertype behind the tags stays. */
	for (int i = 0; i < 3; i++) {
		ethernet->destination[i] = saved.destination[i];
		ethernet->source[i] = saved.source[i];
	}
	return XDP_REDIRECT;
}

#ifdef SEE_TAGS
/* Puts a tag back that the device has taken off. */
INLINE int put_back(struct xdp_md *context, u16 protocol, u16 control)
{
	struct ethernet saved, *ethernet = (void *)(u64)context->data;
	struct tag *tag;

	if ((void *)(ethernet + 1) > (void *)(u64)context->data_end)
		return XDP_DROP;
	saved = *ethernet;
	if (bpf_xdp_adjust_head(context, -(int)sizeof *tag))
		return XDP_DROP;
	ethernet = (void *)(u64)context->data;
	tag = (void *)(ethernet + 1);
	if ((void *)(tag + 1) > (void *)(u64)context->data_end)
		return XDP_DROP;
	*ethernet = saved;
	ethernet->ethertype = protocol;
	tag->control = BIG_ENDIAN_16(control);
	tag->ethertype = saved.ethertype;
	return XDP_REDIRECT;
}
#endif

SEC("xdp") int vita(struct xdp_md *context)
{
	const struct ethernet *ethernet = (const void *)(u64)context->data;
	const void *end = (const void *)(u64)context->data_end;
	const struct filters *filters;
	const void *payload = ethernet + 1;
	enum owner whose;
	u16 ethertype, tag_protocol = 0, tag_control = 0;
	u32 tags = 0;

	if ((const void *)(ethernet + 1) > end)
		return XDP_PASS;
	filters = current_filters();
	if (!filters)
		return XDP_PASS;
	ethertype = ethernet->ethertype;
	/* As many as an 802.1ad frame has. */
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const struct tag *tag = payload;

		if (!is_vlan(ethertype) || (const void *)(tag + 1) > end || (tag->control & BIG_ENDIAN_16(VLAN_ID)))
			break;
		ethertype = tag->ethertype;
		tags += sizeof *tag;
		payload = tag + 1;
	}
	whose = owner(ethernet, ethertype, payload, end, filters);
	if (whose == OTHERS)
		return XDP_PASS;
#ifdef SEE_TAGS
	if (bpf_xdp_metadata_rx_vlan_tag(context, &tag_protocol, &tag_control))
		tag_control = 0;
	/* A question in a VLAN is one for the kernel's interface of that VLAN. */
	if ((tag_control & VLAN_ID) && whose == QUESTION)
		return XDP_PASS;
#endif
	if (bpf_redirect_map(&vita_sockets, context->rx_queue_index, XDP_ABORTED) == XDP_REDIRECT) {
#ifdef SEE_TAGS
		if (tag_control & VLAN_ID)
			return put_back(context, tag_protocol, tag_control);
#endif
		return tags ? strip(context, tags) : XDP_REDIRECT;
	}
	if (whose == QUESTION)
		return XDP_PASS;
	if (tag_control & VLAN_ID)
		ethertype = tag_protocol;
	return vita_fail_closed(context, ethertype, tags);
}

char vita_license[] SEC("license") = "Dual MIT/GPL";
