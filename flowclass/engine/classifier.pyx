# cython: language_level=3, embedsignature=True
"""The flat classifier: one rule set of any size, looked up in batches."""

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from flowclass.engine.keys import KEY_DTYPE, RULE_DTYPE
from flowclass.errors import ClassifierError

__all__ = ["Classifier", "kernels"]


def kernels():
    """The kernels of this build by name, and whether this CPU can run them: ``{"scalar": True, "avx2": ...}``."""
    return {
        fc_kernel_name(k).decode(): fc_kernel_check(k) == FC_OK
        for k in range(FC_KERNEL_COUNT)
        if fc_kernel_check(k) != FC_ENOTBUILT
    }


cdef int select_kernel(object name) except -2:
    """The kernel of this name ("auto" too); ClassifierError when it is unknown, not built or can't run here."""
    cdef int kernel = FC_KERNEL_AUTO, status
    if name == "auto":
        return FC_KERNEL_AUTO
    if not isinstance(name, str):
        raise ClassifierError(f"kernel: a name expected, got {name!r}")
    text = name.encode()
    status = fc_kernel_select(text, &kernel)
    if status == FC_OK:
        return kernel
    names = ", ".join(kernels())
    if status == FC_ENOKERNEL:
        raise ClassifierError(f"no kernel named {name!r}: auto, {names} expected")
    if status == FC_ENOTBUILT:
        raise ClassifierError(f"kernel {name!r} is not part of this build (it has {names})")
    raise ClassifierError(f"this CPU can't run kernel {name!r}")


def as_rules(rules):
    """``rules`` as a contiguous array of RULE_DTYPE, copied only if it must be."""
    if not isinstance(rules, np.ndarray) or rules.dtype != RULE_DTYPE or rules.ndim != 1:
        raise ClassifierError("rules: a one-dimensional array of RULE_DTYPE expected (see make_rules, read_classbench)")
    return np.ascontiguousarray(rules)


def as_keys(keys):
    """``keys`` as a contiguous array of KEY_DTYPE, copied only if it must be."""
    if not isinstance(keys, np.ndarray) or keys.dtype != KEY_DTYPE or keys.ndim != 1:
        raise ClassifierError("keys: a one-dimensional array of KEY_DTYPE expected (see make_keys)")
    return np.ascontiguousarray(keys)


cdef class Classifier:
    """A rule set, built for look-ups.

    ``rules`` is an array of RULE_DTYPE whose order is the priority order, first wins; it is copied. Look-ups may run
    in any number of threads.

    Raises ClassifierError for a rule that is none (a first above its last, an unknown version, ...).
    """

    cdef fc_table *table

    def __cinit__(self, rules):
        cdef Py_buffer view
        cdef uint32_t n, bad = 0
        cdef int status
        cdef const fc_rule *rows
        rules = as_rules(rules)
        if len(rules) > 0xffffffff:
            raise ClassifierError("too many rules")
        n = len(rules)
        PyObject_GetBuffer(rules.view(np.uint8), &view, PyBUF_C_CONTIGUOUS)
        rows = <const fc_rule *>view.buf
        with nogil:
            status = fc_table_build(rows, n, NULL, &self.table, &bad)
        PyBuffer_Release(&view)
        if status == FC_EINVAL:
            raise ClassifierError(f"rule {bad}: a first above its last, a value out of range, or an unknown version")
        if status == FC_ELIMIT:
            raise ClassifierError(f"{n} rules exceed a bound of the table format")
        if status != FC_OK:
            raise MemoryError

    def __dealloc__(self):
        fc_table_free(self.table)

    def __len__(self):
        return self.info["rules"]

    @property
    def info(self):
        """What the build made, as a dict: rules, trees (per IP version), depth, largest_leaf (rules), nodes, slots, leaf_rules
        (copies of rules in leaves) and bytes (all memory that the table holds)."""
        cdef fc_table_info info
        fc_table_get_info(self.table, &info)
        return {
            "rules": info.rules, "trees": (info.trees[0], info.trees[1]), "depth": info.depth,
            "largest_leaf": info.largest_leaf, "nodes": info.nodes, "slots": info.slots,
            "leaf_rules": info.leaf_rules, "bytes": info.bytes,
        }

    def classify(self, keys, out=None, *, kernel="auto"):
        """For each key the index of the first rule that matches, or -1: an int32 array of the keys' length.

        ``keys`` is an array of KEY_DTYPE. ``out``, when given, is a contiguous int32 array of that length, which is
        filled and returned. A named ``kernel`` runs or fails. The GIL is released.
        """
        cdef int which = select_kernel(kernel), status
        cdef Py_buffer from_, to
        cdef const fc_key *rows
        cdef int32_t *hits
        cdef size_t n
        keys = as_keys(keys)
        n = len(keys)
        if out is None:
            out = np.empty(n, np.int32)
        elif not isinstance(out, np.ndarray) or out.dtype != np.int32 or out.shape != (n,):
            raise ClassifierError(f"out: an int32 array of length {n} expected")
        PyObject_GetBuffer(out, &to, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            PyObject_GetBuffer(keys.view(np.uint8), &from_, PyBUF_C_CONTIGUOUS)
        except BaseException:
            PyBuffer_Release(&to)
            raise
        rows = <const fc_key *>from_.buf
        hits = <int32_t *>to.buf
        with nogil:
            status = fc_table_lookup(self.table, rows, n, hits, which)
        PyBuffer_Release(&from_)
        PyBuffer_Release(&to)
        if status != FC_OK:
            raise ClassifierError(f"look-up failed: status {status}")
        return out
