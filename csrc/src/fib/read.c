/* read.c - the forwarding table's readers' half: batches, threads, and what a decision means. publish.c has the theory.
 */
#include "../common/kernel.h"
#include "../common/thread.h"
#include "search.h"

#define CALL_KEYS 16384u  /* keys decided in one stay in the epoch: about a millisecond */
#define PACKET_BLOCK 128u /* packets parsed ahead of their decisions */
#define SPLIT 8192u       /* keys worth a thread: starting one takes about 20 us */
#define MAX_THREADS 256u

/* ---- Readers ------------------------------------------------------------------------------------ */

static fib_decide_fn *const kernels[FC_KERNEL_COUNT] = {
    [FC_KERNEL_SCALAR] = fc_fib_decide_scalar,
#if defined(__x86_64__)
    [FC_KERNEL_AVX2] = fc_fib_decide_avx2,
    [FC_KERNEL_AVX512] = fc_fib_decide_avx512,
#elif defined(__aarch64__)
    [FC_KERNEL_NEON] = fc_fib_decide_neon,
#endif
};

static int choose_kernel(int kernel, fib_decide_fn **decide)
{
    int status = fc_kernel_check(kernel);
    if (status == FC_OK)
        *decide = kernels[fc_kernel_resolve(kernel)];
    return status;
}

typedef struct work {
    fc_fib *fib;
    fib_decide_fn *decide;
    const fc_key *keys;     /* NULL: packets */
    const fc_packet *infos; /* of the keys, or NULL */
    int linktype;
    const uint16_t *linktypes;
    const uint8_t *buffer;
    const uint64_t *offsets;
    const uint32_t *lengths;
    const fc_parse_options *options;
    size_t n;
    fc_decision *out;
} work;

/* Decides keys, CALL_KEYS of them in one stay in the epoch: enough that entering costs next to nothing, and few enough
 * that memory which was replaced need not wait long. */
static void run_keys(const work *w)
{
    for (size_t at = 0; at < w->n; at += CALL_KEYS) {
        unsigned slot = fc_epoch_enter(&w->fib->epoch);
        w->decide(w->fib, w->keys + at, w->infos ? w->infos + at : NULL, w->n - at < CALL_KEYS ? w->n - at : CALL_KEYS,
                  w->out + at);
        fc_epoch_leave(&w->fib->epoch, slot);
    }
}

static void run_packets(const work *w)
{
    fc_key keys[PACKET_BLOCK];
    fc_packet infos[PACKET_BLOCK];
    fc_parse_options options = w->options ? *w->options : (fc_parse_options){0};
    const int64_t *times = options.times;
    for (size_t at = 0; at < w->n; at += PACKET_BLOCK) {
        size_t n = w->n - at < PACKET_BLOCK ? w->n - at : PACKET_BLOCK;
        options.times = times ? times + at : NULL;
        fc_parse_batch(w->linktype, w->linktypes ? w->linktypes + at : NULL, w->buffer, w->offsets + at,
                       w->lengths + at, n, &options, keys, infos);
        unsigned slot = fc_epoch_enter(&w->fib->epoch);
        w->decide(w->fib, keys, infos, n, w->out + at);
        fc_epoch_leave(&w->fib->epoch, slot);
    }
}

static void *run_part(void *arg)
{
    const work *w = arg;
    (w->keys ? run_keys : run_packets)(w);
    return NULL;
}

static work part_of(const work *w, size_t first, size_t n)
{
    work part = *w;
    part.n = n;
    part.out += first;
    if (w->keys) {
        part.keys += first;
        if (w->infos)
            part.infos += first;
        return part;
    }
    part.offsets += first;
    part.lengths += first;
    if (w->linktypes)
        part.linktypes += first;
    return part;
}

/* Splits the work among threads. The calling thread does the first part, and each part for which no thread could be
 * started. */
static void run_split(const work *w, unsigned threads)
{
    work part[MAX_THREADS];
    pthread_t thread[MAX_THREADS];
    unsigned char started[MAX_THREADS];
    size_t most = w->n / SPLIT < MAX_THREADS ? w->n / SPLIT : MAX_THREADS;
    if (threads > most)
        threads = (unsigned)most;
    if (threads == 0)
        threads = 1;
    for (unsigned i = 0; i < threads; i++) {
        size_t first = w->n * i / threads;
        part[i] = part_of(w, first, w->n * (i + 1) / threads - first);
        started[i] = i > 0 && fc_thread_start(&thread[i], run_part, &part[i]) == 0;
    }
    for (unsigned i = 0; i < threads; i++)
        if (!started[i])
            run_part(&part[i]);
    for (unsigned i = 0; i < threads; i++)
        if (started[i])
            pthread_join(thread[i], NULL);
}

int fc_fib_classify(fc_fib *fib, const fc_key *keys, size_t n, int kernel, unsigned threads, fc_decision *out)
{
    return fc_fib_classify_parsed(fib, keys, NULL, n, kernel, threads, out);
}

int fc_fib_classify_parsed(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, int kernel,
                           unsigned threads, fc_decision *out)
{
    work w = {.fib = fib, .keys = keys, .infos = infos, .n = n, .out = out};
    int status = choose_kernel(kernel, &w.decide);
    if (status == FC_OK && n)
        run_split(&w, threads);
    return status;
}

int fc_fib_classify_packets(fc_fib *fib, int linktype, const uint16_t *linktypes, const uint8_t *buffer,
                            const uint64_t *offsets, const uint32_t *lengths, size_t n, const fc_parse_options *options,
                            int kernel, unsigned threads, fc_decision *out)
{
    work w = {.fib = fib,
              .linktype = linktype,
              .linktypes = linktypes,
              .buffer = buffer,
              .offsets = offsets,
              .lengths = lengths,
              .options = options,
              .n = n,
              .out = out};
    int status = choose_kernel(kernel, &w.decide);
    if (status == FC_OK && n)
        run_split(&w, options && options->fragments ? 1 : threads);
    return status;
}

void fc_fib_classify_one(fc_fib *fib, int linktype, const uint8_t *data, uint32_t caplen, fc_decision *out)
{
    fc_key key;
    fc_packet info;
    fc_parse(linktype, data, caplen, &key, &info);
    unsigned slot = fc_epoch_enter(&fib->epoch);
    fc_fib_decide_scalar(fib, &key, &info, 1, out);
    fc_epoch_leave(&fib->epoch, slot);
}

/* ---- What decisions mean ------------------------------------------------------------------------ */

static const fib_record *record_of(const fc_fib *fib, uint32_t node)
{
    if (node >= atomic_load_explicit(&fib->node_limit, memory_order_acquire))
        return NULL;
    uint32_t ref = atomic_load_explicit(&fib_node_place(fib, node)->ref, memory_order_acquire);
    return ref ? (const fib_record *)(const void *)fib_at(&fib->arena, ref) : NULL;
}

static fc_target own_target(const fc_decision *d)
{
    fc_target t = {{0}, d->bid, d->flags & FC_CARE_OF_IPV4 ? 4 : 6, 0};
    memcpy(t.address, d->care_of, sizeof t.address);
    return t;
}

static uint32_t small_list(const fib_record *r, uint16_t fid, fc_target *out, uint32_t room)
{
    for (unsigned i = 0; i < r->n; i++) {
        fib_body b;
        memcpy(&b, fib_body_end(r, i) - sizeof b, sizeof b);
        if (b.fid != fid || !(b.form & FIB_MULTI) || (b.form >> FIB_ACTION & 3) != FC_ACTION_NCAST)
            continue;
        const uint8_t *indices;
        uint32_t n = fib_list_small(r, b.target, &indices);
        for (uint32_t j = 0; j < n && j < room; j++)
            out[j] = fib_targets_small(r)[indices[j]];
        return n < room ? n : room;
    }
    return 0;
}

static uint32_t big_list(const fib_record *r, uint16_t fid, fc_target *out, uint32_t room)
{
    const uint8_t *p = (const uint8_t *)r;
    const fib_big *big = fib_big_of(r);
    const fib_meta *m = (const fib_meta *)(const void *)(p + big->meta);
    for (uint32_t i = 0; i < big->n_flows; i++) {
        if (m[i].fid != fid || !m[i].multi || m[i].action != FC_ACTION_NCAST)
            continue;
        uint16_t n, index;
        memcpy(&n, p + m[i].target, 2);
        for (uint32_t j = 0; j < n && j < room; j++) {
            memcpy(&index, p + m[i].target + 2 + 2 * (size_t)j, 2);
            memcpy(&out[j], p + big->targets + sizeof(fc_target) * index, sizeof *out);
        }
        return n < room ? n : room;
    }
    return 0;
}

/* The present record of the node that a decision is about, or NULL if that node is gone. (Its number may be another
 * node's by now.) */
static const fib_record *record_of_decision(const fc_fib *fib, const fc_decision *d)
{
    const fib_record *r = record_of(fib, d->node);
    if (!r || fib_version_of(r) == d->version)
        return r;
    /* the record was replaced since. The node is the same one if the decision is no older than that node's first
     * record; versions are compared modulo 2^32 */
    return (int32_t)(d->version - fc_fib_born(fib, d->node)) >= 0 ? r : NULL;
}

uint32_t fc_fib_born(const fc_fib *fib, uint32_t node)
{
    return atomic_load_explicit(&fib_node_place(fib, node)->born, memory_order_acquire);
}

uint32_t fc_fib_targets(fc_fib *fib, const fc_decision *d, fc_target *out, uint32_t room)
{
    if (d->n_targets == 0 || room == 0)
        return 0;
    uint32_t n = 0;
    if (d->n_targets > 1) {
        unsigned slot = fc_epoch_enter(&fib->epoch);
        const fib_record *r = record_of_decision(fib, d);
        if (r)
            n = (r->flags & FIB_BIG ? big_list : small_list)(r, d->fid, out, room);
        fc_epoch_leave(&fib->epoch, slot);
    }
    if (n == 0) /* there is one target, or the node or flow is gone: take the target in the decision itself */
        out[n++] = own_target(d);
    return n;
}

int fc_fib_decider(fc_fib *fib, const fc_decision *d, fc_address *out)
{
    unsigned slot = fc_epoch_enter(&fib->epoch);
    const fib_record *r = d->flags & FC_HAS_NODE ? record_of_decision(fib, d) : NULL;
    if (r)
        *out = fib_home_of(r);
    fc_epoch_leave(&fib->epoch, slot);
    return r ? FC_OK : FC_ENOENT;
}

int fc_fib_home_address(fc_fib *fib, uint32_t node, fc_address *out)
{
    unsigned slot = fc_epoch_enter(&fib->epoch);
    const fib_record *r = record_of(fib, node);
    if (r)
        *out = fib_home_of(r);
    fc_epoch_leave(&fib->epoch, slot);
    return r ? FC_OK : FC_ENOENT;
}

int fc_fib_find(fc_fib *fib, const fc_address *home, uint32_t *number)
{
    uint32_t ref;
    unsigned slot = fc_epoch_enter(&fib->epoch);
    const fib_record *r =
        fib_probe(fib, atomic_load_explicit(&fib->home, memory_order_acquire), home->words, home->version, -1, &ref);
    if (r)
        *number = r->node;
    fc_epoch_leave(&fib->epoch, slot);
    return r ? FC_OK : FC_ENOENT;
}

int fc_fib_sender(fc_fib *fib, const fc_address *source, const fc_address *care_of, uint32_t *number)
{
    const fc_key k = {
        .destination = {source->words[0], source->words[1]}, .version = source->version, .present = FC_DESTINATION};
    uint8_t wanted[16] = {0};
    unsigned width = care_of->version == 4 ? 4 : 16;
    for (unsigned i = 0; i < width; i++)
        wanted[i] = (uint8_t)(care_of->words[(i + 16 - width) / 8] >> (56 - 8 * ((i + 16 - width) % 8)));
    int status = FC_ENOENT;
    uint32_t ref = 0;
    unsigned slot = fc_epoch_enter(&fib->epoch);
    const fib_record *r = fib_find(fib, &k, &ref);
    if (r) {
        int large = r->flags & FIB_BIG;
        const fc_target *t = large ? (const fc_target *)(const void *)((const uint8_t *)r + fib_big_of(r)->targets)
                                   : fib_targets_small(r);
        uint32_t n = large ? fib_big_of(r)->n_targets : r->n_targets;
        for (uint32_t i = 0; i < n && status != FC_OK; i++)
            if (t[i].version == care_of->version && memcmp(t[i].address, wanted, width) == 0)
                status = FC_OK;
        if (status == FC_OK)
            *number = r->node;
    }
    fc_epoch_leave(&fib->epoch, slot);
    return status;
}
