/* forward.h - what the .c files of the forwarder share. The only folder of the library that does I/O; Linux only.
 *
 *   forward.c     theory of operation; the object, its threads, what waits for the agent
 *   lane.c        one TUN queue: packets in, decisions, and what is done about each
 *   tunnel.c      into tunnels (RFC 2473): outer headers, sizes, fragments; super-packets cut into segments
 *   end.c         a mobile node's and a correspondent node's: Home Address options, type 2 routing headers
 *   reverse.c     out of tunnels: who may send through them, where it goes; packets for the agent itself
 *   errors.c      ICMP errors, our own and those that come out of a tunnel
 *   reassembly.c  fragments of packets for the agent
 *   send.c        batches of packets to send
 *   counters.c    packets by node and flow; path MTUs and ports by address
 */
#ifndef FC_FORWARD_H
#define FC_FORWARD_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* recvmmsg and its like; before any system header */
#endif

#include "flowclass_forward.h"

#if defined(__linux__)
#define FC_FORWARD_HERE 1

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../fib/format.h"
#include "../packet/numbers.h"

#define FC_FWD_BATCH 256u
#define FC_FWD_HEADROOM 128u     /* before each packet: tunnel headers are written there */
#define FC_FWD_LARGEST 65575u    /* octets of an IP packet without a jumbo payload */
#define FC_FWD_SCRATCH 65536u    /* for headers of one batch */
#define FC_FWD_SEGMENT 20480u    /* the most of it that one segment takes, with FC_MAX_FANOUT copies */
#define FC_FWD_DEPTH 8u          /* tunnels in one another that are opened for one packet */
#define FC_FWD_ERRORS_RATE 1000u /* ICMP errors a second, of each lane, and at once */
#define FC_FWD_TELL_RATE 256u    /* packets that anybody can send and that the agent is told about */
#define FC_FWD_VNET 10u          /* struct virtio_net_hdr */
#define FC_FWD_MIN_MTU 1280u     /* IPv6's */
#define FC_FWD_IPV6_HEADER 40u
#define FC_FWD_IPV4_HEADER 20u
#define RFC5555_PORT 4191      /* UDP: IPv6 in UDP in IPv4 */
#define FC_FWD_LIMIT_HEADER 8u /* destination options with the encapsulation limit */

/* One IP packet, whole and writable, with FC_FWD_HEADROOM octets before it. */
typedef struct fc_fwd_packet {
    uint8_t *data;
    uint32_t length;
    uint32_t transport; /* offset of what follows the extension chain */
    uint32_t header;    /* of a super-packet: octets of all headers; each segment has them */
    uint16_t gso;       /* and so many octets after them; 0: no super-packet */
    uint8_t protocol;
    uint8_t version;
    uint8_t fragment; /* enum fc_fragment */
    uint8_t counted;  /* the kernel has taken one from the hop limit already */
} fc_fwd_packet;

/* Where a packet that was in a tunnel came from. */
typedef struct fc_fwd_outer {
    fc_address source;
    int32_t queue; /* as in fc_local */
    uint16_t port; /* UDP over IPv4; 0: it was not */
    uint8_t ecn;
    uint8_t depth; /* tunnels so far */
} fc_fwd_outer;

typedef struct fc_fwd_control { /* by which interface, and from which address, a packet is to leave */
    _Alignas(struct cmsghdr) uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
} fc_fwd_control;

typedef struct fc_fwd_batch { /* packets for one socket */
    int fd;
    int nameless; /* no socket of the Internet's: one end of a pair, which takes packets without addresses */
    unsigned n;
    fc_fwd_control control[FC_FWD_BATCH];
    struct mmsghdr message[FC_FWD_BATCH];
    struct iovec piece[FC_FWD_BATCH][3];
    union {
        struct sockaddr_in6 v6;
        struct sockaddr_in v4;
    } to[FC_FWD_BATCH];
} fc_fwd_batch;

typedef struct fc_fwd_reassembly fc_fwd_reassembly;

typedef struct fc_fwd_flow_entry {
    _Atomic uint64_t key; /* node, kind, FID, and bit 63; 0: free */
    _Atomic uint64_t packets, octets;
    _Atomic uint32_t
        version; /* of the node's state that decided the last packet: the node is this one or a later one */
} fc_fwd_flow_entry;

typedef struct fc_fwd_flows { /* written by one thread, read by any; a smaller one is kept until the end */
    struct fc_fwd_flows *before;
    uint64_t mask, used;
    fc_fwd_flow_entry entry[];
} fc_fwd_flows;

/* What one thread has: a TUN queue and all that is needed to serve it. */
typedef struct fc_fwd_bucket {
    uint64_t rate;             /* a second, and at once */
    uint64_t tokens, refilled; /* how many there may be now; when that was reckoned, ms */
} fc_fwd_bucket;

typedef struct fc_fwd_lane {
    fc_forwarder *forwarder;
    int tun;
    int failed; /* the device is gone */
    unsigned number;
    uint64_t now;    /* ms, since this batch began */
    uint64_t random; /* state of a generator */
    fc_fwd_bucket errors, tellings;
    fc_fragments *fragments;
    fc_fwd_reassembly *reassembly;

    uint8_t *buffer; /* packets, one after the other */
    uint8_t *stream; /* and those that came through sockets */
    uint8_t *whole;  /* one packet put together */
    uint8_t *scratch;
    uint32_t scratch_used;
    unsigned n, n_inner, n_next;
    fc_fwd_packet packet[FC_FWD_BATCH];
    fc_fwd_packet inner[FC_FWD_BATCH], next[FC_FWD_BATCH]; /* that were in tunnels; in tunnels that were in those */
    fc_fwd_outer outer[FC_FWD_BATCH], next_outer[FC_FWD_BATCH];
    uint64_t offset[FC_FWD_BATCH];
    uint32_t length[FC_FWD_BATCH];
    fc_key key[FC_FWD_BATCH];
    fc_packet info[FC_FWD_BATCH];
    fc_decision decision[FC_FWD_BATCH];
    uint8_t vnet[FC_FWD_BATCH][FC_FWD_VNET];
    fc_fwd_batch out6, out4, udp;

    _Atomic uint64_t packets[FC_FORWARD_KINDS], octets[FC_FORWARD_KINDS]; /* written by this thread only */
    _Atomic uint64_t dropped[FC_FORWARD_DROPS], dropped_octets[FC_FORWARD_DROPS];
    _Atomic uint64_t batches, super_packets, segments;
    fc_fwd_flows *_Atomic flows;
    pthread_t thread;
    int running;
} fc_fwd_lane;

typedef struct fc_fwd_waiting { /* a packet for the agent */
    struct fc_fwd_waiting *next;
    fc_local *local;
} fc_fwd_waiting;

typedef struct fc_fwd_port {
    uint64_t home[2];
    uint32_t care_of;
    uint16_t bid, port;
    uint8_t version; /* of home; 0: free */
} fc_fwd_port;

#define FC_FWD_SOURCES 64u
typedef struct fc_fwd_source { /* an address of an end, and where packets from it leave */
    fc_address address;        /* version 0: free */
    uint32_t interface;
} fc_fwd_source;

#define FC_FWD_PEERS 256u    /* a power of two */
typedef struct fc_fwd_peer { /* whose packets came out of the tunnel, and when the caller was told last */
    uint64_t address[2];
    uint64_t told; /* ms */
} fc_fwd_peer;

#define FC_FWD_PATHS 1024u
typedef struct fc_fwd_path { /* a path that takes less than options.mtu */
    uint64_t address[2];
    uint64_t until; /* ms */
    uint32_t mtu;
    uint8_t version;
} fc_fwd_path;

struct fc_forwarder {
    fc_fib *fib;
    fc_forward_options options; /* but for those that can be adjusted: */
    _Atomic uint32_t mtu, hop_limit;
    _Atomic int32_t encapsulation_limit;
    _Atomic int stopped;
    pthread_mutex_t start_lock;
    uint64_t home_agent[2], home_agent4; /* as in an fc_key */
    fc_fwd_lane *lane[FC_FORWARD_QUEUES];
    int wake, stop; /* eventfds */

    pthread_mutex_t waiting_lock;
    fc_fwd_waiting *first, **last;
    uint32_t waiting;
    uint64_t waiting_octets;

    pthread_mutex_t address_lock; /* the two tables below */
    fc_fwd_port *port;
    uint32_t ports_mask, ports_used, ports_filled;
    fc_fwd_path *path;
    _Atomic uint32_t paths; /* how many were ever noted: 0, nothing to look for */
    fc_fwd_source source[FC_FWD_SOURCES];
    fc_fwd_peer peer[FC_FWD_PEERS]; /* of lane 0 only */
};

/* lane.c */
int fc_fwd_lane_new(fc_forwarder *f, unsigned number, fc_fwd_lane **out);
void fc_fwd_lane_free(fc_fwd_lane *l);
unsigned fc_fwd_lane_serve(fc_fwd_lane *l, int sockets); /* one batch of what is there; how many packets */
void fc_fwd_tell(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_fwd_outer *outer); /* to the agent */
uint64_t fc_fwd_now(void);
int fc_fwd_describe(fc_fwd_packet *p, const fc_key *key,
                    const fc_packet *info); /* what the headers say; 0: malformed */
void fc_fwd_decided(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_decision *d); /* does it */
int fc_fwd_stays(const fc_key *k); /* a destination that no router sends on */

/* tunnel.c: to the targets of a decision */
enum fc_fwd_how { FC_FWD_TUNNEL, FC_FWD_DIRECT, FC_FWD_PLAIN };
typedef struct fc_fwd_way {   /* for a packet, to one target */
    uint8_t from[16], to[16]; /* of the headers in front; IPv4: the first four octets */
    uint32_t overhead, path;  /* octets that are put in front; the path's MTU */
    uint32_t interface;       /* by which it has to leave; 0: by any */
    uint32_t at, next;        /* direct: where a header is put into the packet, and where its number */
    uint16_t port;            /* of UDP; 0: none */
    uint8_t version;          /* of from and to */
    uint8_t how;              /* enum fc_fwd_how */
    uint8_t too_long;         /* what is sent there has to be fragmented */
} fc_fwd_way;
uint32_t fc_fwd_size(const fc_fwd_packet *p); /* octets; of a super-packet, those of a segment */
/* May it go this way, perhaps in fragments? If not, its sender is told. */
int fc_fwd_fits(fc_fwd_lane *l, const fc_fwd_packet *p, fc_fwd_way *w);
void fc_fwd_send(fc_fwd_lane *l, const fc_fwd_packet *p, fc_fwd_way *ways, uint32_t n, int32_t limit);
enum fc_forward_kind fc_fwd_kind(const fc_decision *d); /* as flows are counted */
void fc_fwd_tunnel(fc_fwd_lane *l, fc_fwd_packet *p, const fc_decision *d);
/* How many packets it is, and octets in all. */
static inline uint32_t fc_fwd_segments(const fc_fwd_packet *p, uint64_t *octets)
{
    if (!p->gso) {
        *octets = p->length;
        return 1;
    }
    uint32_t payload = p->length - p->header, n = (payload + p->gso - 1) / p->gso;
    *octets = (uint64_t)n * p->header + payload;
    return n;
}

/* reverse.c */
void fc_fwd_own(fc_fwd_lane *l, fc_fwd_packet *p, const fc_packet *info,
                const fc_fwd_outer *outer); /* addressed to the agent */
int fc_fwd_is_own(const fc_forwarder *f, const fc_key *k);
void fc_fwd_inner(fc_fwd_lane *l); /* what came out of tunnels */
void fc_fwd_open(fc_fwd_lane *l, const fc_fwd_packet *outer, uint32_t at, const fc_fwd_outer *from);

int fc_fwd_ecn(fc_fwd_packet *p, unsigned outer);

/* end.c */
uint32_t fc_fwd_interface(fc_forwarder *f,
                          const uint8_t *packet); /* by which a packet leaves, by its source; 0: unknown */
void fc_fwd_leave(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_decision *d);      /* from applications */
void fc_fwd_arrive(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_fwd_outer *from); /* out of a tunnel */
unsigned fc_fwd_read_end(fc_fwd_lane *l); /* what came through its sockets; how many packets */
void fc_fwd_write_direct(const fc_fwd_lane *l, const fc_fwd_way *w, uint32_t size,
                         uint8_t *head); /* 24 octets before it */

/* errors.c */
int fc_fwd_allowed(fc_fwd_bucket *b, uint64_t now);
void fc_fwd_too_big(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t mtu);
void fc_fwd_unreachable(fc_fwd_lane *l, const fc_fwd_packet *p);
void fc_fwd_time_exceeded(fc_fwd_lane *l, const fc_fwd_packet *p);
void fc_fwd_parameter_problem(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t at);
int fc_fwd_relay(fc_fwd_lane *l, const fc_fwd_packet *p); /* an ICMP error to the agent; 1: it was about a tunnel */

/* reassembly.c */
int fc_fwd_reassembly_new(fc_fwd_reassembly **out);
void fc_fwd_reassembly_free(fc_fwd_reassembly *r);
/* Takes a fragment. 1: *whole is the packet, until fc_fwd_reassembly_done; 0: not yet; negative: it was dropped */
void fc_fwd_reassembly_done(fc_fwd_reassembly *r); /* packets that were put together are no longer needed */
int fc_fwd_reassemble(fc_fwd_reassembly *r, uint64_t now, const fc_fwd_packet *p, const fc_packet *info,
                      fc_fwd_packet *whole);

/* send.c */
void fc_fwd_flush(fc_fwd_lane *l);
uint8_t *fc_fwd_scratch(fc_fwd_lane *l, uint32_t size); /* NULL: none left before the next fc_fwd_begin */
void fc_fwd_begin(fc_fwd_lane *l);                      /* room for one segment */
struct iovec *fc_fwd_to6(fc_fwd_lane *l, const uint8_t address[16], unsigned pieces);
void fc_fwd_by(fc_fwd_lane *l, const fc_fwd_way *w); /* the message that was made last leaves as the way says */
struct iovec *fc_fwd_to4(fc_fwd_lane *l, const uint8_t address[4], unsigned pieces);
unsigned fc_fwd_control_of(fc_fwd_control *c, unsigned version, const uint8_t *from, uint32_t interface);
struct iovec *fc_fwd_to_udp(fc_fwd_lane *l, const uint8_t address[4], uint16_t port, unsigned pieces);
void fc_fwd_to_tun(fc_fwd_lane *l, const fc_fwd_packet *p);

/* counters.c */
static inline void fc_fwd_add(_Atomic uint64_t *counter, uint64_t n) /* one writer: no locked instruction */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void fc_fwd_count(fc_fwd_lane *l, enum fc_forward_kind kind, uint64_t packets, uint64_t octets)
{
    fc_fwd_add(&l->packets[kind], packets);
    fc_fwd_add(&l->octets[kind], octets);
}
static inline void fc_fwd_drop(fc_fwd_lane *l, enum fc_forward_drop why, uint64_t packets, uint64_t octets)
{
    fc_fwd_add(&l->dropped[why], packets);
    fc_fwd_add(&l->dropped_octets[why], octets);
}
void fc_fwd_drop_packet(fc_fwd_lane *l, enum fc_forward_drop why, const fc_fwd_packet *p);
void fc_fwd_expect_flow(fc_fwd_lane *l, uint32_t node, enum fc_forward_kind kind,
                        uint16_t fid); /* asks memory for it */
/* version: of the decision */
void fc_fwd_count_flow(fc_fwd_lane *l, uint32_t node, uint32_t version, enum fc_forward_kind kind, uint16_t fid,
                       uint64_t packets, uint64_t octets);
uint32_t fc_fwd_path_mtu(fc_forwarder *f, const fc_address *to, uint64_t now);
void fc_fwd_note_path(fc_forwarder *f, const fc_address *to, uint32_t mtu, uint64_t now);
uint16_t fc_fwd_port_of(fc_forwarder *f, uint32_t node, uint16_t bid, const uint8_t care_of[4]); /* 0: none */
int fc_fwd_port_fits(fc_forwarder *f, uint32_t node, const uint8_t care_of[4],
                     uint16_t port); /* or nobody said which */

static inline uint64_t fc_fwd_random(fc_fwd_lane *l) /* splitmix64 (Steele, Lea, Flood); the state is secret */
{
    uint64_t z = l->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#else
#define FC_FORWARD_HERE 0
typedef int fc_fwd_nothing; /* a translation unit must not be empty */
#endif
#endif
