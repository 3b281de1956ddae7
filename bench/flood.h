/* What the program that asks inside the kernel and the one that loads it have in common. */
#include "frame.h"

enum { MAX_UPLINKS = 64 };

struct settings {
  struct questions questions;
  u32 frames;             /* after so many solicitations the first one comes again */
  u32 links_count, links[MAX_UPLINKS]; /* solicitation number i goes out of link i % links_count */
  u8 frame[FRAME + 2];    /* solicitation number 0 */
};

/* One core's; the kernel's work for a frame stays on the core that sent it. */
struct counts {
  u64 asked, answered, from_target, invalid;
};
