/* numbers.h - the assigned numbers of packets: IP protocols, EtherTypes, ports of tunnels, link types of captures. No
 * other file of csrc has such a number. Registries: IANA "Protocol Numbers" and "IEEE 802 Numbers", and
 * https://www.tcpdump.org/linktypes.html. */
#ifndef FC_NUMBERS_H
#define FC_NUMBERS_H

/* IP protocols, which are also IPv6 next headers */
enum {
    FC_PROTOCOL_HOP_BY_HOP = 0,
    FC_PROTOCOL_ICMP = 1,
    FC_PROTOCOL_IP_IN_IP = 4,
    FC_PROTOCOL_TCP = 6,
    FC_PROTOCOL_UDP = 17,
    FC_PROTOCOL_DCCP = 33,
    FC_PROTOCOL_IPV6_IN_IP = 41,
    FC_PROTOCOL_ROUTING = 43,
    FC_PROTOCOL_FRAGMENT = 44,
    FC_PROTOCOL_GRE = 47,
    FC_PROTOCOL_ESP = 50,
    FC_PROTOCOL_AH = 51,
    FC_PROTOCOL_ICMPV6 = 58,
    FC_PROTOCOL_DESTINATION_OPTIONS = 60,
    FC_PROTOCOL_ETHERIP = 97,
    FC_PROTOCOL_L2TP = 115,
    FC_PROTOCOL_SCTP = 132,
    FC_PROTOCOL_MOBILITY = 135,
    FC_PROTOCOL_UDP_LITE = 136,
    FC_PROTOCOL_MPLS_IN_IP = 137,
    FC_PROTOCOL_HIP = 139,
    FC_PROTOCOL_SHIM6 = 140,
    FC_PROTOCOL_ETHERNET = 143,
};

/* EtherTypes, also where other layers (GRE, GENEVE, PPP-less cooked captures) carry them */
enum {
    FC_TYPE_FIRST = 0x0600, /* below: an 802.3 length, LLC follows */
    FC_TYPE_IPV4 = 0x0800,
    FC_TYPE_ARP = 0x0806,
    FC_TYPE_TRILL = 0x22f3,
    FC_TYPE_ERSPAN_III = 0x22eb,
    FC_TYPE_BRIDGED = 0x6558,     /* transparent Ethernet bridging, in GRE and GENEVE */
    FC_TYPE_VLAN = 0x8100,        /* 802.1Q */
    FC_TYPE_ARUBA_FIRST = 0x8200, /* 802.11 frames in the GRE of Aruba's access points, a type for each queue */
    FC_TYPE_ARUBA_LAST = 0x8370,
    FC_TYPE_IPV6 = 0x86dd,
    FC_TYPE_PPP = 0x880b,
    FC_TYPE_WCCP = 0x883e, /* in GRE */
    FC_TYPE_MPLS = 0x8847,
    FC_TYPE_MPLS_MULTICAST = 0x8848,
    FC_TYPE_PPPOE = 0x8864,
    FC_TYPE_VLAN_SERVICE = 0x88a8, /* 802.1ad */
    FC_TYPE_ERSPAN = 0x88be,       /* types I and II */
    FC_TYPE_MACSEC = 0x88e5,
    FC_TYPE_PBB = 0x88e7, /* 802.1ah, I-TAG */
    FC_TYPE_FABRICPATH = 0x8903,
    FC_TYPE_CISCO_METADATA = 0x8909,
    FC_TYPE_VN_TAG = 0x8926,
    FC_TYPE_HSR = 0x892f,
    FC_TYPE_E_TAG = 0x893f, /* 802.1BR */
    FC_TYPE_NSH = 0x894f,
    FC_TYPE_VLAN_9100 = 0x9100, /* three numbers that 802.1Q tags had in equipment before 802.1ad */
    FC_TYPE_VLAN_9200 = 0x9200,
    FC_TYPE_VLAN_9300 = 0x9300,
    FC_TYPE_ARISTA_TIME = 0xd28b,
    FC_TYPE_EDSA = 0xdada,
};

/* LLC service access points, destination << 8 | source, and what stands behind ISO's: network layer protocol
 * identifiers */
enum {
    FC_LLC_IP = 0x0606,
    FC_LLC_SNAP = 0xaaaa,
    FC_LLC_ISO = 0xfefe,
    FC_NLPID_SNAP = 0x80,
    FC_NLPID_IPV6 = 0x8e,
    FC_NLPID_IPV4 = 0xcc,
};

/* PPP protocols */
enum {
    FC_PPP_IPV4 = 0x0021,
    FC_PPP_IPV6 = 0x0057,
    FC_PPP_MPLS = 0x0281,
    FC_PPP_MPLS_MULTICAST = 0x0283,
};

/* UDP ports of tunnels */
enum {
    FC_PORT_L2TP = 1701,
    FC_PORT_GTP_U = 2152,
    FC_PORT_TEREDO = 3544,
    FC_PORT_LISP = 4341,
    FC_PORT_GRE = 4754,
    FC_PORT_VXLAN = 4789,
    FC_PORT_VXLAN_GPE = 4790,
    FC_PORT_AYIYA = 5072,
    FC_PORT_CAPWAP_DATA = 5247,
    FC_PORT_GUE = 6080,
    FC_PORT_GENEVE = 6081,
    FC_PORT_MPLS = 6635,
    FC_PORT_VXLAN_LINUX = 8472,
    FC_PORT_TZSP = 37008,
};

/* Link types of captures (LINKTYPE_x) */
enum {
    FC_LINK_NULL = 0,
    FC_LINK_ETHERNET = 1,
    FC_LINK_TOKEN_RING = 6,
    FC_LINK_SLIP = 8,
    FC_LINK_PPP = 9,
    FC_LINK_FDDI = 10,
    FC_LINK_RAW_BSD = 12, /* what DLT_RAW is on most systems; files should have 101 and don't always */
    FC_LINK_RAW_OPENBSD = 14,
    FC_LINK_PPP_HDLC = 50,
    FC_LINK_PPP_ETHER = 51,
    FC_LINK_ATM_RFC1483 = 100,
    FC_LINK_RAW = 101,
    FC_LINK_C_HDLC = 104,
    FC_LINK_IEEE802_11 = 105,
    FC_LINK_FRELAY = 107,
    FC_LINK_LOOP = 108,
    FC_LINK_ENC = 109,
    FC_LINK_LINUX_SLL = 113,
    FC_LINK_PFLOG = 117,
    FC_LINK_IEEE802_11_PRISM = 119,
    FC_LINK_IP_OVER_FC = 122,
    FC_LINK_SUNATM = 123,
    FC_LINK_IEEE802_11_RADIOTAP = 127,
    FC_LINK_APPLE_IP_OVER_IEEE1394 = 138,
    FC_LINK_DOCSIS = 143,
    FC_LINK_IEEE802_11_AVS = 163,
    FC_LINK_PPP_PPPD = 166,
    FC_LINK_JUNIPER_ETHER = 178,
    FC_LINK_JUNIPER_PPP = 179,
    FC_LINK_JUNIPER_FRELAY = 180,
    FC_LINK_JUNIPER_CHDLC = 181,
    FC_LINK_PPI = 192,
    FC_LINK_ERF = 197,
    FC_LINK_PPP_WITH_DIR = 204,
    FC_LINK_C_HDLC_WITH_DIR = 205,
    FC_LINK_FRELAY_WITH_DIR = 206,
    FC_LINK_MPLS = 219,
    FC_LINK_USB_LINUX_MMAPPED = 220,
    FC_LINK_IPNET = 226,
    FC_LINK_IPV4 = 228,
    FC_LINK_IPV6 = 229,
    FC_LINK_DBUS = 231,
    FC_LINK_NFLOG = 239,
    FC_LINK_NETANALYZER = 240,
    FC_LINK_NETANALYZER_TRANSPARENT = 241,
    FC_LINK_IPOIB = 242,
    FC_LINK_USBPCAP = 249,
    FC_LINK_PKTAP = 258,
    FC_LINK_ETHERNET_MPACKET = 274,
    FC_LINK_LINUX_SLL2 = 276,
    FC_LINK_EBHSCR = 279,
    FC_LINK_DSA_TAG_BRCM = 281,
    FC_LINK_DSA_TAG_BRCM_PREPEND = 282,
    FC_LINK_DSA_TAG_DSA = 284,
    FC_LINK_DSA_TAG_EDSA = 285,
};

#endif
