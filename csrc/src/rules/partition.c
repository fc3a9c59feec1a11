/* partition.c - chooses which rules share a tree: several partitions are built from a sample of the rules and judged.
 * trees.c has the theory. */
#include <stdlib.h>

#include "build.h"

/* ---- Which partition: estimated on a sample, by counting work, not time (the same rules give the same table) ---- */

static uint64_t next_random(uint64_t *state) { return fc_scramble(*state += FC_GOLDEN, 0); }

/* Makes a random packet inside a rule's bounding box; lanes that no body has are wholly random. Writes its words and
 * lanes. */
static void random_packet(const fc_forest *f, const uint16_t *body, uint64_t *state, uint64_t *words, uint16_t *lanes)
{
    uint64_t r = 0;
    memset(words, 0, sizeof(*words) * FC_MAX_WORDS);
    for (int i = 0; i < 4 * f->words; i++) {
        r = i & 3 ? r >> 16 : next_random(state);
        words[i >> 2] |= (r & 0xffff) << (16 * (i & 3));
    }
    for (int i = 0; i < f->range_lanes; i++) {
        int lane = f->lane_map[i];
        uint64_t v = body[i] + next_random(state) % ((uint64_t)body[f->lanes + i] + 1);
        if (lane < 4 * f->words) {
            words[lane >> 2] &= ~(0xffffull << (16 * (lane & 3)));
            words[lane >> 2] |= v << (16 * (lane & 3));
        }
    }
    uint64_t *tail = &words[fc_tail_word(f->words)];
    *tail &= 0xffffffffffffull;
    *tail |= (uint64_t)((*tail & 0xffff) >= 1024) << 48 | (uint64_t)((*tail >> 16 & 0xffff) >= 1024) << 49;
    fc_key_lanes(f, words, lanes);
}

static double packet_cost(const fc_forest *f, const uint64_t *words, const uint16_t *lanes)
{
    uint32_t best = FC_EMPTY;
    double cost = 0;
    for (int t = 0; t < f->trees; t++) {
        if (t == 1 && f->rivals != NULL && !fc_is_open(f->rivals, f->n, best))
            break;
        if (f->tree[t].best >= best)
            continue;
        uint32_t slot = fc_root(f, &f->tree[t], words);
        cost += 12; /* all in cycles, fitted to the times of 50 sets in all partitions (decision 0008) */
        for (; slot >> 30 >= FC_BITS; slot = fc_descend(f, slot, words))
            cost += 15;
        if (slot >> 30 == FC_ONE) {
            if (FC_PAYLOAD(slot) < best) {
                cost += 5;
                if (fc_body_fails(f, f->bodies + (size_t)FC_PAYLOAD(slot) * 2 * f->lanes, lanes) == 0)
                    best = FC_PAYLOAD(slot);
            }
            continue;
        }
        fc_leaf_at at = fc_leaf_open(f, slot);
        for (uint32_t i = 0; i < at.n && i < 4u * f->vector; i++) { /* beyond that a vector is no slower */
            uint32_t number;
            const uint16_t *lo, *span;
            fc_leaf_body(f, &at, i, &number, &lo, &span);
            cost += i % at.per == 0 ? 10 + 3.0 * (i == 0) : 0;
            if (fc_lanes_fail(f->lanes, lanes, lo, span) == 0) {
                best = number < best ? number : best;
                break;
            }
        }
    }
    return cost;
}

#ifndef FC_JUDGED /* packets that a forest is judged by, at most; fuzzing takes fewer */
#define FC_JUDGED 2048u
#endif
#define FC_JUDGED_LEAST 256u /* of few rules: twice as many packets as rules, else these */

static double forest_cost(const fc_build *b, const uint32_t *list, uint32_t n)
{
    uint64_t words[FC_MAX_WORDS], state = 1;
    uint16_t lanes[FC_MAX_LANES];
    double cost = 0;
    uint32_t packets = 2 * n > FC_JUDGED_LEAST ? 2 * n : FC_JUDGED_LEAST;
    packets = packets < FC_JUDGED ? packets : FC_JUDGED;
    for (uint32_t i = 0; i < packets; i++) {
        uint32_t r = list[next_random(&state) % n];
        random_packet(b->f, b->bodies + (size_t)r * 2 * b->f->lanes, &state, words, lanes);
        cost += packet_cost(b->f, words, lanes);
    }
    return cost / packets;
}

#define SAMPLE 6000 /* rules are looked at for the choice of a partition; with 20,000 or 100,000 it was no better */
#define CANDIDATES 10

/* Says which partition a candidate makes, as a hash: few rules, or rules of few kinds, are parted alike by most. */
static uint64_t partition_hash(const fc_build *b, const uint32_t *list, uint32_t n, const uint8_t *candidate)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t *care = b->care + (size_t)list[i] * b->f->words;
        h = fc_scramble(h + (uint64_t)fc_tree_of(b->f, care, candidate[0], candidate[1]), 0);
    }
    return h;
}

static int seen(const uint64_t *hash, int n)
{
    for (int i = 0; i < n; i++) {
        if (hash[i] == hash[n])
            return 1;
    }
    return 0;
}

void fc_choose_partition(fc_build *b, const uint32_t *list, uint32_t n, int *source, int *destination)
{
    /* pairs of prefix lengths (source, destination) from which on a prefix counts as long. IPv6 has counterparts of
     * IPv4's, by where the allocations of the two families end */
    static const uint8_t candidates[2][CANDIDATES][2] = {
        {{13, 13}, {17, 17}, {21, 9}, {9, 17}, {1, 1}, {17, 25}, {25, 17}, {33, 33}, {24, 24}, {9, 9}},
        {{40, 40}, {20, 20}, {56, 24}, {24, 56}, {1, 1}, {48, 64}, {64, 48}, {129, 129}, {100, 100}, {28, 28}}};
    const uint8_t(*choice)[2] = candidates[b->f->version == 6];
    *source = choice[0][0];
    *destination = choice[0][1];
    if (b->o.quick)
        return;
    uint32_t m = n < SAMPLE ? n : SAMPLE, *sample = fc_build_get(b, m * sizeof(*sample));
    fc_build_options o = b->o;
    double best = 0;
    uint64_t hash[CANDIDATES];
    for (uint32_t i = 0; i < m && sample != NULL; i++)
        sample[i] = list[(uint64_t)i * n / m];
    if (m < n) { /* so that the sample's leaves are as full as those of all rules would be */
        b->o.slots = b->o.slots > 2 ? b->o.slots : 2;
    }
    b->draft = 1;
    for (int i = 0; i < CANDIDATES && b->status == FC_OK; i++) {
        const uint8_t *c = choice[i];
        hash[i] = partition_hash(b, sample, m, c);
        if (seen(hash, i))
            continue;
        if (fc_build_trees(b, sample, m, c[0], c[1]) != FC_OK)
            break;
        b->f->source_bits = c[0];
        b->f->destination_bits = c[1];
        fc_note_rivals(b, sample, m);
        double cost = forest_cost(b, sample, m);
        free((void *)b->f->rivals);
        b->f->rivals = NULL;
        if (i == 0 || cost < best) {
            best = cost;
            *source = c[0];
            *destination = c[1];
        }
    }
    b->f->cost = (float)best;
    b->o = o;
    b->draft = 0;
    free(sample);
}
