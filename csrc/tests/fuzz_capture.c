/* libFuzzer: whatever the octets, reading a capture ends, consumes all, stays in its window, and gives the same
 * records however the stream is cut into windows. The first octet chooses the cut. */
#include <stdlib.h>
#include <string.h>

#include "flowclass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAPACITY = 64 };

static uint64_t mix(uint64_t h, uint64_t v) { return (h ^ v) * 0xd6e8feb86659fd93u + (h >> 29); }

/* A number that stands for all records and damages. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t step)
{
    uint64_t offsets[CAPACITY], h = 0, damages = 0; /* in which call a damage is told may differ */
    uint32_t lengths[CAPACITY], originals[CAPACITY], interfaces[CAPACITY];
    int64_t times[CAPACITY];
    uint16_t linktypes[CAPACITY];
    fc_records r = {offsets, lengths, originals, times, linktypes, interfaces, CAPACITY, 0};
    fc_capture *c;
    if (fc_capture_new(&c) != FC_OK)
        abort();
    size_t start = 0, seen = 0, consumed;
    for (int status = FC_CAPTURE_MORE; status != FC_CAPTURE_END;) {
        int last = seen == size;
        if (status == FC_CAPTURE_MORE)
            seen = size - seen < step ? size : seen + step;
        uint8_t *window = malloc(seen - start + 1); /* its own allocation, for ASan */
        if (!window)
            abort();
        memcpy(window, data + start, seen - start);
        status = fc_capture_read(c, window, seen - start, last, &r, &consumed);
        if (status < 0) {
            free(window);
            h = mix(h, (uint64_t)status);
            break;
        }
        for (size_t i = 0; i < r.count; i++) {
            if (offsets[i] > seen - start || lengths[i] > seen - start - offsets[i])
                abort();
            h = mix(mix(mix(h, lengths[i]), (uint64_t)times[i]), originals[i]);
            if (lengths[i])
                h = mix(h, window[offsets[i]] + 256u * window[offsets[i] + lengths[i] - 1]);
        }
        fc_damage found[64];
        size_t n = fc_capture_damage(c, found, 64);
        for (size_t i = 0; i < n; i++)
            damages = mix(mix(mix(damages, found[i].offset), found[i].skipped), found[i].kind);
        start += consumed;
        free(window);
        if (status == FC_CAPTURE_END && start != size)
            abort();
    }
    fc_capture_free(c);
    return mix(h, damages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint64_t whole = read_all(data + 1, size - 1, size);
    size_t step = (1u + data[0]) * (size > 600 ? 16u : 1u); /* tiny windows of long streams take too long */
    if (read_all(data + 1, size - 1, step) != whole)
        abort();
    return 0;
}
