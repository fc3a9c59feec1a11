# cython: language_level=3, embedsignature=True
"""The forwarding table, which takes packets and gives decisions: the binding of csrc/src/fib (publish.c and read.c)."""

from contextlib import nullcontext
from warnings import warn

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBuffer_Release
from libc.stdint cimport UINT32_MAX, int64_t
from libc.string cimport memcpy, memset

from flowclass.engine._flowclass cimport *
from flowclass.engine.structs cimport abi_of_this_build
from flowclass.engine._staging cimport (
    Gathered, Staging, check, check_node, check_publish, get_octets, packed, set_address, take_address, take_integer,
)
from flowclass.engine.classifier cimport select_kernel
from flowclass.engine.packets cimport Fragments

from flowclass.addresses import address_text
from flowclass.engine.arguments import contiguous, integer, link_types, out_array, secret_key, times_of
from flowclass.engine.decisions import Action, DecisionFlag, Reason, outcome_text
from flowclass.engine.packets import as_batch
from flowclass.errors import ArgumentError, ClassifierError, FlowclassError
from flowclass.late import Late

__all__ = ["FLOW_DTYPE", "TARGET_DTYPE", "DataPlane", "Decision", "ForwardingTable"]

np = Late("numpy")
dtypes = Late("flowclass.engine.dtypes")
ABI = abi_of_this_build()
"""What `check_abi` of structs.pxd compares: the version, and the sizes of the structs."""
SIZES = {"FLOW_DTYPE": sizeof(fc_flow), "TARGET_DTYPE": sizeof(fc_target)}


def __getattr__(name):
    if name in SIZES:
        assert getattr(dtypes, name).itemsize == SIZES[name]
        return getattr(dtypes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *SIZES})

cdef tuple ACTIONS = tuple(Action), REASONS = tuple(Reason)
cdef tuple FLAGS = tuple(map(DecisionFlag, range(2 * max(DecisionFlag))))
cdef object RAW_IP = 101, ONE = 1  # what linktype and threads are unless told otherwise: not looked at then (12 ns)
cdef object NOBODY = nullcontext()  # in place of a lock


cdef int check_status(int status, what) except -1:
    return check(status, what)


cdef class Decision:
    """One decision: what `ForwardingTable.decide_one` returns. Fields that do not apply are None."""

    def __repr__(self):
        home = None if self.home_address is None else address_text(self.home_address)
        return (f"Decision(action={self.action!r}, reason={self.reason!r}, home_address={home!r}, "
                f"fid={self.fid}, bid={self.bid}, care_of={[address_text(a) for a in self.care_of]!r})")

    def __str__(self):
        return outcome_text(self.action, self.reason, self.fid, self.bid, self.care_of)


cdef class ForwardingTable:
    """Decides packets for mobile nodes, which it finds by home address (exact) or mobile network prefix (longest
    match).

    Readers (`classify...`) run in any number of threads beside one another and beside `publish` and `withdraw`, and
    wait for nobody: each decision is that of a complete state of the node. decisions.py has the array type of decisions
    (`DECISION_DTYPE`) and names for its numbers. ``secret`` (16 octets) keys the hash of addresses; without one it is
    random. Errors are `ClassifierError`; a call that fails changes nothing.
    """

    def __cinit__(self, secret=None):
        cdef bytes key = secret_key(secret)
        check(fc_fib_new(<const uint8_t *><const char *>key, <fc_fib **>&self.ptr), "forwarding table")

    def __dealloc__(self):
        fc_fib_free(<fc_fib *>self.ptr)

    def __repr__(self):
        info = self.info()
        return (f"<ForwardingTable: nodes={info['nodes']}, addresses={info['addresses']}, prefixes={info['prefixes']}, "
                f"bytes={info['bytes']}>")

    def __len__(self):
        return self.info()["nodes"]

    def __contains__(self, home_address):
        return self.find(home_address) is not None

    def publish(self, home_address, *, also=(), prefixes=(), targets=(), default=-1, flows=()):
        """Adds a node, or replaces the one with this home address as a whole; returns its number.

        ``home_address``, ``also``
            addresses in any form of `flowclass.addresses`; ``also`` are further ones of the same node.
        ``prefixes``
            its mobile networks.
        ``targets``
            (BID, care-of address); BID 0 is a binding without one.
        ``default``
            index into targets of the default binding, or -1.
        ``flows``
            (FID, action, tuple of indices into targets, rule) in matching order: (PRI, FID). Action 1 forward, 2
            discard, 3 n-cast; rule: the 96 octets of one row of `RULE_DTYPE`. A flow that forwards to no target is
            inactive.
        """
        cdef Staging node = Staging()
        cdef uint32_t number = 0
        cdef int status
        try:
            node.fill(home_address, tuple(also), tuple(prefixes), tuple(targets), default, tuple(flows))
        except FlowclassError:
            raise
        except (OverflowError, TypeError, ValueError, LookupError) as error:
            raise ClassifierError(f"publish: {error}") from None
        with nogil:
            status = fc_fib_publish(<fc_fib *>self.ptr, &node.node, &number)
        check_publish(status, <fc_fib *>self.ptr, &node.node, "publish")
        return number

    def load(self, home_addresses, *, targets, target_offsets, defaults, flows, flow_offsets, flow_targets):
        """Publishes many nodes at once, from arrays; returns their numbers (u32).

        ``home_addresses``
            (n, 16) or (n, 4) octets.
        ``targets``, ``target_offsets``
            rows of `TARGET_DTYPE`; node i has those from target_offsets[i] up to target_offsets[i + 1].
        ``defaults``
            index among the node's own targets, or -1.
        ``flows``, ``flow_offsets``
            rows of `FLOW_DTYPE` in matching order, divided among the nodes in the same way. A flow's targets are
            flow_targets[targets : targets + n_targets], each an index (u16) among the node's own targets.

        If a node is refused, loading ends with a `ClassifierError` that says which; the nodes before it are in the
        table.
        """
        homes = np.ascontiguousarray(home_addresses, dtype=np.uint8)
        if homes.ndim != 2 or homes.shape[1] not in (4, 16):
            raise ClassifierError(f"home_addresses: expected n rows of 4 or 16 octets, got shape {homes.shape}")
        cdef Py_ssize_t n = homes.shape[0], width = homes.shape[1], i
        cdef const fc_target *c_targets = <const fc_target *>address_of(_rows("targets", targets, dtypes.TARGET_DTYPE))
        cdef const fc_flow *c_flows = <const fc_flow *>address_of(_rows("flows", flows, dtypes.FLOW_DTYPE))
        cdef const uint32_t[::1] target_at = _offsets("target_offsets", target_offsets, n, len(targets))
        cdef const uint32_t[::1] flow_at = _offsets("flow_offsets", flow_offsets, n, len(flows))
        cdef const int32_t[::1] default = np.ascontiguousarray(defaults, dtype=np.int32)
        indices = np.ascontiguousarray(flow_targets, dtype=np.uint16)
        numbers = np.empty(n, dtype=np.uint32)
        cdef uint32_t[::1] number = numbers
        cdef const uint8_t *address = <const uint8_t *>address_of(homes)
        cdef fc_node node
        cdef int status = FC_OK
        if default.shape[0] != n:
            raise ClassifierError(f"defaults: expected {n}, got {default.shape[0]}")
        memset(&node, 0, sizeof(fc_node))
        node.flow_targets = <const uint16_t *>address_of(indices)
        node.n_flow_targets = indices.size
        self.reserve(len(self) + n)
        with nogil, cython.boundscheck(False):
            for i in range(n):
                set_address(address + i * width, width, &node.home)
                node.targets, node.n_targets = c_targets + target_at[i], target_at[i + 1] - target_at[i]
                node.flows, node.n_flows = c_flows + flow_at[i], flow_at[i + 1] - flow_at[i]
                node.default_target = FC_NO_TARGET if default[i] == -1 else <uint32_t>default[i]
                status = fc_fib_publish(<fc_fib *>self.ptr, &node, &number[i])
                if status != FC_OK:
                    break
        check_publish(status, <fc_fib *>self.ptr, &node, f"load: node {i}")
        return numbers

    def withdraw(self, home_address):
        """Removes the node with this home address, its other addresses and its prefixes."""
        cdef fc_address home
        take_address(home_address, &home, "home_address")
        check(fc_fib_withdraw(<fc_fib *>self.ptr, &home), "withdraw")

    def find(self, home_address):
        """The number of the node with exactly this address (its home address or a further one), or None."""
        cdef fc_address home
        cdef uint32_t number = 0
        take_address(home_address, &home, "home_address")
        return number if fc_fib_find(<fc_fib *>self.ptr, &home, &number) == FC_OK else None

    def reserve(self, addresses):
        """Makes room in the index before a bulk load."""
        check(fc_fib_reserve(<fc_fib *>self.ptr, integer("addresses", addresses, 0, (1 << 64) - 1)), "reserve")

    def reclaim(self):
        """Frees now what was replaced and no reader can see any more; `publish` does so from time to time."""
        fc_fib_reclaim(<fc_fib *>self.ptr)

    def info(self):
        """Counts, as a dict: ``nodes``, ``addresses`` and ``prefixes``; ``bytes``, all memory in use; ``waiting``, the
        octets that are freed when readers have left; ``freed``, the octets that were freed in this way so far."""
        cdef fc_fib_info info
        fc_fib_get_info(<fc_fib *>self.ptr, &info)
        return {"nodes": info.nodes, "addresses": info.addresses, "prefixes": info.prefixes, "bytes": info.bytes,
                "waiting": info.waiting, "freed": info.freed}

    cdef int decide(self, const void *keys, size_t n, int kernel, unsigned threads, void *out) noexcept nogil:
        return fc_fib_classify(<fc_fib *>self.ptr, <const fc_key *>keys, n, kernel, threads, <fc_decision *>out)

    cdef int decide_packets(self, int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                            const uint32_t *lengths, const int64_t *times, size_t n, void *fragments, int kernel,
                            unsigned threads, void *out) noexcept nogil:
        cdef fc_parse_options options
        memset(&options, 0, sizeof(options))
        options.fragments = <fc_fragments *>fragments
        options.times = times
        options.now = FC_NO_TIME
        return fc_fib_classify_packets(<fc_fib *>self.ptr, linktype, linktypes, buffer, offsets, lengths, n, &options, kernel,
                                       threads, <fc_decision *>out)

    cdef int publish_node(self, const void *node, uint32_t *number) noexcept nogil:
        return fc_fib_publish(<fc_fib *>self.ptr, <const fc_node *>node, number)

    cdef int withdraw_node(self, const void *home) noexcept nogil:
        return fc_fib_withdraw(<fc_fib *>self.ptr, <const fc_address *>home)

    cdef uint32_t targets_of(self, const void *decision, void *out, uint32_t room) noexcept nogil:
        return fc_fib_targets(<fc_fib *>self.ptr, <const fc_decision *>decision, <fc_target *>out, room)

    cdef int check_node(self, const void *node) except -1:
        return check_node(<fc_fib *>self.ptr, <const fc_node *>node, "node")

    def classify(self, keys, out=None, kernel="auto", *, threads=1):
        """The decision for each key of an array of `KEY_DTYPE`, as an array of `DECISION_DTYPE`. ``out`` may be an
        array to fill, at least as long; the filled part is returned. A key of protocol 135 is signalling."""
        cdef int chosen = select_kernel(kernel), status
        cdef unsigned split = integer("threads", threads, 1, 1024)
        keys = contiguous("keys", keys)
        if keys.dtype != dtypes.KEY_DTYPE or keys.ndim != 1:
            raise ClassifierError(f"keys: expected one dimension of KEY_DTYPE, got {keys.ndim} of {keys.dtype}")
        cdef size_t n = keys.shape[0]
        out = out_array("out", out, dtypes.DECISION_DTYPE, n)
        cdef const uint8_t[::1] k = keys.view(np.uint8)
        cdef uint8_t[::1] o = out.view(np.uint8)
        if n:
            with nogil:
                status = self.decide(&k[0], n, chosen, split, &o[0])
            check(status, "classify")
        return out

    def classify_parsed(self, keys, infos, out=None, *, kernel="auto", threads=1):
        """The decision for each packet that `flowclass.engine.packets.parse` (or a trace) made ``keys`` and ``infos``
        (`PACKET_DTYPE`) of: as `classify_packets`, without parsing again."""
        cdef int chosen = select_kernel(kernel), status
        cdef unsigned split = integer("threads", threads, 1, 1024)
        keys, infos = contiguous("keys", keys), contiguous("infos", infos)
        if keys.dtype != dtypes.KEY_DTYPE or infos.dtype != dtypes.PACKET_DTYPE or keys.ndim != 1 or keys.shape != infos.shape:
            raise ClassifierError(f"keys and infos: expected KEY_DTYPE and PACKET_DTYPE, one dimension, equal length; "
                                  f"got shapes {keys.shape} and {infos.shape}")
        cdef size_t n = keys.shape[0]
        out = out_array("out", out, dtypes.DECISION_DTYPE, n)
        cdef const uint8_t[::1] k = keys.view(np.uint8)
        cdef const uint8_t[::1] p = infos.view(np.uint8)
        cdef uint8_t[::1] o = out.view(np.uint8)
        if n:
            with nogil:
                status = fc_fib_classify_parsed(<fc_fib *>self.ptr, <const fc_key *>&k[0], <const fc_packet *>&p[0], n,
                                                chosen, split, <fc_decision *>&o[0])
            check(status, "classify")
        return out

    def classify_packets(self, packets, *, linktype=101, linktypes=None, fragments=None, times=None, inner=0, out=None, kernel="auto",
                         threads=1):
        """The decision for each packet; packets are given as `flowclass.engine.packets.parse` takes them. With
        ``fragments`` only one thread is used."""
        cdef int chosen = select_kernel(kernel)
        cdef int link = 101 if linktype is RAW_IP else take_integer("linktype", linktype, 0xffff)
        cdef unsigned split = 1 if threads is ONE else integer("threads", threads, 1, 1024)
        cdef fc_parse_options options
        cdef Gathered gathered = Gathered()
        cdef const uint16_t *types_ptr = NULL
        cdef const uint64_t[::1] at
        cdef const uint32_t[::1] size
        cdef const uint8_t[::1] b
        cdef const int64_t[::1] when
        cdef const uint16_t[::1] types
        cdef Py_buffer to
        memset(&options, 0, sizeof(options))
        options.inner = take_integer("inner", inner, 255)
        if not gathered.fill(packets):
            buffer, offsets, lengths = as_batch(packets)
            at, size, b = offsets, lengths, buffer
            gathered.n = offsets.size
            if gathered.n:
                gathered.offsets, gathered.lengths = &at[0], &size[0]
                gathered.data = &b[0] if b.shape[0] else <const uint8_t *>&options
        cdef size_t n = gathered.n
        out = out_array("out", out, dtypes.DECISION_DTYPE, n)
        if fragments is not None and not isinstance(fragments, Fragments):
            raise ArgumentError("fragments", "a Fragments", fragments)
        options.now = FC_NO_TIME
        if fragments is not None:
            options.fragments = <fc_fragments *>(<Fragments>fragments).ptr
            if isinstance(times, int) and -(1 << 63) <= times < 1 << 63:
                options.now = times
            elif times is not None:
                when = times_of(times, n)
                options.times = &when[0] if n else NULL
        if linktypes is not None:
            types = link_types(linktypes, n)
        if n == 0:
            return out
        if linktypes is not None:
            types_ptr = &types[0]
        get_octets("out", out, &to)
        try:
            with NOBODY if fragments is None else (<Fragments>fragments).lock:
                decide_gathered(self, gathered, link, types_ptr, &options, chosen, split, to.buf)
        finally:
            PyBuffer_Release(&to)
        return out

    def classify_one(self, packet, linktype=RAW_IP):
        """One packet's decision as an integer: action in bits 0-1, reason in 2-4, FID valid 5, BID valid 6, node found
        7, BID in 8-23, FID in 24-39, copies to send in 40-47."""
        cdef fc_decision d
        decide_packet(self, packet, linktype, &d)
        return bits_of(&d)

    def decide_one(self, packet, linktype=RAW_IP):
        """One packet's `Decision`."""
        cdef fc_decision d
        decide_packet(self, packet, linktype, &d)
        return decision_of(self, &d)

    cdef tuple targets(self, const void *decision):
        cdef fc_target targets[FC_MAX_FANOUT]
        cdef uint32_t n = fc_fib_targets(<fc_fib *>self.ptr, <const fc_decision *>decision, targets, FC_MAX_FANOUT), i
        if n == 1:
            return (PyBytes_FromStringAndSize(<char *>targets[0].address, 4 if targets[0].version == 4 else 16),)
        return tuple([PyBytes_FromStringAndSize(<char *>targets[i].address, 4 if targets[i].version == 4 else 16)
                      for i in range(n)])

    def care_of(self, decision):
        """The packed addresses that a decision (an element of `DECISION_DTYPE`) sends to: none, one, or for n-cast in
        the order of the flow's BIDs. Of n-cast these are the node's present ones, should it have been replaced
        since."""
        cdef fc_decision d
        take_decision(decision, &d)
        return self.targets(&d)

    def addresses_of(self, decisions):
        """What `home_address` and `care_of` say, for an array of `DECISION_DTYPE` at once: (homes, versions, targets,
        ends).

        ``homes`` (n, 16) octets and ``versions`` (n): 4, 6, or 0 for none. ``targets``: rows of `TARGET_DTYPE`, those
        of decision i from ends[i - 1] (0 before the first) up to ends[i].
        """
        decisions = np.ascontiguousarray(decisions)
        if decisions.dtype != dtypes.DECISION_DTYPE or decisions.ndim != 1:
            raise ClassifierError(f"decisions: expected one dimension of DECISION_DTYPE, got {decisions.dtype}")
        cdef Py_ssize_t n = decisions.shape[0], i
        cdef size_t room = int(decisions["n_targets"].sum(dtype=np.int64)), at = 0
        homes, versions = np.zeros((n, 16), np.uint8), np.zeros(n, np.uint8)
        targets, ends = np.empty(room, dtypes.TARGET_DTYPE), np.empty(n, np.int64)
        cdef const fc_decision *d = <const fc_decision *>address_of(decisions)
        cdef fc_target *target = <fc_target *>address_of(targets)
        cdef uint8_t[:, ::1] homes_view = homes
        cdef uint8_t[::1] versions_view = versions
        cdef int64_t[::1] ends_view = ends
        cdef fc_address home
        with nogil:
            for i in range(n):
                if fc_fib_decider(<fc_fib *>self.ptr, &d[i], &home) == FC_OK:
                    versions_view[i] = home.version
                    put_address(&home, &homes_view[i, 0])
                at += fc_fib_targets(<fc_fib *>self.ptr, &d[i], target + at, room - at)
                ends_view[i] = at
        return homes, versions, targets[:at], ends

    def places(self, decisions):
        """The former name of `addresses_of`."""
        warn("ForwardingTable.places is called addresses_of", DeprecationWarning)
        return self.addresses_of(decisions)

    def home_address(self, decision):
        """The packed home address of a decision's node, or of a node number; None if there is none (any more)."""
        cdef fc_decision d
        cdef fc_address home
        if isinstance(decision, (int, np.integer)):
            if not 0 <= decision < 1 << 32:
                raise ClassifierError(f"node number: expected 0 to {(1 << 32) - 1}, got {decision}")
            return packed(&home) if fc_fib_home_address(<fc_fib *>self.ptr, decision, &home) == FC_OK else None
        take_decision(decision, &d)
        return packed(&home) if fc_fib_decider(<fc_fib *>self.ptr, &d, &home) == FC_OK else None


cdef int decide_packet(ForwardingTable table, packet, linktype, fc_decision *d) except -1:
    cdef Py_buffer view
    cdef int link = 101 if linktype is RAW_IP else take_integer("linktype", linktype, 0xffff)
    get_octets("packet", packet, &view)
    fc_fib_classify_one(<fc_fib *>table.ptr, link, <const uint8_t *>view.buf, <uint32_t>view.len, d)
    PyBuffer_Release(&view)
    return 0


cdef object bits_of(const fc_decision *d):
    return (<uint64_t>d.action | <uint64_t>d.reason << 2 | <uint64_t>(d.flags & 7) << 5 | <uint64_t>d.bid << 8
            | <uint64_t>d.fid << 24 | <uint64_t>d.n_targets << 40)


cdef Decision decision_of(ForwardingTable table, const fc_decision *d):
    cdef Decision made = Decision.__new__(Decision)
    cdef fc_address home
    made.action, made.reason, made.flags = ACTIONS[d.action], REASONS[d.reason], FLAGS[d.flags]
    made.n_targets = d.n_targets
    made.fid = d.fid if d.flags & FC_HAS_FID else None
    made.bid = d.bid if d.flags & FC_HAS_BID else None
    if d.flags & FC_HAS_NODE:
        made.node = d.node
        if fc_fib_home_address(<fc_fib *>table.ptr, d.node, &home) == FC_OK:
            made.home_address = packed(&home)
    made.care_of = table.targets(d)
    return made


cdef int decide_gathered(ForwardingTable table, Gathered gathered, int link, const uint16_t *linktypes,
                       const fc_parse_options *options, int kernel, unsigned threads, void *out) except -1:
    """Packets' decisions to ``out``. The caller sees to it that nobody else uses the memory of fragments meanwhile."""
    cdef int status
    with nogil:
        status = fc_fib_classify_packets(<fc_fib *>table.ptr, link, linktypes, gathered.data, gathered.offsets,
                                         gathered.lengths, gathered.n, options, kernel, threads, <fc_decision *>out)
    return check(status, "classify")


cdef enum:
    FEW = 128  # packets: the GIL is kept for some microseconds


cdef class DataPlane:
    """A table with a memory of first fragments: what an agent needs for one packet, or a few, at a time.

    ``fragments`` returns the `Fragments` to use, and ``clock`` the time in ns, or None; for one packet both are only
    called if it is a fragment. A later fragment is decided as its first one was (RFC 6089 section 5.3.6), for 60 s by
    that clock (RFC 8200 section 4.5); calls with fragments wait for each other.
    """

    cdef ForwardingTable table
    cdef object fragments, clock
    cdef Fragments memory  # with the others what `classify` needs each time, from its first call on
    cdef object array, dtype

    def __init__(self, ForwardingTable table not None, fragments, clock):
        self.table, self.fragments, self.clock = table, fragments, clock

    def classify_one(self, packet, linktype=RAW_IP):
        """One packet's decision as an integer, whose bits are those of `ForwardingTable.classify_one`."""
        cdef fc_decision d
        self.decide(packet, linktype, &d)
        return bits_of(&d)

    def decide_one(self, packet, linktype=RAW_IP):
        """One packet's `Decision`."""
        cdef fc_decision d
        self.decide(packet, linktype, &d)
        return decision_of(self.table, &d)

    def classify(self, packets):
        """An array of DECISION_DTYPE: `ForwardingTable.classify_packets` with that memory and that clock, at less cost
        for a list or tuple of a few packets.
        """
        cdef Gathered gathered = Gathered()
        cdef fc_parse_options options
        if self.memory is None:
            self.memory, self.array, self.dtype = self.fragments(), np.ndarray, dtypes.DECISION_DTYPE
        out = self.few(packets)
        if out is not None:
            return out
        time = self.clock()
        if not gathered.fill(packets):
            return self.table.classify_packets(packets, fragments=self.memory, times=time)
        memset(&options, 0, sizeof(options))
        options.fragments = <fc_fragments *>self.memory.ptr
        options.now = FC_NO_TIME if time is None else time
        out = PyByteArray_FromStringAndSize(NULL, gathered.n * sizeof(fc_decision))
        with self.memory.lock:
            decide_gathered(self.table, gathered, 101, NULL, &options, FC_KERNEL_AUTO, 1, PyByteArray_AS_STRING(out))
        return self.array(gathered.n, self.dtype, out)  # as np.empty would, in 0.3 us less

    cdef few(self, packets):
        """The decisions for at most `FEW` packets; None if there are more, fragments, or others than bytes."""
        cdef fc_key keys[FEW]
        cdef fc_packet infos[FEW]
        cdef Py_ssize_t n, i
        if not isinstance(packets, (list, tuple)):
            return None
        n = len(packets)
        if n == 0 or n > FEW:
            return None
        for i in range(n):
            packet = packets[i]
            if not PyBytes_CheckExact(packet) or PyBytes_GET_SIZE(packet) > UINT32_MAX:
                return None
            fc_parse(101, <const uint8_t *>PyBytes_AS_STRING(packet), <uint32_t>PyBytes_GET_SIZE(packet), &keys[i],
                     &infos[i])
            if infos[i].fragment != 0:
                return None
        out = PyByteArray_FromStringAndSize(NULL, n * sizeof(fc_decision))
        fc_fib_classify_parsed(<fc_fib *>self.table.ptr, keys, infos, n, FC_KERNEL_AUTO, 1,
                               <fc_decision *>PyByteArray_AS_STRING(out))
        return self.array(n, self.dtype, out)

    cdef int decide(self, packet, linktype, fc_decision *d) except -1:
        cdef Py_buffer view
        cdef fc_key key
        cdef fc_packet info
        cdef int link = 101 if linktype is RAW_IP else take_integer("linktype", linktype, 0xffff)
        get_octets("packet", packet, &view)
        try:
            fc_parse(link, <const uint8_t *>view.buf, <uint32_t>view.len, &key, &info)
            if info.fragment != 0:
                self.follow(link, &view, &key, &info)
        finally:
            PyBuffer_Release(&view)
        return fc_fib_classify_parsed(<fc_fib *>self.table.ptr, &key, &info, 1, FC_KERNEL_SCALAR, 1, d)

    cdef int follow(self, int link, Py_buffer *view, fc_key *key, fc_packet *info) except -1:
        """Read a fragment again, with the memory."""
        cdef Fragments memory = self.fragments()
        cdef fc_parse_options options
        cdef uint64_t offset = 0
        cdef uint32_t length = <uint32_t>view.len
        time = self.clock()
        memset(&options, 0, sizeof(options))
        options.now = FC_NO_TIME if time is None else time
        with memory.lock:
            options.fragments = <fc_fragments *>memory.ptr
            fc_parse_batch(link, NULL, <const uint8_t *>view.buf, &offset, &length, 1, &options, key, info)
        return 0


cdef inline void put_address(const fc_address *a, uint8_t *out) noexcept nogil:
    """Writes an address as 16 octets in network order; for IPv4 as 4 octets, and the others stay as they are."""
    cdef int i, first = 12 if a.version == 4 else 0
    for i in range(first, 16):
        out[i - first] = <uint8_t>(a.words[i >> 3] >> (56 - 8 * (i & 7)))


cdef int take_decision(decision, fc_decision *out) except -1:
    cdef Py_buffer view
    get_octets("decision", decision, &view)
    cdef Py_ssize_t size = view.len
    if size == sizeof(fc_decision):
        memcpy(out, view.buf, sizeof(fc_decision))
    PyBuffer_Release(&view)
    if size != sizeof(fc_decision):
        raise ClassifierError(f"decision: expected one element of DECISION_DTYPE, got {size} octets")
    return 0


cdef const void *address_of(array):
    """The address of an array's first element. It is good as long as the caller keeps the array."""
    return <const void *><size_t>array.ctypes.data


def _rows(name, array, dtype):
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous:
        raise ClassifierError(f"{name}: expected a contiguous array of {dtype.names}")
    return array


def _offsets(name, offsets, n, limit):
    array = np.ascontiguousarray(offsets, dtype=np.uint32)
    if array.shape != (n + 1,) or (n and (np.any(array[1:] < array[:-1]) or array[-1] > limit)):
        raise ClassifierError(f"{name}: expected {n + 1} rising offsets up to {limit}")
    return array
