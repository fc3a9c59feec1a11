/* classifier.c - fc_classifier, a rule set that takes updates. Before the first update it is an immutable table. From
 * then on its forests take insertions and removals in place (live.c), and a thread in the background rebuilds them when
 * the leaves that updates leave behind would cost readers too much. */
#include <pthread.h>
#include <stdlib.h>

#include "../common/fork.h"
#include "../common/thread.h"
#include "live.h"

#define NUMBERS ((size_t)FC_MAX_NUMBER + 1)
#define STRAIN 2000   /* a rebuild pays after so many insertions into overfull leaves (and count / 16), */
#define WIDE_RULES 24 /* or with so many rules in the wide tree, which every look-up compares */

typedef struct state { /* what readers use: all of it is replaced at once */
    fc_table *table;   /* while there was no update; NULL: the next two members are used instead */
    fc_live live[2];   /* IPv4, IPv6 */
    uint16_t *bodies[2];
    uint64_t epoch; /* in which this state was retired */
    struct state *next;
    fc_table_info info;
} state;

typedef struct entry { /* one update in the log of those that come during a rebuild */
    fc_rule rule;
    uint32_t number;
    int insert;
} entry;

typedef struct freed_number {
    uint64_t epoch;
    uint32_t number;
} freed_number;

struct fc_classifier {
    fc_epoch epoch;
    _Atomic(state *) now;
    pthread_mutex_t lock; /* held by writers, and by a rebuild when it copies the rules and when it is done */
    uint32_t count;       /* how many rules there are */
    /* indexed by a rule's number; reserved at the first update */
    fc_rule *rows;
    uint64_t *priority;
    uint8_t *alive;
    uint32_t high; /* all numbers given so far are lower */
    fc_ring freed; /* of freed_number: numbers of removed rules, to be given again, the oldest first */
    state *retired;
    pthread_t thread;
    int started, running; /* there is a thread to join; it is at work */
    entry *log;
    uint32_t n_log, max_log;
    int log_lost; /* 1: the rebuild under way can't be used; its log is not complete, or a newer state was shown */
    uint64_t rebuilds;
    fc_build_options options;
    fc_guard guard;
};

/* ---- States ------------------------------------------------------------------------------------- */

static void state_free(state *s)
{
    if (s == NULL)
        return;
    fc_table_free(s->table);
    for (int v = 0; v < 2; v++) {
        fc_live_release(&s->live[v]);
        fc_unreserve(s->bodies[v], NUMBERS * 128);
    }
    free(s);
}

static state *state_new(void)
{
    state *s = aligned_alloc(64, (sizeof(*s) + 63) / 64 * 64);
    if (s != NULL)
        memset(s, 0, sizeof(*s));
    return s;
}

static void reclaim_states(fc_classifier *c)
{
    uint64_t safe = fc_epoch_safe(&c->epoch);
    for (state **link = &c->retired; *link;) {
        state *s = *link;
        if (s->epoch < safe) {
            *link = s->next;
            state_free(s);
        } else {
            link = &s->next;
        }
    }
}

static void show_state(fc_classifier *c, state *s)
{
    state *old = atomic_load_explicit(&c->now, memory_order_relaxed);
    atomic_store_explicit(&c->now, s, memory_order_release);
    old->epoch = fc_epoch_retire(&c->epoch);
    old->next = c->retired;
    c->retired = old;
    reclaim_states(c);
}

/* A copy of all rules in priority order, with their numbers: what a rebuild works from. */
typedef struct gathered {
    fc_rule *rows;
    uint32_t *number;
    uint32_t n, limit;
} gathered;

typedef struct ranked {
    uint64_t priority;
    uint32_t number;
} ranked;

static int compare(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static void gathered_free(gathered *g)
{
    free(g->rows);
    free(g->number);
}

static int gather(fc_classifier *c, gathered *g)
{
    ranked *order = malloc(((size_t)c->count + 1) * sizeof(*order));
    *g = (gathered){.rows = malloc(((size_t)c->count + 1) * sizeof(fc_rule)),
                    .number = malloc(((size_t)c->count + 1) * sizeof(uint32_t)),
                    .limit = c->high};
    int status = order && g->rows && g->number ? FC_OK : FC_ENOMEM;
    for (uint32_t i = 0; i < c->high && status == FC_OK; i++) {
        if (c->alive[i])
            order[g->n++] = (ranked){c->priority[i], i};
    }
    if (status == FC_OK) {
        qsort(order, g->n, sizeof(*order), compare);
        for (uint32_t i = 0; i < g->n; i++) {
            g->number[i] = order[i].number;
            g->rows[i] = c->rows[order[i].number];
        }
    } else {
        gathered_free(g);
    }
    free(order);
    return status;
}

static int build_state(fc_classifier *c, const gathered *g, state **out)
{
    state *s = state_new();
    int status = s ? FC_OK : FC_ENOMEM;
    for (int v = 0; v < 2 && status == FC_OK; v++) {
        fc_table_info part = {0};
        s->bodies[v] = fc_reserve(NUMBERS * 128);
        fc_numbering numbering = {
            .number = g->number, .limit = g->limit, .bodies = s->bodies[v], .priority = c->priority, .rows = c->rows};
        status = s->bodies[v]
                     ? fc_live_build(&s->live[v], v ? 6 : 4, g->rows, g->n, &numbering, &c->options, &c->epoch, &part)
                     : FC_ENOMEM;
        fc_add_info(&s->info, &part, &s->live[v].forest, v);
    }
    if (status != FC_OK) {
        state_free(s);
        return status;
    }
    *out = s;
    return FC_OK;
}

static int rebuild_here(fc_classifier *c)
{
    gathered g;
    state *s;
    int status = gather(c, &g);
    if (status != FC_OK)
        return status;
    status = build_state(c, &g, &s);
    gathered_free(&g);
    if (status == FC_OK) {
        show_state(c, s);
        c->log_lost = 1; /* a rebuild under way in the background began before this one: it must not be shown */
        c->rebuilds++;
    }
    return status;
}

/* ---- The first update --------------------------------------------------------------------------- */

/* Turns a priority into an integer of the same order: the bits of a negative number are all inverted, of others only
 * the sign bit. */
static uint64_t sortable(double priority)
{
    uint64_t bits;
    priority += 0.0; /* makes -0.0 the same as 0.0 */
    memcpy(&bits, &priority, 8);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

static int thaw(fc_classifier *c)
{
    state *s = atomic_load_explicit(&c->now, memory_order_relaxed);
    if (s->table == NULL)
        return FC_OK;
    c->rows = fc_reserve(NUMBERS * sizeof(*c->rows));
    c->priority = fc_reserve(NUMBERS * sizeof(*c->priority));
    c->alive = fc_reserve(NUMBERS);
    int status = c->rows && c->priority && c->alive ? FC_OK : FC_ENOMEM;
    if (status == FC_OK) {
        fc_table_rows(s->table, c->rows);
        c->high = s->table->n_rules;
        for (uint32_t i = 0; i < c->high; i++) {
            c->priority[i] = sortable(i);
            c->alive[i] = 1;
        }
        status = rebuild_here(c);
    }
    if (status != FC_OK) {
        fc_unreserve(c->rows, NUMBERS * sizeof(*c->rows));
        fc_unreserve(c->priority, NUMBERS * sizeof(*c->priority));
        fc_unreserve(c->alive, NUMBERS);
        c->rows = NULL;
        c->priority = NULL;
        c->alive = NULL;
    }
    return status;
}

/* ---- The rebuild in the background -------------------------------------------------------------- */

static int replay_log(fc_classifier *c, state *s)
{
    int status = c->log_lost ? FC_EINVAL : FC_OK;
    for (uint32_t i = 0; i < c->n_log && status == FC_OK; i++) {
        const entry *e = &c->log[i];
        for (int v = 0; v < 2 && status == FC_OK; v++) {
            if (e->rule.version != 0 && e->rule.version != (v ? 6 : 4))
                continue;
            if (!fc_live_fits(&s->live[v], &e->rule))
                status = FC_EINVAL;
            else
                status = e->insert ? fc_live_insert(&s->live[v], e->number, &e->rule)
                                   : fc_live_remove(&s->live[v], e->number, &e->rule);
        }
    }
    return status;
}

static void *rebuild_thread(void *argument)
{
    fc_classifier *c = argument;
    gathered g;
    state *s = NULL;
    pthread_mutex_lock(&c->lock);
    int status = gather(c, &g);
    c->n_log = 0;
    c->log_lost = 0;
    pthread_mutex_unlock(&c->lock);
    if (status == FC_OK) {
        status = build_state(c, &g, &s);
        gathered_free(&g);
    }
    pthread_mutex_lock(&c->lock);
    if (status == FC_OK) {
        status = replay_log(c, s);
        if (status == FC_OK) {
            show_state(c, s);
            c->rebuilds++;
        } else {
            state_free(s); /* the next update will try again */
        }
    }
    c->running = 0;
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Starts a rebuild in the background if it would pay. Called with the lock held, after an update. */
static void consider(fc_classifier *c)
{
    state *s = atomic_load_explicit(&c->now, memory_order_relaxed);
    if (c->running || (s->live[0].strain + s->live[1].strain < STRAIN + c->count / 16 &&
                       s->live[0].wide + s->live[1].wide < WIDE_RULES))
        return;
    if (c->started)
        pthread_join(c->thread, NULL); /* it does not take the lock any more, so this can't block */
    c->n_log = 0;
    c->log_lost = 0;
    c->started = c->running = fc_thread_start(&c->thread, rebuild_thread, c) == 0;
}

/* Called in the child of a fork, which has no thread that rebuilds. What the parent's thread was building is lost to
 * the child. */
static void forget_thread(void *about)
{
    fc_classifier *c = about;
    c->started = c->running = 0;
    c->log_lost = 1;
}

static void log_update(fc_classifier *c, uint32_t number, const fc_rule *rule, int insert)
{
    if (!c->running || c->log_lost)
        return;
    if (c->n_log == c->max_log) {
        uint32_t max = c->max_log ? 2 * c->max_log : 1024;
        entry *log = realloc(c->log, max * sizeof(*log));
        if (log == NULL) {
            c->log_lost = 1;
            return;
        }
        c->log = log;
        c->max_log = max;
    }
    c->log[c->n_log++] = (entry){.rule = *rule, .number = number, .insert = insert};
}

/* ---- Numbers ------------------------------------------------------------------------------------ */

/* Gives a number that no reader can meet in an old leaf: one of a removed rule whose readers have left, else a new one.
 * While a rebuild works on its copy of the rules, only new numbers are given. *safe is the last known answer of
 * fc_epoch_safe. */
static int take_number(fc_classifier *c, uint64_t *safe, uint32_t *number)
{
    if (c->freed.count && !c->running) {
        const freed_number *f = fc_ring_at(&c->freed, 0);
        if (f->epoch >= *safe)
            *safe = fc_epoch_safe(&c->epoch);
        if (f->epoch < *safe) {
            *number = f->number;
            fc_ring_drop(&c->freed);
            return FC_OK;
        }
    }
    if (c->high >= FC_MAX_NUMBER - 1)
        return FC_ELIMIT;
    *number = c->high++;
    return FC_OK;
}

static void give_number(fc_classifier *c, uint32_t number)
{
    c->alive[number] = 0;
    *(freed_number *)fc_ring_push(&c->freed) = (freed_number){.epoch = fc_epoch_retire(&c->epoch), .number = number};
}

/* ---- Updates ------------------------------------------------------------------------------------ */

static int remove_one(fc_classifier *c, uint32_t number)
{
    state *s = atomic_load_explicit(&c->now, memory_order_relaxed);
    const fc_rule *rule = &c->rows[number];
    int status = fc_ring_reserve(&c->freed, 1);
    for (int v = 0; v < 2 && status == FC_OK; v++) {
        if (rule->version == 0 || rule->version == (v ? 6 : 4))
            status = fc_live_remove(&s->live[v], number, rule);
    }
    if (status == FC_OK) {
        log_update(c, number, rule, 0);
        c->count--;
        give_number(c, number);
    } else if (status == FC_ELIMIT) { /* there is no room for a new leaf: build everything anew, without the rule */
        c->alive[number] = 0;
        c->count--;
        status = rebuild_here(c);
        if (status == FC_OK) {
            give_number(c, number);
        } else {
            c->alive[number] = 1;
            c->count++;
        }
    }
    return status;
}

static int insert_one(fc_classifier *c, const fc_rule *rule, double priority, uint64_t *safe, uint32_t *number)
{
    int status = fc_ring_reserve(&c->freed, 1);
    if (status == FC_OK)
        status = take_number(c, safe, number);
    if (status != FC_OK)
        return status;
    state *s = atomic_load_explicit(&c->now, memory_order_relaxed);
    c->rows[*number] = *rule;
    c->priority[*number] = sortable(priority);
    c->alive[*number] = 1;
    c->count++;
    int done[2] = {0, 0};
    for (int v = 0; v < 2 && status == FC_OK; v++) {
        if (rule->version != 0 && rule->version != (v ? 6 : 4))
            continue;
        status = fc_live_fits(&s->live[v], rule) ? fc_live_insert(&s->live[v], *number, rule) : FC_ELIMIT;
        done[v] = status == FC_OK;
    }
    if (status == FC_ELIMIT) /* a field that no rule asked for so far, or no room: build everything anew */
        status = rebuild_here(c);
    else if (status == FC_OK)
        log_update(c, *number, rule, 1);
    if (status != FC_OK) {
        for (int v = 0; v < 2; v++) {
            if (done[v])
                fc_live_remove(&s->live[v], *number, rule);
        }
        c->count--;
        give_number(c, *number);
    }
    return status;
}

int fc_classifier_insert(fc_classifier *c, const fc_rule *rules, const double *priorities, uint32_t n, uint32_t *ids,
                         uint32_t *done)
{
    uint64_t safe = 0;
    *done = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (fc_rule_fault(&rules[i]) || priorities[i] != priorities[i]) {
            *done = i;
            return FC_EINVAL;
        }
    }
    pthread_mutex_lock(&c->lock);
    int status = n ? thaw(c) : FC_OK;
    for (uint32_t i = 0; i < n && status == FC_OK; i++) {
        status = insert_one(c, &rules[i], priorities[i], &safe, &ids[i]);
        *done += status == FC_OK;
        consider(c);
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

int fc_classifier_remove(fc_classifier *c, const uint32_t *ids, uint32_t n, uint32_t *done)
{
    *done = 0;
    pthread_mutex_lock(&c->lock);
    int status = n ? thaw(c) : FC_OK;
    for (uint32_t i = 0; i < n && status == FC_OK; i++) {
        if (ids[i] >= c->high || !c->alive[ids[i]])
            status = FC_ENOENT;
        else
            status = remove_one(c, ids[i]);
        *done += status == FC_OK;
        consider(c);
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

int fc_classifier_rebuild(fc_classifier *c)
{
    pthread_mutex_lock(&c->lock);
    int status = thaw(c);
    if (status == FC_OK)
        status = rebuild_here(c);
    pthread_mutex_unlock(&c->lock);
    return status;
}

/* ---- Look-ups ----------------------------------------------------------------------------------- */

#define LIVE_BATCH 256u /* keys: the fewer, the fewer changes fall in between (fc_live_lookup) */

static void look_up_live(fc_classifier *c, state *s, const fc_key *keys, size_t n, int32_t *out, fc_lookup_fn *lookup)
{
    uint32_t best[FC_BATCH], index[2][FC_BATCH], count[2];
    for (size_t start = 0; start < n; start += LIVE_BATCH) {
        uint32_t m = n - start < LIVE_BATCH ? (uint32_t)(n - start) : LIVE_BATCH;
        fc_split_versions(keys + start, m, index, count, out + start);
        for (int v = 0; v < 2; v++) {
            if (count[v] == 0 || s->live[v].forest.trees == 0)
                continue;
            if (!fc_live_lookup(&s->live[v], lookup, keys + start, index[v], count[v], best)) {
                /* writers keep changing rules around these very keys: hold them off and look up the rest */
                pthread_mutex_lock(&c->lock);
                for (uint32_t i = 0; i < count[v]; i++) {
                    if (best[i] == FC_UNSETTLED)
                        lookup(&s->live[v].forest, keys + start, &index[v][i], 1, &best[i]);
                }
                pthread_mutex_unlock(&c->lock);
            }
            for (uint32_t i = 0; i < count[v]; i++)
                out[start + index[v][i]] = best[i] == FC_EMPTY ? -1 : (int32_t)best[i];
        }
    }
}

int fc_classifier_lookup(fc_classifier *c, const fc_key *keys, size_t n, int32_t *out, int kernel)
{
    int status = fc_kernel_check(kernel);
    if (status != FC_OK)
        return status;
    unsigned slot = fc_epoch_enter(&c->epoch);
    state *s = atomic_load_explicit(&c->now, memory_order_acquire);
    if (s->table != NULL)
        fc_table_lookup(s->table, keys, n, out, kernel);
    else
        look_up_live(c, s, keys, n, out, fc_kernel_function(kernel));
    fc_epoch_leave(&c->epoch, slot);
    return FC_OK;
}

/* ---- Life --------------------------------------------------------------------------------------- */

int fc_classifier_new(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_classifier **out,
                      uint32_t *bad)
{
    fc_classifier *c = aligned_alloc(64, (sizeof(*c) + 63) / 64 * 64);
    state *s = state_new();
    int status = c && s ? FC_OK : FC_ENOMEM;
    if (status == FC_OK) {
        memset(c, 0, sizeof(*c));
        fc_epoch_init(&c->epoch);
        c->freed = FC_RING(freed_number);
        status = fc_table_build(rules, n, options, &s->table, bad);
    }
    if (status == FC_OK && pthread_mutex_init(&c->lock, NULL) != 0)
        status = FC_ENOMEM;
    if (status != FC_OK) {
        state_free(s);
        free(c);
        return status;
    }
    fc_table_get_info(s->table, &s->info);
    if (options != NULL)
        c->options = *options;
    c->count = n;
    atomic_init(&c->now, s);
    c->guard = (fc_guard){.lock = &c->lock, .epoch = &c->epoch, .in_child = forget_thread, .about = c};
    fc_guard_begin(&c->guard);
    *out = c;
    return FC_OK;
}

void fc_classifier_free(fc_classifier *c)
{
    if (c == NULL)
        return;
    fc_guard_end(&c->guard);
    if (c->started)
        pthread_join(c->thread, NULL);
    while (c->retired) {
        state *s = c->retired;
        c->retired = s->next;
        state_free(s);
    }
    state_free(atomic_load(&c->now));
    fc_unreserve(c->rows, NUMBERS * sizeof(*c->rows));
    fc_unreserve(c->priority, NUMBERS * sizeof(*c->priority));
    fc_unreserve(c->alive, NUMBERS);
    fc_ring_free(&c->freed);
    free(c->log);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void fc_classifier_get_info(fc_classifier *c, fc_table_info *info)
{
    pthread_mutex_lock(&c->lock);
    state *s = atomic_load(&c->now);
    *info = s->info;
    info->rules = c->count;
    info->rebuilds = (uint32_t)c->rebuilds;
    if (s->table == NULL) {
        info->bytes = sizeof(*c) + sizeof(*s) + (uint64_t)c->high * (sizeof(fc_rule) + 9);
        for (int v = 0; v < 2; v++)
            info->bytes +=
                s->live[v].used + (s->live[v].forest.trees ? (uint64_t)c->high * 4 * s->live[v].forest.lanes : 0);
    }
    pthread_mutex_unlock(&c->lock);
}
