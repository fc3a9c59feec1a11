/* rows.h - per-packet rows as text, for flowclass/traces; not part of the public interface. Any thread. */
#ifndef FC_ROWS_H
#define FC_ROWS_H

#include "flowclass.h"

/* What a piece of a row says, apart from text that is the same in each row. */
enum fc_row_value {
    FC_ROW_NOTHING = 0,
    FC_ROW_FRAME,
    FC_ROW_TIME,    /* ns since 1970, in decimal */
    FC_ROW_CLOCK,   /* the same as RFC 3339 has it, in UTC */
    FC_ROW_OUTCOME, /* texts[numbers[i]] of this piece */
    FC_ROW_SOURCE,
    FC_ROW_DESTINATION,
    FC_ROW_PROTOCOL,
    FC_ROW_SOURCE_PORT,
    FC_ROW_DESTINATION_PORT,
    FC_ROW_FLOW_LABEL,
    FC_ROW_SPI,
    FC_ROW_TRAFFIC_CLASS,
    FC_ROW_LENGTH,
    FC_ROW_CAPTURED,
};

/* One piece of a row: `text`, then the value. Text number k of an outcome is the octets of `texts` from ends[k - 1]
 * (for the first: from 0) up to ends[k]. A field that the packet doesn't have is `null` (at most 8 octets); addresses
 * and clocks stand between two `quote`s, which are none or one octet. */
typedef struct fc_row_piece {
    uint32_t value; /* enum fc_row_value */
    uint32_t text_size;
    const char *text, *texts;
    const uint64_t *ends;
} fc_row_piece;

typedef struct fc_row_layout {
    const fc_row_piece *pieces;
    size_t n_pieces;
    char null[8], quote;
    uint8_t null_size, quoted;
} fc_row_layout;

/* The columns of rows; those that no piece asks for may be NULL. */
typedef struct fc_row_columns {
    const uint64_t *frames;
    const int64_t *times; /* FC_NO_TIME: null */
    const uint32_t *numbers, *sizes, *captured;
    const fc_key *keys;
} fc_row_columns;

/* Writes rows `from` up to at most n, for as long as there is room for one more: FC_ROW_VALUE octets for each of its
 * values, `widest` for those of outcomes together, and its texts. *done becomes the row that is next. Returns how many
 * octets it wrote. With `measure`, every row is written over the one before it: `out` has room for one. */
#define FC_ROW_VALUE 48
size_t fc_rows(const fc_row_layout *layout, const fc_row_columns *columns, size_t from, size_t n, size_t widest,
               char *out, size_t room, int measure, size_t *done);

/* Writes the source (or else the destination) of each key, as text without a terminator, to `out`, which has room for
 * FC_ADDRESS_TEXT octets each; ends[i] is where text i ends. A key that has none has an empty text. */
#define FC_ADDRESS_TEXT 45
void fc_address_texts(const fc_key *keys, size_t n, int source, char *out, int32_t *ends);

#endif
