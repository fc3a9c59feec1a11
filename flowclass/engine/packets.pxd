# cython: language_level=3
"""First fragments, for other Cython modules: no header and no linking needed (the pointer is opaque)."""


cdef class Fragments:  # how it may change: forwarding.pxd
    cdef void *ptr  # fc_fragments; one caller at a time
    cdef object lock
