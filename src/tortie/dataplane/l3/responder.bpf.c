// SPDX-License-Identifier: Apache-2.0
//
// Answers a workload's ARP requests and neighbour solicitations with the MAC of its host end.
//
// Owns: the answer to "who has ...?" at the clsact ingress of every workload interface. Whatever address a workload
// asks for, on its subnet or not, routed or not, its host is the answer: that is all it needs to reach anything.
//
// Never answered, and never left for the kernel to answer (dropped):
//   - a request for the workload's own address: an answer would be an address conflict;
//   - a gratuitous request, which asks for the sender's own address;
//   - a probe (ARP from 0.0.0.0, RFC 5227; NS from ::, RFC 4862) unless the host holds the address.
//
// Passed to the kernel unseen: interfaces that are not in `endpoint`, everything but the two questions, VLAN frames,
// and questions that are not well-formed, on which the kernel keeps silent too.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

char LICENSE[] SECTION("license") = "Apache-2.0";

// Helpers by number, so that no library's headers are needed to build.
static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
static __s64 (*csum_diff)(const __be32 *from, __u32 from_size, const __be32 *to, __u32 to_size, __u32 seed) =
	(void *)BPF_FUNC_csum_diff;
static long (*load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*pull_data)(struct __sk_buff *skb, __u32 size) = (void *)BPF_FUNC_skb_pull_data;
static long (*change_tail)(struct __sk_buff *skb, __u32 size, __u64 flags) = (void *)BPF_FUNC_skb_change_tail;

#define htons(x) __builtin_bswap16(x)
#define htonl(x) __builtin_bswap32(x)

// ---- maps: the shapes are read by tortie.kernel.bpf.elf, the content is written by the agent

struct map_spec {
	__u32 type, key_bytes, value_bytes, max_entries, flags;
};

// ifindex -> MAC of that interface. An interface that is not here is none of ours.
struct endpoint {
	__u8 mac[ETH_ALEN];
};

struct map_spec endpoint SECTION("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_bytes = sizeof(__u32),
	.value_bytes = sizeof(struct endpoint),
	.max_entries = 65536,
	.flags = BPF_F_NO_PREALLOC,
};

struct address_key {
	__u32 ifindex; // 0: whichever the interface
	__u32 address[4]; // IPv4 as ::ffff:a.b.c.d
};

enum { OWN = 1, HELD = 2 }; // of the workload behind the interface; by the host

struct map_spec address SECTION("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_bytes = sizeof(struct address_key),
	.value_bytes = sizeof(__u32),
	.max_entries = 262144,
	.flags = BPF_F_NO_PREALLOC,
};

INLINE int is(__u32 ifindex, const __u32 *target, __u32 kind)
{
	struct address_key key = { ifindex, { target[0], target[1], target[2], target[3] } };
	__u32 *found = map_lookup(&address, &key);
	return found && *found & kind;
}

// Whether to answer a question for `target`, asked from nowhere (`probe`) or from an address.
INLINE int answered(__u32 ifindex, const __u32 *target, int probe)
{
	if (is(ifindex, target, OWN))
		return 0;
	return !probe || is(ifindex, target, HELD) || is(0, target, HELD);
}

// Two bytes at a time: the least alignment that a MAC has in a frame.
INLINE void copy_mac(void *to, const void *from)
{
	__u16 *t = to;
	const __u16 *f = from;
	t[0] = f[0];
	t[1] = f[1];
	t[2] = f[2];
}

// ---- ARP (RFC 826)

#define HARDWARE_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp_frame {
	struct ethhdr ethernet;
	__be16 hardware, protocol;
	__u8 hardware_bytes, protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed, aligned(2)));

INLINE int answer_arp(struct __sk_buff *skb, const struct endpoint *host)
{
	if (skb->len < sizeof(struct arp_frame) || pull_data(skb, sizeof(struct arp_frame)))
		return TC_ACT_OK;
	struct arp_frame *frame = (void *)(long)skb->data;
	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return TC_ACT_OK;
	if (frame->hardware != htons(HARDWARE_ETHERNET) || frame->protocol != htons(ETH_P_IP) ||
	    frame->hardware_bytes != ETH_ALEN || frame->protocol_bytes != 4 ||
	    frame->operation != htons(ARP_REQUEST))
		return TC_ACT_OK;

	__be32 sender = frame->sender, target = frame->target;
	__u32 mapped[4] = { 0, 0, htonl(0xffff), target };
	if (sender == target || !answered(skb->ifindex, mapped, sender == 0))
		return TC_ACT_SHOT;

	frame->operation = htons(ARP_REPLY);
	copy_mac(frame->ethernet.h_dest, frame->sender_mac);
	copy_mac(frame->ethernet.h_source, host->mac);
	copy_mac(frame->target_mac, frame->sender_mac);
	frame->target = sender;
	copy_mac(frame->sender_mac, host->mac);
	frame->sender = target;
	return redirect(skb->ifindex, 0);
}

// ---- neighbour discovery (RFC 4861)

#define SOLICITATION 135
#define ADVERTISEMENT 136
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define FLAG_ROUTER 0x80000000
#define FLAG_SOLICITED 0x40000000
#define FLAG_OVERRIDE 0x20000000

struct nd_message {
	__u8 type, code;
	__u16 checksum;
	__be32 flags;
	__u32 target[4];
} __attribute__((packed, aligned(2)));

struct nd_frame {
	struct ethhdr ethernet;
	struct ipv6hdr ip;
	struct nd_message nd;
} __attribute__((packed, aligned(2)));

struct nd_answer {
	struct nd_frame frame;
	__u8 option_type, option_length; // in units of 8 bytes
	__u8 option_mac[ETH_ALEN];
} __attribute__((packed, aligned(2)));

#define ND_OFFSET (sizeof(struct nd_frame) - sizeof(struct nd_message))
#define ANSWER_BYTES (sizeof(struct nd_answer) - ND_OFFSET)
// A message is made of units of 8 bytes. Longer ones (RFC 3971 signatures) are left to the kernel's silence.
#define CHUNK_BYTES 8
#define MAX_CHUNKS 32

INLINE __u16 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// The pseudo-header's part of the checksum (RFC 8200 8.1). Both addresses stand together in the header.
INLINE __u32 address_sum(struct nd_frame *frame, __u32 length)
{
	void *addresses = (void *)frame + __builtin_offsetof(struct nd_frame, ip.saddr);
	return csum_diff(0, 0, addresses, 32, htons(length) + htons(IPPROTO_ICMPV6));
}

// ff02::1:ff00:0/104 (RFC 4291 2.7.1), the only place to probe.
INLINE int is_solicited_node(const struct in6_addr *address)
{
	return address->s6_addr32[0] == htonl(0xff020000) && address->s6_addr32[1] == 0 &&
	       address->s6_addr32[2] == htonl(1) && address->s6_addr[12] == 0xff;
}

// RFC 4861 7.1.1: whether checksum and options of the solicitation of `length` bytes are in order. `sum` is the
// pseudo-header's part.
INLINE int well_formed(struct __sk_buff *skb, __u32 sum, __u32 length, int probe)
{
	__u32 option = sizeof(struct nd_message); // where the next option begins
	for (__u32 i = 0; i < MAX_CHUNKS; i++) {
		__u8 chunk[CHUNK_BYTES] __attribute__((aligned(8)));
		__u32 offset = i * CHUNK_BYTES;
		if (offset >= length)
			break;
		if (load_bytes(skb, ND_OFFSET + offset, chunk, CHUNK_BYTES))
			return 0; // the frame is shorter than the header says
		sum = csum_diff(0, 0, (__be32 *)chunk, CHUNK_BYTES, sum);
		if (offset == option) {
			if (probe && chunk[0] == OPTION_SOURCE_MAC)
				return 0;
			option += chunk[1] * CHUNK_BYTES;
		}
	}
	// Neither a message cut short gets there, nor an option of length 0, which never gets past its own place.
	return option == length && folded(sum) == 0xffff;
}

INLINE int answer_solicitation(struct __sk_buff *skb, const struct endpoint *host)
{
	if (skb->len < sizeof(struct nd_frame) || pull_data(skb, sizeof(struct nd_frame)))
		return TC_ACT_OK;
	struct nd_frame *frame = (void *)(long)skb->data;
	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return TC_ACT_OK;
	__u32 length = htons(frame->ip.payload_len);
	// A hop limit of 255 proves that the question was not forwarded.
	if (frame->ip.version != 6 || frame->ip.nexthdr != IPPROTO_ICMPV6 || frame->ip.hop_limit != 255 ||
	    frame->nd.type != SOLICITATION || frame->nd.code != 0 || length > MAX_CHUNKS * CHUNK_BYTES)
		return TC_ACT_OK;

	struct in6_addr asker = frame->ip.saddr, asked_at = frame->ip.daddr, target;
	__builtin_memcpy(&target, frame->nd.target, sizeof(target));
	int probe = !(asker.s6_addr32[0] | asker.s6_addr32[1] | asker.s6_addr32[2] | asker.s6_addr32[3]);
	int multicast = target.s6_addr[0] == 0xff || asker.s6_addr[0] == 0xff;
	if (multicast || (probe && !is_solicited_node(&asked_at)) ||
	    !well_formed(skb, address_sum(frame, length), length, probe))
		return TC_ACT_OK;

	int gratuitous = asker.s6_addr32[0] == target.s6_addr32[0] && asker.s6_addr32[1] == target.s6_addr32[1] &&
			 asker.s6_addr32[2] == target.s6_addr32[2] && asker.s6_addr32[3] == target.s6_addr32[3];
	if (gratuitous || !answered(skb->ifindex, target.s6_addr32, probe))
		return TC_ACT_SHOT;

	if (change_tail(skb, sizeof(struct nd_answer), 0) || pull_data(skb, sizeof(struct nd_answer)))
		return TC_ACT_SHOT;
	struct nd_answer *answer = (void *)(long)skb->data;
	if ((void *)(answer + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	frame = &answer->frame;

	copy_mac(answer->option_mac, host->mac);
	answer->option_type = OPTION_TARGET_MAC;
	answer->option_length = 1;
	frame->nd.type = ADVERTISEMENT;
	frame->nd.flags = htonl(FLAG_ROUTER | FLAG_OVERRIDE | (probe ? 0 : FLAG_SOLICITED));
	frame->nd.checksum = 0;
	if (probe) {
		// RFC 4861 7.2.4: nobody to answer to yet, so all nodes (ff02::1, 33:33:00:00:00:01) are told.
		asker.s6_addr32[0] = htonl(0xff020000);
		asker.s6_addr32[3] = htonl(1);
		__u16 *to = (void *)frame->ethernet.h_dest;
		to[0] = htons(0x3333);
		to[1] = 0;
		to[2] = htons(1);
	} else {
		copy_mac(frame->ethernet.h_dest, frame->ethernet.h_source);
	}
	copy_mac(frame->ethernet.h_source, host->mac);
	frame->ip.payload_len = htons(ANSWER_BYTES);
	__builtin_memcpy(&frame->ip.saddr, &target, sizeof(target));
	__builtin_memcpy(&frame->ip.daddr, &asker, sizeof(asker));
	__u32 sum = csum_diff(0, 0, (__be32 *)&frame->nd, ANSWER_BYTES, address_sum(frame, ANSWER_BYTES));
	frame->nd.checksum = ~folded(sum);
	return redirect(skb->ifindex, 0);
}

SECTION("tc") int responder(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *host = map_lookup(&endpoint, &ifindex);
	// The tag of a VLAN frame is here or still in the frame, where it hides the protocol.
	if (!host || skb->vlan_present)
		return TC_ACT_OK;
	if (skb->protocol == htons(ETH_P_ARP))
		return answer_arp(skb, host);
	if (skb->protocol == htons(ETH_P_IPV6))
		return answer_solicitation(skb, host);
	return TC_ACT_OK;
}
