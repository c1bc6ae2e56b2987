# SPDX-License-Identifier: Apache-2.0
"""podman with registries.conf, in both layouts that the mirror understands."""

import json
import time

import pytest

import flows
import pushes
from containers import Store, check_files, layout_host, layout_plain
from pushes import AT
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


# ---- pushes ----

@pytest.mark.parametrize("kind", pushes.KINDS)
def test_push_of_every_kind(kind, mirror, hub, kinds, podman, untouched):
    """Pulled through the mirror, pushed to the registry and pulled back."""
    hub.push(f"kinds/{kind}", "1", kinds[kind])
    source, name = f"docker.io/kinds/{kind}:1", f"{AT}/acme/{kind}:1"
    podman.pull(source)
    number = podman.inspect(source)["Id"]
    at_hub = hub.mark()
    podman("push", "--tls-verify=false", source, name)
    podman.forget()
    made = pushes.check_pushed(mirror, f"acme/{kind}", "1")
    assert made["config"]["digest"] == f"sha256:{number}"
    podman("pull", "--tls-verify=false", name)
    assert podman.inspect(name)["Id"] == number
    pushes.check_untouched(hub, at_hub, f"acme/{kind}")


def test_second_name_is_mounted(mirror, hub, images, podman, untouched):
    podman.pull(BIG)
    podman("push", "--tls-verify=false", BIG, f"{AT}/acme/one:1")
    at_mirror = mirror.mark()
    podman("push", "--tls-verify=false", BIG, f"{AT}/acme/two:1")
    assert pushes.mounts(mirror.since(at_mirror))
    pushes.check_pushed(mirror, "acme/two", "1")


def test_push_of_what_was_pulled_through_the_same_name(
        new_mirror, hub, images, podman, untouched):
    """The mirror's copy becomes the hosted one, and stays when the hub's tag
    moves."""
    mirror = new_mirror(check="always")
    hub.push("mine/app", "1", images.small)
    name = f"{AT}/mine/app:1"
    podman("pull", "--tls-verify=false", name)
    number = podman.inspect(name)["Id"]
    podman("push", "--tls-verify=false", name)
    made = pushes.check_pushed(mirror, "mine/app", "1")
    assert made["config"]["digest"] == f"sha256:{number}"
    hub.push("mine/app", "1", images.newer)
    podman.forget()
    at_hub = hub.mark()
    podman("pull", "--tls-verify=false", name)
    assert podman.inspect(name)["Id"] == number
    pushes.check_untouched(hub, at_hub, "mine/app")
    podman("pull", "docker.io/mine/app:1")
    assert podman.inspect("docker.io/mine/app:1")["Id"] != number
