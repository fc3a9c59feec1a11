/* claims.c - checks whether a node may be published: its addresses, prefixes and flows must make sense, and its
 * addresses and prefixes must not be another node's. */
#include "../rules/layout.h"
#include "search.h"

int fc_fib_address_is_bad(const fc_address *a)
{
    return a->version == 4 ? a->words[0] || a->words[1] > UINT32_MAX : a->version != 6;
}

static int prefix_is_bad(const fc_address *a)
{
    if (fc_fib_address_is_bad(a) || a->length > (a->version == 4 ? 32 : 128))
        return 1;
    uint64_t network[2];
    fib_mask(a->words, a->version, a->length, network);
    return network[0] != a->words[0] || network[1] != a->words[1];
}

static int flow_is_bad(const fc_node *node, const fc_flow *f)
{
    if (f->action < FC_ACTION_FORWARD || f->action > FC_ACTION_NCAST || !fc_rule_valid(&f->rule))
        return 1;
    if (f->targets > node->n_flow_targets || f->n_targets > node->n_flow_targets - f->targets)
        return 1;
    for (unsigned i = 0; i < f->n_targets; i++)
        if (node->flow_targets[f->targets + i] >= node->n_targets)
            return 1;
    return 0;
}

int fc_fib_check_node(const fc_node *node)
{
    if (node->n_flows > FC_MAX_FLOWS || node->n_targets > FC_MAX_TARGETS || node->n_also > FC_MAX_ADDRESSES ||
        node->n_prefixes > FC_MAX_ADDRESSES)
        return FC_ELIMIT;
    int bad = fc_fib_address_is_bad(&node->home) ||
              (node->default_target != FC_NO_TARGET && node->default_target >= node->n_targets);
    for (uint32_t i = 0; i < node->n_also; i++)
        bad |= fc_fib_address_is_bad(&node->also[i]);
    for (uint32_t i = 0; i < node->n_prefixes; i++)
        bad |= prefix_is_bad(&node->prefixes[i]);
    for (uint32_t i = 0; i < node->n_targets; i++)
        bad |= node->targets[i].version != 4 && node->targets[i].version != 6;
    for (uint32_t i = 0; !bad && i < node->n_flows; i++)
        bad |= flow_is_bad(node, &node->flows[i]);
    return bad ? FC_EINVAL : FC_OK;
}

static int same_address(const fc_address *a, const fc_address *b, int is_prefix)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->version == b->version &&
           (!is_prefix || a->length == b->length);
}

/* Is an address, or a prefix (with is_prefix), in this list of n? */
int fc_fib_listed(const fc_address *a, const fc_address *list, unsigned n, int is_prefix)
{
    for (unsigned i = 0; i < n; i++)
        if (same_address(a, &list[i], is_prefix))
            return 1;
    return 0;
}

static const fib_record *owner_of(const fc_fib *fib, const fc_address *a, int is_prefix, uint32_t *ref)
{
    return fib_probe(fib, is_prefix ? fib_prefix_index(fib) : fib_home_index(fib), a->words, a->version,
                     is_prefix ? a->length : -1, ref);
}

/* Finds the node with this home address: *r is its record and *ref the record's reference. FC_ENOENT: nobody has the
 * address. FC_EEXIST: it is a further address of another node, so that no node can have it as its home address. */
int fc_fib_find_home(const fc_fib *fib, const fc_address *home, const fib_record **r, uint32_t *ref)
{
    *r = owner_of(fib, home, 0, ref);
    if (!*r)
        return FC_ENOENT;
    fc_address own = fib_home_of(*r);
    return same_address(&own, home, 0) ? FC_OK : FC_EEXIST;
}

int fc_fib_check_claims(const fc_fib *fib, const fc_node *node, const fib_record *old)
{
    uint32_t ref;
    for (int prefixes = 0; prefixes < 2; prefixes++) {
        const fc_address *list = prefixes ? node->prefixes : node->also;
        uint32_t n = prefixes ? node->n_prefixes : node->n_also;
        for (uint32_t i = 0; i < n; i++) {
            const fib_record *r = owner_of(fib, &list[i], prefixes, &ref);
            if ((r && r != old) || fc_fib_listed(&list[i], list, i, prefixes) ||
                (!prefixes && same_address(&list[i], &node->home, 0)))
                return FC_EEXIST;
        }
    }
    return FC_OK;
}
