# cython: language_level=3, embedsignature=True
"""The packet loop of a live home agent; the binding of csrc/src/forward/forward.c. Linux only."""

import os
from typing import NamedTuple

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from flowclass.engine.forwarding cimport ForwardingTable

from flowclass.engine.packets import secret_key
from flowclass.errors import ArgumentError, ClassifierError

__all__ = ["FLOW_COUNTER_DTYPE", "PEER", "Forwarder", "Local"]


cdef extern from "flowclass_forward.h" nogil:
    enum:
        FC_OK, FC_ENOMEM, FC_EINVAL, FC_ELIMIT, FC_ENOENT, FC_ENOTBUILT
        FC_FORWARD_QUEUES, FC_FORWARD_KINDS, FC_FORWARD_DROPS, FC_FORWARD_OWN
        FC_FORWARD_HOME_AGENT, FC_FORWARD_MOBILE_NODE, FC_FORWARD_CORRESPONDENT, FC_LOCAL_PEER
    ctypedef struct fc_fib:
        pass
    ctypedef struct fc_address:
        uint64_t words[2]
        uint8_t version, length
    ctypedef struct fc_forwarder:
        pass
    ctypedef struct fc_forward_options:
        int tun[64]
        int output, output4, udp
        int tunnel4[2]
        uint32_t n_tun, mtu
        int32_t encapsulation_limit
        uint8_t hop_limit, vnet_header, has_ipv4, role
        uint8_t home_agent[16]
        uint8_t home_agent_ipv4[4]
        uint8_t secret[16]
        int tap
        int tunnel6[2]
        uint32_t n_own
        fc_address own[64]
    ctypedef struct fc_local:
        uint32_t length
        int32_t queue
        uint16_t port
        uint8_t address[4]
        uint8_t packet[1]
    ctypedef struct fc_forward_counters:
        uint64_t packets[10]
        uint64_t octets[10]
        uint64_t dropped[13]
        uint64_t dropped_octets[13]
        uint64_t batches, super_packets, segments
    ctypedef struct fc_forward_flow:
        uint32_t node
        uint16_t fid
        uint8_t kind
        uint64_t packets, octets
    int fc_forwarder_new(fc_fib *fib, const fc_forward_options *options, fc_forwarder **out)
    void fc_forwarder_free(fc_forwarder *forwarder)
    int fc_forwarder_run(fc_forwarder *forwarder, int timeout_ms)
    void fc_forwarder_wake(fc_forwarder *forwarder)
    fc_local *fc_forwarder_take(fc_forwarder *forwarder)
    void fc_local_free(fc_local *local)
    int fc_forwarder_send(fc_forwarder *forwarder, const uint8_t *packet, size_t length)
    int fc_forwarder_set_port(fc_forwarder *forwarder, const fc_address *home, uint16_t bid, const uint8_t *care_of,
                              uint16_t port)
    int fc_forwarder_set_source(fc_forwarder *forwarder, const fc_address *address, uint32_t interface)
    void fc_forwarder_stop(fc_forwarder *forwarder)
    int fc_forwarder_adjust(fc_forwarder *forwarder, uint32_t mtu, uint8_t hop_limit, int32_t encapsulation_limit)
    const char *fc_forward_kind_name(int kind)
    const char *fc_forward_drop_name(int drop)
    void fc_forwarder_get_counters(fc_forwarder *forwarder, fc_forward_counters *out)
    size_t fc_forwarder_flows(fc_forwarder *forwarder, fc_forward_flow *out, size_t room)

# kind: the index of its name in Forwarder.KINDS
FLOW_COUNTER_DTYPE = np.dtype(
    [("node", "<u4"), ("fid", "<u2"), ("kind", "u1"), ("reserved", "u1"), ("packets", "<u8"), ("octets", "<u8")]
)
assert FLOW_COUNTER_DTYPE.itemsize == sizeof(fc_forward_flow)


PEER = FC_LOCAL_PEER

_ROLES = {
    "home-agent": FC_FORWARD_HOME_AGENT,
    "mobile-node": FC_FORWARD_MOBILE_NODE,
    "correspondent": FC_FORWARD_CORRESPONDENT,
}


class Local(NamedTuple):
    """A whole IP packet for the agent itself. ``tun`` is the index of the queue that it came from, -1 for a socket;
    ``outer`` the IPv4 address (packed) and port that sent it in UDP, else None. With `PEER` as ``tun`` it is the first
    40 octets of a packet that came out of a mobile node's tunnel: once in a while one from each sender."""

    packet: bytes
    tun: int
    outer: tuple[bytes, int] | None


def _names():
    return (tuple([fc_forward_kind_name(i).decode() for i in range(FC_FORWARD_KINDS)]),
            tuple([fc_forward_drop_name(i).decode() for i in range(FC_FORWARD_DROPS)]))


_KINDS, _DROPS = _names()


cdef object _octets(str name, value, tuple sizes):
    try:
        data = bytes(memoryview(value))
    except TypeError:
        raise ArgumentError(name, "a bytes-like object", value) from None
    if len(data) not in sizes:
        raise ClassifierError(f"{name}: expected {' or '.join(map(str, sizes))} octets, got {len(data)}")
    return data


cdef object _number(str name, value, low, high):
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ArgumentError(name, "an integer", value) from None
    if not low <= number <= high:
        raise ClassifierError(f"{name}: expected {low} to {high}, got {number}")
    return number


cdef int _put_sockets(int *places, str name, sockets) except -1:
    given = [_number(name, fd, 0, 0x7fffffff) for fd in sockets]
    if len(given) not in (0, 2):
        raise ClassifierError(f"{name}: expected two sockets or none, got {len(given)}")
    for i in range(2):
        places[i] = given[i] if given else -1
    return 0


cdef void _put(fc_address *address, bytes octets):
    memset(address, 0, sizeof(fc_address))
    address.version = 4 if len(octets) == 4 else 6
    address.words[1] = int.from_bytes(octets[-8:], "big")
    address.words[0] = int.from_bytes(octets[:-8], "big")


cdef class Forwarder:
    """Forwards packets between a TUN device and the tunnels of the mobile nodes that ``table`` holds, without the GIL.

    ``tun``
        descriptors of one to 64 queues, of one TUN device or several, non-blocking, ``IFF_NO_PI``, with ``IFF_VNET_HDR``
        when ``vnet_header``. The first is served inside `run`, each other one by a thread of its own.
    ``output``, ``output4``
        raw sockets that take whole packets: ``socket(AF_INET6, SOCK_RAW, IPPROTO_RAW)`` and its like for IPv4.
    ``udp``
        a bound IPv4 socket of port 4191 (RFC 5555).
    ``tunnel4``
        raw IPv4 sockets bound to ``home_agent_ipv4`` that receive the protocols 41 and 4, both or none.
    ``home_agent``, ``home_agent_ipv4``
        the agent's own addresses, packed: tunnel headers are sent from them, and what arrives for them is decapsulated or
        given to the caller.
    ``mtu``
        octets that paths to care-of addresses take (1280 to 65535) until an ICMPv6 error says less.
    ``hop_limit``, ``encapsulation_limit``
        of tunnel headers. A limit (0 to 255) is put into each of them as an option (RFC 2473 4.1.1, 8 octets more);
        None: only where the packet itself has one.

    ``role``
        "home-agent", or one of the two ends, on whose TUN device applications are. A "mobile-node" sends their packets
        through the tunnel to ``home_agent``, from the care-of address that the table has for them; those to the exact address
        of a node in the table go there directly, with a Home Address option. The table's node of the home address, with the
        prefixes ::/0 and 0.0.0.0/0, decides about the others. A "correspondent" sends packets to a home address in the
        table with a type 2 routing header, and delivers those with a Home Address option that the table bears out; others
        are dropped, and are `Local` as well. For the ends only:
    ``own``
        own addresses and prefixes, as packed addresses and lengths; the first is the home address or the correspondent's.
    ``tap``
        a packet socket for whole IPv6 packets with a Mobility Header, type 2 routing header or Home Address option.
    ``tunnel6``
        a mobile node's raw IPv6 sockets of the protocols 41 and 4, both or none.

    Descriptors stay the caller's, to close when the forwarder is gone. One thread at a time calls `run`; everything else may be
    called from any thread. Errors are `ClassifierError`; ``OSError`` where the kernel refuses something.
    """

    KINDS = _KINDS
    DROPS = _DROPS

    cdef fc_forwarder *ptr
    cdef ForwardingTable table

    def __cinit__(self, ForwardingTable table not None, *, tun, output, home_agent, output4=None, udp=None,
                  tunnel4=(), home_agent_ipv4=None, mtu=1500, hop_limit=64, encapsulation_limit=4, vnet_header=False, secret=None,
                  role="home-agent", own=(), tap=None, tunnel6=()):
        cdef fc_forward_options o
        cdef bytes octets
        cdef int status
        memset(&o, 0, sizeof(fc_forward_options))
        self.table = table
        queues = [_number("tun", fd, 0, 0x7fffffff) for fd in tun]
        if not 1 <= len(queues) <= FC_FORWARD_QUEUES:
            raise ClassifierError(f"tun: expected 1 to {FC_FORWARD_QUEUES} queues, got {len(queues)}")
        for i, fd in enumerate(queues):
            o.tun[i] = fd
        o.n_tun = len(queues)
        o.output = _number("output", output, 0, 0x7fffffff)
        o.output4 = -1 if output4 is None else _number("output4", output4, 0, 0x7fffffff)
        o.udp = -1 if udp is None else _number("udp", udp, 0, 0x7fffffff)
        _put_sockets(o.tunnel4, "tunnel4", tunnel4)
        _put_sockets(o.tunnel6, "tunnel6", tunnel6)
        o.mtu = _number("mtu", mtu, 1280, 65535)
        o.hop_limit = _number("hop_limit", hop_limit, 1, 255)
        o.encapsulation_limit = (-1 if encapsulation_limit is None
                                 else _number("encapsulation_limit", encapsulation_limit, 0, 255))
        o.vnet_header = bool(vnet_header)
        octets = _octets("home_agent", home_agent, (16,))
        memcpy(o.home_agent, <const char *>octets, 16)
        if home_agent_ipv4 is not None:
            octets = _octets("home_agent_ipv4", home_agent_ipv4, (4,))
            memcpy(o.home_agent_ipv4, <const char *>octets, 4)
            o.has_ipv4 = 1
        if role not in _ROLES:
            raise ClassifierError(f"role: one of {', '.join(_ROLES)} expected, got {role!r}")
        o.role = _ROLES[role]
        addresses = list(own)
        if len(addresses) > FC_FORWARD_OWN or bool(addresses) != (role != "home-agent"):
            raise ClassifierError(f"own: 1 to {FC_FORWARD_OWN} addresses and prefixes expected of an end, and none of a home agent")
        for i, (address, length) in enumerate(addresses):
            octets = _octets("own", address, (4, 16))
            _put(&o.own[i], octets)
            o.own[i].length = _number("own", length, 0, 8 * len(octets))
        o.n_own = len(addresses)
        o.tap = -1 if tap is None else _number("tap", tap, 0, 0x7fffffff)
        octets = secret_key(secret)
        memcpy(o.secret, <const char *>octets, 16)
        status = fc_forwarder_new(<fc_fib *>table.ptr, &o, &self.ptr)
        if status == FC_ENOMEM:
            raise MemoryError
        if status == FC_ENOTBUILT:
            raise ClassifierError("forwarder: this system has none (Linux only)")
        if status != FC_OK:
            raise ClassifierError(f"forwarder: refused with status {status}")

    def __dealloc__(self):
        fc_forwarder_free(self.ptr)

    def run(self, timeout_ms=-1):
        """Forwards until there is something for the agent, `wake` is called, a signal comes, or ``timeout_ms`` (None or
        negative: never) are over. Returns what is the agent's own, as `Local`: packets as they came, but reassembled, and
        without the tunnel that they came through. After `close`: nothing, at once."""
        cdef int timeout = -1 if timeout_ms is None else _number("timeout_ms", timeout_ms, -1, 0x7fffffff)
        cdef int status
        cdef fc_local *local
        with nogil:
            status = fc_forwarder_run(self.ptr, timeout)
        if status == FC_ENOENT:
            raise OSError("the TUN device is gone")
        if status < 0:
            raise ClassifierError(f"run: refused with status {status}")
        packets = []
        while True:
            local = fc_forwarder_take(self.ptr)
            if local == NULL:
                return packets
            try:
                packet = PyBytes_FromStringAndSize(<const char *>local.packet, local.length)
                outer = (PyBytes_FromStringAndSize(<const char *>local.address, 4), local.port) if local.port else None
                packets.append(Local(packet, local.queue, outer))
            finally:
                fc_local_free(local)

    def wake(self):
        """Ends the `run` that is under way in another thread, or else the next one."""
        fc_forwarder_wake(self.ptr)

    def send(self, packets):
        """Sends whole IP packets (bytes-like) through the socket of their IP version; returns how many went. What the
        kernel refuses for another reason than a full buffer or a missing route raises ``OSError``."""
        cdef Py_buffer view
        cdef int status
        cdef int sent = 0
        for packet in packets:
            PyObject_GetBuffer(packet, &view, PyBUF_SIMPLE)
            with nogil:
                status = fc_forwarder_send(self.ptr, <const uint8_t *>view.buf, <size_t>view.len)
            PyBuffer_Release(&view)
            if status < 0:
                raise OSError(-status, os.strerror(-status))
            sent += 1
        return sent

    def close(self):
        """Ends the forwarder's own threads and the `run` of another thread; descriptors stay open, for their owner."""
        with nogil:
            fc_forwarder_stop(self.ptr)

    def reload(self, *, mtu, hop_limit=64, encapsulation_limit=4):
        """Other values of these arguments from now on, also for a `run` that is under way."""
        cdef uint32_t octets = _number("mtu", mtu, 1280, 65535)
        cdef uint8_t hops = _number("hop_limit", hop_limit, 1, 255)
        cdef int32_t limit = -1 if encapsulation_limit is None else _number("encapsulation_limit", encapsulation_limit, 0, 255)
        fc_forwarder_adjust(self.ptr, octets, hops, limit)

    def set_port(self, home_address, bid, care_of, port):
        """Packets of this node to its IPv4 care-of address with this BID (0: it has none) go in UDP to this port (RFC 5555),
        and come from it; None: no longer in UDP. ``home_address``: 4 or 16 octets, the node's in the table; ``care_of``: 4."""
        cdef fc_address home
        cdef bytes octets = _octets("home_address", home_address, (4, 16)), address = _octets("care_of", care_of, (4,))
        cdef int status
        _put(&home, octets)
        status = fc_forwarder_set_port(self.ptr, &home, _number("bid", bid, 0, 0xffff),
                                       <const uint8_t *><const char *>address,
                                       0 if port is None else _number("port", port, 1, 0xffff))
        if status == FC_ENOMEM:
            raise MemoryError

    def set_source(self, address, interface):
        """Packets of an end from this address (a care-of address, or a correspondent's; packed) leave by the interface with
        this index; None: the address is gone."""
        cdef fc_address source
        _put(&source, _octets("address", address, (4, 16)))
        if fc_forwarder_set_source(self.ptr, &source,
                                   0 if interface is None else _number("interface", interface, 1, 0x7fffffff)) == FC_ELIMIT:
            raise ClassifierError("address: too many are in use")

    def counters(self):
        """What became of packets so far: ``packets``, ``octets`` (by name, see `KINDS`), ``drops``, ``drop_octets`` (by
        reason, see `DROPS`), ``batches``, ``super_packets``, ``segments``. The loop isn't stopped for it."""
        cdef fc_forward_counters c
        fc_forwarder_get_counters(self.ptr, &c)
        return {
            "packets": {name: c.packets[i] for i, name in enumerate(self.KINDS)},
            "octets": {name: c.octets[i] for i, name in enumerate(self.KINDS)},
            "drops": {name: c.dropped[i] for i, name in enumerate(self.DROPS)},
            "drop_octets": {name: c.dropped_octets[i] for i, name in enumerate(self.DROPS)},
            "batches": c.batches,
            "super_packets": c.super_packets,
            "segments": c.segments,
        }

    def flows(self):
        """Packets and octets by node and flow: an array of `FLOW_COUNTER_DTYPE`. ``node`` is the table's number, ``kind`` an
        index into `KINDS`: flow (by this ``fid``, whatever its action), default, signalling, reverse."""
        cdef size_t room = 1024, n
        while True:
            out = np.zeros(room, dtype=FLOW_COUNTER_DTYPE)
            n = self._flows(out, room)
            if n <= room:
                return out[:n]
            room = n + n // 4

    cdef size_t _flows(self, out, size_t room):
        cdef uint8_t[::1] view = out.view(np.uint8)
        cdef size_t n
        with nogil:
            n = fc_forwarder_flows(self.ptr, <fc_forward_flow *>&view[0], room)
        return n
