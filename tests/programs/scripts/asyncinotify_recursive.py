import asyncio
import sys
from pathlib import Path
from asyncinotify import Mask, RecursiveInotify


async def main():
    with RecursiveInotify() as inotify:
        mask = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVE | Mask.DELETE
        inotify.add_recursive_watch(Path(sys.argv[1]), mask)
        print('ready', flush=True)
        async for event in inotify:
            print(event.mask, event.path, event.cookie != 0, flush=True)


asyncio.run(main())
