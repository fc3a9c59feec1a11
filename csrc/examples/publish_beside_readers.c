/* publish_beside_readers [SECONDS]: one thread moves mobile nodes to new care-of addresses, two others look packets up.
 *
 * What it shows: readers take no lock and never wait; a decision is of the state before or after a publish, never of
 * half of one. Each node's two care-of addresses carry the same generation number, so a reader can tell. Ends with 1 if
 * any decision was mixed, went to another node's address, or was no decision. cc -pthread publish_beside_readers.c
 * $(pkg-config --cflags --libs flowclass) -o publish_beside_readers */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <flowclass.h>

enum { NODES = 1000, BATCH = 256 };

static fc_fib *fib;
static atomic_bool over;
static atomic_uint_fast64_t looked_up, wrong;

/* Octets 8 to 11 of a care-of address are the generation, the last four the node. */
static void address_of(uint8_t address[16], unsigned access, uint32_t generation, uint32_t node)
{
    const uint8_t start[8] = {0x20, 0x01, 0x0d, 0xb8, 0, (uint8_t)(0x0a + access), 0, 0};
    memcpy(address, start, 8);
    for (int i = 0; i < 4; i++) {
        address[8 + i] = (uint8_t)(generation >> (24 - 8 * i));
        address[12 + i] = (uint8_t)(node >> (24 - 8 * i));
    }
}

static int publish(uint32_t n, uint32_t generation)
{
    fc_target targets[2];
    memset(targets, 0, sizeof targets); /* reserved members are 0 */
    for (unsigned access = 0; access < 2; access++) {
        address_of(targets[access].address, access, generation, n);
        targets[access].bid = (uint16_t)(access + 1);
        targets[access].version = 6;
    }
    /* two copies of whatever goes to port 443: n-cast to both care-of addresses */
    const uint16_t both[2] = {0, 1};
    const fc_flow flow = {
        .rule = {.version = 6,
                 .conditions = FC_DESTINATION_PORT,
                 .destination_port_first = 443,
                 .destination_port_last = 443},
        .fid = 1,
        .action = FC_ACTION_NCAST,
        .n_targets = 2,
    };
    const fc_node node = {
        .home = {.words = {0x20010db800010000, n + 1}, .version = 6},
        .targets = targets,
        .n_targets = 2,
        .flows = &flow,
        .n_flows = 1,
        .flow_targets = both,
        .n_flow_targets = 2,
        .default_target = 0,
    };
    return fc_fib_publish(fib, &node, NULL);
}

static int is_address(const uint8_t *address, uint32_t n)
{
    uint8_t want[16];
    address_of(want, address[5] - 0x0au, 0, n);
    return memcmp(address, want, 8) == 0 && memcmp(address + 12, want + 12, 4) == 0;
}

static void *reader(void *unused)
{
    (void)unused;
    static _Thread_local fc_key keys[BATCH];
    static _Thread_local fc_decision out[BATCH];
    fc_target targets[FC_MAX_FANOUT];
    uint32_t next = 0;
    while (!atomic_load(&over)) {
        for (int i = 0; i < BATCH; i++, next = (next + 1) % NODES)
            keys[i] = (fc_key){.version = 6,
                               .present = FC_SOURCE | FC_DESTINATION | FC_DESTINATION_PORT | FC_PROTOCOL,
                               .source = {0x20010db8000c0000, 1},
                               .destination = {0x20010db800010000, next + 1},
                               .protocol = 6,
                               .destination_port = i % 2 ? 443 : 80};
        if (fc_fib_classify(fib, keys, BATCH, FC_KERNEL_AUTO, 1, out)) {
            atomic_fetch_add(&wrong, 1);
            continue;
        }
        for (int i = 0; i < BATCH; i++) {
            uint32_t node = (uint32_t)keys[i].destination[1] - 1;
            uint32_t n = fc_fib_targets(fib, &out[i], targets, FC_MAX_FANOUT);
            int good =
                is_address(out[i].care_of, node) && out[i].action == (i % 2 ? FC_ACTION_NCAST : FC_ACTION_FORWARD);
            /* both copies are of one generation. None: the node was replaced since, and the decision is out of date */
            if (good && i % 2 && n)
                good = n == 2 && memcmp(targets[0].address + 8, targets[1].address + 8, 8) == 0;
            if (!good)
                atomic_fetch_add(&wrong, 1);
        }
        atomic_fetch_add(&looked_up, BATCH);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const uint8_t secret[16] = {1, 2, 3}; /* a real host draws it at random */
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 2.0;
    pthread_t threads[2];
    uint64_t published = 0;
    struct timespec start, now;
    int status = fc_fib_new(secret, &fib);
    for (uint32_t n = 0; !status && n < NODES; n++)
        status = publish(n, 0);
    if (status) {
        fprintf(stderr, "publish_beside_readers: %s\n", fc_status_text(status));
        return 1;
    }
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, reader, NULL))
            return 1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (uint32_t n = 0; !status && n < NODES; n++, published++)
            status = publish(n, (uint32_t)(published / NODES + 1));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (!status && (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    atomic_store(&over, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("%" PRIu64 " publishes beside %" PRIuFAST64 " look-ups, %" PRIuFAST64 " wrong%s%s\n", published,
           atomic_load(&looked_up), atomic_load(&wrong), status ? ": " : "", status ? fc_status_text(status) : "");
    fc_fib_free(fib);
    return status || atomic_load(&wrong);
}
