/* The meaning of a rule, one field at a time: what every table and kernel is checked against. */
#include "flowclass.h"

static int below(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] != b[0] ? a[0] < b[0] : a[1] < b[1];
}

int fc_rule_matches(const fc_rule *r, const fc_key *k)
{
    if (k->version != 4 && k->version != 6)
        return 0;
    if (r->version != 0 && r->version != k->version)
        return 0;
    if (r->conditions & ~k->present)
        return 0;
    if ((r->conditions & FC_SOURCE) && (below(k->source, r->source_first) || below(r->source_last, k->source)))
        return 0;
    if ((r->conditions & FC_DESTINATION) &&
        (below(k->destination, r->destination_first) || below(r->destination_last, k->destination)))
        return 0;
    if ((r->conditions & FC_FLOW_LABEL) &&
        (k->flow_label < r->flow_label_first || k->flow_label > r->flow_label_last))
        return 0;
    if ((r->conditions & FC_SPI) && (k->spi < r->spi_first || k->spi > r->spi_last))
        return 0;
    if ((r->conditions & FC_SOURCE_PORT) &&
        (k->source_port < r->source_port_first || k->source_port > r->source_port_last))
        return 0;
    if ((r->conditions & FC_DESTINATION_PORT) &&
        (k->destination_port < r->destination_port_first || k->destination_port > r->destination_port_last))
        return 0;
    if ((r->conditions & FC_TRAFFIC_CLASS) && (k->traffic_class >> 2 < r->traffic_class_first >> 2 ||
                                               k->traffic_class >> 2 > r->traffic_class_last >> 2))
        return 0;
    if ((r->conditions & FC_PROTOCOL) && (k->protocol < r->protocol_first || k->protocol > r->protocol_last))
        return 0;
    return 1;
}
