/* counters.c - what went where, by node and flow; and two small tables by address: path MTUs, ports of RFC 5555.
 *
 * Each lane counts for itself, in memory that it alone writes, so counting costs two plain additions, and reading adds
 * up what the lanes have while they run on. Flows are in an open hash table that is replaced by one twice as large when
 * it is half full; the smaller one stays until the end, so that a reader that still looks at it needs no lock.
 *
 * The table gives a node's number to another node some time after the first is gone. So an entry also has the version
 * of the state that decided its last packet, and what an earlier holder of the number had is neither shown nor
 * continued. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <stdlib.h>
#include <string.h>

#define FIRST_FLOWS 1024u
#define MOST_FLOWS (1u << 22) /* of one lane; further ones aren't counted by flow */
#define TAKEN (1ull << 63)
#define FIRST_PORTS 64u
#define PATH_LIFE 600000u /* ms; RFC 8201 4: at least 5 minutes, 10 recommended */
#define PATH_WAYS 4u

/* ---- By node and flow ------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static fc_fwd_flows *flows_new(uint64_t size, fc_fwd_flows *before)
{
    fc_fwd_flows *t = calloc(1, sizeof *t + size * sizeof *t->entry);
    if (t) {
        t->mask = size - 1;
        t->before = before;
    }
    return t;
}

static fc_fwd_flow_entry *place(fc_fwd_flows *t, uint64_t key)
{
    uint64_t at = mix(key) & t->mask;
    for (;;) {
        uint64_t there = atomic_load_explicit(&t->entry[at].key, memory_order_relaxed);
        if (there == key || there == 0)
            return &t->entry[at];
        at = (at + 1) & t->mask;
    }
}

/* Is what an entry has the present node's, and not that of an earlier one with the same number? */
static int is_of_present(const fc_forwarder *f, const fc_fwd_flow_entry *e, uint32_t node)
{
    uint32_t version = atomic_load_explicit(&e->version, memory_order_acquire);
    return (int32_t)(version - fc_fib_born(f->fib, node)) >= 0;
}

static fc_fwd_flows *grow(fc_fwd_lane *l, fc_fwd_flows *t)
{
    uint64_t size = t ? 2 * (t->mask + 1) : FIRST_FLOWS;
    fc_fwd_flows *larger = size <= MOST_FLOWS ? flows_new(size, t) : NULL;
    if (!larger)
        return t;
    for (uint64_t i = 0; t && i <= t->mask; i++) {
        uint64_t key = atomic_load_explicit(&t->entry[i].key, memory_order_relaxed);
        if (!key)
            continue;
        fc_fwd_flow_entry *e = place(larger, key);
        atomic_init(&e->key, key);
        atomic_init(&e->packets, atomic_load_explicit(&t->entry[i].packets, memory_order_relaxed));
        atomic_init(&e->octets, atomic_load_explicit(&t->entry[i].octets, memory_order_relaxed));
        atomic_init(&e->version, atomic_load_explicit(&t->entry[i].version, memory_order_relaxed));
        larger->used++;
    }
    atomic_store_explicit(&l->flows, larger, memory_order_release);
    return larger;
}

static uint64_t key_of(uint32_t node, enum fc_forward_kind kind, uint16_t fid)
{
    return TAKEN | (uint64_t)node << 24 | (uint64_t)kind << 16 | fid;
}

static uint32_t node_of(uint64_t key) { return (uint32_t)((key & ~TAKEN) >> 24); }

void fc_fwd_expect_flow(fc_fwd_lane *l, uint32_t node, enum fc_forward_kind kind, uint16_t fid)
{
    fc_fwd_flows *t = atomic_load_explicit(&l->flows, memory_order_relaxed);
    if (t)
        __builtin_prefetch(&t->entry[mix(key_of(node, kind, fid)) & t->mask], 1);
}

void fc_fwd_count_flow(fc_fwd_lane *l, uint32_t node, uint32_t version, enum fc_forward_kind kind, uint16_t fid,
                       uint64_t packets, uint64_t octets)
{
    uint64_t key = key_of(node, kind, fid);
    fc_fwd_flows *t = atomic_load_explicit(&l->flows, memory_order_relaxed);
    fc_fwd_flow_entry *e = t ? place(t, key) : NULL;
    if (!e || atomic_load_explicit(&e->key, memory_order_relaxed) == 0) {
        if (!t || 2 * (t->used + 1) > t->mask + 1) {
            fc_fwd_flows *larger = grow(l, t);
            if (larger == t)
                return;
            t = larger;
            e = place(t, key);
        }
        t->used++;
        atomic_store_explicit(&e->version, version, memory_order_relaxed);
        atomic_store_explicit(&e->key, key, memory_order_release);
    } else if (atomic_load_explicit(&e->version, memory_order_relaxed) != version) { /* the node has changed */
        if (!is_of_present(l->forwarder, e, node)) {
            atomic_store_explicit(&e->packets, 0, memory_order_relaxed);
            atomic_store_explicit(&e->octets, 0, memory_order_relaxed);
        }
        atomic_store_explicit(&e->version, version, memory_order_release);
    }
    fc_fwd_add(&e->packets, packets);
    fc_fwd_add(&e->octets, octets);
}

/* Lanes may each have the same flow: the reader gets them added up. */
size_t fc_forwarder_flows(fc_forwarder *f, fc_forward_flow *out, size_t room)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < f->options.n_tun; i++) {
        fc_fwd_flows *t = atomic_load_explicit(&f->lane[i]->flows, memory_order_acquire);
        most += t ? t->mask + 1 : 0;
    }
    uint64_t size = FIRST_FLOWS;
    while (size < 2 * most)
        size *= 2;
    fc_fwd_flows *sum = flows_new(size, NULL);
    if (!sum)
        return 0;
    size_t n = 0;
    for (unsigned i = 0; i < f->options.n_tun; i++) {
        fc_fwd_flows *t = atomic_load_explicit(&f->lane[i]->flows, memory_order_acquire);
        for (uint64_t j = 0; t && j <= t->mask; j++) {
            uint64_t key = atomic_load_explicit(&t->entry[j].key, memory_order_acquire);
            if (!key || !is_of_present(f, &t->entry[j], node_of(key)))
                continue;
            fc_fwd_flow_entry *e = place(sum, key);
            n += atomic_load_explicit(&e->key, memory_order_relaxed) == 0;
            atomic_store_explicit(&e->key, key, memory_order_relaxed);
            fc_fwd_add(&e->packets, atomic_load_explicit(&t->entry[j].packets, memory_order_relaxed));
            fc_fwd_add(&e->octets, atomic_load_explicit(&t->entry[j].octets, memory_order_relaxed));
        }
    }
    size_t done = 0;
    for (uint64_t j = 0; j < size && done < room; j++) {
        uint64_t key = atomic_load_explicit(&sum->entry[j].key, memory_order_relaxed);
        if (key)
            out[done++] = (fc_forward_flow){node_of(key),
                                            (uint16_t)key,
                                            (uint8_t)(key >> 16),
                                            0,
                                            atomic_load_explicit(&sum->entry[j].packets, memory_order_relaxed),
                                            atomic_load_explicit(&sum->entry[j].octets, memory_order_relaxed)};
    }
    free(sum);
    return n;
}

void fc_forwarder_get_counters(fc_forwarder *f, fc_forward_counters *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < f->options.n_tun; i++) {
        fc_fwd_lane *l = f->lane[i];
        for (int k = 0; k < FC_FORWARD_KINDS; k++) {
            out->packets[k] += atomic_load_explicit(&l->packets[k], memory_order_relaxed);
            out->octets[k] += atomic_load_explicit(&l->octets[k], memory_order_relaxed);
        }
        for (int k = 0; k < FC_FORWARD_DROPS; k++) {
            out->dropped[k] += atomic_load_explicit(&l->dropped[k], memory_order_relaxed);
            out->dropped_octets[k] += atomic_load_explicit(&l->dropped_octets[k], memory_order_relaxed);
        }
        out->batches += atomic_load_explicit(&l->batches, memory_order_relaxed);
        out->super_packets += atomic_load_explicit(&l->super_packets, memory_order_relaxed);
        out->segments += atomic_load_explicit(&l->segments, memory_order_relaxed);
    }
}

void fc_fwd_drop_packet(fc_fwd_lane *l, enum fc_forward_drop why, const fc_fwd_packet *p)
{
    uint64_t octets;
    uint32_t n = fc_fwd_segments(p, &octets);
    fc_fwd_drop(l, why, n, octets);
}

/* ---- Path MTUs ------------------------------------------------------------------------------------------------ */

/* A set of PATH_WAYS places; the one that ends first makes room, so an attacker who could forge errors about paths of
 * ours, which takes knowing a node's home and care-of address, gains a table of small MTUs at worst. */
static fc_fwd_path *path_set(fc_forwarder *f, const fc_address *to)
{
    uint64_t secret;
    memcpy(&secret, f->options.secret, sizeof secret);
    return f->path + mix(mix(to->words[0] ^ secret) ^ to->words[1]) % (FC_FWD_PATHS / PATH_WAYS) * PATH_WAYS;
}

static int same_path(const fc_fwd_path *p, const fc_address *to)
{
    return p->version == to->version && p->address[0] == to->words[0] && p->address[1] == to->words[1];
}

uint32_t fc_fwd_path_mtu(fc_forwarder *f, const fc_address *to, uint64_t now)
{
    uint32_t mtu = atomic_load_explicit(&f->mtu, memory_order_relaxed);
    if (atomic_load_explicit(&f->paths, memory_order_relaxed) == 0)
        return mtu;
    pthread_mutex_lock(&f->address_lock);
    fc_fwd_path *p = path_set(f, to);
    for (unsigned i = 0; i < PATH_WAYS; i++)
        if (same_path(&p[i], to) && p[i].until > now && p[i].mtu < mtu)
            mtu = p[i].mtu;
    pthread_mutex_unlock(&f->address_lock);
    return mtu;
}

void fc_fwd_note_path(fc_forwarder *f, const fc_address *to, uint32_t mtu, uint64_t now)
{
    if (mtu < FC_FWD_MIN_MTU && to->version == 6)
        mtu = FC_FWD_MIN_MTU;
    if (mtu < 68)
        return;
    pthread_mutex_lock(&f->address_lock);
    fc_fwd_path *p = path_set(f, to), *use = p;
    for (unsigned i = 0; i < PATH_WAYS; i++) {
        if (same_path(&p[i], to)) {
            use = &p[i];
            break;
        }
        if (p[i].until < use->until)
            use = &p[i];
    }
    *use = (fc_fwd_path){{to->words[0], to->words[1]}, now + PATH_LIFE, mtu, to->version};
    atomic_fetch_add_explicit(&f->paths, 1, memory_order_relaxed);
    pthread_mutex_unlock(&f->address_lock);
}

/* ---- Ports of RFC 5555 ------------------------------------------------------------------------------------------ */

static uint32_t care_of_word(const uint8_t care_of[4])
{
    uint32_t v;
    memcpy(&v, care_of, 4);
    return v;
}

static uint64_t port_hash(const fc_address *home, uint32_t care_of)
{
    return mix(mix(home->words[0] ^ home->version) ^ home->words[1] ^ (uint64_t)care_of << 32);
}

static int port_is_of(const fc_fwd_port *p, const fc_address *home, uint32_t care_of)
{
    return p->version == home->version && p->home[0] == home->words[0] && p->home[1] == home->words[1] &&
           p->care_of == care_of;
}

/* The place of a (home address, care-of address, BID), or the free one where it would be. */
static fc_fwd_port *port_place(fc_fwd_port *table, uint32_t mask, const fc_address *home, uint16_t bid,
                               uint32_t care_of)
{
    for (uint64_t at = port_hash(home, care_of);; at++) {
        fc_fwd_port *p = &table[at & mask];
        if (p->version == 0 || (p->bid == bid && port_is_of(p, home, care_of)))
            return p;
    }
}

uint16_t fc_fwd_port_of(fc_forwarder *f, uint32_t node, uint16_t bid, const uint8_t care_of[4])
{
    fc_address home;
    uint16_t port = 0;
    if (f->options.udp < 0 || fc_fib_home_address(f->fib, node, &home) != FC_OK)
        return 0;
    pthread_mutex_lock(&f->address_lock);
    if (f->port)
        port = port_place(f->port, f->ports_mask, &home, bid, care_of_word(care_of))->port;
    pthread_mutex_unlock(&f->address_lock);
    return port;
}

int fc_fwd_port_fits(fc_forwarder *f, uint32_t node, const uint8_t care_of[4], uint16_t port)
{
    fc_address home;
    int known = 0, fits = 0;
    if (fc_fib_home_address(f->fib, node, &home) != FC_OK)
        return 0;
    pthread_mutex_lock(&f->address_lock);
    uint32_t word = care_of_word(care_of);
    for (uint64_t at = port_hash(&home, word); f->port && f->port[at & f->ports_mask].version; at++) {
        const fc_fwd_port *p = &f->port[at & f->ports_mask];
        known |= p->port && port_is_of(p, &home, word);
        fits |= p->port == port && port_is_of(p, &home, word);
    }
    pthread_mutex_unlock(&f->address_lock);
    return fits || !known;
}

static int ports_grow(fc_forwarder *f)
{
    uint32_t used = 0;
    for (uint32_t i = 0; f->port && i <= f->ports_mask; i++)
        used += f->port[i].port != 0;
    uint32_t size = FIRST_PORTS;
    while (size < 4 * (used + 1))
        size *= 2;
    fc_fwd_port *table = calloc(size, sizeof *table);
    if (!table)
        return FC_ENOMEM;
    for (uint32_t i = 0; f->port && i <= f->ports_mask; i++) {
        fc_fwd_port *p = &f->port[i];
        fc_address home = {{p->home[0], p->home[1]}, p->version, 0, {0}};
        if (p->port)
            *port_place(table, size - 1, &home, p->bid, p->care_of) = *p;
    }
    free(f->port);
    f->port = table;
    f->ports_mask = size - 1;
    f->ports_filled = used;
    return FC_OK;
}

int fc_forwarder_set_port(fc_forwarder *f, const fc_address *home, uint16_t bid, const uint8_t care_of[4],
                          uint16_t port)
{
    if (home->version != 4 && home->version != 6)
        return FC_EINVAL;
    int status = FC_OK;
    pthread_mutex_lock(&f->address_lock);
    if (!f->port || 2 * (f->ports_filled + 1) > f->ports_mask)
        status = ports_grow(f);
    if (status == FC_OK) {
        fc_fwd_port *p = port_place(f->port, f->ports_mask, home, bid, care_of_word(care_of));
        f->ports_filled += p->version == 0;
        *p = (fc_fwd_port){{home->words[0], home->words[1]}, care_of_word(care_of), bid, port, home->version};
    }
    pthread_mutex_unlock(&f->address_lock);
    return status;
}
#endif
