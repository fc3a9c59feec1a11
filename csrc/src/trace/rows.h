/* fc_rows.h - per-packet rows as text, for the command line; not part of the public interface. One caller at a time
 * per object. */
#ifndef FC_ROWS_H
#define FC_ROWS_H

#include "flowclass.h"

/* Numbers for records that are often alike (decisions): equal records have equal numbers, counted from 0. */
typedef struct fc_ids fc_ids;

/* Records of `words` 64-bit words (1 to 16), at most `limit` different ones (1 to 2^24). FC_EINVAL, FC_ENOMEM. */
int fc_ids_new(uint32_t words, uint32_t limit, fc_ids **out);
void fc_ids_free(fc_ids *ids);
void fc_ids_clear(fc_ids *ids);
uint32_t fc_ids_count(const fc_ids *ids);
/* numbers[i] for record i; first[k] is where the k-th record that was new here stands (room for n). Returns how many
 * records were numbered: fewer than n when `limit` was reached. */
size_t fc_ids_number(fc_ids *ids, const uint64_t *records, size_t n, uint32_t *numbers, uint32_t *first,
                            size_t *n_first);

/* Pieces of text for rows of `head frame middle time tail`; tails[i] is text + ends[i - 1] to ends[i] (0 before the first). */
typedef struct fc_row_texts {
    const char *head, *middle, *null; /* null: instead of a time that is FC_NO_TIME */
    size_t head_size, middle_size, null_size;
    const char *text;
    const uint64_t *ends;
} fc_row_texts;

/* Writes n rows in decimal; `out` has room for FC_ROW_DIGITS + head + middle + null + tail octets for each. Returns the octets. */
#define FC_ROW_DIGITS 40
size_t fc_rows(const fc_row_texts *texts, const uint64_t *frames, const int64_t *times, const uint32_t *tails,
                      size_t n, char *out);

#endif
