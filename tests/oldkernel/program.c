/* A program that watches a folder with a number of its choice, and says what it is told; in any libc.
 *
 * watch DIR N: works in DIR, then shows what of it is queued. hold DIR N: says its process and its descriptor, and shows what is queued when it
 * reads a line. share FILE: whether memory can be shared with it. resume FD DIR: shows what is queued there, and the number that a further watch gets. Work is all that a file system can be asked. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SETNEXTWD _IOW('I', 0, int32_t)

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static void show(int fd)
{
    static char buffer[65536] __attribute__((aligned(8)));
    ssize_t length;
    while ((length = read(fd, buffer, sizeof buffer)) > 0)
        for (char *at = buffer; at < buffer + length;) {
            struct inotify_event *event = (void *)at;
            printf("wd %#x mask %#x %s%s\n", event->wd, event->mask, event->cookie ? "cookie " : "", event->len ? event->name : "");
            at += sizeof *event + event->len;
        }
    if (length == 0 || errno != EAGAIN) fail("read");
}

static int watch(const char *folder, const char *number)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) fail("inotify_init1");
    if (ioctl(fd, SETNEXTWD, strtoul(number, NULL, 0)) != 0) fail("INOTIFY_IOC_SETNEXTWD");
    int wd = inotify_add_watch(fd, folder, IN_ALL_EVENTS);
    if (wd < 0) fail("inotify_add_watch");
    printf("wd %#x\n", wd);
    return fd;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) fail(name);
}

#define TRY(call) do { errno = 0; long result = (long)(call); printf("%s: %ld %s\n", #call, result, errno ? strerror(errno) : ""); } while (0)

static void work(void)
{
    char buffer[256] = "";
    struct stat status;
    struct statvfs volume;
    put("file", "twelve bytes");
    int fd = open("file", O_RDWR);
    TRY(pread(fd, buffer, 6, 3));
    TRY(pwrite(fd, "other", 5, 0));
    TRY(ftruncate(fd, 8192));
    TRY(lseek(fd, 0, SEEK_DATA));
    TRY(posix_fallocate(fd, 0, 16384));
    TRY(fsync(fd));
    TRY(fdatasync(fd));
    TRY(fchmod(fd, 0640));
    char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("mapped: %.5s\n", map == MAP_FAILED ? "not" : map);
    TRY(fstat(fd, &status));
    printf("%lld bytes, mode %o, %d links\n", (long long)status.st_size, status.st_mode, (int)status.st_nlink);
    TRY(close(fd));
    TRY(mkdir("folder", 0755));
    TRY(mkdir("folder", 0755));
    TRY(symlink("file", "link"));
    TRY(readlink("link", buffer, sizeof buffer));
    TRY(link("file", "folder/second"));
    TRY(mkfifo("fifo", 0600));
    TRY(rename("file", "renamed"));
    TRY(rename("renamed", "folder/renamed"));
    TRY(access("folder/renamed", R_OK));
    TRY(access("folder/absent", R_OK));
    TRY(setxattr("folder/renamed", "user.name", "value", 5, 0));
    TRY(getxattr("folder/renamed", "user.name", buffer, sizeof buffer));
    TRY(removexattr("folder/renamed", "user.name"));
    TRY(listxattr("folder/renamed", buffer, sizeof buffer) >= 0);
    TRY(utimensat(AT_FDCWD, "folder/renamed", (struct timespec[]){{7, 8}, {9, 10}}, 0));
    TRY(stat("folder/renamed", &status));
    printf("modified %ld.%09ld\n", (long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    TRY(truncate("folder/renamed", 3));
    TRY(chmod("folder/renamed", 0600));
    TRY(chown("folder/renamed", getuid(), getgid()));
    TRY(statvfs(".", &volume));
    int count = 0;
    DIR *folder = opendir("folder");
    while (folder && readdir(folder)) count++;
    printf("%d entries\n", count);
    TRY(fsync(dirfd(folder)));
    TRY(ioctl(dirfd(folder), _IO('x', 1)));
    TRY(closedir(folder));
    TRY(unlink("folder/second"));
    TRY(rmdir("folder"));
    TRY(unlink("folder/renamed"));
    TRY(rmdir("folder"));
    TRY(unlink("link"));
    TRY(unlink("fifo"));
}

int main(int count, char **words)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 4 && !strcmp(words[1], "watch")) {
        int fd = watch(words[2], words[3]);
        if (chdir(words[2]) != 0) fail(words[2]);
        put("draft", "text");
        if (rename("draft", "final") != 0) fail("rename");
        work();
        if (unlink("final") != 0) fail("unlink");
        show(fd);
    } else if (count == 4 && !strcmp(words[1], "hold")) {
        char line[16];
        int fd = watch(words[2], words[3]);
        printf("%d %d\n", (int)getpid(), fd);
        while (fgets(line, sizeof line, stdin)) {
            show(fd);
            puts("-");
        }
    } else if (count == 4 && !strcmp(words[1], "resume")) {
        int fd = atoi(words[2]);
        show(fd);
        printf("next wd %#x\n", inotify_add_watch(fd, words[3], IN_CREATE));
    } else if (count == 3 && !strcmp(words[1], "share")) {
        int fd = open(words[2], O_RDWR);
        void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        puts(map == MAP_FAILED ? strerror(errno) : "shared");
    } else {
        return 2;
    }
    return 0;
}
