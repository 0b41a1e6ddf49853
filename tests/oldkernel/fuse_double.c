/* Stands between a process and /dev/fuse, and makes of the kernel's protocol the one of an old kernel: preloaded into uinotify.
 *
 * INIT comes with the minor version and the flags of UINOTIFY_TEST_FUSE (MINOR:FLAGS:JOURNAL, the first two in hexadecimal), and as short as it was
 * then. Requests that came later are answered with ENOSYS, as an old kernel never asks them: the kernel then does what it did before.
 * What is asked, and how INIT is answered, goes to the file JOURNAL, a line each. Programs do not inherit it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

struct request_header { uint32_t length, opcode; uint64_t unique, node; uint32_t uid, gid, pid, padding; };
struct reply_header { uint32_t length; int32_t error; uint64_t unique; };
struct init_request { uint32_t major, minor, readahead, flags; };

enum { INIT = 26, RENAME2 = 45 };

static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static unsigned minor_version, flags_offered;
static char journal[4096];
static uint64_t init_unique;

__attribute__((constructor)) static void begin(void)
{
    real_read = dlsym(RTLD_NEXT, "read");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    const char *asked = getenv("UINOTIFY_TEST_FUSE");
    if (!asked || sscanf(asked, "%x:%x:%4095s", &minor_version, &flags_offered, journal) != 3) abort();
    unsetenv("LD_PRELOAD");
}

static void note(const char *what, unsigned number)
{
    char line[64];
    if (!strcmp(journal, "/dev/null")) return;
    int length = snprintf(line, sizeof line, "%s %u\n", what, number);
    int file = open(journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || real_write(file, line, length) != length) abort();
    close(file);
}

static int is_device(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(10, 229);
}

static unsigned last_opcode(void)
{
    return minor_version >= 0x17 ? RENAME2 : RENAME2 - 1;
}

ssize_t read(int fd, void *buffer, size_t size)
{
    for (;;) {
        ssize_t length = real_read(fd, buffer, size);
        if (length < (ssize_t)sizeof(struct request_header) || !is_device(fd)) return length;
        int errno_before = errno;
        struct request_header *request = buffer;
        if (request->opcode == INIT) {
            struct init_request *init = (void *)(request + 1);
            init->minor = minor_version;
            init->flags &= flags_offered;
            init_unique = request->unique;
            request->length = sizeof *request + sizeof *init;
            length = request->length;
        } else if (request->opcode > last_opcode()) {
            struct reply_header reply = { sizeof reply, -ENOSYS, request->unique };
            real_write(fd, &reply, sizeof reply);
            continue;
        }
        note("asked", request->opcode);
        errno = errno_before;
        return length;
    }
}

/* The reply to INIT has 24 bytes behind its header up to 7.22, and 64 since. */
static void look_at(int fd, const struct reply_header *reply, size_t length)
{
    int errno_before = errno;
    if (init_unique && is_device(fd) && reply->unique == init_unique) {
        const struct init_request *init = (const void *)(reply + 1);
        note("init bytes", length - sizeof *reply);
        note("init flags beyond", init->flags & ~flags_offered);
        init_unique = 0;
    }
    errno = errno_before;
}

ssize_t write(int fd, const void *buffer, size_t length)
{
    if (length >= sizeof(struct reply_header) + sizeof(struct init_request)) look_at(fd, buffer, length);
    return real_write(fd, buffer, length);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    char whole[128];
    size_t length = 0;
    for (int index = 0; index < count && length + pieces[index].iov_len <= sizeof whole; index++) {
        memcpy(whole + length, pieces[index].iov_base, pieces[index].iov_len);
        length += pieces[index].iov_len;
    }
    if (length >= sizeof(struct reply_header) + sizeof(struct init_request)) look_at(fd, (void *)whole, length);
    return real_writev(fd, pieces, count);
}
