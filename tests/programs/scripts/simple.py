import sys
from inotify_simple import INotify, flags

inotify = INotify()
try:
    inotify.add_watch(sys.argv[1] + '/none', flags.CREATE)
except OSError as error:
    print(error, flush=True)
wd = inotify.add_watch(sys.argv[1], 0xfff)
print('nothing yet', inotify.read(timeout=0), flush=True)
print('ready', flush=True)
while True:
    for event in inotify.read():
        print(event.wd == wd, flags.from_mask(event.mask), event.cookie != 0, event.name, flush=True)
