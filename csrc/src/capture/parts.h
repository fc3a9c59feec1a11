/* parts.h - the private half of fc_capture: parts of a capture that are read independently, for flowclass/traces. */
#ifndef FC_PARTS_H
#define FC_PARTS_H

#include "flowclass.h"

/* Parts of a capture, read independently. No record (block) that begins at or behind this stream offset is given, but
 * what follows the last one is looked at where it is needed to judge it: a part ends as it would in the whole. */
void fc_capture_stop(fc_capture *capture, uint64_t offset);
/* What the next record depends on, as octets: how many there are, written if `capacity` holds them; 0 within a record.
 * Equal octets, but for those at 3 to 7 (the last record's time, for searches), are equal states. */
size_t fc_capture_state(const fc_capture *capture, uint8_t *out, size_t capacity);
/* Begins a new capture at this stream offset with such a state. search: at the first offset from there on that looks
 * like a record, which is a guess, and is no damage. FC_EINVAL: not a state, or not a new capture; FC_ENOMEM. */
int fc_capture_resume(fc_capture *capture, const uint8_t *state, size_t size, uint64_t offset, int search);
uint64_t fc_capture_begun(const fc_capture *capture);    /* the offset where that search ended */
uint64_t fc_capture_position(const fc_capture *capture); /* stream offset of the window to be given next */

#endif
