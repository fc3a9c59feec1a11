/* kernels.h - all kernels one after the other. */
#ifndef KERNELS_H
#define KERNELS_H

#include "common/kernel.h"

/* The kernel after this one. AVX2's comes twice: as where bit extraction and gathers are fast, and as where they
 * aren't. */
static inline int next_kernel(int kernel)
{
    static int again;
    again = kernel == FC_KERNEL_AVX2 && !again;
    kernel += !again;
    fc_kernel_pretend(kernel == FC_KERNEL_AVX2 ? again : -1);
    return kernel;
}

#endif
