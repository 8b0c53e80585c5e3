/* Makes every flush of a file to disk slower by SLOW_FLUSH_US microseconds: load it with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*flush)(int);

static flush real_fsync, real_fdatasync;
static struct timespec extra;

__attribute__((constructor)) static void prepare(void) {
    const char *text = getenv("SLOW_FLUSH_US");
    long us = text ? atol(text) : 0;
    extra.tv_sec = us / 1000000;
    extra.tv_nsec = us % 1000000 * 1000;
    real_fsync = (flush)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (flush)dlsym(RTLD_NEXT, "fdatasync");
}

int fsync(int file) {
    nanosleep(&extra, NULL);
    return real_fsync(file);
}

int fdatasync(int file) {
    nanosleep(&extra, NULL);
    return real_fdatasync(file);
}
