# cython: language_level=3
"""What classifier.pyx takes from flowclass.h."""

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
        FC_ENOENT
        FC_KERNEL_AUTO
        FC_KERNEL_COUNT
    ctypedef struct fc_key:
        pass
    ctypedef struct fc_rule:
        pass
    ctypedef struct fc_classifier:
        pass
    ctypedef struct fc_build_options:
        uint32_t leaf
        uint32_t slots
        uint32_t copies
        uint32_t vector
        uint8_t keep_covered
    ctypedef struct fc_table_info:
        uint32_t rules
        uint32_t trees[2]
        uint32_t depth
        uint32_t largest_leaf
        uint32_t nodes
        uint32_t rebuilds
        uint64_t slots
        uint64_t leaf_rules
        uint64_t bytes
    int fc_classifier_new(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_classifier **out, uint32_t *bad)
    void fc_classifier_free(fc_classifier *classifier)
    int fc_classifier_lookup(fc_classifier *classifier, const fc_key *keys, size_t n, int32_t *out, int kernel)
    int fc_classifier_insert(fc_classifier *classifier, const fc_rule *rules, const double *priorities, uint32_t n,
                             uint32_t *ids, uint32_t *done)
    int fc_classifier_remove(fc_classifier *classifier, const uint32_t *ids, uint32_t n, uint32_t *done)
    int fc_classifier_rebuild(fc_classifier *classifier)
    void fc_classifier_get_info(fc_classifier *classifier, fc_table_info *info)
    const char *fc_kernel_name(int kernel)
    int fc_kernel_check(int kernel)
    int fc_kernel_select(const char *name, int *kernel)
