import sys
import pyinotify


class Handler(pyinotify.ProcessEvent):
    def process_default(self, event):
        print(event.maskname, event.pathname, getattr(event, 'src_pathname', ''), flush=True)


manager = pyinotify.WatchManager()
notifier = pyinotify.Notifier(manager, Handler())
mask = pyinotify.IN_CREATE | pyinotify.IN_CLOSE_WRITE | pyinotify.IN_MOVED_FROM | pyinotify.IN_MOVED_TO | pyinotify.IN_DELETE
manager.add_watch(sys.argv[1], mask, rec=True, auto_add=True)
print('ready', flush=True)
notifier.loop()
