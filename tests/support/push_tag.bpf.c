// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
/*
 * For tests: gives every packet that leaves a device a VLAN tag beside the packet, as a device does that takes tags off. A veth
 * pair hands it over like that. Built with -DPROTOCOL=... -DCONTROL=...
 */

typedef unsigned int u32;
typedef unsigned short u16;

struct __sk_buff {
	u32 len;
};

static long (*bpf_skb_vlan_push)(struct __sk_buff *packet, u16 protocol, u16 control) = (void *)18;

#define SEC(name) __attribute__((section(name), used))

SEC("tc") int push_tag(struct __sk_buff *packet)
{
	bpf_skb_vlan_push(packet, (u16)(PROTOCOL << 8 | PROTOCOL >> 8), CONTROL);
	return 0;
}

char push_tag_license[] SEC("license") = "Dual MIT/GPL";
