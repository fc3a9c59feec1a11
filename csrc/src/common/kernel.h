/* kernel.h - which kernel AUTO is, and which form of AVX2's. */
#ifndef FC_KERNEL_H
#define FC_KERNEL_H

#include "flowclass.h"

int fc_kernel_resolve(int kernel); /* AUTO: the kernel that flowclass.h promises; any other: itself */
/* Are bit extraction (pext) and gathers microcode here, of 20 to 250 steps? So it is in AMD's processors before Zen 3,
 * and Hygon's, which are like the first of these. */
int fc_kernel_microcoded(void);
void fc_kernel_pretend(int microcoded); /* for tests: 0, 1, or -1: as the processor is */

#endif
