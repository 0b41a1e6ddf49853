import sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver


class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        print(event.event_type, event.is_directory, event.src_path, getattr(event, 'dest_path', ''), flush=True)


observer = InotifyObserver()
observer.schedule(Handler(), sys.argv[1], recursive=len(sys.argv) > 2)
observer.start()
print('ready', flush=True)
observer.join()
