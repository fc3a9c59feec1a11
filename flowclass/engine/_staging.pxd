# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowclass.engine._flowclass cimport fc_address, fc_fib, fc_flow, fc_node, fc_target


cdef int check(int status, what) except -1
cdef int check_node(fc_fib *fib, const fc_node *node, what) except -1
cdef int check_publish(int status, fc_fib *fib, const fc_node *node, what) except -1
cdef void set_address(const uint8_t *octets, Py_ssize_t size, fc_address *out) noexcept nogil
cdef int get_octets(name, octets, Py_buffer *view) except -1
cdef int take_integer(name, value, int high) except -1
cdef int take_address(object address, fc_address *out, name=*) except -1
cdef bytes packed(const fc_address *a)


cdef class Staging:
    cdef fc_node node
    cdef char *memory

    cdef int fill(self, home, tuple also, tuple prefixes, tuple targets, default, tuple flows) except -1
    cdef int take_target(self, target, fc_target *out) except -1
    cdef int take_flow(self, tuple flow, fc_flow *out, Py_ssize_t first) except -1


cdef class Gathered:
    cdef const uint8_t *data
    cdef const uint64_t *offsets
    cdef const uint32_t *lengths
    cdef size_t n
    cdef uint64_t *memory
    cdef tuple kept

    cdef bint fill(self, packets) except -1
    cdef bint fill_any(self, tuple packets) except -1
