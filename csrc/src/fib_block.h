/* fib_block.h - decisions for many keys at once: included by each vector kernel, which defines
 *
 *   FIB_TARGET          its target attribute
 *   FIB_NAME, FIB_ID    its function and enum fc_kernel
 *   FIB_TAGS(bucket, tag)            bit i: way i has this tag
 *   FIB_CANDIDATES(signatures, n, octets) bit i: signature i admits a key with these picked octets (bits 0 to 23)
 *
 * A look-up is a chain of four reads that each depend on the one before: bucket, record, body, target. One key alone
 * waits for memory four times. So keys go through five stages in parts of FIB_PART, and each stage asks memory for what the
 * next one will read. Five parts are under way at a time, each one stage behind the one before it, so that what one part
 * waits for arrives while the others are worked on:
 *
 *      step    hash  bucket  record  bodies  decide          hash     asks for the bucket
 *        4       E      D       C       B       A            bucket   for the record's first two lines
 *        5       F      E       D       C       B            record   for the body of the first candidate
 *        6       G      F       E       D       C            bodies   for the target
 *
 * The stages hold only the usual cases, in loops with few branches: a home address, an address in a mobile network prefix
 * (looked for where no home address was found, all keys of a part together), nobody's address. Whatever is unusual (a further
 * address of a node, many flows, a packet that is no key) is put aside and decided one by one as the scalar kernel does. */
#include "fib_search.h"

#ifndef FIB_PART
#define FIB_PART 16u /* keys that go through a stage together; with 1M nodes 32 and 64 took 7 % longer, one block of 128
                        that goes through all stages before the next one begins 25 % */
#endif
#define FIB_STAGES 5u /* and so many parts are in flight, each in another stage */
#define FIB_SMALL 4u  /* below, the stages cost more than they hide */
#define FIB_WAITING 128u

typedef struct fib_lane { /* a key on its way */
    const uint8_t *record;
    const uint8_t *end;      /* of the body to look at next; of the one that matched */
    const fc_target *target; /* unless head says that it isn't one */
    uint64_t head;           /* first the candidates; then the body's head, its first octet 1; by default: 0 */
    uint64_t by_prefix;      /* all ones: of a mobile network, the home address is another */
    uint32_t ref, node;
} fib_lane;

typedef struct fib_part { /* and those beside it */
    const fib_index *index;
    const fc_key *keys;
    const fc_packet *infos; /* or NULL */
    fc_decision *out;
    uint64_t changes; /* of fc_fib, before the index was looked at */
    uint32_t n, n_usual, n_open, n_rest;
    fib_hash hash[FIB_PART];
    fib_lane lane[FIB_PART];
    uint8_t usual[FIB_PART], open[FIB_PART + 1], rest[FIB_PART + 1]; /* the last place: written, never read */
} fib_part;

/* Stage 1: which bucket. */
FIB_TARGET static inline void fib_stage_hash(fib_part *p)
{
    const fib_index *x = p->index;
    for (uint32_t i = 0; i < p->n; i++) {
        const fc_key *k = &p->keys[i];
        p->hash[i] = fib_hash_of(x, k->destination[0], k->destination[1], FIB_KIND_HOME(k->version));
        __builtin_prefetch(&x->bucket[p->hash[i].bucket]);
        __builtin_prefetch(k + 128); /* the hardware's own prefetching falls behind at page ends */
    }
}

/* Looks into one bucket; 1 if the key isn't there but may be in the next one. */
FIB_TARGET static inline uint32_t fib_look(const fc_fib *fib, const fib_index *x, fib_hash *hash, fib_lane *lane)
{
    fib_bucket *b = &x->bucket[hash->bucket];
    uint32_t ways = FIB_TAGS(b, hash->tag);
    uint32_t ref = atomic_load_explicit(&b->ref[__builtin_ctz(ways | 1u << (FIB_WAYS - 1))], memory_order_acquire);
    uint32_t further = (ways == 0) & (atomic_load_explicit(&b->passed, memory_order_acquire) != 0);
    uint32_t next = hash->bucket + 1;
    hash->bucket = next == x->buckets ? 0 : next;
    ref &= (uint32_t)-(ways != 0);
    lane->by_prefix = 0;
    lane->ref = ref;
    lane->record = fib_at(&fib->arena, ref);
    return further;
}

/* Stage 2: which record; nobody's (reference 0) if no way has the tag. One in thirty is in a bucket after its own: those
 * are looked for together again, or each would wait for memory four times on its own (a fifth of all time with 1M nodes). */
FIB_TARGET static inline void fib_stage_bucket(const fc_fib *fib, fib_part *p)
{
    const fib_index *x = p->index;
    uint32_t left = 0, n;
    uint8_t *further = p->rest;
    for (uint32_t i = 0; i < p->n; i++) {
        further[left] = (uint8_t)i;
        left += fib_look(fib, x, &p->hash[i], &p->lane[i]);
        __builtin_prefetch(p->lane[i].record);
        __builtin_prefetch(p->lane[i].record + 64);
    }
    for (uint32_t probes = 1; left && probes < x->buckets; probes++) {
        for (uint32_t j = 0; j < left; j++)
            __builtin_prefetch(&x->bucket[p->hash[further[j]].bucket]);
        n = left;
        left = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint8_t i = further[j];
            further[left] = i;
            left += fib_look(fib, x, &p->hash[i], &p->lane[i]);
            __builtin_prefetch(p->lane[i].record);
            __builtin_prefetch(p->lane[i].record + 64);
        }
    }
}

/* Is this key one for the stages? It must be a whole packet's with a destination, no signalling, and its record that of a
 * node with this home address (or prefix), some target, and few flows. */
FIB_TARGET static inline int fib_is_usual(const fib_record *r, uint64_t by_prefix, const fc_key *k, const fc_packet *info)
{
    uint64_t tail = fib_tail(k);
    uint64_t wrong = ((r->home[0] ^ k->destination[0]) | (r->home[1] ^ k->destination[1])) & ~by_prefix;
    wrong |= (tail >> FIB_TAIL_VERSION & (FC_DESTINATION << 8 | 0xfd)) ^ (FC_DESTINATION << 8 | 4); /* version 4 or 6 */
    wrong |= (r->flags & (FIB_IPV4 | FIB_ANCHOR | FIB_BIG | FIB_UNUSABLE)) ^ (~tail >> (FIB_TAIL_VERSION + 1) & 1);
    wrong |= (uint8_t)(tail >> FIB_TAIL_PROTOCOL) == FIB_MOBILITY; /* whether present or not is asked elsewhere */
    if (info)
        wrong |= info->status | (info->flags & FC_PACKET_SIGNALLING);
    return !wrong;
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
FIB_TARGET static inline void fib_settle(fib_lane *l, uint64_t head)
{
    l->head = head;
    l->target = fib_targets_small((const fib_record *)(const void *)l->record) + (head >> 56);
    __builtin_prefetch(l->target);
}

FIB_TARGET static inline uint64_t fib_by_default(const fib_lane *l)
{
    return (uint64_t)((const fib_record *)(const void *)l->record)->default_target << 56 | FC_ACTION_FORWARD << (8 + FIB_ACTION);
}

FIB_TARGET static inline void fib_lead_to(const fc_fib *fib, fib_lane *l, uint32_t ref)
{
    l->ref = ref;
    l->record = fib_at(&fib->arena, ref);
    __builtin_prefetch(l->record);
    __builtin_prefetch(l->record + 64);
}

/* One length of prefix for `absent` keys of one version: those that it has go to `found`, those that have to be looked for
 * one by one (a tag alike, an entry in a bucket after its own) to `odd`, the others stay. */
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
        fib_lane *l = &p->lane[i];
        uint32_t further = fib_look(fib, x, &hash[j], l), ref;
        if (!l->ref) {
            odd[*n_odd] = i;
            *n_odd += further;
            absent[left] = i;
            left += !further;
            continue;
        }
        const fib_record *r = fib_open(fib, l->ref, &ref);
        l->by_prefix = (uint64_t)-fib_has_prefix(r, network[j], version, length);
        fib_lead_to(fib, l, ref);
        found[*n_found] = i;
        *n_found += l->by_prefix != 0;
        odd[*n_odd] = i;
        *n_odd += l->by_prefix == 0;
    }
    return left;
}

/* Keys with no home address among the nodes: those in a node's prefix follow in `order` from `n` on (returned: how many are
 * there then), nobody's are decided. As in fib_find, what was not found counts only if nobody came or went meanwhile. */
FIB_TARGET static uint32_t fib_stage_absent(fc_fib *fib, fib_part *p, const uint8_t *absent, uint32_t n_absent, uint8_t *order,
                                            uint32_t n)
{
    const fib_index *x = atomic_load_explicit(&fib->prefix, memory_order_acquire);
    uint8_t of[2][FIB_PART + 1], odd[FIB_PART + 1];
    uint32_t left[2] = {0, 0}, n_odd = 0, first = n;
    for (uint32_t j = 0; j < n_absent; j++) {
        unsigned six = p->keys[absent[j]].version == 6;
        of[six][left[six]++] = absent[j];
    }
    for (unsigned six = 0; six < 2; six++)
        for (int word = six ? 2 : 0; word >= 0 && left[six]; word--) {
            uint64_t lengths = atomic_load_explicit(&fib->lengths[six][word], memory_order_acquire);
            while (lengths && left[six]) {
                int bit = 63 - __builtin_clzll(lengths);
                lengths ^= (uint64_t)1 << bit;
                left[six] = fib_try_prefix(fib, x, p, six ? 6 : 4, (unsigned)(64 * word + bit), of[six], left[six], order, &n,
                                           odd, &n_odd);
            }
        }
    int same = atomic_load_explicit(&fib->changes, memory_order_acquire) == p->changes;
    if (FIB_UNLIKELY(!same)) {
        for (; n > first; n--)
            odd[n_odd++] = order[n - 1];
    }
    for (unsigned six = 0; six < 2; six++)
        for (uint32_t j = 0; j < left[six]; j++) {
            uint8_t i = of[six][j];
            const fc_key *k = &p->keys[i];
            int is_key = (k->version == 4 || k->version == 6) && k->present & FC_DESTINATION;
            if (FIB_LIKELY(same && is_key && !(p->infos && p->infos[i].status)))
                fib_write(&p->out[i], FC_ACTION_NONE, FC_REASON_UNBOUND, 0, 0, 0, 0);
            else
                odd[n_odd++] = i;
        }
    for (uint32_t j = 0; j < n_odd; j++)
        p->rest[p->n_rest++] = odd[j];
    return n;
}

/* In which order the keys of a part go on: those that have their record; those behind an anchor, which is followed; those of
 * prefixes. Returns how many. */
FIB_TARGET static inline uint32_t fib_stage_order(fc_fib *fib, fib_part *p, uint8_t *order)
{
    uint8_t anchored[FIB_PART + 1], absent[FIB_PART + 1];
    uint32_t n = 0, n_anchored = 0, n_absent = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const fib_lane *l = &p->lane[i];
        int anchor = (((const fib_record *)(const void *)l->record)->flags & FIB_ANCHOR) != 0, there = l->ref != 0;
        order[n] = anchored[n_anchored] = absent[n_absent] = (uint8_t)i;
        n += !anchor;
        n_anchored += anchor & there;
        n_absent += !there;
    }
    for (uint32_t j = 0; j < n_anchored; j++) {
        fib_lane *l = &p->lane[anchored[j]];
        fib_anchor *a = (fib_anchor *)(void *)(uintptr_t)l->record;
        fib_lead_to(fib, l, atomic_load_explicit(&a->ref, memory_order_acquire));
        order[n++] = anchored[j];
    }
    return n_absent ? fib_stage_absent(fib, p, absent, n_absent, order, n) : n;
}

/* Stage 3: which flows may match. Keys of the usual kind go to `usual`, those with candidates to `open` too. */
FIB_TARGET static inline void fib_stage_record(fc_fib *fib, fib_part *p)
{
    uint8_t order[FIB_PART + 1];
    p->n_rest = 0;
    uint32_t n = fib_stage_order(fib, p, order), usual = 0, open = 0, rest = p->n_rest;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t i = order[j];
        fib_lane *l = &p->lane[i];
        const fc_key *k = &p->keys[i];
        const fib_record *r = (const fib_record *)(const void *)l->record;
        if (FIB_UNLIKELY(!fib_is_usual(r, l->by_prefix, k, p->infos ? &p->infos[i] : NULL))) {
            p->rest[rest++] = (uint8_t)i;
            continue;
        }
        uint64_t c = FIB_CANDIDATES(l->record + FIB_HEADER, r->n, fib_picked(r, k));
        p->usual[usual++] = (uint8_t)i;
        l->node = r->node;
        __builtin_prefetch(&p->out[i], 1);
        fib_settle(l, fib_by_default(l));
        p->open[open] = (uint8_t)i;
        if (c) {
            l->head = c;
            l->end = fib_body_end(r, (unsigned)__builtin_ctzll(c));
            fib_fetch_body(l->end);
            open++;
        }
    }
    p->n_usual = usual;
    p->n_open = open;
    p->n_rest = rest;
}

/* Stage 4, again and again: the next candidate of each key that has one. */
FIB_TARGET static inline void fib_stage_bodies(fib_part *p)
{
    uint8_t *open = p->open;
    for (uint32_t n = p->n_open, left; n; n = left) {
        left = 0;
        for (uint32_t j = 0; j < n; j++) {
            fib_lane *l = &p->lane[open[j]];
            uint64_t c = l->head & (l->head - 1);
            if (FIB_LIKELY(fib_body_matches(l->end, &p->keys[open[j]]))) {
                fib_settle(l, (fib_load64(l->end - 8) & ~(uint64_t)0xff) | 1);
            } else if (c) {
                l->head = c;
                l->end = fib_body_end((const fib_record *)(const void *)l->record, (unsigned)__builtin_ctzll(c));
                fib_fetch_body(l->end);
                open[left++] = open[j];
            } else {
                fib_settle(l, fib_by_default(l));
            }
        }
    }
}

/* Stage 5: the usual decision, forward to one target, by the flow's body or the default. */
FIB_TARGET static inline void fib_stage_decide(fib_part *p)
{
    for (uint32_t j = 0; j < p->n_usual; j++) {
        uint8_t i = p->usual[j];
        const fib_lane *l = &p->lane[i];
        fc_decision *d = &p->out[i];
        unsigned form = l->head >> 8 & (FIB_MULTI | 3 << FIB_ACTION);
        if (FIB_UNLIKELY(form != FC_ACTION_FORWARD << FIB_ACTION || l->head >> 56 == FIB_NONE8)) {
            const fib_record *r = (const fib_record *)(const void *)l->record;
            if (l->head & 1)
                fib_write_flow(d, r, l->ref, l->end, &p->keys[i]);
            else
                fib_write_default(d, r, l->ref, fib_targets_small(r), r->default_target, FIB_NONE8);
            continue;
        }
        uint32_t about; /* the target's BID, version, and flags */
        memcpy(&about, (const uint8_t *)l->target + offsetof(fc_target, bid), sizeof about);
        uint64_t first = FC_ACTION_FORWARD | FC_REASON_DEFAULT << 8 | FC_HAS_NODE << 16 | 1 << 24;
        first -= (l->head & 1) << 8; /* FC_REASON_FLOW */
        first |= (l->head & 1) << 16 | (about >> 24) << 16 | (l->head >> 16 & 0xffff) << 32 | (uint64_t)about << 48;
        uint64_t second = l->node | (uint64_t)l->ref << 32;
        memcpy(d, &first, sizeof first); /* fc_decision's fields up to care_of, as two words */
        memcpy((uint8_t *)d + 8, &second, sizeof second);
        memcpy(d->care_of, l->target->address, sizeof d->care_of);
    }
}

/* What the stages left. Keys of nodes with many flows wait, so that the flat classifier gets them in batches. */
FIB_TARGET static void fib_rest(fc_fib *fib, const fib_part *p, const fc_key *keys, fc_decision *out, fib_waiting *waiting,
                                size_t *n_waiting)
{
    for (uint32_t j = 0; j < p->n_rest; j++) {
        uint32_t i = p->rest[j];
        const fib_record *big = fib_decide_one(fib, &p->keys[i], p->infos ? &p->infos[i] : NULL, &p->out[i]);
        if (!big)
            continue;
        waiting[(*n_waiting)++] = (fib_waiting){big, (uint32_t)(p->keys - keys) + i};
        if (*n_waiting == FIB_WAITING) {
            fib_decide_waiting(waiting, FIB_WAITING, keys, FIB_ID, out);
            *n_waiting = 0;
        }
    }
}

FIB_TARGET void FIB_NAME(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, fc_decision *out)
{
    if (n < FIB_SMALL) {
        fib_decide_scalar(fib, keys, infos, n, out);
        return;
    }
    fib_part parts[FIB_STAGES];
    fib_waiting waiting[FIB_WAITING];
    size_t n_parts = (n + FIB_PART - 1) / FIB_PART, n_waiting = 0;
    for (size_t step = 0; step < n_parts + FIB_STAGES - 1; step++) {
#define FIB_IN_STAGE(s) (step + 1 > (s) && step - (s) < n_parts)
#define FIB_PART_IN(s) (&parts[(step - (s)) % FIB_STAGES])
        if (FIB_IN_STAGE(4)) {
            fib_stage_decide(FIB_PART_IN(4));
            if (FIB_UNLIKELY(FIB_PART_IN(4)->n_rest))
                fib_rest(fib, FIB_PART_IN(4), keys, out, waiting, &n_waiting);
        }
        if (FIB_IN_STAGE(3))
            fib_stage_bodies(FIB_PART_IN(3));
        if (FIB_IN_STAGE(2))
            fib_stage_record(fib, FIB_PART_IN(2));
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
    }
    if (n_waiting)
        fib_decide_waiting(waiting, n_waiting, keys, FIB_ID, out);
}
