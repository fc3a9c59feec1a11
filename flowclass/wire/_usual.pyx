# cython: language_level=3
"""The hot half of the codec, in C: binding updates and acknowledgements in the form that nearly all of them have.

`UsualCodec` reads a binding update and writes an acknowledgement. For anything unusual, such as a fault, a rare option
or an extension header of another form, both methods return None, and the codec in Python does the work. So each rule
and each error has one place, which is there; this module only has to recognize what breaks no rule. The values that it
makes equal those of the codec in Python, and so do the octets; tests/wire/test_wire_usual.py compares them.

It fills the slots of the values by their offsets instead of calling constructors.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from cpython.type cimport PyType_GenericAlloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from struct import calcsize
from types import MemberDescriptorType

from flowclass.wire.flow_options import BindingReference, FlowIdentification, TrafficSelectorOption
from flowclass.wire.lazy import Received
from flowclass.wire.messages import BindingAcknowledgement, BindingUpdate
from flowclass.wire.numbers import MAX_BID_PRIORITY, MAX_MOBILITY_HEADER, MOBILITY_HEADER, MessageType, OptionType, Protocol
from flowclass.wire.options import BindingIdentifier, Pad1, PadN, Verbatim
from flowclass.wire.selectors import FORMATS

__all__ = ["PacketSlots", "UsualCodec", "acknowledgement", "flow_answer", "selector_octets"]

cdef extern from *:
    """
    #include <structmember.h>
    static inline Py_ssize_t offset_of_member(PyObject *descriptor) {
        return ((PyMemberDescrObject *)descriptor)->d_member->offset;
    }
    #if PY_VERSION_HEX >= 0x030E0000  /* there a tuple keeps its hash, and -1 until it has been asked for */
    #define FORGET_HASH(made) (((PyTupleObject *)(made))->ob_hash = -1)
    #else
    #define FORGET_HASH(made) ((void)(made))
    #endif
    """
    Py_ssize_t offset_of_member(PyObject *descriptor)
    void forget_hash "FORGET_HASH"(object made)

cdef enum:
    IPV6 = 40  # octets of its header
    EXTENSION = 24  # octets of an extension header with one address
    ROOM = IPV6 + EXTENSION + 2048  # the longest packet that is written here
    FIELDS = 8  # of a traffic selector

assert ROOM == IPV6 + EXTENSION + MAX_MOBILITY_HEADER

cdef int UPDATE = MessageType.BINDING_UPDATE, ACKNOWLEDGEMENT = MessageType.BINDING_ACKNOWLEDGEMENT
cdef int BID = OptionType.BINDING_IDENTIFIER, PADN = OptionType.PADN
cdef int MOBILITY = MOBILITY_HEADER, NO_NEXT_HEADER = Protocol.NO_NEXT_HEADER
cdef int DESTINATION = Protocol.DESTINATION_OPTIONS, ROUTING = Protocol.ROUTING
cdef int PRIORITY = MAX_BID_PRIORITY
cdef object PAD1 = Pad1(), NOTHING = Verbatim(())


cdef Py_ssize_t slot(cls, name) except -1:
    """The offset of a slot in the objects of a class."""
    descriptor = cls.__dict__[name]
    if not isinstance(descriptor, MemberDescriptorType):
        raise TypeError(f"{cls.__name__}.{name} is no slot")
    return offset_of_member(<PyObject *>descriptor)


cdef Py_ssize_t OCTETS = slot(Received, "_octets"), PAD_DATA = slot(PadN, "data")
cdef Py_ssize_t REFERENCE_BIDS = slot(BindingReference, "bids")
cdef Py_ssize_t BID_BID = slot(BindingIdentifier, "bid"), BID_CARE_OF = slot(BindingIdentifier, "care_of")
cdef Py_ssize_t BID_PRIORITY = slot(BindingIdentifier, "priority"), BID_STATUS = slot(BindingIdentifier, "status")
cdef Py_ssize_t BID_HOME = slot(BindingIdentifier, "home")
cdef Py_ssize_t FLOW_FID = slot(FlowIdentification, "fid"), FLOW_PRI = slot(FlowIdentification, "pri")
cdef Py_ssize_t FLOW_ACTION = slot(FlowIdentification, "action"), FLOW_PRO = slot(FlowIdentification, "pro")
cdef Py_ssize_t FLOW_STATUS = slot(FlowIdentification, "status"), FLOW_SUBS = slot(FlowIdentification, "suboptions")
cdef Py_ssize_t FLOW_UNITS = slot(FlowIdentification, "len_units")
cdef Py_ssize_t UPDATE_SEQUENCE = slot(BindingUpdate, "sequence"), UPDATE_LIFETIME = slot(BindingUpdate, "lifetime")
cdef Py_ssize_t UPDATE_FLAGS = slot(BindingUpdate, "flags"), UPDATE_OPTIONS = slot(BindingUpdate, "options")
cdef Py_ssize_t UPDATE_CHECKSUM = slot(BindingUpdate, "checksum")
cdef Py_ssize_t ACK_STATUS = slot(BindingAcknowledgement, "status"), ACK_FLAGS = slot(BindingAcknowledgement, "flags")
cdef Py_ssize_t ACK_SEQUENCE = slot(BindingAcknowledgement, "sequence")
cdef Py_ssize_t ACK_LIFETIME = slot(BindingAcknowledgement, "lifetime")
cdef Py_ssize_t ACK_OPTIONS = slot(BindingAcknowledgement, "options")
cdef Py_ssize_t ACK_CHECKSUM = slot(BindingAcknowledgement, "checksum")


cdef inline void put(object made, Py_ssize_t at, object value) noexcept:
    """Fill an empty slot."""
    Py_INCREF(value)
    (<PyObject **>(<char *><PyObject *>made + at))[0] = <PyObject *>value


cdef inline object get(object value, Py_ssize_t at):
    """What a slot holds; None if it is empty."""
    cdef PyObject *found = (<PyObject **>(<char *><PyObject *>value + at))[0]
    return None if found == NULL else <object>found


cdef inline long number(object value, Py_ssize_t at, long most) except? -2:
    """The integer that a slot holds; -1 if it holds nothing from 0 to ``most``."""
    cdef int overflow = 0
    found = get(value, at)
    if not isinstance(found, int):
        return -1
    cdef long n = PyLong_AsLongAndOverflow(found, &overflow)
    return n if not overflow and 0 <= n <= most else -1


cdef inline int word(const uint8_t *p) noexcept:
    return p[0] << 8 | p[1]


cdef inline void put_word(uint8_t *p, int value) noexcept:
    p[0], p[1] = <uint8_t>(value >> 8), <uint8_t>value


cdef inline object part(const uint8_t *p, Py_ssize_t n):
    return PyBytes_FromStringAndSize(<const char *>p, n)


cdef uint64_t total(const uint8_t *p, Py_ssize_t n) noexcept:
    """The sum of an even number of octets, as numbers of 16 bits (RFC 1071)."""
    cdef uint64_t found = 0
    cdef Py_ssize_t i
    for i in range(0, n, 2):
        found += <unsigned>word(p + i)
    return found


cdef object verbatim(list found):
    """`Verbatim` of a list, without the tuple in between."""
    made = PyType_GenericAlloc(Verbatim, len(found))
    forget_hash(made)
    cdef Py_ssize_t i
    for i in range(len(found)):
        Py_INCREF(found[i])
        PyTuple_SET_ITEM(made, i, found[i])
    return made


cdef struct Field:
    uint32_t start, end  # its bits of the flag word
    int width  # octets of one value
    bint masked  # not all bits of a value count
    bint label


cdef class Selectors:
    """The fields of one format of traffic selectors."""

    cdef Field fields[FIELDS]
    cdef uint32_t used
    cdef int n

    def __cinit__(self, form):
        self.n, self.used = len(form.fields), form.used
        for i, row in enumerate(form.fields):
            self.fields[i].start, self.fields[i].end, self.fields[i].width = row.start, row.end, calcsize(row.code)
            self.fields[i].masked, self.fields[i].label = row.key is not None, row.name == "flow_label"

    cdef bint usual(self, const uint8_t *p, Py_ssize_t n) noexcept:
        """Whether the octets from the flag word on are a valid selector that would be written in the same way."""
        cdef uint32_t flags
        cdef Py_ssize_t at = 4
        cdef int i
        cdef Field *f
        if n < 4:
            return False
        flags = <uint32_t>word(p) << 16 | <uint32_t>word(p + 2)
        if flags & ~self.used:
            return False
        for i in range(self.n):
            f = &self.fields[i]
            if not flags & f.start:
                if flags & f.end:
                    return False
                continue
            if f.label or at + 2 * f.width > n + (0 if flags & f.end else f.width):
                return False
            if flags & f.end:
                if f.masked or memcmp(p + at, p + at + f.width, f.width) > 0:
                    return False
                at += f.width
            at += f.width
        return at == n


cdef Selectors SELECTORS4 = Selectors(FORMATS[1]), SELECTORS6 = Selectors(FORMATS[2])


cdef class UsualCodec:
    """Reads binding updates and writes acknowledgements of one profile, unless there is anything unusual about them.

    ``leaves`` maps the type of an option to its only valid length, or -1 for any, and its decoder in Python.
    """

    cdef object profile, unpack, pack
    cdef dict leaves
    cdef int flow, reference, selector, pad_n, uncounted
    cdef bint single_reference, priority_in_status

    def __cinit__(self, profile, dict leaves):
        self.profile, self.leaves = profile, leaves
        self.unpack, self.pack = profile.layout.unpack, profile.layout.pack
        self.flow, self.reference = profile.flow_identification, profile.binding_reference
        self.selector = profile.traffic_selector
        self.pad_n = -1 if profile.pad_n is None else profile.pad_n
        self.uncounted = 0 if profile.suboption_length_includes_header else 2
        self.single_reference, self.priority_in_status = profile.single_reference, profile.bid_priority_in_status

    # ---- reading

    def read_update(self, bytes data, bytes home_header, packet_type, PacketSlots to):
        """Return the `MobilityPacket` of a binding update, or None.

        ``home_header`` are the octets that a destination options header with a Home Address option begins with.
        ``packet_type`` is MobilityPacket, and ``to`` is its `PacketSlots`.
        """
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data), start, end, size, head = PyBytes_GET_SIZE(home_header)
        cdef const uint8_t *source = p + 8
        cdef uint64_t sum
        if n < IPV6 or p[0] >> 4 != 6 or IPV6 + word(p + 4) > n:
            return None
        home = None
        start, end = IPV6, IPV6 + word(p + 4)
        if p[6] == DESTINATION:
            if end - start < EXTENSION or memcmp(p + start, PyBytes_AS_STRING(home_header), head):
                return None
            home = part(p + start + head, 16)
            source = p + start + head
            start += EXTENSION
        elif p[6] != MOBILITY:
            return None
        if end - start < 16 or p[start] != NO_NEXT_HEADER or p[start + 2] != UPDATE:
            return None
        size = 8 * p[start + 1] + 8
        if size < 16 or start + size > end:
            return None
        sum = total(source, 16) + total(p + 24, 16) + total(p + start, size) + <uint64_t>size + <uint64_t>MOBILITY
        if sum % 0xFFFF:
            return None
        options = self.read_options(p, start + 12, start + size, data)
        if options is None:
            return None
        message = PyType_GenericAlloc(BindingUpdate, 0)
        put(message, UPDATE_SEQUENCE, word(p + start + 6))
        put(message, UPDATE_FLAGS, word(p + start + 8))
        put(message, UPDATE_LIFETIME, word(p + start + 10))
        put(message, UPDATE_OPTIONS, options)
        put(message, UPDATE_CHECKSUM, word(p + start + 4))
        packet = PyType_GenericAlloc(packet_type, 0)
        put(packet, OCTETS, (part(p + 8, 16), part(p + 24, 16), home, None))
        put(packet, to.message, message)
        put(packet, to.checksum_ok, True)
        put(packet, to.hop_limit, p[7])
        put(packet, to.traffic_class, (word(p) >> 4) & 0xFF)
        put(packet, to.flow_label, (p[1] & 15) << 16 | word(p + 2))
        put(packet, to.extensions, ())
        return packet

    cdef object read_options(self, const uint8_t *p, Py_ssize_t at, Py_ssize_t end, bytes data):
        cdef list found = []
        cdef int kind
        cdef Py_ssize_t start, length
        cdef PyObject *leaf
        while at < end:
            kind = p[at]
            if kind == 0:
                found.append(PAD1)
                at += 1
                continue
            start = at + 2
            if start > end:
                return None
            length = p[at + 1]
            at = start + length
            if at > end:
                return None
            if kind == self.flow:
                made = self.read_flow(p, start, length, data)
            elif kind == BID:
                made = self.read_bid(p + start, length)
            elif kind == PADN:
                made = PyType_GenericAlloc(PadN, 0)
                put(made, PAD_DATA, part(p + start, length))
            else:
                leaf = PyDict_GetItem(self.leaves, kind)
                if leaf == NULL:
                    return None
                expected, decode = <object>leaf
                made = decode(data, start, length) if expected in (length, -1) else None
            if made is None:
                return None
            found.append(made)
        return verbatim(found)

    cdef object read_bid(self, const uint8_t *p, Py_ssize_t length):
        if length not in (4, 8, 20):
            return None
        made = PyType_GenericAlloc(BindingIdentifier, 0)
        put(made, BID_BID, word(p))
        put(made, BID_PRIORITY, p[2] if self.priority_in_status else p[3] & PRIORITY)
        put(made, BID_STATUS, 0 if self.priority_in_status else p[2])
        put(made, BID_HOME, p[3] > PRIORITY)
        if length == 4:
            put(made, BID_CARE_OF, None)
            put(made, OCTETS, None)
        else:
            put(made, OCTETS, part(p + 4, length - 4))
        return made

    cdef object read_flow(self, const uint8_t *p, Py_ssize_t start, Py_ssize_t length, bytes data):
        if length < 6:
            return None
        octets, subs = None, NOTHING
        if length > 6:
            subs = self.read_suboptions(p + start + 6, length - 6)
            if subs is None:
                return None
            octets = (self.profile, part(p + start + 6, length - 6))
        fid, pri, action, status, pro = self.unpack(data, start)
        made = PyType_GenericAlloc(FlowIdentification, 0)
        put(made, FLOW_FID, fid)
        put(made, FLOW_PRI, pri)
        put(made, FLOW_ACTION, action)
        put(made, FLOW_PRO, pro)
        put(made, FLOW_STATUS, status)
        put(made, FLOW_SUBS, subs)
        put(made, FLOW_UNITS, False)
        put(made, OCTETS, octets)
        return made

    cdef object read_suboptions(self, const uint8_t *p, Py_ssize_t n):
        cdef list found = []
        cdef Py_ssize_t at = 0, size
        cdef int kind, references = 0, selectors = 0
        cdef const uint8_t *body
        cdef Selectors form
        while at < n:
            kind = p[at]
            if kind == 0:
                found.append(PAD1)
                at += 1
                continue
            if n - at < 2:
                return None
            size = p[at + 1] + self.uncounted
            if not 2 <= size <= n - at:
                return None
            body = p + at + 2
            at += size
            size -= 2
            if kind == self.reference:
                references += 1
                if size == 0 or size & 1 or (references > 1 and self.single_reference):
                    return None
                made = PyType_GenericAlloc(BindingReference, 0)
                put(made, REFERENCE_BIDS, numbers(body, size >> 1))
            elif kind == self.selector:
                selectors += 1
                if selectors > 1 or size < 2 or body[1] or not 1 <= body[0] <= 2:
                    return None
                form = SELECTORS4 if body[0] == 1 else SELECTORS6
                if not form.usual(body + 2, size - 2):
                    return None
                made = PyType_GenericAlloc(TrafficSelectorOption, 0)
                put(made, OCTETS, part(body, size))
            elif kind == self.pad_n:
                made = PyType_GenericAlloc(PadN, 0)
                put(made, PAD_DATA, part(body, size))
            else:
                return None
            found.append(made)
        return verbatim(found)

    # ---- writing

    def write_acknowledgement(self, tuple addresses, message, int hop_limit, bytes routing_header):
        """Return the whole packet of a `BindingAcknowledgement`, or None.

        ``addresses`` are source, destination, home address and routing home, packed. ``routing_header`` are the octets
        of a type 2 routing header between its first octet and its address.
        """
        cdef uint8_t out[ROOM]
        cdef Py_ssize_t at = IPV6, start, end
        cdef long status, flags, sequence, lifetime
        cdef bytes source, destination, routing
        source, destination, home, routing = addresses
        if type(message) is not BindingAcknowledgement or len(source) != 16 or len(destination) != 16:
            return None
        if home is not None or (routing is not None and len(routing) != 16):
            return None
        options = get(message, ACK_OPTIONS)
        status, flags = number(message, ACK_STATUS, 0xFF), number(message, ACK_FLAGS, 0xFF)
        sequence, lifetime = number(message, ACK_SEQUENCE, 0xFFFF), number(message, ACK_LIFETIME, 0xFFFF)
        if type(options) is not tuple or status < 0 or flags < 0 or sequence < 0 or lifetime < 0:
            return None
        memset(out, 0, IPV6)
        out[0], out[6], out[7] = 6 << 4, MOBILITY, <uint8_t>hop_limit
        memcpy(out + 8, PyBytes_AS_STRING(source), 16)
        memcpy(out + 24, PyBytes_AS_STRING(destination), 16)
        if routing is not None:
            out[6], out[at] = ROUTING, MOBILITY
            memcpy(out + at + 1, PyBytes_AS_STRING(routing_header), 7)
            memcpy(out + at + 8, PyBytes_AS_STRING(routing), 16)
            at += EXTENSION
        start = at
        memset(out + start, 0, 12)
        out[start], out[start + 2] = NO_NEXT_HEADER, ACKNOWLEDGEMENT
        out[start + 6], out[start + 7] = <uint8_t>status, <uint8_t>flags
        put_word(out + start + 8, sequence)
        put_word(out + start + 10, lifetime)
        end = self.write_options(options, out + start, 12)
        if end < 0:
            return None
        out[start + 1] = <uint8_t>(end // 8 - 1)
        cdef uint64_t sum = total(out + 8, 16) + total(out + (start - 16 if routing is not None else 24), 16)
        sum += total(out + start, end) + <uint64_t>end + <uint64_t>MOBILITY
        put_word(out + start + 4, (0xFFFF - sum % 0xFFFF) % 0xFFFF)
        put_word(out + 4, start + end - IPV6)
        return part(out, start + end)

    cdef Py_ssize_t write_options(self, tuple options, uint8_t *out, Py_ssize_t at) except -2:
        """Write options from octet ``at`` of the message on, aligned; return where they end, or -1."""
        cdef long bid, status, priority
        cdef Py_ssize_t length
        for option in options:
            kind = type(option)
            # for the option, and what may stand before it and at the end
            if at + 2 + 255 + 2 * 8 > ROOM - IPV6 - EXTENSION:
                return -1
            if at & 1:
                out[at] = 0
                at += 1
            if kind is FlowIdentification:
                if get(option, FLOW_UNITS) is not False:
                    return -1
                try:
                    fixed = self.pack(
                        get(option, FLOW_FID), get(option, FLOW_PRI), get(option, FLOW_ACTION),
                        get(option, FLOW_STATUS), get(option, FLOW_PRO),
                    )
                except Exception:  # the codec in Python will find the same, and say what it is
                    return -1
                subs, octets = get(option, FLOW_SUBS), get(option, OCTETS)
                if type(subs) is Verbatim and type(octets) is tuple and octets[0] is self.profile:
                    fixed += octets[1]
                elif subs != ():
                    return -1
                length = PyBytes_GET_SIZE(fixed)
                if length > 255:
                    return -1
                out[at], out[at + 1] = <uint8_t>self.flow, <uint8_t>length
                memcpy(out + at + 2, PyBytes_AS_STRING(fixed), length)
                at += 2 + length
            elif kind is BindingIdentifier:
                bid, status = number(option, BID_BID, 0xFFFF), number(option, BID_STATUS, 0xFF)
                priority = number(option, BID_PRIORITY, PRIORITY)
                home = get(option, BID_HOME)
                if bid < 0 or status < 0 or priority < 0 or type(home) is not bool:
                    return -1
                if get(option, OCTETS) is not None or get(option, BID_CARE_OF) is not None:
                    return -1
                out[at], out[at + 1], out[at + 4] = <uint8_t>BID, 4, <uint8_t>status
                put_word(out + at + 2, bid)
                out[at + 5] = <uint8_t>(priority | (0x80 if home else 0))
                at += 6
            else:
                return -1
        if at & 7:
            length = 8 - (at & 7)
            memset(out + at, 0, length)
            if length > 1:
                out[at], out[at + 1] = <uint8_t>PADN, <uint8_t>(length - 2)
            at += length
        return at


cdef class PacketSlots:
    """Where a `MobilityPacket` has what a reader fills in."""

    cdef Py_ssize_t message, checksum_ok, hop_limit, traffic_class, flow_label, extensions

    def __cinit__(self, packet_type):
        self.message, self.checksum_ok = slot(packet_type, "message"), slot(packet_type, "checksum_ok")
        self.hop_limit, self.traffic_class = slot(packet_type, "hop_limit"), slot(packet_type, "traffic_class")
        self.flow_label, self.extensions = slot(packet_type, "flow_label"), slot(packet_type, "extensions")


def acknowledgement(status, sequence, lifetime, flags, options):
    """Return a `BindingAcknowledgement` without the checks of its constructor (2 us), for values that are known to fit."""
    made = PyType_GenericAlloc(BindingAcknowledgement, 0)
    put(made, ACK_STATUS, status)
    put(made, ACK_SEQUENCE, sequence)
    put(made, ACK_LIFETIME, lifetime)
    put(made, ACK_FLAGS, flags)
    put(made, ACK_OPTIONS, options)
    put(made, ACK_CHECKSUM, 0)
    return made


def flow_answer(option, status, bint whole):
    """Return what `FlowIdentification.answer` returns, without the checks of a constructor, for a status that fits."""
    made = PyType_GenericAlloc(FlowIdentification, 0)
    cdef Py_ssize_t at
    for at in (FLOW_FID, FLOW_PRI, FLOW_ACTION, FLOW_PRO):
        put(made, at, get(option, at))
    put(made, FLOW_STATUS, status)
    put(made, FLOW_SUBS, get(option, FLOW_SUBS) if whole else ())
    put(made, FLOW_UNITS, False)
    put(made, OCTETS, get(option, OCTETS) if whole else None)
    return made


def selector_octets(option):
    """Return `TrafficSelectorOption.octets`, without a call of Python where they came from the wire."""
    octets = get(option, OCTETS)
    return option.octets if octets is None else octets


cdef tuple numbers(const uint8_t *p, Py_ssize_t n):
    """``n`` numbers of 16 bits."""
    if n == 1:
        return (word(p),)
    return tuple([word(p + 2 * i) for i in range(n)])
