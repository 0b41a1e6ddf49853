/* Each call of inotify and what it answers, with its errors; then the events of a folder. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, result);
	fflush(stdout);
}

int main(int count, char **arguments)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	char path[4096];
	int waiting = -1;
	struct stat status;

	if (count != 2)
		return 2;
	say("init1, bad flags", inotify_init1(0x40000000));
	int inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (inotify < 0)
		return 1;
	say("flags", fcntl(inotify, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
	say("descriptor flags", fcntl(inotify, F_GETFD));

	say("add, no such file", inotify_add_watch(inotify, "/nonexistent", IN_CREATE));
	say("add, no mask", inotify_add_watch(inotify, arguments[1], 0));
	say("add, bad address", inotify_add_watch(inotify, (const char *)8, IN_CREATE));
	say("add, not open", inotify_add_watch(1000, arguments[1], IN_CREATE));
	say("add, not inotify", inotify_add_watch(1, arguments[1], IN_CREATE));
	say("add", inotify_add_watch(inotify, arguments[1], IN_CREATE));
	say("add again", inotify_add_watch(inotify, arguments[1], IN_ALL_EVENTS));
	say("remove, no such wd", inotify_rm_watch(inotify, 77));

	say("read, nothing there", read(inotify, buffer, sizeof(buffer)));
	say("write", write(inotify, "x", 1));
	struct pollfd polled = { inotify, POLLIN | POLLOUT, 0 };
	say("poll, nothing there", poll(&polled, 1, 0));

	/* The program's own changes: they are there as soon as the call that makes them returns. */
	snprintf(path, sizeof(path), "%s/mine", arguments[1]);
	int file = open(path, O_CREAT | O_WRONLY, 0600);
	say("poll, own changes", poll(&polled, 1, 0));
	say("its events", polled.revents);
	ioctl(inotify, FIONREAD, &waiting);
	say("bytes to read", waiting);
	say("read, too short", read(inotify, buffer, 16));
	say("read one", read(inotify, buffer, 48));
	say("read the other", read(inotify, buffer, sizeof(buffer)));
	close(file);
	unlink(path);
	ioctl(inotify, FIONREAD, &waiting);
	say("bytes to read", waiting);
	say("read both", read(inotify, buffer, sizeof(buffer)));

	snprintf(path, sizeof(path), "%s/..", arguments[1]);
	int parent = inotify_add_watch(inotify, path, IN_DELETE_SELF);
	say("add another", parent);
	say("remove it", inotify_rm_watch(inotify, parent));
	say("read that it is removed", read(inotify, buffer, sizeof(buffer)));
	say("mask", ((struct inotify_event *)buffer)->mask);
	say("stat", fstat(inotify, &status));
	puts("ready");
	fflush(stdout);

	for (;;) {
		if (poll(&polled, 1, -1) != 1)
			return 1;
		ssize_t length = read(inotify, buffer, sizeof(buffer));
		for (char *at = buffer; at < buffer + length;) {
			const struct inotify_event *event = (const struct inotify_event *)at;
			printf("wd %d mask %#x paired %d length %u name %s\n", event->wd, event->mask,
			       event->cookie != 0, event->len, event->len ? event->name : "");
			at += sizeof(*event) + event->len;
		}
		fflush(stdout);
	}
}
