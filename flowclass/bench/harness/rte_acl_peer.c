/* DPDK's rte_acl behind four functions, to run beside flowclass in one process (see rte_acl.py).
 *
 * Built on demand against the system's libdpdk; nothing of DPDK is part of this project. Rules and keys come as
 * flowclass's own structures and are converted before anything is timed. Five-tuples with prefixes only: that is what
 * rte_acl takes. The layout of a key is that of DPDK's own examples: the protocol's octet first (the library wants one
 * octet first), then groups of four octets in network order; an IPv6 address is four of them.
 */
#define _GNU_SOURCE /* thread affinity */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_malloc.h>

#include "flowclass.h"

enum { V4_FIELDS = 5, V6_FIELDS = 11, V4_STRIDE = 16, V6_STRIDE = 40, PROTOCOL_AT = 3, WORDS_AT = 4 };

typedef struct peer {
    struct rte_acl_ctx *acl;
    size_t bytes; /* what the build left allocated, rules not counted */
    int version;
} peer;

/* The structures as passed by the Python side, checked here once. */
_Static_assert(sizeof(fc_key) == 48 && sizeof(fc_rule) == 96, "layout of flowclass.h");

static size_t heap_in_use(void)
{
    struct rte_malloc_socket_stats stats;
    return rte_malloc_get_socket_stats(0, &stats) == 0 ? stats.heap_allocsz_bytes : 0;
}

/* Starts DPDK's environment without huge pages, devices or files. The affinity that it forces on the calling thread is
 * undone. `megabytes` is the most that it may allocate (reserved, not touched). 0, or a negative number. DPDK can be
 * started once in a process: later calls do nothing. */
int peer_start(unsigned megabytes)
{
    static int started;
    if (started)
        return 0;
    cpu_set_t before;
    char memory[16], core[16];
    pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    unsigned first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    snprintf(memory, sizeof memory, "%u", megabytes);
    snprintf(core, sizeof core, "%u", first);
    char *arguments[] = {"peer", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=3", "-m", memory,
                         "-l",   core,        "--force-max-simd-bitwidth=512"};
    int status = rte_eal_init(sizeof arguments / sizeof *arguments, arguments);
    pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    started = status >= 0;
    return started ? 0 : status;
}

static void define_fields(struct rte_acl_config *config, int version)
{
    uint32_t addresses = version == 4 ? 2 : 8, field = 0;
    memset(config, 0, sizeof *config);
    config->num_categories = 1;
    config->num_fields = version == 4 ? V4_FIELDS : V6_FIELDS;
    config->defs[field] = (struct rte_acl_field_def){RTE_ACL_FIELD_TYPE_BITMASK, 1, field, 0, PROTOCOL_AT};
    for (field = 1; field <= addresses; field++)
        config->defs[field] =
            (struct rte_acl_field_def){RTE_ACL_FIELD_TYPE_MASK, 4, field, field, WORDS_AT + 4 * (field - 1)};
    for (uint32_t port = 0; port < 2; port++, field++) /* both ports are one group of four octets */
        config->defs[field] = (struct rte_acl_field_def){RTE_ACL_FIELD_TYPE_RANGE, 2, field, addresses + 1,
                                                         WORDS_AT + 4 * addresses + 2 * port};
}

/* One address as prefixes of 32-bit words, most significant first. -1 when the range is no prefix. */
static int put_prefix(struct rte_acl_field *field, int words, const uint64_t first[2], const uint64_t last[2], int stated)
{
    int ended = 0;
    for (int i = 0; i < words; i++) {
        int place = 4 - words + i, shift = place % 2 ? 0 : 32; /* an IPv4 address is the last of four words */
        uint32_t lo = (uint32_t)(first[place / 2] >> shift), hi = (uint32_t)(last[place / 2] >> shift), span = hi ^ lo;
        if (!stated)
            lo = 0, span = UINT32_MAX;
        if ((span & (span + 1)) || (lo & span) || (ended && span != UINT32_MAX))
            return -1;
        ended = span != 0;
        field[i].value.u32 = lo;
        field[i].mask_range.u32 = span ? (uint32_t)__builtin_clz(span) : 32;
    }
    return 0;
}

/* One rule in rte_acl's form; userdata is its index + 1, priority falls with the index. -1: not expressible. */
static int convert(const fc_rule *rule, size_t index, size_t n, int version, struct rte_acl_rule *out)
{
    int words = version == 4 ? 1 : 4, any = !(rule->conditions & FC_PROTOCOL);
    struct rte_acl_field *field = out->field;
    out->data.category_mask = 1;
    out->data.priority = (int32_t)(n - index);
    out->data.userdata = (uint32_t)index + 1;
    if (rule->version != version || (rule->conditions & (FC_FLOW_LABEL | FC_SPI | FC_TRAFFIC_CLASS)) ||
        (!any && rule->protocol_first != rule->protocol_last))
        return -1;
    field->value.u8 = any ? 0 : rule->protocol_first;
    field->mask_range.u8 = any ? 0 : 0xFF;
    field++;
    if (put_prefix(field, words, rule->source_first, rule->source_last, rule->conditions & FC_SOURCE) ||
        put_prefix(field + words, words, rule->destination_first, rule->destination_last,
                   rule->conditions & FC_DESTINATION))
        return -1;
    field += 2 * words;
    int stated = rule->conditions & FC_SOURCE_PORT;
    field[0].value.u16 = stated ? rule->source_port_first : 0;
    field[0].mask_range.u16 = stated ? rule->source_port_last : 0xFFFF;
    stated = rule->conditions & FC_DESTINATION_PORT;
    field[1].value.u16 = stated ? rule->destination_port_first : 0;
    field[1].mask_range.u16 = stated ? rule->destination_port_last : 0xFFFF;
    return 0;
}

void peer_free(peer *p)
{
    if (p) {
        rte_acl_free(p->acl);
        free(p);
    }
}

/* A context with all rules, built. NULL: `*failed` is the index of a rule that rte_acl can't express, or -1 - errno. */
peer *peer_build(const fc_rule *rules, size_t n, int version, int64_t *failed)
{
    static unsigned serial;
    char name[RTE_ACL_NAMESIZE];
    struct rte_acl_config config;
    peer *p = calloc(1, sizeof *p);
    define_fields(&config, version);
    snprintf(name, sizeof name, "peer%u", serial++);
    size_t rule_size = RTE_ACL_RULE_SZ(config.num_fields);
    struct rte_acl_param parameters = {name, 0, (uint32_t)rule_size, (uint32_t)n};
    struct rte_acl_rule *row = calloc(1, rule_size);
    int status = -12;
    *failed = -1 + status;
    if (!p || !row || n > RTE_ACL_MAX_PRIORITY || !(p->acl = rte_acl_create(&parameters)))
        goto fail;
    p->version = version;
    for (size_t i = 0; i < n; i++) {
        *failed = (int64_t)i;
        if (convert(&rules[i], i, n, version, row) || rte_acl_add_rules(p->acl, row, 1))
            goto fail;
    }
    size_t before = heap_in_use();
    if ((status = rte_acl_build(p->acl, &config)) != 0) {
        *failed = -1 + status;
        goto fail;
    }
    p->bytes = heap_in_use() - before;
    free(row);
    return p;
fail:
    free(row);
    peer_free(p);
    return NULL;
}

size_t peer_bytes(const peer *p)
{
    return p->bytes;
}

/* Octets that peer_pack writes for each key. */
size_t peer_stride(int version)
{
    return version == 4 ? V4_STRIDE : V6_STRIDE;
}

static void put_word(uint8_t *to, uint64_t value)
{
    uint32_t word = __builtin_bswap32((uint32_t)value);
    memcpy(to, &word, 4);
}

/* Keys as rte_acl reads them: n * peer_stride octets, and a pointer to each. */
void peer_pack(const fc_key *keys, size_t n, int version, uint8_t *octets, const uint8_t **pointers)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *key = octets + i * peer_stride(version), *at = key + WORDS_AT;
        const uint64_t *sides[] = {keys[i].source, keys[i].destination};
        key[PROTOCOL_AT] = keys[i].protocol;
        for (int side = 0; side < 2; side++) {
            if (version == 6) {
                put_word(at, sides[side][0] >> 32);
                put_word(at + 4, sides[side][0]);
                put_word(at + 8, sides[side][1] >> 32);
                at += 12;
            }
            put_word(at, sides[side][1]);
            at += 4;
        }
        put_word(at, (uint64_t)keys[i].source_port << 16 | keys[i].destination_port);
        pointers[i] = key;
    }
}

/* One call over all keys: results[i] is the index of the first match + 1, 0 for none. rte_acl's own status. It checks
 * whether the processor has what an algorithm needs only as a context is given it: rte_acl_classify_alg just runs. */
int peer_classify(const peer *p, const uint8_t **pointers, uint32_t n, int algorithm, uint32_t *results)
{
    int status = rte_acl_set_ctx_classify(p->acl, (enum rte_acl_classify_alg)algorithm);
    return status ? status : rte_acl_classify(p->acl, pointers, results, n, 1);
}
