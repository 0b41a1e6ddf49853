/* What a program does with inotify, in one of several ways: `calls ACT FOLDER`. It says what each call gave, and each event by itself, so that
   it says the same whatever one read returns. With RAW the calls are made by number; with COMPAT by the interface for 32-bit programs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETNEXTWD 0x40044900u
#define GETNEXTWD 0x80044980u

#ifndef IN_MASK_CREATE
#define IN_MASK_CREATE 0x10000000
#endif

#if defined(COMPAT)
/* Addresses have to be below 4 GiB: those of a program that is not moved, and of nothing on the stack. */
static long compat(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    if ((int)result < 0 && (int)result > -4096) {
        errno = -(int)result;
        return -1;
    }
    return (int)result;
}
static char low_path[4096];
static int low_word;
static int init1(int flags) { return flags ? compat(332, flags, 0, 0) : compat(291, 0, 0, 0); }
static int add(int fd, const char *path, uint32_t mask) {
    if ((uintptr_t)path > 4096) path = strcpy(low_path, path);
    return compat(292, fd, (long)path, mask);
}
static int rm(int fd, int wd) { return compat(293, fd, wd, 0); }
static int set(int fd, unsigned long wd) { return compat(54, fd, SETNEXTWD, wd); }
static int word(int fd, unsigned command, int *value) {
    int result = compat(54, fd, (int)command, (long)&low_word);
    *value = low_word;
    return result;
}
#elif defined(RAW)
static int init1(int flags) {
#ifdef SYS_inotify_init
    if (!flags) return syscall(SYS_inotify_init);
#endif
    return syscall(SYS_inotify_init1, flags);
}
static int add(int fd, const char *path, uint32_t mask) { return syscall(SYS_inotify_add_watch, fd, path, mask); }
static int rm(int fd, int wd) { return syscall(SYS_inotify_rm_watch, fd, wd); }
static int set(int fd, unsigned long wd) { return syscall(SYS_ioctl, fd, SETNEXTWD, wd); }
static int word(int fd, unsigned command, int *value) { return syscall(SYS_ioctl, fd, command, value); }
#else
static int init1(int flags) { return flags ? inotify_init1(flags) : inotify_init(); }
static int add(int fd, const char *path, uint32_t mask) { return inotify_add_watch(fd, path, mask); }
static int rm(int fd, int wd) { return inotify_rm_watch(fd, wd); }
static int set(int fd, unsigned long wd) { return ioctl(fd, SETNEXTWD, wd); }
static int word(int fd, unsigned command, int *value) { return ioctl(fd, command, value); }
#endif

static void say(const char *what, long result) {
    if (result < 0) printf("%s: %s\n", what, strerror(errno));
    else printf("%s: %ld\n", what, result);
}

static void must(int holds, const char *what) {
    if (!holds) {
        printf("%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void touch(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    must(fd >= 0, path);
    close(fd);
}

/* All events that there are. The count settles: it says how much has happened, also of what is on its way. */
static void drain(int fd) {
    char buffer[4096] __attribute__((aligned(8)));
    int waiting = 0, length;
    say("FIONREAD", word(fd, FIONREAD, &waiting));
    printf("waiting: %d\n", waiting);
    while (waiting > 0) {
#ifdef RAW
        length = syscall(SYS_read, fd, buffer, sizeof buffer);
#else
        length = read(fd, buffer, sizeof buffer);
#endif
        must(length > 0, "read");
        for (char *at = buffer; at < buffer + length;) {
            struct inotify_event *event = (void *)at;
            printf("event: wd %d mask %x cookie %d name %s\n", event->wd, event->mask, event->cookie != 0, event->len ? event->name : "-");
            at += sizeof *event + event->len;
        }
        waiting -= length;
    }
}

static void work(void) {
    mkdir("dir", 0755);
    touch("file");
    symlink("dir", "link");
    int fd = init1(IN_NONBLOCK | IN_CLOEXEC);
    say("init1", fd);
    int old = init1(0);
    say("init", old);
    printf("flags: %d %d, %d %d\n", fcntl(fd, F_GETFD), !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(old, F_GETFD), !!(fcntl(old, F_GETFL) & O_NONBLOCK));
    say("wrong flags", init1(1));
    say("SETNEXTWD", set(fd, 0x34d71d6));
    say("SETNEXTWD of 0", set(fd, 0));
    int wd = add(fd, "dir", IN_ALL_EVENTS);
    say("add", wd);
    say("add again", add(fd, "dir", IN_CREATE | IN_DELETE));
    say("add to", add(fd, "dir", IN_MASK_ADD | IN_MOVE));
    say("create again", add(fd, "dir", IN_MASK_CREATE | IN_CREATE));
    say("a file", add(fd, "file", IN_MODIFY | IN_ONESHOT));
    say("only a directory", add(fd, "file", IN_ONLYDIR | IN_MODIFY));
    say("a link", add(fd, "link", IN_DONT_FOLLOW | IN_ATTRIB));
    say("through the link", add(fd, "link", IN_CREATE | IN_DELETE | IN_MOVE));
    say("a directory that a link is not", add(fd, "link", IN_ONLYDIR | IN_DONT_FOLLOW | IN_CREATE));
    say("nothing", add(fd, "dir/nothing/at/all", IN_CREATE));
    say("a file on the way", add(fd, "file/x", IN_CREATE));
    say("an empty path", add(fd, "", IN_CREATE));
    say("no mask", add(fd, "dir", 0));
    say("a bad mask", add(fd, "dir", 0x00800000));
    say("a contradiction", add(fd, "dir", IN_MASK_ADD | IN_MASK_CREATE | IN_CREATE));
    say("a bad address", add(fd, (char *)8, IN_CREATE));
    say("a bad descriptor", add(99, "dir", IN_CREATE));
    say("no inotify descriptor", add(1, "dir", IN_CREATE));
    char *longer = malloc(8192);
    memset(longer, 'x', 8191);
    longer[8191] = 0;
#ifndef COMPAT
    say("a long path", add(fd, longer, IN_CREATE));
#endif
    longer[300] = 0;
    say("a long name", add(fd, longer, IN_CREATE));
    say("this folder", add(fd, ".", IN_OPEN | IN_ONLYDIR));
    say("by /proc/self", add(fd, "/proc/self/cwd", IN_CREATE));
    say("by /proc/thread-self", add(fd, "/proc/thread-self/cwd/dir", IN_CREATE | IN_DELETE | IN_MOVE));
    int folder = open("dir", O_RDONLY | O_DIRECTORY);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", folder);
    say("by a descriptor", add(fd, path, IN_CREATE | IN_DELETE | IN_MOVE));
    snprintf(path, sizeof path, "/dev/fd/%d/../file", folder);
    say("by a descriptor, and up", add(fd, path, IN_MODIFY));
    close(folder);
    say("by a closed descriptor", add(fd, path, IN_MODIFY));

    touch("dir/one");
    rename("dir/one", "dir/another name, which is longer");
    unlink("dir/another name, which is longer");
    int file = open("file", O_WRONLY);
    must(write(file, "x", 1) == 1, "write");
    close(file);
    drain(fd);
    int next = -1;
    if (word(fd, GETNEXTWD, &next) == 0) printf("the cursor moves\n");
    else printf("%s\n", errno == ENOTTY ? "the cursor moves" : strerror(errno));
    say("rm", rm(fd, wd));
    say("rm again", rm(fd, wd));
    say("rm of nothing", rm(fd, -1));
    say("rm on no inotify descriptor", rm(1, 1));
    drain(fd);
    say("read of nothing", read(fd, longer, 4096));
    struct pollfd entry = {fd, POLLIN, 0};
    say("poll of nothing", poll(&entry, 1, 0));
    add(fd, "dir", IN_CREATE);
    touch("dir/two");
    say("poll", poll(&entry, 1, 10000));
    drain(fd);

    /* Others' ioctls are the kernel's. */
    int ends[2], bytes = -1;
    must(pipe(ends) == 0, "pipe");
    must(write(ends[1], "abc", 3) == 3, "write");
    say("FIONREAD of a pipe", word(ends[0], FIONREAD, &bytes));
    printf("in the pipe: %d\n", bytes);
    say("FIONREAD of a file", word(open("file", O_RDONLY), FIONREAD, &bytes));
    printf("in the file: %d\n", bytes);
    say("FIONREAD of nothing", word(99, FIONREAD, &bytes));
    say("SETNEXTWD of a pipe", set(ends[0], 7));
#ifndef COMPAT
    say("FIONREAD to nowhere", word(fd, FIONREAD, (int *)8));
#endif
    close(fd);
    say("add after close", add(fd, "dir", IN_CREATE));

    /* It waits as it should. */
    must(add(old, "dir", IN_CREATE) > 0, "add");
    if (fork() == 0) {
        touch("dir/three");
        _exit(0);
    }
    struct inotify_event *event = (void *)longer;
    must(read(old, longer, 4096) > 0, "read");
    printf("a read that waits: %x %s\n", event->mask, event->name);
    wait(NULL);
}

/* Roots, folders, mounts and users. */
static void places(void) {
    mkdir("root", 0755);
    mkdir("root/in", 0755);
    mkdir("root/proc", 0755);
    mkdir("mounted", 0755);
    mkdir("closed", 0700);
    mkdir("closed/inner", 0777);
    mkdir("secret", 0733);
    touch("root/in/file");
    symlink("/in/file", "root/link");
    int fd = init1(IN_NONBLOCK);
    must(unshare(CLONE_NEWNS) == 0, "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private mounts");
    must(mount("none", "mounted", "tmpfs", 0, NULL) == 0, "mount");
    touch("mounted/only here");
    int mounted = add(fd, "mounted/only here", IN_ATTRIB);
    say("in a mount of its own", mounted);
    chmod("mounted/only here", 0600);
    drain(fd);
    must(mount("none", "root/proc", "proc", 0, NULL) == 0, "mount of procfs");
    if (fork() == 0) {
        must(chroot("root") == 0 && chdir("/in") == 0, "chroot");
        int inner = init1(IN_NONBLOCK);
        say("by another root", add(inner, "/in/file", IN_ATTRIB));
        say("the same", add(inner, "file", IN_ATTRIB));
        say("by an absolute link", add(inner, "/link", IN_ATTRIB));
        say("by a link above", add(inner, "../link", IN_ATTRIB));
        say("far above the root", add(inner, "../../../../in/file", IN_ATTRIB));
        say("by /proc/self", add(inner, "/proc/self/root/in/file", IN_ATTRIB));
        say("by /proc/self/cwd", add(inner, "/proc/self/cwd/file", IN_ATTRIB));
        say("outside", add(inner, "/mounted", IN_ATTRIB));
        chmod("file", 0640);
        drain(inner);
        exit(0);
    }
    wait(NULL);
    if (fork() == 0) {
        gid_t group = 4321;
        must(setgroups(1, &group) == 0 && setresgid(4322, 4322, 4322) == 0 && setresuid(4323, 4323, 4323) == 0, "setresuid");
        int other = init1(IN_NONBLOCK);
        say("as another user", add(other, "root/in/file", IN_ATTRIB));
        say("in a folder that is closed", add(other, "closed/inner", IN_ATTRIB));
        say("a folder that is closed", add(other, "closed", IN_ATTRIB));
        say("a folder that cannot be read", add(other, "secret", IN_ATTRIB));
        exit(0);
    }
    wait(NULL);
    must(chown("secret", 0, 4321) == 0 && chmod("secret", 0750) == 0, "chown");
    if (fork() == 0) {
        gid_t group = 4321;
        must(setgroups(1, &group) == 0 && setresgid(4322, 4322, 4322) == 0 && setresuid(4323, 4323, 4323) == 0, "setresuid");
        say("by a supplementary group", add(init1(0), "secret", IN_ATTRIB));
        exit(0);
    }
    wait(NULL);
    if (fork() == 0) {
        /* Root in a user name space of its own: there it may not read what it may not read outside. */
        must(setresgid(4322, 4322, 4322) == 0 && setresuid(4323, 4323, 4323) == 0, "setresuid");
        if (unshare(CLONE_NEWUSER) == 0) {
            say("with rights that are worth nothing here", add(init1(0), "closed/inner", IN_ATTRIB));
        } else {
            errno = EACCES;
            say("with rights that are worth nothing here", -1);
        }
        exit(0);
    }
    wait(NULL);
    if (fork() == 0) {
        must(unshare(CLONE_NEWPID) == 0, "unshare");
        pid_t child = fork();
        if (child == 0) {
            must(mount("none", "/proc", "proc", 0, NULL) == 0, "procfs");
            printf("process %d\n", getpid());
            int inner = init1(IN_NONBLOCK);
            say("in a name space of processes", add(inner, "/proc/self/cwd/root/in/file", IN_ATTRIB));
            say("its number there", add(inner, "/proc/1/cwd/root/in/file", IN_ATTRIB));
            say("no such number", add(inner, "/proc/4000000/cwd", IN_ATTRIB));
            exit(0);
        }
        waitpid(child, NULL, 0);
        exit(0);
    }
    wait(NULL);
}

static volatile sig_atomic_t signals;
static void count_signal(int number) {
    (void)number;
    signals++;
}

/* Signals come while calls are answered. Each call is made once, and has one result. */
static void interrupted(void) {
    mkdir("dir", 0755);
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 150}, {0, 150}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int wrong = 0, fd = -1, expected = 0;
    for (int turn = 0; turn < 400 || (signals < 50 && turn < 100000); turn++) {
        if (turn % 20 == 0 || expected == 0) {
            close(fd);
            fd = init1(IN_NONBLOCK);
            wrong += fd != 3;
            expected = 1;
        }
        int wd = add(fd, "dir", IN_MASK_CREATE | IN_CREATE);
        if (wd != expected++ || rm(fd, wd) != 0 || rm(fd, wd) != -1 || errno != EINVAL) {
            /* What is wrong once has no consequences. */
            wrong++;
            expected = 0;
        }
    }
    printf("signals: %d, wrong: %d\n", signals >= 50, wrong);
}

static void *one_thread(void *number) {
    char path[32];
    snprintf(path, sizeof path, "dir%d", (int)(intptr_t)number);
    mkdir(path, 0755);
    intptr_t wrong = 0;
    for (int turn = 0; turn < 50; turn++) {
        int fd = init1(IN_NONBLOCK), waiting = 0;
        wrong += fd < 0 || add(fd, path, IN_CREATE | IN_DELETE) != 1 || rm(fd, 1) != 0;
        wrong += word(fd, FIONREAD, &waiting) != 0 || waiting != 16;
        close(fd);
    }
    return (void *)wrong;
}

static void threads(void) {
    pthread_t all[8];
    intptr_t wrong = 0;
    for (int number = 0; number < 8; number++) pthread_create(&all[number], NULL, one_thread, (void *)(intptr_t)number);
    for (int number = 0; number < 8; number++) {
        void *result;
        pthread_join(all[number], &result);
        wrong += (intptr_t)result;
    }
    printf("threads, wrong: %d\n", (int)wrong);
    static int shared, wd;
    shared = -1;
    if (vfork() == 0) {
        shared = init1(0);
        wd = add(shared, ".", IN_CREATE);
        _exit(0);
    }
    wait(NULL);
    printf("by vfork: %d %d\n", shared, wd);
    say("its descriptor is gone", add(shared, ".", IN_CREATE));
}

/* Processes are killed at any point of a call. */
static void killed(void) {
    mkdir("dir", 0755);
    for (int turn = 0; turn < 60; turn++) {
        pid_t child = fork();
        if (child == 0) {
            for (;;) {
                int fd = init1(IN_NONBLOCK);
                for (int number = 0; number < 5; number++) rm(fd, add(fd, "dir", IN_CREATE));
                close(fd);
            }
        }
        usleep(turn * 37 % 2000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    int fd = init1(0);
    printf("after all: %d %d\n", fd, add(fd, "dir", IN_CREATE));
}

/* Another thread changes the path all the time: what is watched is one of both, as the kernel would have it. */
static char flipping[64] = "dir0";
static volatile int over;
static void *flip(void *nothing) {
    while (!over) flipping[3] ^= 1;
    return nothing;
}

static void raced(void) {
    mkdir("dir0", 0755);
    mkdir("dir1", 0755);
    int fd = init1(IN_NONBLOCK), wrong = 0;
    say("first", add(fd, "dir0", IN_CREATE));
    say("second", add(fd, "dir1", IN_CREATE));
    pthread_t thread;
    pthread_create(&thread, NULL, flip, NULL);
    for (int turn = 0; turn < 2000; turn++) {
        int wd = add(fd, flipping, IN_CREATE);
        wrong += wd != 1 && wd != 2;
    }
    over = 1;
    pthread_join(thread, NULL);
    printf("wrong: %d\n", wrong);
}

/* Prints a word about its instance, waits for a line, and does the same once more. For what happens around a program. */
static void twice(void) {
    mkdir("dir", 0755);
    for (int turn = 0; turn < 2; turn++) {
        int fd = init1(IN_NONBLOCK), bytes = -1, ends[2];
        char path[64], link[64] = {0};
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (fd >= 0) readlink(path, link, sizeof link - 1);
        else snprintf(link, sizeof link, "%s", strerror(errno));
        printf("%.12s", link);
        if (pipe(ends) == 0 && word(ends[0], FIONREAD, &bytes) < 0) printf(" FIONREAD: %s", strerror(errno));
        printf(" wd %d\n", fd < 0 ? -1 : add(fd, "dir", IN_CREATE));
        if (turn == 0) getchar();
    }
}

/* Waits in a folder of a file system that does not answer; a file says that it is about to. */
static void stuck(const char *point) {
    int fd = init1(0), mine;
    for (int number = 1; number <= 8; number++) {
        char name[8];
        snprintf(name, sizeof name, "%d", number);
        if ((mine = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644)) >= 0) break;
    }
    say("waited", add(fd, point, IN_CREATE));
}

/* Goes on with the instance that it finds open as descriptor 3. */
static void inherited(void) {
    struct stat status;
    must(fstat(3, &status) == 0, "an instance");
    int wd = add(3, "dir", IN_CREATE);
    printf("on %d", wd);
    say("", add(3, "dir", IN_MASK_CREATE | IN_CREATE));
    touch("dir/new");
    drain(3);
}

int main(int count, char **words) {
    /* What is not written before a fork is written twice. */
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count == 4 && strcmp(words[1], "stuck") == 0 && chdir(words[2]) == 0) return stuck(words[3]), 0;
    must(count == 3 && chdir(words[2]) == 0, "calls ACT FOLDER");
    struct { const char *name; void (*act)(void); } acts[] = {
        {"work", work}, {"places", places}, {"interrupted", interrupted}, {"threads", threads}, {"killed", killed}, {"raced", raced}, {"twice", twice}, {"inherited", inherited},
    };
    for (unsigned index = 0; index < sizeof acts / sizeof *acts; index++) {
        if (strcmp(words[1], acts[index].name) == 0) {
            acts[index].act();
            return 0;
        }
    }
    return 2;
}
