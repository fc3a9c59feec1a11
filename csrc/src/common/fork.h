/* fork.h - objects that writers lock and readers enter, in a process that forks.
 *
 * A fork copies memory, but only the thread that called it. A lock that another thread held then would stay locked in
 * the child for ever, and the announcement of a reader that was inside (epoch.h) would keep memory from being given
 * back. So a fork waits until no writer is at work, and the child begins without readers, with all locks free. */
#ifndef FC_FORK_H
#define FC_FORK_H

#include <pthread.h>

#include "epoch.h"

typedef struct fc_guard {
    struct fc_guard *next, **link;
    pthread_mutex_t *lock;
    fc_epoch *epoch;
    void (*in_child)(void *about); /* what else the child has to set right, with the lock held; or NULL */
    void *about;
} fc_guard;

void fc_guard_begin(fc_guard *guard); /* the other members are set; lock and epoch are ready for use */
void fc_guard_end(fc_guard *guard);   /* before the lock is destroyed */

#endif
