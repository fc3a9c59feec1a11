/* Captures: every format in both byte orders, windows of every size, damage, changed octets at a guard page. */
#include "flowclass.h"
#include "guard.h"

typedef struct file {
    uint8_t *data;
    size_t size, room;
    int big;
} file;

static void put(file *f, const void *p, size_t n)
{
    if (f->size + n > f->room) {
        f->room = 2 * (f->size + n);
        f->data = realloc(f->data, f->room);
        CHECK(f->data);
    }
    memcpy(f->data + f->size, p, n);
    f->size += n;
}

static void put16(file *f, uint16_t v)
{
    uint8_t b[2] = {(uint8_t)(f->big ? v >> 8 : v), (uint8_t)(f->big ? v : v >> 8)};
    put(f, b, 2);
}

static void put32(file *f, uint32_t v)
{
    put16(f, (uint16_t)(f->big ? v >> 16 : v));
    put16(f, (uint16_t)(f->big ? v : v >> 16));
}

static void put64(file *f, uint64_t v)
{
    put32(f, (uint32_t)(f->big ? v >> 32 : v));
    put32(f, (uint32_t)(f->big ? v : v >> 32));
}

static void padding(file *f)
{
    while (f->size % 4)
        put(f, "", 1);
}

/* What packet i holds: its length and octets depend on i. */
static uint32_t length_of(uint32_t i) { return 20 + i * 37 % 1400; }

static void payload(file *f, uint32_t i, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        uint8_t v = (uint8_t)(i * 31 + k * 7 + 0x80);
        put(f, &v, 1);
    }
}

enum { START = 1700000000 };

static void pcap_begin(file *f, uint32_t magic, uint16_t minor)
{
    put32(f, magic);
    put16(f, 2);
    put16(f, minor);
    put64(f, 0);
    put32(f, 65535);
    put32(f, 101);
}

static void pcap_record(file *f, uint32_t magic, uint32_t i)
{
    uint32_t n = length_of(i);
    put32(f, START + i / 10);
    put32(f, i % 10 * 1000 + 7);
    put32(f, n);
    put32(f, n + 100);
    if (magic == 0xa1b2cd34)
        put64(f, 0x0102030405060708u);
    payload(f, i, n);
}

static void block_end(file *f, size_t start)
{
    padding(f);
    file length = {f->data + start + 4, 0, 4, f->big};
    put32(&length, (uint32_t)(f->size - start + 4));
    put32(f, (uint32_t)(f->size - start + 4));
}

static size_t block(file *f, uint32_t type)
{
    size_t start = f->size;
    put32(f, type);
    put32(f, 0);
    return start;
}

static void section(file *f)
{
    size_t start = block(f, 0x0a0d0d0a);
    put32(f, 0x1a2b3c4d);
    put16(f, 1);
    put16(f, 0);
    put64(f, UINT64_MAX);
    block_end(f, start);
}

static void interface_block(file *f, uint16_t linktype, uint32_t snaplen, int resolution, int64_t offset)
{
    size_t start = block(f, 1);
    put16(f, linktype);
    put16(f, 0);
    put32(f, snaplen);
    put16(f, 2); /* if_name */
    put16(f, 3);
    put(f, "eth", 4);
    if (resolution >= 0) {
        uint8_t value = (uint8_t)resolution;
        put16(f, 9);
        put16(f, 1);
        put(f, &value, 1);
        padding(f);
    }
    if (offset) {
        put16(f, 14);
        put16(f, 8);
        put64(f, (uint64_t)offset);
    }
    put32(f, 0);
    block_end(f, start);
}

static void enhanced(file *f, uint32_t interface, uint64_t time, uint32_t i)
{
    size_t start = block(f, 6);
    uint32_t n = length_of(i);
    put32(f, interface);
    put32(f, (uint32_t)(time >> 32));
    put32(f, (uint32_t)time);
    put32(f, n);
    put32(f, n + 100);
    payload(f, i, n);
    padding(f);
    put16(f, 1); /* a comment */
    put16(f, 2);
    put(f, "hi", 3);
    padding(f);
    put32(f, 0);
    block_end(f, start);
}

enum { CAPACITY = 5000 };

typedef struct result {
    size_t n, n_damages;
    int status; /* negative: refused */
    uint32_t lengths[CAPACITY], originals[CAPACITY], interfaces[CAPACITY], hashes[CAPACITY];
    uint16_t linktypes[CAPACITY];
    int64_t times[CAPACITY];
    fc_damage damages[CAPACITY];
} result;

static uint32_t hash(const uint8_t *p, uint32_t n)
{
    uint32_t h = 2166136261u;
    while (n--)
        h = (h ^ *p++) * 16777619u;
    return h;
}

static void take(const fc_records *r, const uint8_t *window, size_t size, result *out)
{
    for (size_t i = 0; i < r->count && out->n < CAPACITY; i++, out->n++) {
        CHECK(r->offsets[i] <= size && r->lengths[i] <= size - r->offsets[i] && r->lengths[i] <= FC_MAX_RECORD);
        out->lengths[out->n] = r->lengths[i];
        out->originals[out->n] = r->originals[i];
        out->times[out->n] = r->times[i];
        out->linktypes[out->n] = r->linktypes[i];
        out->interfaces[out->n] = r->interfaces[i];
        out->hashes[out->n] = hash(window + r->offsets[i], r->lengths[i]);
    }
}

static uint8_t *end; /* of guarded memory of 2 windows */

/* Reads the file through windows that grow by `step` octets (0: by random amounts), `capacity` records at a time. */
static void read_all(const file *f, size_t step, size_t capacity, result *out)
{
    enum { MOST = 256 };
    uint64_t offsets[MOST], consumed_all = 0;
    uint32_t lengths[MOST], originals[MOST], interfaces[MOST];
    int64_t times[MOST];
    uint16_t linktypes[MOST];
    fc_records r = {offsets, lengths, originals, times, linktypes, interfaces, capacity, 0};
    fc_capture *c;
    CHECK(fc_capture_new(&c) == FC_OK);
    size_t start = 0, size = 0;
    memset(out, 0, sizeof *out);
    for (int status = FC_CAPTURE_MORE; status != FC_CAPTURE_END;) {
        int last = 0;
        if (status == FC_CAPTURE_MORE) {
            size_t more = step ? step : 1 + random_below(3000);
            if (size > FC_CAPTURE_WINDOW - more) /* the promise: a full window makes progress */
                CHECK(size < FC_CAPTURE_WINDOW);
            size_t room = FC_CAPTURE_WINDOW - size, rest = f->size - start - size;
            more = more < room ? more : room;
            last = rest == 0;
            size += more < rest ? more : rest;
        } else {
            last = start + size == f->size;
        }
        size_t consumed = 0;
        memcpy(end - size, f->data + start, size);
        status = fc_capture_read(c, end - size, size, last, &r, &consumed);
        if (status < 0) {
            out->status = status;
            break;
        }
        CHECK(consumed <= size && r.count <= capacity);
        CHECK(status != FC_CAPTURE_END || last);
        CHECK(status != FC_CAPTURE_MORE || !last);
        take(&r, end - size, size, out);
        out->n_damages += fc_capture_damage(c, out->damages + out->n_damages, CAPACITY - out->n_damages);
        start += consumed;
        size -= consumed;
        consumed_all += consumed;
    }
    if (!out->status)
        CHECK(consumed_all == f->size && fc_capture_frames(c) == out->n);
    fc_capture_free(c);
}

static void same(const result *a, const result *b)
{
    CHECK(a->n == b->n && a->n_damages == b->n_damages && a->status == b->status);
    CHECK(!memcmp(a->lengths, b->lengths, a->n * 4) && !memcmp(a->originals, b->originals, a->n * 4));
    CHECK(!memcmp(a->hashes, b->hashes, a->n * 4) && !memcmp(a->interfaces, b->interfaces, a->n * 4));
    CHECK(!memcmp(a->times, b->times, a->n * 8) && !memcmp(a->linktypes, b->linktypes, a->n * 2));
    CHECK(!memcmp(a->damages, b->damages, a->n_damages * sizeof *a->damages));
}

static result a, b;

/* However the stream is cut into windows, the result is the same; leaves it in `a`. */
static void read_in_every_way(const file *f)
{
    static const size_t steps[] = {FC_CAPTURE_WINDOW, 1000, 97, 0};
    read_all(f, FC_CAPTURE_WINDOW, 256, &a);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        read_all(f, steps[i], i % 2 ? 256 : 3, &b);
        same(&a, &b);
    }
}

static void has_packet(const result *r, size_t place, uint32_t i)
{
    file f = {0};
    payload(&f, i, length_of(i));
    CHECK(r->lengths[place] == length_of(i) && r->originals[place] == length_of(i) + 100);
    CHECK(r->hashes[place] == hash(f.data, length_of(i)));
    free(f.data);
}

static void pcap_kinds(void)
{
    static const struct {
        uint32_t magic;
        int ns;
    } kinds[] = {{0xa1b2c3d4, 1000}, {0xa1b23c4d, 1}, {0xa1b2cd34, 1000}};
    for (int k = 0; k < 6; k++) {
        file f = {.big = k & 1};
        uint32_t magic = kinds[k / 2].magic;
        pcap_begin(&f, magic, 4);
        for (uint32_t i = 0; i < 300; i++)
            pcap_record(&f, magic, i);
        read_in_every_way(&f);
        CHECK(a.status == 0 && a.n == 300 && a.n_damages == 0);
        for (uint32_t i = 0; i < 300; i++) {
            has_packet(&a, i, i);
            CHECK(a.times[i] == (START + (int64_t)i / 10) * 1000000000 + (i % 10 * 1000 + 7) * kinds[k / 2].ns);
            CHECK(a.linktypes[i] == 101 && a.interfaces[i] == 0);
        }
        free(f.data);
    }
    file f = {0};
    pcap_begin(&f, 0xa1b2c3d4, 2); /* lengths were the other way round in version 2.2 */
    put64(&f, 0);
    put32(&f, 100);
    put32(&f, 3);
    put(&f, "abc", 3);
    read_in_every_way(&f);
    CHECK(a.n == 1 && a.lengths[0] == 3 && a.originals[0] == 100);
    free(f.data);
}

static void pcapng(void)
{
    file f = {0};
    for (int s = 0; s < 4; s++) {
        f.big = s & 1;
        section(&f);
        interface_block(&f, 1, 0, -1, 0);
        interface_block(&f, 101, 64, 9, 0);
        interface_block(&f, 113, 0, 0x80 | 20, 0);
        interface_block(&f, 276, 0, 3, -100);
        interface_block(&f, 1, 0, 12, 5);
        enhanced(&f, 0, 1234567890123456u, 0);
        enhanced(&f, 1, 1234567890123456789u, 1);
        enhanced(&f, 2, (77ull << 20) + (1 << 19), 2);
        size_t start = block(&f, 0xbad); /* custom, name resolution, statistics: skipped */
        put32(&f, 32473);
        payload(&f, 9, 33);
        block_end(&f, start);
        start = block(&f, 4);
        put32(&f, 0);
        block_end(&f, start);
        enhanced(&f, 3, 200500, 3);
        enhanced(&f, 4, 1999, 4);
        start = block(&f, 3); /* simple: interface 0, no time */
        put32(&f, 50);
        payload(&f, 5, 50);
        block_end(&f, start);
        start = block(&f, 2); /* obsolete */
        put16(&f, 1);
        put16(&f, 3);
        put32(&f, 0);
        put32(&f, 99);
        put32(&f, length_of(6));
        put32(&f, length_of(6) + 100);
        payload(&f, 6, length_of(6));
        block_end(&f, start);
        enhanced(&f, 0, UINT64_MAX, 7); /* not in 64 bits of ns */
    }
    read_in_every_way(&f);
    CHECK(a.status == 0 && a.n == 32 && a.n_damages == 0);
    static const int64_t times[] = {1234567890123456000, 1234567890123456789, 77500000000, 100500000000,
                                    5000000001,          FC_NO_TIME,          99,          FC_NO_TIME};
    static const uint16_t linktypes[] = {1, 101, 113, 276, 1, 1, 101, 1};
    static const uint32_t interfaces[] = {0, 1, 2, 3, 4, 0, 1, 0};
    for (uint32_t i = 0; i < 32; i++) {
        CHECK(a.times[i] == times[i % 8] && a.linktypes[i] == linktypes[i % 8] && a.interfaces[i] == interfaces[i % 8]);
        if (i % 8 == 5)
            CHECK(a.lengths[i] == 50 && a.originals[i] == 50);
        else
            has_packet(&a, i, i % 8);
    }
    for (size_t n = f.size - 1; n >= 28; n -= 1 + random_below(7)) { /* cut anywhere: whole frames stay */
        file part = {f.data, n, 0, 0};
        read_all(&part, 1000, 256, &b);
        CHECK(b.status == 0 && b.n <= a.n && !memcmp(a.hashes, b.hashes, b.n * 4));
        CHECK(b.n_damages <= 1 && (b.n_damages == 0 || b.damages[0].kind == FC_DAMAGE_CUT));
    }
    free(f.data);
}

/* us and ns up to the last that 64 bits of ns hold, in both byte orders. */
static void latest_times(void)
{
    static const uint64_t most = INT64_MAX, latest[2] = {INT64_MAX / 1000, INT64_MAX};
    for (int big = 0; big < 2; big++) {
        file f = {.big = big};
        uint32_t n = 0;
        section(&f);
        interface_block(&f, 1, 0, 6, 0);
        interface_block(&f, 1, 0, 9, 0);
        for (uint32_t k = 0; k < 2; k++)
            for (uint64_t units = most / 1000 - 2; units < most / 1000 + 3; units++)
                for (uint32_t i = 0; i < 2; i++)
                    enhanced(&f, i, k ? units + latest[i] - most / 1000 : units, n++);
        read_in_every_way(&f);
        CHECK(a.status == 0 && a.n == n && a.n_damages == 0);
        for (uint32_t k = 0; k < n; k++) {
            const uint64_t units = most / 1000 - 2 + k / 2 % 5 + (k < 10 ? 0 : latest[k % 2] - most / 1000);
            const int64_t time = units > latest[k % 2] ? FC_NO_TIME : (int64_t)units * (k % 2 ? 1 : 1000);
            CHECK(a.times[k] == time && a.interfaces[k] == k % 2 && a.linktypes[k] == 1);
        }
        free(f.data);
    }
}

/* A capture of 300 records as octets, the offset of each. */
static file long_pcap(size_t *offsets)
{
    file f = {0};
    pcap_begin(&f, 0xa1b2c3d4, 4);
    for (uint32_t i = 0; i < 300; i++) {
        offsets[i] = f.size;
        pcap_record(&f, 0xa1b2c3d4, i);
    }
    return f;
}

static void damaged_pcap(void)
{
    size_t offsets[300];
    file f = long_pcap(offsets);

    memset(f.data + offsets[100], 0xff, 16); /* a header overwritten: its packet is lost, all others are there */
    read_in_every_way(&f);
    CHECK(a.n == 299 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_RECORD && a.damages[0].frame == 101);
    CHECK(a.damages[0].offset == offsets[100] && a.damages[0].skipped == offsets[101] - offsets[100]);
    has_packet(&a, 99, 99);
    has_packet(&a, 100, 101);
    has_packet(&a, 298, 299);
    free(f.data);

    f = long_pcap(offsets);
    f.data[offsets[50] + 8 + 1] ^= 0x20; /* a length 8192 too large: swallows records, which are found again */
    read_in_every_way(&f);
    CHECK(a.n == 300 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_LENGTH);
    CHECK(a.damages[0].offset == offsets[51] && a.damages[0].frame == 52 && a.damages[0].skipped == 0);
    CHECK(a.lengths[50] == length_of(50) + 8192);
    has_packet(&a, 51, 51);
    has_packet(&a, 299, 299);
    free(f.data);

    f = long_pcap(offsets); /* octets missing in the middle */
    memmove(f.data + offsets[200] + 30, f.data + offsets[207] + 5, f.size - offsets[207] - 5);
    f.size -= offsets[207] + 5 - offsets[200] - 30;
    read_in_every_way(&f);
    CHECK(a.n_damages >= 1 && a.n >= 292);
    has_packet(&a, 199, 199);
    has_packet(&a, a.n - 1, 299);
    free(f.data);

    f = long_pcap(offsets); /* a second file behind the first */
    size_t first = f.size;
    put(&f, f.data, offsets[3]);
    read_in_every_way(&f);
    CHECK(a.n == 303 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_APPENDED && a.damages[0].offset == first);
    has_packet(&a, 302, 2);

    f.size = offsets[299] + 40; /* cut in the last record, in its header, and exactly between two */
    read_in_every_way(&f);
    CHECK(a.n == 299 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_CUT && a.damages[0].skipped == 40);
    CHECK(a.damages[0].offset == offsets[299] && a.damages[0].frame == 300);
    f.size = offsets[299] + 7;
    read_in_every_way(&f);
    CHECK(a.n == 299 && a.n_damages == 1 && a.damages[0].skipped == 7);
    f.size = offsets[299];
    read_in_every_way(&f);
    CHECK(a.n == 299 && a.n_damages == 0);
    f.size = 24;
    read_in_every_way(&f);
    CHECK(a.n == 0 && a.n_damages == 0 && a.status == 0);
    free(f.data);
}

static void damaged_pcapng(void)
{
    size_t offsets[101];
    file f = {0};
    section(&f);
    interface_block(&f, 101, 0, -1, 0);
    for (uint32_t i = 0; i < 100; i++) {
        offsets[i] = f.size;
        enhanced(&f, 0, i, i);
    }
    offsets[100] = f.size;
    uint8_t *p = f.data + offsets[40];
    p[4] += 4; /* the two lengths differ: this block is lost */
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_BLOCK && a.damages[0].frame == 41);
    CHECK(a.damages[0].offset == offsets[40] && a.damages[0].skipped == offsets[41] - offsets[40]);
    has_packet(&a, 40, 41);
    p[4] -= 4;
    f.data[offsets[41] - 3] ^= 1; /* the second length alone is wrong: the first one leads to the next block */
    read_in_every_way(&f);
    CHECK(a.n == 100 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_BLOCK && a.damages[0].frame == 41);
    CHECK(a.damages[0].offset == offsets[40] && a.damages[0].skipped == 0);
    f.data[offsets[41] - 3] ^= 1;
    p[8] = 5; /* no such interface */
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_PACKET);
    p[8] = 0;
    p[21] = 0x70; /* more captured than the block has */
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_PACKET);
    CHECK(a.damages[0].offset == offsets[40] && a.damages[0].skipped == offsets[41] - offsets[40]);
    p[21] = (uint8_t)(length_of(40) >> 8);
    uint32_t total = (uint32_t)(offsets[41] - offsets[40]); /* one octet more than fits before the trailing length */
    p[20] = (uint8_t)(total - 31);
    p[21] = (uint8_t)((total - 31) >> 8);
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_PACKET);
    p[20] = (uint8_t)length_of(40);
    p[21] = (uint8_t)(length_of(40) >> 8);
    p[6] = 0x10; /* a length of a mebibyte and more: no reason to skip so much */
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_BLOCK);
    CHECK(a.damages[0].skipped == offsets[41] - offsets[40]);
    p[6] = 0;
    memmove(f.data + offsets[60] + 9, f.data + offsets[60] + 12, f.size - offsets[60] - 12); /* alignment is lost */
    f.size -= 3;
    read_in_every_way(&f);
    CHECK(a.n == 99 && a.n_damages == 1 && a.damages[0].skipped == offsets[61] - offsets[60] - 3);
    has_packet(&a, 60, 61);
    free(f.data);
}

/* A section in an unknown byte order is skipped as a whole, the one after it is read; one of an unknown version is
 * read. */
static void unknown_section(void)
{
    file f = {0};
    size_t sections[4];
    for (uint32_t s = 0; s < 3; s++) {
        sections[s] = f.size;
        section(&f);
        interface_block(&f, (uint16_t)(100 + s), 0, -1, 0);
        for (uint32_t i = 0; i < 5; i++)
            enhanced(&f, 0, i, i);
    }
    f.data[sections[1] + 12] = 9;
    read_in_every_way(&f);
    CHECK(a.n == 15 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_VERSION && a.damages[0].frame == 6);
    CHECK(a.damages[0].offset == sections[1] && a.damages[0].skipped == 0);
    f.data[sections[1] + 8] = 9;
    read_in_every_way(&f);
    CHECK(a.n == 10 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_SECTION && a.damages[0].frame == 6);
    CHECK(a.damages[0].offset == sections[1] && a.damages[0].skipped == sections[2] - sections[1]);
    CHECK(a.linktypes[4] == 100 && a.linktypes[5] == 102);
    free(f.data);
}

static void no_capture(void)
{
    static const char *texts[] = {"", "abc", "#!/bin/sh\necho this is no capture at all\n", "\n\r\r\n",
                                  "\xd4\xc3\xb2\xa1\2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        file f = {(uint8_t *)texts[i], strlen(texts[i]), 0, 0};
        read_all(&f, 1000, 256, &a);
        CHECK(a.status == FC_EINVAL);
    }
    file f = {0};
    pcap_begin(&f, 0xa1b2c3d4, 4);
    f.data[4] = 3; /* a capture, but of which version? */
    read_all(&f, 1000, 256, &a);
    CHECK(a.status == FC_EINVAL); /* none, unless a record follows */
    pcap_record(&f, 0xa1b2c3d4, 7);
    read_in_every_way(&f);
    CHECK(a.status == 0 && a.n == 1 && a.n_damages == 1 && a.damages[0].kind == FC_DAMAGE_VERSION);
    has_packet(&a, 0, 7);
    free(f.data);
}

/* A D-Bus record longer than the window, and a skipped block longer than it. */
static void huge(void)
{
    file f = {0};
    pcap_begin(&f, 0xa1b2c3d4, 4);
    f.data[20] = 231;
    put64(&f, START);
    put32(&f, 3000000);
    put32(&f, 3000000);
    payload(&f, 1, 3000000);
    pcap_record(&f, 0xa1b2c3d4, 1);
    read_all(&f, FC_CAPTURE_WINDOW, 256, &a);
    CHECK(a.n == 2 && a.lengths[0] == FC_MAX_RECORD && a.originals[0] == 3000000 && a.n_damages == 0);
    has_packet(&a, 1, 1);
    f.size = 0;
    section(&f);
    interface_block(&f, 101, 0, -1, 0);
    size_t start = block(&f, 10);
    payload(&f, 1, 3000000);
    block_end(&f, start);
    enhanced(&f, 0, 1, 1);
    read_all(&f, 50000, 256, &a);
    CHECK(a.n == 1 && a.n_damages == 0);
    has_packet(&a, 0, 1);
    free(f.data);
}

/* Whatever the octets are: it ends, stays in its window, and windows don't change the answer. */
static void changed_octets(int quick)
{
    size_t offsets[300];
    for (int round = 0; round < (quick ? 20 : 300); round++) {
        file f = {0};
        if (round % 3) {
            section(&f);
            interface_block(&f, 101, 0, 9, 0);
            for (uint32_t i = 0; i < 40; i++)
                enhanced(&f, 0, i, i);
        } else {
            f = long_pcap(offsets);
            f.size = offsets[60];
        }
        for (uint32_t k = 1 + random_below(20); k; k--)
            f.data[28 + random_below((uint32_t)f.size - 28)] = (uint8_t)(random_below(2) ? random_below(256) : 0);
        if (random_below(2))
            f.size = 28 + random_below((uint32_t)f.size - 28);
        read_all(&f, FC_CAPTURE_WINDOW, 256, &a);
        read_all(&f, 0, 7, &b);
        same(&a, &b);
        free(f.data);
    }
}

/* ---- Zeros and large records -------------------------------------------------------------------- */

static size_t put_record(uint8_t *p, uint32_t seconds, uint32_t captured)
{
    const uint32_t head[4] = {seconds, 0, captured, captured};
    memcpy(p, head, sizeof head);
    memset(p + 16, 0x45, captured);
    return 16 + captured;
}

/* Reads all of `data`; lengths[i] of the records, kinds of the damages. */
static size_t lengths_of(const uint8_t *data, size_t size, uint32_t *lengths, uint32_t *kinds, size_t *n_kinds)
{
    enum { MOST = 64 };
    uint64_t offsets[MOST];
    uint32_t originals[MOST], interfaces[MOST];
    int64_t times[MOST];
    uint16_t linktypes[MOST];
    fc_records r = {offsets, lengths, originals, times, linktypes, interfaces, MOST, 0};
    fc_capture *c;
    fc_damage damages[64];
    size_t at = 0, used, n = 0;
    CHECK(fc_capture_new(&c) == FC_OK);
    *n_kinds = 0;
    for (int status = FC_CAPTURE_FULL; status != FC_CAPTURE_END;) {
        status = fc_capture_read(c, data + at, size - at, 1, &r, &used);
        CHECK(status >= 0);
        at += used;
        n += r.count;
        r.lengths += r.count;
        size_t m = fc_capture_damage(c, damages, 64);
        for (size_t i = 0; i < m; i++)
            kinds[(*n_kinds)++] = damages[i].kind;
    }
    fc_capture_free(c);
    return n;
}

static void zeros_and_large_records(void)
{
    static uint8_t file[2u << 20];
    const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 262144, 1};
    uint32_t lengths[192], kinds[192];
    size_t at = sizeof header, n_kinds;
    memcpy(file, header, sizeof header);
    at += put_record(file + at, 1700000000, 60);
    at += put_record(file + at, 1700000001, 61);
    at += 4096; /* a page that was never written */
    at += put_record(file + at, 1700000002, 62);
    CHECK(lengths_of(file, at, lengths, kinds, &n_kinds) == 3 && lengths[2] == 62 && n_kinds == 1 &&
          kinds[0] == FC_DAMAGE_RECORD);
    CHECK(lengths_of(file, 1u << 20, lengths, kinds, &n_kinds) == 3 && lengths[2] == 62 && n_kinds == 2);
    memset(file + sizeof header, 0, sizeof file - sizeof header);
    at = sizeof header;
    at += put_record(file + at, 1700000000, 60);
    at += put_record(file + at, 1700000001, 305933); /* more than usual, but whole */
    at += put_record(file + at, 1700000002, 62);
    CHECK(lengths_of(file, at, lengths, kinds, &n_kinds) == 3 && lengths[1] == FC_MAX_RECORD && lengths[2] == 62 &&
          n_kinds == 0);
    memset(file + sizeof header, 0, sizeof file - sizeof header);
    CHECK(lengths_of(file, 4096, lengths, kinds, &n_kinds) == 0 && n_kinds == 1);
}

int main(void)
{
    int quick = getenv("FC_TEST_QUICK") != NULL;
    end = guarded_end(2 * FC_CAPTURE_WINDOW);
    pcap_kinds();
    pcapng();
    latest_times();
    damaged_pcap();
    damaged_pcapng();
    unknown_section();
    no_capture();
    huge();
    changed_octets(quick);
    fc_capture_free(NULL);
    zeros_and_large_records();
    puts("capture: ok");
    return 0;
}
