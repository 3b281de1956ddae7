/* Asks inside the kernel, faster than any process can, and has the answers judged there.
 *
 * usage: flood OBJECT key=value...          one JSON object on stdout
 * The kernel runs the program `ask` of OBJECT (flood.bpf.c) on frames of its own, which it then sends
 * (BPF_PROG_TEST_RUN with live frames: Linux 5.18); the other end must receive with NAPI. Answers are judged where they
 * arrive, on the core that sent them: out of their sk_buff, or (sink=xdp) before there is one, which is what answers by
 * XDP_TX need.
 * It leaves nothing behind: the programs are gone with this process, the hook with the namespace at the latest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/types.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "flood.h"

enum { BATCH = 64, RUN = 1 << 20, MAX_CORES = 64 };

static struct settings settings = {.questions = {.targets = 256, .sources = 1, .low_bits = 32}};
static struct bpf_object *object;
static struct counts before, after;
static double seconds = 1, warmup = 0.2, took;
static volatile int finished;

static void die(const char *what) { fprintf(stderr, "flood: %s: %s\n", what, strerror(errno)); exit(1); }

static int complain(enum libbpf_print_level level, const char *format, va_list arguments) {
  return level == LIBBPF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* Notes the links, whose names are separated by commas, and the link-layer address of the last. */
static void find_links(char *names) {
  struct ifreq ifr = {0};
  int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (char *name = strtok(names, ","); name && settings.links_count < MAX_UPLINKS; name = strtok(NULL, ",")) {
    if (!(settings.links[settings.links_count++] = if_nametoindex(name))) die(name);
    snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
  }
  if (ioctl(fd, SIOCGIFHWADDR, &ifr)) die("iface=");
  memcpy(settings.questions.mac, ifr.ifr_hwaddr.sa_data, 6);
}

static void load(const char *path) {
  object = bpf_object__open_file(path, NULL);
  struct bpf_map *constants = object ? bpf_object__find_map_by_name(object, ".rodata") : NULL;
  if (!constants || bpf_map__set_initial_value(constants, &settings, sizeof settings)) die(path);
  if (bpf_object__load(object)) die(path);
}

/* Judges what arrives on every link from now on; `on` false: no longer. */
static void judge(int xdp, int on) {
  int program = bpf_program__fd(bpf_object__find_program_by_name(object, xdp ? "judge_xdp" : "judge_skb"));
  for (u32 i = 0; i < settings.links_count; i++) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = settings.links[i], .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, how, .prog_fd = program);
    if (xdp) {
      if (bpf_xdp_attach(settings.links[i], on ? program : -1, XDP_FLAGS_DRV_MODE, NULL) && on) die("XDP");
    } else if (!on) {
      hook.attach_point |= BPF_TC_EGRESS; /* both: the whole hook goes */
      bpf_tc_hook_destroy(&hook);
    } else if ((bpf_tc_hook_create(&hook) && errno != EEXIST) || bpf_tc_attach(&hook, &how)) die("clsact");
  }
}

/* Adds up what the cores have counted. */
static struct counts counted(void) {
  int cores = libbpf_num_possible_cpus();
  struct counts each[cores], all = {0};
  u32 key = 0;
  if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "counts"), &key, each)) die("counts");
  for (int i = 0; i < cores; i++) {
    all.asked += each[i].asked, all.answered += each[i].answered;
    all.from_target += each[i].from_target, all.invalid += each[i].invalid;
  }
  return all;
}

/* Asks on one core until told to stop by a signal: to start a run takes some 25 ms, so that there are few. */
static void *ask(void *core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((long)core, &set);
  if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity"); /* this thread alone */
  struct xdp_md context = {.data_end = FRAME, .ingress_ifindex = settings.links[0]};
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = settings.frame, .data_size_in = FRAME, .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = RUN, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
  int program = bpf_program__fd(bpf_object__find_program_by_name(object, "ask"));
  while (!finished)
    if (bpf_prog_test_run_opts(program, &run) && errno != EINTR) die("live frames");
  return NULL;
}

static void wait_s(double seconds) {
  struct timespec t = {seconds, (seconds - (long)seconds) * 1e9};
  while (nanosleep(&t, &t) && errno == EINTR) ;
}

/* Takes the figures while the other threads ask. */
static void measure(void) {
  wait_s(warmup);
  double start = now();
  before = counted();
  wait_s(seconds);
  after = counted();
  took = now() - start;
}

static void interrupt(int number) { (void)number; }

/* How long this process wanted its core and another one had it. */
static double waited_s(void) {
  double ran, waited = 0;
  FILE *file = fopen("/proc/self/schedstat", "r");
  if (file && fscanf(file, "%lf %lf", &ran, &waited) != 2) waited = 0;
  if (file) fclose(file);
  return waited / 1e9;
}

int main(int argc, char **argv) {
  struct questions *q = &settings.questions;
  char *iface = "", *sink = "skb";
  pthread_t asker[MAX_CORES];
  long cores[MAX_CORES] = {0}; int askers = 0;
  for (int i = 2; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value) { fprintf(stderr, "flood: %s: not key=value\n", argv[i]); return 2; }
    *value++ = 0;
    if (!strcmp(argv[i], "iface")) iface = value;
    else if (!strcmp(argv[i], "sink")) sink = value;
    else if (!strcmp(argv[i], "cpu"))
      for (char *core = strtok(value, ","); core && askers < MAX_CORES; core = strtok(NULL, ",")) cores[askers++] = atol(core);
    else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
    else if (!strcmp(argv[i], "warmup")) warmup = atof(value);
    else if (!strcmp(argv[i], "targets")) q->targets = atoi(value);
    else if (!strcmp(argv[i], "sources")) q->sources = atoi(value);
    else if (!strcmp(argv[i], "low_bits")) q->low_bits = atoi(value);
    else if (!strcmp(argv[i], "source") && inet_pton(AF_INET6, value, q->source) == 1) ;
    else if (!strcmp(argv[i], "target") && inet_pton(AF_INET6, value, q->first_target) == 1) ;
    else { fprintf(stderr, "flood: %s=%s: unknown key or bad value\n", argv[i], value); return 2; }
  }
  int xdp = !strcmp(sink, "xdp");
  if (argc < 2 || !*iface || !possible(q) || (!xdp && strcmp(sink, "skb"))) {
    fprintf(stderr, "flood: OBJECT iface=, targets= and sources= (1 to %d), low_bits= (0 to 32), sink= (skb or xdp)?\n",
            MAX_FRAMES);
    return 2;
  }
  libbpf_set_print(complain);
  find_links(iface);
  settings.frames = q->targets > q->sources ? q->targets : q->sources;
  solicit(settings.frame, q, 0);
  load(argv[1]);
  judge(xdp, 1);
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = interrupt}, NULL);
  for (int i = 0; i < askers; i++)
    if (pthread_create(&asker[i], NULL, ask, (void *)cores[i])) die("pthread_create");
  measure();
  finished = 1;
  for (int i = 0; i < askers; i++) {
    pthread_kill(asker[i], SIGUSR1);
    pthread_join(asker[i], NULL);
  }
  judge(xdp, 0);
  printf("{\"seconds\": %.4f, \"sent\": %llu, \"answered\": %llu, \"answered_in_warmup\": %llu, \"from_target\": %llu, "
         "\"invalid\": %llu, \"waited_s\": %.4f}\n", took, after.asked - before.asked, after.answered - before.answered,
         before.answered, after.from_target - before.from_target, after.invalid - before.invalid, waited_s());
  return 0;
}
