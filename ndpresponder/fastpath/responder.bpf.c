// SPDX-License-Identifier: MIT
/* Answers the plain neighbor solicitation where it arrives, in the kernel: on tcx ingress, or in XDP.
 *
 * It answers only what `responder.py` would answer, with exactly the same octets. Whatever it is not sure of (tagged,
 * from `::`, any option but the source's own link-layer address, not ours, malformed) it passes on untouched, so that
 * every frame is judged once: here, or by the responder. It never drops a frame, and changes none that it does not answer.
 *
 * One table is one program: the loader (linux/bpf_object.py) links this code to the maps that are `extern` here, and
 * exchanges the whole program for another when a table or a setting changes. So a frame never sees parts of two tables.
 * What the maps hold is written by `tables.py`; the two must agree.
 */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(number) ((__u16)__builtin_bswap16(number))
#define htonl(number) ((__u32)__builtin_bswap32(number))
#else
#define htons(number) ((__u16)(number))
#define htonl(number) ((__u32)(number))
#endif

enum {
	ETHERTYPE_IPV6 = 0x86dd,
	ICMPV6 = 58,
	SOLICITATION = 135,
	ADVERTISEMENT = 136,
	NDP_HOP_LIMIT = 255, /* RFC 4861 7.1.1: not forwarded */
	SOURCE_LLADDR = 1, /* options, RFC 4861 4.6.1 */
	TARGET_LLADDR = 2,
	HEADERS = 54, /* octets before the ICMPv6 message */
	SHORT = 78, /* octets of a solicitation without options */
	LONG = 86, /* with one link-layer address, and of every advertisement */
};

/* A solicitation or an advertisement (RFC 4861 4.3, 4.4). The frame begins at `destination_lladdr`: with the two
 * octets before it every field lies where its size wants it, which some processors insist on. */
struct frame {
	__u16 before;
	__u16 destination_lladdr[3];
	__u16 source_lladdr[3];
	__u16 ethertype;
	__u32 version; /* traffic class, flow label */
	__u16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 flags; /* R, S, O, reserved */
	__u32 target[4];
	__u8 option;
	__u8 option_length;
	__u16 option_lladdr[3];
};

struct address {
	__u32 words[4];
};

enum { NOT_ANSWERED, RESOLVED, CONFIRMED };

struct setup {
	__u16 lladdr[3]; /* the uplink's */
	__u8 answers; /* bit (is it a probe) * 2 + (is the target live): whether that is answered */
	__u8 unused;
	__u32 flags; /* R, S, O octets of advertisements: for claimed targets, and << 8 for live ones */
};

struct prefix {
	__u32 length;
	struct address address;
};

struct count {
	__u64 resolved;
	__u64 confirmed;
	__u64 last_ns; /* CLOCK_MONOTONIC of the last answer, some milliseconds coarse */
};

enum { OWN = 1, GATEWAY = 2 }; /* values of `own`: neither is ever answered for, the first never asks */

extern char setup; /* array of one struct setup */
extern char own; /* hash: struct address -> __u32 OWN, GATEWAY */
extern char live; /* hash: struct address -> __u32, the value means nothing */
extern char prefixes; /* longest-prefix trie: struct prefix -> __u32, whether an address of it is claimed */
extern char counts; /* per-CPU array of one struct count */

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const ktime_coarse_ns)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static long (*const skb_pull)(struct __sk_buff *, __u32 length) = (void *)BPF_FUNC_skb_pull_data;
static long (*const skb_set_length)(struct __sk_buff *, __u32 length, __u64) = (void *)BPF_FUNC_skb_change_tail;
static long (*const skb_store)(struct __sk_buff *, __u32, const void *, __u32, __u64) = (void *)BPF_FUNC_skb_store_bytes;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*const xdp_grow)(struct xdp_md *, int by) = (void *)BPF_FUNC_xdp_adjust_tail;

INLINE int same_lladdr(const __u16 *a, const __u16 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

INLINE int same_address(const __u32 *a, const __u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

INLINE int is_solicited_node(const __u32 *group, const __u32 *target)
{
	return group[0] == htonl(0xff020000) && group[1] == 0 && group[2] == htonl(1) &&
	       group[3] == (htonl(0xff000000) | (target[3] & htonl(0x00ffffff)));
}

/* What a neighbor may ask from: unicast, and none of `::` (duplicate address detection), `::1` and ::ffff:0:0/96. */
INLINE int can_ask(const __u32 *source)
{
	if ((source[0] & htonl(0xff000000)) == htonl(0xff000000))
		return 0;
	if (source[0] || source[1])
		return 1;
	return source[2] != htonl(0xffff) && (source[2] || (source[3] & ~htonl(1)));
}

/* Of ones'-complement sums, not folded; written out, because a loop here needs CAP_PERFMON. */
INLINE __u64 sum_2(const __u32 *words)
{
	return (__u64)words[0] + words[1];
}

INLINE __u64 sum_4(const __u32 *words)
{
	return sum_2(words) + sum_2(words + 2);
}

/* Of the addresses, and of a message without options. */
INLINE __u64 sum_of(const struct frame *frame)
{
	return sum_4(frame->source) + sum_4(frame->destination) + sum_2((const __u32 *)&frame->type) + sum_4(frame->target);
}

INLINE __u16 fold(__u64 total)
{
	total = (total >> 32) + (total & 0xffffffff);
	total = (total >> 16) + (total & 0xffff);
	total = (total >> 16) + (total & 0xffff);
	total = (total >> 16) + (total & 0xffff);
	return total;
}

/* The frame seen through the struct: its first octet is the struct's third. */
INLINE const struct frame *view(const void *data)
{
	return data - 2;
}

/* Whether the `length` octets from `data` are a valid solicitation of the plain form, by themselves. */
INLINE int is_plain(const void *data, const void *end, int length)
{
	const struct frame *ns = view(data);
	__u64 total = htons(length - HEADERS) + htons(ICMPV6);

	if (data + SHORT > end)
		return 0;
	if (ns->ethertype != htons(ETHERTYPE_IPV6) || (ns->version & htonl(0xf0000000)) != htonl(0x60000000))
		return 0;
	if (ns->next_header != ICMPV6 || ns->type != SOLICITATION || ns->code || ns->hop_limit != NDP_HOP_LIMIT)
		return 0;
	if (ns->payload_length != htons(length - HEADERS))
		return 0;
	if (ns->source_lladdr[0] & htons(0x0100) || !(ns->source_lladdr[0] | ns->source_lladdr[1] | ns->source_lladdr[2]))
		return 0;
	if (length == LONG) {
		if (data + LONG > end)
			return 0;
		if (ns->option != SOURCE_LLADDR || ns->option_length != 1 || !same_lladdr(ns->option_lladdr, ns->source_lladdr))
			return 0;
		total += sum_2((const __u32 *)&ns->option);
	}
	return fold(total + sum_of(ns)) == 0xffff; /* RFC 4861 7.1.1: ICMP Checksum is valid */
}

/* Turn a solicitation into its advertisement in `na`, if it is to be answered.
 * Returns NOT_ANSWERED, RESOLVED (address resolution) or CONFIRMED (reachability probe). */
INLINE int answer(const void *data, const void *end, int length, struct frame *na)
{
	const struct frame *ns = view(data);
	__u32 zero = 0, is_unicast = 0, is_live, *found;
	struct address target, source;
	const struct setup *settings;
	__u64 total;

	if (!is_plain(data, end, length))
		return NOT_ANSWERED;
	settings = map_lookup(&setup, &zero);
	if (!settings || !settings->answers)
		return NOT_ANSWERED;
	if (!is_solicited_node(ns->destination, ns->target)) {
		if (!same_address(ns->destination, ns->target))
			return NOT_ANSWERED;
		is_unicast = 1;
	}
	if (ns->destination_lladdr[0] & htons(0x0100)) {
		if (is_unicast)
			return NOT_ANSWERED;
	} else if (!same_lladdr(ns->destination_lladdr, settings->lladdr)) {
		return NOT_ANSWERED;
	}
	if (same_lladdr(ns->source_lladdr, settings->lladdr))
		return NOT_ANSWERED;
	if (!can_ask(ns->source) || same_address(ns->source, ns->target))
		return NOT_ANSWERED;

	__builtin_memcpy(&target, ns->target, sizeof(target));
	__builtin_memcpy(&source, ns->source, sizeof(source));
	is_live = map_lookup(&live, &target) != 0;
	if (!is_live) {
		struct prefix key = { .length = 128, .address = target };

		found = map_lookup(&prefixes, &key);
		if (!found || !*found)
			return NOT_ANSWERED;
	}
	if (!(settings->answers & 1 << (is_unicast << 1 | is_live)))
		return NOT_ANSWERED;
	if (map_lookup(&own, &target))
		return NOT_ANSWERED;
	found = map_lookup(&own, &source);
	if (found && *found & OWN)
		return NOT_ANSWERED;

	__builtin_memcpy(na->destination_lladdr, ns->source_lladdr, sizeof(na->destination_lladdr));
	__builtin_memcpy(na->source_lladdr, settings->lladdr, sizeof(na->source_lladdr));
	na->ethertype = htons(ETHERTYPE_IPV6);
	na->version = htonl(0x60000000);
	na->payload_length = htons(LONG - HEADERS);
	na->next_header = ICMPV6;
	na->hop_limit = NDP_HOP_LIMIT;
	__builtin_memcpy(na->source, &target, sizeof(target));
	__builtin_memcpy(na->destination, &source, sizeof(source));
	na->type = ADVERTISEMENT;
	na->code = 0;
	na->checksum = 0;
	na->flags = htonl(settings->flags >> (is_live ? 8 : 0) << 24);
	__builtin_memcpy(na->target, &target, sizeof(target));
	na->option = TARGET_LLADDR;
	na->option_length = 1;
	__builtin_memcpy(na->option_lladdr, settings->lladdr, sizeof(na->option_lladdr));
	total = htons(LONG - HEADERS) + htons(ICMPV6) + sum_of(na) + sum_2((const __u32 *)&na->option);
	na->checksum = ~fold(total);
	return is_unicast ? CONFIRMED : RESOLVED;
}

INLINE void count(int answered)
{
	__u32 zero = 0;
	struct count *count = map_lookup(&counts, &zero);

	if (!count)
		return;
	count->resolved += answered == RESOLVED;
	count->confirmed += answered == CONFIRMED;
	count->last_ns = ktime_coarse_ns();
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	int length = skb->len, answered;
	struct frame na;
	void *data, *end;

	/* the kernel has taken a tag away already, so that it stands here only */
	if (skb->protocol != htons(ETHERTYPE_IPV6) || skb->vlan_present || (length != SHORT && length != LONG))
		return TC_ACT_UNSPEC;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + LONG > end && (length == LONG || data + SHORT > end) && skb_pull(skb, length))
		return TC_ACT_UNSPEC;
	answered = answer((void *)(long)skb->data, (void *)(long)skb->data_end, length, &na);
	if (answered == NOT_ANSWERED || (length == SHORT && skb_set_length(skb, LONG, 0)))
		return TC_ACT_UNSPEC;
	/* not through the pointer: of a checksum that the NIC computed, the kernel would believe the old octets */
	if (skb_store(skb, 0, na.destination_lladdr, LONG, BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_UNSPEC;
	count(answered);
	return redirect(skb->ifindex, 0);
}

SEC("xdp")
int on_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	int length, answered;
	struct frame na;

	/* not `end - data`: that needs CAP_PERFMON */
	if (data + SHORT <= end && data + SHORT + 1 > end)
		length = SHORT;
	else if (data + LONG <= end && data + LONG + 1 > end)
		length = LONG;
	else
		return XDP_PASS;
	answered = answer(data, end, length, &na);
	if (answered == NOT_ANSWERED || (length == SHORT && xdp_grow(context, LONG - SHORT)))
		return XDP_PASS;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + LONG > end)
		return XDP_PASS;
	/* in words, but for the first octets: what lies how is known of the struct, not of `data` */
	*(__u16 *)data = na.destination_lladdr[0];
	__builtin_memcpy(__builtin_assume_aligned(data + 2, 4), &na.destination_lladdr[1], LONG - 2);
	count(answered);
	return XDP_TX;
}
