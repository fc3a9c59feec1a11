/* fragments.h - the private half of fc_fragments: memories of the parts of one input, for flowclass/traces. */
#ifndef FC_FRAGMENTS_H
#define FC_FRAGMENTS_H

#include "flowclass.h"

/* Memories of parts of one input, of equal capacity. One that defers begins as if it had forgotten what came before its
 * part: where that could matter the packet is left as it would be without any memory, and a note is made. */
typedef struct fc_fragment_note {
    uint64_t packet; /* counted over all batches since fc_fragments_defer */
    uint64_t number; /* of the note, from 1 */
    uint64_t told;   /* how many first fragments the part had before */
    uint64_t from;   /* another note, whose packet's key this one gets; 0: ask the memory of what came before */
    fc_key key;      /* as they are so far */
    fc_packet info;
    uint64_t source[2], destination[2];
    uint32_t id, kind;
    uint32_t tells;    /* the packet is a first fragment too (of another header): its answer is kept */
    uint32_t original; /* the caller's */
    int64_t time;      /* of the packet */
} fc_fragment_note;
/* What such a memory holds; the serial is its number (from 0) among those that were told. */
typedef struct fc_fragment_first {
    uint64_t serial, open; /* open: the note whose answer it is, 0 for none */
    fc_key key;
    uint64_t source[2], destination[2];
    uint32_t id, kind;
    uint8_t flags, depth, reserved[6];
    int64_t time;
} fc_fragment_first;
void fc_fragments_defer(fc_fragments *fragments); /* from now on; a new object */
/* Takes the oldest notes, as many as there are or as fit. FC_ENOMEM: some could not be kept, all are useless. */
int fc_fragments_notes(fc_fragments *fragments, fc_fragment_note *out, size_t capacity, size_t *n);
uint64_t fc_fragments_told(const fc_fragments *fragments); /* how many first fragments */
/* All that is held, the oldest first, room for fc_fragments_count of them; returns how many. */
size_t fc_fragments_firsts(const fc_fragments *fragments, fc_fragment_first *out);
/* The memory of what came before a part goes through its notes, in their order: key and info of each become those that
 * its packet has. FC_ENOMEM. */
int fc_fragments_settle(fc_fragments *fragments, fc_fragment_note *notes, size_t n);
/* Then it takes in what the part's own memory holds, and stands where one that read both would. */
void fc_fragments_extend(fc_fragments *fragments, const fc_fragment_first *firsts, size_t n, uint64_t told);

#endif
