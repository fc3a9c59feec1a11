# The C interface of the flat classifier, and what other Cython code may cimport.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef extern from "flowclass.h" nogil:
    enum:
        FC_OK
        FC_ENOMEM
        FC_EINVAL
        FC_ELIMIT
        FC_ENOKERNEL
        FC_ENOTBUILT
        FC_ENOCPU
        FC_KERNEL_AUTO
        FC_KERNEL_COUNT
    ctypedef struct fc_key:
        pass
    ctypedef struct fc_rule:
        pass
    ctypedef struct fc_table:
        pass
    ctypedef struct fc_build_options:
        uint32_t leaf
        uint32_t slots
        uint32_t copies
        uint8_t keep_covered
    ctypedef struct fc_table_info:
        uint32_t rules
        uint32_t trees[2]
        uint32_t depth
        uint32_t largest_leaf
        uint32_t nodes
        uint64_t slots
        uint64_t leaf_rules
        uint64_t bytes
    int fc_table_build(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_table **table, uint32_t *bad)
    void fc_table_free(fc_table *table)
    int fc_table_lookup(const fc_table *table, const fc_key *keys, size_t n, int32_t *out, int kernel)
    void fc_table_get_info(const fc_table *table, fc_table_info *info)
    const char *fc_kernel_name(int kernel)
    int fc_kernel_check(int kernel)
    int fc_kernel_select(const char *name, int *kernel)


cdef int select_kernel(object name) except -2
