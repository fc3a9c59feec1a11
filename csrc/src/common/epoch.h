/* epoch.h - when may memory be freed that readers may still look at?
 *
 * A writer unlinks an object (from then on nobody can find it), retires it under the epoch of that moment, and frees it
 * when every reader that was inside then has left. A reader announces the epoch in a slot of its own while it is
 * inside. It takes no lock, waits for nobody, and writes to no line that another reader writes to.
 *
 *      now  5        6        7        8
 *           |  r1 in (6)............................ out
 *           |        | x unlinked, retired under 6; now = 7
 *           |        |        |  r2 in (7)  cannot find x
 *           fc_epoch_safe() is 6 while r1 is inside: x (6) stays. Then 7: x may be freed.
 *
 * Why it is right, in C11's terms: the reader stores its slot and then loads `now` once more, the writer increments
 * `now` and then loads the slots, all sequentially consistent. If the writer misses the announcement, the reader's load
 * comes after the increment, reads from it, and so sees what was unlinked before it. No fences are used, because
 * ThreadSanitizer can't follow them.
 *
 * There are FC_EPOCH_SLOTS slots; a reader that finds none free joins a crowd, and while anybody is in that crowd
 * nothing is freed: memory waits, readers don't. */
#ifndef FC_EPOCH_H
#define FC_EPOCH_H

#include <stdatomic.h>
#include <stdint.h>

#define FC_EPOCH_SLOTS 128u /* calls inside at once; beyond it reclaiming pauses. 8 KiB an object */
#define FC_EPOCH_CROWD FC_EPOCH_SLOTS

typedef struct fc_epoch {
    _Alignas(64) _Atomic uint64_t now; /* from 1 */
    _Atomic uint32_t used;             /* slots below this one have been used: the writer scans no further */
    _Alignas(64) _Atomic uint32_t crowd;
    struct {
        _Alignas(64) _Atomic uint64_t since; /* 0: free */
    } slot[FC_EPOCH_SLOTS];
} fc_epoch;

void fc_epoch_init(fc_epoch *e);
void fc_epoch_empty(fc_epoch *e); /* nobody is inside any more: in the child of a fork */
unsigned fc_epoch_enter_slow(fc_epoch *e);
extern _Thread_local unsigned fc_epoch_hint; /* the slot that this thread had last */

/* Reader in: returns what fc_epoch_leave wants. */
static inline unsigned fc_epoch_enter(fc_epoch *e)
{
    unsigned slot = fc_epoch_hint;
    uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire), nobody = 0;
    if (slot < atomic_load_explicit(&e->used, memory_order_relaxed) &&
        atomic_compare_exchange_strong(&e->slot[slot].since, &nobody, now)) {
        (void)atomic_load(&e->now);
        return slot;
    }
    return fc_epoch_enter_slow(e);
}

static inline void fc_epoch_leave(fc_epoch *e, unsigned slot)
{
    if (slot == FC_EPOCH_CROWD)
        atomic_fetch_sub(&e->crowd, 1);
    else
        atomic_store_explicit(&e->slot[slot].since, 0, memory_order_release);
}

/* Writer, after unlinking: the epoch to remember with the object. */
static inline uint64_t fc_epoch_retire(fc_epoch *e) { return atomic_fetch_add(&e->now, 1); }

/* Writer: what was retired under a smaller epoch may be freed. */
uint64_t fc_epoch_safe(fc_epoch *e);

#endif
