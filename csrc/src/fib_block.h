/* fib_block.h - decisions for many keys at once: included by each vector kernel, which defines
 *
 *   FIB_TARGET          its target attribute
 *   FIB_NAME, FIB_ID    its function and enum fc_kernel
 *   FIB_TAGS(bucket, tag)            bit i: way i has this tag
 *   FIB_CANDIDATES(signatures, n, octets) bit i: signature i admits a key with these picked octets (bits 0 to 23)
 *
 * A look-up is a chain of four reads that each depend on the one before: bucket, record, body, target. One key alone
 * waits for memory four times. So each stage runs over a whole block and asks for what the next stage will read; by then
 * it has arrived. The stages hold only the usual case, in loops with few branches; whatever is unusual (another address of
 * a node, a prefix, many flows, a packet that is no key) is put aside and decided one by one as the scalar kernel does. */
#include "fib_search.h"

#ifndef FIB_BLOCK
#define FIB_BLOCK 128u /* keys in flight */
#endif
#define FIB_SMALL 4u /* below, the stages cost more than they hide */

typedef struct fib_lane { /* a key on its way */
    const uint8_t *record;
    const uint8_t *end;      /* of the body to look at next; of the one that matched */
    const fc_target *target; /* unless head says that it isn't one */
    uint64_t head;           /* first the candidates; then the body's head, its first octet 1; by default: 0 */
    uint32_t ref, node;
} fib_lane;

/* Stage 1: which bucket. Also fetches the keys of the next block. */
FIB_TARGET static inline void fib_stage_hash(const fib_index *x, const fc_key *keys, uint32_t n, fib_hash *hash)
{
    for (uint32_t i = 0; i < n; i++) {
        const fc_key *k = &keys[i];
        hash[i] = fib_hash_of(x, k->destination[0], k->destination[1], FIB_KIND_HOME(k->version));
        __builtin_prefetch(&x->bucket[hash[i].bucket]);
        __builtin_prefetch(k + FIB_BLOCK); /* the hardware's own prefetching falls behind at page ends */
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
    lane->ref = ref;
    lane->record = fib_at(&fib->arena, ref);
    return further;
}

/* Stage 2: which record; nobody's (reference 0) if no way has the tag. One in thirty is in a bucket after its own: those
 * are looked for together again, or each would wait for memory four times on its own (a fifth of all time with 1M nodes). */
FIB_TARGET static inline void fib_stage_bucket(const fc_fib *fib, const fib_index *x, uint32_t n, fib_hash *hash,
                                               fib_lane *lane, uint8_t *further)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < n; i++) {
        further[left] = (uint8_t)i;
        left += fib_look(fib, x, &hash[i], &lane[i]);
        __builtin_prefetch(lane[i].record);
        __builtin_prefetch(lane[i].record + 64);
    }
    for (uint32_t probes = 1; left && probes < x->buckets; probes++) {
        for (uint32_t j = 0; j < left; j++)
            __builtin_prefetch(&x->bucket[hash[further[j]].bucket]);
        n = left;
        left = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint8_t i = further[j];
            further[left] = i;
            left += fib_look(fib, x, &hash[i], &lane[i]);
            __builtin_prefetch(lane[i].record);
            __builtin_prefetch(lane[i].record + 64);
        }
    }
}

/* Is this key one for the stages? It must be a whole packet's with a destination, no signalling, and its record that of a
 * node with this home address, some target, and few flows. */
FIB_TARGET static inline int fib_is_usual(const fib_record *r, const fc_key *k, const fc_packet *info)
{
    uint64_t tail = fib_tail(k);
    uint64_t wrong = (r->home[0] ^ k->destination[0]) | (r->home[1] ^ k->destination[1]);
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

/* Stage 3: which flows may match. Keys of the usual kind go to `usual`, those with candidates to `open` too. */
FIB_TARGET static inline void fib_stage_record(const fc_key *keys, const fc_packet *infos, uint32_t n, fib_lane *lane,
                                               uint8_t *usual, uint32_t *n_usual, uint8_t *open, uint32_t *n_open,
                                               uint8_t *rest, uint32_t *n_rest, fc_decision *out)
{
    uint32_t u = 0, o = 0, s = 0;
    for (uint32_t i = 0; i < n; i++) {
        const fib_record *r = (const fib_record *)(const void *)lane[i].record;
        if (FIB_UNLIKELY(!fib_is_usual(r, &keys[i], infos ? &infos[i] : NULL))) {
            rest[s++] = (uint8_t)i;
            continue;
        }
        uint64_t c = FIB_CANDIDATES(lane[i].record + FIB_HEADER, r->n, fib_picked(r, &keys[i]));
        usual[u++] = (uint8_t)i;
        lane[i].node = r->node;
        __builtin_prefetch(&out[i], 1);
        fib_settle(&lane[i], fib_by_default(&lane[i]));
        open[o] = (uint8_t)i;
        if (c) {
            lane[i].head = c;
            lane[i].end = fib_body_end(r, (unsigned)__builtin_ctzll(c));
            fib_fetch_body(lane[i].end);
            o++;
        }
    }
    *n_usual = u;
    *n_open = o;
    *n_rest = s;
}

/* Stage 4, again and again: the next candidate of each key that has one. */
FIB_TARGET static inline void fib_stage_bodies(const fc_key *keys, fib_lane *lane, uint8_t *open, uint32_t n)
{
    while (n) {
        uint32_t left = 0;
        for (uint32_t j = 0; j < n; j++) {
            fib_lane *l = &lane[open[j]];
            uint64_t c = l->head & (l->head - 1);
            if (FIB_LIKELY(fib_body_matches(l->end, &keys[open[j]]))) {
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
        n = left;
    }
}

/* Stage 5: the usual decision, forward to one target, by the flow's body or the default. */
FIB_TARGET static inline void fib_stage_decide(const fc_key *keys, const fib_lane *lane, const uint8_t *usual, uint32_t n,
                                               fc_decision *out)
{
    for (uint32_t j = 0; j < n; j++) {
        const fib_lane *l = &lane[usual[j]];
        fc_decision *d = &out[usual[j]];
        unsigned form = l->head >> 8 & (FIB_MULTI | 3 << FIB_ACTION);
        if (FIB_UNLIKELY(form != FC_ACTION_FORWARD << FIB_ACTION || l->head >> 56 == FIB_NONE8)) {
            const fib_record *r = (const fib_record *)(const void *)l->record;
            if (l->head & 1)
                fib_write_flow(d, r, l->ref, l->end, &keys[usual[j]]);
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

FIB_TARGET static void fib_block(fc_fib *fib, const fc_key *keys, const fc_packet *infos, uint32_t n, fc_decision *out)
{
    fib_hash hash[FIB_BLOCK];
    fib_lane lane[FIB_BLOCK];
    fib_waiting waiting[FIB_BLOCK];
    uint8_t usual[FIB_BLOCK], open[FIB_BLOCK + 1], rest[FIB_BLOCK + 1];
    uint32_t n_usual = 0, n_open = 0, n_rest = 0, n_waiting = 0;
    if (n < FIB_SMALL) {
        for (uint32_t i = 0; i < n; i++)
            rest[n_rest++] = (uint8_t)i;
    } else {
        const fib_index *x = atomic_load_explicit(&fib->home, memory_order_acquire);
        fib_stage_hash(x, keys, n, hash);
        fib_stage_bucket(fib, x, n, hash, lane, rest);
        fib_stage_record(keys, infos, n, lane, usual, &n_usual, open, &n_open, rest, &n_rest, out);
        fib_stage_bodies(keys, lane, open, n_open);
        fib_stage_decide(keys, lane, usual, n_usual, out);
    }
    for (uint32_t j = 0; j < n_rest; j++) {
        uint32_t i = rest[j];
        const fib_record *big = fib_decide_one(fib, &keys[i], infos ? &infos[i] : NULL, &out[i]);
        if (big)
            waiting[n_waiting++] = (fib_waiting){big, i};
    }
    if (n_waiting)
        fib_decide_waiting(waiting, n_waiting, keys, FIB_ID, out);
}

FIB_TARGET void FIB_NAME(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, fc_decision *out)
{
    for (size_t at = 0; at < n; at += FIB_BLOCK)
        fib_block(fib, keys + at, infos ? infos + at : NULL, (uint32_t)(n - at < FIB_BLOCK ? n - at : FIB_BLOCK), out + at);
}
