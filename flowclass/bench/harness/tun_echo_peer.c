/* tun_echo_peer.c - the least that a program can do with packets of a TUN device: read one, swap its addresses, write it back.
 *
 *     tun_echo FD COUNT [SECONDS]
 *
 * FD is an inherited, non-blocking descriptor of a queue (IFF_NO_PI, no IFF_VNET_HDR). Ends after COUNT packets, or when
 * nothing has come for SECONDS (1); prints packets, wall and processor time in ns. No batches, because a TUN device has none. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static uint8_t packet[65536];
    if (argc < 3)
        return 2;
    int fd = atoi(argv[1]), patience = argc > 3 ? 1000 * atoi(argv[3]) : 1000;
    long count = atol(argv[2]), n = 0;
    uint64_t wall = 0, cpu = 0, end = 0, end_cpu = 0;
    while (n < count) {
        ssize_t size = read(fd, packet, sizeof packet);
        if (size < 0 && errno == EAGAIN) {
            struct pollfd p = {fd, POLLIN, 0};
            if (poll(&p, 1, patience) == 0)
                break;
            continue;
        }
        if (size < 40)
            return 1;
        if (n == 0) {
            wall = now(CLOCK_MONOTONIC);
            cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        }
        uint8_t source[16];
        memcpy(source, packet + 8, 16);
        memcpy(packet + 8, packet + 24, 16);
        memcpy(packet + 24, source, 16);
        if (write(fd, packet, (size_t)size) != size)
            return 1;
        n++;
    }
    end = now(CLOCK_MONOTONIC);
    end_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    printf("%ld %llu %llu\n", n, (unsigned long long)(end - wall), (unsigned long long)(end_cpu - cpu));
    return 0;
}
