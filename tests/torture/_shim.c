/* Stands between a process and the system calls that it makes on the files of one database.
 *
 * Loaded with LD_PRELOAD; `_shim.py` compiles it and drives it through the functions that begin with `shim_`. It
 * watches every path that begins with the prefix it was given: `x.db` stands for `x.db-wal`, `x.db.lock` and the rest,
 * and for the directory that holds them. Calls on other files pass.
 *
 * What it does with a watched call is in `struct control`: nothing, or at the nth matching call a fault. The struct may
 * lie in shared memory (`shim_share`), so that a parent steers the children that it forks. Independently of that, calls
 * that change what is on disk can be written to a log, one record a call, for replaying a power loss.
 *
 * A write is logged before it happens and a flush after it has succeeded: what the log says is on disk, is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The same numbers as in `_shim.py`. */
enum op { OPEN, READ, WRITE, SYNC, TRUNCATE, UNLINK, LOCK, FLOCK, MAP, STAT, THREAD, OPS };
enum file { OTHER, DATABASE, LOG, INDEX, JOURNAL, GUARD, WORKER, FOLDER, FILES };
enum action { NOTHING, KILL, KILL_HALFWAY, FAIL, FAIL_AFTER, SHORT, DELAY };
enum record { MARK = 'm', CREATED = 'c', OPENED = 'o', WRITTEN = 'w', SYNCED = 's', CUT = 't', UNLINKED = 'u' };

struct control {
    _Atomic int32_t action;      /* what happens … */
    _Atomic uint32_t ops;        /* … to which calls, a bit for each … */
    _Atomic uint32_t files;      /* … on which files … */
    _Atomic int32_t argument;    /* … with which error number, or for how many milliseconds … */
    _Atomic int64_t nth;         /* … from the nth matching call on, counted from 1 … */
    _Atomic int64_t times;       /* … and for how many; negative: for all. */
    _Atomic int64_t matched;     /* Matching calls so far. */
    _Atomic int64_t fired;       /* Faults so far. */
    _Atomic int32_t is_full;     /* No file may grow. */
    _Atomic int64_t refused;     /* Calls that were refused for that. */
    _Atomic int32_t hit;         /* The last call that a fault hit, and its file. */
    _Atomic int64_t calls[OPS];  /* All watched calls, by kind. */
};

#define FDS 4096
static unsigned char fd_file[FDS];
static struct control own, *control = &own;
static char prefix[4096];
static size_t prefix_length, folder_length;
static int log_fd = -1;

static void *next(const char *name, void **slot) {
    if (!*slot) *slot = dlsym(RTLD_NEXT, name);
    return *slot;
}
#define NEXT(type, name) static void *slot_##name; type = (__typeof__(real))next(#name, &slot_##name)

/* Which file a path is --------------------------------------------------------------------------------------------- */

static enum file file_of(const char *path) {
    if (!prefix_length || !path) return OTHER;
    if (strncmp(path, prefix, prefix_length)) {
        return !strncmp(path, prefix, folder_length) && !path[folder_length] ? FOLDER : OTHER;
    }
    const char *rest = path + prefix_length;
    if (!*rest) return DATABASE;
    if (!strcmp(rest, "-wal")) return LOG;
    if (!strcmp(rest, "-shm")) return INDEX;
    if (!strcmp(rest, "-journal")) return JOURNAL;
    if (!strcmp(rest, ".lock")) return GUARD;
    if (!strncmp(rest, ".workers", 8)) return WORKER;
    return OTHER;
}

static enum file file_of_fd(int fd) { return fd >= 0 && fd < FDS ? fd_file[fd] : OTHER; }

/* The log: header and payload in one write, so that records of several processes do not mix ------------------------- */

struct header { uint8_t kind, file; uint16_t unused; uint32_t length; uint64_t inode; int64_t offset; };

static void record(enum record kind, enum file file, uint64_t inode, int64_t offset, const void *data, size_t length) {
    static char buffer[sizeof(struct header) + (1 << 17)];
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static ssize_t (*real)(int, const void *, size_t);
    NEXT(real, write);
    if (log_fd < 0 || length > sizeof buffer - sizeof(struct header)) return;
    int before = errno;
    pthread_mutex_lock(&mutex);
    struct header header = {kind, file, 0, (uint32_t)length, inode, offset};
    memcpy(buffer, &header, sizeof header);
    if (length) memcpy(buffer + sizeof header, data, length);
    if (real(log_fd, buffer, sizeof header + length) != (ssize_t)(sizeof header + length)) _exit(97);
    pthread_mutex_unlock(&mutex);
    errno = before;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    static int (*real)(int, struct stat *);
    NEXT(real, fstat);
    int before = errno;
    uint64_t inode = real(fd, &found) ? 0 : found.st_ino;
    errno = before;
    return inode;
}

/* Faults ----------------------------------------------------------------------------------------------------------- */

static void wait_ms(int ms) {
    struct timespec time = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&time, &time)) {}
}

/* Return what shall happen to this call. */
static enum action decide(enum op op, enum file file, int *argument) {
    if (!file && op != THREAD) return NOTHING;
    control->calls[op]++;
    enum action action = control->action;
    if (!action || !(control->ops >> op & 1) || !(control->files >> file & 1)) return NOTHING;
    int64_t count = ++control->matched;
    if (count < control->nth || (control->times >= 0 && count >= control->nth + control->times)) return NOTHING;
    control->fired++;
    control->hit = (int32_t)op * FILES + (int32_t)file;
    *argument = control->argument;
    if (action == KILL) kill(getpid(), SIGKILL);
    if (action == DELAY) {
        wait_ms(*argument);
        return NOTHING;
    }
    return action;
}

/* The beginning of every call that returns an int or a size: fails it, or goes on with `action`. */
#define FAULT(op, file) \
    int number = 0; \
    enum action action = decide(op, file, &number); \
    if (action == FAIL) { errno = number; return -1; }

/* Its end: the call has been made, and may be said to have failed. */
#define RESULT(result) \
    do { if (action == FAIL_AFTER) { errno = number; return -1; } return result; } while (0)

static int refuses_growth(enum file file, int fd, off_t end) {
    static int (*real)(int, struct stat *);
    NEXT(real, fstat);
    struct stat found;
    if (!file || !control->is_full || real(fd, &found) || end <= found.st_size) return 0;
    control->refused++;
    errno = ENOSPC;
    return 1;
}

/* The calls -------------------------------------------------------------------------------------------------------- */

static int opened(int fd, const char *path, enum file file, int existed) {
    if (fd >= 0 && fd < FDS) fd_file[fd] = file;
    if (fd >= 0 && file && log_fd >= 0 && file != FOLDER) {
        record(existed ? OPENED : CREATED, file, inode_of(fd), 0, path, strlen(path));
    }
    return fd;
}

static int exists(const char *path) {
    int before = errno, found = !access(path, F_OK);
    errno = before;
    return found;
}

#define OPEN_AS(name) \
    EXPORT int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        NEXT(real, name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        enum file file = file_of(path); \
        if (!file) return opened(real(path, flags, mode), path, file, 1); \
        FAULT(OPEN, file) \
        int existed = exists(path); \
        if (!existed && (flags & O_CREAT) && control->is_full) { control->refused++; errno = ENOSPC; return -1; } \
        int fd = opened(real(path, flags, mode), path, file, existed); \
        RESULT(fd); \
    }
OPEN_AS(open)
OPEN_AS(open64)

#define OPENAT_AS(name) \
    EXPORT int name(int folder, const char *path, int flags, ...) { \
        static int (*real)(int, const char *, int, ...); \
        NEXT(real, name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        enum file file = file_of(path); \
        if (!file) return opened(real(folder, path, flags, mode), path, file, 1); \
        FAULT(OPEN, file) \
        int existed = exists(path); \
        int fd = opened(real(folder, path, flags, mode), path, file, existed); \
        RESULT(fd); \
    }
OPENAT_AS(openat)
OPENAT_AS(openat64)

EXPORT int close(int fd) {
    static int (*real)(int);
    NEXT(real, close);
    if (fd >= 0 && fd < FDS) fd_file[fd] = OTHER;
    return real(fd);
}

#define PREAD_AS(name) \
    EXPORT ssize_t name(int fd, void *data, size_t length, off_t offset) { \
        static ssize_t (*real)(int, void *, size_t, off_t); \
        NEXT(real, name); \
        FAULT(READ, file_of_fd(fd)) \
        ssize_t result = real(fd, data, action == SHORT ? length / 2 : length, offset); \
        RESULT(result); \
    }
PREAD_AS(pread)
PREAD_AS(pread64)

EXPORT ssize_t read(int fd, void *data, size_t length) {
    static ssize_t (*real)(int, void *, size_t);
    NEXT(real, read);
    FAULT(READ, file_of_fd(fd))
    ssize_t result = real(fd, data, action == SHORT ? length / 2 : length);
    RESULT(result);
}

#define PWRITE_AS(name) \
    EXPORT ssize_t name(int fd, const void *data, size_t length, off_t offset) { \
        static ssize_t (*real)(int, const void *, size_t, off_t); \
        NEXT(real, name); \
        enum file file = file_of_fd(fd); \
        FAULT(WRITE, file) \
        if (refuses_growth(file, fd, offset + (off_t)length)) return -1; \
        if (action == SHORT || action == KILL_HALFWAY) length /= 2; \
        if (file && log_fd >= 0) record(WRITTEN, file, inode_of(fd), offset, data, length); \
        ssize_t result = real(fd, data, length, offset); \
        if (action == KILL_HALFWAY) kill(getpid(), SIGKILL); \
        RESULT(result); \
    }
PWRITE_AS(pwrite)
PWRITE_AS(pwrite64)

EXPORT ssize_t write(int fd, const void *data, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    NEXT(real, write);
    enum file file = file_of_fd(fd);
    FAULT(WRITE, file)
    if (action == SHORT || action == KILL_HALFWAY) length /= 2;
    if (file && log_fd >= 0) record(WRITTEN, file, inode_of(fd), lseek(fd, 0, SEEK_CUR), data, length);
    ssize_t result = real(fd, data, length);
    if (action == KILL_HALFWAY) kill(getpid(), SIGKILL);
    RESULT(result);
}

#define SYNC_AS(name) \
    EXPORT int name(int fd) { \
        static int (*real)(int); \
        NEXT(real, name); \
        enum file file = file_of_fd(fd); \
        FAULT(SYNC, file) \
        int result = real(fd); \
        if (!result && file && log_fd >= 0) record(SYNCED, file, inode_of(fd), 0, "", 0); \
        RESULT(result); \
    }
SYNC_AS(fsync)
SYNC_AS(fdatasync)

#define TRUNCATE_AS(name) \
    EXPORT int name(int fd, off_t length) { \
        static int (*real)(int, off_t); \
        NEXT(real, name); \
        enum file file = file_of_fd(fd); \
        FAULT(TRUNCATE, file) \
        if (refuses_growth(file, fd, length)) return -1; \
        if (file && log_fd >= 0) record(CUT, file, inode_of(fd), length, "", 0); \
        int result = real(fd, length); \
        RESULT(result); \
    }
TRUNCATE_AS(ftruncate)
TRUNCATE_AS(ftruncate64)

EXPORT int unlink(const char *path) {
    static int (*real)(const char *);
    NEXT(real, unlink);
    enum file file = file_of(path);
    FAULT(UNLINK, file)
    int result = real(path);
    if (!result && file && log_fd >= 0) record(UNLINKED, file, 0, 0, path, strlen(path));
    RESULT(result);
}

EXPORT int unlinkat(int folder, const char *path, int flags) {
    static int (*real)(int, const char *, int);
    NEXT(real, unlinkat);
    enum file file = file_of(path);
    FAULT(UNLINK, file)
    int result = real(folder, path, flags);
    if (!result && file && log_fd >= 0) record(UNLINKED, file, 0, 0, path, strlen(path));
    RESULT(result);
}

#define FCNTL_AS(name) \
    EXPORT int name(int fd, int command, ...) { \
        static int (*real)(int, int, ...); \
        NEXT(real, name); \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        int takes = (command == F_SETLK || command == F_SETLKW) && ((struct flock *)argument)->l_type != F_UNLCK; \
        if (!takes) return real(fd, command, argument); /* giving up a lock does not fail */ \
        FAULT(LOCK, file_of_fd(fd)) \
        int result = real(fd, command, argument); \
        RESULT(result); \
    }
FCNTL_AS(fcntl)
FCNTL_AS(fcntl64)

EXPORT int flock(int fd, int operation) {
    static int (*real)(int, int);
    NEXT(real, flock);
    if (operation & LOCK_UN) return real(fd, operation);
    FAULT(FLOCK, file_of_fd(fd))
    int result = real(fd, operation);
    RESULT(result);
}

#define STAT_AS(name, type) \
    EXPORT int name(int fd, struct type *found) { \
        static int (*real)(int, struct type *); \
        NEXT(real, name); \
        FAULT(STAT, file_of_fd(fd)) \
        int result = real(fd, found); \
        RESULT(result); \
    }
STAT_AS(fstat, stat)
STAT_AS(fstat64, stat64)

#define MAP_AS(name) \
    EXPORT void *name(void *at, size_t length, int protection, int flags, int fd, off_t offset) { \
        static void *(*real)(void *, size_t, int, int, int, off_t); \
        NEXT(real, name); \
        int number = 0; \
        enum file file = flags & MAP_ANONYMOUS ? OTHER : file_of_fd(fd); \
        enum action action = file ? decide(MAP, file, &number) : NOTHING; \
        if (action == FAIL) { errno = number; return MAP_FAILED; } \
        return real(at, length, protection, flags, fd, offset); \
    }
MAP_AS(mmap)
MAP_AS(mmap64)

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*what)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    NEXT(real, pthread_create);
    int number = 0;
    if (decide(THREAD, OTHER, &number) == FAIL) return EAGAIN;
    return real(thread, how, what, argument);
}

/* Control ---------------------------------------------------------------------------------------------------------- */

EXPORT void shim_watch(const char *path) {
    memset(fd_file, 0, sizeof fd_file);
    snprintf(prefix, sizeof prefix, "%s", path);
    prefix_length = strlen(prefix);
    const char *slash = strrchr(prefix, '/');
    folder_length = slash ? (size_t)(slash - prefix) : 0;
}

/* Let the children that are forked from now on share one control with this process, and with nobody else. */
EXPORT int shim_share(void) {
    static void *(*real)(void *, size_t, int, int, int, off_t);
    NEXT(real, mmap);
    void *shared = real(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return -1;
    control = shared;
    return 0;
}

EXPORT void shim_disarm(void) { control->action = NOTHING; }

EXPORT void shim_arm(int action, unsigned ops, unsigned files, int argument, long nth, long times) {
    control->action = NOTHING;
    control->ops = ops;
    control->files = files;
    control->argument = argument;
    control->nth = nth;
    control->times = times;
    control->matched = control->fired = 0;
    control->action = action;
}

EXPORT void shim_full(int is_full) { control->is_full = is_full; }
EXPORT long shim_fired(void) { return control->fired; }
EXPORT int shim_hit(void) { return control->hit; }
EXPORT long shim_matched(void) { return control->matched; }
EXPORT long shim_refused(void) { return control->refused; }
EXPORT long shim_calls(int op) { return op >= 0 && op < OPS ? control->calls[op] : -1; }
EXPORT void shim_log(int fd) { log_fd = fd; }
EXPORT void shim_mark(const char *text) { record(MARK, OTHER, 0, 0, text, strlen(text)); }
