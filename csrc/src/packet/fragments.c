/* fragments.c - remembers first fragments, so that the later fragments of a packet are decided as the first one was.
 *
 * Only the first fragment of a packet has ports, an SPI, or an ICMPv6 type. Its key is remembered under the packet's
 * identity (RFC 8200, 4.5: source, destination, identification; RFC 791: the protocol too) and given to the later
 * fragments that come after it. Nothing is reassembled or held back.
 *
 * Memory and time are bounded whatever arrives. The last `capacity` first fragments that were told are kept in a ring,
 * where the newest takes the place of the oldest. A hash table with chains leads to them; it has at least twice as many
 * heads as the ring has places (a power of two). When an identity is told again (identifications wrap around in time),
 * its old place in the ring is left empty. The chains hold at most `capacity` entries together, and SipHash-1-3 with
 * the caller's secret keeps an attacker from putting all of them into one chain.
 *
 * Senders use an identification again after a while. So a later fragment belongs to a first one only if the two came at
 * most 60 seconds apart by the caller's clock, in either order, because that clock may run backwards a little. An older
 * first fragment stays in its place, but answers no question. Without times nothing grows old.
 *
 * Several readers may read the parts of one capture at the same time, each with a memory of its own. What a memory
 * holds at the end of a part depends only on the last `capacity` first fragments that it was told. So a part's own
 * memory can answer most questions: either it knows the packet, or it has been told so many others that nothing from
 * before the part could be left. The few other questions are noted (fc_fragments_defer) and later put to the memory of
 * what came before (fc_fragments_settle). That memory then takes in what the part's own memory holds
 * (fc_fragments_extend) and is what a single reader's memory would be.
 */
#include <stdlib.h>
#include <string.h>

#include "fragments.h"
#include "packet.h"

#define MAX_CAPACITY (1u << 24)
#define LIFETIME INT64_C(60000000000) /* ns: RFC 8200, 4.5 and RFC 1122, 3.3.2 give up reassembly then */
#define NONE UINT32_MAX

typedef struct entry {
    fc_fragment_id id;
    fc_key key;
    int64_t time;        /* ns, or FC_NO_TIME */
    uint64_t open;       /* 0: key, flags and depth are known; else the number of the note whose answer they will be */
    uint32_t next, head; /* the next entry of its chain, or NONE; which chain it is in, NONE: this place is empty */
    uint8_t flags, depth;
} entry;

/* The answer to a note whose packet is itself a first fragment: later notes may get their answer from it. */
typedef struct answer {
    uint64_t number;
    fc_key key;
    fc_packet info;
} answer;

struct fc_fragments {
    uint64_t secret[2];
    uint32_t capacity, count, mask;
    int64_t now;   /* the time of the present packet in ns, or FC_NO_TIME */
    uint64_t told; /* how many were told so far; number s (from 0) is at place s % capacity */
    uint32_t *heads;
    entry *entries;
    /* used only while the memory defers */
    int defers, failed;      /* failed: there was no memory for a note */
    uint64_t passed, packet; /* packets in earlier batches; the present packet's number */
    uint64_t noted, open;    /* notes made so far; the number of the one made for the present packet, or 0 */
    size_t n_notes, notes_room;
    fc_fragment_note *notes;
    /* used only while the memory settles a part's notes; in the order of their numbers */
    size_t n_answers, answers_room;
    answer *answers;
};

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ROTL(v[1], 13) ^ v[0];
    v[0] = ROTL(v[0], 32);
    v[2] += v[3];
    v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ROTL(v[1], 17) ^ v[2];
    v[2] = ROTL(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein) over the five words of an identity */
static uint64_t hash(const fc_fragments *f, const fc_fragment_id *id)
{
    uint64_t words[6] = {
        id->source[0],     id->source[1], id->destination[0], id->destination[1], (uint64_t)id->id << 32 | id->kind,
        (uint64_t)40 << 56};
    uint64_t v[4] = {f->secret[0] ^ 0x736f6d6570736575u, f->secret[1] ^ 0x646f72616e646f6du,
                     f->secret[0] ^ 0x6c7967656e657261u, f->secret[1] ^ 0x7465646279746573u};
    for (int i = 0; i < 6; i++) {
        v[3] ^= words[i];
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int fc_fragments_new(uint32_t capacity, const uint8_t secret[16], fc_fragments **out)
{
    if (capacity == 0 || capacity > MAX_CAPACITY || !secret || !out)
        return FC_EINVAL;
    uint32_t heads = 2;
    while (heads < 2 * capacity)
        heads *= 2;
    fc_fragments *f = calloc(1, sizeof *f);
    if (!f)
        return FC_ENOMEM;
    f->heads = malloc(heads * sizeof *f->heads);
    f->entries = malloc(capacity * sizeof *f->entries);
    if (!f->heads || !f->entries) {
        fc_fragments_free(f);
        return FC_ENOMEM;
    }
    memcpy(f->secret, secret, sizeof f->secret);
    f->capacity = capacity;
    f->mask = heads - 1;
    fc_fragments_clear(f);
    *out = f;
    return FC_OK;
}

void fc_fragments_free(fc_fragments *f)
{
    if (!f)
        return;
    free(f->heads);
    free(f->entries);
    free(f->notes);
    free(f->answers);
    free(f);
}

void fc_fragments_clear(fc_fragments *f)
{
    f->count = 0;
    f->told = 0;
    memset(f->heads, 0xff, ((size_t)f->mask + 1) * sizeof *f->heads);
}

uint32_t fc_fragments_count(const fc_fragments *f) { return f->count; }

static int same(const fc_fragment_id *a, const fc_fragment_id *b)
{
    return a->source[0] == b->source[0] && a->source[1] == b->source[1] && a->destination[0] == b->destination[0] &&
           a->destination[1] == b->destination[1] && a->id == b->id && a->kind == b->kind;
}

static entry *find(fc_fragments *f, const fc_fragment_id *id, uint32_t head)
{
    for (uint32_t i = f->heads[head]; i != NONE; i = f->entries[i].next)
        if (same(&f->entries[i].id, id))
            return &f->entries[i];
    return NULL;
}

static uint32_t place_of(const fc_fragments *f, uint64_t serial) { return (uint32_t)(serial % f->capacity); }

/* Empties a place of the ring that was used before; does nothing if it is empty already. */
static void forget(fc_fragments *f, uint32_t place)
{
    entry *e = &f->entries[place];
    if (e->head == NONE)
        return;
    uint32_t *link = &f->heads[e->head];
    while (*link != place)
        link = &f->entries[*link].next;
    *link = e->next;
    e->head = NONE;
    f->count--;
}

/* Takes the next place of the ring, empties it, counts it as told, and returns it. */
static uint32_t next_place(fc_fragments *f)
{
    uint32_t place = place_of(f, f->told);
    if (f->told >= f->capacity)
        forget(f, place);
    else
        f->entries[place].head = NONE;
    f->told++;
    return place;
}

/* Can a fragment of time `now` belong to a first fragment of time `first`? Yes if either has no time. */
static int is_alive(int64_t first, int64_t now)
{
    if (first == FC_NO_TIME || now == FC_NO_TIME)
        return 1;
    uint64_t apart = first < now ? (uint64_t)now - (uint64_t)first : (uint64_t)first - (uint64_t)now;
    return apart <= (uint64_t)LIFETIME;
}

static void tell(fc_fragments *f, const fc_fragment_id *id, const fc_key *key, const fc_packet *info, int64_t time,
                 uint64_t open)
{
    uint32_t head = (uint32_t)hash(f, id) & f->mask;
    entry *e = find(f, id, head);
    if (e)
        forget(f, (uint32_t)(e - f->entries));
    uint32_t place = next_place(f);
    e = &f->entries[place];
    e->id = *id;
    e->key = *key;
    e->time = time;
    e->open = open;
    e->flags = info->flags & FC_PACKET_SIGNALLING;
    e->depth = info->depth;
    e->head = head;
    e->next = f->heads[head];
    f->heads[head] = place;
    f->count++;
}

/* Returns the array, moved if necessary, with room for one element more than n. NULL when there is no memory: then the
 * array is as it was. */
static void *grown(void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return array;
    size_t more = *room ? 2 * *room : 64;
    void *moved = realloc(array, more * size);
    if (moved)
        *room = more;
    return moved;
}

static void note(fc_fragments *f, const fc_fragment_id *id, const fc_key *key, const fc_packet *info, uint64_t from)
{
    fc_fragment_note *notes = grown(f->notes, f->n_notes, &f->notes_room, sizeof *f->notes);
    if (!notes) {
        f->failed = 1;
        return;
    }
    f->notes = notes;
    f->open = ++f->noted;
    f->notes[f->n_notes++] = (fc_fragment_note){f->packet,
                                                f->open,
                                                f->told,
                                                from,
                                                *key,
                                                *info,
                                                {id->source[0], id->source[1]},
                                                {id->destination[0], id->destination[1]},
                                                id->id,
                                                id->kind,
                                                0,
                                                0,
                                                f->now};
}

void fc_fragments_defer(fc_fragments *f) { f->defers = 1; }

uint64_t fc_fragments_told(const fc_fragments *f) { return f->told; }

void fc_fragments_at(fc_fragments *f, size_t i, int64_t time)
{
    f->now = time;
    f->packet = f->passed + i;
    f->open = 0;
}

void fc_fragments_passed(fc_fragments *f, size_t n) { f->passed += n; }

void fc_fragments_originals(fc_fragments *f, const uint32_t *originals, size_t n)
{
    uint64_t first = f->passed - n;
    for (size_t i = f->n_notes; i > 0 && f->notes[i - 1].packet >= first; i--)
        f->notes[i - 1].original = originals[f->notes[i - 1].packet - first];
}

void fc_fragments_remember(fc_fragments *f, const fc_fragment_id *id, const fc_key *key, const fc_packet *info)
{
    tell(f, id, key, info, f->now, f->open);
    if (f->open && f->n_notes)
        f->notes[f->n_notes - 1].tells = 1;
}

static void take_answer(const fc_key *from_key, uint8_t flags, uint8_t depth, fc_key *key, fc_packet *info)
{
    *key = *from_key;
    info->flags = (uint8_t)((info->flags & ~FC_PACKET_SIGNALLING) | flags | FC_PACKET_COMPLETED);
    info->depth = depth;
}

int fc_fragments_find(fc_fragments *f, const fc_fragment_id *id, fc_key *key, fc_packet *info)
{
    const entry *e = find(f, id, (uint32_t)hash(f, id) & f->mask);
    if (e && !is_alive(e->time, f->now))
        return 0; /* the memory of what came before could only have an older one */
    if (f->defers && (e ? e->open != 0 : f->told < f->capacity)) {
        note(f, id, key, info, e ? e->open : 0);
        info->flags |= FC_PACKET_OPEN;
        return 0;
    }
    if (!e)
        return 0;
    take_answer(&e->key, e->flags, e->depth, key, info);
    return 1;
}

int fc_fragments_notes(fc_fragments *f, fc_fragment_note *out, size_t capacity, size_t *n)
{
    *n = f->n_notes < capacity ? f->n_notes : capacity;
    if (*n) {
        memcpy(out, f->notes, *n * sizeof *out);
        f->n_notes -= *n;
        memmove(f->notes, f->notes + *n, f->n_notes * sizeof *out);
    }
    return f->failed ? FC_ENOMEM : FC_OK;
}

size_t fc_fragments_firsts(const fc_fragments *f, fc_fragment_first *out)
{
    size_t n = 0;
    for (uint64_t s = f->told > f->capacity ? f->told - f->capacity : 0; s < f->told; s++) {
        const entry *e = &f->entries[place_of(f, s)];
        if (e->head != NONE)
            out[n++] = (fc_fragment_first){s,
                                           e->open,
                                           e->key,
                                           {e->id.source[0], e->id.source[1]},
                                           {e->id.destination[0], e->id.destination[1]},
                                           e->id.id,
                                           e->id.kind,
                                           e->flags,
                                           e->depth,
                                           {0},
                                           e->time};
    }
    return n;
}

static const answer *answered(const fc_fragments *f, uint64_t number)
{
    size_t low = 0, high = f->n_answers;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (f->answers[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < f->n_answers && f->answers[low].number == number ? &f->answers[low] : NULL;
}

int fc_fragments_settle(fc_fragments *f, fc_fragment_note *notes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fc_fragment_note *t = &notes[i];
        fc_fragment_id id = {{t->source[0], t->source[1]}, {t->destination[0], t->destination[1]}, t->id, t->kind};
        if (t->number == 1)
            f->n_answers = 0; /* the first note of another part */
        if (t->from) {
            const answer *a = answered(f, t->from);
            if (a)
                take_answer(&a->key, a->info.flags & FC_PACKET_SIGNALLING, a->info.depth, &t->key, &t->info);
        } else {
            const entry *e = find(f, &id, (uint32_t)hash(f, &id) & f->mask);
            /* how many first fragments were told after this one: by this memory's end, and then to the part's own
             * memory before the packet came */
            uint64_t since = e ? (f->told - 1 + f->capacity - (uint64_t)(e - f->entries)) % f->capacity + t->told : 0;
            if (e && since < f->capacity && is_alive(e->time, t->time))
                take_answer(&e->key, e->flags, e->depth, &t->key, &t->info);
        }
        if (t->tells) {
            answer *answers = grown(f->answers, f->n_answers, &f->answers_room, sizeof *f->answers);
            if (!answers)
                return FC_ENOMEM;
            f->answers = answers;
            f->answers[f->n_answers++] = (answer){t->number, t->key, t->info};
        }
    }
    return FC_OK;
}

/* Moves the ring on until `until` first fragments count as told; the places that it passes are left empty. */
static void skip(fc_fragments *f, uint64_t until)
{
    if (until > f->told + f->capacity) {
        fc_fragments_clear(f);
        f->told = until - f->capacity;
        for (uint32_t place = 0; place < f->capacity; place++)
            f->entries[place].head = NONE;
    }
    while (f->told < until)
        next_place(f);
}

void fc_fragments_extend(fc_fragments *f, const fc_fragment_first *firsts, size_t n, uint64_t told)
{
    uint64_t base = f->told;
    for (size_t i = 0; i < n; i++) {
        const fc_fragment_first *t = &firsts[i];
        fc_fragment_id id = {{t->source[0], t->source[1]}, {t->destination[0], t->destination[1]}, t->id, t->kind};
        const answer *a = t->open ? answered(f, t->open) : NULL;
        fc_packet info = {.flags = t->flags, .depth = t->depth};
        skip(f, base + t->serial);
        tell(f, &id, a ? &a->key : &t->key, a ? &a->info : &info, t->time, 0);
    }
    skip(f, base + told);
}
