/* rule.c - what a rule is: the meaning of one, field by field, which every table and kernel is checked against, and
 * which rows are rules at all. */
#include "../common/wide.h"
#include "layout.h"

int fc_rule_matches(const fc_rule *r, const fc_key *k)
{
    if (k->version != 4 && k->version != 6)
        return 0;
    if (r->version != 0 && r->version != k->version)
        return 0;
    if (r->conditions & ~k->present)
        return 0;
    if ((r->conditions & FC_SOURCE) && (fc_below(k->source, r->source_first) || fc_below(r->source_last, k->source)))
        return 0;
    if ((r->conditions & FC_DESTINATION) &&
        (fc_below(k->destination, r->destination_first) || fc_below(r->destination_last, k->destination)))
        return 0;
    if ((r->conditions & FC_FLOW_LABEL) && (k->flow_label < r->flow_label_first || k->flow_label > r->flow_label_last))
        return 0;
    if ((r->conditions & FC_SPI) && (k->spi < r->spi_first || k->spi > r->spi_last))
        return 0;
    if ((r->conditions & FC_SOURCE_PORT) &&
        (k->source_port < r->source_port_first || k->source_port > r->source_port_last))
        return 0;
    if ((r->conditions & FC_DESTINATION_PORT) &&
        (k->destination_port < r->destination_port_first || k->destination_port > r->destination_port_last))
        return 0;
    if ((r->conditions & FC_TRAFFIC_CLASS) &&
        (k->traffic_class >> 2 < r->traffic_class_first >> 2 || k->traffic_class >> 2 > r->traffic_class_last >> 2))
        return 0;
    if ((r->conditions & FC_PROTOCOL) && (k->protocol < r->protocol_first || k->protocol > r->protocol_last))
        return 0;
    return 1;
}

int fc_rule_valid(const fc_rule *r)
{
    int c = r->conditions;
    if (r->version != 0 && r->version != 4 && r->version != 6)
        return 0;
    if (r->version == 0 && (c & (FC_SOURCE | FC_DESTINATION)))
        return 0;
    if (r->version == 4 && (((c & FC_SOURCE) && (r->source_last[0] || r->source_last[1] >> 32)) ||
                            ((c & FC_DESTINATION) && (r->destination_last[0] || r->destination_last[1] >> 32))))
        return 0;
    if ((c & FC_FLOW_LABEL) && r->flow_label_last >> 20)
        return 0;
    return !((c & FC_SOURCE) && fc_below(r->source_last, r->source_first)) &&
           !((c & FC_DESTINATION) && fc_below(r->destination_last, r->destination_first)) &&
           !((c & FC_FLOW_LABEL) && r->flow_label_first > r->flow_label_last) &&
           !((c & FC_SPI) && r->spi_first > r->spi_last) &&
           !((c & FC_SOURCE_PORT) && r->source_port_first > r->source_port_last) &&
           !((c & FC_DESTINATION_PORT) && r->destination_port_first > r->destination_port_last) &&
           !((c & FC_TRAFFIC_CLASS) && r->traffic_class_first > r->traffic_class_last) &&
           !((c & FC_PROTOCOL) && r->protocol_first > r->protocol_last);
}
