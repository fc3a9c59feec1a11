/* forward.c - the packet loop of a live home agent. This folder is the one of the library that does I/O; Linux only.
 * (That of a mobile node and of a correspondent node differs in what is done about a packet: end.c.)
 *
 *            TUN device <-- the kernel routes the home prefixes and the agent's own address to it
 *                |  read(), up to FC_FWD_BATCH packets
 *                v
 *     parse, then one call of the forwarding table for all of them          (lane.c)
 *        |                                   |
 *   to a mobile node                  to the agent's own address            (reverse.c)
 *        |                             |                |
 *   tunnel headers in front       a tunnel packet   anything else
 *   (tunnel.c)                    of a mobile node      |
 *        |      ^                      |                v
 *        |      '---to another one-----+         whole, reassembled packets
 *        v                             |         wait for fc_forwarder_take
 *   sendmmsg(): raw IPv6, raw IPv4     '--to other networks--> write() to the TUN device,
 *   or UDP socket (send.c)                                      which the kernel routes on
 *
 * A batch is what is there, so that a lone packet isn't kept waiting for others; only under load is it 256 packets, and
 * then a look at the clock, an entry into the table's epoch and a system call to send are shared by all of them.
 * Nothing is allocated for a packet that passes through, and nothing of it is copied: its tunnel header is written into
 * the room before it, or stands beside it in the list of pieces when there are several copies.
 *
 * Each TUN queue is served by a lane with all its memory: the first by the thread that calls fc_forwarder_run, each
 * other one by a thread of the forwarder's. The kernel gives a flow's packets to one queue. Lanes share the table,
 * which readers use without locks, the queue of packets for the agent, and two small tables under a lock that hardly
 * any packet needs.
 *
 * The hop limit: what the kernel routed to the TUN device it has counted, and what is written there it will count. So
 * one is taken here only from a packet that goes from one mobile node's tunnel into another's: always one for the agent
 * as a router, as for any other. */
#include "forward.h"

static const char *const kind_names[FC_FORWARD_KINDS] = {"flow",    "n-cast", "default", "signalling", "discard",
                                                         "reverse", "local",  "sent",    "errors",     "direct"};
static const char *const drop_names[FC_FORWARD_DROPS] = {
    "malformed",  "unbound",    "scope", "source",    "hop-limit", "too-big", "encapsulation-limit",
    "congestion", "reassembly", "local", "no-socket", "send",      "rate"};

const char *fc_forward_kind_name(int kind) { return kind >= 0 && kind < FC_FORWARD_KINDS ? kind_names[kind] : NULL; }
const char *fc_forward_drop_name(int drop) { return drop >= 0 && drop < FC_FORWARD_DROPS ? drop_names[drop] : NULL; }

#if FC_FORWARD_HERE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "../common/thread.h"

#define BUSY 8u /* full batches before the other descriptors are looked at */
#define SEND_BUFFER (4 << 20)

static int adjustable(uint32_t mtu, uint8_t hop_limit, int32_t limit)
{
    return mtu >= FC_FWD_MIN_MTU && mtu <= 65535 && hop_limit && limit >= -1 && limit <= 255;
}

static int valid(const fc_forward_options *o)
{
    if (o->n_tun == 0 || o->n_tun > FC_FORWARD_QUEUES || o->output < 0 ||
        !adjustable(o->mtu, o->hop_limit, o->encapsulation_limit))
        return 0;
    for (unsigned i = 0; i < o->n_tun; i++)
        if (o->tun[i] < 0)
            return 0;
    if (o->role == FC_FORWARD_HOME_AGENT)
        return 1;
    if (o->role >= FC_FORWARD_ROLES || o->n_own == 0 || o->n_own > FC_FORWARD_OWN || o->own[0].version != 6)
        return 0;
    for (unsigned i = 0; i < o->n_own; i++)
        if ((o->own[i].version != 4 && o->own[i].version != 6) ||
            o->own[i].length > (o->own[i].version == 4 ? 32 : 128))
            return 0;
    return 1;
}

/* A raw socket that isn't bound costs the kernel a search among all its addresses for the best source, for each packet
 * (150 ns and more), though the packet has one; and routing rules by source would look at that. The agent's address
 * need not be this host's. */
static void bind_raw(int fd, const fc_forward_options *o, int domain)
{
    const int one = 1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name;
    socklen_t size = sizeof name;
    memset(&name, 0, sizeof name);
    if (fd < 0 || getsockname(fd, &name.any, &size) != 0 || name.any.sa_family != domain)
        return;
    if (domain == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&name.v6.sin6_addr)) {
        memcpy(&name.v6.sin6_addr, o->home_agent, 16);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
    } else if (domain == AF_INET && name.v4.sin_addr.s_addr == 0 && o->has_ipv4) {
        memcpy(&name.v4.sin_addr, o->home_agent_ipv4, 4);
        (void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one);
    } else {
        return;
    }
    (void)bind(fd, &name.any, size);
}

/* Wishes, all of them: bursts of segments come faster than a link takes them; the kernel is to say which MTU was in the
 * way. */
static void prepare(const fc_forward_options *o)
{
    const int size = SEND_BUFFER, one = 1, never = IP_PMTUDISC_DONT, sockets[] = {o->output, o->output4, o->udp};
    for (unsigned i = 0; i < 3; i++)
        if (sockets[i] >= 0 && setsockopt(sockets[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
            (void)setsockopt(sockets[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(o->output, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof one);
    if (o->role == FC_FORWARD_HOME_AGENT) {
        bind_raw(o->output, o, AF_INET6);
        bind_raw(o->output4, o, AF_INET);
    } else {
        for (unsigned i = 0; i < 2; i++)
            (void)setsockopt(o->tunnel6[i], IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof one);
    }
    if (o->udp >= 0)
        (void)setsockopt(o->udp, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof never);
}

int fc_forwarder_new(fc_fib *fib, const fc_forward_options *options, fc_forwarder **out)
{
    if (!fib || !options || !out || !valid(options))
        return FC_EINVAL;
    fc_forwarder *f = calloc(1, sizeof *f);
    if (!f)
        return FC_ENOMEM;
    f->fib = fib;
    f->options = *options;
    f->home_agent[0] = fc_be64(options->home_agent);
    f->home_agent[1] = fc_be64(options->home_agent + 8);
    f->home_agent4 = fc_be32(options->home_agent_ipv4);
    f->last = &f->first;
    pthread_mutex_init(&f->waiting_lock, NULL);
    pthread_mutex_init(&f->start_lock, NULL);
    atomic_init(&f->mtu, options->mtu);
    atomic_init(&f->hop_limit, options->hop_limit);
    atomic_init(&f->encapsulation_limit, options->encapsulation_limit);
    pthread_mutex_init(&f->address_lock, NULL);
    f->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f->path = calloc(FC_FWD_PATHS, sizeof *f->path);
    int status = f->wake < 0 || f->stop < 0 ? FC_ELIMIT : f->path ? FC_OK : FC_ENOMEM;
    for (unsigned i = 0; i < options->n_tun && status == FC_OK; i++)
        status = fc_fwd_lane_new(f, i, &f->lane[i]);
    if (status != FC_OK) {
        fc_forwarder_free(f);
        return status;
    }
    prepare(options);
    *out = f;
    return FC_OK;
}

void fc_forwarder_free(fc_forwarder *f)
{
    if (!f)
        return;
    fc_forwarder_stop(f);
    for (unsigned i = 0; i < FC_FORWARD_QUEUES; i++)
        fc_fwd_lane_free(f->lane[i]);
    for (fc_local *local; (local = fc_forwarder_take(f));)
        fc_local_free(local);
    if (f->wake >= 0)
        close(f->wake);
    if (f->stop >= 0)
        close(f->stop);
    pthread_mutex_destroy(&f->waiting_lock);
    pthread_mutex_destroy(&f->start_lock);
    pthread_mutex_destroy(&f->address_lock);
    free(f->port);
    free(f->path);
    free(f);
}

static void *serve_alone(void *arg)
{
    fc_fwd_lane *l = arg;
    for (;;) {
        if (fc_fwd_lane_serve(l, 0) == FC_FWD_BATCH &&
            !atomic_load_explicit(&l->forwarder->stopped, memory_order_acquire))
            continue;
        struct pollfd p[2] = {{l->tun, POLLIN, 0}, {l->forwarder->stop, POLLIN, 0}};
        if (l->failed || (poll(p, 2, -1) < 0 && errno != EINTR) || p[1].revents)
            return NULL;
    }
}

/* Threads that take no signals: those are the caller's. */
static int start(fc_forwarder *f)
{
    sigset_t all, before;
    int status = FC_OK;
    pthread_mutex_lock(&f->start_lock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 1; i < f->options.n_tun && !atomic_load(&f->stopped); i++) {
        fc_fwd_lane *l = f->lane[i];
        if (l->running)
            continue;
        if (fc_thread_start(&l->thread, serve_alone, l) == 0)
            l->running = 1;
        else
            status = FC_ELIMIT;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_unlock(&f->start_lock);
    return status;
}

void fc_forwarder_stop(fc_forwarder *f)
{
    pthread_mutex_lock(&f->start_lock);
    atomic_store(&f->stopped, 1);
    if (f->stop >= 0)
        (void)eventfd_write(f->stop, 1);
    if (f->wake >= 0)
        (void)eventfd_write(f->wake, 1);
    for (unsigned i = 0; i < FC_FORWARD_QUEUES; i++)
        if (f->lane[i] && f->lane[i]->running) {
            pthread_join(f->lane[i]->thread, NULL);
            f->lane[i]->running = 0;
        }
    pthread_mutex_unlock(&f->start_lock);
}

int fc_forwarder_adjust(fc_forwarder *f, uint32_t mtu, uint8_t hop_limit, int32_t encapsulation_limit)
{
    if (!adjustable(mtu, hop_limit, encapsulation_limit))
        return FC_EINVAL;
    atomic_store_explicit(&f->mtu, mtu, memory_order_relaxed);
    atomic_store_explicit(&f->hop_limit, hop_limit, memory_order_relaxed);
    atomic_store_explicit(&f->encapsulation_limit, encapsulation_limit, memory_order_relaxed);
    return FC_OK;
}

static int waiting(fc_forwarder *f)
{
    pthread_mutex_lock(&f->waiting_lock);
    int n = (int)f->waiting;
    pthread_mutex_unlock(&f->waiting_lock);
    return n;
}

int fc_forwarder_run(fc_forwarder *f, int timeout_ms)
{
    fc_fwd_lane *l = f->lane[0];
    uint64_t until = fc_fwd_now() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    int status = f->options.n_tun > 1 ? start(f) : FC_OK;
    if (status != FC_OK)
        return status;
    unsigned busy = 0;
    for (int sockets = 1;; sockets = 0) {
        if (atomic_load_explicit(&f->stopped, memory_order_acquire))
            return waiting(f);
        unsigned n = fc_fwd_lane_serve(l, sockets);
        if (l->failed)
            return FC_ENOENT;
        busy = n >= FC_FWD_BATCH ? busy + 1 : 0;
        if (busy % BUSY != 0 && !waiting(f))
            continue;
        const fc_forward_options *o = &f->options;
        int end = o->role != FC_FORWARD_HOME_AGENT;
        struct pollfd p[] = {{l->tun, POLLIN, 0},
                             {f->wake, POLLIN, 0},
                             {o->udp, POLLIN, 0},
                             {o->tunnel4[0], POLLIN, 0},
                             {o->tunnel4[1], POLLIN, 0},
                             {end ? o->tap : -1, POLLIN, 0},
                             {end ? o->tunnel6[0] : -1, POLLIN, 0},
                             {end ? o->tunnel6[1] : -1, POLLIN, 0}};
        uint64_t now = timeout_ms < 0 ? 0 : fc_fwd_now();
        int left = timeout_ms < 0 ? -1 : now >= until ? 0 : (int)(until - now);
        if (busy || waiting(f))
            left = 0;
        int ready = poll(p, sizeof p / sizeof *p, left);
        eventfd_t count;
        if (p[1].revents) {
            (void)eventfd_read(f->wake, &count);
            return waiting(f);
        }
        if (waiting(f) || (ready < 0 && errno == EINTR) || (!busy && ready <= 0 && left >= 0))
            return waiting(f);
        if (ready < 0)
            return FC_ENOENT;
        if (timeout_ms >= 0 && now >= until && busy)
            return 0;
        while (p[2].revents | p[3].revents | p[4].revents | p[5].revents | p[6].revents | p[7].revents) { /* sockets */
            if (fc_fwd_lane_serve(l, 1) < FC_FWD_BATCH / 2)
                break;
            if (waiting(f))
                return waiting(f);
        }
    }
}

void fc_forwarder_wake(fc_forwarder *f) { (void)eventfd_write(f->wake, 1); }

fc_local *fc_forwarder_take(fc_forwarder *f)
{
    pthread_mutex_lock(&f->waiting_lock);
    fc_fwd_waiting *w = f->first;
    if (w) {
        f->first = w->next;
        if (!f->first)
            f->last = &f->first;
        f->waiting--;
        f->waiting_octets -= w->local->length;
    }
    pthread_mutex_unlock(&f->waiting_lock);
    fc_local *local = w ? w->local : NULL;
    free(w);
    return local;
}

void fc_local_free(fc_local *local) { free(local); }

#else /* another system */
int fc_forwarder_new(fc_fib *fib, const fc_forward_options *options, fc_forwarder **out)
{
    (void)fib, (void)options, (void)out;
    return FC_ENOTBUILT;
}
void fc_forwarder_free(fc_forwarder *f) { (void)f; }
int fc_forwarder_run(fc_forwarder *f, int timeout_ms)
{
    (void)f, (void)timeout_ms;
    return FC_ENOTBUILT;
}
void fc_forwarder_wake(fc_forwarder *f) { (void)f; }
void fc_forwarder_stop(fc_forwarder *f) { (void)f; }
int fc_forwarder_adjust(fc_forwarder *f, uint32_t mtu, uint8_t hop_limit, int32_t encapsulation_limit)
{
    (void)f, (void)mtu, (void)hop_limit, (void)encapsulation_limit;
    return FC_ENOTBUILT;
}
fc_local *fc_forwarder_take(fc_forwarder *f)
{
    (void)f;
    return NULL;
}
void fc_local_free(fc_local *local) { (void)local; }
int fc_forwarder_send(fc_forwarder *f, const uint8_t *packet, size_t length)
{
    (void)f, (void)packet, (void)length;
    return FC_ENOTBUILT;
}
int fc_forwarder_set_port(fc_forwarder *f, const fc_address *home, uint16_t bid, const uint8_t care_of[4],
                          uint16_t port)
{
    (void)f, (void)home, (void)bid, (void)care_of, (void)port;
    return FC_ENOTBUILT;
}
int fc_forwarder_set_source(fc_forwarder *f, const fc_address *address, uint32_t interface)
{
    (void)f, (void)address, (void)interface;
    return FC_ENOTBUILT;
}
void fc_forwarder_get_counters(fc_forwarder *f, fc_forward_counters *out) { (void)f, (void)out; }
size_t fc_forwarder_flows(fc_forwarder *f, fc_forward_flow *out, size_t room)
{
    (void)f, (void)out, (void)room;
    return 0;
}
#endif
