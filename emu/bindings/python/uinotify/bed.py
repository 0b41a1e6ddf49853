"""An emulator of a test's own."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import NamedTuple

from .control import Control, Refused, quoted, status

#: Names the command where it is not in PATH.
COMMAND = "UINOTIFY_COMMAND"

#: How often to look for what a program does by itself, of which nobody tells.
_STEP_SECONDS = 0.001

#: How many calls and events tell how it came to a failure.
_STORY = 20

_OPEN = {"access", "modify", "attrib", "close_write", "close_nowrite", "open", "delete_self", "unmount", "ignored"}


class Failure(AssertionError):
    """Something was not as the test has expected it: what, and how it came to that."""


class Watch(NamedTuple):
    """A watch that somebody has."""

    #: Number of the instance in its emulator.
    instance: int
    #: Number of the watch in that.
    wd: int
    #: What it asks for.
    mask: int
    #: The process that has opened the instance.
    pid: int


class Bed:
    """A test bed: an emulator, and programs under it. To be closed, or used with ``with``.

    :param source: where events come from beside what is injected: ``auto``, ``inotify``, ``fanotify``, or ``script`` for nothing else
    :param max_watches: ``max_user_watches``: ENOSPC beyond it
    :param max_instances: ``max_user_instances``: EMFILE beyond it
    :param max_queue: ``max_queued_events``: IN_Q_OVERFLOW beyond it
    :param next_wd: number of the first watch descriptor of each instance
    :param faults: rules such as ``add_watch:ENOSPC:when=3``, one or several
    :param delay: ``events=3``, ``time=50ms`` or ``barrier``
    :param drop: which events are lost: ``when=5``, ``probability=0.1``, one or several
    :param lie: lose them without an overflow, as no kernel does
    :param seed: of everything that is left to chance
    :param options: more options of ``uinotify serve``
    :param patience: how many seconds the waiting methods wait
    :param command: the command ``uinotify``, if it is neither in PATH nor named by ``UINOTIFY_COMMAND``
    """

    def __init__(
        self,
        *,
        source="auto",
        max_watches=None,
        max_instances=None,
        max_queue=None,
        next_wd=None,
        faults=(),
        delay=None,
        drop=(),
        lie=False,
        seed=None,
        options=(),
        patience=10.0,
        command=None,
    ):
        self.patience = patience
        self._command = _found(command)
        limits = {"watches": max_watches, "instances": max_instances, "queue": max_queue}
        line = [self._command, "serve", "--log", "--source", source, *options]
        line += [f"--limit={name}={value}" for name, value in limits.items() if value is not None]
        line += [f"--fault={rule}" for rule in _several(faults)]
        line += [f"--drop={when}" for when in _several(drop)]
        for name, value in {"next-wd": next_wd, "delay": delay, "seed": seed}.items():
            if value is not None:
                line.append(f"--{name}={value}")
        if lie:
            line.append("--lie")
        self._folder = tempfile.TemporaryDirectory(prefix="uinotify-")
        #: Path of the emulator's socket.
        self.socket = os.path.join(self._folder.name, "socket")
        self._server = None
        try:
            self._start([*line, "--socket", self.socket])
            self._control = Control(self.socket)
            self._library = subprocess.run(
                [self._command, "library"], check=True, stdout=subprocess.PIPE, text=True
            ).stdout.rstrip("\n")
        except BaseException:
            self._stop()
            raise

    def _start(self, line):
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            try:
                self._server = subprocess.Popen(
                    [*line, "--ready-fd", str(writer)],
                    pass_fds=[writer],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            finally:
                os.close(writer)
            if ready.read() != b"\n":
                server, self._server = self._server, None
                _, said = server.communicate()
                raise ValueError(f"the emulator did not start: {said.strip()}")

    def _stop(self):
        server, self._server = self._server, None
        if server is not None:
            server.terminate()
            server.communicate()
        self._folder.cleanup()

    def close(self):
        """Ends the emulator, and with it the instances of programs that are still there."""
        self._control.close()
        self._stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Programs

    def environment(self):
        """What puts a program under the emulator."""
        preload = [self._library, *filter(None, os.environ.get("LD_PRELOAD", "").split(":"))]
        return {**os.environ, "LD_PRELOAD": ":".join(preload), "UINOTIFY_SOCKET": self.socket}

    def run(self, arguments, **options):
        """:func:`subprocess.run` under the emulator."""
        return subprocess.run(arguments, **{"env": self.environment(), **options})

    def popen(self, arguments, **options):
        """:class:`subprocess.Popen` under the emulator."""
        return subprocess.Popen(arguments, **{"env": self.environment(), **options})

    # What happens

    def inject(self, path, *events, is_directory=False, may_be_unwatched=False):
        """Has something happen to a path, as far as watchers are told: ``create``, ``delete``, ``modify``, ``attrib``, ``open``,
        ``access``, ``close_write``, ``close_nowrite``, ``delete_self``, ``unmount``, ``ignored``, one after the other."""
        for event in events:
            self._inject(event, path, None, is_directory, may_be_unwatched)

    def move(self, path, to, *, is_directory=False, may_be_unwatched=False):
        """Has a path be renamed, as far as watchers are told."""
        self._inject("move", path, to, is_directory, may_be_unwatched)

    def _inject(self, event, path, to, is_directory, may_be_unwatched):
        arguments = {"event": event, "may_be_unwatched": may_be_unwatched}
        # What changes a name is about the link, all else about what it leads to.
        path, found, above = _look(path, follow=event in _OPEN)
        arguments.update(path=quoted(path), is_directory=is_directory or os.path.isdir(path))
        arguments.update({name: at for name, at in [("object", found), ("directory", above)] if at})
        if to is not None:
            to, replaced, above = _look(to, follow=False)
            arguments["to"] = quoted(to)
            arguments.update({name: at for name, at in [("replaced", replaced), ("to_directory", above)] if at})
        self._ask("inject", **arguments)

    def overflow(self, instance=None):
        """Has the queues of all instances overflow, or of one."""
        self._ask("overflow", **_named(instance))

    def queue(self, wd, mask, cookie=0, name=b"", instance=None):
        """Queues an event as it is, whatever is watched."""
        self._ask("queue", wd=wd, mask=mask, cookie=cookie, name=quoted(name), **_named(instance))

    def barrier(self):
        """Returns when everything that had happened before the call is in the queues, also what a delay holds back."""
        self._ask("barrier")

    def fault(self, rule):
        """Has calls fail or events be lost from now on: ``add_watch:ENOSPC:when=3``, ``queue:overflow:after=10``."""
        self._ask("fault", rule=rule)

    def delay(self, delay):
        """Holds events back from now on: ``events=3``, ``time=50ms``, ``barrier`` or ``none``."""
        self._ask("delay", delay=delay)

    def clear_faults(self):
        """No fault and no delay from now on."""
        self._ask("clear_faults")

    def next_wd(self, instance=None):
        """The number from which the next watch descriptor is sought."""
        return self._ask("get_next_wd", **_named(instance))["next_wd"]

    def set_next_wd(self, wd, instance=None):
        """Sets it."""
        self._ask("set_next_wd", wd=wd, **_named(instance))

    # Waiting

    def wait_for_watch(self, path, mask=0, timeout=None):
        """Returns when somebody watches this path and asks for all of ``mask``: a :class:`Watch`."""
        timeout = self.patience if timeout is None else timeout
        absolute, found, _ = _look(path, follow=True)
        arguments = {"path": quoted(absolute), "mask": mask, **({"object": found} if found else {})}
        try:
            answer = self._ask("wait_for_watch", timeout=timeout, **arguments)
        except TimeoutError:
            raise self._failure(f"nobody has watched {path} within {timeout} s") from None
        return Watch(answer["instance"], answer["wd"], answer["mask"], answer["pid"])

    def wait_until_read(self, timeout=None):
        """Returns when programs have read everything that is in the queues."""
        self.barrier()
        self._wait_until(
            "all events to be read", lambda groups: all(group["queue_events"] == 0 for group in groups), timeout
        )

    def wait_until_closed(self, timeout=None):
        """Returns when no program has an instance any more."""
        self._wait_until("all instances to be closed", lambda groups: not groups, timeout)

    def _wait_until(self, what, is_so, timeout):
        timeout = self.patience if timeout is None else timeout
        end = time.monotonic() + timeout
        while not is_so(status(self.socket)["groups"]):
            if time.monotonic() > end:
                raise self._failure(f"waited {timeout} s for {what}")
            time.sleep(_STEP_SECONDS)

    # What has happened

    def log(self, last=_STORY):
        """Counts of calls and events, and the last of both: docs/protocol.md."""
        return self._control.ask("log", last=last)

    def calls(self, kind):
        """How many calls of a kind were made: ``init``, ``add_watch``, ``remove_watch`` and so on."""
        return self.log(0)["calls"].get(kind, 0)

    def events(self, outcome):
        """How many events have met this end: ``queued``, ``merged``, ``overflowed``, ``dropped``, ``held``."""
        return self.log(0)["events"].get(outcome, 0)

    def expect_calls(self, kind, count):
        """Fails unless so many calls of a kind were made."""
        came = self.calls(kind)
        if came != count:
            raise self._failure(f"expected {count} calls of {kind}, and {came} came")

    def expect_events(self, outcome, count):
        """Fails unless so many events have met this end."""
        came = self.events(outcome)
        if came != count:
            raise self._failure(f"expected {count} events {outcome}, and {came} came")

    def snapshot(self, instance=1):
        """All that there is of an instance, as ``uinotify dump`` writes it."""
        line = [self._command, "dump", "--socket", self.socket, "--group", str(instance)]
        return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)

    def run_restored(self, checkpoint, arguments, **options):
        """:func:`subprocess.run` of a program that finds the instances of a checkpoint open."""
        path = os.path.join(self._folder.name, "checkpoint.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(checkpoint, file)
        line = [self._command, "restore", "--socket", self.socket, path, "--", *arguments]
        return subprocess.run(line, **options)

    def story(self):
        """What is watched, and the last calls and events, for people."""
        line = [self._command, "log", "--socket", self.socket]
        return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _ask(self, do, **arguments):
        try:
            return self._control.ask(do, **arguments)
        except Refused as refused:
            raise self._failure(str(refused)) from refused

    def _failure(self, what):
        return Failure(f"{what}\n{self.story()}")


def _found(command):
    command = command or os.environ.get(COMMAND) or shutil.which("uinotify")
    if command is None:
        raise FileNotFoundError(f"the command uinotify is not in PATH: install it, or name it by {COMMAND}")
    return os.fspath(command)


def _several(texts):
    return [texts] if isinstance(texts, str) else texts


def _named(instance):
    return {} if instance is None else {"instance": instance}


def _look(path, follow):
    """The path as the kernel comes to it, what is there, and what is above it: as an emulator has to be told."""
    path = os.path.abspath(os.fsencode(path))
    if follow and os.path.exists(path):
        path = os.path.realpath(path)
    return path, _inode(path), _inode(os.path.dirname(path), follow=True)


def _inode(path, follow=False):
    try:
        found = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return {"device": found.st_dev, "inode": found.st_ino}
