/* flowclass_forward.h - the packet loop of a live home agent: from a TUN device into tunnels and back; and that of the
 * two ends, a mobile node and a correspondent node.
 *
 * Beside flowclass.h, because that library does no I/O and this part does nothing else: Linux only (elsewhere
 * fc_forwarder_new says FC_ENOTBUILT). How it works: src/forward/forward.c. */
#ifndef FLOWCLASS_FORWARD_H
#define FLOWCLASS_FORWARD_H

#include "flowclass.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fc_forwarder fc_forwarder;

#define FC_FORWARD_QUEUES 64u
#define FC_FORWARD_OWN 64u

/* Whose packet loop it is.
 *
 * A mobile node: what its applications send (TUN) goes through a tunnel to the home agent, or, to the exact address of
 * a node in the table, directly with a Home Address option. The table is the choice of care-of addresses: own[0] is a
 * node with the prefixes ::/0 and 0.0.0.0/0, and the flows' rules describe packets that leave. What comes through the
 * tunnel, or with a type 2 routing header, is given to the TUN device.
 *
 * A correspondent node: packets of its applications to a home address (TUN) leave with a type 2 routing header for the
 * care-of address that the table says, and plainly where there is none; packets with a Home Address option that the
 * table bears out are given to the TUN device, and others to the caller (RFC 6275 9.3.1, 11.3). */
enum fc_forward_role { FC_FORWARD_HOME_AGENT = 0, FC_FORWARD_MOBILE_NODE, FC_FORWARD_CORRESPONDENT, FC_FORWARD_ROLES };

/* Descriptors stay the caller's, who closes them after fc_forwarder_free; all are non-blocking; -1: there is none. */
typedef struct fc_forward_options {
    int tun[FC_FORWARD_QUEUES]; /* TUN queues (IFF_NO_PI) of one device or several, each with a thread of its own but
                                   for the first */
    int output; /* raw IPv6 socket that takes whole packets (IPPROTO_RAW); or one end of a Unix pair, a packet a message
                 */
    int output4;                 /* the same for IPv4, or -1 */
    int udp;                     /* UDP socket of RFC 5555 (port 4191), or -1 */
    int tunnel4[2];              /* raw IPv4 sockets that receive protocols 41 and 4 for home_agent_ipv4, or -1 */
    uint32_t n_tun;              /* at least 1 */
    uint32_t mtu;                /* of the paths to care-of addresses, 1280 to 65535, until an ICMP error says less */
    int32_t encapsulation_limit; /* of RFC 2473 4.1.1, 0 to 255: an option in each tunnel header; -1: only where the
                                    packet has one */
    uint8_t hop_limit;           /* of tunnel headers, from 1 */
    uint8_t vnet_header;         /* the TUN queues have IFF_VNET_HDR (10 octets), perhaps with offloads */
    uint8_t has_ipv4;            /* home_agent_ipv4 is one */
    uint8_t role;                /* enum fc_forward_role */
    uint8_t home_agent[16];      /* network order, as is the next */
    uint8_t home_agent_ipv4[4];
    uint8_t secret[16]; /* keys the hashes */

    /* Of the ends only. */
    int tap;        /* packet socket (SOCK_DGRAM) for whole IPv6 packets that came by any link: Mobility Headers, type
                       2 routing headers, Home Address options. The kernel is to drop the latter two itself. */
    int tunnel6[2]; /* a mobile node's: raw IPv6 sockets of protocols 41 and 4, or -1 */
    uint32_t n_own; /* own addresses and prefixes, from 1: */
    fc_address own[FC_FORWARD_OWN]; /* [0]: the home address, or the correspondent's address */
} fc_forward_options;

/* FC_EINVAL, FC_ENOMEM, FC_ELIMIT (descriptors, threads), FC_ENOTBUILT. The table must outlive the forwarder. */
FC_API int fc_forwarder_new(fc_fib *fib, const fc_forward_options *options, fc_forwarder **out);
/* The caller sees to it that nobody uses it any more. */
FC_API void fc_forwarder_free(fc_forwarder *forwarder);

/* One thread at a time: forwards packets until a packet for the agent itself waits, fc_forwarder_wake was called, a
 * signal came, fc_forwarder_stop was called or timeout_ms (negative: none) are over. Returns how many packets wait for
 * fc_forwarder_take, or FC_ELIMIT: a thread could not be had, or FC_ENOENT: the TUN device is gone. */
FC_API int fc_forwarder_run(fc_forwarder *forwarder, int timeout_ms);

/* Any thread, all below. */
FC_API void fc_forwarder_wake(fc_forwarder *forwarder); /* ends the run that is under way, or else the next one */

/* Ends the forwarder's own threads and the run that is under way, and lets none begin; when it returns, only that run
 * may still use the descriptors. */
FC_API void fc_forwarder_stop(fc_forwarder *forwarder);
/* Other values of these options from now on; FC_EINVAL. */
FC_API int fc_forwarder_adjust(fc_forwarder *forwarder, uint32_t mtu, uint8_t hop_limit, int32_t encapsulation_limit);

/* fc_local.queue of no packet for the agent: the first 40 octets of one that came out of a mobile node's tunnel, once
 * in a while for each sender; the caller may want to optimize the route to that. */
#define FC_LOCAL_PEER (-2)

typedef struct fc_local { /* a whole IP packet for the agent itself */
    uint32_t length;
    int32_t queue; /* the index of the TUN queue that it came from; -1: from a socket; FC_LOCAL_PEER */
    uint16_t port; /* it came in UDP over IPv4, from here; 0: it did not */
    uint8_t address[4];
    uint8_t packet[];
} fc_local;
FC_API fc_local *fc_forwarder_take(fc_forwarder *forwarder); /* the oldest, or NULL */
FC_API void fc_local_free(fc_local *local);

/* One whole packet out through the socket of its IP version; 0 or a negative errno. */
FC_API int fc_forwarder_send(fc_forwarder *forwarder, const uint8_t *packet, size_t length);

/* To the IPv4 care-of address of this BID of the node with this home address, packets go in UDP to this port (RFC
 * 5555), and come from it; 0: directly in IPv4 again. FC_EINVAL, FC_ENOMEM. */
FC_API int fc_forwarder_set_port(fc_forwarder *forwarder, const fc_address *home, uint16_t bid,
                                 const uint8_t care_of[4], uint16_t port);

/* An end's care-of address (or correspondent's address): packets from it leave by this interface; 0: it is gone.
 * FC_EINVAL, FC_ELIMIT. */
FC_API int fc_forwarder_set_source(fc_forwarder *forwarder, const fc_address *address, uint32_t interface);

enum fc_forward_kind {                        /* what became of packets */
                       FC_FORWARD_FLOW = 0,   /* to mobile nodes, by a flow binding that forwards: */
                       FC_FORWARD_NCAST,      /* .. that copies; the packets, not the copies */
                       FC_FORWARD_DEFAULT,    /* .. by the default binding */
                       FC_FORWARD_SIGNALLING, /* .. by it too */
                       FC_FORWARD_DISCARD,    /* a flow binding discards them */
                       FC_FORWARD_REVERSE,    /* from mobile nodes, out of tunnels, to other networks */
                       FC_FORWARD_LOCAL,      /* for the agent itself */
                       FC_FORWARD_SENT,   /* tunnel packets sent, with their tunnel headers; each copy and each fragment
                                           */
                       FC_FORWARD_ERRORS, /* ICMP errors sent, of our own and passed on out of tunnels */
                       FC_FORWARD_DIRECT, /* of the ends: those among flow and default, and those received, that had no
                                             tunnel, but a Home Address option or type 2 routing header */
                       FC_FORWARD_KINDS,
};

enum fc_forward_drop {                        /* and why others went nowhere */
                       FC_DROP_MALFORMED = 0, /* no IP, cut short, headers that contradict each other */
                       FC_DROP_UNBOUND,       /* nobody has the destination, or has no usable binding */
                       FC_DROP_SCOPE,         /* link-local, loopback or multicast that stays on the link */
                       FC_DROP_SOURCE, /* out of a tunnel: the outer source is no care-of address of the inner source's
                                          node */
                       FC_DROP_HOP_LIMIT,
                       FC_DROP_TOO_BIG,             /* for the tunnel, and must not be fragmented */
                       FC_DROP_ENCAPSULATION_LIMIT, /* RFC 2473 4.1: the limit is 0, or too many tunnels in one another
                                                     */
                       FC_DROP_CONGESTION, /* RFC 6040: congestion was noted on the tunnel header, and the packet can't
                                              say so */
                       FC_DROP_REASSEMBLY, /* fragments to the agent: overlapping, too late, too many */
                       FC_DROP_LOCAL,      /* the agent didn't take its packets in time */
                       FC_DROP_NO_SOCKET,  /* no socket for this kind of care-of address */
                       FC_DROP_SEND,       /* the kernel had no room or no way */
                       FC_DROP_RATE,       /* ICMP errors and Binding Errors that were too many */
                       FC_FORWARD_DROPS,
};

FC_API const char *fc_forward_kind_name(int kind); /* "flow", ..; NULL: no such */
FC_API const char *fc_forward_drop_name(int drop);

typedef struct fc_forward_counters {
    uint64_t packets[FC_FORWARD_KINDS],
        octets[FC_FORWARD_KINDS]; /* of IP packets; each segment of an offloaded one counts */
    uint64_t dropped[FC_FORWARD_DROPS], dropped_octets[FC_FORWARD_DROPS];
    uint64_t batches, super_packets,
        segments; /* reads that gave something; offloaded packets, and what they were cut into */
} fc_forward_counters;
FC_API void fc_forwarder_get_counters(fc_forwarder *forwarder, fc_forward_counters *out);

typedef struct fc_forward_flow { /* what one flow of one node had, since the forwarder began */
    uint32_t node;               /* of the table */
    uint16_t fid;
    uint8_t kind; /* FC_FORWARD_FLOW: this FID, whatever its action; FC_FORWARD_DEFAULT, FC_FORWARD_SIGNALLING,
                     FC_FORWARD_REVERSE */
    uint8_t reserved;
    uint64_t packets, octets;
} fc_forward_flow;
/* At most `room` of them to out; returns how many there are. */
FC_API size_t fc_forwarder_flows(fc_forwarder *forwarder, fc_forward_flow *out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
