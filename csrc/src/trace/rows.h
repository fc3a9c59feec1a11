/* rows.h - per-packet rows as text, for the command line; not part of the public interface. One caller at a time
 * per object. */
#ifndef FC_ROWS_H
#define FC_ROWS_H

#include "flowclass.h"

/* The pieces of text that rows of the form `head frame middle time tail` are made of. Tail number i is the octets of
 * `text` from ends[i - 1] (for the first tail: from 0) up to ends[i]. */
typedef struct fc_row_texts {
    const char *head, *middle, *null; /* null: instead of a time that is FC_NO_TIME */
    size_t head_size, middle_size, null_size;
    const char *text;
    const uint64_t *ends;
} fc_row_texts;

/* Writes n rows, frames and times in decimal, tails[i] being the number of row i's tail. `out` has room for
 * FC_ROW_DIGITS octets and the sizes of head, middle, null and tail for each row. Returns how many octets it wrote. */
#define FC_ROW_DIGITS 40
size_t fc_rows(const fc_row_texts *texts, const uint64_t *frames, const int64_t *times, const uint32_t *tails, size_t n,
               char *out);

#endif
