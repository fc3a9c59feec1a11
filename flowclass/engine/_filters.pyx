# cython: language_level=3, boundscheck=False, wraparound=False
"""ClassBench filter sets in C: lines as they usually are, at 0.1 us each.

`usual_filters` gives up on a file with any other line; classbench.py then reads the file line by line, and knows what to
say about a line that is no filter.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memset

import numpy as np

from flowclass.engine._flowclass cimport *

from flowclass.engine.fields import LARGEST
from flowclass.engine.keys import RULE_DTYPE

__all__ = ["usual_filters"]

cdef long PORTS = LARGEST["source_port"], PROTOCOLS = LARGEST["protocol"]

cdef struct Text:
    const char *at
    const char *end


cdef inline bint blank(char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef inline bint digit(char c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef inline int hex_of(char c) noexcept nogil:
    if digit(c):
        return c - c"0"
    c |= 32
    return c - c"a" + 10 if c"a" <= c <= c"f" else -1


cdef long decimal(Text *t, int most) noexcept nogil:
    """The number of at most ``most`` decimal digits that the text begins with, or -1."""
    cdef long found = 0
    cdef int n = 0
    while t.at < t.end and n <= most and digit(t.at[0]):
        found = 10 * found + t.at[0] - c"0"
        t.at += 1
        n += 1
    return found if 0 < n <= most else -1


cdef long octet(Text *t) noexcept nogil:
    """A number of 8 bits, hexadecimal behind 0x or decimal without leading zeros, or -1."""
    cdef long found = 0
    cdef int n = 0
    if t.end - t.at > 2 and t.at[0] == c"0" and t.at[1] == c"x":
        t.at += 2
        while t.at < t.end and n < 3 and hex_of(t.at[0]) >= 0:
            found = 16 * found + hex_of(t.at[0])
            t.at += 1
            n += 1
        return found if 0 < n <= 2 else -1
    if t.end - t.at > 1 and t.at[0] == c"0" and digit(t.at[1]):
        return -1
    return decimal(t, 3)


cdef inline bint skip(Text *t, char c) noexcept nogil:
    if t.at < t.end and t.at[0] == c:
        t.at += 1
        return True
    return False


cdef inline bint gap(Text *t) noexcept nogil:
    """Skip blanks, of which there is at least one."""
    if t.at >= t.end or not blank(t.at[0]):
        return False
    while t.at < t.end and blank(t.at[0]):
        t.at += 1
    return True


cdef bint address4(Text *t, uint64_t *words) noexcept nogil:
    cdef long part
    cdef int i
    words[0] = words[1] = 0
    for i in range(4):
        if i and not skip(t, c"."):
            return False
        part = decimal(t, 3)
        if not 0 <= part <= 255:
            return False
        words[1] = words[1] << 8 | <uint64_t>part
    return True


cdef bint address6(Text *t, uint64_t *words) noexcept nogil:
    """An IPv6 address in hexadecimal, with at most one ``::``."""
    cdef uint64_t groups[8]
    cdef int n = 0, zeros = -1, digits, i, j
    cdef uint64_t group
    memset(groups, 0, sizeof(groups))
    if t.end - t.at >= 2 and t.at[0] == c":" and t.at[1] == c":":
        t.at += 2
        zeros = 0
    while n < 8 and t.at < t.end and hex_of(t.at[0]) >= 0:
        group, digits = 0, 0
        while t.at < t.end and hex_of(t.at[0]) >= 0:
            group = group << 4 | <uint64_t>hex_of(t.at[0])
            t.at += 1
            digits += 1
            if digits > 4:
                return False
        groups[n] = group
        n += 1
        if t.at >= t.end or t.at[0] != c":":
            break
        t.at += 1
        if t.at < t.end and t.at[0] == c":":
            if zeros >= 0:
                return False
            t.at += 1
            zeros = n
        elif n == 8 or t.at >= t.end or hex_of(t.at[0]) < 0:
            return False
    if n == 8 if zeros >= 0 else n != 8:
        return False
    if zeros >= 0:
        for i in range(n - zeros):
            j = n - 1 - i
            groups[7 - i] = groups[j]
            if j != 7 - i:
                groups[j] = 0
    words[0] = groups[0] << 48 | groups[1] << 32 | groups[2] << 16 | groups[3]
    words[1] = groups[4] << 48 | groups[5] << 32 | groups[6] << 16 | groups[7]
    return True


cdef bint prefix(Text *t, int version, uint64_t *first, uint64_t *last, bint *condition) noexcept nogil:
    cdef uint64_t span[2]
    cdef int bits = 32 if version == 4 else 128, host, i
    cdef long length
    if not (address4(t, first) if version == 4 else address6(t, first)) or not skip(t, c"/"):
        return False
    length = decimal(t, 3)
    if not 0 <= length <= bits:
        return False
    host = bits - <int>length
    span[1] = ~<uint64_t>0 if host >= 64 else (<uint64_t>1 << host) - 1
    span[0] = 0 if host <= 64 else ~<uint64_t>0 if host == 128 else (<uint64_t>1 << (host - 64)) - 1
    for i in range(2):
        first[i] &= ~span[i]
        last[i] = first[i] | span[i]
    condition[0] = length != 0
    return True


cdef bint ports(Text *t, uint16_t *first, uint16_t *last, bint *condition) noexcept nogil:
    cdef long low = decimal(t, 5), high
    while t.at < t.end and blank(t.at[0]):
        t.at += 1
    if low < 0 or not skip(t, c":"):
        return False
    while t.at < t.end and blank(t.at[0]):
        t.at += 1
    high = decimal(t, 5)
    if high < low or high > PORTS:
        return False
    first[0], last[0] = <uint16_t>low, <uint16_t>high
    condition[0] = low != 0 or high != PORTS
    return True


cdef bint filter_of(Text *t, fc_rule *rule) noexcept nogil:
    """Read one line; False if there is anything unusual about it."""
    cdef bint source, destination, from_, to
    cdef const char *c
    cdef long protocol, mask
    memset(rule, 0, sizeof(fc_rule))
    if not skip(t, c"@"):
        return False
    rule.version = 4
    c = t.at
    while c < t.end and c[0] != c"/":
        if c[0] == c":":
            rule.version = 6
        c += 1
    if not prefix(t, rule.version, rule.source_first, rule.source_last, &source) or not gap(t):
        return False
    if not prefix(t, rule.version, rule.destination_first, rule.destination_last, &destination) or not gap(t):
        return False
    if not ports(t, &rule.source_port_first, &rule.source_port_last, &from_) or not gap(t):
        return False
    if not ports(t, &rule.destination_port_first, &rule.destination_port_last, &to) or not gap(t):
        return False
    protocol = octet(t)
    if protocol < 0 or not skip(t, c"/"):
        return False
    mask = octet(t)
    if protocol > PROTOCOLS or mask not in (0, 0xFF) or (t.at < t.end and not blank(t.at[0])):
        return False
    rule.protocol_first = <uint8_t>protocol if mask else 0
    rule.protocol_last = <uint8_t>protocol if mask else <uint8_t>PROTOCOLS
    rule.conditions = <uint8_t>((FC_SOURCE if source else 0) | (FC_DESTINATION if destination else 0)
                                | (FC_SOURCE_PORT if from_ else 0) | (FC_DESTINATION_PORT if to else 0)
                                | (FC_PROTOCOL if mask else 0))
    while t.at < t.end:  # the flags column, and whatever else
        if t.at[0] < c" " and t.at[0] != c"\t" or t.at[0] > c"~":
            return False
        t.at += 1
    return True


def usual_filters(bytes data):
    """Return the rules of a file as an array of `RULE_DTYPE`, or None if a line has another form than the usual one.

    Usual are lines that end with a line feed, with or without a carriage return, of ASCII characters: filters whose
    addresses are text, of either IP version, empty lines, and comments.
    """
    cdef const char *p = PyBytes_AS_STRING(data)
    cdef const char *end = p + PyBytes_GET_SIZE(data)
    cdef const char *after
    cdef Text t
    cdef size_t n = 0
    rules = np.empty(data.count(b"\n") + 1, RULE_DTYPE)
    cdef uint8_t[::1] view = rules.view(np.uint8)
    cdef fc_rule *rule = <fc_rule *>&view[0]
    cdef bint usual = True
    with nogil:
        while p < end and usual:
            after = p
            while after < end and after[0] != c"\n":
                after += 1
            t.at, t.end = p, after
            p = after + 1
            if t.end > t.at and t.end[-1] == c"\r":
                t.end -= 1
            while t.at < t.end and blank(t.at[0]):
                t.at += 1
            if t.at == t.end:
                continue
            if t.at[0] == c"#":
                while t.at < t.end and usual:
                    usual = (t.at[0] >= c" " or t.at[0] == c"\t") and t.at[0] <= c"~"
                    t.at += 1
                continue
            usual = filter_of(&t, &rule[n])
            n += 1
    return rules[:n].copy() if usual else None
