/* The worked example at the head of build.c. */
#include <stdio.h>
#include <stdlib.h>

#include "rules/build.h"

#define CHECK(x)                                                    \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                                \
        }                                                           \
    } while (0)

static fc_rule rule(uint32_t source, int length, uint32_t destination, int port, int conditions)
{
    fc_rule r = {.version = 4, .conditions = (uint8_t)conditions};
    r.source_first[1] = source;
    r.source_last[1] = source | 0xffffffffu >> length;
    r.destination_first[1] = r.destination_last[1] = destination;
    r.destination_port_first = r.destination_port_last = (uint16_t)port;
    return r;
}

int main(void)
{
    const fc_rule rules[5] = {
        rule(10u << 24, 8, 0, 0, FC_SOURCE),
        rule(10u << 24, 8, 0xc0000201, 80, FC_SOURCE | FC_DESTINATION | FC_DESTINATION_PORT),
        rule(11u << 24, 8, 0, 0, FC_SOURCE),
        rule(0, 8, 0xc0000202, 443, FC_DESTINATION | FC_DESTINATION_PORT),
        rule(10u << 24, 7, 0, 0, FC_SOURCE),
    };
    const uint64_t want[5][2] = {{0xff00000000000000, 0x0a00000000000000},
                                 {0xff000000ffffffff, 0x0a000000c0000201},
                                 {0xff00000000000000, 0x0b00000000000000},
                                 {0x00000000ffffffff, 0x00000000c0000202},
                                 {0xfe00000000000000, 0x0a00000000000000}};
    const int part[5] = {5, 1, 5, 1, 5};
    fc_forest plain = {.version = 4, .words = 3};
    for (int i = 0; i < 5; i++) {
        uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
        uint64_t care[FC_MAX_WORDS], value[FC_MAX_WORDS];
        CHECK(fc_rule_lanes(4, &rules[i], lo, hi) == 1);
        fc_rule_bits(4, &rules[i], lo, hi, care, value);
        CHECK(care[0] == want[i][0] && value[0] == want[i][1]);
        CHECK(fc_tree_of(&plain, care, 13, 13) == part[i]);
    }

    /* the tree "rest", alone: rules 0, 2 and 4 */
    const fc_rule rest[3] = {rules[0], rules[2], rules[4]};
    const fc_build_options small = {.leaf = 1, .slots = 4, .copies = 4, .keep_covered = 1};
    fc_forest f;
    fc_table_info info = {0};
    CHECK(fc_forest_build(&f, 4, rest, 3, NULL, &small, &info) == FC_OK);
    CHECK(f.trees == 1);
    uint64_t eleven[FC_MAX_WORDS] = {0x0b010101c0000209}, ten[FC_MAX_WORDS] = {0x0a010101c0000209};
    {
        const int t = 0;
        CHECK(f.tree[t].mask[0] == 1ull << 56 && f.tree[t].mask[1] == 0);
        const uint64_t *key[2] = {ten, eleven};
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t slot = fc_root(&f, &f.tree[t], key[side]), number[2];
            const uint16_t *lo, *span;
            CHECK(slot == f.tree[t].slot[side] && slot >> 30 == FC_LEAF);
            fc_leaf_at leaf = fc_leaf_open(&f, slot);
            CHECK(leaf.n == 2);
            for (uint32_t i = 0; i < 2; i++)
                fc_leaf_body(&f, &leaf, i, &number[i], &lo, &span);
            CHECK(number[0] == side && number[1] == 2);
        }
    }
    fc_forest_release(&f);

    fc_table *table;
    const fc_key packet = {
        .source = {0, 0x0b010101}, .destination = {0, 0xc0000209}, .version = 4, .present = FC_SOURCE | FC_DESTINATION};
    int32_t hit;
    CHECK(fc_table_build(rules, 5, NULL, &table, NULL) == FC_OK);
    CHECK(fc_table_lookup(table, &packet, 1, &hit, FC_KERNEL_SCALAR) == FC_OK && hit == 2);
    fc_table_free(table);
    puts("example: ok");
    return 0;
}
