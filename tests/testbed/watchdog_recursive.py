"""Says what watchdog says of a folder, and of what its thread dies."""

import os
import sys
import threading

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

FOLDER = sys.argv[1]


def say(line):
    # At once: threads speak at the same time.
    os.write(1, (line + "\n").encode())


class Handler(FileSystemEventHandler):
    def on_created(self, event):
        say("created " + os.path.relpath(event.src_path, FOLDER))

    def on_deleted(self, event):
        say("deleted " + os.path.relpath(event.src_path, FOLDER))


def died(arguments):
    say(f"died of {arguments.exc_type.__name__} {arguments.exc_value}")


threading.excepthook = died
observer = Observer()
observer.schedule(Handler(), FOLDER, recursive=True)
observer.start()
say("ready")
observer.join()
