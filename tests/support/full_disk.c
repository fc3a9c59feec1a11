/* full_disk.c - for reliability.py, by LD_PRELOAD: from the write number full_disk_at on, counted over a process and its
 * children, every write to a regular file fails as on a full disk. 0: no write fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

long full_disk_at;
static _Atomic long *writes; /* shared with children */

__attribute__((constructor)) static void begin(void)
{
    writes = mmap(NULL, sizeof *writes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void full_disk_begin(long at)
{
    full_disk_at = at;
    *writes = 0;
}

long full_disk_writes(void) { return *writes; }

static int is_full(int file)
{
    struct stat about;
    if (fstat(file, &about) || !S_ISREG(about.st_mode))
        return 0;
    long number = ++*writes;
    if (!full_disk_at || number < full_disk_at)
        return 0;
    errno = ENOSPC;
    return 1;
}

#define WRITER(type, name, parameters, file, arguments)                                                                \
    type name parameters                                                                                               \
    {                                                                                                                  \
        static type(*real) parameters;                                                                                 \
        if (!real)                                                                                                     \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                                        \
        return is_full(file) ? -1 : real arguments;                                                                    \
    }

WRITER(ssize_t, write, (int f, const void *p, size_t n), f, (f, p, n))
WRITER(ssize_t, writev, (int f, const struct iovec *p, int n), f, (f, p, n))
WRITER(ssize_t, pwrite, (int f, const void *p, size_t n, off_t at), f, (f, p, n, at))
WRITER(ssize_t, pwrite64, (int f, const void *p, size_t n, off_t at), f, (f, p, n, at))
WRITER(ssize_t, copy_file_range, (int from, off_t *a, int f, off_t *b, size_t n, unsigned flags), f,
       (from, a, f, b, n, flags))
WRITER(int, ftruncate, (int f, off_t size), f, (f, size))
WRITER(int, ftruncate64, (int f, off_t size), f, (f, size))
