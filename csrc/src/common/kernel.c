/* Names of the kernels, and which of them can run here. */
#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernel.h"

static const char *const names[FC_KERNEL_COUNT] = {"scalar", "avx2", "avx512", "neon"};

const char *fc_kernel_name(int kernel) { return kernel >= 0 && kernel < FC_KERNEL_COUNT ? names[kernel] : NULL; }

/* __builtin_cpu_supports reads a table that libgcc fills once before main: no cache of our own is needed. */
int fc_kernel_check(int kernel)
{
    switch (kernel) {
    case FC_KERNEL_AUTO:
    case FC_KERNEL_SCALAR:
        return FC_OK;
#if defined(__x86_64__)
    case FC_KERNEL_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? FC_OK : FC_ENOCPU;
    case FC_KERNEL_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("bmi2")
                   ? FC_OK
                   : FC_ENOCPU;
    case FC_KERNEL_NEON:
        return FC_ENOTBUILT;
#elif defined(__aarch64__)
    case FC_KERNEL_NEON: /* part of the base architecture */
        return FC_OK;
    case FC_KERNEL_AVX2:
    case FC_KERNEL_AVX512:
        return FC_ENOTBUILT;
#else
    case FC_KERNEL_AVX2:
    case FC_KERNEL_AVX512:
    case FC_KERNEL_NEON:
        return FC_ENOTBUILT;
#endif
    default:
        return FC_ENOKERNEL;
    }
}

int fc_kernel_select(const char *name, int *kernel)
{
    if (strcmp(name, "auto") == 0) {
        *kernel = FC_KERNEL_AUTO;
        return FC_OK;
    }
    for (int k = 0; k < FC_KERNEL_COUNT; k++) {
        if (strcmp(name, names[k]) == 0) {
            int status = fc_kernel_check(k);
            if (status == FC_OK)
                *kernel = k;
            return status;
        }
    }
    return FC_ENOKERNEL;
}

/* Measured best at every size from 40 to 100,000 rules and from 1 to a million nodes, where both run: AVX-512 takes
 * 0.66 to 0.85 of AVX2's time. */
int fc_kernel_resolve(int kernel)
{
    static const int order[] = {FC_KERNEL_AVX512, FC_KERNEL_AVX2, FC_KERNEL_NEON};
    for (size_t i = 0; kernel == FC_KERNEL_AUTO && i < sizeof(order) / sizeof(order[0]); i++) {
        if (order[i] == FC_KERNEL_AVX512 && fc_kernel_microcoded())
            continue; /* only while a test pretends: no processor is like that */
        if (fc_kernel_check(order[i]) == FC_OK)
            return order[i];
    }
    return kernel == FC_KERNEL_AUTO ? FC_KERNEL_SCALAR : kernel;
}

static int ask_processor(void)
{
#if defined(__x86_64__)
    static const char *const vendors[] = {"AuthenticAMD", "HygonGenuine"};
    unsigned a, name[3], unused[3], family = 0x19; /* Zen 3 */
    if (!__get_cpuid(0, &a, &name[0], &name[2], &name[1]) || !__get_cpuid(1, &a, &unused[0], &unused[1], &unused[2]))
        return 0;
    for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++) {
        if (memcmp(name, vendors[i], sizeof(name)) == 0)
            family = (a >> 8 & 15) + (a >> 20 & 255);
    }
    return family < 0x19;
#else
    return 0;
#endif
}

static _Atomic int pretended = -1, known = -1;

int fc_kernel_microcoded(void)
{
    int is = atomic_load_explicit(&pretended, memory_order_relaxed);
    if (is < 0)
        is = atomic_load_explicit(&known, memory_order_relaxed);
    if (is < 0) {
        is = ask_processor(); /* not each time: a virtual machine's host may have to answer */
        atomic_store_explicit(&known, is, memory_order_relaxed);
    }
    return is;
}

void fc_kernel_pretend(int microcoded) { atomic_store_explicit(&pretended, microcoded, memory_order_relaxed); }
