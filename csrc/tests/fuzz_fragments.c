/* libFuzzer: fragments of few identities, with times. The memory of first fragments gives what a naive list of the last
 * `capacity` of them gives; and so does the same input in parts that are read apart, whose open questions are settled
 * afterwards. */
#include "fuzz_octets.h"
#include "packet/fragments.h"

enum { PACKETS = 48, ROOM = 128, MOST_CAPACITY = 6 };

static const uint8_t *const secrets[3] = {(const uint8_t *)"sixteen octets.", (const uint8_t *)"fifteen octets.",
                                          (const uint8_t *)"Sixteen Octets."};
static uint8_t packet[PACKETS][ROOM];
static uint32_t length[PACKETS];
static int64_t when[PACKETS];

/* An IP packet around `size` octets that stand behind where it will be; a fragment of few identities if `part` is 1
 * (first), 2 (later) or 3 (last). Returns the length of its headers. */
static uint32_t header(uint8_t *p, int version, unsigned part, uint8_t identity, uint8_t protocol, uint32_t size)
{
    uint32_t n = version == 4 ? 20 : part ? 48 : 40;
    memset(p, 0, n);
    p[0] = (uint8_t)(version == 4 ? 0x45 : 0x60);
    if (version == 4) {
        p[3] = (uint8_t)(n + size);
        p[5] = identity & 3;
        p[6] = part == 1 || part == 2 ? 0x20 : 0;
        p[7] = part > 1 ? 4 : 0;
        p[8] = 64;
        p[9] = protocol;
        p[15] = identity >> 2 & 1;
        p[19] = identity >> 3 & 1;
        return n;
    }
    p[5] = (uint8_t)(n - 40 + size);
    p[6] = part ? 44 : protocol;
    p[23] = identity >> 2 & 1;
    p[39] = identity >> 3 & 1;
    if (part) {
        p[40] = protocol;
        p[43] = (uint8_t)((part > 1 ? 32 : 0) | (part < 3));
        p[47] = identity & 3;
    }
    return n;
}

/* A packet, perhaps with another one inside; returns its length. */
static uint32_t make(octets *o, uint8_t *p)
{
    uint8_t shape = next8(o), identity = next8(o), inner[ROOM];
    uint8_t protocol = shape & 32 ? 135 : shape & 16 ? 58 : 17;
    uint32_t size = 16, n = header(inner, shape & 1 ? 4 : 6, shape >> 1 & 3, identity & 15, protocol, size);
    for (uint32_t i = 0; i < size; i++)
        inner[n + i] = i < 4 ? next8(o) : 0;
    size += n;
    if (shape < 192) {
        memcpy(p, inner, size);
        return size;
    }
    n = header(p, shape & 8 ? 4 : 6, shape >> 4 & 3, identity >> 4, shape & 1 ? 4 : 41, size);
    memcpy(p + n, inner, size);
    return n + size;
}

static void parse(fc_fragments *f, uint32_t inner, uint32_t from, uint32_t to, uint32_t batch, fc_key *keys,
                  fc_packet *infos)
{
    uint64_t offset[PACKETS];
    for (uint32_t i = from; i < to; i++)
        offset[i] = (uint64_t)(packet[i] - packet[0]);
    for (uint32_t i = from; i < to; i += batch) {
        fc_parse_options options = {.inner = inner, .fragments = f, .times = when + i};
        fc_parse_batch(101, NULL, packet[0], offset + i, length + i, to - i < batch ? to - i : batch, &options,
                       keys + i, infos + i);
    }
}

/* ---- The naive list --------------------------------------------------------------------------------------------- */

typedef struct told {
    uint8_t identity[40];
    fc_key key;
    fc_packet info;
    int64_t when;
    int again; /* it was told again since */
} told;

static void identify(const uint8_t *p, const fc_packet *info, uint8_t *identity)
{
    memset(identity, 0, 40);
    identity[0] = p[0] >> 4;
    memcpy(identity + 1, &info->fragment_id, 4);
    if (identity[0] == 4) {
        memcpy(identity + 5, p + 12, 8);
        identity[13] = p[9];
    } else {
        memcpy(identity + 5, p + 8, 32);
    }
}

static void naive(uint32_t capacity, uint32_t n, const fc_key *keys, const fc_packet *infos)
{
    static told list[PACKETS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        fc_key key;
        fc_packet info;
        uint8_t identity[40];
        fc_parse(101, packet[i], length[i], &key, &info);
        identify(packet[i], &info, identity);
        if (info.status == FC_PACKET_OK && info.fragment == FC_FRAGMENT_LATER) {
            for (uint32_t j = count > capacity ? count - capacity : 0; j < count; j++) {
                const told *t = &list[j];
                if (t->again || memcmp(t->identity, identity, 40) != 0)
                    continue;
                int64_t apart = t->when == FC_NO_TIME || when[i] == FC_NO_TIME ? 0 : t->when - when[i];
                if (apart < -60000000000 || apart > 60000000000)
                    continue;
                key = t->key;
                info.flags = (uint8_t)((info.flags & ~FC_PACKET_SIGNALLING) | FC_PACKET_COMPLETED |
                                       (t->info.flags & FC_PACKET_SIGNALLING));
                info.depth = t->info.depth;
            }
        }
        MUST(memcmp(&key, &keys[i], sizeof key) == 0 && memcmp(&info, &infos[i], sizeof info) == 0);
        if (info.status == FC_PACKET_OK && info.fragment == FC_FRAGMENT_FIRST) {
            for (uint32_t j = 0; j < count; j++)
                list[j].again |= memcmp(list[j].identity, identity, 40) == 0;
            list[count] = (told){.key = key, .info = info, .when = when[i]};
            memcpy(list[count++].identity, identity, 40);
        }
    }
}

/* ---- Parts --------------------------------------------------------------------------------------------------------
 */

static void part(fc_fragments *before, uint32_t capacity, uint32_t inner, uint32_t from, uint32_t to, uint32_t batch,
                 fc_key *keys, fc_packet *infos)
{
    fc_fragments *own;
    fc_fragment_note notes[2 * PACKETS];
    fc_fragment_first firsts[MOST_CAPACITY];
    size_t n;
    MUST(fc_fragments_new(capacity, secrets[2], &own) == FC_OK);
    fc_fragments_defer(own);
    parse(own, inner, from, to, batch, keys, infos);
    MUST(fc_fragments_notes(own, notes, 2 * PACKETS, &n) == FC_OK);
    for (size_t at = 0; at < n; at += batch)
        MUST(fc_fragments_settle(before, notes + at, n - at < batch ? n - at : batch) == FC_OK);
    for (size_t i = 0; i < n; i++) {
        MUST(notes[i].packet < to - from);
        keys[from + notes[i].packet] = notes[i].key;
        infos[from + notes[i].packet] = notes[i].info;
    }
    n = fc_fragments_firsts(own, firsts);
    MUST(n == fc_fragments_count(own) && n <= capacity);
    fc_fragments_extend(before, firsts, n, fc_fragments_told(own));
    fc_fragments_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fc_key keys[PACKETS], in_parts[PACKETS];
    static fc_packet infos[PACKETS], infos_in_parts[PACKETS];
    octets o = {data, size};
    uint8_t shape = next8(&o);
    uint32_t inner = shape & 3, capacity = 1 + (shape >> 2) % MOST_CAPACITY, n = 0, from = 0;
    uint32_t batch = 1 + next8(&o) % PACKETS;
    int64_t now = 0;
    fc_fragments *one, *other;
    while (o.left && n < PACKETS) {
        uint8_t later = next8(&o);
        now += (later & 15) * INT64_C(6000000000) - (later >> 7 ? INT64_C(30000000000) : 0);
        when[n] = (later & 112) == 112 ? FC_NO_TIME : now;
        length[n] = make(&o, packet[n]);
        n++;
    }
    MUST(fc_fragments_new(capacity, secrets[0], &one) == FC_OK &&
         fc_fragments_new(capacity, secrets[1], &other) == FC_OK);
    parse(one, inner, 0, n, batch, keys, infos);
    if (inner < 2)
        naive(capacity, n, keys, infos);
    for (uint32_t i = 0; i < n; i++)
        if (i + 1 == n || packet[i][0] == 0x60) { /* a part ends with any packet of one kind */
            if (i + 1 < n && (packet[i][5] ^ batch) & 3)
                continue;
            part(other, capacity, inner, from, i + 1, batch, in_parts, infos_in_parts);
            from = i + 1;
        }
    for (uint32_t i = 0; i < n; i++) {
        infos_in_parts[i].flags &= (uint8_t)~FC_PACKET_OPEN;
        MUST(memcmp(&keys[i], &in_parts[i], sizeof *keys) == 0);
        MUST(memcmp(&infos[i], &infos_in_parts[i], sizeof *infos) == 0);
    }
    MUST(fc_fragments_count(one) == fc_fragments_count(other) && fc_fragments_told(one) == fc_fragments_told(other));
    fc_fragments_free(one);
    fc_fragments_free(other);
    return 0;
}
