"""Shows how `inotifywait` takes an overflow, and that its folder is unmounted, without a sleep and without root.

    $ UINOTIFY_COMMAND=target/release/uinotify PYTHONPATH=emu/bindings/python python3 emu/bindings/python/examples/overflow.py
"""

import subprocess
import tempfile

import uinotify

with tempfile.TemporaryDirectory() as folder, uinotify.Bed(max_queue=2) as bed:
    watcher = bed.popen(["inotifywait", "-q", "-m", folder], stdout=subprocess.PIPE, text=True)
    watch = bed.wait_for_watch(folder)
    print(f"process {watch.pid} watches the folder, as {watch.wd}")
    # All three at once, before it can read any: the queue holds two.
    bed.delay("barrier")
    bed.inject(f"{folder}/new", "create", "open", "close_write")
    bed.barrier()
    bed.wait_until_read()
    bed.delay("none")
    bed.inject(folder, "unmount")
    bed.wait_until_read()
    watcher.terminate()
    print(watcher.communicate()[0].replace(folder, "FOLDER"), end="")
    print(f"{bed.events('overflowed')} overflow, {bed.calls('add_watch')} watch")
