# SPDX-License-Identifier: Apache-2.0
"""buildah: what a build begins with comes through the mirror."""

import json

import pytest

import flows
from containers import Store, check_files, layout_host, layout_plain

SMALL = "docker.io/library/small:1"
BIG = "docker.io/library/big:1"


class Buildah(Store):
    """pull() is `buildah from`, so check() looks into a container."""

    def __init__(self, world, folder):
        super().__init__(world, folder, "buildah")
        self.container = None

    def pull(self, reference):
        self.container = self("from", "--pull-always",
                              reference).stdout.split()[-1]

    def check(self, reference, image):
        here = image.children[0] if image.children else image
        found = json.loads(self("inspect", self.container).stdout)
        assert found["FromImage"] == reference
        assert f"sha256:{found['FromImageID']}" == here.config.digest
        check_files(self("mount", self.container).stdout.strip(), image)
        self("umount", self.container)

    def forget(self):
        self("rm", "--all")
        super().forget()


@pytest.fixture
def buildah(world, tmp_path, clean_up):
    layout_host(world)
    return Buildah(world, tmp_path / "b")


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_from(layout, world, mirror, hub, images, buildah, untouched):
    layout(world)
    flows.pull_cold(mirror, hub, buildah, SMALL, images.small)
    flows.pull_warm(mirror, hub, buildah, SMALL, images.small)


def test_from_a_digest(mirror, hub, images, buildah, untouched):
    name = flows.by_digest(BIG, images.big)
    flows.pull_cold(mirror, hub, buildah, name, images.big)
    flows.pull_warm(mirror, hub, buildah, name, images.big)


def test_from_while_upstream_is_away(new_mirror, hub, images, buildah,
                                     untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, buildah, SMALL, images.small)
    flows.pull_without_upstream(mirror, hub, buildah, SMALL, images.small)


def test_build(mirror, images, buildah, tmp_path, untouched):
    """A Containerfile with a command, two bases, and a copy between them."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Containerfile").write_text(
        f"FROM {BIG} AS base\n"
        "RUN sha256sum /srv/large >/sum\n"
        "FROM quay.io/org/other:1\n"
        "COPY --from=base /sum /sum\n")
    buildah("build", "--isolation", "chroot", "--network", "host", "--tag",
            "localhost/built", folder)
    container = buildah("from", "localhost/built").stdout.strip()
    root = buildah("mount", container).stdout.strip()
    check_files(root, images.other)
    with open(f"{root}/sum", encoding="ascii") as text:
        assert text.read().split()[0] == \
            images.big.children[0].files["srv/large"]
