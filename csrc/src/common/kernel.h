/* kernel.h - which kernel AUTO is. */
#ifndef FC_KERNEL_H
#define FC_KERNEL_H

#include "flowclass.h"

int fc_kernel_resolve(int kernel); /* AUTO: the kernel that flowclass.h promises; any other: itself */

#endif
