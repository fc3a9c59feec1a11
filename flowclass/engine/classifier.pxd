# cython: language_level=3
"""The flat classifier, for other Cython modules: no header and no linking needed (the pointer is opaque)."""

from libc.stdint cimport int32_t


cdef int select_kernel(object name) except -2


cdef class Classifier:  # how it may change: forwarding.pxd
    cdef void *ptr
    cdef void *appended[1]

    # n keys of KEY_DTYPE -> n numbers, with no Python object touched; 0, or a negative enum fc_status
    cdef int lookup(self, const void *keys, size_t n, int32_t *out, int kernel) noexcept nogil
