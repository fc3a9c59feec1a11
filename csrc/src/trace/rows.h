/* rows.h - per-packet rows as text, for the command line; not part of the public interface. One caller at a time
 * per object. */
#ifndef FC_ROWS_H
#define FC_ROWS_H

#include "flowclass.h"

/* Pieces of text for rows of `head frame middle time tail`; tails[i] is text + ends[i - 1] to ends[i] (0 before the
 * first). */
typedef struct fc_row_texts {
    const char *head, *middle, *null; /* null: instead of a time that is FC_NO_TIME */
    size_t head_size, middle_size, null_size;
    const char *text;
    const uint64_t *ends;
} fc_row_texts;

/* Writes n rows in decimal; `out` has room for FC_ROW_DIGITS + head + middle + null + tail octets for each. Returns the
 * octets. */
#define FC_ROW_DIGITS 40
size_t fc_rows(const fc_row_texts *texts, const uint64_t *frames, const int64_t *times, const uint32_t *tails, size_t n,
               char *out);

#endif
