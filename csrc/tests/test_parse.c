/* Packets to keys: known answers, every truncation at a guard page, changed octets, fragments. */
#include "flowclass.h"
#include "guard.h"
#include "packet/head.h"
#include "packet/numbers.h"
#include "packet/packet.h"

enum { MAX = 400 };

typedef struct bytes {
    uint8_t data[MAX];
    uint32_t size;
} bytes;

static void add(bytes *b, const void *p, uint32_t n)
{
    memcpy(b->data + b->size, p, n);
    b->size += n;
}

#define ADD(b, ...) add(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void ip6(bytes *b, uint8_t next, uint16_t payload)
{
    ADD(b, 0x62, 0x81, 0x23, 0x45, (uint8_t)(payload >> 8), (uint8_t)payload, next, 64);
    ADD(b, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    ADD(b, 0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
}

static void ip4(bytes *b, uint8_t protocol, uint16_t total, uint16_t fragment)
{
    ADD(b, 0x46, 0xb8, (uint8_t)(total >> 8), (uint8_t)total, 0x12, 0x34, (uint8_t)(fragment >> 8), (uint8_t)fragment);
    ADD(b, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 1, 1, 1, 0);
}

static const uint8_t udp[] = {0x30, 0x39, 0, 53, 0, 12, 0, 0, 'd', 'a', 't', 'a'};

/* hop-by-hop, destination options (HAO), routing, AH, fragment, destination options, UDP */
static void long_chain(bytes *b)
{
    uint32_t start = b->size;
    ip6(b, 0, 0);
    ADD(b, 60, 0, 1, 4, 0, 0, 0, 0);
    ADD(b, 43, 2, 1, 2, 0, 0, 0xc9, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    ADD(b, 51, 2, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    ADD(b, 44, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12); /* 24 = 4 * (4 + 2) */
    ADD(b, 60, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef);
    ADD(b, 17, 0, 1, 4, 0, 0, 0, 0);
    add(b, udp, sizeof udp);
    uint32_t payload = b->size - start - 40;
    b->data[start + 4] = (uint8_t)(payload >> 8);
    b->data[start + 5] = (uint8_t)payload;
}

static void known_answers(void)
{
    bytes b = {.size = 0};
    fc_key key;
    fc_packet info;
    long_chain(&b);
    CHECK(fc_parse(101, b.data, b.size, &key, &info) == FC_PACKET_OK);
    CHECK(key.version == 6 && key.protocol == 17 && key.source_port == 12345 && key.destination_port == 53);
    CHECK(key.traffic_class == 0x28 && key.flow_label == 0x12345 && key.present == (0xff & ~FC_SPI));
    CHECK(key.source[0] == 0x20010db800000000u && key.source[1] == 1 && key.destination[0] == 0x20010db800090000u);
    CHECK(info.fragment == FC_FRAGMENT_FIRST && info.fragment_id == 0xdeadbeef && info.depth == 1 && info.flags == 0);
    CHECK(info.ip_length == b.size && info.transport_offset == b.size - sizeof udp);

    /* the drawn example of parse.c */
    bytes d = {.size = 0};
    ip6(&d, 60, 24 + 20);
    ADD(&d, 6, 2, 1, 2, 0, 0, 0xc9, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    ADD(&d, 0, 80, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0);
    for (uint32_t n = 0; n <= d.size; n++) {
        int status = fc_parse(229, d.data, n, &key, &info);
        CHECK(status == (n < 40 ? FC_PACKET_MALFORMED : FC_PACKET_OK));
        CHECK(!(key.present & FC_PROTOCOL) == (n < 64));
        CHECK(!(key.present & FC_SOURCE_PORT) == (n < 66) && !(key.present & FC_DESTINATION_PORT) == (n < 68));
        if (n >= 40)
            CHECK(key.protocol == (n < 64 ? 0 : 6) && !(info.flags & FC_PACKET_CUT) == (n == d.size));
    }
    d.data[5] = 23; /* the destination options don't fit into the packet any more, whatever was captured of them */
    for (uint32_t n = 42; n <= d.size; n++)
        CHECK(fc_parse(229, d.data, n, &key, &info) == FC_PACKET_MALFORMED);

    bytes f = {.size = 0};
    ip4(&f, 17, 24 + sizeof udp, 0);
    add(&f, udp, sizeof udp);
    ADD(&f, 1, 2, 3); /* trailer: behind Total Length */
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_OK);
    CHECK(key.version == 4 && key.source[1] == 0xc0000201 && key.source[0] == 0 && key.destination[1] == 0xc6336402);
    CHECK(key.traffic_class == 0xb8 && key.destination_port == 53 && info.ip_length == 24 + sizeof udp);
    CHECK(key.present == (0xff & ~(FC_SPI | FC_FLOW_LABEL)));
    f.data[3] = 24 + 2; /* Total Length says: two octets of UDP */
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_OK);
    CHECK((key.present & (FC_SOURCE_PORT | FC_DESTINATION_PORT)) == FC_SOURCE_PORT && key.destination_port == 0);
    f.data[3] = 23; /* less than the header */
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_MALFORMED && key.present == 0 && key.version == 0);
    f.data[3] = 0; /* offload */
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_OK && key.destination_port == 53);
    f.data[0] = 0x44;
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_MALFORMED);
    f.data[0] = 0x56;
    CHECK(fc_parse(228, f.data, f.size, &key, &info) == FC_PACKET_NOT_IP && info.depth == 0);
}

/* Why a frame has no IP header. */
static void unread(void)
{
    static const struct {
        int link;
        uint8_t data[32];
        uint32_t size;
        int why;
        uint32_t value;
    } cases[] = {
        {147, {0x60}, 20, FC_UNREAD_LINKTYPE, 147},
        {70000, {0x60}, 20, FC_UNREAD_LINKTYPE, 65535},
        {192, {0, 0, 8, 0, 147}, 20, FC_UNREAD_LINKTYPE, 147},
        {1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xcc}, 30, FC_UNREAD_ETHERTYPE, 0x88cc},
        {1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 1, 8, 6}, 30, FC_UNREAD_ETHERTYPE, FC_TYPE_ARP},
        {1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0, 0x50}, 30, FC_UNREAD_VERSION, 5},
        {1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xe5, 0x0c}, 30, FC_UNREAD_ENCRYPTED, FC_TYPE_MACSEC},
        {1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 38, 0x42, 0x42, 3}, 30, FC_UNREAD_LLC, 0x4242},
        {1,
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 38, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0},
         30,
         FC_UNREAD_SNAP,
         0x2000},
        {9, {0xc0, 0x21}, 20, FC_UNREAD_PPP, 0xc021},
        {107, {0x18, 0x41, 3, 0x81}, 20, FC_UNREAD_NLPID, 0x81},
        {108, {0, 0, 0, 7}, 20, FC_UNREAD_FAMILY, 7},
        {105, {0x80}, 30, FC_UNREAD_FRAME, 105},
        {105, {0x08, 0x41}, 30, FC_UNREAD_ENCRYPTED, 105},
    };
    fc_key key;
    fc_packet info;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(fc_parse(cases[i].link, cases[i].data, cases[i].size, &key, &info) == FC_PACKET_NOT_IP);
        CHECK(info.unread == cases[i].why && info.unread_value == cases[i].value);
    }
    uint8_t tags[200] = {0};
    for (uint32_t i = 12; i + 4 <= sizeof tags; i += 4)
        tags[i] = 0x81;
    CHECK(fc_parse(1, tags, sizeof tags, &key, &info) == FC_PACKET_NOT_IP);
    CHECK(info.unread == FC_UNREAD_LIMIT && info.unread_value == FC_MAX_LAYERS);
    CHECK(fc_parse(1, tags, 20, &key, &info) == FC_PACKET_NOT_IP && info.unread == FC_UNREAD_CUT);
}

/* Terminal headers and signalling: protocol, first octets, and what must come out. */
static void upper_layers(void)
{
    static const struct {
        uint8_t protocol, first;
        uint8_t present;
        int signalling;
    } cases[] = {
        {50, 1, FC_SPI, 0}, {59, 0, 0, 0},     {135, 59, 0, 1},  {58, 143, 0, 0}, {58, 144, 0, 1},
        {58, 147, 0, 1},    {58, 148, 0, 0},   {103, 0, 0, 0},   {6, 0, 0x30, 0}, {17, 0, 0x30, 0},
        {136, 0, 0x30, 0},  {132, 0, 0x30, 0}, {33, 0, 0x30, 0}, {1, 144, 0, 0},  {255, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {.size = 0};
        fc_key key;
        fc_packet info;
        ip6(&b, cases[i].protocol, 8);
        ADD(&b, cases[i].first, 2, 3, 4, 5, 6, 7, 8);
        CHECK(fc_parse(101, b.data, b.size, &key, &info) == FC_PACKET_OK && key.protocol == cases[i].protocol);
        CHECK((key.present & 0x38) == cases[i].present && (info.flags & FC_PACKET_SIGNALLING) == cases[i].signalling);
        if (cases[i].present == FC_SPI)
            CHECK(key.spi == 0x01020304);
    }
}

/* Frames of every link type around a packet; returns the link type, or -1 after the last. */
static int frame(int number, const bytes *ip, int version, bytes *out)
{
    uint8_t hi = version == 6 ? 0x86 : 0x08, lo = version == 6 ? 0xdd : 0x00;
    out->size = 0;
    static const uint8_t mac[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    int link = 1;
    switch (number) {
    case 0:
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 1:
        add(out, mac, 12);
        ADD(out, 0x81, 0, 0, 5, hi, lo);
        break;
    case 2:
        add(out, mac, 12);
        ADD(out, 0x88, 0xa8, 0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 0x81, 0, 0, 8, hi, lo);
        break;
    case 3:
        add(out, mac, 12);
        ADD(out, 0x88, 0x47, 0, 1, 0x20, 64, 0, 2, 0x21, 64);
        break;
    case 4:
        add(out, mac, 12);
        ADD(out, 0x88, 0x64, 0x11, 0, 0, 9, 0, 99, 0, version == 6 ? 0x57 : 0x21);
        break;
    case 5:
        add(out, mac, 12);
        ADD(out, 0, 60, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 6:
        link = 113;
        ADD(out, 0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, hi, lo);
        break;
    case 7:
        link = 276;
        ADD(out, hi, lo, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0);
        break;
    case 8:
        link = 0;
        ADD(out, version == 6 ? 30 : 2, 0, 0, 0);
        break;
    case 9:
        link = 0;
        ADD(out, 0, 0, 0, version == 6 ? 28 : 2);
        break;
    case 10:
        link = 108;
        ADD(out, 0, 0, 0, version == 6 ? 24 : 2);
        break;
    case 11:
        link = 9;
        ADD(out, 0xff, 3, 0, version == 6 ? 0x57 : 0x21);
        break;
    case 12:
        link = 9;
        ADD(out, version == 6 ? 0x57 : 0x21);
        break;
    case 13:
        link = 50;
        ADD(out, 0x0f, 0, hi, lo);
        break;
    case 14:
        link = 51;
        ADD(out, 0x11, 0, 0, 9, 0, 99, 0, version == 6 ? 0x57 : 0x21);
        break;
    case 15:
        link = 105; /* QoS data, to the distribution system */
        ADD(out, 0x88, 1, 0, 0);
        add(out, mac, 12);
        add(out, mac, 6);
        ADD(out, 0x10, 0, 0, 0);
        ADD(out, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 16:
        link = 127; /* two bitmaps, TSFT, flags with padding; four addresses */
        ADD(out, 0, 0, 25, 0, 3, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x20);
        ADD(out, 0x88, 3, 0, 0);
        add(out, mac, 12);
        add(out, mac, 6);
        ADD(out, 0x10, 0);
        add(out, mac, 6);
        ADD(out, 0, 0);
        ADD(out, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 17:
        link = 107;
        ADD(out, 0x18, 0x41, 3, version == 6 ? 0x8e : 0xcc);
        break;
    case 18:
        link = 10;
        ADD(out, 0x50);
        add(out, mac, 12);
        ADD(out, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 19:
        link = 192;
        ADD(out, 0, 0, 8, 0, 1, 0, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 20:
        link = 204;
        ADD(out, 1, 0xff, 3, 0, version == 6 ? 0x57 : 0x21);
        break;
    case 21:
        link = 104;
        ADD(out, 0x8f, 0, hi, lo);
        break;
    case 22:
        link = 14;
        break;
    case 23:
        link = 12;
        break;
    case 24:
        link = version == 6 ? 229 : 228;
        break;
    case 25:
        add(out, mac, 12);
        for (int i = 0; i < 10; i++)
            ADD(out, 0x92 + (i & 1), 0, 0, 7);
        ADD(out, hi, lo);
        break;
    case 26:
        add(out, mac, 12);
        ADD(out, 0x89, 0x26, 0, 0, 0, 20, 0x81, 0, 0, 5, hi, lo);
        break; /* VN-Tag */
    case 27:
        add(out, mac, 12);
        ADD(out, 0x89, 0x3f, 0, 0, 0, 1, 0, 0, hi, lo);
        break; /* E-Tag */
    case 28:
        add(out, mac, 12);
        ADD(out, 0x89, 0x2f, 0x10, 60, 0, 1, hi, lo);
        break; /* HSR */
    case 29:
        add(out, mac, 12);
        ADD(out, 0x89, 0x09, 1, 1, 0, 1, 0, 100, hi, lo);
        break; /* Cisco MetaData */
    case 30:
        add(out, mac, 12);
        ADD(out, 0xd2, 0x8b, 0, 1, 0, 0x20, 1, 2, 3, 4, 5, 6, hi, lo);
        break; /* Arista */
    case 31:
        add(out, mac, 12);
        ADD(out, 0x88, 0xe5, 0x20, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, hi, lo);
        break;
        /* MACsec */
    case 32:
        add(out, mac, 12);
        ADD(out, 0x88, 0xa8, 0, 1, 0x88, 0xe7, 0, 0, 0, 9);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 33:
        add(out, mac, 12);
        ADD(out, 0x89, 3, 0, 0x40);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break; /* FabricPath */
    case 34:
        add(out, mac, 12);
        ADD(out, 0x22, 0xf3, 0, 0x41, 0, 1, 0, 2, 9, 9, 9, 9);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break; /* TRILL with an option */
    case 35:
        add(out, mac, 12);
        ADD(out, 0x89, 0x4f, 0x0f, 0xc3, 2, 3, 0, 0, 1, 255, 1, 2, 3, 4);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break; /* NSH */
    case 36:
        ADD(out, 1, 0, 0x0c, 0, 0, 0x10, 2, 0, 0, 0, 0, 2, 0, 99, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0, 20, 0, 0, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break; /* ISL */
    case 37:
        add(out, mac, 12);
        ADD(out, 0x88, 0x47, 0, 1, 0x21, 64, 0, 0, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 38:
        add(out, mac, 12);
        ADD(out, 0x88, 0x47, 0, 1, 0x21, 64);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 39:
        link = 6;
        ADD(out, 0x10, 0x40);
        add(out, mac, 6);
        ADD(out, 0x82, 0, 0, 0, 0, 2, 4, 0, 1, 2);
        ADD(out, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break; /* token ring, with source routing */
    case 40:
        link = 8;
        ADD(out, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        break;
    case 41:
        link = 100;
        ADD(out, 0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 42:
        link = 107;
        ADD(out, 8, 0x60, 4, 3, 3, version == 6 ? 0x8e : 0xcc);
        break;
    case 43:
        link = 107;
        ADD(out, 0x18, 0x41, 3, 0, 0x80, 0, 0x80, 0xc2, 0, 7);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 44:
        link = 109;
        ADD(out, 2, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0);
        break;
    case 45:
        link = 117;
        ADD(out, 45, version == 6 ? 30 : 2);
        for (int i = 0; i < 46; i++)
            ADD(out, 0);
        break;
    case 46:
        link = 122;
        add(out, mac, 12);
        ADD(out, 0, 0, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 47:
        link = 123;
        ADD(out, 2, 0, 0, 33, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 48:
        link = 138;
        add(out, mac, 12);
        ADD(out, 0, 0, 0, 0, hi, lo);
        break;
    case 49:
        link = 143;
        ADD(out, 1, 3, 0, 99, 7, 7, 7, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 50:
        link = 166;
        ADD(out, 1, 3, 0, version == 6 ? 0x57 : 0x21);
        break;
    case 51:
        link = 178;
        ADD(out, 0x4d, 0x47, 0x43, 0x81, 0, 3, 1, 1, 4);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 52:
        link = 180;
        ADD(out, 0x4d, 0x47, 0x43, 1, 0x18, 0x41, 3, version == 6 ? 0x8e : 0xcc);
        break;
    case 53:
        link = 197;
        ADD(out, 1, 2, 3, 4, 5, 6, 7, 8, 0x82, 4, 0, 99, 0, 0, 0, 99, 0x80, 0, 0, 0, 0, 0, 0, 0);
        ADD(out, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break; /* two extension headers */
    case 54:
        link = 219;
        ADD(out, 0, 1, 0x21, 64);
        break;
    case 55:
        link = 226;
        ADD(out, 2, version == 6 ? 26 : 2);
        for (int i = 0; i < 22; i++)
            ADD(out, 0);
        break;
    case 56:
        link = 239;
        ADD(out, version == 6 ? 10 : 2, 0, 0, 42, 5, 0, 1, 0, 9, 9, 9, 9, 99, 0, 9, 0);
        break;
    case 57:
        link = 239;
        ADD(out, 7, 0, 0, 42, 0, 8, 0, 1, hi, lo, 0, 0, 0, 99, 0, 9);
        break; /* the other byte order */
    case 58:
        link = 240;
        ADD(out, 0, 4, 0, 0);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 59:
        link = 274;
        ADD(out, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5);
        add(out, mac, 12);
        ADD(out, hi, lo);
        break;
    case 60:
        link = 281;
        add(out, mac, 12);
        ADD(out, 0, 0, 0, 0, hi, lo);
        break;
    case 61:
        link = 285;
        add(out, mac, 12);
        ADD(out, 0xda, 0xda, 0, 0, 0x40, 0, 0, 1, hi, lo);
        break;
    case 62:
        link = 113;
        ADD(out, 0, 0, 3, 0x23, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0, 4); /* radiotap in a cooked capture */
        ADD(out, 0, 0, 8, 0, 0, 0, 0, 0, 8, 1, 0, 0);
        add(out, mac, 12);
        add(out, mac, 6);
        ADD(out, 0x10, 0, 0xaa, 0xaa, 3, 0, 0, 0, hi, lo);
        break;
    case 63:
        link = 0;
        ADD(out, 0x0f, 0, hi, lo);
        break; /* an EtherType in a NULL header */
    case 64:
        link = 0;
        ADD(out, lo, hi, 0, 0);
        break;
    case 65:
        link = 205;
        ADD(out, 1, 0x0f, 0, hi, lo);
        break;
    case 66:
        link = 9;
        ADD(out, 0xff, 3, 2, 0x81, 0, 1, 0x21, 64);
        break; /* MPLS in PPP */
    default:
        return -1;
    }
    add(out, ip->data, ip->size);
    return link;
}

static void sane(int status, const fc_key *key, const fc_packet *info, uint32_t size)
{
    static const fc_key nothing;
    CHECK(status >= FC_PACKET_OK && status <= FC_PACKET_MALFORMED && info->status == status);
    CHECK(info->ip_offset <= size && info->transport_offset <= size);
    CHECK((status == FC_PACKET_NOT_IP) == (info->unread != 0) && info->unread <= FC_UNREAD_CUT);
    CHECK(info->unread || info->unread_value == 0);
    if (status != FC_PACKET_OK) {
        CHECK(memcmp(key, &nothing, sizeof nothing) == 0);
        return;
    }
    CHECK((key->present & 0x43) == 0x43 && (key->version == 4 || key->version == 6) && info->depth >= 1);
    CHECK((key->present & FC_PROTOCOL) || (key->protocol == 0 && !(key->present & (FC_SPI | FC_SOURCE_PORT))));
    CHECK((key->present & FC_SPI) || key->spi == 0);
    CHECK((key->present & FC_SOURCE_PORT) || key->source_port == 0);
    CHECK((key->present & FC_DESTINATION_PORT) || key->destination_port == 0);
    CHECK(key->version == 6 ? key->present & FC_FLOW_LABEL : key->flow_label == 0);
}

static uint8_t *end; /* of guarded memory */

/* An outermost header without extensions is read by a way of its own, one inside a tunnel never: both say the same. */
static void same_inside(const uint8_t *packet, uint32_t n, const fc_key *key, const fc_packet *info)
{
    bytes b = {.size = 0};
    ip6(&b, packet[0] >> 4 == 4 ? 4 : 41, (uint16_t)n);
    add(&b, packet, n);
    const fc_parse_options options = {.inner = 2};
    const uint64_t offset = 0;
    fc_key inner;
    fc_packet found;
    fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &inner, &found);
    CHECK(found.depth == 2 && memcmp(&inner, key, sizeof inner) == 0);
    CHECK(found.flags == info->flags && found.fragment == info->fragment && found.fragment_id == info->fragment_id);
    CHECK(found.ip_offset == info->ip_offset + 40 && found.ip_length == info->ip_length);
    CHECK(found.transport_offset == info->transport_offset + 40);
}

static unsigned long heads[2]; /* packets that had a head: IPv4, IPv6 */

/* A packet's head has the packet's key, and nothing else is to be said of the packet; whatever stands behind it. */
static void same_head(int link, const uint8_t *packet, uint32_t n, int status, const fc_key *key, const fc_packet *info)
{
    uint8_t room[MAX + FC_HEAD_ROOM];
    uint64_t head[FC_HEAD_WORDS], again[FC_HEAD_WORDS];
    fc_key same;
    fc_packet whole;
    memset(room, 6, sizeof room);
    memcpy(room, packet, n);
    if (!fc_take_head(link, room, n, head))
        return;
    heads[key->version == 6]++;
    CHECK(status == FC_PACKET_OK && !(info->flags & ~FC_PACKET_CUT) && info->fragment == FC_FRAGMENT_NONE);
    CHECK(fc_parse(FC_LINK_RAW, (const uint8_t *)head, sizeof head, &same, &whole) == FC_PACKET_OK);
    CHECK(memcmp(&same, key, sizeof same) == 0 && whole.flags == 0 && whole.fragment == FC_FRAGMENT_NONE);
    CHECK(((const uint8_t *)head)[offsetof(fc_key, present)] == 0 && key->present);
    memset(room + n, 0xff, FC_HEAD_ROOM);
    CHECK(fc_take_head(link, room, n, again) && memcmp(head, again, sizeof head) == 0);
}

/* One packet whose last octet is the last that can be read, by both entries and all options. */
static int guarded(int link, const uint8_t *data, uint32_t n, fc_key *key, fc_packet *info, fc_fragments *fragments)
{
    memcpy(end - n, data, n);
    int status = fc_parse(link, end - n, n, key, info);
    sane(status, key, info, n);
    if (link == 101 && status == FC_PACKET_OK && n + 40 <= MAX)
        same_inside(data, n, key, info);
    same_head(link, data, n, status, key, info);
    fc_parse_options options = {.inner = FC_INNERMOST, .fragments = fragments};
    uint64_t offset = 0;
    uint16_t type = (uint16_t)link;
    fc_key deep;
    fc_packet deep_info;
    fc_parse_batch(-1, &type, end - n, &offset, &n, 1, &options, &deep, &deep_info);
    sane(deep_info.status, &deep, &deep_info, n);
    CHECK(deep_info.status == status); /* what is inside makes no packet worse */
    return status;
}

enum { TUNNELS = 33 };

static void tunnels(bytes *b, int number)
{
    bytes inner = {.size = 0};
    ip6(&inner, 17, sizeof udp);
    add(&inner, udp, sizeof udp);
    b->size = 0;
    static const uint8_t eth6[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd};
    switch (number) {
    case 0:
        ip6(b, 41, 0);
        break;
    case 1:
        ip4(b, 41, 0, 0);
        break;
    case 2:
        ip4(b, 47, 0, 0);
        ADD(b, 0xb0, 0, 0x86, 0xdd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
        break;
    case 3:
        ip6(b, 47, 0);
        ADD(b, 0, 0, 0x65, 0x58);
        add(b, eth6, 14);
        break;
    case 4:
        ip4(b, 17, 0, 0);
        ADD(b, 8, 0x68, 8, 0x68, 0, 0, 0, 0, 0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0);
        break;
    case 5:
        ip6(b, 17, 0);
        ADD(b, 1, 2, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0);
        add(b, eth6, 14);
        break;
    case 6:
        ip6(b, 17, 0);
        ADD(b, 1, 2, 0x17, 0xc1, 0, 0, 0, 0, 1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4);
        add(b, eth6, 14);
        break;
    case 7:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x0d, 0xd8, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6);
        break;
    case 8:
        ip4(b, 47, 0, 0);
        ADD(b, 0, 0, 0x88, 0xbe);
        add(b, eth6, 14);
        break; /* ERSPAN I, II, III */
    case 9:
        ip4(b, 47, 0, 0);
        ADD(b, 0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 1);
        add(b, eth6, 14);
        break;
    case 10:
        ip6(b, 47, 0);
        ADD(b, 0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8);
        add(b, eth6, 14);
        break;
    case 11:
        ip6(b, 47, 0);
        ADD(b, 0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 1, 0, 0, 8, 0);
        break;
        /* III, IP */
    case 12:
        ip4(b, 47, 0, 0);
        ADD(b, 0, 0, 0x82, 0x30, 8, 1, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0);
        ADD(b, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd);
        break; /* Aruba */
    case 13:
        ip4(b, 47, 0, 0);
        ADD(b, 0, 0, 0x88, 0x3e, 0, 0, 0, 0);
        break; /* WCCP */
    case 14:
        ip4(b, 47, 0, 0);
        ADD(b, 0x40, 0, 0x86, 0xdd, 0, 0, 0, 0, 8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0);
        break;
        /* routes */
    case 15:
        ip6(b, 97, 0);
        ADD(b, 0x30, 0);
        add(b, eth6, 14);
        break; /* EtherIP */
    case 16:
        ip4(b, 115, 0, 0);
        ADD(b, 0, 0, 0, 5, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88);
        add(b, eth6, 14);
        break;
    case 17:
        ip6(b, 17, 0);
        ADD(b, 6, 0xa5, 6, 0xa5, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 5);
        add(b, eth6, 14);
        break;
        /* L2TPv3 */
    case 18:
        ip4(b, 17, 0, 0);
        ADD(b, 6, 0xa5, 6, 0xa5, 0, 0, 0, 0, 0x4a, 2, 0, 99, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9);
        ADD(b, 0xff, 3, 0, 0x57);
        break; /* L2TPv2 */
    case 19:
        ip6(b, 137, 0);
        ADD(b, 0, 1, 0x20, 64, 0, 1, 0x21, 64);
        break; /* MPLS in IP */
    case 20:
        ip6(b, 17, 0);
        ADD(b, 1, 2, 0x19, 0xeb, 0, 0, 0, 0, 0, 1, 0x21, 64);
        break; /* MPLS in UDP */
    case 21:
        ip6(b, 143, 0);
        add(b, eth6, 14);
        break;
    case 22:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x12, 0x92, 0, 0, 0, 0, 0, 0, 0x86, 0xdd);
        break; /* GRE in UDP */
    case 23:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x17, 0xc0, 0, 0, 0, 0, 1, 41, 0, 0, 9, 9, 9, 9);
        break; /* GUE */
    case 24:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x17, 0xc0, 0, 0, 0, 0);
        break; /* GUE, version 1 */
    case 25:
        ip6(b, 17, 0);
        ADD(b, 1, 2, 0x12, 0xb6, 0, 0, 0, 0, 0x0c, 0, 0, 3, 0, 0, 7, 0);
        add(b, eth6, 14);
        break;
        /* GPE */
    case 26:
        ip6(b, 17, 0);
        ADD(b, 1, 2, 0x12, 0xb5, 0, 0, 0, 0, 0x0c, 0, 0, 4, 0, 0, 7, 0, 0x0f, 0xc2, 2, 2, 0, 0, 1, 255);
        break;
    case 27:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x10, 0xf5, 0, 0, 0, 0, 0xc0, 0, 0, 1, 0, 0, 0, 1);
        break; /* LISP */
    case 28:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x90, 0x90, 0, 0, 0, 0, 1, 0, 0, 1, 0, 10, 2, 9, 9, 1);
        add(b, eth6, 14);
        break;
    case 29:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x14, 0x7f, 0, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0);
        add(b, eth6, 14);
        break; /* CAPWAP */
    case 30:
        ip4(b, 17, 0, 0);
        ADD(b, 0x14, 0x7f, 1, 2, 0, 0, 0, 0, 0, 0x18, 3, 0, 0, 0, 0, 0, 1, 2, 3, 4);
        /* native, swapped */
        ADD(b, 1, 8, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0, 0x86,
            0xdd);
        break;
    case 31:
        ip4(b, 17, 0, 0);
        ADD(b, 1, 2, 0x13, 0xd0, 0, 0, 0, 0, 0x44, 0x12, 1, 41, 0, 0, 0, 0);
        ADD(b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 2, 3, 4);
        break; /* AYIYA */
    case 32:
        ip4(b, 17, 0, 0);
        ADD(b, 8, 0x68, 8, 0x68, 0, 0, 0, 0, 0x30, 255, 0, 0, 0, 0, 0, 1);
        add(b, eth6, 14);
        break;
    default:
        return;
    }
    add(b, inner.data, inner.size);
}

static void inner_headers(void)
{
    for (int number = 0; number < TUNNELS; number++) {
        bytes b;
        fc_key key;
        fc_packet info;
        uint64_t offset = 0;
        tunnels(&b, number);
        fc_parse_options options = {.inner = FC_INNERMOST};
        fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &key, &info);
        CHECK(info.depth == 2 && key.version == 6 && key.destination_port == 53 && info.ip_offset == b.size - 52);
        options.inner = 1;
        fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &key, &info);
        CHECK(info.depth == 1 && info.ip_offset == 0 && key.version == b.data[0] >> 4);
    }
}

static void every_cut_and_flip(int quick)
{
    static const uint8_t secret[16] = "sixteen octets.";
    fc_fragments *fragments;
    CHECK(fc_fragments_new(16, secret, &fragments) == FC_OK);
    for (int seed = 0; seed < 3 + TUNNELS; seed++) {
        bytes ip = {.size = 0}, b;
        if (seed == 0) {
            long_chain(&ip);
        } else if (seed == 1) {
            ip4(&ip, 51, 0, 0x2000);
            ADD(&ip, 17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
            add(&ip, udp, sizeof udp);
        } else if (seed == 2) {
            ip4(&ip, 17, 24 + sizeof udp, 0);
            add(&ip, udp, sizeof udp);
        } else {
            tunnels(&ip, seed - 3);
        }
        fc_key whole, key;
        fc_packet info;
        CHECK(fc_parse(101, ip.data, ip.size, &whole, &info) == FC_PACKET_OK);
        int link;
        for (int number = 0; (link = frame(number, &ip, ip.data[0] >> 4, &b)) >= 0; number++) {
            CHECK(guarded(link, b.data, b.size, &key, &info, fragments) == FC_PACKET_OK);
            CHECK(memcmp(&key, &whole, sizeof key) == 0); /* the link layer changes nothing */
            CHECK(info.ip_offset == b.size - ip.size);
            for (uint32_t n = 0; n < b.size; n++) {
                if (guarded(link, b.data, n, &key, &info, fragments) != FC_PACKET_OK)
                    continue;
                /* what is there at a snap length is as in the whole packet */
                CHECK((key.present & ~whole.present) == 0);
                CHECK(!(key.present & FC_PROTOCOL) || key.protocol == whole.protocol);
                CHECK(!(key.present & FC_SOURCE_PORT) || key.source_port == whole.source_port);
                CHECK(!(key.present & FC_DESTINATION_PORT) || key.destination_port == whole.destination_port);
                CHECK(memcmp(key.source, whole.source, 32) == 0 && key.flow_label == whole.flow_label);
            }
            for (int i = 0; i < (quick ? 50 : 1000); i++) {
                bytes changed = b;
                for (uint32_t k = 1 + random_below(4); k; k--)
                    changed.data[random_below(b.size)] = (uint8_t)(random_below(3) ? random_below(256) : 0xff);
                guarded(link, changed.data, 1 + random_below(b.size), &key, &info, fragments);
                guarded((int)random_below(300), changed.data, b.size, &key, &info, fragments);
            }
        }
    }
    CHECK(fc_fragments_count(fragments) <= 16);
    fc_fragments_free(fragments);
}

static void fragment(bytes *b, uint32_t id, uint16_t offset_and_more, uint8_t next)
{
    b->size = 0;
    ip6(b, 44, 8 + sizeof udp);
    ADD(b, next, 0, (uint8_t)(offset_and_more >> 8), (uint8_t)offset_and_more, (uint8_t)(id >> 24), (uint8_t)(id >> 16),
        (uint8_t)(id >> 8), (uint8_t)id);
    add(b, udp, sizeof udp);
}

static void parse_with(fc_fragments *fragments, const bytes *b, fc_key *key, fc_packet *info)
{
    fc_parse_options options = {.fragments = fragments};
    uint64_t offset = 0;
    fc_parse_batch(101, NULL, b->data, &offset, &b->size, 1, &options, key, info);
}

static void fragment_memory(void)
{
    static const uint8_t secret[16] = "sixteen octets.";
    enum { CAPACITY = 100 };
    fc_fragments *f;
    bytes b;
    fc_key key, first;
    fc_packet info;
    CHECK(fc_fragments_new(0, secret, &f) == FC_EINVAL && fc_fragments_new((1u << 24) + 1, secret, &f) == FC_EINVAL);
    CHECK(fc_fragments_new(CAPACITY, secret, &f) == FC_OK);
    fragment(&b, 7, 8, 60); /* a later one before its first: protocol of its Fragment header, no ports */
    parse_with(f, &b, &key, &info);
    CHECK(info.fragment == FC_FRAGMENT_LATER && key.protocol == 60 && !(key.present & FC_SOURCE_PORT));
    fragment(&b, 7, 1, 17);
    parse_with(f, &b, &first, &info);
    CHECK(info.fragment == FC_FRAGMENT_FIRST && first.destination_port == 53 && fc_fragments_count(f) == 1);
    fragment(&b, 7, 8, 60);
    parse_with(f, &b, &key, &info);
    CHECK(memcmp(&key, &first, sizeof key) == 0 && info.fragment == FC_FRAGMENT_LATER);
    CHECK(info.flags & FC_PACKET_COMPLETED);
    fragment(&b, 8, 8, 60); /* another packet's */
    parse_with(f, &b, &key, &info);
    CHECK(!(info.flags & FC_PACKET_COMPLETED));
    fragment(&b, 9, 0, 17); /* atomic: whole, not remembered */
    parse_with(f, &b, &key, &info);
    CHECK(info.fragment == FC_FRAGMENT_NONE && fc_fragments_count(f) == 1 && key.destination_port == 53);
    for (uint32_t twice = 0; twice < 2; twice++) { /* the oldest goes, the newest CAPACITY that were told stay */
        for (uint32_t id = 100; id < 100 + 3 * CAPACITY; id++) {
            fragment(&b, id, 1, 17);
            parse_with(f, &b, &key, &info);
            if (twice)
                parse_with(f, &b, &key, &info); /* one entry, but two were told */
        }
        CHECK(fc_fragments_count(f) == (twice ? CAPACITY / 2 : CAPACITY));
        for (uint32_t id = 100; id < 100 + 3 * CAPACITY; id++) {
            fragment(&b, id, 8, 17);
            parse_with(f, &b, &key, &info);
            CHECK(!(info.flags & FC_PACKET_COMPLETED) == (id < 100 + 3 * CAPACITY - fc_fragments_count(f)));
        }
    }
    /* good for 60 seconds of the caller's clock, whichever way it goes */
    static const struct {
        int64_t first, later;
        int together;
    } clocks[] = {
        {0, 60000000000, 1}, {0, 60000000001, 0}, {0, -60000000001, 0},
        {FC_NO_TIME, 1, 1},  {1, FC_NO_TIME, 1},  {INT64_MAX, INT64_MIN + 1, 0},
    };
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        fc_parse_options options = {.fragments = f, .now = clocks[i].first};
        uint64_t offset = 0;
        fragment(&b, 7, 1, 17);
        fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &key, &info);
        options.times = &clocks[i].later;
        fragment(&b, 7, 8, 17);
        fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &key, &info);
        CHECK(!(info.flags & FC_PACKET_COMPLETED) == !clocks[i].together);
    }
    fc_fragments_clear(f);
    parse_with(f, &b, &key, &info);
    CHECK(!(info.flags & FC_PACKET_COMPLETED) && fc_fragments_count(f) == 0);
    fc_fragments_free(f);
    fc_fragments_free(NULL);
}

/* A tunnel packet in two fragments, keys of the inner header wanted: the later one is decided as the first was. */
static void fragmented_tunnel(void)
{
    static const uint8_t secret[16] = "sixteen octets.";
    fc_fragments *f;
    bytes b = {.size = 0};
    fc_key first, later;
    fc_packet info;
    uint64_t offset = 0;
    CHECK(fc_fragments_new(4, secret, &f) == FC_OK);
    fc_parse_options options = {.inner = FC_INNERMOST, .fragments = f};
    ip6(&b, 44, 8 + 52);
    ADD(&b, 41, 0, 0, 1, 0, 0, 0, 5);
    ip6(&b, 17, 500);
    add(&b, udp, sizeof udp);
    fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &first, &info);
    CHECK(info.depth == 2 && first.destination_port == 53);
    b.data[43] = 8 * 13;
    fc_parse_batch(101, NULL, b.data, &offset, &b.size, 1, &options, &later, &info);
    CHECK(memcmp(&first, &later, sizeof first) == 0 && info.depth == 2 && (info.flags & FC_PACKET_COMPLETED));
    fc_fragments_free(f);
}

/* Random headers that are plain, or nearly so, in packets cut anywhere. */
/* What may stand in front of a packet that has a head. Returns the link type. */
static int plain_link(uint32_t number, uint32_t six, bytes *b)
{
    static const uint8_t addresses[14];
    const uint8_t type[2] = {six ? 0x86 : 8, six ? 0xdd : 0};
    if (number == 0)
        return FC_LINK_RAW;
    add(b, addresses, number == 3 ? 14 : 12);
    if (number == 2)
        ADD(b, 0x81, 0, 0x20, 7);
    add(b, type, sizeof type);
    return number == 3 ? FC_LINK_LINUX_SLL : FC_LINK_ETHERNET;
}

/* Are there options or extension headers, or is the length that of no packet with ports? */
static int has_more(const uint8_t *packet, uint32_t six)
{
    const uint32_t size = fc_be16(packet + (six ? 4 : 2));
    return six ? fc_kinds[packet[6]] == FC_KIND_EXTENSION || size < 4
               : packet[0] != 0x45 || packet[9] == 51 || size < 24;
}

static void plain_headers(int quick)
{
    static const uint8_t protocols[] = {6, 17, 132, 136, 33, 50, 58, 44, 0, 255};
    unsigned plain[2] = {0, 0};
    for (int i = 0; i < (quick ? 2000 : 100000); i++) {
        uint8_t packet[64];
        fc_key key;
        fc_packet info;
        const uint32_t six = random_below(2), size = random_below(3) ? random_below(65) : 64;
        for (uint32_t k = 0; k < sizeof packet; k++)
            packet[k] = (uint8_t)random_below(256);
        packet[0] = (uint8_t)(six ? 0x60 | random_below(16) : random_below(8) ? 0x45 : 0x40 | random_below(16));
        packet[six ? 6 : 9] = protocols[random_below(random_below(2) ? 3 : sizeof protocols)];
        packet[six ? 4 : 2] = random_below(8) ? 0 : 1;
        packet[six ? 5 : 3] = (uint8_t)random_below(96);
        if (!six) {
            packet[6] = random_below(4) ? 0x40 : (uint8_t)random_below(256);
            packet[7] = random_below(4) ? 0 : (uint8_t)random_below(256);
        }
        bytes b = {.size = 0};
        const int link = plain_link(random_below(4), six, &b);
        add(&b, packet, size);
        const unsigned long before = heads[0] + heads[1];
        const int status = guarded(link, b.data, b.size, &key, &info, NULL);
        CHECK(heads[0] + heads[1] > before || status != FC_PACKET_OK || info.fragment || key.version != (six ? 6 : 4) ||
              !(key.present & (FC_DESTINATION_PORT | FC_SPI)) || has_more(packet, six));
        plain[six] += status == FC_PACKET_OK && (key.present & FC_DESTINATION_PORT);
    }
    CHECK(plain[0] > 50 && plain[1] > 50 && heads[0] > 50 && heads[1] > 50);
}

int main(void)
{
    int quick = getenv("FC_TEST_QUICK") != NULL;
    end = guarded_end(MAX);
    known_answers();
    unread();
    upper_layers();
    inner_headers();
    fragment_memory();
    fragmented_tunnel();
    plain_headers(quick);
    every_cut_and_flip(quick);
    puts("parse: ok");
    return 0;
}
