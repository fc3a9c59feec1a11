/* tunnel_end_peer.c - the mobile node's end of tunnels, as little as will do: packets from a raw socket of protocol 41 into a
 * TUN device, and back to the home agent. No checks, no flows: what it costs is the same whoever is at the other end.
 *
 *     tunnel_end TUN RAW HOME_AGENT
 *
 * TUN (with IFF_VNET_HDR and offloads) and RAW are inherited descriptors. Runs until it is killed. TCP segments that follow
 * one another are written as one super-packet, so that this end isn't what is measured; their checksums are taken as
 * right, which tests of the loop see to. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BATCH = 64, SIZE = 2048, IP = 40 };

static uint8_t packet[BATCH][SIZE];
static struct mmsghdr in[BATCH];

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static unsigned header(const uint8_t *p) { return IP + (p[IP + 12] >> 4) * 4u; }

static int plain(const uint8_t *p, unsigned n) /* a TCP segment with payload and no flags but ACK and PSH */
{
    return n > IP + 20 && p[0] >> 4 == 6 && p[6] == 6 && (p[IP + 13] & 0xf7) == 0x10 && header(p) < n;
}

/* Does b follow a, `done` octets of payload after it? */
static int follows(const uint8_t *a, const uint8_t *b, unsigned done)
{
    return memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, IP - 6 + 4) == 0 && word(b + IP + 4) == word(a + IP + 4) + done &&
           memcmp(a + IP + 8, b + IP + 8, 5) == 0 && memcmp(a + IP + 20, b + IP + 20, header(a) - IP - 20) == 0;
}

static int write_from(int tun, int i, int n) /* as many as can go together; the next one's number */
{
    uint8_t vnet[10] = {0}, *p = packet[i];
    struct iovec v[BATCH + 1] = {{vnet, sizeof vnet}, {p, in[i].msg_len}};
    int next = i + 1;
    if (plain(p, in[i].msg_len)) {
        unsigned size = header(p), each = in[i].msg_len - size, done = each;
        while (next < n && done + each < 60000 && plain(packet[next], in[next].msg_len) && !(packet[next - 1][IP + 13] & 8) &&
               in[next - 1].msg_len == size + each && in[next].msg_len <= size + each && follows(p, packet[next], done)) {
            v[next - i + 1] = (struct iovec){packet[next] + size, in[next].msg_len - size};
            done += in[next].msg_len - size;
            next++;
        }
        if (next > i + 1) {
            uint16_t gso[4] = {(uint16_t)size, (uint16_t)each, IP, 16};
            unsigned length = size - IP + done;
            uint64_t sum = length + 6;
            vnet[0] = 1;
            vnet[1] = 4;
            memcpy(vnet + 2, gso, 8);
            p[4] = (uint8_t)(length >> 8);
            p[5] = (uint8_t)length;
            p[IP + 13] |= packet[next - 1][IP + 13];
            for (int k = 8; k < IP; k += 2)
                sum += (uint64_t)p[k] << 8 | p[k + 1];
            while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
            p[IP + 16] = (uint8_t)(sum >> 8);
            p[IP + 17] = (uint8_t)sum;
        }
    }
    return writev(tun, v, next - i + 1) < 0 ? next : next;
}

int main(int argc, char **argv)
{
    static struct iovec piece[BATCH];
    static uint8_t out[65536 + 10];
    struct sockaddr_in6 agent = {.sin6_family = AF_INET6};
    if (argc < 4 || inet_pton(AF_INET6, argv[3], &agent.sin6_addr) != 1)
        return 2;
    int tun = atoi(argv[1]), raw = atoi(argv[2]), size = 8 << 20;
    setsockopt(raw, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    for (int i = 0; i < BATCH; i++) {
        piece[i] = (struct iovec){packet[i], SIZE};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &piece[i], .msg_iovlen = 1};
    }
    for (;;) {
        struct pollfd p[2] = {{tun, POLLIN, 0}, {raw, POLLIN, 0}};
        if (poll(p, 2, -1) < 0)
            return 1;
        for (int n = BATCH; p[1].revents && n == BATCH;) {
            n = recvmmsg(raw, in, BATCH, MSG_DONTWAIT, NULL);
            for (int i = 0; i < n;)
                i = write_from(tun, i, n);
        }
        ssize_t length;
        for (int n = 0; p[0].revents && n < BATCH && (length = read(tun, out, sizeof out)) > 10; n++)
            sendto(raw, out + 10, (size_t)length - 10, 0, (struct sockaddr *)&agent, sizeof agent);
    }
}
