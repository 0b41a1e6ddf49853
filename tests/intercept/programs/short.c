/* Reads into little room: `short FOLDER`. Events are taken whole or not at all, and what waits is woken. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char buffer[4096] __attribute__((aligned(8)));

static void take(int fd, void *into, size_t room) {
    ssize_t length = read(fd, into, room);
    if (length < 0) {
        printf("read of %zu: %s\n", room, strerror(errno));
        return;
    }
    printf("read of %zu: %zd\n", room, length);
    for (char *at = into; at < (char *)into + length;) {
        struct inotify_event *event = (void *)at;
        printf("    %x %s\n", event->mask, event->len ? event->name : "-");
        at += sizeof *event + event->len;
    }
}

static void touch(const char *name) { close(open(name, O_CREAT | O_WRONLY, 0644)); }

static void nothing(int number) { (void)number; }

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count != 2 || chdir(words[1]) != 0) return 2;
    int fd = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(fd, ".", IN_CREATE | IN_ATTRIB | IN_DELETE);
    take(fd, buffer, 100);
    take(fd, buffer, 0);
    touch("a name of some length, for the first event");
    int waiting = 0, result = ioctl(fd, FIONREAD, &waiting);
    printf("there is: %d %d\n", result, waiting);
    take(fd, buffer, 0);
    take(fd, buffer, 16);
    take(fd, buffer, 63);
    result = ioctl(fd, FIONREAD, &waiting);
    printf("still there: %d %d\n", result, waiting);
    take(fd, buffer, 64);
    touch("one");
    chmod("one", 0600);
    touch("two");
    take(fd, buffer, 100);
    touch("three");
    take(fd, (char *)8, 64);
    take(fd, buffer, 200);
    take(fd, buffer, 200);
    for (int number = 0; number < 400; number++) {
        char name[16];
        snprintf(name, sizeof name, "%d", number);
        touch(name);
    }
    int all = 0, wrong = 0;
    for (ssize_t length; (length = read(fd, buffer, 271)) > 0;) {
        wrong += length % 32;
        for (char *at = buffer; at < buffer + length; at += 32) wrong += strtol(((struct inotify_event *)at)->name, NULL, 10) != all++;
    }
    printf("a long queue: %d, wrong %d\n", all, wrong);

    int waits = inotify_init1(0);
    inotify_add_watch(waits, ".", IN_DELETE);
    if (fork() == 0) {
        usleep(20000);
        unlink("one");
        _exit(0);
    }
    take(waits, buffer, 64);
    wait(NULL);
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    take(waits, buffer, 64);
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    if (fork() == 0) {
        usleep(60000);
        unlink("two");
        _exit(0);
    }
    take(waits, buffer, 64);
    wait(NULL);
    /* Of two that wait one gets the event, and the other the next. */
    for (int child = 0; child < 2; child++) {
        if (fork() == 0) {
            char got[32];
            _exit(read(waits, got, sizeof got) == 32 ? 0 : 1);
        }
    }
    usleep(20000);
    unlink("three");
    unlink("5");
    for (int child = 0; child < 2; child++) {
        int status;
        wait(&status);
        printf("a child has read: %d\n", status);
    }
    /* Others' reads are the kernel's. */
    int ends[2];
    if (pipe(ends) == 0 && write(ends[1], "abcdef", 6) == 6) printf("of a pipe: %zd\n", read(ends[0], buffer, 4));
    printf("of nothing: %zd %s\n", read(99, buffer, 4), strerror(errno));
    return 0;
}
