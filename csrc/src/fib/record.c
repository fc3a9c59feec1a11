/* record.c - writes a node's state as its record. The format is in format.h, an example at the head of publish.c. */
#include <stdlib.h>

#include "../common/wide.h"
#include "../rules/format.h"
#include "format.h"

#define MAX_CHOICES 24u  /* octets to choose signatures from */
#define FULL_EVERY 64u   /* so many changes of a node with many flows pay for one table built with all care */
#define QUICK_VECTOR 16u /* in the others, leaves of more rules than this have bit vectors */

/* ---- Masks -------------------------------------------------------------------------------------- */

#define HI(n) ((n) == 0 ? 0 : (n) >= 64 ? UINT64_MAX : UINT64_MAX << ((64 - (n)) & 63))
#define LO(n) ((n) <= 64 ? 0 : (n) == 128 ? UINT64_MAX : UINT64_MAX << ((128 - (n)) & 63))
#define M1(n)        \
    {                \
        HI(n), LO(n) \
    }
#define M4(n) M1(n), M1((n) + 1), M1((n) + 2), M1((n) + 3)
#define M16(n) M4(n), M4((n) + 4), M4((n) + 8), M4((n) + 12)
#define M64(n) M16(n), M16((n) + 16), M16((n) + 32), M16((n) + 48)
#define V1(n)                       \
    {                               \
        0, UINT64_MAX << (32 - (n)) \
    } /* an IPv4 address has 0 above: the mask may ask for that */
#define V4(n) V1(n), V1((n) + 1), V1((n) + 2), V1((n) + 3)
#define V16(n) V4(n), V4((n) + 4), V4((n) + 8), V4((n) + 12)
const uint64_t fc_fib_compared[4] = {0, (uint64_t)0xff << FIB_TAIL_PROTOCOL, (uint64_t)0xff << FIB_TAIL_VERSION,
                                     (uint64_t)0xffff << FIB_TAIL_PROTOCOL};

const uint64_t fc_fib_masks[161][2] = {M64(0), M64(64), M1(128), V16(1), V16(17)};

/* ---- What a record is made of ------------------------------------------------------------------- */

/* One flow's rule, taken apart into what its body will hold. */
typedef struct draft {
    fib_body head;
    fib_extra extra;
    uint16_t ports[4]; /* the first source port, the first destination port, and the spans of these two ranges */
    const fc_rule *rule;
    uint64_t known;                /* a bit for each octet of a key that is the same in all keys which match, ... */
    uint8_t value[sizeof(fc_key)]; /* ... and the values of these octets */
    uint16_t size;
} draft;

typedef struct build {
    const fc_node *node;
    uint32_t n;     /* active flows */
    uint32_t lists; /* how many */
    uint32_t list_bytes;
    draft flow[FIB_LINEAR];
    uint16_t list_start[FIB_LINEAR];
    uint8_t list[FIB_LINEAR * (FC_MAX_FANOUT + 1)];
} build;

static int active(const fc_flow *f) { return f->action == FC_ACTION_DISCARD || f->n_targets > 0; }

/* ---- Conditions --------------------------------------------------------------------------------- */

static void last_of(const fc_address *a, int length, uint64_t last[2])
{
    const uint64_t *mask = fc_fib_masks[a->version == 4 ? 96 + length : length];
    last[0] = a->version == 4 ? 0 : a->words[0] | ~mask[0];
    last[1] = a->words[1] | (a->version == 4 ? (uint32_t)~mask[1] : ~mask[1]);
}

static int covers(const fc_rule *r, const fc_address *a, int length)
{
    uint64_t last[2];
    if (r->version && r->version != a->version)
        return 1;
    last_of(a, length, last);
    return !fc_below(a->words, r->destination_first) && !fc_below(r->destination_last, last);
}

/* Do all of the node's addresses and prefixes meet the rule's destination condition? Every packet that finds the node
 * is for one of them, so such a condition need not be compared. */
static int destination_is_met(const fc_node *node, const fc_rule *r)
{
    int met = covers(r, &node->home, node->home.version == 4 ? 32 : 128);
    for (uint32_t i = 0; met && i < node->n_also; i++)
        met = covers(r, &node->also[i], node->also[i].version == 4 ? 32 : 128);
    for (uint32_t i = 0; met && i < node->n_prefixes; i++)
        met = covers(r, &node->prefixes[i], node->prefixes[i].length);
    return met;
}

/* The length of the prefix that has exactly the addresses from first to last, or -1 if no prefix has. */
static int prefix_length(const uint64_t first[2], const uint64_t last[2])
{
    uint64_t x[2] = {first[0] ^ last[0], first[1] ^ last[1]};
    int length = x[0] ? __builtin_clzll(x[0]) : 64 + (x[1] ? __builtin_clzll(x[1]) : 64);
    const uint64_t *mask = fc_fib_masks[length];
    return x[0] == ~mask[0] && x[1] == ~mask[1] && !(first[0] & x[0]) && !(first[1] & x[1]) ? length : -1;
}

/* Takes the source condition into the draft, as a prefix if it is one, else as a range. A rule that asks for an address
 * has one IP version (fc_rule_fault). */
static void draft_source(draft *d, const fc_rule *r)
{
    int length = prefix_length(r->source_first, r->source_last);
    int least = r->version == 4 ? 96 : 0;
    if (length < least) {
        d->extra.which |= FC_SOURCE;
        d->head.form |= FIB_EXTRA;
    } else if (length > least) { /* else the range has all addresses of the version: any source will do */
        d->head.source_mask = (uint8_t)(r->version == 4 ? (int)FIB_MASK_IPV4 + length - 96 : length);
        d->head.form |= r->version == 6 && length <= 64 ? FIB_HALF : 0;
    }
}

static void draft_extra(draft *d, const fc_rule *r, unsigned conditions)
{
    fib_extra *x = &d->extra;
    x->label_span = x->spi_span = UINT32_MAX;
    x->class_span = 63;
    x->protocol_span = 255;
    if (conditions & FC_FLOW_LABEL) {
        x->label = r->flow_label_first;
        x->label_span = r->flow_label_last - r->flow_label_first;
    }
    if (conditions & FC_SPI) {
        x->spi = r->spi_first;
        x->spi_span = r->spi_last - r->spi_first;
    }
    if (conditions & FC_TRAFFIC_CLASS) {
        x->class6 = r->traffic_class_first >> 2;
        x->class_span = (uint8_t)((r->traffic_class_last >> 2) - x->class6);
    }
    if (conditions & FC_DESTINATION)
        x->which |= FC_DESTINATION;
    if (conditions & FC_PROTOCOL && r->protocol_first == r->protocol_last) {
        d->head.protocol = r->protocol_first;
        d->head.form |= FIB_PROTOCOL;
    } else if (conditions & FC_PROTOCOL) {
        x->protocol = r->protocol_first;
        x->protocol_span = (uint8_t)(r->protocol_last - r->protocol_first);
        d->head.form |= FIB_EXTRA;
    }
    if (conditions & (FC_FLOW_LABEL | FC_SPI | FC_TRAFFIC_CLASS | FC_DESTINATION))
        d->head.form |= FIB_EXTRA;
}

static void draft_rule(draft *d, const fc_node *node, const fc_rule *r)
{
    unsigned conditions = r->conditions;
    if (conditions & FC_DESTINATION && destination_is_met(node, r))
        conditions &= ~(unsigned)FC_DESTINATION;
    memset(d, 0, sizeof *d);
    d->rule = r;
    d->head.conditions = (uint8_t)conditions;
    d->head.form = r->version ? FIB_VERSION : 0;
    d->head.version = r->version;
    d->ports[2] = d->ports[3] = UINT16_MAX;
    if (conditions & FC_SOURCE_PORT) {
        d->ports[0] = r->source_port_first;
        d->ports[2] = (uint16_t)(r->source_port_last - r->source_port_first);
    }
    if (conditions & FC_DESTINATION_PORT) {
        d->ports[1] = r->destination_port_first;
        d->ports[3] = (uint16_t)(r->destination_port_last - r->destination_port_first);
    }
    if (conditions & (FC_SOURCE_PORT | FC_DESTINATION_PORT))
        d->head.form |= FIB_PORTS;
    if (conditions & FC_SOURCE)
        draft_source(d, r);
    draft_extra(d, r, conditions);
    const uint64_t *mask = fc_fib_masks[d->head.source_mask];
    unsigned which = d->extra.which;
    d->size = (uint16_t)(8 + (d->head.form & FIB_PORTS ? 8 : 0) + 8 * ((mask[0] != 0) + (mask[1] != 0)));
    if (d->head.form & FIB_EXTRA)
        d->size = (uint16_t)(d->size + sizeof(fib_extra) +
                             32u * (unsigned)__builtin_popcount(which & (FC_SOURCE | FC_DESTINATION)));
}

/* Writes a body downwards from `end`, in the form that fib_body_matches reads. */
static void write_body(const draft *d, uint8_t *end)
{
    memcpy(end -= 8, &d->head, 8);
    if (d->head.form & FIB_PORTS)
        memcpy(end -= 8, d->ports, 8);
    const uint64_t *mask = fc_fib_masks[d->head.source_mask];
    for (int half = 1; half >= 0; half--)
        if (mask[half])
            memcpy(end -= 8, &d->rule->source_first[half], 8);
    if (!(d->head.form & FIB_EXTRA))
        return;
    memcpy(end -= sizeof d->extra, &d->extra, sizeof d->extra);
    const uint8_t *rule = (const uint8_t *)d->rule; /* first and last are neighbours in it */
    if (d->extra.which & FC_SOURCE)
        memcpy(end -= 32, rule + offsetof(fc_rule, source_first), 32);
    if (d->extra.which & FC_DESTINATION)
        memcpy(end -= 32, rule + offsetof(fc_rule, destination_first), 32);
}

/* ---- Targets ------------------------------------------------------------------------------------ */

/* Writes the indices of a flow's targets to `out`, in order, and returns how many. For n-cast each address is taken
 * once only, where it comes first. */
static unsigned pick_targets(const fc_node *node, const fc_flow *f, uint16_t out[FC_MAX_FANOUT])
{
    const uint16_t *from = node->flow_targets + f->targets;
    unsigned n = 0;
    for (unsigned i = 0; i < f->n_targets; i++) {
        unsigned j = 0;
        const fc_target *t = &node->targets[from[i]];
        while (f->action == FC_ACTION_NCAST && j < n &&
               (memcmp(node->targets[out[j]].address, t->address, t->version == 4 ? 4 : 16) != 0 ||
                node->targets[out[j]].version != t->version))
            j++;
        if (f->action != FC_ACTION_NCAST || j == n)
            out[n++] = from[i];
    }
    return n;
}

static uint8_t add_list(build *b, const uint16_t *indices, unsigned n)
{
    uint8_t list[FC_MAX_FANOUT + 1] = {(uint8_t)n};
    for (unsigned i = 0; i < n; i++)
        list[i + 1] = (uint8_t)indices[i];
    for (unsigned i = 0; i < b->lists; i++)
        if (memcmp(b->list + b->list_start[i], list, n + 1) == 0)
            return (uint8_t)i; /* flows of a node mostly share their lists */
    b->list_start[b->lists] = (uint16_t)b->list_bytes;
    memcpy(b->list + b->list_bytes, list, n + 1);
    b->list_bytes += n + 1;
    return (uint8_t)b->lists++;
}

static void draft_target(build *b, draft *d, const fc_flow *f)
{
    d->head.fid = f->fid;
    d->head.form |= (uint8_t)(f->action << FIB_ACTION);
    if (f->action == FC_ACTION_DISCARD)
        return;
    uint16_t indices[FC_MAX_FANOUT];
    unsigned n = pick_targets(b->node, f, indices);
    d->head.target = (uint8_t)indices[0];
    if (n > 1) {
        d->head.form |= FIB_MULTI;
        d->head.target = add_list(b, indices, n);
    }
}

/* ---- Signatures: the three octets of a key that leave the fewest candidates --------------------- */

/* Notes the octets that a range of one field fixes: from the most significant on, as long as both ends have the same
 * value. Returns the last two of them as bits: they are the most likely to differ from flow to flow. */
static uint64_t note_octets(draft *d, const void *first, const void *last, unsigned offset, unsigned size)
{
    const uint8_t *a = first, *b = last;
    unsigned n = 0;
    while (n < size && a[size - 1 - n] == b[size - 1 - n]) {
        unsigned at = offset + size - 1 - n;
        d->known |= (uint64_t)1 << at;
        d->value[at] = a[size - 1 - n];
        n++;
    }
    return n == 0 ? 0 : (n == 1 ? (uint64_t)1 : (uint64_t)3) << (offset + size - n);
}

static uint64_t note_address(draft *d, const uint64_t first[2], const uint64_t last[2], unsigned offset)
{
    uint64_t telling = note_octets(d, &first[0], &last[0], offset, 8);
    if (first[0] != last[0])
        return telling;
    uint64_t lower = note_octets(d, &first[1], &last[1], offset + 8, 8);
    return lower ? lower | telling : telling;
}

static uint64_t note_rule(draft *d)
{
    const fc_rule *r = d->rule;
    unsigned c = d->head.conditions;
    uint64_t telling = 0;
    if (c & FC_SOURCE)
        telling |= note_address(d, r->source_first, r->source_last, offsetof(fc_key, source));
    if (c & FC_DESTINATION)
        telling |= note_address(d, r->destination_first, r->destination_last, offsetof(fc_key, destination));
    if (c & FC_FLOW_LABEL)
        telling |= note_octets(d, &r->flow_label_first, &r->flow_label_last, offsetof(fc_key, flow_label), 4);
    if (c & FC_SPI)
        telling |= note_octets(d, &r->spi_first, &r->spi_last, offsetof(fc_key, spi), 4);
    if (c & FC_SOURCE_PORT)
        telling |= note_octets(d, &r->source_port_first, &r->source_port_last, offsetof(fc_key, source_port), 2);
    if (c & FC_DESTINATION_PORT)
        telling |= note_octets(d, &r->destination_port_first, &r->destination_port_last,
                               offsetof(fc_key, destination_port), 2);
    if (c & FC_PROTOCOL)
        telling |= note_octets(d, &r->protocol_first, &r->protocol_last, offsetof(fc_key, protocol), 1);
    return telling;
}

/* What a signature has for one octet: 0 for "any", otherwise the octet's value, with 1 instead of 0. */
static uint8_t signature(const draft *d, unsigned octet)
{
    uint8_t v = d->value[octet];
    return d->known >> octet & 1 ? (uint8_t)(v + (v == 0)) : 0;
}

/* Picks three octets greedily: each time the one that leaves the fewest candidates, estimated for two equal halves of
 * the traffic, in 64ths of a candidate. One half are packets that match a flow, as many for each flow: their candidates
 * are all flows that look alike in the picked octets. The other half are any packets: a flow is a candidate for all of
 * them, and for each picked octet that it fixes for only one in eight of these (not one in 256, because values are not
 * random). */
static void choose_signatures(build *b, fib_record *r, fib_signature *s)
{
    uint8_t choice[MAX_CHOICES], value[MAX_CHOICES][FIB_LINEAR], fixed[FIB_LINEAR] = {0};
    uint64_t alike[FIB_LINEAR], with[256], all = b->n == 64 ? UINT64_MAX : ((uint64_t)1 << b->n) - 1, telling = 0;
    unsigned n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        telling |= note_rule(&b->flow[i]);
        alike[i] = all;
    }
    for (; telling && n < MAX_CHOICES; telling &= telling - 1, n++) {
        choice[n] = (uint8_t)__builtin_ctzll(telling);
        for (uint32_t i = 0; i < b->n; i++)
            value[n][i] = signature(&b->flow[i], choice[n]);
    }
    for (unsigned part = 0; part < 3 && n; part++) {
        unsigned best = 0;
        uint32_t fewest = UINT32_MAX;
        for (unsigned round = 0; round <= n; round++) { /* the last round repeats the best, to note what it leaves */
            const uint8_t *v = value[round < n ? round : best];
            uint32_t candidates = 0;
            with[0] = 0;
            for (uint32_t i = 0; i < b->n; i++)
                with[v[i]] = 0;
            for (uint32_t i = 0; i < b->n; i++)
                with[v[i]] |= (uint64_t)1 << i;
            for (uint32_t i = 0; i < b->n; i++) {
                uint64_t left = alike[i] & (v[i] ? with[v[i]] | with[0] : all);
                unsigned f = fixed[i] + (unsigned)(v[i] != 0);
                candidates += 64 * (uint32_t)__builtin_popcountll(left) + b->n * (64u >> 3 * f);
                if (round == n) {
                    alike[i] = left;
                    fixed[i] = (uint8_t)f;
                }
            }
            if (candidates < fewest) {
                fewest = candidates;
                best = round;
            }
        }
        r->pick[part] = choice[best];
        for (uint32_t i = 0; i < b->n; i++)
            s[i].octet[part] = value[best][i];
        n--; /* the octet is no choice any more: picked twice, it would say nothing new */
        memmove(&choice[best], &choice[best + 1], n - best);
        memmove(value[best], value[best + 1], (n - best) * sizeof value[0]);
    }
}

/* Can a key have more than FIB_ALIKE candidates among these flows (a bit each)? Goes through the values that the
 * picked octets may have, from octet number `part` on: each leaves the flows that want it, and those that take any. */
static int look_alike(const fib_signature *s, unsigned part, uint64_t flows)
{
    if ((unsigned)__builtin_popcountll(flows) <= FIB_ALIKE)
        return 0;
    if (part == 3)
        return 1;
    uint64_t any = 0, left = 0;
    for (uint64_t f = flows; f; f &= f - 1)
        *(s[__builtin_ctzll(f)].octet[part] ? &left : &any) |= f & -f;
    if (!left)
        return look_alike(s, part + 1, any);
    while (left) {
        uint8_t value = s[__builtin_ctzll(left)].octet[part];
        uint64_t want = 0;
        for (uint64_t f = left; f; f &= f - 1)
            want |= s[__builtin_ctzll(f)].octet[part] == value ? f & -f : 0;
        if (look_alike(s, part + 1, any | want))
            return 1;
        left &= ~want;
    }
    return 0;
}

/* ---- Records ------------------------------------------------------------------------------------ */

static int scratch(fc_fib *fib, size_t size)
{
    if (size > fib->scratch_size) {
        uint8_t *p = realloc(fib->scratch, size + size / 2);
        if (!p)
            return FC_ENOMEM;
        fib->scratch = p;
        fib->scratch_size = size + size / 2;
    }
    memset(fib->scratch, 0, size);
    return FC_OK;
}

static size_t write_addresses(const fc_node *node, uint8_t *p, size_t at)
{
    at = (at + 7) & ~(size_t)7;
    size_t end =
        (at + sizeof(fc_address) * ((size_t)node->n_also + node->n_prefixes) + sizeof(fib_trailer) + FIB_UNIT - 1) /
        FIB_UNIT * FIB_UNIT;
    fib_trailer *t = (fib_trailer *)(void *)(p + end) - 1;
    t->n_also = (uint16_t)node->n_also;
    t->n_prefixes = (uint16_t)node->n_prefixes;
    fc_address *a = (fc_address *)(void *)t - node->n_prefixes - node->n_also;
    for (uint32_t i = 0; i < node->n_also; i++)
        a[i] = node->also[i];
    for (uint32_t i = 0; i < node->n_prefixes; i++)
        a[node->n_also + i] = node->prefixes[i];
    return end;
}

static void write_header(const fc_node *node, fib_record *r, uint32_t flows)
{
    r->home[0] = node->home.words[0];
    r->home[1] = node->home.words[1];
    r->flags = (uint8_t)((node->home.version == 4 ? FIB_IPV4 : 0) | (node->n_also || node->n_prefixes ? FIB_MORE : 0) |
                         (node->n_targets ? 0 : FIB_UNUSABLE));
    r->n = (uint8_t)flows;
    r->n_targets = (uint8_t)node->n_targets;
    r->default_target = node->default_target == FC_NO_TARGET ? FIB_NONE8 : (uint8_t)node->default_target;
    r->default_form = node->default_target == FC_NO_TARGET ? 0 : FC_ACTION_FORWARD << FIB_ACTION;
}

/* In a record, `reserved` holds the flags that a target gives a decision. */
static void write_targets(const fc_node *node, fc_target *out)
{
    for (uint32_t i = 0; i < node->n_targets; i++) {
        out[i] = node->targets[i];
        out[i].reserved = (uint8_t)((out[i].bid ? FC_HAS_BID : 0) | (out[i].version == 4 ? FC_CARE_OF_IPV4 : 0));
        if (out[i].version == 4)
            memset(out[i].address + 4, 0, 12);
    }
}

/* Chooses the unit, as a power of two, in which one octet can say where each body ends, from `at` on; writes these to
 * `ends`. */
static unsigned body_shift(const build *b, size_t at, uint8_t *ends)
{
    for (unsigned shift = 3;; shift++) {
        size_t units = at >> shift;
        units += (units << shift) < at;
        for (uint32_t i = 0; i < b->n; i++) {
            units += (b->flow[i].size + ((size_t)1 << shift) - 1) >> shift;
            ends[i] = (uint8_t)units;
        }
        if (units <= 255)
            return shift; /* at the latest 6: 255 targets and 64 bodies of at most 128 octets */
    }
}

/* *alike becomes 1, and there is no record yet, if a key may have more than FIB_ALIKE candidates. */
static int build_small(fc_fib *fib, build *b, uint32_t *units, int *alike)
{
    const fc_node *node = b->node;
    for (uint32_t i = 0, n = 0; i < node->n_flows; i++) {
        if (!active(&node->flows[i]))
            continue;
        draft_rule(&b->flow[n], node, &node->flows[i].rule);
        draft_target(b, &b->flow[n], &node->flows[i]);
        n++;
    }
    uint8_t ends[FIB_LINEAR];
    size_t lists = fib_bodies_at(b->n, node->n_targets);
    unsigned shift = body_shift(b, lists, ends);
    if (b->n)
        lists = (size_t)ends[b->n - 1] << shift;
    size_t size = lists + 2 * (size_t)b->lists + b->list_bytes;
    if (scratch(fib, size + sizeof(fc_address) * ((size_t)node->n_also + node->n_prefixes) + 384) != FC_OK)
        return FC_ENOMEM;
    fib_record *r = (fib_record *)(void *)fib->scratch;
    uint8_t *p = fib->scratch;
    write_header(node, r, b->n);
    r->flags |= (uint8_t)((shift - 3) << FIB_SHIFT);
    r->usual = node->n_targets ? (uint16_t)(FC_DESTINATION << 8 | node->home.version) : 0;
    fib_signature *s = (fib_signature *)(void *)(r + 1);
    choose_signatures(b, r, s);
    *alike = look_alike(s, 0, b->n == 64 ? UINT64_MAX : ((uint64_t)1 << b->n) - 1);
    if (*alike)
        return FC_OK;
    for (uint32_t i = 0; i < b->n; i++)
        s[i].end = ends[i];
    write_targets(node, (fc_target *)(void *)(p + fib_targets_at(b->n)));
    for (uint32_t i = 0; i < b->n; i++)
        write_body(&b->flow[i], p + ((size_t)ends[i] << shift));
    for (uint32_t i = 0; i < b->lists; i++) {
        uint16_t start = (uint16_t)(2 * b->lists + b->list_start[i]);
        memcpy(p + lists + 2 * i, &start, 2);
    }
    memcpy(p + lists + 2 * (size_t)b->lists, b->list, b->list_bytes);
    size_t least = FIB_HEADER + 64 * (b->n ? ((size_t)b->n + 15) / 16 : 1);
    size = size < least ? least : size;
    if (b->lists || r->flags & FIB_MORE) {
        r->flags |= FIB_TRAILER;
        size = write_addresses(node, p, size);
        ((fib_trailer *)(void *)(p + size) - 1)->lists = (uint32_t)lists;
    }
    *units = (uint32_t)((size + FIB_UNIT - 1) / FIB_UNIT);
    r->units = (uint16_t)*units;
    return FC_OK;
}

static size_t write_big_flows(const fc_node *node, uint8_t *p, size_t meta, size_t at)
{
    fib_meta *m = (fib_meta *)(void *)(p + meta);
    for (uint32_t i = 0; i < node->n_flows; i++) {
        const fc_flow *f = &node->flows[i];
        if (!active(f))
            continue;
        uint16_t indices[FC_MAX_FANOUT];
        uint16_t n = f->action == FC_ACTION_DISCARD ? 0 : (uint16_t)pick_targets(node, f, indices);
        *m = (fib_meta){f->fid, f->action, n > 1, n ? indices[0] : 0};
        if (n > 1) {
            m->target = (uint32_t)at;
            memcpy(p + at, &n, 2);
            memcpy(p + at + 2, indices, 2 * (size_t)n);
            at += 2 + 2 * (size_t)n;
        }
        m++;
    }
    return at;
}

void fc_fib_drop_table(fc_fib *fib, const fib_big *big)
{
    if (big->table && !big->table->sharers)
        fib->table_bytes -= big->table_bytes;
    fc_table_free(big->table);
}

/* A rule as fc_table_rows gives it back. */
static fc_rule plain_rule(const fc_rule *rule)
{
    fc_rule r = {.version = rule->version, .conditions = rule->conditions};
    for (int i = 0; i < FC_FIELDS; i++) {
        const fc_field_row *row = &fc_field_rows[i];
        if (!(rule->conditions >> i & 1))
            continue;
        memcpy((uint8_t *)&r + row->first, (const uint8_t *)rule + row->first, row->octets);
        memcpy((uint8_t *)&r + row->last, (const uint8_t *)rule + row->last, row->octets);
    }
    return r;
}

/* 1 if the table has just these rules, as after a change of care-of addresses only. 0 if not, or if memory is short. */
static int has_rules(const fc_table *table, const fc_rule *rules, uint32_t n)
{
    fc_rule *rows = table->n_rules == n ? malloc(n * sizeof *rows) : NULL;
    uint32_t same = 0;
    if (!rows)
        return 0;
    fc_table_rows(table, rows);
    for (; same < n; same++) {
        fc_rule a = plain_rule(&rules[same]), b = plain_rule(&rows[same]);
        if (memcmp(&a, &b, sizeof a) != 0)
            break;
    }
    free(rows);
    return same == n;
}

/* Sets big->table: the old record's, if the rules are the same, or one built anew. To choose among partitions and to
 * make cross-product tables takes up to a hundred times as long as to build a forest. So a node that changes gets that
 * at its first state, then once in FULL_EVERY changes, and when it is published with the same rules again. A node of
 * few flows never gets it: it has a table only because its signatures tell nothing. */
static int find_table(const fc_rule *rules, uint32_t n, const fib_big *old, fib_big *big)
{
    fc_build_options options = {.quick = n <= FIB_LINEAR};
    if (old && old->table && !options.quick) {
        int same = has_rules(old->table, rules, n);
        options.quick = !same && old->changes + 1 < FULL_EVERY;
        big->changes = options.quick ? old->changes + 1 : 0;
        if (same && !old->changes) {
            fc_table_share(old->table);
            big->table = old->table;
            return FC_OK;
        }
    }
    options.vector = options.quick ? QUICK_VECTOR : 0;
    return fc_table_build(rules, n, &options, &big->table, NULL);
}

static int big_rules(fc_fib *fib, const fc_node *node, uint32_t n, const fib_big *old, fib_big *big)
{
    if (n == 0) /* many targets, no flows */
        return FC_OK;
    fc_rule *rules = malloc(n * sizeof *rules);
    if (!rules)
        return FC_ENOMEM;
    for (uint32_t i = 0, j = 0; i < node->n_flows; i++)
        if (active(&node->flows[i]))
            rules[j++] = node->flows[i].rule;
    int status = find_table(rules, n, old, big);
    free(rules);
    if (status != FC_OK)
        return status;
    fc_table_info info;
    fc_table_get_info(big->table, &info);
    big->table_bytes = info.bytes;
    if (!big->table->sharers)
        fib->table_bytes += big->table_bytes;
    return FC_OK;
}

static int build_big(fc_fib *fib, const fc_node *node, uint32_t n, const fib_record *old, uint32_t *units)
{
    size_t meta = FIB_HEADER + sizeof(fib_big), targets = meta + sizeof(fib_meta) * n;
    size_t lists = targets + sizeof(fc_target) * node->n_targets, bound = lists;
    for (uint32_t i = 0; i < node->n_flows; i++)
        bound += 2 + 2 * (size_t)node->flows[i].n_targets;
    bound += sizeof(fc_address) * ((size_t)node->n_also + node->n_prefixes) + 64;
    if (bound > (size_t)FIB_SEGMENT_UNITS * FIB_UNIT)
        return FC_ELIMIT;
    if (scratch(fib, bound) != FC_OK)
        return FC_ENOMEM;
    uint8_t *p = fib->scratch;
    fib_record *r = (fib_record *)(void *)p;
    fib_big *big = (fib_big *)(void *)(r + 1);
    write_header(node, r, 0);
    r->flags |= FIB_BIG | FIB_TRAILER;
    *big = (fib_big){.n_flows = n,
                     .n_targets = node->n_targets,
                     .default_target = node->default_target,
                     .meta = (uint32_t)meta,
                     .targets = (uint32_t)targets};
    write_targets(node, (fc_target *)(void *)(p + targets));
    size_t size = write_addresses(node, p, write_big_flows(node, p, meta, lists));
    big->units = *units = (uint32_t)(size / FIB_UNIT);
    return big_rules(fib, node, n, old && old->flags & FIB_BIG ? fib_big_of(old) : NULL, big);
}

int fc_fib_record(fc_fib *fib, const fc_node *node, const fib_record *old, uint32_t *units)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < node->n_flows; i++)
        n += (uint32_t)active(&node->flows[i]);
    if (n > FIB_LINEAR || node->n_targets >= FIB_NONE8)
        return build_big(fib, node, n, old, units);
    build b; /* 40 KiB; only what the flows need is touched */
    b.node = node;
    b.n = n;
    b.lists = b.list_bytes = 0;
    int alike;
    int status = build_small(fib, &b, units, &alike);
    return status == FC_OK && alike ? build_big(fib, node, n, old, units) : status;
}
