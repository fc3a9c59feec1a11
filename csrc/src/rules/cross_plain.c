/* cross_plain.c - the cross-product tables' look-up in portable C: all keys of a block take each step together. */
#include "cross.h"

enum { PLAIN_BLOCK = 64 };

typedef struct work {
    uint8_t octet[FC_CROSS_OCTETS][PLAIN_BLOCK];
    uint32_t step[FC_CROSS_STEPS][PLAIN_BLOCK], at[PLAIN_BLOCK];
} work;

static inline const fc_key *key_at(const fc_key *keys, const uint32_t *index, uint32_t i)
{
    return &keys[index ? index[i] : i];
}

/* The classes of all octets of n keys. */
static int read_octets(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, work *w)
{
    uint8_t lacking = 0, other = 0;
    for (uint32_t i = 0; i < n; i++) {
        const fc_key *k = key_at(keys, index, i);
        lacking |= (uint8_t)~k->present;
        other |= k->version ^ x->version;
    }
    if (other || (lacking & x->required))
        return 0;
    for (uint32_t c = 0; c < x->octets; c++) {
        const fc_cross_octet *o = &x->octet[c];
        const uint8_t *map = x->map + 256 * c;
        for (uint32_t i = 0; i < n; i++)
            w->octet[c][i] = map[((const uint8_t *)key_at(keys, index, i))[o->at]];
        for (uint32_t i = 0; (lacking & o->field) && i < n; i++) {
            if (~key_at(keys, index, i)->present & o->field)
                w->octet[c][i] = o->lacking;
        }
    }
    return 1;
}

static void take_step(const fc_cross *x, uint32_t s, uint32_t n, work *w, int32_t *out)
{
    const fc_cross_step *step = &x->step[s];
    const uint8_t *table = x->tables + step->table;
    uint32_t *to = w->step[s], *at = w->at;
    for (uint32_t i = 0; i < n; i++)
        at[i] = 0;
    for (uint32_t k = 0; k < step->inputs; k++) {
        uint32_t stride = step->input[k].stride, column = step->input[k].column;
        if (column < x->octets) {
            for (uint32_t i = 0; i < n; i++)
                at[i] += w->octet[column][i] * stride;
        } else {
            for (uint32_t i = 0; i < n; i++)
                at[i] += w->step[column - x->octets][i] * stride;
        }
    }
    if (s + 1u == x->steps) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = step->width == 2 ? ((const int16_t *)table)[at[i]] : ((const int32_t *)table)[at[i]];
    } else if (step->width == 1) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = table[at[i]];
    } else {
        for (uint32_t i = 0; i < n; i++)
            to[i] = ((const uint16_t *)table)[at[i]];
    }
}

int fc_cross_plain(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    work w;
    for (uint32_t start = 0; start < n; start += PLAIN_BLOCK) {
        uint32_t m = n - start < PLAIN_BLOCK ? n - start : PLAIN_BLOCK;
        const fc_key *from = index ? keys : keys + start;
        if (!read_octets(x, from, index ? index + start : NULL, m, &w))
            return 0;
        for (uint32_t s = 0; s < x->steps; s++) {
            if (x->step[s].width)
                take_step(x, s, m, &w, out + start);
            for (uint32_t i = 0; x->step[s].width == 0 && i < m; i++)
                w.step[s][i] = fc_cross_exact(x, &x->step[s], key_at(from, index ? index + start : NULL, i));
        }
    }
    return 1;
}

fc_cross_fn *fc_cross_function(int kernel)
{
    switch (kernel) {
#if defined(__x86_64__)
    case FC_KERNEL_AVX2:
        return fc_cross_avx2;
    case FC_KERNEL_AVX512:
        return __builtin_cpu_supports("avx512vbmi") ? fc_cross_avx512 : fc_cross_avx2;
#elif defined(__aarch64__)
    case FC_KERNEL_NEON:
        return fc_cross_plain;
#endif
    default:
        return NULL;
    }
}
