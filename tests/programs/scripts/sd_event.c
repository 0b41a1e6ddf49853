/* Sources on one folder, which the library serves with one watch; one switches itself off, which changes the mask. */
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <systemd/sd-event.h>

static int show(sd_event_source *source, const struct inotify_event *event, void *name)
{
	(void)source;
	printf("%s %#x %d %s\n", (const char *)name, event->mask, event->cookie != 0, event->len ? event->name : "");
	fflush(stdout);
	return 0;
}

static int show_once(sd_event_source *source, const struct inotify_event *event, void *name)
{
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return show(source, event, name);
}

int main(int count, char **arguments)
{
	sd_event *event;
	sd_event_source *first, *second, *once;

	if (count != 2 || sd_event_default(&event) < 0)
		return 1;
	if (sd_event_add_inotify(event, &first, arguments[1], IN_ALL_EVENTS, show, "all") < 0 ||
	    sd_event_add_inotify(event, &second, arguments[1], IN_CREATE | IN_DELETE | IN_ONLYDIR, show, "some") < 0 ||
	    sd_event_add_inotify(event, &once, arguments[1], IN_MOVE, show_once, "once") < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	return sd_event_loop(event) < 0;
}
