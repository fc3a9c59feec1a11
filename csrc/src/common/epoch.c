/* epoch.c - the seldom used parts of epoch.h. */
#include "epoch.h"

_Thread_local unsigned fc_epoch_hint = FC_EPOCH_SLOTS; /* not below `used`: the first call takes the slow way */

static _Atomic unsigned threads_seen;

void fc_epoch_init(fc_epoch *e)
{
    atomic_init(&e->now, 1);
    atomic_init(&e->used, 0);
    atomic_init(&e->crowd, 0);
    for (unsigned i = 0; i < FC_EPOCH_SLOTS; i++)
        atomic_init(&e->slot[i].since, 0);
}

void fc_epoch_empty(fc_epoch *e)
{
    atomic_store(&e->crowd, 0);
    for (unsigned i = 0; i < FC_EPOCH_SLOTS; i++)
        atomic_store(&e->slot[i].since, 0);
}

static void raise_used(fc_epoch *e, uint32_t to)
{
    uint32_t used = atomic_load(&e->used);
    while (used < to && !atomic_compare_exchange_weak(&e->used, &used, to))
        ;
}

/* Tries every slot, from one that is this thread's own unless there are more threads than slots. */
unsigned fc_epoch_enter_slow(fc_epoch *e)
{
    if (fc_epoch_hint >= FC_EPOCH_SLOTS)
        fc_epoch_hint = atomic_fetch_add(&threads_seen, 1) % FC_EPOCH_SLOTS;
    for (unsigned i = 0; i < FC_EPOCH_SLOTS; i++) {
        unsigned slot = (fc_epoch_hint + i) % FC_EPOCH_SLOTS;
        uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire), nobody = 0;
        raise_used(e, slot + 1); /* before the announcement: a writer that misses this one misses that one too */
        if (atomic_compare_exchange_strong(&e->slot[slot].since, &nobody, now)) {
            (void)atomic_load(&e->now);
            fc_epoch_hint = slot;
            return slot;
        }
    }
    atomic_fetch_add(&e->crowd, 1);
    (void)atomic_load(&e->now);
    return FC_EPOCH_CROWD;
}

uint64_t fc_epoch_safe(fc_epoch *e)
{
    /* `now` first: whoever announces more than this can't see what was retired under less */
    uint64_t safe = atomic_load(&e->now);
    uint32_t used = atomic_load(&e->used);
    if (atomic_load(&e->crowd))
        return 0;
    for (uint32_t i = 0; i < used; i++) {
        uint64_t since = atomic_load(&e->slot[i].since);
        if (since && since < safe)
            safe = since;
    }
    return safe;
}
