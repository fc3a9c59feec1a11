/* thread.h - threads that have room for a look-up on their stack, whatever the C library gives a thread. */
#ifndef FC_THREAD_H
#define FC_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* A look-up takes up to 140 KB (keys of both versions for a node with thousands of flows). musl gives a thread 128. */
#define FC_STACK ((size_t)1 << 20)

/* As pthread_create() with at least FC_STACK octets of stack. */
static inline int fc_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    size_t size = 0;
    int status = pthread_attr_init(&attributes);
    if (status != 0)
        return status;
    if (pthread_attr_getstacksize(&attributes, &size) == 0 && size < FC_STACK)
        pthread_attr_setstacksize(&attributes, FC_STACK); /* if it can't be, the thread has what there is */
    status = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return status;
}

#endif
