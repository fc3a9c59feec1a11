/* memory.h - large blocks and reserved address space. */
#ifndef FC_MEMORY_H
#define FC_MEMORY_H

#include <stddef.h>

void *fc_big_alloc(size_t size); /* 64-octet aligned; from 2 MiB up on huge pages where the system has them */
void fc_big_free(void *p);
void *fc_reserve(size_t octets); /* address space, touched page by page; NULL when there is none */
void *fc_zeros(size_t octets);   /* the same, but on huge pages where the system has them; all 0 */
void fc_unreserve(void *p, size_t octets);

#endif
