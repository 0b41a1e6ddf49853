/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A test bed for programs that watch files: an emulator of the test's own, in which things happen when the test says so.
 *
 *     struct uinotify_bed bed;
 *     const char *const options[] = {"--limit=queue=4", NULL};
 *     if (uinotify_bed_start(&bed, options) < 0)
 *         errx(1, "%s", bed.error);
 *     pid_t watcher = uinotify_bed_spawn(&bed, argv);
 *     uinotify_bed_wait_for_watch(&bed, "/tmp/watched", 0, 10000, NULL);
 *     uinotify_bed_overflow(&bed);
 *     uinotify_bed_stop(&bed);
 *
 * Needs the command uinotify, in PATH or named by UINOTIFY_COMMAND, and nothing to link with. It speaks the protocol of
 * docs/protocol.md; docs/testbed.md says what can happen. Every function that returns an int gives -1 where it has failed, with a
 * sentence in bed.error; what an emulator has refused comes with the name of an errno in parentheses. One thread at a time.
 */
#ifndef UINOTIFY_TESTBED_H
#define UINOTIFY_TESTBED_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __GNUC__
#define UINOTIFY_BED_FUNCTION static __attribute__((unused))
#else
#define UINOTIFY_BED_FUNCTION static
#endif

#define UINOTIFY_BED_LINE_BYTES 65536

struct uinotify_bed {
    int connection;
    pid_t server;
    unsigned long long last;
    /* Of what has failed. */
    char error[UINOTIFY_BED_LINE_BYTES];
    /* The emulator's last answer: a line of JSON. */
    char answer[UINOTIFY_BED_LINE_BYTES];
    char folder[64];
    char socket[108];
    char library[4096];
};

UINOTIFY_BED_FUNCTION int uinotify_bed_fail(struct uinotify_bed *bed, const char *what)
{
    snprintf(bed->error, sizeof bed->error, "%s: %s", what, strerror(errno));
    return -1;
}

UINOTIFY_BED_FUNCTION const char *uinotify_bed_command(void)
{
    const char *command = getenv("UINOTIFY_COMMAND");
    return command && *command ? command : "uinotify";
}

/* Connects to an emulator that is there, which uinotify_bed_stop leaves alone. */
UINOTIFY_BED_FUNCTION int uinotify_bed_connect(struct uinotify_bed *bed, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* A request of the library's: magic, version of frames, kind, and nothing else. */
    unsigned char frame[24] = {'u', 'i', 'n', 'o', 1, 16};
    int32_t answered[6];

    if (bed->server <= 0)
        memset(bed, 0, sizeof *bed);
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return uinotify_bed_fail(bed, path);
    }
    strcpy(address.sun_path, path);
    snprintf(bed->socket, sizeof bed->socket, "%s", path);
    bed->connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bed->connection < 0)
        return uinotify_bed_fail(bed, "socket");
    if (connect(bed->connection, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(bed->connection, frame, sizeof frame, MSG_NOSIGNAL) < 0 ||
        recv(bed->connection, answered, sizeof answered, 0) != (ssize_t)sizeof answered)
        return uinotify_bed_fail(bed, path);
    if (answered[2] != 0) {
        errno = answered[2];
        return uinotify_bed_fail(bed, path);
    }
    return 0;
}

UINOTIFY_BED_FUNCTION int uinotify_bed_read_line(int fd, char *line, size_t room)
{
    size_t length = 0;
    ssize_t count;

    while (length + 1 < room && (count = read(fd, line + length, room - 1 - length)) > 0)
        length += (size_t)count;
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return length > 0 ? 0 : -1;
}

/* Starts `uinotify serve` with these options (docs/testbed.md), or none for NULL. */
UINOTIFY_BED_FUNCTION int uinotify_bed_start(struct uinotify_bed *bed, const char *const options[])
{
    const char *arguments[64] = {uinotify_bed_command(), "serve", "--log", "--socket"};
    size_t count = 4;
    char number[16], said[8] = "", path[sizeof bed->socket];
    int ready[2], library[2];
    pid_t child;

    memset(bed, 0, sizeof *bed);
    bed->connection = -1;
    strcpy(bed->folder, "/tmp/uinotify-XXXXXX");
    if (!mkdtemp(bed->folder))
        return uinotify_bed_fail(bed, "mkdtemp");
    snprintf(path, sizeof path, "%s/socket", bed->folder);
    if (pipe(ready) < 0)
        return uinotify_bed_fail(bed, "pipe");
    snprintf(number, sizeof number, "%d", ready[1]);
    arguments[count++] = path;
    arguments[count++] = "--ready-fd";
    arguments[count++] = number;
    while (options && *options && count < sizeof arguments / sizeof *arguments - 1)
        arguments[count++] = *options++;
    bed->server = fork();
    if (bed->server == 0) {
        close(ready[0]);
        execvp(arguments[0], (char *const *)arguments);
        _exit(127);
    }
    close(ready[1]);
    uinotify_bed_read_line(ready[0], said, sizeof said);
    if (read(ready[0], said, 1) < 0)
        said[0] = '\0';
    close(ready[0]);
    if (uinotify_bed_connect(bed, path) < 0) {
        snprintf(bed->error, sizeof bed->error, "%s did not start: it says why on standard error", arguments[0]);
        return -1;
    }
    if (pipe(library) < 0)
        return uinotify_bed_fail(bed, "pipe");
    child = fork();
    if (child == 0) {
        dup2(library[1], 1);
        execlp(arguments[0], arguments[0], "library", (char *)NULL);
        _exit(127);
    }
    close(library[1]);
    uinotify_bed_read_line(library[0], bed->library, sizeof bed->library);
    close(library[0]);
    waitpid(child, NULL, 0);
    if (!bed->library[0]) {
        snprintf(bed->error, sizeof bed->error, "%s has no library", arguments[0]);
        return -1;
    }
    return 0;
}

/* Ends the emulator that was started, and with it the instances of programs that are still there. */
UINOTIFY_BED_FUNCTION void uinotify_bed_stop(struct uinotify_bed *bed)
{
    if (bed->connection >= 0)
        close(bed->connection);
    bed->connection = -1;
    if (bed->server > 0) {
        kill(bed->server, SIGTERM);
        waitpid(bed->server, NULL, 0);
        bed->server = 0;
    }
    if (bed->folder[0]) {
        unlink(bed->socket);
        rmdir(bed->folder);
    }
}

/* Puts this process under the emulator, for the program that it is about to execute. */
UINOTIFY_BED_FUNCTION void uinotify_bed_enter(const struct uinotify_bed *bed)
{
    const char *before = getenv("LD_PRELOAD");
    char preload[2 * sizeof bed->library];

    snprintf(preload, sizeof preload, before && *before ? "%s:%s" : "%s", bed->library, before);
    setenv("LD_PRELOAD", preload, 1);
    setenv("UINOTIFY_SOCKET", bed->socket, 1);
}

/* Runs a program under the emulator. */
UINOTIFY_BED_FUNCTION pid_t uinotify_bed_spawn(const struct uinotify_bed *bed, char *const arguments[])
{
    pid_t child = fork();

    if (child == 0) {
        uinotify_bed_enter(bed);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    return child;
}

/* A line that is being written. */
struct uinotify_bed_line {
    char text[UINOTIFY_BED_LINE_BYTES];
    size_t length;
};

UINOTIFY_BED_FUNCTION void uinotify_bed_put(struct uinotify_bed_line *line, const char *text)
{
    while (*text && line->length + 1 < sizeof line->text)
        line->text[line->length++] = *text++;
}

/* A member that is a path, a name or another text: as the protocol writes those. */
UINOTIFY_BED_FUNCTION void uinotify_bed_text(struct uinotify_bed_line *line, const char *member, const char *text,
                                             int is_path)
{
    char byte[8];

    snprintf(byte, sizeof byte, ",\"");
    uinotify_bed_put(line, byte);
    uinotify_bed_put(line, member);
    uinotify_bed_put(line, "\":\"");
    for (; *text; text++) {
        unsigned char value = (unsigned char)*text;
        if (is_path && (value < 0x20 || value >= 0x7f || value == '%'))
            snprintf(byte, sizeof byte, "%%%02X", value);
        else if (value == '"' || value == '\\')
            snprintf(byte, sizeof byte, "\\%c", value);
        else
            snprintf(byte, sizeof byte, "%c", value);
        uinotify_bed_put(line, byte);
    }
    uinotify_bed_put(line, "\"");
}

UINOTIFY_BED_FUNCTION void uinotify_bed_number(struct uinotify_bed_line *line, const char *member, long long number)
{
    char text[64];

    snprintf(text, sizeof text, ",\"%s\":%lld", member, number);
    uinotify_bed_put(line, text);
}

/* A member that says what is at a path, if anything is. */
UINOTIFY_BED_FUNCTION void uinotify_bed_inode(struct uinotify_bed_line *line, const char *member, const char *path,
                                              int follow)
{
    struct stat found;
    char text[96];

    if ((follow ? stat(path, &found) : lstat(path, &found)) < 0)
        return;
    snprintf(text, sizeof text, ",\"%s\":{\"device\":%llu,\"inode\":%llu}", member, (unsigned long long)found.st_dev,
             (unsigned long long)found.st_ino);
    uinotify_bed_put(line, text);
}

/* An absolute path as the kernel comes to it, and what is above it. */
UINOTIFY_BED_FUNCTION void uinotify_bed_place(struct uinotify_bed_line *line, const char *member, const char *path,
                                              const char *object, const char *above, int follow)
{
    char absolute[2 * 4096], resolved[4096 + 1], *slash;

    if (follow && realpath(path, resolved))
        snprintf(absolute, sizeof absolute, "%s", resolved);
    else if (path[0] == '/' || !getcwd(resolved, sizeof resolved))
        snprintf(absolute, sizeof absolute, "%s", path);
    else
        snprintf(absolute, sizeof absolute, "%s/%s", resolved, path);
    uinotify_bed_text(line, member, absolute, 1);
    uinotify_bed_inode(line, object, absolute, 0);
    slash = strrchr(absolute, '/');
    if (above && slash) {
        slash[slash == absolute] = '\0';
        uinotify_bed_inode(line, above, absolute, 1);
    }
}

UINOTIFY_BED_FUNCTION void uinotify_bed_begin(struct uinotify_bed *bed, struct uinotify_bed_line *line,
                                              const char *command)
{
    char text[64];

    line->length = 0;
    snprintf(text, sizeof text, "{\"v\":1,\"id\":%llu", ++bed->last);
    uinotify_bed_put(line, text);
    uinotify_bed_text(line, "do", command, 0);
}

/* Sends a line, and waits for its answer: for so many milliseconds, or for ever if that is negative. */
UINOTIFY_BED_FUNCTION int uinotify_bed_ask(struct uinotify_bed *bed, struct uinotify_bed_line *line, int timeout_ms)
{
    char id[48], *message;
    size_t length, at;

    uinotify_bed_put(line, "}\n");
    if (line->length + 1 >= sizeof line->text) {
        errno = EMSGSIZE;
        return uinotify_bed_fail(bed, "the command");
    }
    for (at = 0; at < line->length; at += 4096) {
        size_t left = line->length - at;
        if (send(bed->connection, line->text + at, left < 4096 ? left : 4096, MSG_NOSIGNAL) < 0)
            return uinotify_bed_fail(bed, "the emulator");
    }
    snprintf(id, sizeof id, "{\"id\":%llu,", bed->last);
    do {
        length = 0;
        do {
            struct pollfd entry = {.fd = bed->connection, .events = POLLIN};
            ssize_t count;
            if (poll(&entry, 1, timeout_ms) == 0) {
                errno = ETIMEDOUT;
                return uinotify_bed_fail(bed, "the emulator");
            }
            count = recv(bed->connection, bed->answer + length, sizeof bed->answer - 1 - length, 0);
            if (count <= 0) {
                errno = count < 0 ? errno : ECONNRESET;
                return uinotify_bed_fail(bed, "the emulator");
            }
            length += (size_t)count;
        } while (bed->answer[length - 1] != '\n' && length + 1 < sizeof bed->answer);
        bed->answer[length] = '\0';
        /* Others are answers to what was given up. */
    } while (strncmp(bed->answer, id, strlen(id)) != 0);
    message = strstr(bed->answer, "\"error\":{");
    if (message != bed->answer + strlen(id))
        return 0;
    snprintf(bed->error, sizeof bed->error, "%s", message + strlen("\"error\":"));
    errno = EPROTO;
    return -1;
}

/* A number of the last answer; 0 if it has none of this name. */
UINOTIFY_BED_FUNCTION long long uinotify_bed_answered(const struct uinotify_bed *bed, const char *member)
{
    char name[64];
    const char *found;

    snprintf(name, sizeof name, "\"%s\":", member);
    found = strstr(bed->answer, name);
    return found ? strtoll(found + strlen(name), NULL, 10) : 0;
}

/* Has something happen to a path, as far as watchers are told: "create", "modify", "delete" and so on. */
UINOTIFY_BED_FUNCTION int uinotify_bed_inject(struct uinotify_bed *bed, const char *path, const char *event)
{
    struct uinotify_bed_line line;
    struct stat found;
    int follow = strcmp(event, "create") != 0 && strcmp(event, "delete") != 0;

    uinotify_bed_begin(bed, &line, "inject");
    uinotify_bed_text(&line, "event", event, 0);
    uinotify_bed_place(&line, "path", path, "object", "directory", follow);
    if (stat(path, &found) == 0 && S_ISDIR(found.st_mode))
        uinotify_bed_put(&line, ",\"is_directory\":true");
    return uinotify_bed_ask(bed, &line, -1);
}

/* Has a path be renamed, as far as watchers are told. */
UINOTIFY_BED_FUNCTION int uinotify_bed_move(struct uinotify_bed *bed, const char *from, const char *to)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "inject");
    uinotify_bed_text(&line, "event", "move", 0);
    uinotify_bed_place(&line, "path", from, "object", "directory", 0);
    uinotify_bed_place(&line, "to", to, "replaced", "to_directory", 0);
    return uinotify_bed_ask(bed, &line, -1);
}

/* A command without arguments: "overflow", "barrier", "clear_faults". */
UINOTIFY_BED_FUNCTION int uinotify_bed_do(struct uinotify_bed *bed, const char *command)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, command);
    return uinotify_bed_ask(bed, &line, -1);
}

/* Has the queues of all instances overflow. */
UINOTIFY_BED_FUNCTION int uinotify_bed_overflow(struct uinotify_bed *bed)
{
    return uinotify_bed_do(bed, "overflow");
}

/* Returns when everything that had happened before is in the queues. */
UINOTIFY_BED_FUNCTION int uinotify_bed_barrier(struct uinotify_bed *bed)
{
    return uinotify_bed_do(bed, "barrier");
}

/* Queues an event as it is, whatever is watched, in the only instance that there is. */
UINOTIFY_BED_FUNCTION int uinotify_bed_queue(struct uinotify_bed *bed, int wd, uint32_t mask, uint32_t cookie,
                                             const char *name)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "queue");
    uinotify_bed_number(&line, "wd", wd);
    uinotify_bed_number(&line, "mask", mask);
    uinotify_bed_number(&line, "cookie", cookie);
    uinotify_bed_text(&line, "name", name, 1);
    return uinotify_bed_ask(bed, &line, -1);
}

/* Has calls fail or events be lost from now on: "add_watch:ENOSPC:when=3". */
UINOTIFY_BED_FUNCTION int uinotify_bed_fault(struct uinotify_bed *bed, const char *rule)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "fault");
    uinotify_bed_text(&line, "rule", rule, 0);
    return uinotify_bed_ask(bed, &line, -1);
}

/* Holds events back from now on: "events=3", "time=50ms", "barrier" or "none". */
UINOTIFY_BED_FUNCTION int uinotify_bed_delay(struct uinotify_bed *bed, const char *delay)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "delay");
    uinotify_bed_text(&line, "delay", delay, 0);
    return uinotify_bed_ask(bed, &line, -1);
}

/* Sets the number of the next watch descriptor of the only instance that there is. */
UINOTIFY_BED_FUNCTION int uinotify_bed_set_next_wd(struct uinotify_bed *bed, int wd)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "set_next_wd");
    uinotify_bed_number(&line, "wd", wd);
    return uinotify_bed_ask(bed, &line, -1);
}

/* That number, or -1. */
UINOTIFY_BED_FUNCTION int uinotify_bed_next_wd(struct uinotify_bed *bed)
{
    return uinotify_bed_do(bed, "get_next_wd") < 0 ? -1 : (int)uinotify_bed_answered(bed, "next_wd");
}

/* Returns when somebody watches a path and asks for all of the mask, with the number of the watch; ETIMEDOUT if nobody does in time. */
UINOTIFY_BED_FUNCTION int uinotify_bed_wait_for_watch(struct uinotify_bed *bed, const char *path, uint32_t mask,
                                                      int timeout_ms, int *wd)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "wait_for_watch");
    uinotify_bed_place(&line, "path", path, "object", NULL, 1);
    uinotify_bed_number(&line, "mask", mask);
    if (uinotify_bed_ask(bed, &line, timeout_ms) < 0)
        return -1;
    if (wd)
        *wd = (int)uinotify_bed_answered(bed, "wd");
    return 0;
}

/* How many calls of a kind were made ("init", "add_watch", "remove_watch"), or how many events met an end ("queued", "overflowed"). */
UINOTIFY_BED_FUNCTION long long uinotify_bed_count(struct uinotify_bed *bed, const char *kind)
{
    struct uinotify_bed_line line;

    uinotify_bed_begin(bed, &line, "log");
    uinotify_bed_number(&line, "last", 0);
    return uinotify_bed_ask(bed, &line, -1) < 0 ? -1 : uinotify_bed_answered(bed, kind);
}

/* Writes what is watched, and the last calls and events, to standard error: for a test that has failed. */
UINOTIFY_BED_FUNCTION void uinotify_bed_tell(const struct uinotify_bed *bed)
{
    pid_t child = fork();

    if (child == 0) {
        dup2(2, 1);
        execlp(uinotify_bed_command(), uinotify_bed_command(), "log", "--socket", bed->socket, (char *)NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
}

#endif
