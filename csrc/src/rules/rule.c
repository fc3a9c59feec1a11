/* rule.c - what a rule is: the meaning of one, field by field, which every table and kernel is checked against, and
 * which rows are rules at all. */
#include <stdio.h>

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

const char *fc_rule_fault(const fc_rule *r)
{
    int c = r->conditions;
    if (r->version != 0 && r->version != 4 && r->version != 6)
        return "version: neither 4 nor 6 nor 0";
    if (r->version == 0 && (c & (FC_SOURCE | FC_DESTINATION)))
        return "version: a condition on an address takes 4 or 6";
    if ((c & FC_SOURCE) && r->version == 4 && (r->source_last[0] || r->source_last[1] >> 32))
        return "source: more than 32 bits";
    if ((c & FC_DESTINATION) && r->version == 4 && (r->destination_last[0] || r->destination_last[1] >> 32))
        return "destination: more than 32 bits";
    if ((c & FC_FLOW_LABEL) && r->flow_label_last >> 20)
        return "flow_label: more than 20 bits";
    if ((c & FC_SOURCE) && fc_below(r->source_last, r->source_first))
        return "source: first is above last";
    if ((c & FC_DESTINATION) && fc_below(r->destination_last, r->destination_first))
        return "destination: first is above last";
    if ((c & FC_FLOW_LABEL) && r->flow_label_first > r->flow_label_last)
        return "flow_label: first is above last";
    if ((c & FC_SPI) && r->spi_first > r->spi_last)
        return "spi: first is above last";
    if ((c & FC_SOURCE_PORT) && r->source_port_first > r->source_port_last)
        return "source_port: first is above last";
    if ((c & FC_DESTINATION_PORT) && r->destination_port_first > r->destination_port_last)
        return "destination_port: first is above last";
    if ((c & FC_TRAFFIC_CLASS) && r->traffic_class_first > r->traffic_class_last)
        return "traffic_class: first is above last";
    if ((c & FC_PROTOCOL) && r->protocol_first > r->protocol_last)
        return "protocol: first is above last";
    return NULL;
}

int fc_rule_check(const fc_rule *rule, char *text, size_t room)
{
    const char *fault = fc_rule_fault(rule);
    if (text && room)
        snprintf(text, room, "%s", fault ? fault : "");
    return fault ? FC_EINVAL : FC_OK;
}
