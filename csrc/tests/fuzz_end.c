/* libFuzzer: a mobile node and a correspondent node that have a binding for each other, between socket pairs. What an
 * application of either sends and what leaves is given to the other end, which must deliver the same packet; what comes
 * by the link, whatever it is, is delivered only as a whole packet to the end's own address. */
#include <sanitizer/lsan_interface.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "forward/checksum.h"
#include "forward/forward.h"
#include "fuzz_octets.h"

enum { ROOM = 2048 };

typedef struct end {
    fc_forwarder *forwarder;
    int tun, tap, link; /* the far ends: what applications send and get, what comes by the link, what leaves */
    uint8_t address[16];
} end;

static const uint8_t home[16] = {0x20, 1, 0x0d, 0xb8, 1, [15] = 5},
                     care_of[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xa, [15] = 1};
static const uint8_t peer[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xc, [15] = 9}, agent[16] = {0x20, 1, 0x0d, 0xb8, 1, [15] = 1};
static end mobile, correspondent;

static fc_address address(const uint8_t a[16]) { return (fc_address){{fc_be64(a), fc_be64(a + 8)}, 6, 128, {0}}; }

static void pair(int fd[2])
{
    const int size = 1 << 20;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd) == 0);
    MUST(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
}

static void make(end *e, enum fc_forward_role role, const uint8_t own[16], const uint8_t node_home[16])
{
    int tun[2], tap[2], out[2];
    fc_fib *fib;
    fc_target target = {.bid = 1, .version = 6};
    fc_address source = address(role == FC_FORWARD_MOBILE_NODE ? care_of : own);
    memcpy(target.address, care_of, 16);
    fc_node node = {.home = address(node_home), .targets = &target, .n_targets = 1};
    fc_forward_options o = {.output4 = -1,
                            .udp = -1,
                            .tunnel4 = {-1, -1},
                            .tunnel6 = {-1, -1},
                            .n_tun = 1,
                            .mtu = 1500,
                            .hop_limit = 64,
                            .encapsulation_limit = -1,
                            .role = (uint8_t)role,
                            .n_own = 1,
                            .secret = "sixteen octets."};
    pair(tun), pair(tap), pair(out);
    o.tun[0] = tun[0], o.tap = tap[0], o.output = out[0];
    o.own[0] = address(own);
    memcpy(o.home_agent, agent, 16);
    __lsan_disable(); /* all of it stays, and LeakSanitizer does not look into memory of mmap() */
    MUST(fc_fib_new(o.secret, &fib) == FC_OK && fc_fib_publish(fib, &node, NULL) == FC_OK);
    MUST(fc_forwarder_new(fib, &o, &e->forwarder) == FC_OK);
    __lsan_enable();
    MUST(fc_forwarder_set_source(e->forwarder, &source, 1) == FC_OK);
    e->tun = tun[1], e->tap = tap[1], e->link = out[1];
    memcpy(e->address, own, 16);
}

static uint32_t take(int fd, uint8_t *p)
{
    ssize_t n = recv(fd, p, ROOM + 128, 0);
    return n > 0 ? (uint32_t)n : 0;
}

static void serve(end *e)
{
    MUST(fc_forwarder_run(e->forwarder, 0) >= 0);
    for (fc_local *local; (local = fc_forwarder_take(e->forwarder));)
        fc_local_free(local);
}

static void check_delivered(const end *e, const uint8_t *p, uint32_t n)
{
    MUST(n >= 40 && p[0] >> 4 == 6 && fc_be16(p + 4) == n - 40 && memcmp(p + 24, e->address, 16) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t given[ROOM], left[ROOM + 128], got[ROOM + 128];
    octets o = {data, size};
    if (!mobile.forwarder) {
        make(&mobile, FC_FORWARD_MOBILE_NODE, home, peer);
        make(&correspondent, FC_FORWARD_CORRESPONDENT, peer, home);
    }
    uint8_t how = next8(&o);
    end *one = how & 1 ? &mobile : &correspondent, *other = how & 1 ? &correspondent : &mobile;
    uint32_t n = o.left < ROOM ? (uint32_t)o.left : ROOM, m;
    if (!n)
        return 0;
    memcpy(given, o.at, n);
    if (n >= 40 && how & 2) { /* addresses and length that make sense */
        given[0] = (uint8_t)(0x60 | (given[0] & 15));
        fc_put16(given + 4, n - 40);
        memcpy(given + 8, how & 4 ? one == &mobile ? peer : care_of : one->address, 16);
        memcpy(given + 24, how & 4 ? one == &mobile ? care_of : peer : other->address, 16);
    }
    if (how & 4) { /* by the link */
        MUST(send(one->tap, given, n, 0) == (ssize_t)n);
        serve(one);
        while ((m = take(one->tun, got)))
            check_delivered(one, got, m);
    } else { /* from an application */
        MUST(send(one->tun, given, n, 0) == (ssize_t)n);
        serve(one);
        while ((m = take(one->link, left))) {
            MUST(m >= 40 && left[0] >> 4 == 6 && fc_be16(left + 4) == m - 40);
            MUST(memcmp(left + 8, one == &mobile ? care_of : peer, 16) == 0);
            if (memcmp(left + 24, other == &mobile ? care_of : peer, 16) != 0 || m != 40u + fc_be16(given + 4) + 24)
                continue;
            MUST(send(other->tap, left, m, 0) == (ssize_t)m);
            serve(other);
            uint32_t delivered = take(other->tun, got);
            if (delivered) { /* signalling isn't */
                check_delivered(other, got, delivered);
                MUST(delivered == m - 24 || delivered == m); /* beside options of the packet's own, ours is masked */
            }
        }
    }
    while (take(one->tun, got))
        ; /* ICMP errors */
    return 0;
}
