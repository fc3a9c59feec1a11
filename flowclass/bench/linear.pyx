# cython: language_level=3, embedsignature=True
"""Linear search with the definition of a match: the yardstick that answers are checked against, and the simplest peer.

The loop is here and not in the C library because nobody should use it for anything else.
"""

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t

from flowclass.engine._flowclass cimport fc_key, fc_rule, fc_rule_matches

from flowclass.engine.keys import KEY_DTYPE, RULE_DTYPE
from flowclass.errors import ClassifierError

__all__ = ["first_match"]


cdef void search(const fc_rule *rules, Py_ssize_t n_rules, const fc_key *keys, Py_ssize_t n, int32_t *out) noexcept nogil:
    cdef Py_ssize_t i, r
    for i in range(n):
        out[i] = -1
        for r in range(n_rules):
            if fc_rule_matches(rules + r, keys + i):
                out[i] = <int32_t>r
                break


def first_match(rules, keys):
    """For each key the index of the first rule that matches, or -1, found by trying one rule after the other: int32.

    Raises ClassifierError unless ``rules`` and ``keys`` are one-dimensional arrays of RULE_DTYPE and KEY_DTYPE.
    """
    cdef Py_buffer a, b, c
    cdef Py_ssize_t n_rules, n
    for array, dtype, name in ((rules, RULE_DTYPE, "RULE_DTYPE"), (keys, KEY_DTYPE, "KEY_DTYPE")):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise ClassifierError(f"a one-dimensional array of {name} expected")
    rows = np.ascontiguousarray(rules).view(np.uint8)
    wanted = np.ascontiguousarray(keys).view(np.uint8)
    out = np.empty(len(keys), np.int32)
    n_rules, n = len(rules), len(keys)
    PyObject_GetBuffer(rows, &a, PyBUF_C_CONTIGUOUS)
    PyObject_GetBuffer(wanted, &b, PyBUF_C_CONTIGUOUS)
    PyObject_GetBuffer(out, &c, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    with nogil:
        search(<const fc_rule *>a.buf, n_rules, <const fc_key *>b.buf, n, <int32_t *>c.buf)
    PyBuffer_Release(&c)
    PyBuffer_Release(&b)
    PyBuffer_Release(&a)
    return out
