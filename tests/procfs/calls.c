/* What a program can ask of procfs about its inotify descriptors. Prints what it is told, the same natively and emulated. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* A function by its name, as the dynamic linker binds it; null where libc has none. */
#define F(result, name, ...) result (*name)(__VA_ARGS__) = (result (*)(__VA_ARGS__))dlsym(RTLD_DEFAULT, symbol)

static const char *symbol;
static char path[PATH_MAX];

/* Has libc a function of this name? Whoever is preloaded may have more. */
static int has(const char *name) {
    static void *libc;
    if (!libc && !(libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD))) libc = dlopen("libc.so", RTLD_NOW);
    symbol = name;
    return libc && dlsym(libc, name);
}

static const char *in(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    return path;
}

static void die(const char *what) {
    printf("failed: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One line: who, how, what came of it. */
static long say(const char *who, const char *how, long result) {
    int error = errno;
    printf("%s %s: ", who, how);
    if (result < 0) printf("errno %d\n", error);
    else printf("%ld\n", result);
    errno = 0;
    return result;
}

static void say_text(const char *text, long length) {
    fwrite(text, 1, length, stdout);
    if (length > 0 && text[length - 1] != '\n') putchar('\n');
}

static int group(int flags) {
    int fd = inotify_init1(flags);
    if (fd < 0) die("inotify_init1");
    return fd;
}

static void watch(int fd, const char *name, unsigned mask) {
    say("watch", "", inotify_add_watch(fd, name, mask));
}

static void make(const char *name) {
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) die(name);
    syscall(SYS_close, fd);
}

static void show(const char *name) {
    static char text[1 << 20];
    int fd = open(name, O_RDONLY);
    if (fd < 0) {
        say("show", name, -1);
        return;
    }
    long length = 0, more;
    while ((more = read(fd, text + length, sizeof text - length)) > 0) length += more;
    say_text(text, length);
    close(fd);
}

static void show_fd(int fd) {
    show(in("/proc/self/fdinfo/%d", fd));
}

/* What was opened. The part `itself` shows what is left out here. */
static void all_of(int fd) {
    static char text[4096];
    long length = read(fd, text, sizeof text);
    int flags = fcntl(fd, F_GETFL), is_text = strstr(text, "flags:") && length > 0;
    printf("  flags %o cloexec %d pos %ld\n", flags & ~(is_text ? O_ACCMODE | O_NOFOLLOW : 0), fcntl(fd, F_GETFD), (long)lseek(fd, 0, SEEK_SET));
    printf("  reads %ld ", length < 0 ? -errno : length);
    if (length > 0) say_text(text, length);
    else puts("");
    printf("  writes %d\n", is_text ? 0 : write(fd, "x", 1) < 0 ? errno : 0);
    memset(text, 0, 64);
    close(fd);
}

static const char *const NAMES[] = {
    "/proc/self/fd/%d", "/proc/self/fdinfo/%d", "/proc/thread-self/fd/%d", "/proc/thread-self/fdinfo/%d", "//proc/./self//fdinfo/./%d",
    "/dev/fd/%d", "/proc/self/fdinfo/%d/", "/proc/self/fd/%d/", "/proc/self/fdinfo/0%d", "/proc/self/fdinfo/%d/x", "/proc/self/fd/../fdinfo/9%d",
};
static const int FLAGS[] = {
    O_RDONLY, O_RDONLY | O_CLOEXEC, O_WRONLY, O_RDWR, O_PATH, O_PATH | O_CLOEXEC, O_PATH | O_NOFOLLOW, O_NOFOLLOW, O_DIRECTORY, O_CREAT,
    O_CREAT | O_EXCL, O_TRUNC, O_WRONLY | O_TRUNC, O_NONBLOCK, O_APPEND, O_PATH | O_DIRECTORY, O_RDONLY | O_NONBLOCK | O_CLOEXEC,
};
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

static void say_opened(const char *how, int fd) {
    say(symbol, how, fd);
    if (fd >= 0) all_of(fd);
}

static void opening_by(int instance, int below, int how) {
    char text[64], numbers[PATH_MAX];
    sprintf(text, "%d", instance);
    for (int n = 0; n < COUNT(NAMES); n++)
        for (int f = 0; f < COUNT(FLAGS); f++) {
            sprintf(numbers, NAMES[n], instance);
            char line[128];
            snprintf(line, sizeof line, NAMES[n], instance);
            sprintf(line + strlen(line), " %o", FLAGS[f]);
            int fd;
            if (how == 0) { F(int, call, const char *, int, ...); fd = call(numbers, FLAGS[f], 0600); }
            else if (how == 1) { F(int, call, int, const char *, int, ...); fd = call(AT_FDCWD, numbers, FLAGS[f], 0600); }
            else { F(int, call, const char *, mode_t); fd = call(numbers, 0600); f = COUNT(FLAGS); }
            say_opened(line, fd);
        }
    if (how == 1) {
        F(int, call, int, const char *, int, ...);
        static const char *const FOLDERS[] = {"/proc/self/fdinfo", "/proc/self/fd", "/proc/thread-self/fdinfo", "/proc/self", "/proc"};
        static const char *const BELOW[] = {"%s", "./%s", "fd/%s", "fdinfo/%s", "self/fdinfo/%s"};
        for (int d = 0; d < COUNT(FOLDERS); d++)
            for (int b = 0; b < COUNT(BELOW); b++) {
                int directory = open(FOLDERS[d], O_RDONLY | O_DIRECTORY);
                if (dup2(directory, below) < 0) die("dup2");
                close(directory);
                sprintf(numbers, BELOW[b], text);
                char line[128];
                sprintf(line, "%s %s", FOLDERS[d], BELOW[b]);
                say_opened(line, call(below, numbers, O_RDONLY));
                say_opened(line, call(below, numbers, O_PATH | O_NOFOLLOW));
                if (chdir(FOLDERS[d])) die("chdir");
                say_opened(line, call(AT_FDCWD, numbers, O_RDONLY));
                close(below);
            }
        if (chdir("/")) die("chdir");
    }
}

static void say_stream(const char *how, FILE *stream) {
    static char text[4096];
    say(symbol, how, stream ? fileno(stream) : -1);
    if (!stream) return;
    long length = fread(text, 1, sizeof text, stream);
    printf("  flags %o reads ", fcntl(fileno(stream), F_GETFL) & ~O_ACCMODE);
    say_text(text, length);
    puts("");
    fclose(stream);
}

static void opening(const char *folder) {
    int fd = group(IN_NONBLOCK);
    watch(fd, folder, IN_CREATE);
    static const char *const OPENS[] = {"open", "open64", "__open", "__open64"}, *const OPENATS[] = {"openat", "openat64"},
                             *const CREATS[] = {"creat", "creat64"};
    for (int i = 0; i < COUNT(OPENS); i++)
        if (has(OPENS[i])) opening_by(fd, 40, 0);
    for (int i = 0; i < COUNT(OPENATS); i++)
        if (has(OPENATS[i])) opening_by(fd, 40, 1);
    for (int i = 0; i < COUNT(CREATS); i++)
        if (has(CREATS[i])) opening_by(fd, 40, 2);
    static const char *const CHECKED[] = {"__open_2", "__open64_2"}, *const CHECKED_BELOW[] = {"__openat_2", "__openat64_2"};
    for (int i = 0; i < 2; i++)
        for (int n = 0; n < COUNT(NAMES); n++) {
            char name[PATH_MAX];
            sprintf(name, NAMES[n], fd);
            symbol = CHECKED[i];
            F(int, call, const char *, int);
            if (has(symbol)) say_opened(name, call(name, O_RDONLY)), say_opened(name, call(name, O_PATH));
            symbol = CHECKED_BELOW[i];
            F(int, below, int, const char *, int);
            if (has(symbol)) say_opened(name, below(AT_FDCWD, name, O_RDONLY)), say_opened(name, below(-1, name, O_PATH));
        }
    static const char *const STREAMS[] = {"fopen", "fopen64", "_IO_fopen", "freopen", "freopen64"};
    static const char *const MODES[] = {"r", "re", "rb", "r+", "w", "a", "rx", "z", "rm"};
    for (int i = 0; i < COUNT(STREAMS); i++)
        for (int n = 0; n < COUNT(NAMES); n++)
            for (int m = 0; m < COUNT(MODES); m++) {
                char name[PATH_MAX], line[PATH_MAX];
                sprintf(name, NAMES[n], fd);
                sprintf(line, "%s %s", name, MODES[m]);
                symbol = STREAMS[i];
                if (!has(symbol)) continue;
                if (i < 3) {
                    F(FILE *, call, const char *, const char *);
                    say_stream(line, call(name, MODES[m]));
                } else {
                    F(FILE *, call, const char *, const char *, FILE *);
                    say_stream(line, call(name, MODES[m], fopen("/dev/null", "r")));
                }
            }
    symbol = "open";
    say_opened("of itself", open(in("/proc/self/fdinfo/%d", fd), O_RDONLY));
    say_opened("of a number that is free", open("/proc/self/fdinfo/77", O_RDONLY));
    say_opened("of a pipe", open("/proc/self/fdinfo/1", O_PATH));
}

/* The link, into rooms of every size. */
static void links(const char *folder) {
    int fd = group(0);
    static const char *const CALLS[] = {"readlink", "readlinkat", "__readlink_chk", "__readlinkat_chk"};
    (void)folder;
    for (int i = 0; i < COUNT(CALLS); i++)
        for (int n = 0; n < COUNT(NAMES); n++)
            for (int room = 0; room <= 24; room++) {
                char name[PATH_MAX], line[PATH_MAX], text[64];
                memset(text, '#', sizeof text);
                sprintf(name, NAMES[n], fd);
                symbol = CALLS[i];
                long length;
                if (!has(symbol)) continue;
                if (i == 0) { F(ssize_t, call, const char *, char *, size_t); length = call(name, text, room); }
                else if (i == 1) { F(ssize_t, call, int, const char *, char *, size_t); length = call(-1, name, text, room); }
                else if (i == 2) { F(ssize_t, call, const char *, char *, size_t, size_t); length = call(name, text, room, 64); }
                else { F(ssize_t, call, int, const char *, char *, size_t, size_t); length = call(-1, name, text, room, 64); }
                sprintf(line, "%s %d", name, room);
                say(symbol, line, length);
                printf("  %.32s\n", text);
            }
    /* Room that ends at a page that cannot be written. */
    char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_NONE);
    in("/proc/self/fd/%d", fd);
    for (int before = 1; before <= 20; before++) {
        char line[32];
        sprintf(line, "%d before the end", before);
        say("readlink", line, readlink(path, pages + 4096 - before, before));
        say("readlink", line, readlink(path, pages + 4096 - before, 100));
    }
    char text[64] = {0};
    int folder_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    char number[16];
    sprintf(number, "%d", fd);
    say("readlinkat", "below", readlinkat(folder_fd, number, text, sizeof text));
    puts(text);
    int itself = openat(folder_fd, number, O_PATH | O_NOFOLLOW);
    memset(text, 0, sizeof text);
    say("readlinkat", "of the link", readlinkat(itself, "", text, sizeof text));
    puts(text);
    say("readlinkat", "of the file", readlinkat(fd, "", text, sizeof text));
    if (chdir("/proc/self/fd")) die("chdir");
    memset(text, 0, sizeof text);
    say("readlink", "of a name", readlink(number, text, sizeof text));
    puts(text);
    say("realpath", number, realpath(number, 0) ? 0 : -1);
    in("/proc/%d/task/%ld/fd/%d", getpid(), (long)syscall(SYS_gettid), fd);
    memset(text, 0, sizeof text);
    say("readlink", "of the task", readlink(path, text, sizeof text));
    puts(text);
}

static void say_status(const struct stat *status) {
    printf("  mode %o size %ld links %ld owner %d:%d blocks %ld of %ld device %d\n", status->st_mode, (long)status->st_size,
        (long)status->st_nlink, status->st_uid, status->st_gid, (long)status->st_blocks, (long)status->st_blksize,
        S_ISLNK(status->st_mode) ? 0 : (int)status->st_dev);
}

/* The state of the link and of what it leads to. `descriptor`: the one of this process, or -1. */
static void state_of(const char *name, int descriptor) {
    struct stat status;
    static const char *const STATS[] = {"stat", "stat64", "lstat", "lstat64"};
    for (int i = 0; i < COUNT(STATS); i++) {
        symbol = STATS[i];
        F(int, call, const char *, struct stat *);
        if (has(symbol) && !say(symbol, name, call(name, &status))) say_status(&status);
    }
    static const char *const VERSIONED[] = {"__xstat", "__xstat64", "__lxstat", "__lxstat64"};
    int version = sizeof status == 144 ? 1 : 0;
    for (int i = 0; i < COUNT(VERSIONED); i++) {
        symbol = VERSIONED[i];
        F(int, call, int, const char *, struct stat *);
        if (has(symbol) && !say(symbol, name, call(version, name, &status))) say_status(&status);
    }
    for (int flags = 0; flags <= AT_SYMLINK_NOFOLLOW; flags += AT_SYMLINK_NOFOLLOW) {
        static const char *const BELOW[] = {"fstatat", "fstatat64"}, *const VERSIONED_BELOW[] = {"__fxstatat", "__fxstatat64"};
        for (int i = 0; i < 2; i++) {
            symbol = BELOW[i];
            F(int, call, int, const char *, struct stat *, int);
            if (has(symbol) && !say(symbol, name, call(AT_FDCWD, name, &status, flags))) say_status(&status);
            symbol = VERSIONED_BELOW[i];
            F(int, versioned, int, int, const char *, struct stat *, int);
            if (has(symbol) && !say(symbol, name, versioned(version, AT_FDCWD, name, &status, flags))) say_status(&status);
        }
        unsigned words[64];
        symbol = "statx";
        F(int, call, int, const char *, int, unsigned, void *);
        if (has(symbol) && !say(symbol, name, call(AT_FDCWD, name, flags, 0x7ff, words)))
            printf("  mask %x mode %o\n", words[0], ((unsigned short *)words)[14]);
    }
    for (int mode = 0; mode < 8; mode++) {
        static const char *const ACCESSES[] = {"access", "eaccess", "euidaccess"};
        for (int i = 0; i < COUNT(ACCESSES); i++) {
            symbol = ACCESSES[i];
            F(int, call, const char *, int);
            if (has(symbol)) say(symbol, name, call(name, mode));
        }
        for (int flags = 0; flags <= 0x300; flags += 0x100) say("faccessat", name, faccessat(AT_FDCWD, name, mode, flags));
    }
    static const char *const SYSTEMS[] = {"statfs", "statfs64", "__statfs"}, *const VFS[] = {"statvfs", "statvfs64"};
    for (int i = 0; i < COUNT(SYSTEMS); i++) {
        struct statfs system;
        symbol = SYSTEMS[i];
        F(int, call, const char *, struct statfs *);
        if (has(symbol) && !say(symbol, name, call(name, &system)))
            printf("  type %lx block %ld\n", (long)system.f_type, (long)system.f_bsize);
    }
    for (int i = 0; i < COUNT(VFS); i++) {
        struct statvfs system;
        symbol = VFS[i];
        F(int, call, const char *, struct statvfs *);
        if (has(symbol) && !say(symbol, name, call(name, &system)))
            printf("  names %ld flags %lx\n", (long)system.f_namemax, (long)system.f_flag);
    }
    say("pathconf", name, pathconf(name, _PC_LINK_MAX));
    if (descriptor < 0) return;
    if (!say("fstatat", "of the descriptor", fstatat(descriptor, "", &status, AT_EMPTY_PATH))) say_status(&status);
    unsigned words[64];
    symbol = "statx";
    F(int, call, int, const char *, int, unsigned, void *);
    if (has(symbol) && !say(symbol, "of the descriptor", call(descriptor, "", AT_EMPTY_PATH, 0x7ff, words)))
        printf("  mask %x mode %o\n", words[0], ((unsigned short *)words)[14]);
    say("fstatat", "of nothing", fstatat(descriptor, "", &status, 0));
    for (int mode = 0; mode < 8; mode++) say("faccessat", "of the descriptor", faccessat(descriptor, "", mode, AT_EMPTY_PATH));
}

static void state(const char *folder) {
    (void)folder;
    int fd = group(0);
    for (int n = 0; n < COUNT(NAMES); n++) {
        char name[PATH_MAX];
        sprintf(name, NAMES[n], fd);
        state_of(name, fd);
    }
    if (chdir("/proc/self/fd")) die("chdir");
    char number[16];
    sprintf(number, "%d", fd);
    state_of(number, fd);
}

/* Does what it is told, a line each, so that two subjects look at the same files at the same time. */
static void obey(const char *folder) {
    char line[PATH_MAX + 64], name[PATH_MAX];
    int fd, number;
    unsigned mask;
    (void)folder;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "group %d", &number) == 1) say("group", "", group(number));
        else if (sscanf(line, "watch %d %x %[^\n]", &fd, &mask, name) == 3) say("watch", name, inotify_add_watch(fd, name, mask));
        else if (sscanf(line, "remove %d %d", &fd, &number) == 2) say("remove", "", inotify_rm_watch(fd, number));
        else if (sscanf(line, "cursor %d %d", &fd, &number) == 2) say("cursor", "", ioctl(fd, 0x40044900, number));
        else if (sscanf(line, "status %d %d", &fd, &number) == 2) say("F_SETFL", "", fcntl(fd, F_SETFL, number));
        else if (sscanf(line, "closing %d %d", &fd, &number) == 2) say("F_SETFD", "", fcntl(fd, F_SETFD, number));
        else if (sscanf(line, "duplicate %d", &fd) == 1) say("duplicate", "", dup(fd));
        else if (sscanf(line, "close %d", &fd) == 1) say("close", "", close(fd));
        else if (sscanf(line, "link %d", &fd) == 1) in("/proc/self/fd/%d", fd), say("watch the link", "", inotify_add_watch(3, path, IN_OPEN));
        else if (sscanf(line, "show %d", &fd) == 1) show_fd(fd);
        else if (sscanf(line, "state %d", &fd) == 1) state_of(in("/proc/self/fd/%d", fd), fd);
        else if (sscanf(line, "read %[^\n]", name) == 1) show(name);
        else die(line);
        puts(".");
        fflush(stdout);
    }
}

/* Attempts at a change. The file behind the link is one that all anonymous files share, and stays as it is. */
static void changes(const char *folder) {
    (void)folder;
    int fd = group(0);
    for (int n = 0; n < COUNT(NAMES); n++) {
        char name[PATH_MAX], value[256];
        sprintf(name, NAMES[n], fd);
        struct timeval times[2] = {{1, 1}, {1, 1}};
        struct timespec precise[2] = {{1, 1}, {1, 1}};
        if (strstr(name, "fdinfo")) continue;
        say("chmod", name, chmod(name, 0600));
        say("fchmodat", name, fchmodat(AT_FDCWD, name, 0640, 0));
        say("chown", name, chown(name, -1, -1));
        say("chown to nobody", name, chown(name, 65534, 65534));
        say("fchownat", name, fchownat(AT_FDCWD, name, -1, -1, 0));
        say("lchown", name, lchown(name, -1, -1));
        say("utime", name, utime(name, 0));
        say("utimes", name, utimes(name, 0));
        say("utimes at 1", name, utimes(name, times));
        say("utimensat", name, utimensat(AT_FDCWD, name, precise, 0));
        say("futimesat", name, futimesat(AT_FDCWD, name, times));
        say("setxattr", name, setxattr(name, "user.x", "y", 1, 0));
        say("setxattr of trust", name, setxattr(name, "trusted.x", "y", 1, 0));
        say("setxattr of security", name, setxattr(name, "security.x", "y", 1, 0));
        say("getxattr", name, getxattr(name, "user.x", value, sizeof value));
        say("getxattr of sockets", name, getxattr(name, "system.sockprotoname", value, sizeof value));
        say("listxattr", name, listxattr(name, value, sizeof value));
        say("listxattr of nothing", name, listxattr(name, 0, 0));
        say("removexattr", name, removexattr(name, "user.x"));
        say("removexattr of security", name, removexattr(name, "security.x"));
        say("truncate", name, truncate(name, 0));
        char *arguments[] = {name, 0};
        say("execve", name, execve(name, arguments, arguments + 1));
        say("chdir", name, chdir(name));
        say("unlink", name, unlink(name));
        say("linkat", name, linkat(AT_FDCWD, name, AT_FDCWD, in("%s/linked", folder), AT_SYMLINK_FOLLOW));
        say("rename", name, rename(name, in("%s/renamed", folder)));
    }
    struct timespec precise[2] = {{1, 1}, {1, 1}};
    say("utimensat", "of the descriptor", syscall(SYS_utimensat, -1, 0, 0, 0));
    say("utimensat", "of the descriptor", utimensat(fd, "", precise, AT_EMPTY_PATH));
    say("fchownat", "of the descriptor", fchownat(fd, "", -1, -1, AT_EMPTY_PATH));
    struct stat status;
    if (!stat(in("/proc/self/fd/%d", fd), &status)) say_status(&status);
}

/* Another process's descriptor. */
static void others(const char *folder) {
    int fd = group(IN_NONBLOCK);
    watch(fd, folder, IN_CREATE | IN_DELETE);
    fflush(stdout);
    int parent = getpid();
    if (!fork()) {
        char digits[16], shown[64] = {0};
        close(fd);
        say("readlink", "", readlink(in("/proc/%d/fd/%d", parent, fd), shown, sizeof shown));
        puts(shown);
        show(in("/proc/%d/fdinfo/%d", parent, fd));
        show(in("/proc/%d/task/%d/fdinfo/%d", parent, parent, fd));
        say("open of the link", "", open(in("/proc/%d/fd/%d", parent, fd), O_RDONLY));
        /* Their numbers differ from run to run. */
        if (chdir(in("/proc/%d/fd", parent))) die("chdir");
        sprintf(digits, "%d", fd);
        state_of(digits, -1);
        memset(shown, 0, sizeof shown);
        say("readlink", "of a name", readlink(digits, shown, sizeof shown));
        puts(shown);
        if (chdir(in("/proc/%d/fdinfo", parent))) die("chdir");
        show(digits);
        fflush(stdout);
        /* Programs that look, each with its own way. */
        static const char *const LOOKS[] = {
            "ls -l /proc/%1$d/fd/%2$d | cut -c 1-10", "ls -l /proc/%1$d/fd | grep ' %2$d -> ' | sed 's/.* //'", "readlink /proc/%1$d/fd/%2$d",
            "cat /proc/%1$d/fdinfo/%2$d", "find /proc/%1$d/fd/%2$d -lname anon_inode:inotify | wc -l", "stat -L -c '%%a %%F %%s' /proc/%1$d/fd/%2$d",
            "cd /proc/%1$d/fd && readlink %2$d && cd ../fdinfo && cat %2$d", "test -w /proc/%1$d/fd/%2$d; echo $?",
        };
        for (int i = 0; i < COUNT(LOOKS); i++) {
            char command[512];
            sprintf(command, LOOKS[i], parent, fd);
            if (system(command)) printf("failed: %s\n", LOOKS[i]);
        }
        _exit(0);
    }
    int status;
    wait(&status);
    printf("child %d\n", status);
    /* What a child has inherited it may ask for under its own name, and what a vfork child sees is the parent's. */
    fflush(stdout);
    if (!fork()) {
        show_fd(fd);
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    if (!vfork()) {
        char shown[64] = {0};
        say("readlink", "in a vfork child", readlink(in("/proc/self/fd/%d", fd), shown, sizeof shown));
        show_fd(fd);
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    show_fd(fd);
}

/* Addresses that cannot be read: EFAULT, and no signal. */
static void bad(const char *folder) {
    (void)folder;
    int fd = group(0);
    char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_NONE);
    const char *text = in("/proc/self/fd/%d", fd);
    char *cut = pages + 4096 - strlen(text);
    memcpy(cut, text, strlen(text));
    char *whole = cut - 1;
    const char *addresses[] = {0, (char *)1, (char *)-1, pages + 4096, cut, cut + 5, pages + 4095, (char *)(1L << 62)};
    pages[4095] = '/';
    (void)whole;
    for (int i = 0; i < COUNT(addresses); i++) {
        const char *address = addresses[i];
        struct stat status;
        char value[64], how[16];
        sprintf(how, "%d", i);
        memcpy(cut, text, strlen(text));
        if (i == 6) pages[4095] = '/';
#define SAY(call) say(#call, how, call)
        SAY(open(address, O_RDONLY));
        SAY(openat(AT_FDCWD, address, O_RDONLY));
        SAY(readlink(address, value, sizeof value));
        SAY(lstat(address, &status));
        SAY(stat(address, &status));
        SAY(access(address, 0));
        SAY(chmod(address, 0600));
        SAY(chown(address, -1, -1));
        SAY(utimes(address, 0));
        SAY(getxattr(address, "user.x", value, sizeof value));
        SAY(listxattr(address, value, sizeof value));
        SAY(removexattr(address, "user.x"));
        SAY(fchmodat(AT_FDCWD, address, 0600, 0));
        SAY(fchownat(AT_FDCWD, address, -1, -1, 0));
        if (address) SAY(utimensat(AT_FDCWD, address, 0, 0));
        SAY(fstatat(fd, address, &status, 0));
        SAY(inotify_add_watch(fd, address, IN_OPEN));
    }
}

/* The table of descriptors is full, or has one place left. */
static void full(const char *folder) {
    int fd = group(0);
    watch(fd, folder, IN_CREATE);
    struct rlimit limit = {fd + 2, fd + 2};
    show_fd(fd);
    if (setrlimit(RLIMIT_NOFILE, &limit)) die("setrlimit");
    show_fd(fd);
    struct stat status;
    if (!say("stat", "", stat(in("/proc/self/fd/%d", fd), &status))) say_status(&status);
    int last = dup(1);
    say("dup", "", last);
    show_fd(fd);
    char shown[64] = {0};
    say("readlink", "", readlink(in("/proc/self/fd/%d", fd), shown, sizeof shown));
    puts(shown);
}

/* A root without procfs, and one in which another folder has its name. */
static void elsewhere(const char *folder) {
    int fd = group(0);
    watch(fd, folder, IN_CREATE);
    if (mkdir(in("%s/proc", folder), 0755) || mkdir(in("%s/proc/self", folder), 0755) || mkdir(in("%s/proc/self/fd", folder), 0755) ||
        mkdir(in("%s/proc/self/fdinfo", folder), 0755)) die("mkdir");
    if (chroot(folder) || chdir("/")) {
        puts("no chroot");
        return;
    }
    struct stat status;
    char shown[64] = {0};
    say("readlink", "", readlink(in("/proc/self/fd/%d", fd), shown, sizeof shown));
    say("stat", "", stat(path, &status));
    say("open", "", open(path, O_RDONLY));
    say("chmod", "", chmod(path, 0600));
    say("fstatat", "", fstatat(fd, "", &status, AT_EMPTY_PATH));
    show_fd(fd);
    make(in("/proc/self/fdinfo/%d", fd));
    make(in("/proc/self/fd/%d", fd));
    show_fd(fd);
    in("/proc/self/fd/%d", fd);
    say("chmod", "of a file", chmod(path, 0604));
    say("access", "of a file", access(path, X_OK | W_OK));
    say("open", "of a file", open(path, O_RDONLY));
    if (!say("stat", "of a file", stat(path, &status))) printf("%o\n", status.st_mode);
    say("readlink", "of a file", readlink(path, shown, sizeof shown));
}

/* The limits, for reading and for writing. */
static void limits(const char *folder) {
    (void)folder;
    static const char *const FILES[] = {"fs/inotify/max_queued_events", "fs/inotify/max_user_instances", "fs/inotify/max_user_watches",
        "user/max_inotify_instances", "user/max_inotify_watches", "fs/inotify/../inotify/max_queued_events", "fs/inotify/max", "fs/file-max"};
    for (int i = 0; i < COUNT(FILES); i++) {
        char name[PATH_MAX];
        sprintf(name, "/proc/sys/%s", FILES[i]);
        printf("%s ", FILES[i]);
        show(name);
        int fd = open(name, O_WRONLY);
        printf("%s for writing %d\n", FILES[i], fd < 0 ? errno : 0);
        close(fd);
    }
}

/* Reads the lines as CRIU does (criu/proc_parse.c). */
static void parsed(const char *folder) {
    int fd = group(0);
    watch(fd, folder, IN_ALL_EVENTS | IN_ONESHOT);
    watch(fd, "/proc", IN_CREATE);
    FILE *file = fopen(in("/proc/self/fdinfo/%d", fd), "r");
    char line[4096];
    while (fgets(line, sizeof line, file)) {
        unsigned wd, device, mask, ignored, bytes, type;
        unsigned long inode;
        long long position;
        int flags, mount, offset = 0;
        if (sscanf(line, "pos: %lli", &position) == 1) printf("pos %lld\n", position);
        else if (sscanf(line, "flags: %o", &flags) == 1) printf("flags %o\n", flags);
        else if (sscanf(line, "mnt_id: %d", &mount) == 1) printf("mount %d\n", mount);
        else if (sscanf(line, "inotify wd:%x ino:%lx sdev:%x mask:%x ignored_mask:%x fhandle-bytes:%x fhandle-type:%x f_handle: %n", &wd, &inode,
                     &device, &mask, &ignored, &bytes, &type, &offset) == 7)
            printf("%u %lu %u %x %x %u %u %zu\n", wd, inode, device, mask, ignored, bytes, type, strlen(line + offset));
    }
    fclose(file);
}

/* What the text is as a file: here the two differ. */
static void itself(const char *folder) {
    int fd = group(0);
    struct stat status;
    char shown[4096];
    int text = open(in("/proc/self/fdinfo/%d", fd), O_RDONLY | O_NOFOLLOW);
    fstat(text, &status);
    printf("mode %o, size %s\n", status.st_mode & ~0044, status.st_size ? "of the text" : "0");
    printf("O_NOFOLLOW %s\n", fcntl(text, F_GETFL) & O_NOFOLLOW ? "shown" : "not shown");
    long length = read(text, shown, sizeof shown);
    lseek(text, 0, SEEK_SET);
    printf("inotify_add_watch %d\n", inotify_add_watch(fd, folder, IN_CREATE));
    printf("a second look: %s\n", read(text, shown, sizeof shown) > length ? "the new state" : "the old state");
    memset(shown, 0, sizeof shown);
    printf("link: %d\n", readlink(in("/proc/self/fd/%d", text), shown, sizeof shown) > 0 && !strncmp(shown, "/proc/", 6));
    memset(shown, 0, sizeof shown);
    readlink(in("/proc/self/../self/fd/%d", fd), shown, sizeof shown);
    printf("by way of ..: %.7s\n", shown);
}

int main(int count, char **arguments) {
    static const struct { const char *name; void (*play)(const char *); } PARTS[] = {
        {"obey", obey}, {"opening", opening}, {"links", links}, {"state", state}, {"changes", changes}, {"others", others},
        {"bad", bad}, {"full", full}, {"elsewhere", elsewhere}, {"limits", limits}, {"parsed", parsed}, {"itself", itself},
    };
    if (count != 3) return 2;
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    alarm(120);
    for (int i = 0; i < COUNT(PARTS); i++)
        if (!strcmp(PARTS[i].name, arguments[1])) {
            errno = 0;
            PARTS[i].play(arguments[2]);
            puts("end");
            return 0;
        }
    return 2;
}
