/* vector.c - leaves of hundreds or thousands of rules that no node can tell apart: bit vectors.
 *
 * A set may be made so that nearly all of its rules meet in one region without any covering it (boxes around one
 * header, each narrow in another field). Then every node that divides them copies most of them. Such a leaf is not
 * divided any more. The values of each field that some of its rules ask for are cut into intervals, and each interval
 * has a row of bits, one for each rule in priority order: 1 where the rule has values in the interval. One more row is
 * for keys that lack the field: 1 where the rule does not ask for it. A rule can match a key only if its bit is 1 in
 * the rows of all of the key's fields, so the rows are ANDed, 512 rules at a time, and the rules left over are compared
 * one by one, the first first. (T. V. Lakshman and D. Stiliadis, SIGCOMM 1998.)
 *
 * Example: five rules with two ports each, and the rows for the first port. Intervals begin at 0 and wherever a range
 * begins or has ended.
 *
 *      rule       0          1          2          3          4               first  row (rule 0 on the left)
 *      ports   10-19,5    10-29,6    20-29,5     any,7     15-25,any             0   00010
 *                                                                               10   11010
 *      key (16, 7): row 15 of the first port, 11011; row 7 of the               15   11011
 *      second, 00011; both: 00011. Rule 3 is compared and matches.              20   01111
 *                                                                               26   01110
 *                                                                               30   00010
 *                                                                             none   00010
 *
 * Exact rows would be n * 2n bits a field. So intervals are merged until a vector has at most OCTETS octets a rule; a
 * merged one has a 1 where the rule has values in a part of it. Rows then claim too much, never too little, and as
 * every rule left over is compared anyway, answers stay right. About equally many ends of ranges fall inside each
 * merged interval; an end that many rules share begins an interval of its own. Hence at most 2n/K rules are compared in
 * vain for each field of K intervals.
 *
 * A look-up takes one load and one AND for each field and each 512 rules: 100 of them for 10,000 rules of five fields,
 * where comparing the bodies would take 10,000 loads. So the work is linear in the number of rules: 64,000 rules in
 * eight fields take 1 us, a million (no known family of sets comes near) 5 to 10 us. To fill the rows, two bits are set
 * for each rule and field, in the row where the rule begins and in the first one after it has ended. Then one pass over
 * the rows makes each of them the one before it with these bits toggled. */
#include <stdlib.h>

#include "build.h"

#define OCTETS 256 /* a vector's rows have at most so many octets for each rule */

static int same_value(fc_value a, fc_value b) { return a.high == b.high && a.low == b.low; }

/* Sets the first and the last value that a rule takes in a field. Returns 0 when it does not ask for the field. */
static int span_of(const fc_rule *r, int field, fc_value *first, fc_value *last)
{
    if (!(r->conditions >> field & 1))
        return 0;
    fc_rule_range(r, field, first, last);
    return 1;
}

/* Sorts the n values at `a` into rising order, with `b` as further room, octet by octet; octets that are the same in
 * all values are left out. Returns where the result is: `a` or `b`. */
static fc_value *sorted(fc_value *a, fc_value *b, uint32_t n)
{
    fc_value any = {0, 0}, all = {UINT64_MAX, UINT64_MAX};
    for (uint32_t i = 0; i < n; i++) {
        any.high |= a[i].high, any.low |= a[i].low;
        all.high &= a[i].high, all.low &= a[i].low;
    }
    for (int octet = 0; octet < 16; octet++) {
        uint32_t at[257] = {0};
        int shift = 8 * (octet & 7), high = octet > 7;
        if (((high ? any.high ^ all.high : any.low ^ all.low) >> shift & 0xff) == 0)
            continue;
        for (uint32_t i = 0; i < n; i++)
            at[((high ? a[i].high : a[i].low) >> shift & 0xff) + 1]++;
        for (int k = 0; k < 256; k++)
            at[k + 1] += at[k];
        for (uint32_t i = 0; i < n; i++)
            b[at[(high ? a[i].high : a[i].low) >> shift & 0xff]++] = a[i];
        fc_value *t = a;
        a = b;
        b = t;
    }
    return a;
}

static const fc_rule *rule_at(const fc_forest *f, const fc_rule *rules, uint32_t number)
{
    return &rules[f->rank ? f->rank[number] : number];
}

static int has_wide_values(const fc_forest *f, int field)
{
    return f->version == 6 && (1 << field) & (FC_SOURCE | FC_DESTINATION);
}

/* Collects the *m values at which ranges of a field begin or have just ended, rising, at *ends. `memory` has room for
 * 4 * n values. Returns how many rules ask for the field. */
static uint32_t collect_ends(const fc_forest *f, const fc_rule *rules, const uint32_t *list, uint32_t n, int field,
                             fc_value *memory, fc_value **ends, uint32_t *m)
{
    const fc_value zero = {0, 0};
    uint32_t asking = 0;
    int wide = has_wide_values(f, field);
    *m = 0;
    for (uint32_t i = 0; i < n; i++) {
        fc_value first, last;
        if (!span_of(rule_at(f, rules, list[i]), field, &first, &last))
            continue;
        asking++;
        if (!same_value(first, zero))
            memory[(*m)++] = first;
        last.high += ++last.low == 0;
        if (!same_value(last, zero) && (wide || last.low <= UINT32_MAX)) /* else above what any key has */
            memory[(*m)++] = last;
    }
    *ends = sorted(memory, memory + 2 * (size_t)n, *m);
    return asking;
}

/* How many octets the first values of a field's intervals take. */
static size_t first_octets(const struct fc_vector_field *field)
{
    return field->wide ? sizeof(fc_value) * (size_t)field->rows : 4 * (32 + (size_t)(field->rows + 31) / 32 * 32);
}

static void write_first(const struct fc_vector_field *field, const fc_value *first, uint8_t *to)
{
    uint32_t *narrow = (uint32_t *)to, rows = field->rows, padded = (rows + 31) / 32 * 32;
    if (field->wide) {
        memcpy(to, first, sizeof(*first) * (size_t)rows);
        return;
    }
    for (uint32_t i = 0; i < 32; i++)
        narrow[i] = 32 * i < rows ? (uint32_t)first[32 * i].low : UINT32_MAX;
    for (uint32_t i = 0; i < padded; i++)
        narrow[32 + i] = i < rows ? (uint32_t)first[i].low : UINT32_MAX;
}

/* Cuts the values of a field into intervals with at most `most` of the n ends inside, and writes their first values to
 * `first` unless that is NULL. Returns how many intervals there are, or some number above `limit` if there are more
 * than that. */
static uint32_t cut_intervals(const fc_value *ends, uint32_t n, uint32_t most, uint32_t limit, fc_value *first)
{
    uint32_t rows = 1, inside = 0, equal;
    if (first)
        first[0] = (fc_value){0, 0};
    for (uint32_t i = 0; i < n && rows <= limit; i += equal) {
        for (equal = 1; i + equal < n && same_value(ends[i + equal], ends[i]);)
            equal++;
        inside += equal;
        if (inside <= most)
            continue;
        if (first)
            first[rows] = ends[i];
        rows++;
        inside = 0;
    }
    return rows;
}

static uint32_t units(size_t octets) { return (uint32_t)((octets + 63) / 64); }

int fc_vector_shape(const fc_forest *f, const fc_rule *rules, const uint32_t *list, uint32_t n, fc_vector_plan *p)
{
    fc_value *memory = malloc(4 * sizeof(*memory) * (size_t)n), *ends;
    uint32_t need[32] = {0}, rows = 0, k = 0, m;
    if (memory == NULL)
        return FC_ENOMEM;
    p->n = n;
    p->blocks = (n + 511) / 512;
    uint32_t limit = (uint32_t)((uint64_t)OCTETS * n / (64 * (uint64_t)p->blocks));
    limit = limit < FC_VECTOR_ROWS ? limit : FC_VECTOR_ROWS;
    /* find how many ends an interval may have inside: the least of 0, 1, 3, 7 ... with which all fields together need
     * no more rows than the limit */
    for (int field = 0; field < FC_FIELDS; field++) {
        if (collect_ends(f, rules, list, n, field, memory, &ends, &m)) {
            uint32_t here = 0;
            for (k = 0; k < 32; k++) {
                if (here != 1) /* else one interval has all ends inside, and with more allowed it still has */
                    here = need[k] <= limit ? cut_intervals(ends, m, (1u << k) - 1, limit - need[k], NULL) : 0;
                need[k] += here <= FC_NARROW_ROWS ? here : limit + 1;
            }
        }
    }
    for (k = 0; k < 31 && need[k] > limit;)
        k++;
    p->fields = 0;
    for (int field = 0; field < FC_FIELDS; field++) {
        if (!collect_ends(f, rules, list, n, field, memory, &ends, &m))
            continue;
        uint32_t here = cut_intervals(ends, m, (1u << k) - 1, FC_VECTOR_ROWS - rows, p->first + rows);
        p->field[p->fields++] = (struct fc_vector_field){
            .field = (uint16_t)field, .wide = (uint16_t)has_wide_values(f, field), .rows = here};
        rows += here;
    }
    if (p->fields == 0) { /* no rule asks for any field */
        p->field[p->fields++] = (struct fc_vector_field){.rows = 1};
        p->first[rows++] = (fc_value){0, 0};
    }
    p->units = units(sizeof(fc_vector) + p->fields * sizeof(struct fc_vector_field)) + units(4 * (size_t)n);
    for (uint32_t i = 0; i < p->fields; i++)
        p->units += units(first_octets(&p->field[i])) + (p->field[i].rows + 1) * p->blocks;
    free(memory);
    return FC_OK;
}

static void fill_rows(const fc_forest *f, const fc_rule *rules, const fc_vector_plan *p,
                      const struct fc_vector_field *field, const fc_value *first, const uint32_t *list, uint64_t *row)
{
    size_t words = 8 * (size_t)p->blocks;
    memset(row, 0, (field->rows + 1) * words * 8);
    for (uint32_t k = 0; k < p->n; k++) {
        fc_value from, to;
        uint64_t bit = 1ull << (k & 63);
        if (!span_of(rule_at(f, rules, list[k]), (int)field->field, &from, &to)) {
            row[k / 64] ^= bit;
            row[field->rows * words + k / 64] = row[field->rows * words + k / 64] | bit;
            continue;
        }
        uint32_t after = fc_vector_interval(first, field->rows, to) + 1;
        row[fc_vector_interval(first, field->rows, from) * words + k / 64] ^= bit;
        if (after < field->rows)
            row[after * words + k / 64] ^= bit;
    }
    for (size_t w = words; w < field->rows * words; w++)
        row[w] ^= row[w - words];
}

void fc_vector_fill(const fc_forest *f, const fc_rule *rules, const fc_vector_plan *p, const uint32_t *list,
                    uint8_t *to)
{
    fc_vector *v = (fc_vector *)to;
    uint32_t at = units(sizeof(*v) + p->fields * sizeof(v->field[0])), done = 0;
    *v = (fc_vector){.n = p->n, .blocks = p->blocks, .fields = p->fields, .units = p->units, .numbers = at};
    memcpy(to + (size_t)at * 64, list, 4 * (size_t)p->n);
    at += units(4 * (size_t)p->n);
    for (uint32_t i = 0; i < p->fields; i++) {
        v->field[i] = p->field[i];
        v->field[i].first = at;
        write_first(&p->field[i], p->first + done, to + (size_t)at * 64);
        at += units(first_octets(&p->field[i]));
        v->field[i].row = at;
        fill_rows(f, rules, p, &v->field[i], p->first + done, list, (uint64_t *)(to + (size_t)at * 64));
        at += (p->field[i].rows + 1) * p->blocks;
        done += p->field[i].rows;
    }
}
