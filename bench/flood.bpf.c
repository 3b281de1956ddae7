/* Asks and judges inside the kernel: `ask` makes each frame it is run for the next solicitation and sends it,
 * `judge_skb` and `judge_xdp` count the answers, right and wrong, and free them; flood.c loads it. `accept` is for the
 * other generator.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "flood.h"

const volatile struct settings settings_in = {};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct counts);
} counts SEC(".maps");

/* What the loader has set. Frozen by then, so that the verifier knows each value; the compiler must not guess any. */
INLINE const struct settings *settings(void) {
  const struct settings *set = (const struct settings *)&settings_in;
  asm volatile("" : "+r"(set));
  return set;
}

/* The link that a solicitation leaves by. Of a remainder the verifier knows nothing, and a comparison may tell it only of
 * the lower half of a register (so clang 19 compiles it), so the whole of it is cut, where no compiler can leave that out.
 */
INLINE u32 link_of(const struct settings *set, u32 number) {
  u64 place = number % set->links_count;
  asm volatile("%0 &= %1" : "+r"(place) : "i"(MAX_UPLINKS - 1));
  return set->links[place];
}

INLINE struct counts *own_counts(void) { return bpf_map_lookup_elem(&counts, &(u32){0}); }

SEC("xdp")
int ask(struct xdp_md *ctx) {
  const struct settings *set = settings();
  u8 *frame = (void *)(long)ctx->data;
  struct counts *own = own_counts();
  if (!own || frame + FRAME > (u8 *)(long)ctx->data_end) return XDP_ABORTED;
  u32 number = own->asked++ % set->frames;
  copy(frame, set->frame, FRAME); /* whole, since its memory has been somebody's answer meanwhile */
  ask_number(frame, &set->questions, number);
  return bpf_redirect(link_of(set, number), 0);
}

INLINE void judge(const u8 *frame, const u8 *end, u32 length, u32 link) {
  const struct settings *set = settings();
  struct counts *own = own_counts();
  if (!own || frame + FRAME > end || !is_advertisement(frame)) return;
  long number = length == FRAME ? answered_number(frame, &set->questions) : -1;
  if (number < 0 || link_of(set, number) != link) {
    own->invalid++;
    return;
  }
  own->answered++;
  own->from_target += same(frame + SRC, frame + TARGET, 16);
}

SEC("tc")
int judge_skb(struct __sk_buff *skb) {
  judge((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, skb->ifindex);
  return TC_ACT_SHOT;
}

SEC("xdp")
int judge_xdp(struct xdp_md *ctx) {
  u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  judge(frame, end, end - frame, ctx->ingress_ifindex);
  return XDP_DROP;
}

/* Lets all in: that there is a program is what lets the other end answer by XDP_TX. */
SEC("xdp")
int accept(struct xdp_md *ctx) {
  return XDP_PASS;
}

char _license[] SEC("license") = "MIT";
