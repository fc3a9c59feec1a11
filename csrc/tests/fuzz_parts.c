/* libFuzzer: a capture that is read in two parts, the second from the state at the end of the first, or from a search
 * for a record, has the records of the whole. */
#include "capture/parts.h"
#include "fuzz_octets.h"

enum { CAPACITY = 32 };

/* Reads on from `at` and adds up what the records say; returns the status, and how far it came to *at. */
static int read_on(fc_capture *c, const uint8_t *data, size_t size, size_t *at, uint64_t *sum, uint64_t *count)
{
    uint64_t offsets[CAPACITY];
    uint32_t lengths[CAPACITY], originals[CAPACITY], interfaces[CAPACITY];
    int64_t times[CAPACITY];
    uint16_t linktypes[CAPACITY];
    fc_records r = {offsets, lengths, originals, times, linktypes, interfaces, CAPACITY, 0};
    fc_damage damages[64];
    size_t used;
    int status;
    do {
        status = fc_capture_read(c, data + *at, size - *at, 1, &r, &used);
        if (status < 0)
            return status;
        for (size_t i = 0; i < r.count; i++)
            *sum = (*sum ^ (*at + offsets[i])) * 0x9e3779b97f4a7c15u + lengths[i] + (uint64_t)times[i];
        *count += r.count;
        *at += used;
        fc_capture_damage(c, damages, 64);
    } while (status == FC_CAPTURE_FULL);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fc_capture *whole, *first, *second;
    size_t at = 0;
    uint64_t sum = 0, parts = 0, count = 0, in_parts = 0;
    if (size < 2)
        return 0;
    uint64_t cut = (uint64_t)(data[0] | data[1] << 8) % size;
    data += 2;
    size -= 2;
    MUST(fc_capture_new(&whole) == FC_OK && fc_capture_new(&first) == FC_OK && fc_capture_new(&second) == FC_OK);
    int status = read_on(whole, data, size, &at, &sum, &count);
    fc_capture_stop(first, cut);
    at = 0;
    int stopped = read_on(first, data, size, &at, &parts, &in_parts);
    MUST((stopped < 0) == (status < 0 && stopped != FC_CAPTURE_STOPPED) || stopped == FC_CAPTURE_STOPPED);
    uint8_t state[4096];
    size_t octets_of_state = stopped == FC_CAPTURE_STOPPED ? fc_capture_state(first, state, sizeof state) : 0;
    if (octets_of_state && octets_of_state <= sizeof state && status >= 0) {
        MUST(fc_capture_position(first) == at);
        MUST(fc_capture_resume(second, state, octets_of_state, at, 0) == FC_OK);
        MUST(read_on(second, data, size, &at, &parts, &in_parts) == FC_CAPTURE_END);
        MUST(in_parts == count && parts == sum);
        fc_capture_free(second);
        MUST(fc_capture_new(&second) == FC_OK); /* a search from anywhere: any answer, within bounds */
        MUST(fc_capture_resume(second, state, octets_of_state, cut, 1) == FC_OK);
        at = (size_t)cut < size ? (size_t)cut : size;
        MUST(read_on(second, data, size, &at, &parts, &in_parts) >= 0 && fc_capture_begun(second) >= cut);
    }
    fc_capture_free(whole);
    fc_capture_free(first);
    fc_capture_free(second);
    return 0;
}
