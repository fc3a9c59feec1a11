/* fragments.h - the private half of fc_fragments: memories of the parts of one input, for flowclass/traces. */
#ifndef FC_FRAGMENTS_H
#define FC_FRAGMENTS_H

#include "flowclass.h"

/* Several readers may each read one part of an input; each has a memory of its own, and all have the same capacity. A
 * memory that defers does not know what came before its part. Where that could matter, it leaves the packet as it would
 * be without any memory, and writes down this note: enough to ask the memory of what came before, later. */
typedef struct fc_fragment_note {
    uint64_t packet; /* the packet's number, from 0, over all batches since fc_fragments_defer */
    uint64_t number; /* the note's own number, from 1 */
    uint64_t told;   /* how many first fragments the part's memory had been told before this packet */
    uint64_t from;   /* the number of an earlier note that has the same answer; 0: ask the memory of what came before */
    fc_key key;      /* the key and info that the packet has without the answer */
    fc_packet info;
    uint64_t source[2], destination[2]; /* these and the next line are the identity that is asked for */
    uint32_t id, kind;
    uint32_t tells;    /* 1: the packet is a first fragment as well (of another header), so its answer is kept */
    uint32_t original; /* what the caller gave for this packet with fc_fragments_originals */
    int64_t time;      /* when the packet came */
} fc_fragment_note;
/* One first fragment that a memory holds. */
typedef struct fc_fragment_first {
    /* serial: its number, from 0, among all that the memory was told
     * open: the number of the note whose answer is its key; 0: `key` is right as it is */
    uint64_t serial, open;
    fc_key key;
    uint64_t source[2], destination[2];
    uint32_t id, kind;
    uint8_t flags, depth, reserved[6];
    int64_t time;
} fc_fragment_first;
/* Makes a memory defer from now on. It must be new: it has been told nothing yet. */
void fc_fragments_defer(fc_fragments *fragments);
/* Moves the oldest notes to `out`, at most `capacity` of them; *n is how many. Returns FC_ENOMEM when there was no
 * memory for some note: then all notes are useless. */
int fc_fragments_notes(fc_fragments *fragments, fc_fragment_note *out, size_t capacity, size_t *n);
uint64_t fc_fragments_told(const fc_fragments *fragments); /* how many first fragments it was told so far */
/* Writes all first fragments that are held to `out`, the oldest first, and returns how many. `out` has room for
 * fc_fragments_count of them. */
size_t fc_fragments_firsts(const fc_fragments *fragments, fc_fragment_first *out);
/* Answers the notes of a part, in their order, from `fragments`, the memory of all that came before the part. The key
 * and info of each note become those that its packet has. May return FC_ENOMEM. */
int fc_fragments_settle(fc_fragments *fragments, fc_fragment_note *notes, size_t n);
/* After that, takes in what the part's own memory holds (`firsts`) and was told (`told`). The memory is then what it
 * would be if one reader had read everything up to the end of the part. */
void fc_fragments_extend(fc_fragments *fragments, const fc_fragment_first *firsts, size_t n, uint64_t told);

#endif
