/* live.h - a forest that takes updates while readers run; live.c has the theory, classifier.c the users. */
#ifndef FC_LIVE_H
#define FC_LIVE_H

#include "../common/epoch.h"
#include "../common/memory.h"
#include "../common/ring.h"
#include "build.h"

#define FC_CHANGES 64 /* updates that a reader can look back on; one block of keys sees a handful at a million/s */

/* What is remembered of an update: the bits that its rule fixes. A key that differs in one of them is not concerned. */
typedef struct fc_change {
    _Atomic uint64_t care[FC_MAX_WORDS], value[FC_MAX_WORDS];
} fc_change;

typedef struct fc_retired {
    uint64_t epoch;
    uint32_t at, units; /* of 64 octets */
} fc_retired;

typedef struct fc_live {
    fc_forest forest;      /* first: what the kernels read */
    _Atomic uint64_t turn; /* twice the number of finished updates, plus one while an update is under way */
    fc_change change[FC_CHANGES];
    /* the writer's own */
    fc_epoch *epoch;
    uint8_t *arena;
    size_t used, size, built; /* octets; below `built` is what the build wrote */
    uint32_t free_list[65];   /* by size in units, 64: more; links are in the freed memory; 0: empty */
    fc_ring retired;          /* of fc_retired: what readers may still be in, the oldest first */
    uint32_t wide;            /* rules in the tree of those that would be in too many places */
    uint32_t strain;          /* work that a rebuild would save: rules in overfull leaves and in the wide tree */
} fc_live;

/* Rules rows[i], numbered number[i], in priority order. `bodies` has room for `limit` bodies of 32 lanes. */
int fc_live_build(fc_live *live, int version, const fc_rule *rules, uint32_t n, const fc_numbering *numbering,
                  const fc_build_options *options, fc_epoch *epoch, fc_table_info *info);
void fc_live_release(fc_live *live);
int fc_live_fits(const fc_live *live, const fc_rule *rule); /* can the layout hold it? else: rebuild */
/* Both change what readers see in one step. FC_ELIMIT, FC_ENOMEM: nothing has changed. */
int fc_live_insert(fc_live *live, uint32_t number, const fc_rule *rule);
int fc_live_remove(fc_live *live, uint32_t number, const fc_rule *rule);
/* As an fc_lookup_fn, for keys of the forest's version; each answer is that of a state that existed during the call. 0:
 * the caller has to keep the writer out for the keys whose best[] is FC_UNSETTLED. */
#define FC_UNSETTLED 0x3ffffffeu
int fc_live_lookup(fc_live *live, fc_lookup_fn *lookup, const fc_key *keys, const uint32_t *index, uint32_t n,
                   uint32_t *best);

#endif
