"""The fixture ``uinotify_bed`` and the marker ``uinotify``."""

import pytest

from .bed import Bed

_KEY = "uinotify_bed"


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "uinotify(**arguments): what the fixture uinotify_bed is to be like: the arguments of uinotify.Bed"
    )


@pytest.fixture
def uinotify_bed(request):
    """A :class:`uinotify.Bed` of the test's own."""
    marker = request.node.get_closest_marker("uinotify")
    with Bed(**(marker.kwargs if marker else {})) as bed:
        yield bed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    bed = getattr(item, "funcargs", {}).get(_KEY)
    if call.when == "call" and report.failed and isinstance(bed, Bed):
        try:
            report.sections.append(("uinotify", bed.story()))
        except Exception as error:  # The test's own failure is what counts.
            report.sections.append(("uinotify", f"the emulator tells nothing: {error}"))
