# cython: language_level=3
"""What Python values become on their way into C: nodes for the forwarding table, and packets."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.ref cimport PyObject
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from flowclass.engine._flowclass cimport *

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object list_or_tuple)

from flowclass.addresses import as_packed, as_packed_prefix
from flowclass.engine.arguments import integer
from flowclass.errors import ArgumentError, ClassifierError, FlowclassError


_STATUS = {
    FC_ELIMIT: "a node has at most 65,535 flows and targets, 255 further addresses and 255 prefixes, a flow 255 targets",
    FC_ENOENT: "no node has this home address",
}


cdef int check(int status, what) except -1:
    if status == FC_ENOMEM:
        raise MemoryError
    if status != FC_OK:
        raise ClassifierError(f"{what}: {_STATUS.get(status, status)}")
    return 0


cdef int check_node(fc_fib *fib, const fc_node *node, what) except -1:
    """Raises an error that names the field for which fc_fib_publish refuses a node."""
    cdef char text[160]
    if fc_fib_check(fib, node, text, sizeof(text)) != FC_OK:
        raise ClassifierError(f"{what}: {text.decode()}")
    return 0


cdef int check_publish(int status, fc_fib *fib, const fc_node *node, what) except -1:
    """`check` of what fc_fib_publish said, with the field that is wrong."""
    if status in (FC_EINVAL, FC_ELIMIT, FC_EEXIST):
        check_node(fib, node, what)
    return check(status, what)


cdef void set_address(const uint8_t *octets, Py_ssize_t size, fc_address *out) noexcept nogil:
    cdef Py_ssize_t i
    memset(out, 0, sizeof(fc_address))
    for i in range(16 - size, 16):
        out.words[i >> 3] = out.words[i >> 3] << 8 | octets[i - 16 + size]
    out.version = 4 if size == 4 else 6


cdef int get_octets(name, octets, Py_buffer *view) except -1:
    """The buffer of an argument that must be bytes-like; the caller releases it."""
    try:
        PyObject_GetBuffer(octets, view, PyBUF_SIMPLE)
    except (TypeError, BufferError, ValueError):
        raise ArgumentError(name, "a bytes-like object", octets) from None
    return 0


cdef int take_integer(name, value, int high) except -1:
    """`integer` from 0 on, in 5 ns for what nearly everybody gives."""
    cdef int overflow = 0
    cdef long number
    if isinstance(value, int):
        number = PyLong_AsLongAndOverflow(value, &overflow)
        if not overflow and 0 <= number <= high:
            return <int>number
    return integer(name, value, 0, high)


cdef bytes octets_of(name, address):
    """An address in any form (flowclass.addresses) as 4 or 16 octets in network order."""
    if type(address) is bytes and len(address) in (4, 16):
        return address
    try:
        return as_packed(name, address)
    except ArgumentError:
        raise
    except FlowclassError as error:
        raise ClassifierError(str(error)) from None


cdef int take_address(object address, fc_address *out, name="address") except -1:
    cdef bytes octets = octets_of(name, address)
    set_address(<const uint8_t *><const char *>octets, len(octets), out)
    return 0


cdef bytes packed(const fc_address *a):
    cdef uint8_t out[16]
    cdef int i
    for i in range(16):
        out[i] = <uint8_t>(a.words[i >> 3] >> (56 - 8 * (i & 7)))
    return PyBytes_FromStringAndSize(<char *>out + (12 if a.version == 4 else 0), 4 if a.version == 4 else 16)


cdef class Staging:
    """A node as C wants it, collected from Python values; frees itself."""

    def __dealloc__(self):
        free(self.memory)

    cdef int fill(self, home, tuple also, tuple prefixes, tuple targets, default, tuple flows) except -1:
        cdef Py_ssize_t n_indices = 0, i, at = 0
        cdef tuple flow, indices
        for flow in flows:
            n_indices += len(<tuple?>flow[2])
        cdef Py_ssize_t n = len(also), p = len(prefixes), t = len(targets), f = len(flows)
        self.memory = <char *>malloc((n + p) * sizeof(fc_address) + f * sizeof(fc_flow) + t * sizeof(fc_target)
                                     + n_indices * 2 + 8)
        if self.memory == NULL:
            raise MemoryError
        cdef fc_address *addresses = <fc_address *>self.memory
        cdef fc_flow *c_flows = <fc_flow *>(addresses + n + p)
        cdef fc_target *c_targets = <fc_target *>(c_flows + f)
        cdef uint16_t *c_indices = <uint16_t *>(c_targets + t)
        take_address(home, &self.node.home, "home_address")
        for i in range(n):
            take_address(also[i], &addresses[i], "also")
        for i in range(p):
            network, length = prefixes[i] if isinstance(prefixes[i], tuple) else as_packed_prefix("prefixes", prefixes[i])
            take_address(network, &addresses[n + i], "prefixes")
            addresses[n + i].length = length
        for i in range(t):
            self.take_target(targets[i], &c_targets[i])
        for i in range(f):
            flow = flows[i]
            indices = flow[2]
            self.take_flow(flow, &c_flows[i], at)
            for index in indices:
                c_indices[at] = index
                at += 1
        self.node.also, self.node.prefixes, self.node.targets = addresses, addresses + n, c_targets
        self.node.flows, self.node.flow_targets = c_flows, c_indices
        self.node.n_also, self.node.n_prefixes, self.node.n_targets = n, p, t
        self.node.n_flows, self.node.n_flow_targets = f, n_indices
        self.node.default_target = FC_NO_TARGET if default == -1 else <uint32_t?>default
        return 0

    cdef int take_target(self, target, fc_target *out) except -1:
        cdef bytes address = octets_of("care-of address", target[1])
        memset(out, 0, sizeof(fc_target))
        memcpy(out.address, <const char *>address, len(address))
        out.bid = target[0]
        out.version = 4 if len(address) == 4 else 6
        return 0

    cdef int take_flow(self, tuple flow, fc_flow *out, Py_ssize_t first) except -1:
        cdef Py_buffer view
        memset(out, 0, sizeof(fc_flow))
        out.fid = flow[0]
        out.action = flow[1]
        if len(flow[2]) > FC_MAX_FANOUT:
            raise ClassifierError(f"flow {flow[0]}: {len(flow[2])} targets; at most {FC_MAX_FANOUT}")
        out.n_targets = len(flow[2])
        out.targets = first
        get_octets("rule", flow[3], &view)
        cdef Py_ssize_t size = view.len
        if size == sizeof(fc_rule):
            memcpy(&out.rule, view.buf, sizeof(fc_rule))
        PyBuffer_Release(&view)
        if size != sizeof(fc_rule):
            raise ClassifierError(f"flow {flow[0]}: a rule has {sizeof(fc_rule)} octets (one row of RULE_DTYPE), got {size}")
        return 0


cdef class Gathered:
    """Packets as C wants them: where each begins, counted from the first in memory. None is copied."""

    def __dealloc__(self):
        free(self.memory)

    cdef bint fill(self, packets) except -1:
        """Take a list or tuple of bytes-like objects; False if it is anything else, for `as_batch` to judge."""
        cdef Py_ssize_t i, n, size
        cdef size_t at, base = <size_t>-1
        if not isinstance(packets, (list, tuple)):
            return False
        cdef tuple kept = tuple(packets)  # while C reads without the GIL, others may change the list
        n = len(kept)
        if n == 0 or (n == 3 and isinstance(packets, tuple) and not isinstance(kept[1], bytes)):
            return False
        cdef PyObject **packet = PySequence_Fast_ITEMS(kept)
        self.memory = <uint64_t *>malloc(n * 12)
        if self.memory == NULL:
            raise MemoryError
        cdef uint32_t *lengths = <uint32_t *>(self.memory + n)
        for i in range(n):
            if not PyBytes_CheckExact(<object>packet[i]):
                return self.fill_any(kept)
            size = PyBytes_GET_SIZE(<object>packet[i])
            if size > UINT32_MAX:
                return False
            at = <size_t>PyBytes_AS_STRING(<object>packet[i])
            self.memory[i], lengths[i] = at, <uint32_t>size
            if at < base:
                base = at
        for i in range(n):
            self.memory[i] -= base
        self.data, self.offsets, self.lengths, self.n = <const uint8_t *>base, self.memory, lengths, n
        self.kept = kept
        return True

    cdef bint fill_any(self, tuple packets) except -1:
        """The same where some are bytearrays, memory views and the like, which are copied."""
        free(self.memory)
        self.memory = NULL
        try:
            return self.fill([bytes(memoryview(packet)) for packet in packets])
        except TypeError:
            return False
