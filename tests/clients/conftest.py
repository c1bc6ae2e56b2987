# SPDX-License-Identifier: Apache-2.0
"""
Fixtures: `world` (namespaces, see world.py), `images`, `hub` and `quay` (two
docker-registries with images), `new_mirror` and `mirror`
(the daemon in front of them).
"""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import images as image_set  # noqa: E402
import pushes  # noqa: E402
from mirror import Mirror  # noqa: E402
from registry import Registry  # noqa: E402
from world import World, unmount_below  # noqa: E402

LIMIT_S = 60
SHOWN = 40


class TooLong(BaseException):
    pass


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): it may take so long")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """No test hangs the suite."""
    mark = item.get_closest_marker("limit")
    limit_s = mark.args[0] if mark else LIMIT_S

    def ring(*_):
        raise TooLong(f"longer than {limit_s} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the logs of a failed test."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for name, path in getattr(item, "logs", {}).items():
        if path.exists():
            lines = path.read_text(errors="replace").splitlines()[-SHOWN:]
            report.sections.append((name, "\n".join(lines)))


@pytest.fixture
def logs(request):
    """{name: file} of logs to show when the test fails."""
    request.node.logs = {}
    return request.node.logs


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    assert os.geteuid() == 0, "real clients run as root"
    made = World(tmp_path_factory.mktemp("w"))
    yield made
    made.leave()


@pytest.fixture(scope="session")
def images():
    return image_set.Images()


@pytest.fixture(scope="session")
def registries(world, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    hub = Registry(world, folder / "hub", 6001).start()
    quay = Registry(world, folder / "quay", 6002).start()
    hub.push("library/small", "1", images.small)
    hub.push("library/big", "1", images.big)
    hub.push("team/zstd", "1", images.zstd)
    quay.push("org/other", "1", images.other)
    yield {"docker.io": hub, "quay.io": quay}
    hub.stop()
    quay.stop()


def _running(registry, logs, name):
    if not registry.running:
        registry.start()
    logs[name] = registry.log
    return registry


@pytest.fixture
def hub(registries, logs):
    return _running(registries["docker.io"], logs, "docker.io")


@pytest.fixture
def quay(registries, logs):
    return _running(registries["quay.io"], logs, "quay.io")


@pytest.fixture
def clean_up(world, tmp_path):
    """Runs last: no process and no mount of the test stays."""
    yield
    world.end_strays()
    unmount_below(tmp_path, *Path("/run").glob("*"))


@pytest.fixture
def new_mirror(hub, quay, tmp_path, logs, clean_up):
    """new_mirror(check="always"): a daemon with these upstream options."""
    made = []

    def make(**options):
        mirror = Mirror(tmp_path / "m", {"docker.io": hub, "quay.io": quay},
                        **options).host("acme/**")
        made.append(mirror)
        logs["entrepot"] = mirror.daemon.log_file
        return mirror.start()

    yield make
    for mirror in made:
        mirror.finish()


@pytest.fixture
def mirror(new_mirror):
    """With the defaults: a tag is good for a minute."""
    return new_mirror()


@pytest.fixture(scope="session")
def kinds(images):
    """{name: image} of every kind that is pushed."""
    return pushes.kinds(images)


@pytest.fixture
def untouched(world):
    """In a test that has this, nobody goes to a real registry."""
    before = len(world.trap.connections)
    yield
    went = world.trap.connections[before:]
    assert not went, f"somebody asked a real registry: ports {went}"
