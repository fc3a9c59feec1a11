/* intern.h - numbers for records that are often alike (decisions): equal records have equal numbers, counted from 0.
 * For the command line; not part of the public interface. One caller at a time per object. */
#ifndef FC_INTERN_H
#define FC_INTERN_H

#include "flowclass.h"

typedef struct fc_ids fc_ids;

/* Makes an object for records of `words` 64-bit words (1 to 16), at most `limit` different ones (1 to 2^24). The
 * numbers don't depend on the `secret`, which keeps whoever chooses the records from choosing ones that take long.
 * Returns FC_OK, FC_EINVAL or FC_ENOMEM. */
int fc_ids_new(uint32_t words, uint32_t limit, uint64_t secret, fc_ids **out);
void fc_ids_free(fc_ids *ids);
void fc_ids_clear(fc_ids *ids);
uint32_t fc_ids_count(const fc_ids *ids);
/* Numbers n records: numbers[i] becomes the number of record i. *n_first is how many of them were new, and first[k] the
 * index of the k-th new one (room for n). Returns how many records were numbered: fewer than n when `limit` was
 * reached. */
size_t fc_ids_number(fc_ids *ids, const uint64_t *records, size_t n, uint32_t *numbers, uint32_t *first,
                     size_t *n_first);

#endif
