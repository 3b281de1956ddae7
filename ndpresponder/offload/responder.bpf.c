// SPDX-License-Identifier: MIT
/* Answers the plain neighbor solicitation where it arrives, in the kernel: on tcx ingress, or in XDP.
 *
 * It answers only what `responder.py` would answer, with exactly the same octets. Whatever it is not sure of (tagged,
 * from `::`, any option but the source's own link-layer address, not ours, malformed) it passes on untouched, so that
 * every frame is judged once: here, or by the responder. It never drops a frame, and changes none that it does not answer.
 *
 * One table is one program: the loader (linux/bpf_object.py) links this code to the maps that are `extern` here, and
 * exchanges the whole program for another when a table or a setting changes. So a frame never sees parts of two tables.
 * What the maps hold is written by `map_entries.py`; the two must agree.
 *
 * It loads with CAP_NET_ADMIN and CAP_BPF. Without CAP_PERFMON the verifier forbids loops and the difference of two
 * pointers, and it thinks of processors that speculate. So, for Linux 6.1, all that is built on the stack is stored in
 * words of eight octets: the other half of a slot that holds a known number must not be written. To Linux 6.12 it also
 * follows branches that cannot be taken, and there forgets pointers that were compared: a comparison whose outcome is
 * known must not be followed by another one. Each first store into a slot costs a barrier, so that the maps are asked
 * with the octets of the frame itself.
 */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define SEC(name) __attribute__((section(name), used))
/* The compiler knows nothing about a variable any more: it can neither leave out a comparison nor repeat another one. */
#define OPAQUE(variable) __asm__ volatile("" : "+r"(variable))
#define INLINE static inline __attribute__((always_inline))

/* `pair` is one behind the other in memory, `later` moves octets to higher addresses, behind as many zeros. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(number) ((__u16)__builtin_bswap16(number))
#define htonl(number) ((__u32)__builtin_bswap32(number))
#define pair_16(first, second) ((__u32)(first) | (__u32)(second) << 16)
#define pair_32(first, second) ((__u64)(first) | (__u64)(second) << 32)
#define later(word, octets) ((__u64)(word) << 8 * (octets))
#else
#define htons(number) ((__u16)(number))
#define htonl(number) ((__u32)(number))
#define pair_16(first, second) ((__u32)(first) << 16 | (__u32)(second))
#define pair_32(first, second) ((__u64)(first) << 32 | (__u64)(second))
#define later(word, octets) ((__u64)(word) >> 8 * (octets))
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

union address {
	__u32 words[4];
	__u64 halves[2];
};

/* One that the kernel compares and copies as a whole: a link-layer address and the type behind it, an option. */
union tail {
	__u64 whole;
	__u16 parts[4];
};

/* A solicitation or an advertisement (RFC 4861 4.3, 4.4). The frame begins at `destination_lladdr`: with the two
 * octets before it every field lies where its size wants it, which some processors insist on, and eight octets at a
 * time are whole fields. */
struct frame {
	__u16 before;
	__u16 destination_lladdr[3];
	union tail ethernet; /* the source's link-layer address, the type of what follows */
	union {
		__u64 ipv6;
		struct {
			__u32 version; /* traffic class, flow label */
			__u16 payload_length;
			__u8 next_header;
			__u8 hop_limit;
		};
	};
	union address source;
	union address destination;
	union {
		__u64 icmpv6;
		struct {
			__u8 type;
			__u8 code;
			__u16 checksum;
			__u32 flags; /* R, S, O, reserved */
		};
	};
	union address target;
	union tail option; /* type, length, link-layer address */
};

enum { WORDS = sizeof(struct frame) / 8 };

enum { NOT_ANSWERED, RESOLVED, CONFIRMED };

struct setup {
	union tail ethernet; /* of every advertisement: the uplink's link-layer address, and the type */
	union tail option;
	__u32 answers; /* bit (is it a probe) * 2 + (is the target live): whether that is answered */
	__u32 flags; /* R, S, O octets of advertisements: for claimed targets, and << 8 for live ones */
};

struct count {
	__u64 resolved;
	__u64 confirmed;
	__u64 last_ns; /* CLOCK_MONOTONIC of the last answer, some milliseconds coarse */
	__u64 room; /* for so many more claimed targets until that clock ticks */
};

enum { OWN = 1, OTHERS = 2 }; /* values of `own`: neither is ever answered for, the first never asks */

/* A claimed target that was answered. Two processors may write one entry at a time: then `check` is wrong. */
struct recent {
	union address target;
	__u64 answered_ns; /* CLOCK_MONOTONIC, some milliseconds coarse; 0: no target stands here yet */
	__u64 check; /* all of the above, XORed */
};

enum { PLACES = 4096, TARGETS_PER_TICK = 128 };

extern char settings; /* array of one struct setup */
extern char own; /* hash: address -> __u32 OWN, OTHERS */
extern char live; /* hash: address -> __u32, the value means nothing */
extern char prefixes; /* longest-prefix trie: __u32 length, address -> __u32, whether an address of it is claimed */
extern char counts; /* per-CPU array of one struct count */
extern char recent; /* array of PLACES times two struct recent: each target has a place, which holds its last two */

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

INLINE int same_address(const union address *a, const union address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
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
INLINE __u64 sum_2(const void *octets)
{
	const __u32 *words = octets;

	return (__u64)words[0] + words[1];
}

INLINE __u64 sum_4(const union address *address)
{
	return sum_2(&address->words[0]) + sum_2(&address->words[2]);
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

/* Whether the `length` octets from `data`, SHORT of which are there, are a valid solicitation of the plain form. */
INLINE int is_plain(const void *data, const void *end, int length)
{
	const struct frame *ns = view(data);
	const __u16 *asker = ns->ethernet.parts;
	__u64 total = htons(length - HEADERS) + htons(ICMPV6);

	if (ns->ethernet.parts[3] != htons(ETHERTYPE_IPV6) || (ns->version & htonl(0xf0000000)) != htonl(0x60000000))
		return 0;
	if (ns->next_header != ICMPV6 || ns->type != SOLICITATION || ns->code || ns->hop_limit != NDP_HOP_LIMIT)
		return 0;
	if (ns->payload_length != htons(length - HEADERS))
		return 0;
	if (asker[0] & htons(0x0100) || !(asker[0] | asker[1] | asker[2]))
		return 0;
	if (length == LONG) {
		const union tail *option;

		OPAQUE(data); /* else the compiler knows, and leaves out what the verifier insists on */
		if (data + LONG > end)
			return 0;
		option = &view(data)->option;
		if (option->parts[0] != htons(SOURCE_LLADDR << 8 | 1) || !same_lladdr(option->parts + 1, asker))
			return 0;
		total += sum_2(option);
	}
	total += sum_4(&ns->source) + sum_4(&ns->destination) + sum_2(&ns->icmpv6) + sum_4(&ns->target);
	return fold(total) == 0xffff; /* RFC 4861 7.1.1: ICMP Checksum is valid */
}

struct answer {
	const struct setup *setup;
	__u32 kind; /* NOT_ANSWERED, RESOLVED (address resolution), CONFIRMED (reachability probe) */
	__u32 is_live; /* the target is */
};

/* Decide how a frame is answered. `zero` is the key of arrays. */
INLINE struct answer judge(const void *data, const void *end, int length, const __u64 *zero)
{
	const struct frame *ns = view(data);
	const struct answer not_answered = {};
	struct answer answer = { .kind = RESOLVED };
	const struct setup *setup;
	const __u32 *found;

	if (!is_plain(data, end, length))
		return not_answered;
	setup = map_lookup(&settings, zero);
	if (!setup || !setup->answers)
		return not_answered;
	if (!is_solicited_node(ns->destination.words, ns->target.words)) {
		if (!same_address(&ns->destination, &ns->target))
			return not_answered;
		answer.kind = CONFIRMED;
	}
	if (ns->destination_lladdr[0] & htons(0x0100)) {
		if (answer.kind == CONFIRMED)
			return not_answered;
	} else if (!same_lladdr(ns->destination_lladdr, setup->ethernet.parts)) {
		return not_answered;
	}
	if (ns->ethernet.whole == setup->ethernet.whole)
		return not_answered;
	if (!can_ask(ns->source.words) || same_address(&ns->source, &ns->target))
		return not_answered;

	answer.is_live = map_lookup(&live, &ns->target) != 0;
	if (!answer.is_live) {
		const __u32 *target = ns->target.words;
		__u64 key[3] = { pair_32(128, target[0]), pair_32(target[1], target[2]), pair_32(target[3], 0) };

		found = map_lookup(&prefixes, key);
		if (!found || !*found)
			return not_answered;
	}
	if (!(setup->answers & 1 << ((answer.kind == CONFIRMED) << 1 | answer.is_live)))
		return not_answered;
	if (map_lookup(&own, &ns->target))
		return not_answered;
	found = map_lookup(&own, &ns->source);
	if (found && *found & OWN)
		return not_answered;
	answer.setup = setup;
	return answer;
}

/* The advertisement for a solicitation: `struct frame` in words. */
INLINE void advertise(__u64 *na, const struct frame *ns, const struct answer *answer)
{
	const struct setup *setup = answer->setup;
	__u32 flags = htonl(setup->flags >> (answer->is_live ? 8 : 0) << 24);
	__u64 total = htons(LONG - HEADERS) + htons(ICMPV6) + htons(ADVERTISEMENT << 8) + (__u64)flags;

	/* the target twice: it is the source as well */
	total += sum_4(&ns->source) + 2 * sum_4(&ns->target) + sum_2(&setup->option);
	na[0] = later(ns->ethernet.whole, 2);
	na[1] = setup->ethernet.whole;
	na[2] = pair_32(htonl(0x60000000), htonl((LONG - HEADERS) << 16 | ICMPV6 << 8 | NDP_HOP_LIMIT));
	na[3] = na[8] = ns->target.halves[0];
	na[4] = na[9] = ns->target.halves[1];
	na[5] = ns->source.halves[0];
	na[6] = ns->source.halves[1];
	na[7] = pair_32(pair_16(htons(ADVERTISEMENT << 8), (__u16)~fold(total)), flags);
	na[10] = setup->option.whole;
}

INLINE int is_recent(const struct recent *entry, const __u64 *target)
{
	return entry->target.halves[0] == target[0] && entry->target.halves[1] == target[1];
}

/* Remember a claimed target, so that neighbors can be told when its answer becomes wrong; a live one is known. */
INLINE void remember(const __u64 *target, __u64 now)
{
	__u64 place = pair_32((target[0] ^ target[1]) * 0x9e3779b97f4a7c15 >> 52, 0);
	struct recent *entry = map_lookup(&recent, &place), *other;

	if (!entry)
		return;
	other = entry + 1;
	OPAQUE(other);
	if (!is_recent(entry, target) && (is_recent(other, target) || other->answered_ns < entry->answered_ns))
		entry = other;
	entry->target.halves[0] = target[0];
	entry->target.halves[1] = target[1];
	entry->answered_ns = now;
	entry->check = target[0] ^ target[1] ^ now;
}

/* Count the advertisement `na`. */
INLINE void count(const struct answer *answer, const __u64 *na, const __u64 *zero)
{
	struct count *count = map_lookup(&counts, zero);
	__u64 now = ktime_coarse_ns();

	if (!count)
		return;
	count->resolved += answer->kind == RESOLVED;
	count->confirmed += answer->kind == CONFIRMED;
	if (count->last_ns != now)
		count->room = TARGETS_PER_TICK; /* a flood does not pay for more, nor push out what was asked before it */
	count->last_ns = now;
	if (!answer->is_live && count->room) {
		count->room--;
		remember(&na[8], now);
	}
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	__u64 zero = 0, na[WORDS];
	int length = skb->len;
	struct answer answer;
	void *data, *end;

	/* the kernel has taken a tag away already, so that it stands here only */
	if (skb->protocol != htons(ETHERTYPE_IPV6) || skb->vlan_present || (length != SHORT && length != LONG))
		return TC_ACT_UNSPEC;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + LONG > end && (length == LONG || data + SHORT > end) && skb_pull(skb, length))
		return TC_ACT_UNSPEC;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + SHORT > end)
		return TC_ACT_UNSPEC;
	answer = judge(data, end, length, &zero);
	if (answer.kind == NOT_ANSWERED)
		return TC_ACT_UNSPEC;
	advertise(na, view(data), &answer);
	if (length == SHORT && skb_set_length(skb, LONG, 0))
		return TC_ACT_UNSPEC;
	/* not through the pointer: of a checksum that the NIC computed, the kernel would believe the old octets */
	if (skb_store(skb, 0, (const char *)na + 2, LONG, BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_UNSPEC;
	count(&answer, na, &zero);
	return redirect(skb->ifindex, 0);
}

SEC("xdp")
int on_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u64 zero = 0, na[WORDS], *words;
	struct answer answer;
	int length;

	/* not `end - data`: that needs CAP_PERFMON */
	if (data + SHORT > end)
		return XDP_PASS;
	length = LONG;
	if (data + SHORT + 1 > end)
		length = SHORT;
	else if (data + LONG > end || data + LONG + 1 <= end)
		return XDP_PASS;
	OPAQUE(length);
	answer = judge(data, end, length, &zero);
	if (answer.kind == NOT_ANSWERED || (length == SHORT && xdp_grow(context, LONG - SHORT)))
		return XDP_PASS;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + LONG > end)
		return XDP_PASS;
	advertise(na, view(data), &answer);
	/* in words, but for the first octets: what lies how is known of the struct, not of `data` */
	*(__u16 *)data = ((__u16 *)na)[1];
	*(__u32 *)(data + 2) = ((__u32 *)na)[1];
	words = data - 2;
	words[1] = na[1];
	words[2] = na[2];
	words[3] = na[3];
	words[4] = na[4];
	words[5] = na[5];
	words[6] = na[6];
	words[7] = na[7];
	words[8] = na[8];
	words[9] = na[9];
	words[10] = na[10];
	count(&answer, na, &zero);
	return XDP_TX;
}
