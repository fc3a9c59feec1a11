/* The AVX2 kernel for processors whose pext takes a few cycles: Intel's, and AMD's since Zen 3. */
#if defined(__x86_64__)
#include "lookup_avx2.h"

#define FC_LOOKUP fc_lookup_avx2

INLINE uint64_t extract(uint64_t word, uint64_t mask) { return _pext_u64(word, mask); }

#include "lookup_batch.h"
#else
typedef int fc_not_this_architecture; /* ISO C wants a declaration */
#endif
