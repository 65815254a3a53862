/* Preloaded into a process: counts the calls that change a folder, logs them, and lets one of them fail or kill. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct plan {
    atomic_long count; /* calls so far, of all processes */
    long at;           /* the call that fails; 0 for none */
    long error;        /* errno of it; negative for SIGKILL to the group */
    long onwards;      /* 1: every later call that needs space fails too, as on a full disk */
    char folder[4096]; /* only what happens below it counts */
    char log[4096];
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *path = getenv("FAULT_PLAN");
    int handle = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR) : -1;
    if (handle < 0)
        return;
    void *found = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    plan = found == MAP_FAILED ? NULL : found;
    close(handle);
}

/* Returns 1, with errno set, where the call must fail. */
static int fails(const char *call, const char *path, int needs_space)
{
    char line[12400];
    if (!plan || !plan->folder[0] || strncmp(path, plan->folder, strlen(plan->folder)))
        return 0;
    long number = atomic_fetch_add(&plan->count, 1) + 1;
    int handle = (int)syscall(SYS_openat, AT_FDCWD, plan->log, O_WRONLY | O_APPEND | O_CREAT, 0666);
    int length = snprintf(line, sizeof line, "%s %s\n", call, path + strlen(plan->folder));
    if (handle >= 0) {
        syscall(SYS_write, handle, line, length);
        close(handle);
    }
    if (number != plan->at && !(plan->onwards && plan->at && number > plan->at && needs_space))
        return 0;
    if (plan->error < 0)
        kill(0, SIGKILL); /* the whole group: a process and its workers */
    errno = (int)plan->error;
    return 1;
}

static int fails_at(const char *call, int handle, int needs_space)
{
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(call, path, needs_space);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = va_arg(rest, int);                                                                                  \
        va_end(rest);                                                                                                  \
        return (flags & O_CREAT) && fails("create", path, 1) ? -1 : NEXT(name)(path, flags, mode);                     \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int handle, const void *bytes, size_t count)
{
    return fails_at("write", handle, 1) ? -1 : NEXT(write)(handle, bytes, count);
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream)
{
    return fails_at("write", fileno(stream), 1) ? 0 : NEXT(fwrite)(bytes, size, count, stream);
}

int fsync(int handle) { return fails_at("sync", handle, 0) ? -1 : NEXT(fsync)(handle); }

int rename(const char *from, const char *to)
{
    char call[4200];
    snprintf(call, sizeof call, "rename %s", strrchr(from, '/') ? strrchr(from, '/') + 1 : from);
    return fails(call, to, 0) ? -1 : NEXT(rename)(from, to);
}

int unlink(const char *path) { return fails("unlink", path, 0) ? -1 : NEXT(unlink)(path); }

int mkdir(const char *path, mode_t mode) { return fails("mkdir", path, 1) ? -1 : NEXT(mkdir)(path, mode); }
