"""A test bed for programs that watch files.

Programs that run under a :class:`Bed` have their inotify from an emulator of the test's own: things happen when the test says so,
calls fail and queues overflow on demand, and nothing needs a sleep.
"""

from .bed import Bed, Failure, Watch
from .control import Control, Refused

__all__ = ["Bed", "Control", "Failure", "Refused", "Watch"]
