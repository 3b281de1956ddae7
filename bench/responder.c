/* The least that answers correctly in C: what the socket, and not the program behind it, allows. A baseline, no daemon.
 *
 * usage: responder WAY IFACE PREFIX         PREFIX is a /112
 *   recvmmsg   recvmmsg() and sendmmsg(), 64 frames at a time
 *   ring       frames out of a TPACKET_V2 ring, sendmmsg()
 * It validates as RFC 4861 7.1.1 asks, knows no option but the source link-layer address, and counts nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/types.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "frame.h"

enum { BATCH = 64, SLOT = 256, SLOTS = 8192, BLOCK = 1 << 16 };

static u8 mac[6], prefix[16], answers[BATCH][SLOT];
static struct mmsghdr out[BATCH];
static int fd;

static void die(const char *what) { fprintf(stderr, "responder: %s: %s\n", what, strerror(errno)); exit(1); }

/* Tells whether it was sent to its target, or to the solicited-node group of its target. */
static int well_addressed(const u8 *f) {
  static const u8 group[13] = {0xff, 2, [11] = 1, 0xff};
  if (f[DST] != 0xff) return same(f + DST, f + TARGET, 16);
  return !memcmp(f + DST, group, 13) && !memcmp(f + DST + 13, f + TARGET + 13, 3);
}

/* Tells whether these octets are a solicitation that is valid, and for a target of ours. */
static int ours(const u8 *f, unsigned length) {
  if (length != FRAME && length != BARE) return 0;
  if (f[ETH_TYPE] != 0x86 || f[ETH_TYPE + 1] != 0xdd || f[IP] >> 4 != 6) return 0;
  if (f[PLEN] || f[PLEN + 1] != length - ICMP || f[NEXT] != 58 || f[HOPS] != 255) return 0;
  if (f[ICMP] != SOLICITATION || f[ICMP + 1] || f[SRC] == 0xff || !word(f + SRC)) return 0;
  if (length == FRAME && (f[OPTION] != 1 || f[OPTION + 1] != 1)) return 0;
  return same(f + TARGET, prefix, 14) && well_addressed(f) && !checksum(f, length);
}

/* Writes the advertisement that a solicitation asks for; `to` may be where the solicitation is. */
static void answer(u8 *to, const u8 *f, unsigned length) {
  u8 asker[6], source[16], target[16];
  memcpy(asker, f + (length == FRAME ? OPTION_MAC : ETH_SRC), 6);
  memcpy(source, f + SRC, 16);
  memcpy(target, f + TARGET, 16);
  memcpy(to, asker, 6);
  memcpy(to + ETH_SRC, mac, 6);
  memcpy(to + ETH_TYPE, "\x86\xdd\x60\0\0\0\0\x20\x3a\xff", 10);
  memcpy(to + SRC, target, 16);
  memcpy(to + DST, source, 16);
  memcpy(to + ICMP, "\x88\0\0\0\x40\0\0\0", 8);
  memcpy(to + TARGET, target, 16);
  memcpy(to + OPTION, "\2\1", 2);
  memcpy(to + OPTION_MAC, mac, 6);
  *(any16 *)(to + SUM) = checksum(to, FRAME);
}

/* Sends what has been prepared; what the kernel refuses is lost, as it is for any host. */
static void send_all(unsigned count) {
  for (unsigned done = 0; done < count;) {
    int taken = sendmmsg(fd, out + done, count - done, 0);
    if (taken < 0 && errno != ENOBUFS && errno != ENETDOWN) die("sendmmsg");
    done += taken > 0 ? taken : 1;
  }
}

static void answer_out_of(unsigned i, u8 *at, struct iovec *vectors) {
  vectors[i] = (struct iovec){at, FRAME};
  out[i].msg_hdr = (struct msghdr){.msg_iov = vectors + i, .msg_iovlen = 1};
}

static void run_recvmmsg(void) {
  static struct mmsghdr in[BATCH];
  static struct iovec room[BATCH], vectors[BATCH];
  int buffer = 4 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer)) die("SO_RCVBUF");
  for (unsigned i = 0; i < BATCH; i++) {
    room[i] = (struct iovec){answers[i], SLOT};
    in[i].msg_hdr = (struct msghdr){.msg_iov = room + i, .msg_iovlen = 1};
  }
  for (;;) {
    int heard = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, 0);
    if (heard < 0 && errno != EINTR && errno != ENETDOWN) die("recvmmsg");
    unsigned count = 0;
    for (int i = 0; i < heard; i++) {
      if (!ours(answers[i], in[i].msg_len)) continue;
      answer(answers[i], answers[i], in[i].msg_len);
      answer_out_of(count++, answers[i], vectors);
    }
    send_all(count);
  }
}

static void run_ring(const u8 *ring) {
  static struct iovec vectors[BATCH];
  for (unsigned i = 0; i < BATCH; i++) answer_out_of(i, answers[i], vectors);
  for (unsigned slot = 0, count = 0;; slot = (slot + 1) % SLOTS) {
    struct tpacket2_hdr *head = (void *)(ring + slot * SLOT);
    while (!(__atomic_load_n(&head->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
      if (count) send_all(count), count = 0;
      else poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
    }
    const u8 *f = (u8 *)head + head->tp_mac;
    if (head->tp_snaplen == head->tp_len && ours(f, head->tp_len)) answer(answers[count++], f, head->tp_len);
    __atomic_store_n(&head->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    if (count == BATCH) send_all(count), count = 0;
  }
}

int main(int argc, char **argv) {
  struct ifreq ifr = {0};
  int one = 1, version = TPACKET_V2, ringed = argc == 4 && !strcmp(argv[1], "ring");
  u8 *ring = NULL;
  if (argc != 4 || (!ringed && strcmp(argv[1], "recvmmsg")) || inet_pton(AF_INET6, argv[3], prefix) != 1) {
    fprintf(stderr, "usage: responder recvmmsg|ring IFACE PREFIX\n");
    return 2;
  }
  if ((fd = socket(AF_PACKET, SOCK_RAW, 0)) < 0) die("socket");
  snprintf(ifr.ifr_name, IFNAMSIZ, "%s", argv[2]);
  if (ioctl(fd, SIOCGIFHWADDR, &ifr)) die(argv[2]);
  memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one)) die("PACKET_IGNORE_OUTGOING");
  if (ringed) {
    struct tpacket_req geometry = {BLOCK, SLOTS / (BLOCK / SLOT), SLOT, SLOTS};
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry)) die("ring");
    ring = mmap(0, (size_t)SLOT * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED) die("mmap");
  }
  struct packet_mreq all = {.mr_ifindex = if_nametoindex(argv[2]), .mr_type = PACKET_MR_ALLMULTI};
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IPV6), .sll_ifindex = all.mr_ifindex};
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all)) die("ALLMULTI");
  if (bind(fd, (void *)&at, sizeof at)) die("bind");
  if (ringed) run_ring(ring);
  run_recvmmsg();
}
