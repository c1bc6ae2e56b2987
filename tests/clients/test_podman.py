# SPDX-License-Identifier: Apache-2.0
"""podman with registries.conf, in both layouts that the mirror understands."""

import json
import time

import pytest

import flows
from containers import Store, check_files, layout_host, layout_plain
from world import remove_cgroups

GROUP = "entrepot-test-podman"
SMALL = "docker.io/library/small:1"
BIG = "docker.io/library/big:1"


class Podman(Store):
    def __init__(self, world, folder):
        super().__init__(world, folder, "podman")
        self.options += ["--tmpdir", self.run / "tmp", "--cgroup-manager",
                         "cgroupfs", "--events-backend", "none",
                         "--runtime", "runc"]

    def inspect(self, reference):
        return json.loads(self("image", "inspect", reference).stdout)[0]

    def check(self, reference, image):
        here = image.children[0] if image.children else image
        found = self.inspect(reference)
        assert f"sha256:{found['Id']}" == here.config.digest
        assert any(d.endswith(image.digest) for d in found["RepoDigests"])
        assert found["RootFS"]["Layers"] == \
            json.loads(here.config.data)["rootfs"]["diff_ids"]
        check_files(self("image", "mount", reference).stdout.strip(), image)
        self("image", "unmount", reference)


@pytest.fixture
def podman(world, tmp_path, clean_up):
    layout_host(world)
    yield Podman(world, tmp_path / "p")
    world.end_strays()
    remove_cgroups(GROUP)


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_second_pull_asks_upstream_for_nothing(
        layout, world, mirror, hub, images, podman, untouched):
    layout(world)
    flows.pull_cold(mirror, hub, podman, SMALL, images.small)
    flows.pull_warm(mirror, hub, podman, SMALL, images.small)


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_pull_by_digest(layout, world, mirror, hub, images, podman, untouched):
    layout(world)
    name = flows.by_digest(BIG, images.big)
    flows.pull_cold(mirror, hub, podman, name, images.big)
    flows.pull_warm(mirror, hub, podman, name, images.big)


def test_zstd_layers(mirror, hub, images, podman, untouched):
    name = "docker.io/team/zstd:1"
    flows.pull_cold(mirror, hub, podman, name, images.zstd)
    flows.pull_warm(mirror, hub, podman, name, images.zstd)


def test_another_registry(mirror, quay, images, podman, untouched):
    name = "quay.io/org/other:1"
    flows.pull_cold(mirror, quay, podman, name, images.other)
    flows.pull_warm(mirror, quay, podman, name, images.other)


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_pull_while_upstream_is_away(
        layout, world, new_mirror, hub, images, podman, untouched):
    layout(world)
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, podman, BIG, images.big)
    flows.pull_warm(mirror, hub, podman, BIG, images.big, "revalidated")
    flows.pull_without_upstream(mirror, hub, podman, BIG, images.big)


def test_what_was_pulled_runs(mirror, images, podman, untouched):
    out = podman("run", "--rm", "--network", "none", "--log-driver", "none",
                 "--cgroup-parent", f"/{GROUP}", "--ulimit", "nofile=1024",
                 "--ulimit", "nproc=1024", BIG,
                 "/bin/sha256sum", "/srv/large").stdout
    assert out.split()[0] == images.big.children[0].files["srv/large"]


def test_unknown_image_goes_to_the_registry(mirror, world, podman):
    before = len(world.trap.connections)
    at_mirror = mirror.mark()
    start = time.monotonic()
    done = podman("pull", "docker.io/library/nosuch:1", check=False)
    assert done.returncode != 0
    assert time.monotonic() - start < 30
    assert {line["status"] for line in mirror.since(at_mirror)} == {"404"}
    assert len(world.trap.connections) > before, done.stderr
