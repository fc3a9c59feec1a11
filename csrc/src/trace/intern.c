/* intern.c - numbers for records that are often alike. */
#include <stdlib.h>
#include <string.h>

#include "../common/wide.h"
#include "intern.h"

#define MAX_LIMIT (1u << 24)
#define MAX_WORDS 16u
#define NO_NUMBER UINT32_MAX

struct fc_ids {
    uint32_t words, limit, count, mask;
    uint32_t *slots; /* numbers, or NO_NUMBER; open addressing, at most half full */
    uint64_t *records;
    uint64_t factors[2 * MAX_WORDS + 1];
};

int fc_ids_new(uint32_t words, uint32_t limit, uint64_t secret, fc_ids **out)
{
    if (words == 0 || words > MAX_WORDS || limit == 0 || limit > MAX_LIMIT || !out)
        return FC_EINVAL;
    uint32_t slots = 2;
    while (slots < 2 * limit)
        slots *= 2;
    fc_ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        return FC_ENOMEM;
    ids->slots = malloc(slots * sizeof *ids->slots);
    ids->records = malloc((size_t)limit * words * sizeof *ids->records);
    if (!ids->slots || !ids->records) {
        fc_ids_free(ids);
        return FC_ENOMEM;
    }
    ids->words = words;
    ids->limit = limit;
    ids->mask = slots - 1;
    for (uint64_t i = 0; i < 2 * MAX_WORDS + 1; i++)
        ids->factors[i] = fc_scramble(secret + i * FC_GOLDEN, secret);
    fc_ids_clear(ids);
    *out = ids;
    return FC_OK;
}

void fc_ids_free(fc_ids *ids)
{
    if (!ids)
        return;
    free(ids->slots);
    free(ids->records);
    free(ids);
}

void fc_ids_clear(fc_ids *ids)
{
    ids->count = 0;
    memset(ids->slots, 0xff, ((size_t)ids->mask + 1) * sizeof *ids->slots);
}

uint32_t fc_ids_count(const fc_ids *ids) { return ids->count; }

/* Records may be chosen by whoever sends packets. For factors that they don't know, two different records have the same
 * upper 32 bits of this sum with probability 2^-32 (MULTILINEAR-HM of Lemire and Kaser, "Strongly universal string
 * hashing is fast", Computer Journal 57, 2014). */
static uint32_t hash_record(const fc_ids *ids, const uint64_t *record)
{
    uint64_t h = ids->factors[2 * MAX_WORDS];
    for (uint32_t i = 0; i < ids->words; i++)
        h += (ids->factors[2 * i] + (uint32_t)record[i]) * (ids->factors[2 * i + 1] + (record[i] >> 32));
    return (uint32_t)(h >> 32);
}

size_t fc_ids_number(fc_ids *ids, const uint64_t *records, size_t n, uint32_t *numbers, uint32_t *first,
                     size_t *n_first)
{
    const size_t words = ids->words, size = words * sizeof *records;
    *n_first = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t *record = records + i * words;
        if (i > 0 && memcmp(record, record - words, size) == 0) { /* often the same as before: no need to look */
            numbers[i] = numbers[i - 1];
            continue;
        }
        uint32_t slot = hash_record(ids, record) & ids->mask;
        while (ids->slots[slot] != NO_NUMBER && memcmp(ids->records + ids->slots[slot] * words, record, size) != 0)
            slot = (slot + 1) & ids->mask;
        if (ids->slots[slot] == NO_NUMBER) {
            if (ids->count == ids->limit)
                return i;
            memcpy(ids->records + ids->count * words, record, size);
            ids->slots[slot] = ids->count++;
            first[(*n_first)++] = (uint32_t)i;
        }
        numbers[i] = ids->slots[slot];
    }
    return n;
}
