/* libFuzzer: whatever the octets, the parser stays inside them and its answers hold together.
 * The first octet chooses the link type, the second the options; the rest is one packet, parsed twice (fragments). */
#include <stdlib.h>
#include <string.h>

#include "flowclass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t links[] = {0,   1,   6,   8,   9,   10,  12,  50,  51,  100, 101, 104, 105,
                                     107, 108, 109, 113, 117, 119, 122, 123, 127, 138, 143, 163, 166,
                                     178, 179, 180, 181, 192, 197, 204, 205, 206, 219, 226, 229, 239,
                                     240, 241, 242, 258, 274, 276, 281, 282, 284, 285};
    static fc_fragments *memory;
    if (!memory && fc_fragments_new(64, (const uint8_t *)"sixteen octets.", &memory) != FC_OK)
        abort();
    if (size < 2)
        return 0;
    uint16_t link = links[data[0] % (sizeof links / sizeof *links)];
    fc_parse_options options = {.inner = data[1], .fragments = memory};
    uint8_t *packet = malloc(size - 2 ? size - 2 : 1); /* its own allocation, for ASan */
    if (!packet)
        return 0;
    memcpy(packet, data + 2, size - 2);
    uint32_t n = (uint32_t)(size - 2);
    uint64_t offset = 0;
    fc_key key, outer;
    fc_packet info, outer_info;
    int status = fc_parse(link, packet, n, &outer, &outer_info);
    for (int i = 0; i < 2; i++) {
        fc_parse_batch(-1, &link, packet, &offset, &n, 1, &options, &key, &info);
        if (info.status != status || info.ip_offset > n || info.transport_offset > n)
            abort();
        if (status != FC_PACKET_OK && (key.present || key.version))
            abort();
        if (status == FC_PACKET_OK && info.depth < 1)
            abort();
    }
    free(packet);
    return 0;
}
