/* choose.c - chooses what a node looks at: bits of a key, or a lane and where to cut it. trees.c has the theory. */
#include <stdlib.h>

#include "build.h"

/* ---- Choosing the bits of a node ---------------------------------------------------------------- */

void fc_cut_free(fc_cut *c)
{
    free(c->entry);
    free(c->start);
}

/* Sets cost[w][bit], for each bit of each word, to what all buckets would cost if the node used that bit too. Returns
 * their present cost. */
static double weigh(const fc_build *b, const fc_cut *c, const uint8_t *words, int n_words, float cost[][64])
{
    uint16_t ones[64], zeros[64];
    double now = 0;
    memset(cost, 0, sizeof(cost[0]) * (size_t)n_words);
    for (uint32_t i = 0; i < 1u << c->bits; i++) {
        uint32_t n = c->start[i + 1] - c->start[i];
        if (n < 2)
            continue;
        now += FC_PAIRS((double)n);
        for (int w = 0; w < n_words; w++) {
            uint32_t one[64] = {0}, zero[64] = {0};
            const uint32_t *list = c->entry + c->start[i];
            if (n < 65536) {
                b->count(b->care + words[w], b->value + words[w], b->f->words, list, n, ones, zeros);
                for (int j = 0; j < 64; j++) {
                    float s0 = (float)(n - ones[j]), s1 = (float)(n - zeros[j]);
                    cost[w][j] += FC_PAIRS(s0) + FC_PAIRS(s1);
                }
                continue;
            }
            for (uint32_t k = 0; k < n; k += 65535) {
                b->count(b->care + words[w], b->value + words[w], b->f->words, list + k, n - k < 65535 ? n - k : 65535,
                         ones, zeros);
                for (int j = 0; j < 64; j++) {
                    one[j] += ones[j];
                    zero[j] += zeros[j];
                }
            }
            for (int j = 0; j < 64; j++) {
                float s0 = (float)(n - one[j]), s1 = (float)(n - zero[j]);
                cost[w][j] += FC_PAIRS(s0) + FC_PAIRS(s1);
            }
        }
    }
    return now;
}

/* Divides every bucket by one more bit; rules that leave the bit open go to both sides. Returns 1, or 0 when that would
 * make more than `limit` entries (or there is no memory): then nothing has changed. */
static int deal(fc_build *b, fc_cut *c, int word, int bit, size_t limit)
{
    const uint64_t *care = b->care + word, *value = b->value + word;
    uint32_t buckets = 1u << c->bits, stride = b->f->words;
    uint32_t *entry = fc_build_get(b, limit * sizeof(*entry)),
             *start = fc_build_get(b, (2 * (size_t)buckets + 1) * sizeof(*start));
    size_t n = 0;
    if (entry == NULL || start == NULL)
        goto no;
    for (uint32_t i = 0; i < buckets; i++) {
        for (int side = 0; side < 2; side++) {
            start[2 * i + (uint32_t)side] = (uint32_t)n;
            if (n + (c->start[i + 1] - c->start[i]) > limit)
                goto no;
            for (uint32_t k = c->start[i]; k < c->start[i + 1]; k++) {
                uint32_t r = c->entry[k];
                uint64_t fixed = care[(size_t)r * stride] >> bit & 1, is = value[(size_t)r * stride] >> bit & 1;
                entry[n] = r; /* written always, but counted only if the rule belongs here: this needs no branch */
                n += (size_t)(!fixed | (is == (uint64_t)side));
            }
        }
    }
    start[2 * buckets] = (uint32_t)n;
    fc_cut_free(c);
    c->entry = entry;
    c->start = start;
    c->bit_word[c->bits] = (uint8_t)word;
    c->bit[c->bits++] = (uint8_t)bit;
    return 1;
no:
    free(entry);
    free(start);
    return 0;
}

/* Chooses the bits of a node greedily: each time the one that lowers the cost most, as long as it gains 3 % and the
 * node stays within its bounds. Of many rules 5 %, because a bit doubles the slots: acl2 of 100k rules takes 8 % less
 * memory, and is 3 % slower; with 3 to 8 % the other families stay the same. */
void fc_choose_bits(fc_build *b, const uint32_t *list, uint32_t n, fc_cut *c)
{
    float cost[FC_MAX_WORDS][64];
    uint8_t words[FC_MAX_WORDS];
    int n_words = 0;
    const double least_gain = b->f->n > FC_MANY_RULES ? 0.95 : 0.97;
    *c = (fc_cut){0};
    c->entry = fc_build_get(b, n * sizeof(*list));
    c->start = fc_build_get(b, 2 * sizeof(*list));
    if (b->status != FC_OK)
        return;
    memcpy(c->entry, list, n * sizeof(*list));
    c->start[0] = 0;
    c->start[1] = n;
    for (int w = 0; w < b->f->words; w++) {
        uint64_t any = 0;
        for (uint32_t i = 0; i < n; i++)
            any |= b->care[(size_t)list[i] * b->f->words + (size_t)w];
        if (any)
            words[n_words++] = (uint8_t)w;
    }
    for (;;) {
        double best = 0;
        int word = -1, bit = 0;
        b->work += (uint64_t)c->start[1u << c->bits] * (uint64_t)n_words;
        c->cost = weigh(b, c, words, n_words, cost);
        best = least_gain * c->cost;
        for (int w = 0; w < n_words; w++) {
            for (int j = 0; j < 64; j++) {
                if (cost[w][j] < best) {
                    best = cost[w][j];
                    word = words[w];
                    bit = j;
                }
            }
        }
        if (word < 0 || c->bits + 1 > FC_MAX_BITS || (2ull << c->bits) > (uint64_t)b->o.slots * n + 2 ||
            !deal(b, c, word, bit, (size_t)b->o.copies * n + 64))
            return;
        if (c->words == 0 || (c->words == 1 && c->word[0] != word))
            c->word[c->words++] = (uint8_t)word;
        if (c->words == 2) { /* a node looks at no more words: two extractions and one shift */
            words[0] = c->word[0];
            words[1] = c->word[1];
            n_words = 2;
        }
    }
}

/* ---- Range nodes, for rules that no bit tells apart --------------------------------------------- */

static uint32_t interval_of(const uint16_t *threshold, uint16_t v)
{
    uint32_t i = 0;
    while (i < 31 && threshold[i] <= v)
        i++;
    return i;
}

/* A set of 16-bit values as a bitmap: its values come out in order and without doubles, and nothing is sorted. */
typedef struct values {
    uint64_t some[16], bits[1024];
} values;

static void add_value(values *v, uint32_t x)
{
    v->some[x >> 12] |= 1ull << (x >> 6 & 63);
    v->bits[x >> 6] |= 1ull << (x & 63);
}

/* Moves all values, rising, to `out`, and returns how many there were; the set is empty afterwards. */
static uint32_t take_values(values *v, uint16_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < 16; i++) {
        for (; v->some[i]; v->some[i] &= v->some[i] - 1) {
            uint32_t word = 64 * i + (uint32_t)__builtin_ctzll(v->some[i]);
            for (; v->bits[word]; v->bits[word] &= v->bits[word] - 1)
                out[n++] = (uint16_t)(64 * word + (uint32_t)__builtin_ctzll(v->bits[word]));
        }
    }
    return n;
}

/* Sets the 31 thresholds of a lane to quantiles of the places where rules' ranges begin or have ended. Returns 0 if
 * there are no such places: no rule cuts the lane. `work` has room for 8,192 values. */
static int quantiles(const fc_build *b, const uint32_t *list, uint32_t n, int lane, values *seen, uint16_t *work,
                     uint16_t *threshold)
{
    uint32_t lanes = b->f->lanes;
    uint32_t step = n > 4096 ? (n + 4095) / 4096 : 1; /* a sample finds quantiles as well */
    for (uint32_t i = 0; i < n; i += step) {
        const uint16_t *body = b->bodies + (size_t)list[i] * 2 * lanes;
        uint16_t lo = body[lane], hi = (uint16_t)(lo + body[lanes + (uint32_t)lane]);
        if (lo)
            add_value(seen, lo);
        if (hi != 0xffff)
            add_value(seen, hi + 1u);
    }
    uint32_t d = take_values(seen, work);
    for (uint32_t i = 0; i < 31 && d; i++)
        threshold[i] = d <= 31 ? work[i < d ? i : d - 1] : work[(uint64_t)i * d / 31];
    return d > 0;
}

/* Weighs the cutting of a lane at these thresholds, and keeps it in `best` if it is better than that. A rule is in all
 * children from its first to its last, so it is enough to note how the number of rules changes from child to child. */
static void weigh_lane(const fc_build *b, const uint32_t *list, uint32_t n, int lane, const uint16_t *threshold,
                       fc_intervals *best)
{
    int64_t change[33] = {0}, size = 0;
    double cost = 0;
    uint64_t entries = 0;
    uint32_t lanes = b->f->lanes;
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t *body = b->bodies + (size_t)list[i] * 2 * lanes;
        uint16_t lo = body[lane], hi = (uint16_t)(lo + body[lanes + (uint32_t)lane]);
        change[interval_of(threshold, lo)]++;
        change[interval_of(threshold, hi) + 1]--;
    }
    for (uint32_t i = 0; i < 32; i++) {
        size += change[i];
        if (fc_is_no_interval(threshold, i))
            continue;
        cost += FC_PAIRS((double)size);
        entries += (uint64_t)size;
    }
    if (cost < best->cost && entries <= (uint64_t)b->o.copies * n + 64) {
        *best = (fc_intervals){.lane = lane, .cost = cost, .entries = entries};
        memcpy(best->threshold, threshold, sizeof(best->threshold));
    }
}

void fc_choose_interval(fc_build *b, const uint32_t *list, uint32_t n, fc_intervals *best)
{
    uint16_t threshold[31], work[8192];
    values seen = {.some = {0}};
    best->lane = -1;
    for (int lane = 0; lane < b->f->range_lanes; lane++) {
        b->work += 2 * (uint64_t)n;
        if (quantiles(b, list, n, lane, &seen, work, threshold))
            weigh_lane(b, list, n, lane, threshold, best);
    }
}

/* Chooses the intervals of a lane once more, for sets where thousands of ranges lie in one another. An interval's list
 * ends with the first rule that covers it, which weigh_lane() does not take into account. That takes more time to find
 * out, so it is tried last. */
void fc_choose_covered(fc_build *b, const uint32_t *list, uint32_t n, const fc_region *at, fc_intervals *best)
{
    uint16_t threshold[31], work[8192];
    uint32_t lanes = b->f->lanes;
    values seen = {.some = {0}};
    for (int lane = 0; lane < b->f->range_lanes; lane++) {
        if (!quantiles(b, list, n, lane, &seen, work, threshold))
            continue;
        fc_region child = *at;
        uint32_t canonical = b->f->lane_map[lane];
        uint64_t entries = 0;
        double cost = 0;
        child.cut = 1;
        for (uint32_t i = 0; i < 32 && cost < best->cost; i++) {
            if (fc_is_no_interval(threshold, i))
                continue;
            uint32_t first = i ? threshold[i - 1] : 0, last = i < 31 ? threshold[i] - 1u : 0xffff, m = 0;
            child.lo[canonical] = (uint16_t)(first > at->lo[canonical] ? first : at->lo[canonical]);
            child.hi[canonical] = (uint16_t)(last < at->hi[canonical] ? last : at->hi[canonical]);
            for (uint32_t k = 0; k < n; k++) {
                const uint16_t *body = b->bodies + (size_t)list[k] * 2 * lanes;
                uint32_t lo = body[lane], hi = lo + body[lanes + (uint32_t)lane];
                if (lo > last || hi < first)
                    continue;
                m++;
                if (lo <= first && hi >= last && fc_covers(b, list[k], &child))
                    break;
            }
            entries += m;
            cost += FC_PAIRS((double)m);
        }
        if (cost < best->cost && entries <= (uint64_t)b->o.copies * n + 64) {
            *best = (fc_intervals){.lane = lane, .cost = cost, .entries = entries};
            memcpy(best->threshold, threshold, sizeof(best->threshold));
        }
    }
}
