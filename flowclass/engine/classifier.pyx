# cython: language_level=3, embedsignature=True
"""The flat classifier: one rule set of any size, looked up in batches."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport strcpy

from flowclass.engine._flowclass cimport *

from flowclass.engine.arguments import as_keys, as_rules, integer
from flowclass.errors import ArgumentError, ClassifierError
from flowclass.late import Late

__all__ = ["Classifier", "kernels"]

np = Late("numpy")
threads_of = Late("flowclass.engine._threads")


def kernels():
    """The kernels of this build by name, and whether this CPU can run them: ``{"scalar": True, "avx2": ...}``."""
    return {
        fc_kernel_name(k).decode(): fc_kernel_check(k) == FC_OK
        for k in range(FC_KERNEL_COUNT)
        if fc_kernel_check(k) != FC_ENOTBUILT
    }


cdef int select_kernel(object name) except -2:
    """The number of the kernel of this name, or of "auto". Raises ClassifierError when it is unknown, not built or
    can't run here."""
    cdef int kernel = FC_KERNEL_AUTO, status
    if not isinstance(name, str):
        raise ArgumentError("kernel", "a name", name)
    if name == "auto":
        return FC_KERNEL_AUTO
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


def parts_of(n, threads, least=16384):
    """Divides ``n`` items among up to ``threads`` threads, at least ``least`` for each: [(begin, end), ...]."""
    count = max(1, min(threads, n // least))
    ends = [n * i // count for i in range(count + 1)]
    return list(zip(ends[:-1], ends[1:]))


def _priorities(priorities, n):
    values = np.ascontiguousarray(np.broadcast_to(np.asarray(priorities, dtype=np.float64), (n,)))
    return values


cdef class Classifier:
    """A rule set of any size, from one rule to millions, that may change while it is read.

    ``rules`` is an array of RULE_DTYPE; it is copied. Its order is the order of priority: of the rules that match, the
    first decides. Rule i has the id i and the priority i.

    Any number of threads may classify, insert and remove at once. Readers take no lock: each answer is that of a state
    that existed during the call, with every insertion or removal of a rule seen whole or not at all. The GIL is
    released in every method that looks up, builds or changes.

    Raises ClassifierError for a bad rule, with the field that is wrong.
    """

    def __cinit__(self, rules):
        cdef Py_buffer view
        cdef uint32_t n, bad = 0
        cdef int status
        cdef const fc_rule *rows
        cdef char text[160]
        rules = as_rules(rules)
        if len(rules) > 0xffffffff:
            raise ClassifierError("too many rules")
        n = len(rules)
        PyObject_GetBuffer(rules.view(np.uint8), &view, PyBUF_C_CONTIGUOUS)
        rows = <const fc_rule *>view.buf
        with nogil:
            status = fc_classifier_new(rows, n, NULL, <fc_classifier **>&self.ptr, &bad)
        if status == FC_EINVAL:
            fc_rule_check(rows + bad, text, sizeof(text))
        PyBuffer_Release(&view)
        if status == FC_EINVAL:
            raise ClassifierError(f"rule {bad}: {text.decode()}")
        if status == FC_ELIMIT:
            raise ClassifierError(f"{n} rules exceed a bound of the table format")
        if status != FC_OK:
            raise MemoryError

    def __dealloc__(self):
        fc_classifier_free(<fc_classifier *>self.ptr)

    def __repr__(self):
        info = self.info
        return f"<Classifier: rules={info['rules']}, bytes={info['bytes']}>"

    def __len__(self):
        return self.info["rules"]

    @property
    def info(self):
        """Counts, as a dict. ``rules`` is how many there are now. Of the last build: ``trees`` (per IP version),
        ``depth``, ``largest_leaf`` (its rules), ``nodes``, ``slots``, and ``leaf_rules`` (copies of rules in leaves).
        ``steps`` (per IP version) is how many look-ups a key takes in the cross-product tables that a small set has
        beside its trees, 1 where it has bit vectors in their place, 0 where it has neither. ``rebuilds`` counts from
        the first update on, and ``bytes`` is all memory in use."""
        cdef fc_table_info info
        with nogil:
            fc_classifier_get_info(<fc_classifier *>self.ptr, &info)
        return {
            "rules": info.rules, "trees": (info.trees[0], info.trees[1]), "depth": info.depth,
            "largest_leaf": info.largest_leaf, "nodes": info.nodes, "slots": info.slots,
            "leaf_rules": info.leaf_rules, "steps": (info.steps[0], info.steps[1]), "rebuilds": info.rebuilds,
            "bytes": info.bytes,
        }

    cdef int lookup(self, const void *keys, size_t n, int32_t *out, int kernel) noexcept nogil:
        return fc_classifier_lookup(<fc_classifier *>self.ptr, <const fc_key *>keys, n, out, kernel)

    def classify(self, keys, out=None, kernel="auto", *, threads=1):
        """For each key the id of the first rule that matches, or -1: an int32 array of the keys' length.

        ``keys`` is an array of KEY_DTYPE. ``out``, when given, is a contiguous, writable int32 array of that length,
        which is filled and returned. A named ``kernel`` runs or fails. ``threads`` shares a batch between so many
        threads, where each gets at least 16,384 keys: below that, starting them costs more than they save.
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
        elif not (out.flags.c_contiguous and out.flags.writeable):
            raise ClassifierError("out: a contiguous array that can be written to expected")
        threads = integer("threads", threads, 1, 1024)
        if threads != 1:
            parts = parts_of(n, threads)
            if len(parts) > 1:
                threads_of.run_parts(lambda a, b: self.classify(keys[a:b], out[a:b], kernel=kernel), parts)
                return out
        PyObject_GetBuffer(out, &to, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            PyObject_GetBuffer(keys.view(np.uint8), &from_, PyBUF_C_CONTIGUOUS)
        except BaseException:
            PyBuffer_Release(&to)
            raise
        rows = <const fc_key *>from_.buf
        hits = <int32_t *>to.buf
        with nogil:
            status = fc_classifier_lookup(<fc_classifier *>self.ptr, rows, n, hits, which)
        PyBuffer_Release(&from_)
        PyBuffer_Release(&to)
        if status != FC_OK:
            raise ClassifierError(f"look-up failed: status {status}")
        return out

    def insert(self, rules, priorities):
        """Inserts rules, one after the other, and returns their ids: a uint32 array.

        ``rules`` is an array of RULE_DTYPE. ``priorities`` has a number for each rule, or is one number for all; the
        rule with the lowest one comes first. The rules that the classifier was made of have 0, 1, 2 ..., so 0.5 is
        between the first two and -1 before all. Of equal priorities the lower id comes first. Ids of removed rules are
        given again.

        The call itself builds the classifier anew only at the very first update, for the first rule with a condition on
        a field that no rule had, and when there is no room left for new leaves. That takes about as long as making the
        classifier did; readers go on meanwhile.

        Raises ClassifierError, with nothing inserted, for a bad rule or a priority that is not a number.
        """
        cdef Py_buffer view, weights, numbers
        cdef uint32_t n, done = 0
        cdef int status
        cdef char text[160]
        rules = as_rules(rules)
        n = len(rules)
        try:
            priorities = _priorities(priorities, n)
        except (TypeError, ValueError):
            raise ClassifierError(f"priorities: a number, or one for each of the {n} rules expected") from None
        ids = np.empty(n, np.uint32)
        PyObject_GetBuffer(rules.view(np.uint8), &view, PyBUF_C_CONTIGUOUS)
        PyObject_GetBuffer(priorities, &weights, PyBUF_C_CONTIGUOUS)
        PyObject_GetBuffer(ids, &numbers, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        with nogil:
            status = fc_classifier_insert(<fc_classifier *>self.ptr, <const fc_rule *>view.buf, <const double *>weights.buf, n,
                                          <uint32_t *>numbers.buf, &done)
        if status == FC_EINVAL and fc_rule_check(<const fc_rule *>view.buf + done, text, sizeof(text)) == FC_OK:
            strcpy(text, "its priority is not a number")
        PyBuffer_Release(&view)
        PyBuffer_Release(&weights)
        PyBuffer_Release(&numbers)
        if status == FC_EINVAL:
            raise ClassifierError(f"rule {done}: {text.decode()}; nothing was inserted")
        if status == FC_ELIMIT:
            raise ClassifierError(f"the bound on the number of rules is reached; the first {done} of {n} were inserted")
        if status != FC_OK:
            raise MemoryError(f"no memory; the first {done} of {n} rules were inserted")
        return ids

    def remove(self, ids):
        """Removes the rules with these ids (an integer or a sequence), one after the other.

        Raises ClassifierError for an id that no rule has; those before it in ``ids`` are removed.
        """
        cdef Py_buffer numbers
        cdef uint32_t n, done = 0
        cdef int status
        try:
            wanted = np.atleast_1d(np.asarray(ids))
        except ValueError:  # sequences of unequal lengths
            raise ClassifierError("ids: integers expected") from None
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and len(wanted)):
            raise ClassifierError("ids: integers expected")
        if len(wanted) and (int(wanted.min()) < 0 or int(wanted.max()) > 0xffffffff):
            raise ClassifierError("ids: a value is outside 0..4294967295")
        wanted = np.ascontiguousarray(wanted, dtype=np.uint32)
        n = len(wanted)
        PyObject_GetBuffer(wanted, &numbers, PyBUF_C_CONTIGUOUS)
        with nogil:
            status = fc_classifier_remove(<fc_classifier *>self.ptr, <const uint32_t *>numbers.buf, n, &done)
        PyBuffer_Release(&numbers)
        if status == FC_ENOENT:
            raise ClassifierError(f"no rule has the id {int(wanted[done])}; the first {done} of {n} were removed")
        if status != FC_OK:
            raise MemoryError(f"no memory; the first {done} of {n} rules were removed")

    def rebuild(self):
        """Builds the classifier anew now, while readers go on. Otherwise that is done in the background, when updates
        have made look-ups slower."""
        cdef int status
        with nogil:
            status = fc_classifier_rebuild(<fc_classifier *>self.ptr)
        if status != FC_OK:
            raise MemoryError
