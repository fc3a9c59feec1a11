/* fib_block.h - decisions for many keys at once: included by each vector kernel, which defines
 *
 *   FIB_TARGET          its target attribute
 *   FIB_NAME, FIB_ID    its function and enum fc_kernel
 *   FIB_TAGS(bucket, tag)            bit i: way i has this tag
 *   FIB_CANDIDATES(rows, n, s0, s1, s2)   bit i: flow i's signatures admit the key's
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

typedef struct fib_lane {
    const uint8_t *record;
    const uint8_t *end; /* of the body to look at next */
    uint64_t candidates;
    uint32_t ref;
} fib_lane;

/* Stage 1: which bucket. */
FIB_TARGET static inline void fib_stage_hash(const fib_index *x, const fc_key *keys, uint32_t n, fib_hash *hash)
{
    for (uint32_t i = 0; i < n; i++) {
        const fc_key *k = &keys[i];
        hash[i] = fib_hash_of(x, k->destination[0], k->destination[1], FIB_KIND_HOME(k->version));
        __builtin_prefetch(&x->bucket[hash[i].bucket]);
    }
}

/* Stage 2: which record; nobody's (reference 0) if no way has the tag. */
FIB_TARGET static inline void fib_stage_bucket(const fc_fib *fib, const fib_index *x, uint32_t n, const fib_hash *hash,
                                               fib_lane *lane)
{
    for (uint32_t i = 0; i < n; i++) {
        fib_bucket *b = &x->bucket[hash[i].bucket];
        uint32_t ways = FIB_TAGS(b, hash[i].tag);
        uint32_t ref = atomic_load_explicit(&b->ref[__builtin_ctz(ways | 1u << (FIB_WAYS - 1))], memory_order_acquire);
        lane[i].ref = ways ? ref : 0;
        lane[i].record = fib_at(&fib->arena, lane[i].ref);
        __builtin_prefetch(lane[i].record);
        __builtin_prefetch(lane[i].record + 64);
    }
}

/* Is this key one for the stages? It must be a whole packet's with a destination, no signalling, and its record that of a
 * node with this home address, some target, and few flows. */
FIB_TARGET static inline int fib_is_usual(const fib_record *r, const fc_key *k, const fc_packet *info)
{
    unsigned wrong = (unsigned)((r->home[0] ^ k->destination[0]) != 0) | (unsigned)((r->home[1] ^ k->destination[1]) != 0);
    wrong |= (unsigned)((r->flags & (FIB_IPV4 | FIB_ANCHOR | FIB_BIG | FIB_UNUSABLE)) != (k->version == 4));
    wrong |= (unsigned)(k->version != 4) & (unsigned)(k->version != 6);
    wrong |= !(k->present & FC_DESTINATION);
    if (info)
        wrong |= info->status | (info->flags & FC_PACKET_SIGNALLING);
    else
        wrong |= (k->present & FC_PROTOCOL) && k->protocol == FIB_MOBILITY;
    return !wrong;
}

FIB_TARGET static inline const uint8_t *fib_end_of(const uint8_t *record, uint64_t candidates)
{
    return fib_body_end((const fib_record *)(const void *)record, (unsigned)__builtin_ctzll(candidates));
}

/* Stage 3: which flows may match. Keys of the usual kind go to `usual`, those with candidates to `open` too. */
FIB_TARGET static inline void fib_stage_record(const fc_key *keys, const fc_packet *infos, uint32_t n, fib_lane *lane,
                                               uint8_t *usual, uint32_t *n_usual, uint8_t *open, uint32_t *n_open,
                                               uint8_t *rest, uint32_t *n_rest)
{
    uint32_t u = 0, o = 0, s = 0;
    for (uint32_t i = 0; i < n; i++) {
        const fib_record *r = (const fib_record *)(const void *)lane[i].record;
        if (FIB_UNLIKELY(!fib_is_usual(r, &keys[i], infos ? &infos[i] : NULL))) {
            rest[s++] = (uint8_t)i;
            continue;
        }
        fib_words w = fib_words_of(&keys[i]);
        uint64_t c = FIB_CANDIDATES(lane[i].record + FIB_HEADER, r->n, fib_signature(w.word, r->row[0]),
                                    fib_signature(w.word, r->row[1]), fib_signature(w.word, r->row[2]));
        usual[u++] = (uint8_t)i;
        lane[i].candidates = c;
        lane[i].end = NULL;
        open[o] = (uint8_t)i;
        if (c) {
            lane[i].end = fib_end_of(lane[i].record, c);
            __builtin_prefetch(lane[i].end - 16);
            o++;
        }
    }
    *n_usual = u;
    *n_open = o;
    *n_rest = s;
}

/* Stage 4, again and again: the next candidate of each key that has one. At the end lane[i].end is the body that matched,
 * or NULL. */
FIB_TARGET static inline void fib_stage_bodies(const fc_key *keys, fib_lane *lane, uint8_t *open, uint32_t n)
{
    while (n) {
        uint32_t left = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint8_t i = open[j];
            fib_words w = fib_words_of(&keys[i]);
            if (fib_body_matches(lane[i].end, &w, &keys[i]))
                continue;
            lane[i].candidates &= lane[i].candidates - 1;
            if (lane[i].candidates) {
                lane[i].end = fib_end_of(lane[i].record, lane[i].candidates);
                __builtin_prefetch(lane[i].end - 16);
                open[left++] = i;
            } else {
                lane[i].end = NULL;
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
        uint8_t i = usual[j];
        const fib_record *r = (const fib_record *)(const void *)lane[i].record;
        uint64_t by_default = (uint64_t)r->default_target << 56 | FC_ACTION_FORWARD << (8 + FIB_ACTION);
        uint64_t head = lane[i].end ? fib_load64(lane[i].end - 8) : by_default;
        unsigned form = head >> 8 & 0xff, target = head >> 56;
        fc_decision *d = &out[i];
        if (FIB_UNLIKELY((form & FIB_MULTI) || (form >> FIB_ACTION & 3) != FC_ACTION_FORWARD || target == FIB_NONE8)) {
            if (lane[i].end)
                fib_write_flow(d, r, lane[i].ref, lane[i].end, &keys[i]);
            else
                fib_write_default(d, r, lane[i].ref, fib_targets_small(r), r->default_target, FIB_NONE8);
            continue;
        }
        const fc_target *t = &fib_targets_small(r)[target];
        int flow = lane[i].end != NULL;
        d->action = FC_ACTION_FORWARD;
        d->reason = (uint8_t)(flow ? FC_REASON_FLOW : FC_REASON_DEFAULT);
        d->flags = (uint8_t)((flow ? FC_HAS_FID : 0) | (t->bid ? FC_HAS_BID : 0) | FC_HAS_NODE |
                             (t->version == 4 ? FC_CARE_OF_IPV4 : 0));
        d->n_targets = 1;
        d->fid = (uint16_t)(head >> 16);
        d->bid = t->bid;
        d->node = r->node;
        d->version = lane[i].ref;
        memcpy(d->care_of, t->address, sizeof d->care_of);
    }
}

FIB_TARGET static void fib_block(fc_fib *fib, const fc_key *keys, const fc_packet *infos, uint32_t n, fc_decision *out)
{
    fib_hash hash[FIB_BLOCK];
    fib_lane lane[FIB_BLOCK];
    fib_waiting waiting[FIB_BLOCK];
    uint8_t usual[FIB_BLOCK], open[FIB_BLOCK + 1], rest[FIB_BLOCK];
    uint32_t n_usual = 0, n_open = 0, n_rest = 0, n_waiting = 0;
    if (n < FIB_SMALL) {
        for (uint32_t i = 0; i < n; i++)
            rest[n_rest++] = (uint8_t)i;
    } else {
        const fib_index *x = atomic_load_explicit(&fib->home, memory_order_acquire);
        fib_stage_hash(x, keys, n, hash);
        fib_stage_bucket(fib, x, n, hash, lane);
        fib_stage_record(keys, infos, n, lane, usual, &n_usual, open, &n_open, rest, &n_rest);
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
