/* format.h - what the files of the forwarding table share: its memory format. record.c writes records, arena.c and
 * index.c keep and find them, fib_<isa>.c read them; theory of operation and a worked example are at the head of
 * publish.c. */
#ifndef FC_FIB_FORMAT_H
#define FC_FIB_FORMAT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../common/epoch.h"
#include "../common/fork.h"
#include "../common/ring.h"
#include "flowclass.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are read as little-endian words"
#endif

#define FIB_LIKELY(x) __builtin_expect(!!(x), 1)
#define FIB_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- Memory: units of one cache line in segments, named by 32-bit references -------------------- */

/* A line: a header and eight signatures are then in one, 24 signatures in two (units of 16 octets: 8 % slower with 10k
 * nodes, 16 % with 300k). */
#define FIB_UNIT 64u
#ifndef FIB_SEGMENT_BITS     /* fuzzing takes smaller ones */
#define FIB_SEGMENT_BITS 16u /* units of a segment: 4 MiB, so that a huge page or two hold it */
#endif
#define FIB_SEGMENT_UNITS (1u << FIB_SEGMENT_BITS)
#define FIB_SEGMENTS (1u << (32 - FIB_SEGMENT_BITS))
#define FIB_EXACT_BITS 6u /* blocks up to 4 KiB are kept by their exact size, larger ones by powers of two */
#define FIB_EXACT_UNITS (1u << FIB_EXACT_BITS)
#define FIB_CLASSES (FIB_EXACT_UNITS + 1 + FIB_SEGMENT_BITS)

typedef struct fib_arena {
    uint8_t *segment[FIB_SEGMENTS];
    uint64_t *edge[FIB_SEGMENTS]; /* one bit a unit: the first or the last of a free block */
    uint32_t segments, next;      /* next: the first unit never handed out, in the last segment */
    uint32_t free_list[FIB_CLASSES];
    uint64_t lists[FIB_CLASSES / 64 + 1]; /* bits: which of them aren't empty */
} fib_arena;

int fc_fib_arena_init(fib_arena *a);
void fc_fib_arena_release(fib_arena *a);
uint32_t fc_fib_arena_alloc(fib_arena *a, uint32_t units); /* 0: no memory */
void fc_fib_arena_free(fib_arena *a, uint32_t ref, uint32_t units);
uint64_t fc_fib_arena_bytes(const fib_arena *a);

static inline uint8_t *fib_at(const fib_arena *a, uint32_t ref)
{
    return a->segment[ref >> FIB_SEGMENT_BITS] + (size_t)(ref & (FIB_SEGMENT_UNITS - 1)) * FIB_UNIT;
}

/* ---- Records: one node's state, immutable once published ----------------------------------------
 *
 *   0  header (fib_record)
 *  32  signatures: n of fib_signature
 *      version: uint32_t, which of all states that were ever published this is (modulo 2^32)
 *      targets: n_targets of fc_target
 *      bodies, from the next multiple of 8; each is written downwards from its end (see fib_body)
 *      lists of targets, further addresses, prefixes, trailer: only with FIB_TRAILER
 *
 * A record has at least FIB_HEADER octets and 64 more for the first and every other 16 flows, so that a vector load of
 * signatures stays inside of it. */

enum fib_flag {
    FIB_IPV4 = 1 << 0,     /* the home address */
    FIB_ANCHOR = 1 << 1,   /* no record but a fib_anchor */
    FIB_MORE = 1 << 2,     /* has further addresses or prefixes */
    FIB_BIG = 1 << 3,      /* fib_big follows the header instead */
    FIB_UNUSABLE = 1 << 4, /* no target at all */
    FIB_TRAILER = 1 << 5,
    FIB_SHIFT = 6, /* bits 6 and 7: log2 of the bodies' unit, less 3 */
};

#define FIB_HEADER 32u
#define FIB_LINEAR 64u /* flows in a record of this form: one bit each in a candidate mask; beyond, FIB_BIG */
#define FIB_ALIKE 12u  /* candidates that signatures may leave of one key, at most; if they leave more, FIB_BIG */
#define FIB_NONE8 255u

typedef struct fib_record {
    uint64_t home[2];
    uint32_t node;
    uint8_t flags;  /* enum fib_flag */
    uint8_t n;      /* flows; FIB_BIG: 0 */
    uint16_t units; /* size; FIB_BIG: in fib_big */
    uint16_t usual; /* the FIB_TAIL_USUAL bits of a key whose decision needs this record only; 0: no key's does */
    uint8_t default_target; /* FIB_NONE8: none. FIB_BIG: unused. This and the form stand as in a flow's fib_body */
    uint8_t n_targets;
    uint8_t default_form; /* as of a flow that forwards; 0: there is no default target */
    uint8_t pick[3];      /* the octets of an fc_key that signatures are of */
} fib_record;

/* What a key that matches flow i must have in the picked octets (0: anything; a 0 in a key counts as 1), and where the
 * flow's body is: it ends at the record's start + (end << shift). */
typedef struct fib_signature {
    uint8_t octet[3];
    uint8_t end;
} fib_signature;

/* Stands between the index and the record of a node that has more than one entry in the index, so that one store
 * changes all of them. Same place of `flags`. Readers take it for a record until they have looked at `home` and `usual`
 * (0 here: no key's), so the one part that the writer changes stands behind these. */
typedef struct fib_anchor {
    uint64_t no_home[2];
    _Atomic uint32_t ref; /* the record; 0: not (yet, or any more) there */
    uint8_t flags;        /* FIB_ANCHOR */
    uint8_t no_usual[7];
    uint32_t mark; /* the writer's: the index that it was last copied to, the lower half of its `seeds` */
} fib_anchor;

/* The head of a body is its last 8 octets. Its fields stand where a key's last 8 octets have the same fields, so that
 * the exclusive or of head and key has bits where they differ; fc_fib_compared says which octets of that count for the
 * body's form, and `conditions` gives the mask for the top octet (a field that the rule asks for and the key lacks).
 * Below the head, in this order, towards lower addresses, are
 *   - with FIB_PORTS, 8 octets: the first values of both port ranges, then their spans;
 *   - the source prefix: its lower half, then its upper half, each only where its mask has bits;
 *   - with FIB_EXTRA, a fib_extra. */
typedef struct fib_body {
    uint16_t fid;
    uint8_t target;      /* of one; FIB_MULTI: number of a list */
    uint8_t source_mask; /* of fc_fib_masks; 0: no condition, or in fib_extra */
    uint8_t form;        /* enum fib_form */
    uint8_t protocol;    /* with FIB_PROTOCOL */
    uint8_t version;     /* with FIB_VERSION */
    uint8_t conditions;  /* enum fc_field: absent fields fail. What all of the node's addresses meet is left out */
} fib_body;

enum fib_form {
    FIB_PROTOCOL = 1 << 0, /* one protocol; a range of them is in fib_extra */
    FIB_VERSION = 1 << 1,  /* one version */
    FIB_MULTI = 1 << 2,
    FIB_ACTION = 3, /* bits 3 and 4 */
    FIB_EXTRA = 1 << 5,
    FIB_HALF_SHIFT = 6,
    FIB_HALF = 1 << FIB_HALF_SHIFT,
    FIB_PORTS = 1 << 7, /* the top bit: a shift makes it 0 or 1 */
};

/* fib_body's fields in its word. */
#define FIB_HEAD_TARGET 16
#define FIB_HEAD_MASK 24
#define FIB_HEAD_FORM 32

extern const uint64_t fc_fib_compared[4]; /* record.c: octets of a tail that are compared, by form & 3 */

typedef struct fib_extra { /* the less usual conditions; those not made are met by every value */
    uint32_t label, label_span;
    uint32_t spi, spi_span;
    uint8_t class6, class_span; /* upper six bits */
    uint8_t which;              /* FC_SOURCE, FC_DESTINATION: 32 octets below, first and last, source nearer */
    uint8_t protocol, protocol_span;
    uint8_t unused[3];
} fib_extra;

typedef struct fib_trailer {     /* the last 8 octets of a record with FIB_TRAILER */
    uint32_t lists;              /* offset: uint16_t starts[], from there; each list is a count and indices, uint8_t */
    uint16_t n_also, n_prefixes; /* fc_address each, before the trailer; prefixes last */
} fib_trailer;

typedef struct fib_meta { /* what a flow of a FIB_BIG record does */
    uint16_t fid;
    uint8_t action, multi;
    uint32_t target; /* of one; multi: offset of a list, uint16_t count and indices */
} fib_meta;

typedef struct fib_big { /* many flows or targets: a table of the flat classifier */
    uint32_t version;    /* where other records have it */
    uint32_t units, n_flows, n_targets, default_target;
    uint32_t meta, targets; /* offsets from the record's start */
    uint32_t changes;       /* quick builds of the node's tables, one after the other; 0: this one is no quick one */
    fc_table *table;        /* NULL: no flows. Owned, perhaps with a newer or older record of the node */
    uint64_t table_bytes;
} fib_big;

_Static_assert(sizeof(fib_record) == FIB_HEADER && sizeof(fib_signature) == 4, "header");
_Static_assert(sizeof(fib_anchor) <= FIB_UNIT && offsetof(fib_anchor, flags) == offsetof(fib_record, flags), "anchor");
_Static_assert(offsetof(fib_record, default_target) - 24 == offsetof(fib_body, target) &&
                   offsetof(fib_record, default_form) - 24 == offsetof(fib_body, form),
               "a default is read as a body's head");
_Static_assert(offsetof(fib_big, version) == 0, "the version of a record without signatures");
_Static_assert(sizeof(fib_body) == 8 && sizeof(fib_extra) == 24, "body");
_Static_assert(sizeof(fib_trailer) == 8 && sizeof(fib_meta) == 8, "trailer, meta");
_Static_assert(sizeof(fc_target) == 20 && sizeof(fc_address) == 24 && sizeof(fc_decision) == 32, "public");

static inline size_t fib_version_at(unsigned n) { return FIB_HEADER + 4u * n; }
static inline size_t fib_targets_at(unsigned n) { return fib_version_at(n) + 4u; }
static inline size_t fib_bodies_at(unsigned n, unsigned targets)
{
    return (fib_targets_at(n) + sizeof(fc_target) * targets + 7u) & ~(size_t)7;
}

static inline const fib_big *fib_big_of(const fib_record *r) { return (const fib_big *)(const void *)(r + 1); }

static inline uint32_t fib_units(const fib_record *r)
{
    return r->flags & FIB_ANCHOR ? 1 : r->flags & FIB_BIG ? fib_big_of(r)->units : r->units;
}

static inline const fib_trailer *fib_trailer_of(const fib_record *r)
{
    return (const fib_trailer *)(const void *)((const uint8_t *)r + (size_t)fib_units(r) * FIB_UNIT) - 1;
}

/* A key's last 8 octets as one word: source port, destination port, traffic class, protocol, version, present; from bit
 * 0 upwards. */
#define FIB_TAIL_OFFSET 40u
#define FIB_TAIL_CLASS 32
#define FIB_TAIL_PROTOCOL 40
#define FIB_TAIL_VERSION 48
#define FIB_TAIL_PRESENT 56
#define FIB_TAIL_USUAL (FC_DESTINATION << 8 | 0xff) /* at FIB_TAIL_VERSION */
_Static_assert(offsetof(fc_key, source_port) == FIB_TAIL_OFFSET && offsetof(fc_key, traffic_class) == 44 &&
                   offsetof(fc_key, protocol) == 45 && offsetof(fc_key, version) == 46 &&
                   offsetof(fc_key, present) == 47,
               "keys are read as words and octets");

/* ---- Index: addresses to references, open addressing over buckets of one cache line ------------- */

#define FIB_WAYS 10u
#define FIB_LENGTHS 129u

/* The reference in a way that an entry has left while a way behind it has an entry with the same tag, as addresses that
 * differ in few bits often do, or while entries went on to the next bucket. Vector kernels look into the first way with
 * a tag only. A 0 there says that no entry has it, but this leads to an anchor of nobody, like any other entry that
 * isn't the one: then the ways are tried one by one (fib_probe). */
#define FIB_GONE 1u

typedef struct fib_bucket {
    _Atomic uint16_t tag[FIB_WAYS];
    _Atomic uint16_t passed; /* entries that found no place here and went on; 65535 sticks */
    uint16_t unused;
    _Atomic uint32_t ref[FIB_WAYS]; /* record or anchor; 0 and FIB_GONE: free */
} fib_bucket;
_Static_assert(sizeof(fib_bucket) == 64, "one line");

/* Which prefixes an index may have. A prefix is a bit of a word: its whole nibbles, without the last bits, say which
 * word, and its last 1 to 4 bits which bit (fib_part_of). So an address needs one word for each four lengths. The hash
 * of nibbles is the exclusive or of a secret number for each, by place and value. Such hashes of different nibbles, of
 * one length or two, are independent in pairs: whoever doesn't know the numbers can't choose prefixes that share words.
 */
typedef struct fib_filter {
    uint32_t mask;         /* one less than how many words there are */
    uint32_t stale;        /* prefixes that are gone, but whose bits are still set */
    uint32_t start[2];     /* the hash of no nibbles, IPv4 and IPv6 */
    uint32_t admits[16];   /* by a nibble: the bits of all its parts */
    uint32_t step[32][16]; /* by a nibble's place and value; IPv4 addresses have the last eight places */
    _Atomic uint32_t word[];
} fib_filter;

typedef struct fib_index { /* replaced as a whole when it grows */
    uint64_t key[5];
    uint32_t buckets;
    uint32_t count;
    fib_bucket *bucket;
    fib_filter *filter; /* of an index of prefixes; else NULL */
} fib_index;

typedef struct fib_hash {
    uint32_t bucket;
    uint16_t tag;
} fib_hash;

static inline uint32_t fib_kind(unsigned version, unsigned length) { return version << 8 | length; }
#define FIB_KIND_HOME(version) ((uint32_t)(version) << 8)

/* Pair-multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", 3.5): strongly universal in its upper 32
 * bits, so whoever doesn't know the key can do no better than chance in filling a bucket, and 4 cycles a key
 * (SipHash-1-3: about 25). `kind`: the IP version; for a prefix with its length. */
static inline fib_hash fib_hash_of(const fib_index *x, uint64_t hi, uint64_t lo, uint32_t kind)
{
    uint64_t h = (x->key[0] + (hi >> 32)) * (x->key[1] + (uint32_t)hi) +
                 (x->key[2] + (lo >> 32)) * (x->key[3] + (uint32_t)lo) + x->key[4] * (2 * (uint64_t)kind + 1);
    return (fib_hash){(uint32_t)((h >> 32) * x->buckets >> 32), (uint16_t)(h >> 16)};
}

typedef struct fib_retired {
    uint64_t epoch;
    uint64_t size;
    fib_index *index; /* or NULL: `ref` */
    uint32_t ref;
} fib_retired;

/* What is known of a node number. */
typedef struct fib_place {
    _Atomic uint32_t ref;  /* the record; 0: no node has the number */
    _Atomic uint32_t born; /* the version of the first state of the node that has it now */
} fib_place;

uint32_t fc_fib_born(const struct fc_fib *fib, uint32_t node); /* of a number that was given; read.c */

#ifndef FIB_NODES_CHUNK
#define FIB_NODES_CHUNK 16384u
#endif
#define FIB_NODES_CHUNKS 16384u /* 268 million nodes */

struct fc_fib {
    fib_arena arena; /* first: its segments are looked at for each packet */
    fc_epoch epoch;
    fib_index *_Atomic home, *_Atomic prefix;
    _Atomic uint64_t changes;                   /* of who has which address: odd while one is made; see fib_find */
    _Atomic uint64_t lengths[2][3];             /* prefix lengths in use, IPv4 and IPv6: bit maps */
    fib_place *_Atomic nodes[FIB_NODES_CHUNKS]; /* by node number */
    _Atomic uint32_t node_limit;                /* numbers given so far */

    pthread_mutex_t writer; /* all below */
    fc_guard guard;
    uint64_t secret[2], seeds;
    uint32_t version; /* of the state that was published last */
    uint32_t length_count[2][FIB_LENGTHS];
    uint64_t n_nodes;
    uint8_t crowded[2];   /* home, prefix index: a probe was too long, by bad luck or because the secret leaked; or the
                             filter   has too many bits of prefixes that are gone */
    fc_ring free_numbers; /* of uint32_t: numbers are used again as late as possible */
    fc_ring retired;      /* of fib_retired, the oldest first */
    uint64_t waiting, freed, table_bytes;
    uint8_t *scratch; /* where a record is put together */
    size_t scratch_size;
};

static inline fib_place *fib_node_place(const fc_fib *fib, uint32_t number)
{
    return atomic_load_explicit(&fib->nodes[number / FIB_NODES_CHUNK], memory_order_acquire) + number % FIB_NODES_CHUNK;
}

static inline uint32_t fib_version_of(const fib_record *r)
{
    uint32_t version;
    memcpy(&version, (const uint8_t *)r + fib_version_at(r->n), sizeof version);
    return version;
}

static inline fc_address fib_home_of(const fib_record *r)
{
    return (fc_address){{r->home[0], r->home[1]}, r->flags & FIB_IPV4 ? 4 : 6, 0, {0}};
}

/* n decisions: keys that fc_parse said something about, or bare keys (infos NULL). The caller is inside fib->epoch. One
 * function per kernel. */
typedef void fib_decide_fn(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, fc_decision *out);
fib_decide_fn fc_fib_decide_scalar;
#if defined(__x86_64__)
fib_decide_fn fc_fib_decide_avx2;
fib_decide_fn fc_fib_decide_avx512;
#elif defined(__aarch64__)
fib_decide_fn fc_fib_decide_neon;
#endif

/* record.c: masks of the first 0 to 128 bits of an address, then of the first 1 to 32 of an IPv4 address. */
#define FIB_MASK_IPV4 128u
extern const uint64_t fc_fib_masks[161][2];

/* ---- Shared by the writers
 * ------------------------------------------------------------------------------------------- */

static inline fib_index *fib_home_index(const fc_fib *fib)
{
    return atomic_load_explicit(&fib->home, memory_order_relaxed);
}
static inline fib_index *fib_prefix_index(const fc_fib *fib)
{
    return atomic_load_explicit(&fib->prefix, memory_order_relaxed);
}

static inline fib_hash fib_hash_of_address(const fib_index *x, const fc_address *a, int is_prefix)
{
    return fib_hash_of(x, a->words[0], a->words[1], fib_kind(a->version, is_prefix ? a->length : 0));
}

static inline const fc_address *fib_addresses_of(const fib_record *r, int prefixes, unsigned *n)
{
    *n = 0;
    if (!(r->flags & FIB_MORE))
        return NULL;
    const fib_trailer *t = fib_trailer_of(r);
    *n = prefixes ? t->n_prefixes : t->n_also;
    return (const fc_address *)(const void *)t - t->n_prefixes - (prefixes ? 0 : t->n_also);
}

/* index.c: one index */
int fc_fib_index_new(fc_fib *fib, int prefixes, uint64_t entries, fib_index **out);
void fc_fib_index_free(fib_index *x);
void fc_fib_index_put(fib_index *x, fib_hash h, uint32_t ref, uint32_t *probes);
_Atomic uint32_t *fc_fib_index_entry(fib_index *x, fib_hash h, uint32_t ref, uint32_t *at);
void fc_fib_index_remove(fib_index *x, fib_hash h, uint32_t ref);
static inline size_t fib_index_bytes(const fib_index *x)
{
    size_t filter = x->filter ? sizeof *x->filter + 4 * ((size_t)x->filter->mask + 1) : 0;
    return sizeof *x + (size_t)x->buckets * sizeof(fib_bucket) + filter;
}

/* index.c: the table's indices of addresses (is_prefix 0) and prefixes (1) */
int fc_fib_replace_index(fc_fib *fib, int prefixes, uint64_t entries);
int fc_fib_make_room(fc_fib *fib, int prefixes, uint64_t more);
void fc_fib_add_address(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry);
void fc_fib_remove_address(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry);
_Atomic uint32_t *fc_fib_home_entry(const fc_fib *fib, const fib_record *r, uint32_t ref);

/* claims.c. FC_OK, FC_EINVAL, FC_ELIMIT, FC_EEXIST, FC_ENOENT as flowclass.h says of fc_fib_publish and fc_fib_withdraw
 */
int fc_fib_address_is_bad(const fc_address *a);
int fc_fib_listed(const fc_address *a, const fc_address *list, unsigned n, int is_prefix);
typedef struct fib_fault { /* what is wrong with a node: "list[index]" and two texts, or without a list the texts alone
                            */
    const char *list;
    uint32_t index;
    const char *field, *what;
} fib_fault;
int fc_fib_check_node(const fc_node *node, fib_fault *fault);
int fc_fib_check_claims(const fc_fib *fib, const fc_node *node, const fib_record **old, uint32_t *old_ref,
                        fib_fault *fault);
int fc_fib_find_home(const fc_fib *fib, const fc_address *home, const fib_record **r, uint32_t *ref);

/* publish.c: room in fib->retired was reserved */
void fc_fib_retire(fc_fib *fib, uint32_t ref, fib_index *index);

/* record.c: a record for `node` (checked), whose present one is `old` or NULL, in fib->scratch; *units its size. Its
 * `node` number is left 0. */
int fc_fib_record(fc_fib *fib, const fc_node *node, const fib_record *old, uint32_t *units);
void fc_fib_drop_table(fc_fib *fib, const fib_big *big); /* frees it, unless another record has it too */

#endif
