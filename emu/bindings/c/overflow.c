/* How a program that watches a folder takes a full queue: a test without root, and without a sleep.
 *
 *     cc -o overflow $(pkg-config --cflags uinotify) overflow.c && ./overflow
 */
#define _GNU_SOURCE
#include "uinotify-testbed.h"

#include <sys/inotify.h>

/* The program under test: counts what it sees, until it is told of an overflow. */
static int watch(const char *folder)
{
    int instance = inotify_init1(IN_CLOEXEC);
    int seen = 0;

    if (inotify_add_watch(instance, folder, IN_CREATE) < 0) {
        perror("inotify_add_watch");
        return 2;
    }
    for (;;) {
        char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t length = read(instance, bytes, sizeof bytes);
        for (char *at = bytes; at < bytes + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            if (event->mask & IN_Q_OVERFLOW) {
                printf("seen %d, and some are lost\n", seen);
                return 0;
            }
            seen++;
            at += sizeof *event + event->len;
        }
    }
}

static void must(struct uinotify_bed *bed, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s\n", bed->error);
        uinotify_bed_tell(bed);
        uinotify_bed_stop(bed);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    static struct uinotify_bed bed;
    const char *const options[] = {"--limit=queue=3", "--source=script", "--next-wd=0x7fffffff", NULL};
    char folder[] = "/tmp/watched-XXXXXX", path[64];
    int status = 0, wd = 0;
    pid_t watcher;

    if (count == 2)
        return watch(arguments[1]);
    if (!mkdtemp(folder)) {
        perror("mkdtemp");
        return 1;
    }
    must(&bed, uinotify_bed_start(&bed, options));
    char *const line[] = {arguments[0], folder, NULL};
    watcher = uinotify_bed_spawn(&bed, line);
    must(&bed, uinotify_bed_wait_for_watch(&bed, folder, IN_CREATE, 10000, &wd));
    printf("watched as %d, the next one is %d\n", wd, uinotify_bed_next_wd(&bed));
    fflush(stdout);
    /* All at once, before it can read any. */
    must(&bed, uinotify_bed_delay(&bed, "barrier"));
    for (int number = 0; number < 5; number++) {
        snprintf(path, sizeof path, "%s/%d", folder, number);
        must(&bed, uinotify_bed_inject(&bed, path, "create"));
    }
    must(&bed, uinotify_bed_barrier(&bed));
    waitpid(watcher, &status, 0);
    printf("%lld overflow\n", uinotify_bed_count(&bed, "overflowed"));
    uinotify_bed_stop(&bed);
    rmdir(folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
