# SPDX-License-Identifier: Apache-2.0
"""skopeo: copies of everything, byte by byte; and eight of it at once."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import flows
import pushes
from containers import layout_host, layout_plain
from images import ELSEWHERE, HERE
from mirror import (assert_each_blob_once, assert_each_manifest_once,
                    assert_served, digests_of)
from pushes import AT
from world import MIRROR, need

SMALL = "docker.io/library/small:1"
BIG = "docker.io/library/big:1"
PULLERS = 8


class Skopeo:
    def __init__(self, world, folder):
        need("skopeo")
        self.world = world
        self.folder = folder
        self.copies = 0

    def __call__(self, *words, **more):
        return self.world.run("skopeo", *words, **more)

    def pull(self, reference, *options):
        """A copy into a folder of its own."""
        self.copies += 1
        self("copy", *options, f"docker://{reference}", f"dir:{self.latest}")

    @property
    def latest(self):
        return self.folder / f"copy{self.copies}"

    def check(self, reference, image):
        check_copy(self.latest, image)

    def forget(self):
        """It keeps nothing but the copies."""


def check_copy(folder, image):
    """A `dir:` copy for this platform has the same bytes."""
    here = image.children[0] if image.children else image
    assert (folder / "manifest.json").read_bytes() == here.manifest.data
    for blob in here.blobs:
        check_blob(folder, blob)


def check_blob(folder, blob):
    data = (folder / blob.digest.partition(":")[2]).read_bytes()
    assert data == blob.data, f"{blob.digest} differs"


@pytest.fixture
def skopeo(world, tmp_path, clean_up):
    layout_host(world)
    return Skopeo(world, tmp_path)


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_second_copy_asks_upstream_for_nothing(
        layout, world, mirror, hub, images, skopeo, untouched):
    layout(world)
    flows.pull_cold(mirror, hub, skopeo, SMALL, images.small)
    flows.pull_warm(mirror, hub, skopeo, SMALL, images.small)


def test_zstd_layers(mirror, hub, images, skopeo, untouched):
    name = "docker.io/team/zstd:1"
    flows.pull_cold(mirror, hub, skopeo, name, images.zstd)
    flows.pull_warm(mirror, hub, skopeo, name, images.zstd)


def test_copy_while_upstream_is_away(new_mirror, hub, images, skopeo,
                                     untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, skopeo, BIG, images.big)
    flows.pull_without_upstream(mirror, hub, skopeo, BIG, images.big)


def test_copy_of_all_platforms(mirror, hub, images, skopeo, untouched):
    at_hub = hub.mark()
    skopeo.pull(BIG, "--all")
    folder = skopeo.latest
    index = images.big
    assert (folder / "manifest.json").read_bytes() == index.manifest.data
    for child in index.children:
        name = child.digest.partition(":")[2] + ".manifest.json"
        assert (folder / name).read_bytes() == child.manifest.data
    for blob in index.blobs:
        check_blob(folder, blob)
    asked = hub.since(at_hub)
    assert_each_blob_once(asked, {b.digest: b for b in index.blobs})
    assert_each_manifest_once(asked)


def test_mirror_as_the_registry(mirror, images, skopeo, untouched):
    """Without registries.conf: the mirror's own name in the reference."""
    for name, image in (("library/small:1", images.small),
                        ("docker.io/library/small:1", images.small),
                        ("quay.io/org/other:1", images.other)):
        skopeo.pull(f"{MIRROR}:5000/{name}", "--src-tls-verify=false")
        check_copy(skopeo.latest, image)


def test_inspect(mirror, images, skopeo, untouched):
    """The tag list ignores mirrors, so it is asked of ours by name."""
    name = f"docker://{MIRROR}:5000/docker.io/library/small:1"
    found = json.loads(skopeo("inspect", "--tls-verify=false", name).stdout)
    here = images.small.children[0]
    assert found["Digest"] == images.small.digest
    assert found["Architecture"] == HERE
    assert found["RepoTags"] == ["1"]
    assert found["Layers"] == [b.digest for b in here.layers]
    raw = skopeo("inspect", "--tls-verify=false", "--raw", name).stdout
    assert raw.encode() == images.small.manifest.data
    config = skopeo("--override-arch", ELSEWHERE, "inspect", "--config",
                    "--tls-verify=false", name).stdout
    assert json.loads(config) == json.loads(
        images.small.children[1].config.data)


def test_pulls_at_once_are_one_download(new_mirror, hub, images, tmp_path,
                                        skopeo, untouched):
    """So slow an upstream that all of them meet in the large layer."""
    mirror = new_mirror(max_rate="10M")
    at_mirror, at_hub = mirror.mark(), hub.mark()
    folders = [tmp_path / f"at-once{n}" for n in range(PULLERS)]
    with ThreadPoolExecutor(PULLERS) as pool:
        jobs = [pool.submit(skopeo, "copy", f"docker://{BIG}", f"dir:{folder}")
                for folder in folders]
        for job in jobs:
            job.result()
    for folder in folders:
        check_copy(folder, images.big)
    lines, asked = mirror.since(at_mirror), hub.since(at_hub)
    blobs = digests_of(images.big)
    assert_served(lines, blobs, {"miss", "joined", "hit"})
    assert_each_blob_once(asked, blobs)
    assert_each_manifest_once(asked)
    large = max(blobs.values(), key=lambda blob: len(blob.data))
    verdicts = [line["verdict"] for line in lines
                if line["path"].endswith(large.digest)]
    assert sorted(verdicts) == ["joined"] * (PULLERS - 1) + ["miss"]


# ---- pushes ----

PLAIN = ["--src-tls-verify=false", "--dest-tls-verify=false"]


@pytest.mark.parametrize("kind", pushes.COPIED)
def test_push_of_every_kind(kind, mirror, hub, kinds, tmp_path, skopeo,
                            untouched):
    """From a folder, and back into another."""
    image = kinds[kind]
    source = pushes.write_dir(tmp_path / "from", image)
    at_hub = hub.mark()
    skopeo("copy", "--all", "--preserve-digests", *PLAIN, f"dir:{source}",
           f"docker://{AT}/acme/{kind}:1")
    pushes.check_held(mirror, f"acme/{kind}", "1", image)
    skopeo("copy", "--all", "--preserve-digests", *PLAIN,
           f"docker://{AT}/acme/{kind}:1", f"dir:{tmp_path / 'back'}")
    assert (tmp_path / "back" / "manifest.json").read_bytes() == \
        image.manifest.data
    for blob in image.blobs:
        check_blob(tmp_path / "back", blob)
    assert not hub.since(at_hub)


def test_copy_from_the_mirror_to_the_registry(mirror, hub, images, skopeo,
                                              untouched):
    """One daemon is both ends; what it holds is mounted or sent again."""
    at_hub = hub.mark()
    for name, image in (("small", images.small), ("big", images.big)):
        skopeo("copy", "--all", "--preserve-digests", *PLAIN,
               f"docker://{AT}/docker.io/library/{name}:1",
               f"docker://{AT}/acme/{name}:1")
        pushes.check_held(mirror, f"acme/{name}", "1", image)
    pushes.check_untouched(hub, at_hub, "acme/small", "acme/big")
    at_mirror = mirror.mark()
    skopeo("copy", "--all", "--preserve-digests", *PLAIN,
           f"docker://{AT}/acme/big:1", f"docker://{AT}/acme/again:1")
    pushes.check_held(mirror, "acme/again", "1", images.big)
    assert pushes.mounts(mirror.since(at_mirror))


@pytest.mark.limit(180)
def test_200_tags(mirror, kinds, tmp_path, skopeo, untouched):
    """A folder of tags goes up in one run, and comes back in another."""
    image, there, back = kinds["gzip"], tmp_path / "from", tmp_path / "back"
    there.mkdir()
    for tag in pushes.TAGS:
        pushes.write_dir(there / f"tags:{tag}", image)
    skopeo("sync", "--dest-tls-verify=false", "--src", "dir", "--dest",
           "docker", there, f"{AT}/acme")
    pushes.check_tags(mirror, "acme/tags", image)
    skopeo("sync", "--src-tls-verify=false", "--src", "docker", "--dest",
           "dir", f"{AT}/acme/tags", back)
    for tag in pushes.TAGS:
        check_copy(back / f"tags:{tag}", image)


def test_delete(mirror, kinds, tmp_path, skopeo, untouched):
    source = pushes.write_dir(tmp_path / "from", kinds["gzip"])
    for tag in ("1", "2"):
        skopeo("copy", *PLAIN, f"dir:{source}",
               f"docker://{AT}/acme/gone:{tag}")
    found = json.loads(skopeo("list-tags", "--tls-verify=false",
                              f"docker://{AT}/acme/gone").stdout)
    assert found["Tags"] == ["1", "2"]
    # It deletes by digest: both tags go.
    skopeo("delete", "--tls-verify=false", f"docker://{AT}/acme/gone:1")
    assert pushes.tags_of(mirror, "acme/gone") == []
    assert mirror.daemon.manifest("acme/gone", "2").status == 404
