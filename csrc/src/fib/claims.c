/* claims.c - checks whether a node may be published: its addresses, prefixes and flows must make sense, and its
 * addresses and prefixes must not be another node's. */
#include <inttypes.h>
#include <stdio.h>

#include "../rules/layout.h"
#include "search.h"

int fc_fib_address_is_bad(const fc_address *a)
{
    return a->version == 4 ? a->words[0] || a->words[1] > UINT32_MAX : a->version != 6;
}

static int is_bad(fib_fault *fault, const char *list, uint32_t index, const char *field, const char *what)
{
    *fault = (fib_fault){list, index, field, what};
    return FC_EINVAL;
}

static const char *prefix_fault(const fc_address *a)
{
    uint64_t network[2];
    if (fc_fib_address_is_bad(a))
        return "no IPv4 or IPv6 address";
    if (a->length > (a->version == 4 ? 32 : 128))
        return "longer than an address";
    fib_mask(a->words, a->version, a->length, network);
    return network[0] != a->words[0] || network[1] != a->words[1] ? "has bits beyond its length" : NULL;
}

static int check_flow(const fc_node *node, uint32_t index, fib_fault *fault)
{
    const fc_flow *f = &node->flows[index];
    const char *rule = fc_rule_fault(&f->rule);
    if (f->action < FC_ACTION_FORWARD || f->action > FC_ACTION_NCAST)
        return is_bad(fault, "flows", index, ".action: ", "none of forward, discard and n-cast");
    if (rule)
        return is_bad(fault, "flows", index, ".rule.", rule);
    if (f->targets > node->n_flow_targets || f->n_targets > node->n_flow_targets - f->targets)
        return is_bad(fault, "flows", index, ".targets: ", "reaches beyond flow_targets");
    for (uint32_t i = f->targets; i < f->targets + f->n_targets; i++)
        if (node->flow_targets[i] >= node->n_targets)
            return is_bad(fault, "flow_targets", i, ": ", "no index into targets");
    return FC_OK;
}

int fc_fib_check_node(const fc_node *node, fib_fault *fault)
{
    static const char most_addresses[] = "at most 255", most_others[] = "at most 65,535";
    const char *too_many = node->n_flows > FC_MAX_FLOWS          ? "n_flows: "
                           : node->n_targets > FC_MAX_TARGETS    ? "n_targets: "
                           : node->n_also > FC_MAX_ADDRESSES     ? "n_also: "
                           : node->n_prefixes > FC_MAX_ADDRESSES ? "n_prefixes: "
                                                                 : NULL;
    if (too_many) {
        int addresses = node->n_flows <= FC_MAX_FLOWS && node->n_targets <= FC_MAX_TARGETS;
        (void)is_bad(fault, NULL, 0, too_many, addresses ? most_addresses : most_others);
        return FC_ELIMIT;
    }
    if (fc_fib_address_is_bad(&node->home))
        return is_bad(fault, NULL, 0, "home: ", "no IPv4 or IPv6 address");
    if (node->default_target != FC_NO_TARGET && node->default_target >= node->n_targets)
        return is_bad(fault, NULL, 0, "default_target: ", "no index into targets");
    for (uint32_t i = 0; i < node->n_also; i++)
        if (fc_fib_address_is_bad(&node->also[i]))
            return is_bad(fault, "also", i, ": ", "no IPv4 or IPv6 address");
    for (uint32_t i = 0; i < node->n_prefixes; i++)
        if (prefix_fault(&node->prefixes[i]))
            return is_bad(fault, "prefixes", i, ": ", prefix_fault(&node->prefixes[i]));
    for (uint32_t i = 0; i < node->n_targets; i++)
        if (node->targets[i].version != 4 && node->targets[i].version != 6)
            return is_bad(fault, "targets", i, ".version: ", "neither 4 nor 6");
    for (uint32_t i = 0; i < node->n_flows; i++)
        if (check_flow(node, i, fault) != FC_OK)
            return FC_EINVAL;
    return FC_OK;
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

int fc_fib_check_claims(const fc_fib *fib, const fc_node *node, const fib_record **old, uint32_t *old_ref,
                        fib_fault *fault)
{
    uint32_t ref;
    const fib_record *r;
    int found = fc_fib_find_home(fib, &node->home, &r, old_ref);
    *old = found == FC_OK ? r : NULL;
    if (found == FC_EEXIST) {
        *fault = (fib_fault){NULL, 0, "home: ", "another node's"};
        return FC_EEXIST;
    }
    for (int prefixes = 0; prefixes < 2; prefixes++) {
        const fc_address *list = prefixes ? node->prefixes : node->also;
        uint32_t n = prefixes ? node->n_prefixes : node->n_also;
        for (uint32_t i = 0; i < n; i++) {
            int twice =
                fc_fib_listed(&list[i], list, i, prefixes) || (!prefixes && same_address(&list[i], &node->home, 0));
            r = owner_of(fib, &list[i], prefixes, &ref);
            if (!twice && (!r || r == *old))
                continue;
            *fault = (fib_fault){prefixes ? "prefixes" : "also", i, ": ", twice ? "given twice" : "another node's"};
            return FC_EEXIST;
        }
    }
    return FC_OK;
}

int fc_fib_check(fc_fib *fib, const fc_node *node, char *text, size_t room)
{
    fib_fault fault = {NULL, 0, "", ""};
    const fib_record *old;
    uint32_t ref;
    int status = fc_fib_check_node(node, &fault);
    if (status == FC_OK) {
        pthread_mutex_lock(&fib->writer);
        status = fc_fib_check_claims(fib, node, &old, &ref, &fault);
        pthread_mutex_unlock(&fib->writer);
    }
    if (text && room && fault.list)
        snprintf(text, room, "%s[%" PRIu32 "]%s%s", fault.list, fault.index, fault.field, fault.what);
    else if (text && room)
        snprintf(text, room, "%s%s", fault.field, fault.what);
    return status;
}
