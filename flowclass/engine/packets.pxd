# cython: language_level=3
"""Packets to keys: what this package's other modules take."""

from flowclass.engine._flowclass cimport fc_fragments


cdef class Fragments:
    cdef fc_fragments *ptr
    cdef object lock
