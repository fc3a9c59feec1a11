/* What libpcap's own loop costs when nothing is done with a packet but counting it. */
#include <pcap/pcap.h>
#include <stdio.h>

static void count(unsigned char *user, const struct pcap_pkthdr *header, const unsigned char *data)
{
    (void)header;
    (void)data;
    ++*(unsigned long *)(void *)user;
}

int main(int argc, char **argv)
{
    char error[PCAP_ERRBUF_SIZE];
    unsigned long packets = 0;
    pcap_t *capture = argc == 2 ? pcap_open_offline(argv[1], error) : NULL;
    if (!capture || pcap_loop(capture, -1, count, (unsigned char *)&packets) != 0)
        return 1;
    printf("%lu\n", packets);
    return 0;
}
