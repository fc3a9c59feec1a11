/* stages.h - decisions for many keys at once: included by each vector kernel, which defines
 *
 *   FIB_TARGET          its target attribute
 *   FIB_NAME, FIB_ID    its function and enum fc_kernel
 *   FIB_TAGS(bucket, tag)            bit i: way i has this tag
 *   FIB_CANDIDATES(signatures, n, octets) bit i: signature i admits a key with these picked octets (bits 0 to 23)
 *   FIB_PORTS_OUT, FIB_SOURCE_OUT    where it has better than search.h's
 *   FIB_LOWEST(word)                 the lowest bit of a word, 0 for an empty one, without a branch
 *   FIB_HASH4, FIB_UNUSUAL4, FIB_MATCH4  where it can take four keys at once: as fib_hash_of, fib_is_unusual, and the
 *                                    first half of fib_stage_bodies
 *
 * A look-up is a chain of four reads that each depend on the one before: bucket, record, body, target. One key alone
 * waits for memory four times. So keys go through five stages in parts of FIB_PART, and each stage asks memory for what
 * the next one will read. Five parts are under way at a time, each one stage behind the one before it, so that what one
 * part waits for arrives while the others are worked on:
 *
 *      step    hash  bucket  record  bodies  decide          hash     asks for the bucket
 *        4       E      D       C       B       A            bucket   for the record's first two lines
 *        5       F      E       D       C       B            record   for the body of the first candidate
 *        6       G      F       E       D       C            bodies   for the target
 *
 * The stages hold only the usual case, in loops with few branches. Keys whose destination is in a mobile network
 * prefix, is a further address of a node, or belongs to nobody are handled together by fib_stage_unusual, and keys of
 * nodes with many flows wait from there on (fib_queue). What is still left, such as packets that have no key, is
 * decided one by one at the end of the stages (fib_rest), as the scalar kernel does. All these pass through the
 * remaining stages with an empty record in their place. */
#include "search.h"

#ifndef FIB_PART
/* Keys that go through a stage together, a multiple of 4. What they ask for should be within what a processor has under
 * way and long enough under way: 8 lost 3 to 5 % on a processor whose memory is slower, 16 8 % (10k nodes) and 12 %
 * (1M) on one whose memory is faster, 32 20 %, 4 10 %. */
#define FIB_PART 12u
#endif
#define FIB_STAGES 5u /* and so many parts are in flight, each in another stage */
#define FIB_SMALL 4u  /* below, the stages cost more than they hide */

/* Keys on their way. Each of their fields is an array, so that a kernel may take several keys at once. */
typedef struct fib_part {
    const fib_index *index;
    const fc_key *keys;
    const fc_packet *infos; /* or NULL */
    fc_decision *out;
    uint64_t changes; /* of fc_fib, before the index was looked at */
    uint32_t n, n_rest;
    fib_hash hash[FIB_PART];
    const uint8_t *record[FIB_PART];
    const uint8_t *end[FIB_PART];      /* of the body to look at next; of the one that matched */
    const fc_target *target[FIB_PART]; /* unless head says that it isn't one */
    uint64_t candidates[FIB_PART];     /* flows behind that body */
    uint64_t head[FIB_PART];           /* as of fib_body, but its top octet is 1; by default: 0 */
    uint64_t by_prefix[FIB_PART]; /* of an unusual key. All ones: of a mobile network, the home address is another */
    uint32_t ref[FIB_PART];
    uint8_t rest[FIB_PART + 1]; /* the last place: written, never read */
} fib_part;

FIB_TARGET static inline const fib_record *fib_record_of(const fib_part *p, uint32_t i)
{
    return (const fib_record *)(const void *)p->record[i];
}

/* Stage 1: which bucket. */
FIB_TARGET static inline void fib_stage_hash(fib_part *p)
{
    const fib_index *x = p->index;
    uint32_t i = 0;
#ifdef FIB_HASH4
    for (; i + 4 <= p->n; i += 4)
        FIB_HASH4(x, p->keys + i, p->hash + i);
#endif
    for (; i < p->n; i++) {
        const fc_key *k = &p->keys[i];
        p->hash[i] = fib_hash_of(x, k->destination[0], k->destination[1], FIB_KIND_HOME(k->version));
    }
    for (i = 0; i < p->n; i++) {
        __builtin_prefetch(&x->bucket[p->hash[i].bucket]);
        __builtin_prefetch(p->keys + i + 128); /* the hardware's own prefetching falls behind at page ends */
    }
}

FIB_TARGET static inline void fib_lead_to(const fc_fib *fib, fib_part *p, uint32_t i, uint32_t ref)
{
    const uint8_t *record = fib_at(&fib->arena, ref);
    p->ref[i] = ref;
    p->record[i] = record;
    __builtin_prefetch(record);
    __builtin_prefetch(record + 64);
}

/* Looks into one bucket; 1 if the key isn't there. */
FIB_TARGET static inline uint32_t fib_look(const fc_fib *fib, const fib_index *x, const fib_hash *hash, fib_part *p,
                                           uint32_t i)
{
    fib_bucket *b = &x->bucket[hash->bucket];
    uint32_t ways = FIB_TAGS(b, hash->tag);
    uint32_t ref = atomic_load_explicit(&b->ref[__builtin_ctz(ways | 1u << (FIB_WAYS - 1))], memory_order_acquire);
    fib_lead_to(fib, p, i, ways ? ref : 0);
    return ways == 0;
}

/* Stage 2: which record; nobody's (reference 0) if no way has the tag. One in thirty is in a bucket after its own:
 * those are looked for together again, or each would wait for memory four times on its own (a fifth of all time with 1M
 * nodes). */
FIB_TARGET static inline void fib_stage_bucket(const fc_fib *fib, fib_part *p)
{
    const fib_index *x = p->index;
    uint32_t missing = 0;
    uint8_t *missed = p->rest;
    for (uint32_t i = 0; i < p->n; i++) {
        missed[missing] = (uint8_t)i;
        missing += fib_look(fib, x, &p->hash[i], p, i);
    }
    for (uint32_t probes = 1; FIB_UNLIKELY(missing) && probes < x->buckets; probes++) {
        uint32_t n = 0;
        for (uint32_t j = 0; j < missing; j++) {
            fib_hash *h = &p->hash[missed[j]];
            if (!atomic_load_explicit(&x->bucket[h->bucket].passed, memory_order_acquire))
                continue;
            h->bucket = h->bucket + 1 == x->buckets ? 0 : h->bucket + 1;
            __builtin_prefetch(&x->bucket[h->bucket]);
            missed[n++] = missed[j];
        }
        missing = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint8_t i = missed[j];
            missed[missing] = i;
            missing += fib_look(fib, x, &p->hash[i], p, i);
        }
    }
}

/* Is this key none for a record (0: it is one)? It must have a destination, the record's home address (or be in one of
 * its prefixes), its version, and be no signalling. `usual` is as in fib_record. */
FIB_TARGET static inline uint32_t fib_is_unusual(const fib_record *r, const fc_key *k, uint64_t by_prefix,
                                                 unsigned usual)
{
    uint64_t tail = fib_tail(k);
    uint64_t wrong = ((r->home[0] ^ k->destination[0]) | (r->home[1] ^ k->destination[1])) & ~by_prefix;
    wrong |= (tail >> FIB_TAIL_VERSION & FIB_TAIL_USUAL) ^ usual;
    wrong |= (uint8_t)(tail >> FIB_TAIL_PROTOCOL) == FC_PROTOCOL_MOBILITY; /* present or not: asked elsewhere */
    return wrong != 0;
}

/* What fc_parse said of a packet: whole, and no signalling? */
FIB_TARGET static inline uint32_t fib_is_unusual_packet(const fib_part *p, uint32_t i)
{
    return p->infos && (p->infos[i].status | (p->infos[i].flags & FC_PACKET_SIGNALLING));
}

FIB_TARGET static inline uint32_t fib_picked(const fib_record *r, const fc_key *k)
{
    const uint8_t *octet = (const uint8_t *)k;
    return (uint32_t)octet[r->pick[0]] | (uint32_t)octet[r->pick[1]] << 8 | (uint32_t)octet[r->pick[2]] << 16;
}

/* A third of bodies lie across two lines: asking for one of them only cost 15 % with 1M nodes. */
FIB_TARGET static inline void fib_fetch_body(const uint8_t *end)
{
    __builtin_prefetch(end - 32);
    __builtin_prefetch(end - 1);
}

/* Notes what is to be written and fetches the target for it. */
FIB_TARGET static inline void fib_settle(fib_part *p, uint32_t i, uint64_t head)
{
    const fib_record *r = fib_record_of(p, i);
    p->head[i] = head;
    p->target[i] = fib_targets_small(r) + (head >> FIB_HEAD_TARGET & 0xff);
    __builtin_prefetch(p->target[i]);
}

#define FIB_BY_FLOW ((uint64_t)1 << FIB_TAIL_PRESENT)

FIB_TARGET static inline uint64_t fib_head_of(const uint8_t *end)
{
    return (fc_load64(end - 8) & (FIB_BY_FLOW - 1)) | FIB_BY_FLOW;
}

FIB_TARGET static inline uint64_t fib_by_default(const fib_record *r)
{
    const uint64_t fields = (uint64_t)0xff << FIB_HEAD_TARGET | (uint64_t)0xff << FIB_HEAD_FORM;
    return fc_load64((const uint8_t *)r + 24) & fields;
}

/* A body that matches no key, for want of a candidate: of version 0. */
static const uint8_t fib_no_flow[32] __attribute__((aligned(32))) = {[28] = FIB_VERSION};

/* The record of keys that the stages pass over: no flows, no default target. */
static const uint8_t fib_no_node[FIB_HEADER + 64] __attribute__((aligned(32)));

FIB_TARGET static inline void fib_pass_over(fib_part *p, uint32_t i)
{
    p->record[i] = fib_no_node;
    p->end[i] = fib_no_flow + sizeof fib_no_flow;
    p->candidates[i] = 0;
}

/* Which flows may match? */
FIB_TARGET static inline void fib_consider(fib_part *p, uint32_t i)
{
    const fib_record *r = fib_record_of(p, i);
    uint64_t c = FIB_CANDIDATES(p->record[i] + FIB_HEADER, r->n, fib_picked(r, &p->keys[i]));
    /* whether there is one can't be predicted: no branch */
    uintptr_t end = (uintptr_t)fib_body_end(r, FIB_LOWEST(c));
    uintptr_t none = (uintptr_t)(fib_no_flow + sizeof fib_no_flow);
    end = none ^ ((none ^ end) & -(uintptr_t)(c != 0));
    p->candidates[i] = c & (c - 1);
    p->end[i] = (const uint8_t *)end;
    fib_fetch_body(p->end[i]);
    __builtin_prefetch(&p->out[i], 1);
}

/* One length of prefix for `absent` keys of one version: those that it has go to `found`, those that have to be looked
 * for one by one (a tag alike, an entry in a bucket after its own) to `odd`, the others stay. */
FIB_TARGET static inline uint32_t fib_try_prefix(const fc_fib *fib, const fib_index *x, fib_part *p, unsigned version,
                                                 unsigned length, uint8_t *absent, uint32_t n, uint8_t *found,
                                                 uint32_t *n_found, uint8_t *odd, uint32_t *n_odd)
{
    uint64_t network[FIB_PART][2];
    fib_hash hash[FIB_PART];
    uint32_t left = 0;
    for (uint32_t j = 0; j < n; j++) {
        fib_mask(p->keys[absent[j]].destination, version, length, network[j]);
        hash[j] = fib_hash_of(x, network[j][0], network[j][1], fib_kind(version, length));
        __builtin_prefetch(&x->bucket[hash[j].bucket]);
    }
    for (uint32_t j = 0; j < n; j++) {
        uint8_t i = absent[j];
        uint32_t ref;
        fib_look(fib, x, &hash[j], p, i);
        if (!p->ref[i]) {
            int further = atomic_load_explicit(&x->bucket[hash[j].bucket].passed, memory_order_acquire) != 0;
            odd[*n_odd] = i;
            *n_odd += (uint32_t)further;
            absent[left] = i;
            left += !further;
            continue;
        }
        const fib_record *r = fib_open(fib, p->ref[i], &ref);
        uint32_t has = (uint32_t)fib_has_prefix(r, network[j], version, length);
        p->by_prefix[i] = -(uint64_t)has;
        fib_lead_to(fib, p, i, ref);
        found[*n_found] = i;
        *n_found += has;
        odd[*n_odd] = i;
        *n_odd += !has;
    }
    return left;
}

/* All lengths that prefixes of these keys may have, the longest first; each for those keys only of which it may be one.
 * What becomes of keys is as in fib_try_prefix. */
FIB_TARGET static inline uint32_t fib_try_lengths(fc_fib *fib, const fib_index *x, fib_part *p, unsigned version,
                                                  uint8_t *absent, uint32_t n, uint8_t *found, uint32_t *n_found,
                                                  uint8_t *odd, uint32_t *n_odd)
{
    uint64_t of_key[FIB_PART][3], any[3] = {0, 0, 0}, in_use[3];
    int few = fib_lengths_in_use(fib, version, in_use) <= FIB_FEW_LENGTHS;
    for (uint32_t j = 0; j < n && !few; j++) {
        uint64_t *of = of_key[absent[j]];
        fib_lengths_of(x, p->keys[absent[j]].destination, version, in_use, of);
        for (int word = 0; word < 3; word++)
            any[word] |= of[word];
    }
    for (int word = 2; word >= 0; word--) {
        uint64_t lengths = few ? in_use[word] : any[word];
        for (; lengths && n; lengths ^= (uint64_t)1 << (63 - __builtin_clzll(lengths))) {
            unsigned bit = 63 - (unsigned)__builtin_clzll(lengths), length = 64 * (unsigned)word + bit;
            uint8_t those[FIB_PART + 1];
            uint32_t n_those = 0, others = 0;
            if (few) {
                n = fib_try_prefix(fib, x, p, version, length, absent, n, found, n_found, odd, n_odd);
                continue;
            }
            for (uint32_t j = 0; j < n; j++) {
                uint8_t i = absent[j];
                uint32_t is = of_key[i][word] >> bit & 1;
                those[n_those] = i;
                n_those += is;
                absent[others] = i;
                others += !is;
            }
            n_those = fib_try_prefix(fib, x, p, version, length, those, n_those, found, n_found, odd, n_odd);
            memcpy(absent + others, those, n_those);
            n = others + n_those;
        }
    }
    return n;
}

/* Keys with no home address among the nodes: those in a node's prefix are added to `found`, where there are `n` already
 * (returned: how many are there then), nobody's are decided. As in fib_find, what was not found counts only if nobody's
 * addresses changed meanwhile; if they did, fib_find itself is asked for each key. */
FIB_TARGET static uint32_t fib_stage_absent(fc_fib *fib, fib_part *p, const uint8_t *absent, uint32_t n_absent,
                                            uint8_t *found, uint32_t n)
{
    const fib_index *x = atomic_load_explicit(&fib->prefix, memory_order_acquire);
    uint8_t of[2][FIB_PART + 1], odd[FIB_PART + 1];
    uint32_t left[2] = {0, 0}, n_odd = 0, first = n;
    for (uint32_t j = 0; j < n_absent; j++) {
        const fc_key *k = &p->keys[absent[j]];
        unsigned six = k->version == 6;
        if (FIB_UNLIKELY(fib_stays_on_link(k->destination, k->version)))
            odd[n_odd++] = absent[j]; /* in no prefix */
        else
            of[six][left[six]++] = absent[j];
    }
    for (unsigned six = 0; six < 2; six++)
        if (left[six])
            left[six] = fib_try_lengths(fib, x, p, six ? 6 : 4, of[six], left[six], found, &n, odd, &n_odd);
    uint64_t changes = atomic_load_explicit(&fib->changes, memory_order_acquire);
    int undisturbed = changes == p->changes && changes % 2 == 0;
    if (FIB_UNLIKELY(!undisturbed)) {
        for (; n > first; n--)
            odd[n_odd++] = found[n - 1];
    }
    for (unsigned six = 0; six < 2; six++)
        for (uint32_t j = 0; j < left[six]; j++) {
            uint8_t i = of[six][j];
            const fc_key *k = &p->keys[i];
            int is_key = (k->version == 4 || k->version == 6) && k->present & FC_DESTINATION;
            if (FIB_LIKELY(undisturbed && is_key && !(p->infos && p->infos[i].status)))
                fib_write(&p->out[i], FC_ACTION_NONE, FC_REASON_UNBOUND, 0, 0, 0, 0);
            else
                odd[n_odd++] = i;
        }
    for (uint32_t j = 0; j < n_odd; j++)
        p->rest[p->n_rest++] = odd[j];
    return n;
}

typedef struct fib_queue { /* keys of nodes with many flows, so that the flat classifier gets them in batches */
    const fc_key *keys;    /* of the call */
    size_t n;
    fib_waiting waiting[FIB_WAITING];
} fib_queue;

/* Does this key wait for the flows of a FIB_BIG record? If so, adds it to the queue. */
FIB_TARGET static inline uint32_t fib_waits(const fib_part *p, uint32_t i, const fib_record *r, uint64_t by_prefix,
                                            fib_queue *queue)
{
    if ((r->flags & (FIB_BIG | FIB_UNUSABLE)) != FIB_BIG || fib_is_unusual_packet(p, i) ||
        fib_is_unusual(r, &p->keys[i], by_prefix, FC_DESTINATION << 8 | (r->flags & FIB_IPV4 ? 4 : 6)))
        return 0;
    queue->waiting[queue->n++] = (fib_waiting){r, (uint32_t)(p->keys - queue->keys) + i};
    return 1;
}

/* Keys that found no record of the usual kind, one bit each. Some have one all the same: behind an anchor, or by a
 * prefix. Returns those that the stages pass over: decided, waiting, or in the rest. */
FIB_TARGET static __attribute__((noinline)) uint32_t fib_stage_unusual(fc_fib *fib, fib_part *p, uint32_t unusual,
                                                                       fib_queue *queue)
{
    uint8_t again[FIB_PART + 1], absent[FIB_PART + 1];
    uint32_t n_again = 0, n_absent = 0, over = unusual;
    for (; unusual; unusual &= unusual - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(unusual);
        const fib_record *r = fib_record_of(p, i);
        if (!p->ref[i]) {
            absent[n_absent++] = (uint8_t)i;
        } else if (r->flags & FIB_ANCHOR) {
            fib_anchor *anchor = (fib_anchor *)(void *)fib_at(&fib->arena, p->ref[i]);
            p->by_prefix[i] = 0;
            fib_lead_to(fib, p, i, atomic_load_explicit(&anchor->ref, memory_order_acquire));
            again[n_again++] = (uint8_t)i;
        } else if (!fib_waits(p, i, r, 0, queue)) {
            p->rest[p->n_rest++] = (uint8_t)i;
        }
    }
    if (n_absent)
        n_again = fib_stage_absent(fib, p, absent, n_absent, again, n_again);
    for (uint32_t j = 0; j < n_again; j++) {
        uint32_t i = again[j];
        const fib_record *r = fib_record_of(p, i);
        if (!(fib_is_unusual(r, &p->keys[i], p->by_prefix[i], r->usual) | fib_is_unusual_packet(p, i)))
            over ^= (uint32_t)1 << i;
        else if (!fib_waits(p, i, r, p->by_prefix[i], queue))
            p->rest[p->n_rest++] = (uint8_t)i;
    }
    return over;
}

/* Stage 3: which flows may match. */
FIB_TARGET static inline void fib_stage_record(fc_fib *fib, fib_part *p, fib_queue *queue)
{
    uint32_t unusual = 0, i = 0;
#ifdef FIB_UNUSUAL4
    for (; i + 4 <= p->n; i += 4)
        unusual |= FIB_UNUSUAL4(p->record + i, p->keys + i) << i;
#endif
    for (; i < p->n; i++)
        unusual |= fib_is_unusual(fib_record_of(p, i), &p->keys[i], 0, fib_record_of(p, i)->usual) << i;
    for (i = 0; i < p->n && p->infos; i++)
        unusual |= fib_is_unusual_packet(p, i) << i;
    p->n_rest = 0;
    if (FIB_UNLIKELY(unusual))
        unusual = fib_stage_unusual(fib, p, unusual, queue);
    for (i = 0; i < p->n; i++) {
        if (FIB_UNLIKELY(unusual >> i & 1))
            fib_pass_over(p, i);
        else
            fib_consider(p, i);
    }
}

/* Stage 4: all first candidates, without a branch on whether there is one and whether it matches (mistaken branches
 * took a fifth of the time with 1,000 nodes); then, where it doesn't, the others one after the other. */
FIB_TARGET static inline void fib_stage_bodies(fib_part *p)
{
    const uint32_t all = p->n;
    uint32_t open = 0, i = 0; /* open: a bit for each key that has another candidate to try */
#ifdef FIB_MATCH4
    for (; i + 4 <= all; i += 4)
        open |= FIB_MATCH4(p->keys + i, p->record + i, p->end + i, p->candidates + i, p->head + i) << i;
#endif
    for (; i < all; i++) {
        const uint8_t *end = p->end[i];
        uint64_t matches = (uint64_t)fib_body_matches(end, &p->keys[i]);
        uint64_t head = fib_by_default(fib_record_of(p, i));
        p->head[i] = head ^ ((head ^ fib_head_of(end)) & -matches);
        open |= (uint32_t)(!matches & (p->candidates[i] != 0)) << i;
    }
    for (i = 0; i < all; i++)
        fib_settle(p, i, p->head[i]);
    for (uint32_t left; open; open = left) {
        left = 0;
        for (; open; open &= open - 1) {
            i = (uint32_t)__builtin_ctz(open);
            const fib_record *r = fib_record_of(p, i);
            uint64_t c = p->candidates[i];
            p->end[i] = fib_body_end(r, (unsigned)__builtin_ctzll(c));
            p->candidates[i] = c &= c - 1;
            if (fib_body_matches(p->end[i], &p->keys[i]))
                fib_settle(p, i, fib_head_of(p->end[i]));
            else
                left |= (uint32_t)(c != 0) << i;
        }
    }
}

/* Stage 5: the usual decision, forward to one target, by the flow's body or the default. */
FIB_TARGET static inline void fib_stage_decide(fib_part *p)
{
    const uint64_t form = (uint64_t)(FIB_MULTI | 3 << FIB_ACTION) << FIB_HEAD_FORM;
    const uint64_t usual = (uint64_t)(FC_ACTION_FORWARD << FIB_ACTION) << FIB_HEAD_FORM;
    /* a decision's first four octets by default and by a flow, without what the target adds to the flags */
    const uint32_t first[2] = {FC_ACTION_FORWARD | FC_REASON_DEFAULT << 8 | FC_HAS_NODE << 16 | 1 << 24,
                               FC_ACTION_FORWARD | FC_REASON_FLOW << 8 | (FC_HAS_NODE | FC_HAS_FID) << 16 | 1 << 24};
    const uint32_t all = p->n;
    fc_decision *d = p->out;
    for (uint32_t i = 0; i < all; i++, d++) {
        const fib_record *r = fib_record_of(p, i);
        const uint8_t *target = (const uint8_t *)p->target[i];
        uint64_t head = p->head[i], by_flow = head >> FIB_TAIL_PRESENT;
        if (FIB_UNLIKELY((head & form) != usual)) {
            if (by_flow)
                fib_write_flow(d, r, p->end[i], &p->keys[i]);
            else if (p->record[i] != fib_no_node) /* fib_rest writes those */
                fib_write_default(d, r, fib_targets_small(r), r->default_target, FIB_NONE8);
            continue;
        }
        uint32_t about; /* the target's BID, version, and flags */
        memcpy(&about, target + offsetof(fc_target, bid), sizeof about);
        uint32_t begin = first[by_flow] | about >> 24 << 16;
        uint16_t fid = (uint16_t)head, bid = (uint16_t)about;
        uint32_t version = fib_version_of(r);
        memcpy(d, &begin, sizeof begin);
        memcpy(&d->fid, &fid, sizeof fid);
        memcpy(&d->bid, &bid, sizeof bid);
        memcpy(&d->node, &r->node, sizeof d->node);
        memcpy(&d->version, &version, sizeof version);
        memcpy(d->care_of, target, sizeof d->care_of);
    }
}

/* What the stages left. */
FIB_TARGET static void fib_rest(fc_fib *fib, const fib_part *p, fib_queue *queue)
{
    for (uint32_t j = 0; j < p->n_rest; j++) {
        uint32_t i = p->rest[j];
        const fib_record *big = fib_decide_one(fib, &p->keys[i], p->infos ? &p->infos[i] : NULL, &p->out[i]);
        if (big)
            queue->waiting[queue->n++] = (fib_waiting){big, (uint32_t)(p->keys - queue->keys) + i};
    }
}

FIB_TARGET void FIB_NAME(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, fc_decision *out)
{
    if (n < FIB_SMALL) {
        fc_fib_decide_scalar(fib, keys, infos, n, out);
        return;
    }
    fib_part parts[FIB_STAGES];
    fib_queue queue;
    queue.keys = keys;
    queue.n = 0;
    size_t n_parts = (n + FIB_PART - 1) / FIB_PART;
    for (size_t step = 0; step < n_parts + FIB_STAGES - 1; step++) {
#define FIB_IN_STAGE(s) (step + 1 > (s) && step - (s) < n_parts)
#define FIB_PART_IN(s) (&parts[(step - (s)) % FIB_STAGES])
        if (FIB_IN_STAGE(4)) {
            fib_stage_decide(FIB_PART_IN(4));
            if (FIB_UNLIKELY(FIB_PART_IN(4)->n_rest))
                fib_rest(fib, FIB_PART_IN(4), &queue);
        }
        if (FIB_IN_STAGE(3))
            fib_stage_bodies(FIB_PART_IN(3));
        if (FIB_IN_STAGE(2))
            fib_stage_record(fib, FIB_PART_IN(2), &queue);
        if (FIB_IN_STAGE(1))
            fib_stage_bucket(fib, FIB_PART_IN(1));
        if (FIB_IN_STAGE(0)) {
            fib_part *p = FIB_PART_IN(0);
            size_t at = step * FIB_PART;
            p->keys = keys + at;
            p->infos = infos ? infos + at : NULL;
            p->out = out + at;
            p->n = (uint32_t)(n - at < FIB_PART ? n - at : FIB_PART);
            p->changes = atomic_load_explicit(&fib->changes, memory_order_acquire);
            p->index = atomic_load_explicit(&fib->home, memory_order_acquire);
            fib_stage_hash(p);
        }
        if (FIB_UNLIKELY(queue.n > FIB_WAITING - 2 * FIB_PART)) { /* a step adds at most so many */
            fc_fib_decide_waiting(queue.waiting, queue.n, keys, FIB_ID, out);
            queue.n = 0;
        }
    }
    if (queue.n)
        fc_fib_decide_waiting(queue.waiting, queue.n, keys, FIB_ID, out);
}
