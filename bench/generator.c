/* Asks for targets over AF_PACKET and judges every answer, on one core, faster than any responder here answers.
 *
 * usage: generator MODE key=value...        one JSON object on stdout
 *   window   keep `window` solicitations outstanding: what the responder answers when it never lacks work
 *   rate     open loop, `rate` per second whatever comes back
 *   latency  the same, and the time of each answer: from just before send() to the kernel's receive timestamp
 *   first    one solicitation per millisecond until the first answer; prints when it came (CLOCK_MONOTONIC)
 * It must never be the bottleneck: frames are built once, sendmmsg() reads them in place, answers are read in a ring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

enum { FRAME = 86, BATCH = 64, SLOT = 256, SLOTS = 16384, BLOCK = 1 << 16, MAX_TARGETS = 1 << 17 };
/* where things stand in the 86 octets, of a solicitation and of an advertisement alike */
enum { ETH_SRC = 6, ETH_TYPE = 12, IP = 14, PLEN = 18, NEXT = 20, HOPS = 21, SRC = 22, DST = 38, ICMP = 54, SUM = 56,
       FLAGS = 58, TARGET = 62, OPTION = 78, OPTION_MAC = 80 };
typedef uint64_t u64;
typedef uint8_t u8;

static struct { u64 sent, answered, from_target, invalid, duplicate, lost, unsent; } n;
static u8 (*frames)[FRAME];
static struct mmsghdr *messages; /* one per target, and BATCH more, so that a batch never wraps */
static uint32_t *pending;        /* solicitations of this target not answered yet */
static u64 *asked_at;            /* CLOCK_REALTIME, as the ring's timestamps are */
static uint32_t *delay_ns;
static size_t delays, delays_max, targets = 256, next_target, next_slot;
static u64 outstanding;
static u8 *ring, mac[6], source[16], first_target[16];
static int fd;

static void die(const char *what) { fprintf(stderr, "generator: %s: %s\n", what, strerror(errno)); exit(1); }

static u64 now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* The ICMPv6 checksum over pseudo-header and message, as a sum that is 0xffff when the frame is right. */
static unsigned sum(const u8 *frame) {
  unsigned total = 32 + 58;
  for (int i = SRC; i < FRAME; i += 2) total += frame[i] << 8 | frame[i + 1];
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return total;
}

static uint32_t low32(const u8 *address) {
  uint32_t word;
  memcpy(&word, address + 12, 4);
  return ntohl(word);
}

static void build(u8 *f, uint32_t offset) {
  uint32_t low = htonl(low32(first_target) + offset);
  memset(f, 0, FRAME);
  memcpy(f, "\x33\x33\xff", 3);
  memcpy(f + ETH_SRC, mac, 6);
  memcpy(f + ETH_TYPE, "\x86\xdd\x60", 3);
  f[PLEN + 1] = 32, f[NEXT] = 58, f[HOPS] = 255;
  memcpy(f + SRC, source, 16);
  memcpy(f + DST, "\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff", 13);
  f[ICMP] = 135;
  memcpy(f + TARGET, first_target, 12);
  memcpy(f + TARGET + 12, &low, 4);
  memcpy(f + DST + 13, f + TARGET + 13, 3);
  memcpy(f + 3, f + TARGET + 13, 3);
  f[OPTION] = 1, f[OPTION + 1] = 1;
  memcpy(f + OPTION_MAC, mac, 6);
  unsigned checksum = 0xffff & ~sum(f);
  f[SUM] = checksum >> 8, f[SUM + 1] = checksum;
}

static void open_socket(const char *iface) {
  struct ifreq ifr = {0};
  struct tpacket_req geometry = {BLOCK, SLOTS / (BLOCK / SLOT), SLOT, SLOTS};
  int version = TPACKET_V2, one = 1, buffer = 4 << 20;
  if ((fd = socket(AF_PACKET, SOCK_RAW, 0)) < 0) die("socket");
  snprintf(ifr.ifr_name, IFNAMSIZ, "%s", iface);
  if (ioctl(fd, SIOCGIFHWADDR, &ifr)) die(iface);
  memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
  if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
      setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry) ||
      setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) ||
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer)) die("setsockopt");
  ring = mmap(0, (size_t)SLOT * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ring == MAP_FAILED) die("mmap");
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IPV6), .sll_ifindex = if_nametoindex(iface)};
  if (bind(fd, (void *)&at, sizeof at)) die("bind");
}

static void build_all(void) {
  frames = calloc(targets + BATCH, FRAME);
  messages = calloc(targets + BATCH, sizeof *messages);
  struct iovec *vectors = calloc(targets + BATCH, sizeof *vectors);
  pending = calloc(targets, sizeof *pending);
  asked_at = calloc(targets, sizeof *asked_at);
  if (!frames || !messages || !vectors || !pending || !asked_at) die("calloc");
  for (size_t i = 0; i < targets + BATCH; i++) {
    build(frames[i], i % targets);
    vectors[i] = (struct iovec){frames[i], FRAME};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
}

/* Sends up to `count` solicitations and returns how many the kernel took. */
static unsigned ask(unsigned count) {
  if (count > BATCH) count = BATCH;
  u64 at = delay_ns ? now(CLOCK_REALTIME) : 0;
  for (unsigned i = 0; i < count; i++) {
    size_t target = (next_target + i) % targets;
    pending[target]++;
    asked_at[target] = at;
  }
  int taken = sendmmsg(fd, messages + next_target, count, MSG_DONTWAIT);
  if (taken < 0) {
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENETDOWN) die("sendmmsg");
    taken = 0;
  }
  for (unsigned i = taken; i < count; i++) pending[(next_target + i) % targets]--;
  n.unsent += count - taken;
  n.sent += taken;
  outstanding += taken;
  next_target = (next_target + taken) % targets;
  return taken;
}

/* Every field an answer must have; its source is judged apart, because proxies that answer from their own are common. */
static int well_formed(const u8 *f, unsigned length) {
  return length == FRAME && !memcmp(f, mac, 6) && !memcmp(f + ETH_TYPE, "\x86\xdd", 2) && f[IP] >> 4 == 6 &&
         !memcmp(f + PLEN, "\0\x20\x3a\xff", 4) && !memcmp(f + DST, source, 16) && f[ICMP + 1] == 0 && (f[FLAGS] & 0x40) && f[OPTION] == 2 && f[OPTION + 1] == 1 &&
         !memcmp(f + OPTION_MAC, f + ETH_SRC, 6) && sum(f) == 0xffff;
}

/* Reads every answer that waits in the ring and returns how many there were. */
static unsigned listen_all(void) {
  unsigned heard = 0;
  for (;; next_slot = (next_slot + 1) % SLOTS) {
    struct tpacket2_hdr *slot = (void *)(ring + next_slot * SLOT);
    if (!(__atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return heard;
    const u8 *f = (u8 *)slot + slot->tp_mac;
    if (slot->tp_len >= TARGET + 16 && f[NEXT] == 58 && f[ICMP] == 136) {
      uint32_t target = low32(f + TARGET) - low32(first_target);
      if (target >= targets || memcmp(f + TARGET, first_target, 12)) n.invalid++;
      else if (!well_formed(f, slot->tp_len)) n.invalid++;
      else if (!pending[target]) n.duplicate++;
      else {
        pending[target]--;
        outstanding -= outstanding > 0;
        n.answered++, heard++;
        n.from_target += !memcmp(f + SRC, f + TARGET, 16);
        if (delay_ns && delays < delays_max)
          delay_ns[delays++] = slot->tp_sec * 1000000000ull + slot->tp_nsec - asked_at[target];
      }
    }
    __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
}

/* Waits until nothing has come for 100 ms (at most 1 s), then calls what is still unanswered lost. */
static void settle(void) {
  u64 start = now(CLOCK_MONOTONIC), last = start;
  for (u64 at = start; at - last < 100000000 && at - start < 1000000000; at = now(CLOCK_MONOTONIC))
    if (listen_all()) last = at;
  n.lost = n.sent - n.answered;
  outstanding = 0;
  memset(pending, 0, targets * sizeof *pending);
}

static double run_window(double seconds, u64 window) {
  u64 start = now(CLOCK_MONOTONIC), end = start + seconds * 1e9, heard_at = start, at = start;
  u64 step = window < 2 * BATCH ? (window + 1) / 2 : BATCH;
  for (; at < end; at = now(CLOCK_MONOTONIC)) {
    if (listen_all()) heard_at = at;
    if (outstanding + step <= window) ask(window - outstanding);
    else if (at - heard_at > 100000000) /* a window that stands still for 100 ms is given up, and replaced */
      outstanding = 0, heard_at = at;
  }
  return (at - start) / 1e9;
}

static double run_rate(double seconds, double rate) {
  u64 start = now(CLOCK_MONOTONIC), end = start + seconds * 1e9, at = start, asked = 0, all = seconds * rate;
  for (; asked < all && at < end + 1000000; at = now(CLOCK_MONOTONIC)) {
    u64 due = (at - start) / 1e9 * rate;
    if (due > asked) asked += ask(due < all ? due - asked : all - asked);
    listen_all();
  }
  return (at - start) / 1e9;
}

static void run_first(double seconds) {
  u64 start = now(CLOCK_MONOTONIC), next = start, end = start + seconds * 1e9;
  printf("ready\n"), fflush(stdout);
  for (u64 at = start; at < end; at = now(CLOCK_MONOTONIC)) {
    if (at >= next) ask(1), next += 1000000;
    if (listen_all()) {
      printf("{\"first_answer_ns\": %llu, \"sent\": %llu}\n", (unsigned long long)now(CLOCK_MONOTONIC), (unsigned long long)n.sent);
      return;
    }
    nanosleep(&(struct timespec){0, 100000}, 0);
  }
  printf("{\"first_answer_ns\": null, \"sent\": %llu}\n", (unsigned long long)n.sent);
}

/* How long this process wanted its core and another one had it. */
static double waited_s(void) {
  double ran, waited = 0;
  FILE *file = fopen("/proc/self/schedstat", "r");
  if (!file) return 0;
  if (fscanf(file, "%lf %lf", &ran, &waited) != 2) waited = 0;
  fclose(file);
  return waited / 1e9;
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static double percentile_us(double p) {
  size_t i = delays * p;
  return delays ? delay_ns[i < delays ? i : delays - 1] / 1e3 : -1;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "", *iface = "";
  double seconds = 2, warmup = 0.2, rate = 1000, took = 0;
  u64 window = 256, answered_before = 0;
  int cpu = -1;
  for (int i = 2; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value) { fprintf(stderr, "generator: %s: not key=value\n", argv[i]); return 2; }
    *value++ = 0;
    if (!strcmp(argv[i], "iface")) iface = value;
    else if (!strcmp(argv[i], "cpu")) cpu = atoi(value);
    else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
    else if (!strcmp(argv[i], "warmup")) warmup = atof(value);
    else if (!strcmp(argv[i], "rate")) rate = atof(value);
    else if (!strcmp(argv[i], "window")) window = strtoull(value, 0, 10);
    else if (!strcmp(argv[i], "targets")) targets = strtoull(value, 0, 10);
    else if (!strcmp(argv[i], "source") && inet_pton(AF_INET6, value, source) == 1) ;
    else if (!strcmp(argv[i], "target") && inet_pton(AF_INET6, value, first_target) == 1) ;
    else { fprintf(stderr, "generator: %s=%s: unknown key or bad value\n", argv[i], value); return 2; }
  }
  if (!*iface || targets < 1 || targets > MAX_TARGETS || !window) { fprintf(stderr, "generator: iface=, targets=, window=?\n"); return 2; }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0) CPU_SET(cpu, &set);
  if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
  open_socket(iface);
  build_all();
  if (!strcmp(mode, "first")) return run_first(seconds), 0;
  int closed = !strcmp(mode, "window");
  if (!strcmp(mode, "latency")) delay_ns = calloc(delays_max = rate * seconds + BATCH, sizeof *delay_ns);
  else if (!closed && strcmp(mode, "rate")) { fprintf(stderr, "generator: mode window, rate, latency or first\n"); return 2; }
  for (int warm = 1; warm >= 0; warm--) { /* the second pass is the measured one */
    answered_before = n.answered;
    memset(&n, 0, sizeof n), delays = 0;
    took = closed ? run_window(warm ? warmup : seconds, window) : run_rate(warm ? warmup : seconds, rate);
    settle();
  }
  struct tpacket_stats kernel = {0};
  socklen_t size = sizeof kernel;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &kernel, &size);
  printf("{\"mode\": \"%s\", \"seconds\": %.3f, \"sent\": %llu, \"answered\": %llu, \"answered_in_warmup\": %llu, \"from_target\": %llu, "
         "\"invalid\": %llu, \"duplicate\": %llu, \"lost\": %llu, \"unsent\": %llu, \"missed_by_generator\": %u, \"waited_s\": %.4f", mode, took,
         (unsigned long long)n.sent, (unsigned long long)n.answered, (unsigned long long)answered_before,
         (unsigned long long)n.from_target, (unsigned long long)n.invalid, (unsigned long long)n.duplicate,
         (unsigned long long)n.lost, (unsigned long long)n.unsent, kernel.tp_drops, waited_s());
  if (delay_ns) {
    qsort(delay_ns, delays, sizeof *delay_ns, ascending);
    printf(", \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f", percentile_us(.5), percentile_us(.99),
           percentile_us(.999), percentile_us(1));
  }
  puts("}");
  return 0;
}
