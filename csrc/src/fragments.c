/* fragments.c - first fragments, so that the later ones of a packet are decided alike.
 *
 * Only the first fragment of a packet has ports, an SPI, or an ICMPv6 type. Its key is remembered under the packet's
 * identity (RFC 8200, 4.5: source, destination, identification; RFC 791: the protocol too) and given to the later
 * fragments that come after it. Nothing is reassembled or held back.
 *
 * Memory and time are bounded whatever arrives: a ring of `capacity` entries where the newest takes the place of the
 * oldest, and a chained hash table over them of twice that many heads (a power of two). The chains hold a bounded
 * number of entries in all, and SipHash-1-3 with the caller's secret keeps an attacker from putting them into one.
 * A first fragment seen again (identification wraps around in time) overwrites what was known, in place; it becomes
 * the newest only when its place in the ring comes by again, which costs nothing but a later eviction.
 *
 * Parts of one capture are read at the same time by several readers, and only the memory at the end of one part can
 * answer for the next. Until it is there, a reader's memory notes what it is told and asked (fc_fragments_defer), and
 * the notes of all parts go through one memory afterwards (fc_fragments_settle), which comes to what a single reader's
 * would have: the same entries in the same places of the ring.
 */
#include <stdlib.h>
#include <string.h>

#include "fc_packet.h"

#define MAX_CAPACITY (1u << 24)
#define NONE UINT32_MAX

typedef struct entry {
    fc_fragment_id id;
    fc_key key;
    uint32_t next, head; /* in its chain; which chain */
    uint8_t flags, depth;
} entry;

struct fc_fragments {
    uint64_t secret[2];
    uint32_t capacity, count, newest; /* newest: the ring's next place */
    uint32_t mask;
    uint32_t *heads;
    entry *entries;
    /* while it defers */
    int defers, failed;
    uint64_t passed, packet; /* packets in earlier batches; the one that comes now */
    size_t n_notes, room;
    fc_fragment_note *notes;
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
    uint64_t words[6] = {id->source[0],      id->source[1], id->destination[0],
                         id->destination[1], (uint64_t)id->id << 32 | id->kind, (uint64_t)40 << 56};
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
    free(f);
}

void fc_fragments_clear(fc_fragments *f)
{
    f->count = f->newest = 0;
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

static void unlink_entry(fc_fragments *f, uint32_t place)
{
    uint32_t *link = &f->heads[f->entries[place].head];
    while (*link != place)
        link = &f->entries[*link].next;
    *link = f->entries[place].next;
}

static void note(fc_fragments *f, const fc_fragment_id *id, const fc_key *key, const fc_packet *info, uint32_t asked)
{
    if (f->n_notes == f->room) {
        size_t room = f->room ? 2 * f->room : 256;
        fc_fragment_note *more = realloc(f->notes, room * sizeof *more);
        if (!more) {
            f->failed = 1;
            return;
        }
        f->notes = more;
        f->room = room;
    }
    fc_fragment_note n = {f->packet, *key, *info, {id->source[0], id->source[1]},
                          {id->destination[0], id->destination[1]}, id->id, id->kind, asked, 0};
    f->notes[f->n_notes++] = n;
}

void fc_fragments_defer(fc_fragments *f) { f->defers = 1; }
void fc_fragments_at(fc_fragments *f, size_t i) { f->packet = f->passed + i; }
void fc_fragments_passed(fc_fragments *f, size_t n) { f->passed += n; }

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

void fc_fragments_settle(fc_fragments *f, fc_fragment_note *notes, size_t n)
{
    const fc_fragment_note *asked = NULL;
    for (size_t i = 0; i < n; i++) {
        fc_fragment_note *t = &notes[i];
        fc_fragment_id id = {{t->source[0], t->source[1]}, {t->destination[0], t->destination[1]}, t->id, t->kind};
        if (t->asked) {
            fc_fragments_find(f, &id, &t->key, &t->info);
            asked = t;
        } else {
            int same_packet = asked && asked->packet == t->packet;
            fc_fragments_remember(f, &id, same_packet ? &asked->key : &t->key, same_packet ? &asked->info : &t->info);
        }
    }
}

void fc_fragments_remember(fc_fragments *f, const fc_fragment_id *id, const fc_key *key, const fc_packet *info)
{
    if (f->defers) {
        note(f, id, key, info, 0);
        return;
    }
    uint32_t head = (uint32_t)hash(f, id) & f->mask;
    entry *e = find(f, id, head);
    if (!e) {
        uint32_t place = f->newest;
        f->newest = place + 1 == f->capacity ? 0 : place + 1;
        e = &f->entries[place];
        if (f->count == f->capacity)
            unlink_entry(f, place);
        else
            f->count++;
        e->id = *id;
        e->head = head;
        e->next = f->heads[head];
        f->heads[head] = place;
    }
    e->key = *key;
    e->flags = info->flags & FC_PACKET_SIGNALLING;
    e->depth = info->depth;
}

int fc_fragments_find(fc_fragments *f, const fc_fragment_id *id, fc_key *key, fc_packet *info)
{
    if (f->defers) {
        note(f, id, key, info, 1);
        return 0;
    }
    const entry *e = find(f, id, (uint32_t)hash(f, id) & f->mask);
    if (!e)
        return 0;
    *key = e->key;
    info->flags = (uint8_t)((info->flags & ~FC_PACKET_SIGNALLING) | e->flags | FC_PACKET_COMPLETED);
    info->depth = e->depth;
    return 1;
}
