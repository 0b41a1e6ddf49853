/* Every function of uinotify-testbed.h, with a program that prints the events that it reads. */
#define _GNU_SOURCE
#include "uinotify-testbed.h"

#include <fcntl.h>
#include <sys/inotify.h>

static void watch(const char *folder)
{
    int instance = inotify_init1(IN_CLOEXEC);

    if (inotify_add_watch(instance, folder, IN_ALL_EVENTS) < 0)
        printf("%d\n", errno);
    fflush(stdout);
    for (;;) {
        char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t length = read(instance, bytes, sizeof bytes);
        if (length < 0)
            printf("errno %d\n", errno);
        for (char *at = bytes; at < bytes + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            printf("%d %x %d %s\n", event->wd, event->mask, event->cookie != 0, event->len ? event->name : "-");
            at += sizeof *event + event->len;
        }
        fflush(stdout);
    }
}

static struct uinotify_bed bed;
static FILE *lines;

static void is(int truth, int line)
{
    if (!truth) {
        fprintf(stderr, "line %d is not so: %s\n", line, bed.error);
        uinotify_bed_tell(&bed);
        uinotify_bed_stop(&bed);
        exit(1);
    }
}

#define IS(truth) is(truth, __LINE__)

static void reads(const char *expected, int line)
{
    char text[512];

    is(fgets(text, sizeof text, lines) != NULL, line);
    text[strcspn(text, "\n")] = '\0';
    if (strcmp(text, expected) != 0) {
        fprintf(stderr, "%s is read, and not %s\n", text, expected);
        is(0, line);
    }
}

#define READS(expected) reads(expected, __LINE__)

int main(int count, char **arguments)
{
    const char *const wrong[] = {"--fault=nonsense", NULL};
    const char *const options[] = {"--source=script", "--fault=rm_watch:EINVAL", NULL};
    char folder[] = "/tmp/watched \"\\%\303\251-XXXXXX", file[64], other[64];
    struct uinotify_bed second = {.server = 0};
    int ends[2], wd = 0;
    pid_t watcher;

    if (count == 2)
        watch(arguments[1]);
    IS(mkdtemp(folder) != NULL);
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    IS(uinotify_bed_start(&bed, wrong) < 0 && strstr(bed.error, "did not start"));
    uinotify_bed_stop(&bed);
    IS(uinotify_bed_start(&bed, options) == 0);
    IS(uinotify_bed_wait_for_watch(&bed, folder, 0, 20, &wd) < 0 && errno == ETIMEDOUT);
    IS(uinotify_bed_next_wd(&bed) < 0 && strstr(bed.error, "ENOENT"));

    IS(pipe2(ends, O_CLOEXEC) == 0);
    watcher = fork();
    if (watcher == 0) {
        dup2(ends[1], 1);
        uinotify_bed_enter(&bed);
        execl(arguments[0], arguments[0], folder, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    lines = fdopen(ends[0], "r");
    IS(uinotify_bed_wait_for_watch(&bed, folder, IN_CREATE | IN_DELETE, 10000, &wd) == 0 && wd == 1);
    IS(uinotify_bed_next_wd(&bed) == 2 && uinotify_bed_set_next_wd(&bed, 40) == 0);
    IS(uinotify_bed_next_wd(&bed) == 40);
    IS(uinotify_bed_inject(&bed, file, "create") == 0);
    READS("1 100 0 file");
    IS(uinotify_bed_move(&bed, file, other) == 0);
    READS("1 40 1 file");
    READS("1 80 1 other");
    IS(uinotify_bed_queue(&bed, 9, IN_CREATE | IN_ISDIR, 0, "stale%") == 0);
    READS("9 40000100 0 stale%");
    IS(uinotify_bed_overflow(&bed) == 0);
    READS("-1 4000 0 -");
    IS(uinotify_bed_fault(&bed, "queue:drop:when=1") == 0 && uinotify_bed_fault(&bed, "x") < 0);
    IS(strstr(bed.error, "EINVAL") != NULL);
    IS(uinotify_bed_delay(&bed, "events=1") == 0);
    IS(uinotify_bed_inject(&bed, file, "modify") == 0);
    READS("-1 4000 0 -");
    IS(uinotify_bed_inject(&bed, file, "open") == 0);
    IS(uinotify_bed_barrier(&bed) == 0);
    READS("1 20 0 file");
    IS(uinotify_bed_do(&bed, "clear_faults") == 0);
    IS(uinotify_bed_inject(&bed, "/nothing/new", "create") < 0 && strstr(bed.error, "nobody watches /nothing/new"));
    IS(uinotify_bed_count(&bed, "add_watch") == 1 && uinotify_bed_count(&bed, "overflowed") == 2);

    /* Another client of the same emulator. */
    IS(uinotify_bed_connect(&second, bed.socket) == 0);
    IS(uinotify_bed_inject(&second, folder, "unmount") == 0);
    uinotify_bed_stop(&second);
    READS("1 40002000 0 -");
    READS("1 8000 0 -");
    kill(watcher, SIGTERM);
    waitpid(watcher, NULL, 0);
    uinotify_bed_stop(&bed);
    rmdir(folder);
    puts("every function does what it says");
    return 0;
}
