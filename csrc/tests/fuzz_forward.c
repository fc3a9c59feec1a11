/* libFuzzer: a lane of the forwarder between descriptors that are none: the system calls below give it packets and take
 * what it sends, or fail. Whatever comes, what leaves is whole, from the agent, to where its header says, and not too
 * long; what goes to mobile nodes is what came, in as many copies as the table says; a packet that was put together has
 * the octets of its fragments; and counters say what happened. */
#include <errno.h>
#include <poll.h>
#include <sanitizer/lsan_interface.h>
#include <time.h>

#include "common/bytes.h"
#include "forward/checksum.h"
#include "forward/forward.h"
#include "fuzz_octets.h"

enum { TUN = 1 << 20, OUT6, OUT4, UDP, MOST = 16, ROOM = 4096, VNET = 10 };

static const uint8_t agent[16] = {0x20, 1, 0x0d, 0xb8, 1, [15] = 1}, agent4[4] = {192, 0, 2, 1};
static const uint8_t home[16] = {0x20, 1, 0x0d, 0xb8, 1, [15] = 5}, home4[4] = {198, 51, 100, 5};
static const uint8_t care_of[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xa, [15] = 1}, care_of4[4] = {203, 0, 113, 7};
static const uint8_t peer[16] = {0x20, 1, 0x0d, 0xb8, 0, 0xc, [15] = 9}, peer4[4] = {198, 18, 0, 9};

static fc_forwarder *forwarder;
static uint8_t given[MOST][VNET + ROOM];       /* to TUN, or to UDP */
static uint32_t lengths[MOST], n_given, taken; /* with the virtual network header; taken: given and read */
static uint32_t sent, returned;
static int from_udp, errors, failing; /* failing: system calls fail as `faults` says */
static octets faults;
static uint64_t clock_ns;

/* What one given packet must become, when it is plain: copies around it. */
static const uint8_t *plain;
static uint32_t plain_length, plain_copies;

/* ---- What leaves ----------------------------------------------------------------------------------------------- */

static void check_inner(const uint8_t *p, uint32_t n)
{
    if (plain && n == plain_length && memcmp(p, plain, n) == 0)
        plain_copies++;
}

static void check_message(int fd, const struct msghdr *m)
{
    static uint8_t p[FC_FWD_LARGEST + 64];
    uint32_t n = 0, mtu = forwarder->mtu;
    MUST(m->msg_iovlen >= 1 && m->msg_iovlen <= 3);
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        MUST(n + m->msg_iov[i].iov_len <= sizeof p);
        memcpy(p + n, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
        n += (uint32_t)m->msg_iov[i].iov_len;
    }
    sent++;
    if (fd == UDP) { /* the kernel's headers come before it, and the kernel fragments */
        const struct sockaddr_in *to = m->msg_name;
        MUST(memcmp(&to->sin_addr, care_of4, 4) == 0 && to->sin_port != 0);
        check_inner(p, n);
        return;
    }
    MUST(n <= mtu);
    if (fd == OUT6) {
        const struct sockaddr_in6 *to = m->msg_name;
        MUST(n >= 40 && p[0] >> 4 == 6 && fc_be16(p + 4) == n - 40);
        MUST(memcmp(p + 8, agent, 16) == 0 && memcmp(p + 24, &to->sin6_addr, 16) == 0);
        uint32_t at = p[6] == 60 ? 48 : 40;
        if (p[6] == 58) {
            MUST(fc_fold(fc_sum(p + 40, n - 40, fc_pseudo_sum(p, 58, n - 40))) == 0xffff);
            errors++;
        } else if (p[6] != 44) {
            MUST((p[6] == 60 ? p[40] : p[6]) == (p[at] >> 4 == 6 ? 41 : 4));
            check_inner(p + at, n - at);
        }
        return;
    }
    const struct sockaddr_in *to = m->msg_name;
    MUST(n >= 20 && p[0] == 0x45 && fc_be16(p + 2) == n && fc_fold(fc_sum(p, 20, 0)) == 0xffff);
    MUST(memcmp(p + 12, agent4, 4) == 0 && memcmp(p + 16, &to->sin_addr, 4) == 0);
    if (p[9] == 1) {
        MUST(fc_fold(fc_sum(p + 20, n - 20, 0)) == 0xffff);
        errors++;
    } else if ((fc_be16(p + 6) & 0x3fff) == 0) {
        MUST(p[9] == (p[20] >> 4 == 6 ? 41 : 4));
        check_inner(p + 20, n - 20);
    }
}

/* ---- The system ----------------------------------------------------------------------------------------------------
 */

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags);
int __real_poll(struct pollfd *p, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout);
int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);

static int fails(void)
{
    static const int numbers[] = {EAGAIN, EINTR, EMSGSIZE, ENETUNREACH, ENOBUFS};
    uint8_t what = failing ? next8(&faults) : 0;
    errno = numbers[what % 5];
    return what > 200;
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
    if (fd != TUN)
        return __real_read(fd, p, n);
    if (from_udp || taken == n_given) {
        errno = EAGAIN;
        return -1;
    }
    uint32_t size = lengths[taken];
    MUST(size <= n);
    memcpy(p, given[taken++], size);
    return (ssize_t)size;
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    static uint8_t copy[VNET + FC_FWD_LARGEST];
    if (fd != TUN)
        return __real_write(fd, p, n);
    MUST(n <= sizeof copy);
    memcpy(copy, p, n);
    if (fails())
        return -1;
    returned++;
    return (ssize_t)n;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    (void)flags;
    unsigned done = 0;
    MUST(fd == OUT6 || fd == OUT4 || fd == UDP);
    for (; done < n; done++) {
        if (fails())
            break;
        check_message(fd, &m[done].msg_hdr);
    }
    return done ? (int)done : -1;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    (void)flags, (void)timeout;
    MUST(fd == UDP);
    unsigned i = 0;
    for (; from_udp && taken < n_given && i < n; i++, taken++) {
        struct sockaddr_in *from = m[i].msg_hdr.msg_name;
        MUST(lengths[taken] <= m[i].msg_hdr.msg_iov->iov_len);
        memcpy(m[i].msg_hdr.msg_iov->iov_base, given[taken], lengths[taken]);
        m[i].msg_len = lengths[taken];
        *from = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = fc_be16((const uint8_t *)"\x10\x5f")};
        memcpy(&from->sin_addr, care_of4, 4);
    }
    return i ? (int)i : -1;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
    (void)fd, (void)m, (void)flags;
    errno = EAGAIN;
    return -1;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
    return n == 1 && p->fd >= TUN ? 1 : __real_poll(p, n, timeout);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    if (!clock_ns)
        return __real_clock_gettime(id, t);
    *t = (struct timespec){(time_t)(clock_ns / 1000000000u), (long)(clock_ns % 1000000000u)};
    return 0;
}

/* ---- Packets ------------------------------------------------------------------------------------------------- */

static uint32_t ip(uint8_t *p, const uint8_t *from, const uint8_t *to, int version, uint8_t next, uint32_t payload)
{
    uint32_t n = version == 4 ? 20 : 40;
    memset(p, 0, n);
    if (version == 4) {
        p[0] = 0x45;
        fc_put16(p + 2, n + payload);
        p[8] = 64;
        p[9] = next;
        memcpy(p + 12, from, 4);
        memcpy(p + 16, to, 4);
        fc_ipv4_checksum(p, 20);
    } else {
        p[0] = 0x60;
        fc_put16(p + 4, payload);
        p[6] = next;
        p[7] = 64;
        memcpy(p + 8, from, 16);
        memcpy(p + 24, to, 16);
    }
    return n;
}

static uint32_t payload_of(octets *o, uint8_t *p, uint8_t shape)
{
    uint32_t size = 8 + next8(o) * (shape & 1 ? 6u : 1u);
    memset(p, 0x55, size);
    fc_put16(p, next8(o) % 5);
    fc_put16(p + 2, shape & 2 ? 4191 : 9);
    fc_put16(p + 4, size);
    return size;
}

/* One of the packets that an agent gets; returns its length. */
static uint32_t some_packet(octets *o, uint8_t *p, unsigned depth)
{
    uint8_t shape = next8(o);
    int version = shape & 4 ? 4 : 6;
    const uint8_t *us = version == 4 ? agent4 : agent, *node = version == 4 ? home4 : home;
    const uint8_t *away = version == 4 ? care_of4 : care_of, *other = version == 4 ? peer4 : peer;
    uint32_t size, at;
    switch (depth < 3 ? shape >> 3 & 7 : shape >> 3 & 3) {
    case 0: /* to a node, or from one */
        size = payload_of(o, p + (version == 4 ? 20 : 40), shape & 2);
        return ip(p, shape & 64 ? node : other, shape & 128 ? other : node, version, 17, size) + size;
    case 1: /* to the agent, or from a node */
        size = payload_of(o, p + (version == 4 ? 20 : 40), shape);
        return ip(p, shape & 64 ? node : other, shape & 128 ? us : node, version, shape & 128 ? 58 : 17, size) + size;
    case 2: /* a fragment, to the agent or to a node */
        size = payload_of(o, p + (version == 4 ? 20 : 48), shape) & ~7u;
        at = next16(o);
        if (version == 4) {
            ip(p, other, shape & 64 ? us : node, 4, shape & 128 ? 41 : 17, size);
            fc_put16(p + 4, at >> 14);
            fc_put16(p + 6, (at & 15) | (at & 512) << 4);
            fc_ipv4_checksum(p, 20);
            return 20 + size;
        }
        ip(p, other, shape & 64 ? us : node, 6, 44, size + 8);
        memset(p + 40, 0, 8);
        p[40] = shape & 128 ? 41 : 17;
        fc_put16(p + 42, (at & 15) << 3 | (at >> 9 & 1));
        p[47] = (uint8_t)(at >> 14);
        return 48 + size;
    case 3: /* with options: a limit */
        size = payload_of(o, p + 48, shape);
        ip(p, peer, home, 6, 60, size + 8);
        memcpy(p + 40, (const uint8_t[8]){17, 0, 4, 1, (uint8_t)(shape >> 6), 1, 1, 0}, 8);
        return 48 + size;
    case 4: /* an error about a tunnel packet */
        size = some_packet(o, p + 88, depth + 1);
        ip(p + 48, agent, care_of, 6, p[88] >> 4 == 4 ? 4 : 41, size);
        memset(p + 40, 0, 8);
        p[40] = (uint8_t)(1 + (shape >> 6));
        fc_put16(p + 46, 1200 + next8(o));
        size = size + 40 < 1232 ? size + 40 : 1232;
        return ip(p, peer, agent, 6, 58, 8 + size) + 8 + size;
    default: /* in a tunnel, of which the inner one is the last part */
        at = version == 4 ? 20 : 40;
        at += version == 4 && shape & 64 ? 8 : 0;
        size = some_packet(o, p + at, depth + 1);
        if (at == 28) {
            fc_put16(p + 20, 4191);
            fc_put16(p + 22, 4191);
            fc_put16(p + 24, size + 8);
            fc_put16(p + 26, 0);
            ip(p, away, us, 4, 17, size + 8);
            return 28 + size;
        }
        return ip(p, shape & 128 ? other : away, us, version, p[at] >> 4 == 4 ? 4 : 41, size) + size;
    }
}

/* A virtual network header, most often none; or one that asks for segments of a sound packet. */
static void vnet_header(octets *o, uint8_t *h, uint8_t *p, uint32_t n)
{
    uint8_t shape = next8(o);
    memset(h, 0, VNET);
    if (shape < 128 || n < 60)
        return;
    uint16_t start = p[0] >> 4 == 4 ? 20 : 40, at = 6, size = (uint16_t)(1 + next8(o) * 4u);
    h[0] = 1;
    h[1] = shape & 1 ? 5 : 0;
    memcpy(h + 4, &size, 2);
    memcpy(h + 6, &start, 2);
    memcpy(h + 8, &at, 2);
    if (shape & 2) /* what the kernel leaves there: the sum of the pseudo-header */
        fc_put_checksum(p + start + 6, (uint16_t)~fc_fold(fc_pseudo_sum(p, 17, n - start)));
    if (shape & 4)
        h[next8(o) % VNET] ^= next8(o);
}

/* ---- One step --------------------------------------------------------------------------------------------------- */

static void make_forwarder(void)
{
    static fc_fib *fib;
    static const fc_target targets[2] = {{{0x20, 1, 0x0d, 0xb8, 0, 0xa, [15] = 1}, 1, 6, 0},
                                         {{203, 0, 113, 7}, 2, 4, 0}};
    static const uint16_t indices[2] = {0, 1};
    fc_flow flows[3] = {{.fid = 1, .action = FC_ACTION_FORWARD, .n_targets = 1, .targets = 1},
                        {.fid = 2, .action = FC_ACTION_NCAST, .n_targets = 2},
                        {.fid = 3, .action = FC_ACTION_DISCARD}};
    for (uint16_t i = 0; i < 3; i++) {
        flows[i].rule.conditions = FC_SOURCE_PORT;
        flows[i].rule.source_port_first = flows[i].rule.source_port_last = i + 1;
    }
    fc_address also = {{0, fc_be32(home4)}, 4, 0, {0}};
    fc_node node = {.home = {{fc_be64(home), fc_be64(home + 8)}, 6, 0, {0}},
                    .also = &also,
                    .targets = targets,
                    .flows = flows,
                    .flow_targets = indices,
                    .n_also = 1,
                    .n_targets = 2,
                    .n_flows = 3,
                    .n_flow_targets = 2};
    fc_forward_options options = {.tun = {TUN},
                                  .output = OUT6,
                                  .output4 = OUT4,
                                  .udp = UDP,
                                  .tunnel4 = {-1, -1},
                                  .n_tun = 1,
                                  .mtu = 1280,
                                  .hop_limit = 64,
                                  .has_ipv4 = 1,
                                  .secret = "sixteen octets."};
    memcpy(options.home_agent, agent, 16);
    memcpy(options.home_agent_ipv4, agent4, 4);
    __lsan_disable(); /* both stay, and LeakSanitizer does not look into memory of mmap() */
    MUST(fc_fib_new(options.secret, &fib) == FC_OK && fc_fib_publish(fib, &node, NULL) == FC_OK);
    MUST(fc_forwarder_new(fib, &options, &forwarder) == FC_OK);
    __lsan_enable();
    forwarder->lane[0]->out6.nameless = forwarder->lane[0]->out4.nameless = forwarder->lane[0]->udp.nameless = 0;
}

/* As it was when it was new, but for counters. */
static void renew(uint8_t shape)
{
    fc_fwd_lane *l = forwarder->lane[0];
    fc_address node = {{fc_be64(home), fc_be64(home + 8)}, 6, 0, {0}};
    clock_ns = 1000000000u;
    fc_fragments_clear(l->fragments);
    fc_fwd_reassembly_free(l->reassembly);
    MUST(fc_fwd_reassembly_new(&l->reassembly) == FC_OK);
    if (forwarder->paths)
        memset(forwarder->path, 0, FC_FWD_PATHS * sizeof *forwarder->path);
    forwarder->paths = 0;
    l->random = 1;
    l->now = l->errors.refilled = l->tellings.refilled = fc_fwd_now();
    l->errors.tokens = 4;
    l->tellings.tokens = l->tellings.rate;
    forwarder->options.vnet_header = shape & 1;
    MUST(fc_forwarder_adjust(forwarder, shape & 2 ? 1280 : 1500, 64, shape & 4 ? 3 : -1) == FC_OK);
    MUST(fc_forwarder_set_port(forwarder, &node, 2, care_of4, shape & 8 ? 4191 : 0) == FC_OK);
}

/* If the packet just goes to a node, this many copies of it must leave. */
static uint32_t copies_of(const uint8_t *p, uint32_t n)
{
    fc_key key;
    fc_packet info;
    fc_decision d;
    fc_target targets[4];
    if (fc_parse(101, p, n, &key, &info) != FC_PACKET_OK || info.flags & FC_PACKET_CUT || info.ip_length != n ||
        info.fragment != FC_FRAGMENT_NONE || n > 500 || (p[0] >> 4 == 4 ? p[8] : p[7]) == 0)
        return 0;
    fc_fib_classify_one(forwarder->fib, 101, p, n, &d);
    return d.action == FC_ACTION_FORWARD || d.action == FC_ACTION_NCAST ? fc_fib_targets(forwarder->fib, &d, targets, 4)
                                                                        : 0;
}

static void check_local(const fc_local *local)
{
    fc_key key;
    fc_packet info;
    MUST(fc_parse(101, local->packet, local->length, &key, &info) == FC_PACKET_OK);
    MUST(info.ip_length == local->length && info.fragment == FC_FRAGMENT_NONE);
}

/* ---- Reassembly alone ------------------------------------------------------------------------------------------- */

enum { PAYLOAD = 512 };

/* Fragments of one packet in any order, that repeat, overlap, contradict each other, or come too late, beside a list of
 * which octets are there. */
static void reassemble(octets *o)
{
    uint8_t payload[PAYLOAD] = {0}, there[PAYLOAD] = {0}, p[48 + PAYLOAD];
    uint32_t sizes[PAYLOAD] = {0}; /* of the fragments there, by where they begin */
    int version = next8(o) & 1 ? 4 : 6, given_up = 0, begun = 0;
    uint32_t total = 0, have = 0, headers = version == 4 ? 20 : 48;
    uint64_t now = 1000, since = 0;
    fc_fwd_reassembly *r;
    MUST(fc_fwd_reassembly_new(&r) == FC_OK);
    for (int step = 0; o->left && step < 40; step++) {
        uint8_t how = next8(o);
        uint32_t at = next8(o) % 32 * 8u, n = next8(o) % 64 * 4u, more = how & 1, end = at + n, overlaps = 0, equal = 1;
        now += how >> 4 == 15 ? 61000 : how >> 4 == 14 ? 30000 : 0;
        fc_fwd_packet packet = {.data = p, .length = headers + n, .version = (uint8_t)version}, whole;
        ip(p, version == 4 ? peer4 : peer, version == 4 ? agent4 : agent, version, version == 4 ? 17 : 44,
           n + headers - (version == 4 ? 20 : 40));
        if (version == 4)
            fc_put16(p + 6, at / 8 | more << 13);
        else
            memcpy(p + 40, (const uint8_t[8]){17, 0, (uint8_t)(at >> 8), (uint8_t)(at | more)}, 8);
        for (uint32_t i = 0; i < n; i++)
            p[headers + i] = (uint8_t)((at + i) * 7 + (how >> 1 & 7 ? 0 : i == n - 1));
        fc_packet info = {.fragment = at ? FC_FRAGMENT_LATER : FC_FRAGMENT_FIRST};
        int done = fc_fwd_reassemble(r, now, &packet, &info, &whole);
        if (n == 0 || (more && n % 8)) { /* no fragment */
            MUST(done < 0);
            continue;
        }
        if (!begun || now - since > 60000) {
            memset(there, 0, sizeof there);
            memset(sizes, 0, sizeof sizes);
            begun = 1;
            given_up = 0;
            total = have = 0;
            since = now;
        }
        uint32_t blocks = (end + 7) / 8 * 8; /* a last fragment takes all of its last eight octets */
        for (uint32_t i = at; i < blocks; i++)
            overlaps += there[i];
        for (uint32_t i = at; i < end; i++)
            equal &= payload[i] == p[headers + i - at];
        if (overlaps) {
            given_up |= sizes[at] != n || !equal || (!more) != (total == end); /* not the same one again */
        } else if (!given_up) {
            given_up |= total && (end > total || (!more && end != total));
            for (uint32_t i = blocks; !more && i < PAYLOAD; i++)
                given_up |= there[i];
            memset(there + at, 1, blocks - at);
            memcpy(payload + at, p + headers, n);
            sizes[at] = n;
            have += n;
            total = more ? total : end;
        }
        MUST(done == (given_up ? -1 : total && have == total));
        if (done == 1) {
            MUST(whole.length == (version == 4 ? 20 : 40) + total);
            MUST(memcmp(whole.data + whole.length - total, payload, total) == 0);
            MUST(version == 4 ? fc_be16(whole.data + 2) == whole.length && fc_be16(whole.data + 6) == 0
                              : fc_be16(whole.data + 4) == total && whole.data[6] == 17);
            if (how & 128)
                fc_fwd_reassembly_done(r);
            begun = 0; /* what comes now is another packet of this identification */
        }
    }
    fc_fwd_reassembly_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    octets o = {data, size};
    if (!forwarder)
        make_forwarder();
    uint8_t shape = next8(&o), before = shape & 1 ? VNET : 0;
    fc_forward_counters then, now;
    if (shape >= 224) {
        reassemble(&o);
        return 0;
    }
    renew(shape);
    failing = shape >> 4 & 1;
    fc_forwarder_get_counters(forwarder, &then);
    sent = returned = 0;
    errors = 0;
    uint32_t locals = 0;
    for (int step = 0; o.left && step < 12; step++) {
        uint8_t how = next8(&o);
        from_udp = how >> 6 == 3;
        n_given = how & 32 ? 1 + how % MOST : 1;
        taken = 0;
        clock_ns += (how & 16 ? 20000000000u : 1000000u);
        for (uint32_t i = 0; i < n_given; i++) {
            uint8_t *p = given[i] + (from_udp ? 0 : before);
            uint32_t n = some_packet(&o, p, 0);
            uint8_t change = next8(&o);
            for (unsigned k = change < 64 ? 0 : change & 3; k; k--) { /* octets that differ, or it is cut */
                uint8_t at = next8(&o);
                p[at < n ? at : n - 1] = next8(&o);
            }
            if (change >= 240)
                n = next8(&o) % n + 1;
            if (!from_udp && before)
                vnet_header(&o, given[i], p, n);
            lengths[i] = n + (from_udp ? 0 : before);
        }
        int whole = n_given == 1 && !failing && !from_udp && !before;
        plain = whole ? given[0] : NULL;
        plain_length = lengths[0];
        plain_copies = 0;
        uint32_t wanted = plain ? copies_of(plain, plain_length) : 0, was = sent;
        uint64_t limited = forwarder->lane[0]->dropped[FC_DROP_ENCAPSULATION_LIMIT];
        faults = (octets){o.at, o.left};
        fc_fwd_lane_serve(forwarder->lane[0], 1);
        MUST(taken == n_given);
        if (wanted && limited == forwarder->lane[0]->dropped[FC_DROP_ENCAPSULATION_LIMIT])
            MUST(plain_copies == wanted && sent == was + wanted);
        for (fc_local *local; (local = fc_forwarder_take(forwarder)); locals++) {
            check_local(local);
            fc_local_free(local);
        }
        MUST(forwarder->lane[0]->n_next == 0);
    }
    fc_forwarder_get_counters(forwarder, &now);
    MUST(now.packets[FC_FORWARD_SENT] - then.packets[FC_FORWARD_SENT] == sent);
    MUST(now.packets[FC_FORWARD_REVERSE] - then.packets[FC_FORWARD_REVERSE] == returned);
    MUST(now.packets[FC_FORWARD_LOCAL] - then.packets[FC_FORWARD_LOCAL] == locals);
    MUST(failing || now.packets[FC_FORWARD_ERRORS] - then.packets[FC_FORWARD_ERRORS] == (uint64_t)errors);
    clock_ns = 0;
    return 0;
}
