/* flowclass.h - the public interface of the flowclass packet classifier engine.
 *
 * The library calls libc only: it does no I/O, never prints, aborts or exits, and never reads past the lengths that it
 * is given. The title of each section says which threads may call its functions. Arguments come in the order object,
 * input, output. Functions return FC_OK (0) or a negative enum fc_status; on failure what they would have written is
 * untouched. X_free(NULL) does nothing. */
#ifndef FLOWCLASS_H
#define FLOWCLASS_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version and status. Any thread. Policy of versions: docs/howto/embed-c.md. ----------------- */
#define FC_VERSION_MAJOR 0
#define FC_VERSION_MINOR 1
#define FC_VERSION_PATCH 0
#define FC_VERSION "0.1.0"

#if defined(__GNUC__)
#define FC_API __attribute__((visibility("default")))
#else
#define FC_API
#endif

enum fc_status {
    FC_OK = 0,
    FC_ENOMEM = -1,    /* out of memory */
    FC_EINVAL = -2,    /* an argument is out of its documented range */
    FC_ELIMIT = -3,    /* a documented bound would be exceeded */
    FC_ENOKERNEL = -4, /* no kernel has this name */
    FC_ENOTBUILT = -5, /* the kernel is not in this build (other architecture) */
    FC_ENOCPU = -6,    /* this CPU can't run the kernel */
    FC_ENOENT = -7,    /* no such entry */
    FC_EEXIST = -8,    /* belongs to another entry already */
};

FC_API const char *fc_version(void);           /* FC_VERSION of the library that runs, not of the header */
FC_API const char *fc_status_text(int status); /* a few words in English, for logs; never NULL */
FC_API const char *fc_action_text(int action); /* "none", "forward", "discard", "n-cast"; else "unknown" */
FC_API const char *fc_reason_text(int reason); /* "not-ip", "malformed", "unbound", "signalling", "flow", "default" */

/* ---- Keys and rules: plain data, host byte order ------------------------------------------------ */
enum fc_field { /* the eight ranged fields; bits of fc_key.present and fc_rule.conditions */
                FC_SOURCE = 1 << 0,
                FC_DESTINATION = 1 << 1,
                FC_FLOW_LABEL = 1 << 2,  /* 20 bits, IPv6 */
                FC_SPI = 1 << 3,         /* ESP */
                FC_SOURCE_PORT = 1 << 4, /* TCP, UDP, UDP-Lite, SCTP, DCCP */
                FC_DESTINATION_PORT = 1 << 5,
                FC_TRAFFIC_CLASS = 1 << 6, /* the octet as it stands there; only its upper six bits are compared */
                FC_PROTOCOL = 1 << 7,      /* after the extension chain; absent where the snap length cut that */
};

/* What one packet says: 48 bytes. Addresses are 128-bit integers as two host-order words, the more
 * significant first. An IPv4 address is the 32-bit integer in word [1], word [0] is 0; it lives in a space of
 * its own (version 4), not among IPv4-mapped IPv6 addresses. A field whose bit is absent from `present` must be 0. */
typedef struct fc_key {
    uint64_t source[2], destination[2];
    uint32_t flow_label, spi;
    uint16_t source_port, destination_port;
    uint8_t traffic_class, protocol;
    uint8_t version; /* 4 or 6; a key of any other version matches no rule */
    uint8_t present; /* enum fc_field bits */
} fc_key;

/* Up to eight inclusive ranges: 96 bytes. A field whose bit is clear in `conditions` is not looked at (its ranges
 * are ignored); one whose bit is set fails on a key that lacks the field, whatever the range. A rule with
 * first > last in a condition, or a number of too many bits, is refused. Traffic class compares (x >> 2). */
typedef struct fc_rule {
    uint64_t source_first[2], source_last[2];
    uint64_t destination_first[2], destination_last[2];
    uint32_t flow_label_first, flow_label_last, spi_first, spi_last;
    uint16_t source_port_first, source_port_last, destination_port_first, destination_port_last;
    uint8_t traffic_class_first, traffic_class_last, protocol_first, protocol_last;
    uint8_t version;    /* 4, 6, or 0: both */
    uint8_t conditions; /* enum fc_field bits */
    uint8_t reserved[2];
} fc_rule;

/* Does one rule match one key: the definition that everything else is checked against. Any thread. */
FC_API int fc_rule_matches(const fc_rule *rule, const fc_key *key);
/* FC_OK, or FC_EINVAL and what is wrong, in at most `room` octets ("source_port: first is above last"). Any thread. */
FC_API int fc_rule_check(const fc_rule *rule, char *text, size_t room);

/* ---- Flat rule sets: build. Any thread; each call has its own memory. --------------------------- */
typedef struct fc_table fc_table; /* immutable: 1 to 8 million rules, built for look-ups */
/* Trade-offs of a build; 0 everywhere is the default, which depends on the number of rules. */
typedef struct fc_build_options {
    uint32_t leaf;           /* so many rules are compared one by one, without a node that divides them further */
    uint32_t slots;          /* a node has at most so many slots for each of its rules */
    uint32_t copies;         /* a rule is in at most so many slots of a node, on average */
    uint32_t vector;         /* leaves of more rules than this are searched by bit vectors; at most 65,535 */
    uint8_t keep_covered;    /* 1: keep rules that a better one hides everywhere in a region (updates need them) */
    uint8_t no_cross;        /* 1: no cross-product tables (cross.c), which small sets get where they are faster */
    uint8_t quick, reserved; /* quick 1: what is built soonest, with one partition and no cross-product tables */
} fc_build_options;
typedef struct fc_table_info { /* what a build made */
    uint32_t rules;
    uint32_t trees[2], steps[2]; /* IPv4, IPv6; steps of cross-product tables that stand in for the trees, or 0 */
    uint32_t depth;              /* nodes on the longest path of a tree, its root included */
    uint32_t largest_leaf;       /* rules; together with trees and depth this bounds the work of a look-up */
    uint32_t nodes, rebuilds;    /* rebuilds of a classifier, since its first update */
    uint64_t slots, leaf_rules;  /* leaf_rules: copies of rules in leaves */
    uint64_t bytes;              /* all memory that the table holds */
} fc_table_info;

/* Rules in priority order, the first wins; they are copied. options and bad may be NULL. FC_EINVAL: row *bad is none
 * that fc_rule_check takes; FC_ELIMIT above 8,388,607 rules; FC_ENOMEM. */
FC_API int fc_table_build(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_table **table,
                          uint32_t *bad);
FC_API void fc_table_free(fc_table *table); /* the caller sees to it that nobody uses it any more */

/* ---- Flat rule sets: look-up. Any thread, any number at once. ----------------------------------- */
/* out[i] = index of the first rule that matches keys[i], or -1. FC_ENOKERNEL.. as fc_kernel_check. */
FC_API int fc_table_lookup(const fc_table *table, const fc_key *keys, size_t n, int32_t *out, int kernel);
FC_API void fc_table_get_info(const fc_table *table, fc_table_info *info);

/* ---- Rule sets that change while they are read. Any thread, any number at once, but for new and free.  */
typedef struct fc_classifier fc_classifier;
/* As fc_table_build. Rule i gets the number i and the priority i. Numbers of removed rules are given again. */
FC_API int fc_classifier_new(const fc_rule *rules, uint32_t n, const fc_build_options *options,
                             fc_classifier **classifier, uint32_t *bad);
FC_API void fc_classifier_free(fc_classifier *classifier); /* the caller sees to it that nobody uses it any more */
/* out[i] = number of the matching rule with the lowest priority (of equal ones, the lowest number), or -1. Readers take
 * no lock and see each rule's insertion or removal whole or not at all, in the order in which they were made. */
FC_API int fc_classifier_lookup(fc_classifier *classifier, const fc_key *keys, size_t n, int32_t *out, int kernel);
/* Inserts rules one after the other; ids[i] becomes the number of rules[i]. Writers wait for each other, never for
 * readers. The first update of all, and a condition on a field that no rule had before, rebuild the table first.
 * FC_EINVAL: rules[*done] is not valid, or its priority is not a number (NaN); nothing was inserted. After any other
 * error the first *done rules are inserted, the others are not: FC_ELIMIT (all 8,388,606 numbers are in use, or wait
 * for readers to leave before they can be given again), FC_ENOMEM. */
FC_API int fc_classifier_insert(fc_classifier *classifier, const fc_rule *rules, const double *priorities, uint32_t n,
                                uint32_t *ids, uint32_t *done);
/* FC_ENOENT: no rule has the number ids[*done]; the rules before it were removed. */
FC_API int fc_classifier_remove(fc_classifier *classifier, const uint32_t *ids, uint32_t n, uint32_t *done);
/* Rebuilds now. Otherwise a background thread does so once updates have made look-ups slower. */
FC_API int fc_classifier_rebuild(fc_classifier *classifier);
FC_API void fc_classifier_get_info(fc_classifier *classifier, fc_table_info *info);

/* ---- Kernels. Any thread. ----------------------------------------------------------------------- */
/* Implementations of the batch look-ups. Scalar is portable C, the truth that the others are checked against. */
enum fc_kernel {
    FC_KERNEL_AUTO = -1, /* the first that runs here of AVX-512, AVX2, NEON and scalar, whatever the table */
    FC_KERNEL_SCALAR = 0,
    FC_KERNEL_AVX2,
    FC_KERNEL_AVX512, /* F, BW, DQ, VL */
    FC_KERNEL_NEON,
    FC_KERNEL_COUNT,
};

/* The name of a kernel ("scalar", "avx2", "avx512", "neon"), or NULL. */
FC_API const char *fc_kernel_name(int kernel);
/* FC_OK when `kernel` can run here; else FC_ENOKERNEL, FC_ENOTBUILT or FC_ENOCPU: kept apart because they need
 * different fixes (a typo, another build, another machine). FC_KERNEL_AUTO always runs. */
FC_API int fc_kernel_check(int kernel);
/* `name` ("auto" too) -> *kernel, with the checks above. A named kernel is a demand: nothing falls back. */
FC_API int fc_kernel_select(const char *name, int *kernel);

/* ---- Packets to keys: any thread, no state ------------------------------------------------------ */
enum fc_packet_status {
    FC_PACKET_OK = 0,
    FC_PACKET_NOT_IP = 1,    /* unknown link type, no IP EtherType, version nibble neither 4 nor 6 */
    FC_PACKET_MALFORMED = 2, /* the IP header is cut short, or the extension chain contradicts its length */
};

enum fc_fragment {
    FC_FRAGMENT_NONE = 0, /* a whole packet; an IPv6 atomic fragment is one too */
    FC_FRAGMENT_FIRST = 1,
    FC_FRAGMENT_LATER = 2, /* has a protocol (of the Fragment header, IPv4: of the IP header) but no ports and no SPI */
};

enum fc_packet_flag {
    FC_PACKET_SIGNALLING = 1 << 0, /* Mobility Header (135), or ICMPv6 types 144 to 147 */
    FC_PACKET_CUT = 1 << 1,        /* fewer bytes captured than the IP header's length field declares */
    FC_PACKET_COMPLETED = 1 << 2,  /* a later fragment that took the key of its first fragment */
    FC_PACKET_OPEN = 1 << 3,       /* only in a capture that is read in parts: its key is settled later */
};

/* Where the way to an IP header ended; unread_value in parentheses. */
enum fc_unread {
    FC_UNREAD_NONE = 0,
    FC_UNREAD_LINKTYPE = 1,   /* a link type that isn't read (LINKTYPE_x) */
    FC_UNREAD_ETHERTYPE = 2,  /* an EtherType that is no IP or isn't read (the EtherType) */
    FC_UNREAD_PPP = 3,        /* a PPP protocol likewise (the protocol) */
    FC_UNREAD_LLC = 4,        /* LLC service access points likewise (destination << 8 | source) */
    FC_UNREAD_SNAP = 5,       /* SNAP of an organization's own (its protocol) */
    FC_UNREAD_NLPID = 6,      /* a network layer protocol identifier (the identifier) */
    FC_UNREAD_FAMILY = 7,     /* an address family (the family) */
    FC_UNREAD_VERSION = 8,    /* where an IP header should begin, a version other than 4 and 6 (the version) */
    FC_UNREAD_FRAME = 9,      /* a frame that carries no packet, such as a beacon of 802.11 (LINKTYPE_x) */
    FC_UNREAD_ENCRYPTED = 10, /* an encrypted frame (EtherType, or LINKTYPE_x) */
    FC_UNREAD_LIMIT = 11,     /* more layers than are followed (so many are) */
    FC_UNREAD_CUT = 12,       /* the captured octets end in front of an IP header */
};

typedef struct fc_packet {     /* what the parser found beside the key: 24 bytes */
    uint8_t status;            /* enum fc_packet_status; unless OK the key is all zero */
    uint8_t fragment;          /* enum fc_fragment */
    uint8_t flags;             /* enum fc_packet_flag bits */
    uint8_t depth;             /* how many IP headers were passed: 1 the outermost, 0 none */
    uint32_t fragment_id;      /* Identification, for a fragment */
    uint32_t ip_offset;        /* of the IP header that the key is from, from the start of the packet */
    uint32_t ip_length;        /* header and payload, as declared; what was captured if declared as 0 */
    uint32_t transport_offset; /* of what follows the extension chain, as far as that is there */
    uint16_t unread;           /* enum fc_unread: why FC_PACKET_NOT_IP; else 0 */
    uint16_t unread_value;     /* the number that goes with it; 65535: that or more */
} fc_packet;

typedef struct fc_fragments fc_fragments; /* see below */
#define FC_INNERMOST 255u
#define FC_NO_TIME INT64_MIN
typedef struct fc_parse_options {
    /* 0, 1: the key of the outermost IP header; N: of the N-th or, if there are fewer, the last; FC_INNERMOST. */
    uint32_t inner;
    /* Remembers first fragments, so that later fragments get the same key; packets are taken in order. Or NULL. */
    fc_fragments *fragments;
    /* When each packet came, ns of one clock (FC_NO_TIME: unknown); NULL: all at `now`. First fragments live 60 s. */
    const int64_t *times;
    int64_t now;
} fc_parse_options;

/* One packet of pcap LINKTYPE_x (1 Ethernet, 101 raw IP, ...), its outermost IP header. Returns info->status. */
FC_API int fc_parse(int linktype, const uint8_t *data, uint32_t caplen, fc_key *key, fc_packet *info);
/* n packets at buffer + offsets[i] of lengths[i] captured bytes. linktypes[i] holds where linktypes isn't NULL, else
 * linktype. options may be NULL; with options->fragments nobody else may use that object meanwhile. */
FC_API void fc_parse_batch(int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                           const uint32_t *lengths, size_t n, const fc_parse_options *options, fc_key *keys,
                           fc_packet *infos);

/* ---- First fragments: one caller at a time per object ------------------------------------------- */
/* A memory of the last `capacity` (1 to 2^24) first fragments, by source, destination and identification (IPv4: and
 * protocol). `secret` keys its hash, so that nobody can fill it with collisions. FC_EINVAL, FC_ENOMEM. */
FC_API int fc_fragments_new(uint32_t capacity, const uint8_t secret[16], fc_fragments **out);
FC_API void fc_fragments_free(fc_fragments *fragments);
FC_API void fc_fragments_clear(fc_fragments *fragments);
FC_API uint32_t fc_fragments_count(const fc_fragments *fragments);
/* ---- Captures (pcap, pcapng) as a stream of bytes: one caller at a time per object -------------- */
#define FC_CAPTURE_WINDOW (1u << 20) /* a window of this size always makes progress */
#define FC_MAX_RECORD 262144u        /* what a record shows at most; a longer one (USB, D-Bus) is cut to it */
typedef struct fc_capture fc_capture;
/* Arrays of the caller for `capacity` records; count is set by fc_capture_read. */
typedef struct fc_records {
    uint64_t *offsets;    /* of the packet, from the start of the window given */
    uint32_t *lengths;    /* captured octets */
    uint32_t *originals;  /* octets on the wire; the captured ones where the capture says more than there can be */
    int64_t *times;       /* ns since 1970, truncated; FC_NO_TIME where the capture has none */
    uint16_t *linktypes;  /* LINKTYPE_x; 65535: a number above 65534 */
    uint32_t *interfaces; /* pcapng: within the section; pcap: 0 */
    size_t capacity, count;
} fc_records;

enum fc_damage_kind {
    FC_DAMAGE_CUT = 1,      /* the capture ends inside a record or block */
    FC_DAMAGE_RECORD = 2,   /* no record header can be here: octets skipped up to the next that can */
    FC_DAMAGE_LENGTH = 3,   /* a record's length is wrong: it reaches into records that were found inside it */
    FC_DAMAGE_BLOCK = 4,    /* a pcapng block whose lengths differ: skipped, or read if the first one leads on */
    FC_DAMAGE_PACKET = 5,   /* a pcapng packet or interface block with impossible contents: this block is skipped */
    FC_DAMAGE_SECTION = 6,  /* a pcapng section of unknown byte order: skipped up to the next section */
    FC_DAMAGE_APPENDED = 7, /* a second pcap file begins here (its records follow) */
    FC_DAMAGE_VERSION = 8,  /* a version that isn't known: read as the one that is */
    FC_DAMAGE_LIMIT = 9,    /* a record beyond 700,000 octets, or a pcapng block beyond 16 MiB: passed over */
};

typedef struct fc_damage {
    uint64_t offset, skipped; /* from the start of the stream; octets that are in no record */
    uint64_t frame;           /* the frame number (from 1) that the next good record gets */
    uint32_t kind, reserved;  /* enum fc_damage_kind */
} fc_damage;

/* What fc_capture_read wants next. In each case the first `consumed` octets of the window are done with. */
enum fc_capture_status {
    FC_CAPTURE_MORE = 0,    /* append more octets to the window and call again */
    FC_CAPTURE_FULL = 1,    /* the arrays of records or the list of damage are full: empty them and call again */
    FC_CAPTURE_END = 2,     /* the capture has ended */
    FC_CAPTURE_STOPPED = 3, /* the end of a part was reached (only in a capture that is read in parts) */
};

FC_API int fc_capture_new(fc_capture **out); /* FC_ENOMEM */
FC_API void fc_capture_free(fc_capture *capture);
/* Reads records out of a window of the stream: the octets that earlier calls have not consumed, and more behind them.
 * `last` says that no more follow. Returns enum fc_capture_status, FC_EINVAL (this is no capture) or FC_ENOMEM. Records
 * point into `data`, so use them before the window moves. */
FC_API int fc_capture_read(fc_capture *capture, const uint8_t *data, size_t size, int last, fc_records *records,
                           size_t *consumed);
FC_API uint64_t fc_capture_frames(const fc_capture *capture);                          /* records given so far */
FC_API size_t fc_capture_damage(fc_capture *capture, fc_damage *out, size_t capacity); /* taken off the list */

/* ---- Forwarding table: nodes by home address or mobile network prefix --------------------------- */
enum fc_action { FC_ACTION_NONE = 0, FC_ACTION_FORWARD = 1, FC_ACTION_DISCARD = 2, FC_ACTION_NCAST = 3 };

/* Why a decision was made: the first of these that applies, in this order. */
enum fc_reason {
    FC_REASON_NOT_IP = 0,
    FC_REASON_MALFORMED = 1,
    FC_REASON_UNBOUND = 2,    /* no node has the destination, or the node has nothing usable to send to; a link-local
                                 address or link-scope multicast is in no prefix */
    FC_REASON_SIGNALLING = 3, /* Mobility Header, ICMPv6 144 to 147 (a key alone: protocol 135): by default */
    FC_REASON_FLOW = 4,
    FC_REASON_DEFAULT = 5,
};

enum fc_decision_flag { FC_HAS_FID = 1 << 0, FC_HAS_BID = 1 << 1, FC_HAS_NODE = 1 << 2, FC_CARE_OF_IPV4 = 1 << 3 };

typedef struct fc_decision { /* 32 bytes; what does not apply is 0 */
    uint8_t action, reason, flags;
    uint8_t n_targets; /* copies to send: 0, 1, or more for n-cast (fc_fib_targets has the addresses) */
    uint16_t fid, bid;
    uint32_t node;
    uint32_t version;    /* names the state of the node that decided; for fc_fib_targets */
    uint8_t care_of[16]; /* of the first or only target, network order; IPv4: the first four octets */
} fc_decision;

typedef struct fc_address { /* words as in fc_key */
    uint64_t words[2];
    uint8_t version; /* 4 or 6 */
    uint8_t length;  /* of a prefix: 0 to 32 or 128; not looked at where an address is wanted */
    uint8_t reserved[6];
} fc_address;

typedef struct fc_target {     /* a care-of address */
    uint8_t address[16];       /* network order; IPv4: the first four octets */
    uint16_t bid;              /* 0: a binding without a BID */
    uint8_t version, reserved; /* 4 or 6; reserved is 0 */
} fc_target;

typedef struct fc_flow {
    fc_rule rule;
    uint16_t fid;
    uint8_t action;    /* FC_ACTION_FORWARD, DISCARD or NCAST */
    uint8_t n_targets; /* at most FC_MAX_FANOUT; forward and n-cast without any: the flow is inactive */
    uint32_t targets;  /* its first index in fc_node.flow_targets; in the order of the flow's BIDs */
} fc_flow;

#define FC_MAX_FANOUT 255u
#define FC_MAX_FLOWS 65535u   /* of one node */
#define FC_MAX_TARGETS 65535u /* of one node */
#define FC_MAX_ADDRESSES 255u /* of one node beside the home address; prefixes likewise */
#define FC_NO_TARGET UINT32_MAX
typedef struct fc_node { /* all that the table knows of a mobile node */
    fc_address home;
    const fc_address *also, *prefixes; /* further home addresses (the other IP version's); mobile network prefixes */
    const fc_target *targets;
    const fc_flow *flows;         /* in matching order: (PRI, FID) */
    const uint16_t *flow_targets; /* indices into targets */
    uint32_t n_also, n_prefixes, n_targets, n_flows, n_flow_targets;
    uint32_t default_target; /* index into targets, or FC_NO_TARGET */
} fc_node;

typedef struct fc_fib fc_fib;
typedef struct fc_fib_info {
    uint64_t nodes, addresses, prefixes;
    uint64_t bytes;          /* all in: index, records, tables, and what is free or waits for readers to leave */
    uint64_t waiting, freed; /* bytes replaced or withdrawn that a reader may still see; bytes given back in all */
} fc_fib_info;

/* `secret` keys the hash of addresses, so that nobody can fill the table with collisions. */
FC_API int fc_fib_new(const uint8_t secret[16], fc_fib **out);
FC_API void fc_fib_free(fc_fib *fib); /* the caller sees to it that nobody uses it any more */
/* Writers: any thread; they exclude each other, never a reader. A reader sees each call whole or not at all. */
/* Adds the node, or replaces the one with this home address; writes its number to *number (may be NULL). All that the
 * node points to is copied. After an error nothing has changed: FC_EEXIST (an address or prefix is another node's, or
 * given twice), FC_EINVAL and FC_ELIMIT, where fc_fib_check says which field is wrong, FC_ENOMEM. */
FC_API int fc_fib_publish(fc_fib *fib, const fc_node *node, uint32_t *number);
/* What fc_fib_publish would refuse now: its status, and in at most `room` octets the first field that is wrong and why
 * ("flows[2].rule.spi: first is above last"; "" with FC_OK). Memory and the table's own bounds are not tried. */
FC_API int fc_fib_check(fc_fib *fib, const fc_node *node, char *text, size_t room);
FC_API int fc_fib_withdraw(fc_fib *fib, const fc_address *home); /* FC_ENOENT */
FC_API int fc_fib_reserve(fc_fib *fib, uint64_t addresses);      /* room in the index, before a bulk load */
FC_API void fc_fib_reclaim(fc_fib *fib);                         /* frees what no reader can see; publish does too */

/* Readers: any thread, any number at once, never waiting for a writer. */
/* The decision for each of n keys, a long array divided among `threads` threads. Errors: those of fc_kernel_check. */
FC_API int fc_fib_classify(fc_fib *fib, const fc_key *keys, size_t n, int kernel, unsigned threads, fc_decision *out);
/* The same with what fc_parse_batch said beside the keys: reasons not-ip, malformed and signalling come from there. */
FC_API int fc_fib_classify_parsed(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, int kernel,
                                  unsigned threads, fc_decision *out);
/* The same from packets, given as to fc_parse_batch. With options->fragments the order matters: one thread. */
FC_API int fc_fib_classify_packets(fc_fib *fib, int linktype, const uint16_t *linktypes, const uint8_t *buffer,
                                   const uint64_t *offsets, const uint32_t *lengths, size_t n,
                                   const fc_parse_options *options, int kernel, unsigned threads, fc_decision *out);
FC_API void fc_fib_classify_one(fc_fib *fib, int linktype, const uint8_t *data, uint32_t caplen, fc_decision *out);
/* The targets of a decision, at most `room` (FC_MAX_FANOUT is enough); returns how many. If the node was replaced
 * since, those that its flow of this FID has now; if it was withdrawn, the one that the decision itself has. */
FC_API uint32_t fc_fib_targets(fc_fib *fib, const fc_decision *decision, fc_target *out, uint32_t room);
/* The home address of the node that decided, or that has a number now. FC_ENOENT: it was withdrawn since. */
FC_API int fc_fib_decider(fc_fib *fib, const fc_decision *decision, fc_address *out);
FC_API int fc_fib_home_address(fc_fib *fib, uint32_t node, fc_address *out);
FC_API int fc_fib_find(fc_fib *fib, const fc_address *home, uint32_t *number); /* exact; FC_ENOENT */
/* The node that may send from `source`, an address of its own or in one of its prefixes, through a tunnel from
 * `care_of`, which it has registered; FC_ENOENT: nobody has the source, or that node hasn't this care-of address. */
FC_API int fc_fib_sender(fc_fib *fib, const fc_address *source, const fc_address *care_of, uint32_t *number);
FC_API void fc_fib_get_info(fc_fib *fib, fc_fib_info *out);

#ifdef __cplusplus
}
#endif
#endif
