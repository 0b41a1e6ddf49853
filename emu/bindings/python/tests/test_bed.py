"""The package, with the puppet that the tests of the test bed drive (UINOTIFY_PUPPET)."""

import os
import subprocess
import sys
import textwrap

import pytest

import uinotify
from uinotify.control import quoted

IN_CREATE, IN_DELETE, IN_ISDIR, IN_ALL = 0x100, 0x200, 0x40000000, 0xFFF


class Puppet:
    """Makes the calls of inotify that it is told to."""

    def __init__(self, bed):
        program = [os.environ["UINOTIFY_PUPPET"], "--puppet"]
        self.process = bed.popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.instance = self.does("init 2048")

    def does(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def add(self, path, mask=IN_ALL):
        return self.does(f"add {self.instance} {mask} {path}")

    def read(self):
        return self.does(f"read {self.instance}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


@pytest.mark.uinotify(source="script")
def test_what_is_injected_is_read(uinotify_bed, tmp_path):
    with Puppet(uinotify_bed) as puppet:
        assert puppet.add(tmp_path) == "1"
        uinotify_bed.inject(tmp_path / "new", "create", "open", "close_write")
        uinotify_bed.move(tmp_path / "new", tmp_path / "newer")
        uinotify_bed.inject(tmp_path / "folder", "create", is_directory=True)
        uinotify_bed.queue(9, IN_CREATE | IN_ISDIR, name=b"caf\xe9", cookie=3)
        assert puppet.read() == (
            "1:100:new 1:20:new 1:8:new 1:40:c:new 1:80:c:newer 1:40000100:folder 9:40000100:c:caf\N{REPLACEMENT CHARACTER}"
        )
        uinotify_bed.overflow()
        assert puppet.read() == "-1:4000"
        uinotify_bed.inject(tmp_path, "ignored")
        assert puppet.read() == "1:8000"


@pytest.mark.uinotify(max_watches=1, next_wd=0x7FFFFFFF)
def test_the_marker_sets_limits_and_cursor(uinotify_bed, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with Puppet(uinotify_bed) as puppet:
        assert puppet.add(tmp_path) == str(0x7FFFFFFF)
        assert puppet.add(other) == "ENOSPC"
        assert uinotify_bed.next_wd() == 2
        uinotify_bed.set_next_wd(40)
        assert puppet.does(f"rm {puppet.instance} {0x7FFFFFFF}") == "0"
        assert puppet.add(other) == "40"
        assert uinotify_bed.log()["failed"] == {"add_watch": 1}


@pytest.mark.uinotify(faults=["add_watch:ENOMEM:when=1", "read:EINTR:when=1"], drop="when=2", lie=True, delay="events=1")
def test_faults_come_from_the_marker(uinotify_bed, tmp_path):
    with Puppet(uinotify_bed) as puppet:
        assert puppet.add(tmp_path) == "ENOMEM"
        assert puppet.add(tmp_path, IN_CREATE) == "1"
        for name in "abc":
            (tmp_path / name).touch()
        assert puppet.read() == "EINTR"
        assert puppet.read() == "1:100:a"
        uinotify_bed.barrier()
        assert puppet.read() == "1:100:c"
        uinotify_bed.clear_faults()
        uinotify_bed.fault("rm_watch:EIO")
        assert puppet.does(f"rm {puppet.instance} 1") == "EIO"


def test_waiting_ends_with_the_watch(uinotify_bed, tmp_path):
    program = "import ctypes, sys, time; c = ctypes.CDLL(None); i = c.inotify_init1(0); c.inotify_add_watch(i, sys.argv[1].encode(), 0x300); sys.stdin.read()"
    watcher = uinotify_bed.popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE)
    watch = uinotify_bed.wait_for_watch(tmp_path, IN_DELETE)
    assert watch == uinotify.Watch(1, 1, IN_CREATE | IN_DELETE, watcher.pid)
    (tmp_path / "new").touch()
    with pytest.raises(uinotify.Failure, match="for all events to be read"):
        uinotify_bed.wait_until_read(timeout=0.05)
    watcher.communicate()
    uinotify_bed.wait_until_closed()


def test_a_failure_tells_its_story(uinotify_bed, tmp_path):
    with Puppet(uinotify_bed) as puppet:
        puppet.add(tmp_path)
        call = rf'inotify_add_watch\(instance 1, "{tmp_path}", IN_ALL_EVENTS\) = 1'
        with pytest.raises(uinotify.Failure, match=rf"nobody has watched /nothing within 0.05 s(.|\n)*{call}"):
            uinotify_bed.wait_for_watch("/nothing", timeout=0.05)
        with pytest.raises(uinotify.Failure, match=rf"nobody watches /nothing/new(.|\n)*{call}"):
            uinotify_bed.inject("/nothing/new", "create")
        uinotify_bed.inject("/nothing/new", "create", may_be_unwatched=True)
        with pytest.raises(uinotify.Failure, match=rf"expected 2 calls of add_watch, and 1 came(.|\n)*{call}"):
            uinotify_bed.expect_calls("add_watch", 2)
        uinotify_bed.expect_calls("add_watch", 1)
        uinotify_bed.expect_events("queued", 0)


def test_an_instance_is_dumped_and_restored(uinotify_bed, tmp_path):
    with Puppet(uinotify_bed) as puppet:
        puppet.add(tmp_path, IN_CREATE)
        (tmp_path / "new").touch()
        checkpoint = uinotify_bed.snapshot()
        assert [watch["wd"] for watch in checkpoint["instances"][0]["watches"]] == [1]
    program = f"import os; print(os.read({checkpoint['instances'][0]['descriptors'][0]['fd']}, 4096)[16:19])"
    with uinotify.Bed() as other:
        ended = other.run_restored(checkpoint, [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert ended.stdout == "b'new'\n"


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nonsense"):
        uinotify.Bed(faults="nonsense")
    with pytest.raises(FileNotFoundError):
        uinotify.Bed(command=tmp_path / "nothing")
    with pytest.raises(uinotify.Failure, match="no program has an inotify instance"), uinotify.Bed() as bed:
        bed.next_wd()


def test_paths_are_quoted():
    assert quoted("/plain \N{SNOWMAN}") == "/plain \N{SNOWMAN}"
    assert quoted(b"/caf\xe9%\n") == "/caf%E9%25%0A"


def test_a_failed_test_shows_the_log(pytester):
    pytester.makepyfile(
        textwrap.dedent(
            """
            import ctypes, os, sys

            def test_it(uinotify_bed, tmp_path):
                program = "import ctypes, sys; c = ctypes.CDLL(None); c.inotify_add_watch(c.inotify_init(), sys.argv[1].encode(), 256)"
                uinotify_bed.run([sys.executable, "-c", program, tmp_path])
                assert False
            """
        )
    )
    result = pytester.runpytest_subprocess("-p", "uinotify.pytest_plugin")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*uinotify*", "add_watch: 1", "*inotify_add_watch(instance 1, *, IN_CREATE) = 1"])
