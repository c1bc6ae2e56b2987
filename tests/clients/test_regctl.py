# SPDX-License-Identifier: Apache-2.0
"""regctl, from its Go module: artifacts and what they are attached to."""

import json

import pytest

import pushes
from pushes import AT, KIND
from world import go_client


class Regctl:
    def __init__(self, world):
        self.program = go_client("regctl")
        self.world = world

    def __call__(self, *words, **more):
        return self.world.run(self.program, "--host",
                              f"reg={AT},tls=disabled", *words, **more).stdout

    def push(self, folder, image, name, *options):
        layout = pushes.write_layout(folder, image)
        self("image", "copy", *options, f"ocidir://{layout}:1",
             f"{AT}/{name}")

    def artifacts(self, reference):
        """Digests of what names it as its subject."""
        found = json.loads(self("artifact", "list", reference, "--format",
                                "{{json .}}"))
        return [one["digest"] for one in found["descriptors"] or []]


@pytest.fixture
def regctl(world, clean_up):
    return Regctl(world)


@pytest.mark.parametrize("kind", pushes.COPIED)
def test_push_and_pull_of_every_kind(kind, mirror, hub, kinds, tmp_path,
                                     regctl, untouched):
    image, name, at_hub = kinds[kind], f"acme/{kind}", hub.mark()
    regctl.push(tmp_path / "from", image, f"{name}:1")
    pushes.check_held(mirror, name, "1", image)
    assert regctl("image", "digest", f"{AT}/{name}:1").strip() == image.digest
    back = tmp_path / "back"
    regctl("image", "copy", f"{AT}/{name}:1", f"ocidir://{back}:1")
    pushes.check_layout(back, image)
    assert not hub.since(at_hub)


def test_copy_from_the_mirror_and_mount(mirror, images, regctl, untouched):
    regctl("image", "copy", f"{AT}/docker.io/library/big:1",
           f"{AT}/acme/big:1")
    at_mirror = mirror.mark()
    regctl("image", "copy", f"{AT}/acme/big:1", f"{AT}/acme/other:1")
    for name in ("acme/big", "acme/other"):
        pushes.check_held(mirror, name, "1", images.big)
    assert pushes.mounts(mirror.since(at_mirror))


def test_artifact_with_a_subject(mirror, images, tmp_path, regctl, untouched):
    """Put, listed, got, copied along, and deleted."""
    regctl.push(tmp_path / "from", images.zstd, "acme/app:1")
    subject = f"{AT}/acme/app:1"
    parts = tmp_path / "parts"
    parts.write_text("a list of parts\n")
    regctl("artifact", "put", "--artifact-type", KIND, "--subject", subject,
           "--annotation", "org.example.n=one", "--file", parts)
    made, = regctl.artifacts(subject)
    assert pushes.referrers(mirror, "acme/app", images.zstd.digest) == [made]
    assert regctl("artifact", "get", "--subject", subject,
                  "--filter-artifact-type", KIND) == "a list of parts\n"
    assert KIND in regctl("artifact", "tree", subject)
    # No tag stands in for the API.
    assert regctl("tag", "ls", f"{AT}/acme/app").split() == ["1"]

    regctl("image", "copy", "--referrers", subject, f"{AT}/acme/copy:1")
    assert regctl.artifacts(f"{AT}/acme/copy:1") == [made]
    regctl("manifest", "delete", f"{AT}/acme/app@{made}")
    assert regctl.artifacts(subject) == []
    assert regctl.artifacts(f"{AT}/acme/copy:1") == [made]


def test_artifact_that_comes_before_its_subject(mirror, images, tmp_path,
                                                regctl, untouched):
    early = pushes.artifact(images.zstd)
    regctl.push(tmp_path / "early", early, "acme/app:sbom")
    regctl.push(tmp_path / "late", images.zstd, "acme/app:1")
    assert regctl.artifacts(f"{AT}/acme/app:1") == [early.digest]
    pushes.check_held(mirror, "acme/app", "sbom", early)


@pytest.mark.limit(180)
def test_200_tags(mirror, images, tmp_path, regctl, untouched):
    first = f"{AT}/acme/tags:{pushes.TAGS[0]}"
    regctl.push(tmp_path / "from", images.zstd, f"acme/tags:{pushes.TAGS[0]}")
    for tag in pushes.TAGS[1:]:
        regctl("image", "copy", first, f"{AT}/acme/tags:{tag}")
    assert regctl("tag", "ls", f"{AT}/acme/tags").split() == pushes.TAGS
    pushes.check_tags(mirror, "acme/tags", images.zstd)


def test_tags(mirror, images, tmp_path, regctl, untouched):
    regctl.push(tmp_path / "from", images.small, "acme/tags:1")
    for tag in ("2", "3"):
        regctl("image", "copy", f"{AT}/acme/tags:1", f"{AT}/acme/tags:{tag}")
    assert regctl("tag", "ls", f"{AT}/acme/tags").split() == ["1", "2", "3"]
    regctl("tag", "delete", f"{AT}/acme/tags:2")
    assert regctl("tag", "ls", f"{AT}/acme/tags").split() == ["1", "3"]
    pushes.check_held(mirror, "acme/tags", "3", images.small)
    regctl("manifest", "delete", f"{AT}/acme/tags@{images.small.digest}")
    assert pushes.tags_of(mirror, "acme/tags") == []
    assert "acme/tags" in regctl("repo", "ls", AT).split()
