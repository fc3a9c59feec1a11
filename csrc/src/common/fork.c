/* fork.c - what fork.h says, by pthread_atfork. */
#include "fork.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static fc_guard *guards;

/* Whoever holds an object's lock wants no other of these, so the order in which they are taken does not matter. */
static void before_fork(void)
{
    pthread_mutex_lock(&list_lock);
    for (fc_guard *g = guards; g; g = g->next)
        pthread_mutex_lock(g->lock);
}

static void in_parent(void)
{
    for (fc_guard *g = guards; g; g = g->next)
        pthread_mutex_unlock(g->lock);
    pthread_mutex_unlock(&list_lock);
}

static void in_child(void)
{
    for (fc_guard *g = guards; g; g = g->next) {
        fc_epoch_empty(g->epoch);
        if (g->in_child)
            g->in_child(g->about);
        pthread_mutex_unlock(g->lock);
    }
    pthread_mutex_unlock(&list_lock);
}

static void install(void) { pthread_atfork(before_fork, in_parent, in_child); }

void fc_guard_begin(fc_guard *g)
{
    pthread_once(&once, install);
    pthread_mutex_lock(&list_lock);
    g->next = guards;
    g->link = &guards;
    if (guards)
        guards->link = &g->next;
    guards = g;
    pthread_mutex_unlock(&list_lock);
}

void fc_guard_end(fc_guard *g)
{
    pthread_mutex_lock(&list_lock);
    *g->link = g->next;
    if (g->next)
        g->next->link = g->link;
    pthread_mutex_unlock(&list_lock);
}
