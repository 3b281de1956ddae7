/* Solicitations and advertisements of 86 octets: where things stand in them, how one is made, what makes an answer right.
 *
 * Shared by the programs of the benchmark, those in the kernel too: it calls nothing, and loops only so often as is
 * known when it is compiled. Include <linux/types.h> or <linux/bpf.h> before it.
 */
enum { FRAME = 86, BARE = 78 }; /* BARE: a solicitation without its option */
/* where things stand, in a solicitation and in an advertisement alike */
enum { ETH_SRC = 6, ETH_TYPE = 12, IP = 14, PLEN = 18, NEXT = 20, HOPS = 21, SRC = 22, DST = 38, ICMP = 54, SUM = 56,
       FLAGS = 58, TARGET = 62, OPTION = 78, OPTION_MAC = 80 };
enum { SOLICITATION = 135, ADVERTISEMENT = 136, SOLICITED = 0x40 };
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
#ifdef __bpf__ /* its compiler would fetch octet by octet what it is told is not aligned; the kernel minds neither */
typedef u16 __attribute__((may_alias)) any16;
typedef u32 __attribute__((may_alias)) any32;
#else
typedef u16 __attribute__((aligned(1), may_alias)) any16;
typedef u32 __attribute__((aligned(1), may_alias)) any32;
#endif
#define INLINE static inline __attribute__((always_inline))

/* Who asks whom: solicitation number i is for target i % targets, from requester i % sources. */
struct questions {
  u32 targets, sources;
  u32 low_bits; /* targets count in so many of an address's last bits, then on in octets 8 to 11 */
  u8 mac[6], source[16], first_target[16];
};

enum { MAX_FRAMES = 1 << 17 };

INLINE int possible(const struct questions *q) {
  return q->targets - 1 < MAX_FRAMES && q->sources - 1 < MAX_FRAMES && q->low_bits <= 32;
}

INLINE u32 word(const u8 *at) { return __builtin_bswap32(*(const any32 *)at); }
INLINE void put_word(u8 *at, u32 value) { *(any32 *)at = __builtin_bswap32(value); }

/* Copies an even number of octets. */
INLINE void copy(u8 *to, const u8 *from, unsigned length) {
  unsigned i = 0;
  for (; i + 4 <= length; i += 4) *(any32 *)(to + i) = *(const any32 *)(from + i);
  if (length & 2) *(any16 *)(to + i) = *(const any16 *)(from + i);
}

/* Tells whether an even number of octets are the same. */
INLINE int same(const u8 *a, const u8 *b, unsigned length) {
  unsigned i = 0;
  for (; i + 4 <= length; i += 4)
    if (*(const any32 *)(a + i) != *(const any32 *)(b + i)) return 0;
  return !(length & 2) || *(const any16 *)(a + i) == *(const any16 *)(b + i);
}

/* The ICMPv6 checksum over pseudo-header and message, as frames hold it: 0 when the one that is in the frame is right. */
INLINE u16 checksum(const u8 *frame, unsigned length) {
  u64 total = __builtin_bswap32(length - ICMP + 58);
  for (unsigned i = SRC; i < length; i += 4) total += *(const any32 *)(frame + i);
  total = (total & 0xffffffff) + (total >> 32);
  total = (total & 0xffff) + (total >> 16);
  total = (total & 0xffff) + (total >> 16);
  return ~(total + (total >> 16));
}

/* Makes the frame, which is a solicitation already, number i. */
INLINE void ask_number(u8 *f, const struct questions *q, u32 i) {
  u32 source = i % q->sources;
  u64 target = i % q->targets;
  put_word(f + TARGET + 12, word(q->first_target + 12) + (target & ((1ull << q->low_bits) - 1)));
  put_word(f + TARGET + 8, word(q->first_target + 8) + (target >> q->low_bits));
  put_word(f + SRC + 12, word(q->source + 12) + source);
  put_word(f + ETH_SRC + 2, word(q->mac + 2) + (source << 8));
  copy(f + OPTION_MAC, f + ETH_SRC, 6);
  f[DST + 13] = f[3] = f[TARGET + 13];
  *(any16 *)(f + DST + 14) = *(any16 *)(f + 4) = *(any16 *)(f + TARGET + 14);
  *(any16 *)(f + SUM) = 0;
  *(any16 *)(f + SUM) = checksum(f, FRAME);
}

/* Makes the frame solicitation number i. */
INLINE void solicit(u8 *f, const struct questions *q, u32 i) {
  __builtin_memset(f, 0, FRAME);
  put_word(f, 0x3333ff00);
  put_word(f + ETH_TYPE, 0x86dd6000);
  put_word(f + PLEN, 0x00203aff);
  copy(f + SRC, q->source, 16);
  put_word(f + DST, 0xff020000), f[DST + 11] = 1, f[DST + 12] = 0xff;
  f[ICMP] = SOLICITATION;
  copy(f + TARGET, q->first_target, 16);
  copy(f + ETH_SRC, q->mac, 6);
  f[OPTION] = 1, f[OPTION + 1] = 1;
  ask_number(f, q, i);
}

/* Tells whether a frame of 86 octets is an advertisement, wrong or right. */
INLINE int is_advertisement(const u8 *f) { return f[NEXT] == 58 && f[ICMP] == ADVERTISEMENT; }

/* The number of the solicitation that this advertisement of 86 octets answers, or -1 if any field is not as it must be.
 * Its source is not judged, because proxies that answer from their own are common. */
INLINE long answered_number(const u8 *f, const struct questions *q) {
  u64 low = word(f + TARGET + 12) - word(q->first_target + 12), high = word(f + TARGET + 8) - word(q->first_target + 8);
  u64 target = high << q->low_bits | low;
  u32 source = word(f + DST + 12) - word(q->source + 12);
  u32 i = q->sources > q->targets ? source : target;
  if (low >> q->low_bits || target >= q->targets || source >= q->sources) return -1;
  if (target != i % q->targets || source != i % q->sources) return -1;
  if (f[ETH_TYPE] != 0x86 || f[ETH_TYPE + 1] != 0xdd || f[IP] >> 4 != 6 || word(f + PLEN) != 0x00203aff) return -1;
  if (!same(f + DST, q->source, 12)) return -1;
  if (!same(f, q->mac, 2) || word(f + 2) != word(q->mac + 2) + (source << 8)) return -1;
  if (f[ICMP] != ADVERTISEMENT || f[ICMP + 1] || !(f[FLAGS] & SOLICITED)) return -1;
  if (!same(f + TARGET, q->first_target, 8)) return -1;
  if (f[OPTION] != 2 || f[OPTION + 1] != 1 || !same(f + OPTION_MAC, f + ETH_SRC, 6) || checksum(f, FRAME)) return -1;
  return i;
}
