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
#include <linux/types.h>
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

#include "frame.h"

enum { BATCH = 64, SLOT = 256, SLOTS = 16384, BLOCK = 1 << 16, MAX_UPLINKS = 64 };
enum { LOST_NS = 1000000000 }; /* an answer is no longer waited for, where its time is taken */

static struct { u64 sent, answered, from_target, invalid, duplicate, lost, unsent; } n;
static u8 (*frames)[FRAME];
static struct mmsghdr *messages; /* one per frame, and BATCH more, so that a batch never wraps */
static uint32_t *pending;        /* how often this solicitation was sent and is not answered yet */
static uint32_t *times_noted;    /* how often the time was noted when it was sent */
static u64 *asked_at;            /* the last `depth` of those times, CLOCK_REALTIME as the ring's timestamps are */
static size_t depth = 1;
static uint32_t *delay_ns;
static size_t delays, delays_max, count, next_frame, next_slot;
static u64 outstanding;
static struct questions questions = {.targets = 256, .sources = 1, .low_bits = 32};
static struct sockaddr_ll links[MAX_UPLINKS]; /* solicitation number i goes out of link i % links_count */
static size_t links_count;
static u8 *ring;
static int fd;

static void die(const char *what) { fprintf(stderr, "generator: %s: %s\n", what, strerror(errno)); exit(1); }

static u64 now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Opens one socket for all links, whose names are separated by commas. */
static void open_socket(char *names) {
  struct ifreq ifr = {0};
  struct tpacket_req geometry = {BLOCK, SLOTS / (BLOCK / SLOT), SLOT, SLOTS};
  int version = TPACKET_V2, one = 1, buffer = 4 << 20;
  if ((fd = socket(AF_PACKET, SOCK_RAW, 0)) < 0) die("socket");
  for (char *name = strtok(names, ","); name && links_count < MAX_UPLINKS; name = strtok(NULL, ",")) {
    links[links_count] = (struct sockaddr_ll){AF_PACKET, htons(ETH_P_IPV6), if_nametoindex(name), .sll_halen = 6};
    if (!links[links_count++].sll_ifindex) die(name);
    snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
  }
  if (ioctl(fd, SIOCGIFHWADDR, &ifr)) die(ifr.ifr_name);
  memcpy(questions.mac, ifr.ifr_hwaddr.sa_data, 6);
  if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
      setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry) ||
      setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) ||
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer)) die("setsockopt");
  ring = mmap(0, (size_t)SLOT * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ring == MAP_FAILED) die("mmap");
  struct sockaddr_ll at = links[0];
  if (links_count > 1) at.sll_ifindex = 0; /* all there are */
  if (bind(fd, (void *)&at, sizeof at)) die("bind");
}

static void build_all(void) {
  count = questions.targets > questions.sources ? questions.targets : questions.sources;
  frames = calloc(count + BATCH, FRAME);
  messages = calloc(count + BATCH, sizeof *messages);
  struct iovec *vectors = calloc(count + BATCH, sizeof *vectors);
  pending = calloc(count, sizeof *pending);
  times_noted = calloc(count, sizeof *times_noted);
  if (!frames || !messages || !vectors || !pending || !times_noted) die("calloc");
  for (size_t i = 0; i < count + BATCH; i++) {
    solicit(frames[i], &questions, i % count);
    vectors[i] = (struct iovec){frames[i], FRAME};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    if (links_count > 1) {
      messages[i].msg_hdr.msg_name = &links[i % count % links_count];
      messages[i].msg_hdr.msg_namelen = sizeof *links;
    }
  }
}

static void prepare_times(double rate, double seconds) {
  delay_ns = calloc(delays_max = rate * seconds + BATCH, sizeof *delay_ns);
  depth = (2 * rate + BATCH) / count + 2; /* twice as many as are asked before LOST_NS */
  asked_at = calloc(count * depth, sizeof *asked_at);
  if (!delay_ns || !asked_at) die("calloc");
}

static u64 *oldest_time(size_t number) {
  return &asked_at[number * depth + (times_noted[number] - pending[number]) % depth];
}

/* Notes when a solicitation is sent; those before it that are not answered by now never will be. */
static void note_time(size_t number, u64 at) {
  while (pending[number] && (pending[number] == depth || at - *oldest_time(number) > LOST_NS)) pending[number]--;
  asked_at[number * depth + times_noted[number]++ % depth] = at;
}

/* Sends up to `wanted` solicitations and returns how many the kernel took. */
static unsigned ask(unsigned wanted) {
  if (wanted > BATCH) wanted = BATCH;
  u64 at = delay_ns ? now(CLOCK_REALTIME) : 0;
  for (unsigned i = 0; i < wanted; i++) {
    size_t number = (next_frame + i) % count;
    if (delay_ns) note_time(number, at);
    pending[number]++;
  }
  int taken = sendmmsg(fd, messages + next_frame, wanted, MSG_DONTWAIT);
  if (taken < 0) {
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENETDOWN) die("sendmmsg");
    taken = 0;
  }
  for (unsigned i = taken; i < wanted; i++) {
    pending[(next_frame + i) % count]--;
    times_noted[(next_frame + i) % count]--;
  }
  n.unsent += wanted - taken;
  n.sent += taken;
  outstanding += taken;
  next_frame = (next_frame + taken) % count;
  return taken;
}

/* The number of the solicitation that a frame in the ring answers on its link, or -1. */
static long answered(struct tpacket2_hdr *slot) {
  struct sockaddr_ll *from = (void *)((u8 *)slot + TPACKET_ALIGN(sizeof *slot));
  long number = slot->tp_len == FRAME ? answered_number((u8 *)slot + slot->tp_mac, &questions) : -1;
  return number >= 0 && from->sll_ifindex == links[number % links_count].sll_ifindex ? number : -1;
}

/* Reads every answer that waits in the ring and returns how many there were. */
static unsigned listen_all(void) {
  unsigned heard = 0;
  for (;; next_slot = (next_slot + 1) % SLOTS) {
    struct tpacket2_hdr *slot = (void *)(ring + next_slot * SLOT);
    if (!(__atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return heard;
    const u8 *f = (u8 *)slot + slot->tp_mac;
    if (slot->tp_len >= TARGET + 16 && is_advertisement(f)) {
      long number = answered(slot);
      if (number < 0) n.invalid++;
      else if (!pending[number]) n.duplicate++;
      else {
        outstanding -= outstanding > 0;
        n.answered++, heard++;
        n.from_target += same(f + SRC, f + TARGET, 16);
        if (delay_ns && delays < delays_max)
          delay_ns[delays++] = slot->tp_sec * 1000000000ull + slot->tp_nsec - *oldest_time(number);
        pending[number]--;
      }
    }
    __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
}

/* Waits, at most 1 s, until nothing has come for 100 ms, or 500 ms while answers are missing: those are lost then. */
static void settle(void) {
  u64 start = now(CLOCK_MONOTONIC), last = start, at = start;
  for (; at - last < (n.answered < n.sent ? 500000000 : 100000000) && at - start < 1000000000; at = now(CLOCK_MONOTONIC))
    if (listen_all()) last = at;
  n.lost = n.sent - n.answered;
  outstanding = 0;
  memset(pending, 0, count * sizeof *pending);
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
  const char *mode = argc > 1 ? argv[1] : "";
  char *iface = "";
  double seconds = 2, warmup = 0.2, rate = 1000, took = 0;
  u64 window = 256, answered_before = 0, in_time = 0;
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
    else if (!strcmp(argv[i], "targets")) questions.targets = atoi(value);
    else if (!strcmp(argv[i], "sources")) questions.sources = atoi(value);
    else if (!strcmp(argv[i], "low_bits")) questions.low_bits = atoi(value);
    else if (!strcmp(argv[i], "source") && inet_pton(AF_INET6, value, questions.source) == 1) ;
    else if (!strcmp(argv[i], "target") && inet_pton(AF_INET6, value, questions.first_target) == 1) ;
    else { fprintf(stderr, "generator: %s=%s: unknown key or bad value\n", argv[i], value); return 2; }
  }
  if (!*iface || !window || !possible(&questions)) {
    fprintf(stderr, "generator: iface=, window=, targets= and sources= (1 to %d), low_bits= (0 to 32)?\n", MAX_FRAMES);
    return 2;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0) CPU_SET(cpu, &set);
  if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
  open_socket(iface);
  build_all();
  if (!strcmp(mode, "first")) return run_first(seconds), 0;
  int closed = !strcmp(mode, "window");
  if (!strcmp(mode, "latency")) prepare_times(rate, seconds);
  else if (!closed && strcmp(mode, "rate")) { fprintf(stderr, "generator: mode window, rate, latency or first\n"); return 2; }
  for (int warm = 1; warm >= 0; warm--) { /* the second pass is the measured one */
    answered_before = n.answered;
    memset(&n, 0, sizeof n), delays = 0;
    took = closed ? run_window(warm ? warmup : seconds, window) : run_rate(warm ? warmup : seconds, rate);
    in_time = n.answered;
    settle();
  }
  struct tpacket_stats kernel = {0};
  socklen_t size = sizeof kernel;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &kernel, &size);
  printf("{\"mode\": \"%s\", \"seconds\": %.3f, \"sent\": %llu, \"answered\": %llu, \"answered_in_time\": %llu, \"answered_in_warmup\": %llu, \"from_target\": %llu, "
         "\"invalid\": %llu, \"duplicate\": %llu, \"lost\": %llu, \"unsent\": %llu, \"missed_by_generator\": %u, \"waited_s\": %.4f", mode, took,
         (unsigned long long)n.sent, (unsigned long long)n.answered, (unsigned long long)in_time, (unsigned long long)answered_before,
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
