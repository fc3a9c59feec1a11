/* The forwarder with pairs of sockets for devices: known answers, hostile packets, queues and writers at once. */
#include "flowclass_forward.h"
#include "guard.h"

#if defined(__linux__)
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "forward/checksum.h"

enum { MTU = 1500, LARGEST = 70000, VNET = 10 };

typedef struct rig {
    fc_fib *fib;
    fc_forwarder *forwarder;
    int kernel[8], inside[8]; /* TUN queues */
    int out6[2], out4[2];
    int vnet;
    unsigned queues;
} rig;

static const uint8_t agent[16] = {0x20, 1, 0x0d, 0xb8, 1, 0, [15] = 1}, agent4[4] = {192, 0, 2, 1};
static const uint8_t home[16] = {0x20, 1, 0x0d, 0xb8, 1, 0, [15] = 5}, home4[4] = {198, 51, 100, 5};
static const uint8_t care_of[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xa, [15] = 1}, care_of4[4] = {203, 0, 113, 7};
static const uint8_t peer[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xc, [15] = 9}, peer4[4] = {198, 18, 0, 9};

static void pair(int *a, int *b)
{
    int ends[2], size = 8 << 20;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    *a = ends[0];
    *b = ends[1];
}

static fc_address address_of(const uint8_t *p, int version)
{
    if (version == 4)
        return (fc_address){{0, fc_be32(p)}, 4, 0, {0}};
    return (fc_address){{fc_be64(p), fc_be64(p + 8)}, 6, 0, {0}};
}

/* A node with a default binding, a flow to an IPv4 care-of address, one that copies, one that discards. */
static void publish(fc_fib *fib, uint8_t last)
{
    fc_target targets[2] = {{{0}, 1, 6, 0}, {{0}, 2, 4, 0}};
    uint8_t address[16], address4[4];
    memcpy(targets[0].address, care_of, 16);
    memcpy(targets[1].address, care_of4, 4);
    memcpy(address, home, 16);
    memcpy(address4, home4, 4);
    address[15] = address4[3] = last;
    fc_flow flows[3] = {{.fid = 1, .action = FC_ACTION_FORWARD, .n_targets = 1, .targets = 1},
                        {.fid = 2, .action = FC_ACTION_NCAST, .n_targets = 2, .targets = 0},
                        {.fid = 3, .action = FC_ACTION_DISCARD}};
    for (uint16_t i = 0; i < 3; i++) {
        flows[i].rule.conditions = FC_SOURCE_PORT;
        flows[i].rule.source_port_first = flows[i].rule.source_port_last = i + 1;
    }
    const uint16_t indices[2] = {0, 1};
    fc_address also = address_of(address4, 4), prefix = address_of(address, 6);
    prefix.words[0] += 0x100 * (uint64_t)last;
    prefix.words[1] = 0;
    prefix.length = 64;
    fc_node node = {.home = address_of(address, 6),
                    .also = &also,
                    .prefixes = &prefix,
                    .targets = targets,
                    .flows = flows,
                    .flow_targets = indices,
                    .n_also = 1,
                    .n_prefixes = 1,
                    .n_targets = 2,
                    .n_flows = 3,
                    .n_flow_targets = 2,
                    .default_target = 0};
    CHECK(fc_fib_publish(fib, &node, NULL) == FC_OK);
}

static void make(rig *r, unsigned queues, int vnet, int32_t limit)
{
    fc_forward_options o = {.udp = -1,
                            .tunnel4 = {-1, -1},
                            .n_tun = queues,
                            .mtu = MTU,
                            .encapsulation_limit = limit,
                            .hop_limit = 64,
                            .vnet_header = (uint8_t)vnet,
                            .has_ipv4 = 1,
                            .secret = "sixteen octets."};
    *r = (rig){.vnet = vnet, .queues = queues};
    for (unsigned i = 0; i < queues; i++) {
        pair(&r->kernel[i], &r->inside[i]);
        o.tun[i] = r->inside[i];
    }
    pair(&r->out6[0], &r->out6[1]);
    pair(&r->out4[0], &r->out4[1]);
    o.output = r->out6[1];
    o.output4 = r->out4[1];
    memcpy(o.home_agent, agent, 16);
    memcpy(o.home_agent_ipv4, agent4, 4);
    CHECK(fc_fib_new((const uint8_t *)"sixteen octets.", &r->fib) == FC_OK);
    publish(r->fib, 5);
    CHECK(fc_forwarder_new(r->fib, &o, &r->forwarder) == FC_OK);
}

static void unmake(rig *r)
{
    fc_forwarder_free(r->forwarder);
    fc_fib_free(r->fib);
    for (unsigned i = 0; i < r->queues; i++)
        CHECK(close(r->kernel[i]) == 0 && close(r->inside[i]) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(close(r->out6[i]) == 0 && close(r->out4[i]) == 0);
}

static void check_whole(const uint8_t *p, size_t n)
{
    if (p[0] >> 4 == 6) {
        CHECK(n >= 40 && fc_be16(p + 4) == n - 40);
    } else {
        CHECK(p[0] >> 4 == 4 && n >= 20 && fc_be16(p + 2) == n);
        CHECK(fc_fold(fc_sum(p, (p[0] & 15u) * 4u, 0)) == 0xffff);
    }
}

/* All that came out of one end; what leaves through raw sockets is whole, from the agent, and not too long. */
static unsigned drain(int fd, int raw, uint32_t before)
{
    static uint8_t p[LARGEST];
    unsigned count = 0;
    for (ssize_t n; (n = recv(fd, p, sizeof p, 0)) >= 0; count++) {
        CHECK((size_t)n > before);
        if (!raw)
            continue; /* a packet that was in a tunnel, as its sender made it */
        check_whole(p, (size_t)n);
        CHECK(n <= MTU);
        CHECK(p[0] >> 4 == 6 ? memcmp(p + 8, agent, 16) == 0 : memcmp(p + 12, agent4, 4) == 0);
    }
    CHECK(errno == EAGAIN);
    return count;
}

static unsigned local(rig *r)
{
    unsigned count = 0;
    for (fc_local *l; (l = fc_forwarder_take(r->forwarder)); count++) {
        fc_key key;
        fc_packet info;
        CHECK(fc_parse(101, l->packet, l->length, &key, &info) == FC_PACKET_OK);
        CHECK(info.ip_length == l->length && info.fragment == FC_FRAGMENT_NONE && l->port == 0);
        fc_local_free(l);
    }
    return count;
}

/* ---- Packets ------------------------------------------------------------------------------------------------ */

static uint32_t ip6(uint8_t *p, const uint8_t *from, const uint8_t *to, uint8_t next, uint32_t payload)
{
    memset(p, 0, 40);
    p[0] = 0x60;
    fc_put16(p + 4, payload);
    p[6] = next;
    p[7] = 64;
    memcpy(p + 8, from, 16);
    memcpy(p + 24, to, 16);
    return 40;
}

static uint32_t ip4(uint8_t *p, const uint8_t *from, const uint8_t *to, uint8_t protocol, uint32_t payload)
{
    memset(p, 0, 20);
    p[0] = 0x45;
    fc_put16(p + 2, 20 + payload);
    p[8] = 64;
    p[9] = protocol;
    memcpy(p + 12, from, 4);
    memcpy(p + 16, to, 4);
    fc_ipv4_checksum(p, 20);
    return 20;
}

static void udp(uint8_t *p, uint32_t size)
{
    memset(p, 0x55, size);
    fc_put16(p, random_below(5));
    fc_put16(p + 2, random_below(10) ? 9 : 4191);
    fc_put16(p + 4, size);
}

/* One of the packets that an agent gets; random sizes. Returns its length. */
static uint32_t some_packet(uint8_t *p, unsigned depth)
{
    uint32_t size = 8 + random_below(random_below(4) ? 200 : 1600), at;
    uint8_t group[16] = {0xff, 0x0e, [15] = 5};
    switch (random_below(depth ? 7 : 11)) {
    case 0: /* to a node */
        at = ip6(p, peer, random_below(9) ? home : group, 17, size);
        break;
    case 1:
        at = ip4(p, peer4, home4, 17, size);
        p[6] = random_below(2) ? 0x40 : 0;
        fc_ipv4_checksum(p, 20);
        break;
    case 2: /* of a node */
        at = ip6(p, home, random_below(2) ? peer : home, 17, size);
        break;
    case 3:
        at = ip4(p, home4, random_below(2) ? peer4 : agent4, 17, size);
        break;
    case 4: /* to the agent */
        at = ip6(p, home, agent, 58, size);
        break;
    case 5: /* with options: a limit, and padding */
        at = ip6(p, peer, home, 60, size + 16);
        memcpy(p + at, (const uint8_t[16]){60, 0, 4, 1, (uint8_t)random_below(3), 1, 1, 0, 17, 0, 1, 4}, 16);
        at += 16;
        break;
    case 6: { /* a fragment */
        at = ip6(p, peer, random_below(2) ? agent : home, 44, (size &= ~7u) + 8);
        memset(p + at, 0, 8);
        p[at] = 17;
        fc_put16(p + at + 2, 8 * random_below(40) | random_below(2));
        p[at + 7] = (uint8_t)random_below(4);
        at += 8;
        break;
    }
    case 7: /* in a tunnel */
    case 8:
        size = some_packet(p + 40, depth + 1);
        return ip6(p, random_below(4) ? care_of : peer, agent, p[40] >> 4 == 6 ? 41 : 4, size) + size;
    case 9:
        size = some_packet(p + 20, depth + 1);
        return ip4(p, care_of4, agent4, p[20] >> 4 == 6 ? 41 : 4, size) + size;
    default: { /* an error about a tunnel packet */
        uint8_t *q = p + 48;
        size = some_packet(q + 40, depth + 1);
        ip6(q, agent, care_of, q[40] >> 4 == 6 ? 41 : 4, size);
        size = size + 48 < 1240 ? size + 48 : 1240;
        ip6(p, peer, agent, 58, size);
        memset(p + 40, 0, 8);
        p[40] = (uint8_t)(1 + random_below(4));
        fc_put32(p + 44, 1200 + random_below(400));
        return 40 + size;
    }
    }
    udp(p + at, size);
    return at + size;
}

/* ---- Tests ------------------------------------------------------------------------------------------------------ */

static void known_answer(void)
{
    rig r;
    uint8_t p[200], got[400];
    make(&r, 1, 0, -1);
    uint32_t n = ip6(p, peer, home, 17, 60);
    udp(p + n, 60);
    fc_put16(p + n, 77);
    n += 60;
    CHECK(send(r.kernel[0], p, n, 0) == (ssize_t)n);
    CHECK(fc_forwarder_run(r.forwarder, 0) == 0);
    CHECK(recv(r.out6[0], got, sizeof got, 0) == (ssize_t)n + 40);
    CHECK(got[6] == 41 && got[7] == 64 && memcmp(got + 24, care_of, 16) == 0 && memcmp(got + 40, p, n) == 0);
    fc_forward_counters c;
    fc_forwarder_get_counters(r.forwarder, &c);
    CHECK(c.packets[FC_FORWARD_DEFAULT] == 1 && c.octets[FC_FORWARD_DEFAULT] == n && c.packets[FC_FORWARD_SENT] == 1);
    unmake(&r);
}

/* A virtual network header that wants a checksum within the headers, which were read as they are, is none. */
static void checksum_in_headers(void)
{
    rig r;
    uint8_t p[VNET + 200];
    const uint16_t to_headers[][2] = {{0, 6}, {0, 2}, {6, 0}, {19, 0}};
    make(&r, 1, 1, -1);
    for (int own = 0; own < 2; own++)
        for (int i = 0; i < 4; i++) {
            memset(p, 0, VNET);
            p[0] = 1;
            memcpy(p + 6, to_headers[i], 4);
            uint32_t n = VNET + ip4(p + VNET, peer4, own ? agent4 : home4, 17, 60);
            udp(p + n, 60);
            CHECK(send(r.kernel[0], p, n + 60, 0) == (ssize_t)n + 60);
        }
    CHECK(fc_forwarder_run(r.forwarder, 0) == 0);
    fc_forward_counters c;
    fc_forwarder_get_counters(r.forwarder, &c);
    CHECK(c.dropped[FC_DROP_MALFORMED] == 8 && local(&r) == 0);
    unmake(&r);
}

/* Good packets, changed in a few octets or cut short, with virtual network headers that may say anything. */
static void hostile(int vnet, int32_t limit, unsigned rounds)
{
    static uint8_t p[LARGEST];
    rig r;
    uint64_t given = 0, out = 0, back = 0, told = 0;
    make(&r, 1, vnet, limit);
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned k = 1 + random_below(20); k; k--) {
            uint8_t *q = p + (vnet ? VNET : 0);
            memset(p, 0, VNET);
            uint32_t n = some_packet(q, 0);
            if (vnet && random_below(3) == 0) {
                p[0] = (uint8_t)random_below(3);
                p[1] = (uint8_t)(random_below(2) ? 5 : random_below(256));
                for (int j = 2; j < VNET; j++)
                    p[j] = (uint8_t)random_below(j & 1 ? 2 : 256);
                if (random_below(2)) {
                    uint16_t start = q[0] >> 4 == 6 ? 40 : 20, offset = 6;
                    p[0] = 1;
                    memcpy(p + 6, &start, 2);
                    memcpy(p + 8, &offset, 2);
                }
            }
            if (random_below(2))
                for (unsigned j = 1 + random_below(4); j; j--)
                    q[random_below(random_below(2) ? n : n < 100 ? n : 100)] = (uint8_t)random_below(256);
            if (random_below(10) == 0)
                n = random_below(n + 1);
            n += vnet ? VNET : 0;
            if (n == 0)
                continue;
            CHECK(send(r.kernel[0], p, n, 0) == (ssize_t)n);
            given++;
        }
        CHECK(fc_forwarder_run(r.forwarder, 0) >= 0);
        out += drain(r.out6[0], 1, 0) + drain(r.out4[0], 1, 0);
        back += drain(r.kernel[0], 0, vnet ? VNET : 0);
        told += local(&r);
    }
    fc_forward_counters c;
    fc_forwarder_get_counters(r.forwarder, &c);
    CHECK(out == c.packets[FC_FORWARD_SENT] && back == c.packets[FC_FORWARD_REVERSE] &&
          told == c.packets[FC_FORWARD_LOCAL]);
    CHECK(out > given / 10 && back && told);
    unmake(&r);
}

typedef struct crowd {
    rig *r;
    _Atomic int over;
} crowd;

static void *write_table(void *arg)
{
    crowd *c = arg;
    while (!atomic_load(&c->over)) {
        for (uint8_t i = 10; i < 20; i++)
            publish(c->r->fib, i);
        for (uint8_t i = 10; i < 20; i++) {
            uint8_t address[16];
            memcpy(address, home, 16);
            address[15] = i;
            fc_address a = address_of(address, 6);
            CHECK(fc_forwarder_set_port(c->r->forwarder, &a, 2, care_of4, i) == FC_OK);
            CHECK(fc_fib_withdraw(c->r->fib, &a) == FC_OK);
        }
    }
    return NULL;
}

static void *look_on(void *arg)
{
    crowd *c = arg;
    fc_forward_flow flows[64];
    while (!atomic_load(&c->over)) {
        fc_forward_counters counters;
        fc_forwarder_get_counters(c->r->forwarder, &counters);
        (void)fc_forwarder_flows(c->r->forwarder, flows, 64);
        CHECK(fc_forwarder_adjust(c->r->forwarder, MTU, 64, 4) == FC_OK);
        fc_forwarder_wake(c->r->forwarder);
    }
    return NULL;
}

/* Three queues, a writer of the table, a reader of counters, all at once; nothing is lost. */
static void together(unsigned rounds)
{
    rig r;
    uint8_t p[200];
    pthread_t writer, looker;
    uint64_t given = 0, out = 0, told = 0;
    make(&r, 3, 0, 4);
    crowd c = {.r = &r};
    CHECK(pthread_create(&writer, NULL, write_table, &c) == 0 && pthread_create(&looker, NULL, look_on, &c) == 0);
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned q = 0; q < 3; q++) {
            uint32_t n = ip6(p, peer, i % 5 ? home : agent, 17, 60);
            udp(p + n, 60);
            fc_put16(p + n, 77);
            if (send(r.kernel[q], p, n + 60, 0) == (ssize_t)n + 60)
                given++;
        }
        CHECK(fc_forwarder_run(r.forwarder, 0) >= 0);
        out += drain(r.out6[0], 1, 0);
        told += local(&r);
    }
    for (int i = 0; i < 2000 && out + told < given; i++) {
        CHECK(fc_forwarder_run(r.forwarder, 5) >= 0);
        out += drain(r.out6[0], 1, 0);
        told += local(&r);
    }
    CHECK(out + told == given);
    atomic_store(&c.over, 1);
    pthread_join(writer, NULL);
    pthread_join(looker, NULL);
    fc_forwarder_stop(r.forwarder);
    CHECK(fc_forwarder_run(r.forwarder, -1) == 0);
    unmake(&r);
}

static void refused(void)
{
    fc_fib *fib;
    fc_forwarder *f;
    fc_forward_options
        good = {.output = 1, .output4 = -1, .udp = -1, .tunnel4 = {-1, -1}, .n_tun = 1, .mtu = 1280, .hop_limit = 1},
        o;
    CHECK(fc_fib_new((const uint8_t *)"sixteen octets.", &fib) == FC_OK);
    o = good, o.n_tun = 0;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.n_tun = FC_FORWARD_QUEUES + 1;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.tun[0] = -1;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.output = -1;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.mtu = 1279;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.hop_limit = 0;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    o = good, o.encapsulation_limit = 256;
    CHECK(fc_forwarder_new(fib, &o, &f) == FC_EINVAL);
    CHECK(fc_forwarder_new(NULL, &good, &f) == FC_EINVAL);
    fc_fib_free(fib);
    fc_forwarder_free(NULL);
    CHECK(fc_forward_kind_name(FC_FORWARD_KINDS) == NULL && fc_forward_drop_name(-1) == NULL);
}

int main(void)
{
    unsigned rounds = getenv("FC_TEST_QUICK") ? 300 : 6000;
    known_answer();
    checksum_in_headers();
    refused();
    for (int vnet = 0; vnet < 2; vnet++)
        for (int32_t limit = -1; limit < 5; limit += 5)
            hostile(vnet, limit, rounds);
    together(getenv("FC_TEST_QUICK") ? 200 : 2000);
    puts("forward: ok");
    return 0;
}
#else
int main(void) { return 0; }
#endif
