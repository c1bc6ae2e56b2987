# SPDX-License-Identifier: Apache-2.0
"""crane, from its Go module: it begins each push with HEAD of the manifest."""

import json

import pytest

import client
import pushes
from mirror import Mirror
from pushes import AT
from upstream import Upstream
from world import go_client


class Crane:
    def __init__(self, world):
        self.program = go_client("crane")
        self.world = world

    def __call__(self, *words, **more):
        return self.world.run(self.program, *words, **more).stdout

    def push(self, folder, image, name):
        return self("push", pushes.write_layout(folder, image), f"{AT}/{name}")


@pytest.fixture
def crane(world, clean_up):
    return Crane(world)


@pytest.mark.parametrize("kind", pushes.COPIED)
def test_push_and_pull_of_every_kind(kind, mirror, hub, kinds, tmp_path,
                                     crane, untouched):
    image, name, at_hub = kinds[kind], f"acme/{kind}", hub.mark()
    crane.push(tmp_path / "from", image, f"{name}:1")
    pushes.check_held(mirror, name, "1", image)
    assert crane("digest", f"{AT}/{name}:1").strip() == image.digest
    assert crane("manifest", f"{AT}/{name}:1").encode() == image.manifest.data
    crane("pull", "--format", "oci", f"{AT}/{name}:1", tmp_path / "back")
    pushes.check_layout(tmp_path / "back", image)
    assert not hub.since(at_hub)


def test_copy_from_the_mirror_and_mount(mirror, hub, images, crane,
                                        untouched):
    crane("copy", f"{AT}/docker.io/library/big:1", f"{AT}/acme/big:1")
    at_mirror = mirror.mark()
    crane("copy", f"{AT}/acme/big:1", f"{AT}/acme/other:1")
    for name in ("acme/big", "acme/other"):
        pushes.check_held(mirror, name, "1", images.big)
    granted = pushes.mounts(mirror.since(at_mirror))
    assert len(granted) == len({b.digest for b in images.big.blobs})


@pytest.mark.limit(180)
def test_200_tags(mirror, images, tmp_path, crane, untouched):
    crane.push(tmp_path / "from", images.zstd, f"acme/tags:{pushes.TAGS[0]}")
    for tag in pushes.TAGS[1:]:
        crane("tag", f"{AT}/acme/tags:{pushes.TAGS[0]}", tag)
    assert crane("ls", f"{AT}/acme/tags").split() == pushes.TAGS
    pushes.check_tags(mirror, "acme/tags", images.zstd)
    assert "acme/tags" in crane("catalog", AT).split()


def test_delete(mirror, images, tmp_path, crane, untouched):
    crane.push(tmp_path / "from", images.small, "acme/gone:1")
    crane("tag", f"{AT}/acme/gone:1", "2")
    crane("delete", f"{AT}/acme/gone:2")
    assert crane("ls", f"{AT}/acme/gone").split() == ["1"]
    crane("delete", f"{AT}/acme/gone@{images.small.digest}")
    assert crane("ls", f"{AT}/acme/gone").split() == []
    assert mirror.daemon.manifest("acme/gone", "1").status == 404


# ---- a name that is new, by whatever its upstream says ----

@pytest.fixture
def up():
    made = Upstream()
    yield made
    made.stop()


@pytest.fixture
def in_front(up, tmp_path, logs, clean_up):
    """Nothing is declared: a push has to claim its name."""
    mirror = Mirror(tmp_path / "m", {"docker.io": up})
    logs["entrepot"] = mirror.daemon.log_file
    yield mirror.start()
    mirror.finish()


def answering(up):
    """404 of what it does not have."""


def denying(up):
    up.fault(status=401)


def forbidding(up):
    up.fault(status=403)


def failing(up):
    up.fault(status=503)


def down(up):
    up.close()


@pytest.mark.parametrize("upstream", [answering, denying, forbidding, failing,
                                      down])
@pytest.mark.parametrize("name", ["fresh/app", "solo"])
def test_push_of_a_new_name(upstream, name, in_front, up, images, tmp_path,
                            crane):
    upstream(up)
    crane.push(tmp_path / "from", images.zstd, f"{name}:1")
    pushes.check_held(in_front, name, "1", images.zstd)
    lines = in_front.daemon.access()
    first = next(line for line in lines if "/manifests/" in line["path"] or
                 "/blobs/" in line["path"])
    assert (first["method"], first["status"]) == ("HEAD", "404")
    # It is hosted now: from here on nobody is asked.
    up.clear_faults()
    up.open()
    up.forget()
    assert crane("ls", f"{AT}/{name}").split() == ["1"]
    crane("pull", "--format", "oci", f"{AT}/{name}:1", tmp_path / "back")
    pushes.check_layout(tmp_path / "back", images.zstd)
    assert not up.requests()


@pytest.mark.parametrize("upstream", [answering, denying, down])
def test_push_of_a_name_of_the_hubs_own_is_refused(upstream, in_front, up,
                                                   images, tmp_path, crane):
    """With the line that would host it."""
    upstream(up)
    layout = pushes.write_layout(tmp_path / "from", images.zstd)
    done = crane.world.run(crane.program, "push", layout,
                           f"{AT}/library/app:1", check=False)
    assert done.returncode != 0
    answer = client.request(in_front.daemon.address, "POST",
                            "/v2/library/app/blobs/uploads/", {}, b"")
    assert answer.status == 403
    assert json.loads(answer.body)["errors"][0]["code"] == "DENIED"
