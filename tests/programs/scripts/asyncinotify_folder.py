import asyncio
import sys
from asyncinotify import Inotify, Mask


async def main():
    with Inotify() as inotify:
        inotify.add_watch(sys.argv[1], Mask(0xfff))
        print('ready', flush=True)
        async for event in inotify:
            print(event.mask, event.path, event.cookie != 0, flush=True)


asyncio.run(main())
