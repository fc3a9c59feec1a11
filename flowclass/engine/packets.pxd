# cython: language_level=3
"""Packets to keys, for other Cython modules."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "flowclass.h" nogil:
    ctypedef struct fc_key:
        pass
    ctypedef struct fc_packet:
        pass
    ctypedef struct fc_fragments:
        pass
    ctypedef struct fc_parse_options:
        uint32_t inner
        fc_fragments *fragments
    enum:
        FC_INNERMOST
    int fc_fragments_new(uint32_t capacity, const uint8_t *secret, fc_fragments **out)
    void fc_fragments_free(fc_fragments *fragments)
    void fc_fragments_clear(fc_fragments *fragments)
    uint32_t fc_fragments_count(const fc_fragments *fragments)
    ctypedef struct fc_fragment_note:
        pass
    void fc_fragments_defer(fc_fragments *fragments)
    int fc_fragments_notes(fc_fragments *fragments, fc_fragment_note *out, size_t capacity, size_t *n)
    ctypedef struct fc_fragment_first:
        pass
    uint64_t fc_fragments_told(const fc_fragments *fragments)
    size_t fc_fragments_firsts(const fc_fragments *fragments, fc_fragment_first *out)
    int fc_fragments_settle(fc_fragments *fragments, fc_fragment_note *notes, size_t n)
    void fc_fragments_extend(fc_fragments *fragments, const fc_fragment_first *firsts, size_t n, uint64_t told)
    void fc_parse_batch(int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                        const uint32_t *lengths, size_t n, const fc_parse_options *options, fc_key *keys,
                        fc_packet *infos)


cdef class Fragments:
    cdef fc_fragments *ptr
    cdef object lock
