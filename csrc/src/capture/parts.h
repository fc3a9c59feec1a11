/* parts.h - the private half of fc_capture: parts of a capture that are read independently, for flowclass/traces. */
#ifndef FC_PARTS_H
#define FC_PARTS_H

#include "flowclass.h"

/* Sets where a part ends: records (blocks) that begin at or behind this stream offset are not given. What follows the
 * last record is still looked at where that is needed to judge it, so a part ends as it would in the whole capture. */
void fc_capture_stop(fc_capture *capture, uint64_t offset);
/* Writes what the reading of the next record depends on, as octets, to `out` if `capacity` has room for them. Returns
 * how many octets these are, or 0 in the middle of a record. Two states are equal if their octets are, apart from those
 * at 3 to 7 (the last record's time, which only searches use). */
size_t fc_capture_state(const fc_capture *capture, uint8_t *out, size_t capacity);
/* Lets a new capture begin at this stream offset with such a state. With `search` it begins at the first offset from
 * there on that looks like a record; this is a guess, and what it passes over is no damage. Returns FC_OK, FC_EINVAL
 * (these octets are no state, or the capture is not new) or FC_ENOMEM. */
int fc_capture_resume(fc_capture *capture, const uint8_t *state, size_t size, uint64_t offset, int search);
uint64_t fc_capture_begun(const fc_capture *capture);    /* the offset where that search ended */
uint64_t fc_capture_position(const fc_capture *capture); /* stream offset of the window to be given next */

#endif
