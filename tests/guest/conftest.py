# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests in guests."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from guest import KERNELS, Cache, Guest  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the ends of the logs of the guests that a failed test used to its report."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        sections = {}
        for name in item.fixturenames:
            value = item.funcargs.get(name)
            guests = value.booted if name == "boot" else [getattr(value, "guest", value)]
            for guest in guests:
                if isinstance(guest, Guest):
                    sections[guest] = (f"guest {guest.kernel}", guest._explain(""))
            for daemon in getattr(value, "daemons", ()):
                sections[daemon] = (f"daemon of {daemon.image.name}", daemon.log())
        report.sections.extend(sections.values())


@pytest.fixture(scope="session")
def cache() -> Cache:
    """The guest cache; tests that need it are skipped, with the reason, where it is absent."""
    cache = Cache()
    reason = cache.missing()
    if reason:
        pytest.skip(reason)
    return cache


@pytest.fixture
def boot(cache, tmp_path):
    """boot(kernel=..., disks=[...], ...) boots a guest that lasts until the end of the test."""

    def start(**options) -> Guest:
        guest = Guest(**{"log_dir": tmp_path / f"guest{len(start.booted)}", **options})
        start.booted.append(guest)
        guest.start()
        return guest

    start.booted = []
    yield start
    for guest in start.booted:
        guest.close()


@pytest.fixture(scope="module", params=KERNELS)
def guest(cache, request, tmp_path_factory):
    """One guest without disks for all tests of a file, once with each kernel."""
    with Guest(kernel=request.param, log_dir=tmp_path_factory.mktemp("guest")) as guest:
        yield guest
