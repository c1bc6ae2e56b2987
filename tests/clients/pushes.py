# SPDX-License-Identifier: Apache-2.0
"""
What pushing clients share: images of further kinds, where they go, and what
the registry must hold of them afterwards.
"""

import hashlib
import json

from images import (HERE, OCI, TYPES, Blob, Image, Index, make_image,
                    make_index, make_layer, to_json)
from mirror import PORT

AT = f"localhost:{PORT}"  # what counts as this machine
EMPTY = "application/vnd.oci.empty.v1+json"
KIND = "application/vnd.example.sbom"
LAYERS = 127
TAGS = [f"v{n:03}" for n in range(200)]


def attested(image):
    """As BuildKit makes them: an image and what vouches for it."""
    config = Blob(b"{}", TYPES["oci"]["config"])
    layer = Blob(to_json({"_type": "https://in-toto.io/Statement/v0.1"}),
                 "application/vnd.in-toto+json")
    manifest = Blob(to_json({
        "schemaVersion": 2, "mediaType": TYPES["oci"]["manifest"],
        "config": config.descriptor(), "layers": [layer.descriptor()],
    }), TYPES["oci"]["manifest"])
    proof = Image("unknown", manifest, config, [layer], {})
    return Index(Blob(to_json({
        "schemaVersion": 2, "mediaType": TYPES["oci"]["index"],
        "manifests": [
            image.manifest.descriptor(
                platform={"architecture": image.arch, "os": "linux"}),
            manifest.descriptor(
                platform={"architecture": "unknown", "os": "unknown"},
                annotations={
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": image.digest})],
    }), TYPES["oci"]["index"]), [image, proof])


def artifact(subject):
    config = Blob(b"{}", EMPTY)
    layer = Blob(b"a list of parts\n", KIND)
    manifest = Blob(to_json({
        "schemaVersion": 2, "mediaType": TYPES["oci"]["manifest"],
        "artifactType": KIND, "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "subject": subject.manifest.descriptor(),
    }), TYPES["oci"]["manifest"])
    return Image(HERE, manifest, config, [layer], {})


def many_layers(count=LAYERS):
    return make_image("docker", [make_layer({f"n/{n}": b"%d\n" % n})
                                 for n in range(count)])


def kinds(images):
    """{name: image}: every kind that a registry is given."""
    one = images.big.children[0]
    return {"gzip": images.small.children[0], "zstd": images.zstd,
            "list": images.small, "index": images.big,
            "nested": make_index("oci", one, images.zstd),
            "attested": attested(one), "layers": many_layers(),
            "artifact": artifact(images.zstd)}


KINDS = ["gzip", "zstd", "list", "index", "nested", "attested", "layers"]
# Whoever unpacks what he pulls takes none that is no image.
COPIED = [*KINDS, "artifact"]


def write_layout(folder, image):
    """An OCI layout of it; its path."""
    parts = [image, *image.children]
    blobs = [*(part.manifest for part in parts), *image.blobs]
    store = folder / "blobs" / "sha256"
    store.mkdir(parents=True)
    for blob in blobs:
        (store / blob.digest.partition(":")[2]).write_bytes(blob.data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(to_json({
        "schemaVersion": 2, "mediaType": OCI + "index.v1+json",
        "manifests": [image.manifest.descriptor(annotations={
            "org.opencontainers.image.ref.name": "1"})]}))
    return folder


def write_dir(folder, image):
    """What skopeo calls `dir:`, which takes Docker's types too; its path."""
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(image.manifest.data)
    for child in image.children:
        name = child.digest.partition(":")[2] + ".manifest.json"
        (folder / name).write_bytes(child.manifest.data)
    for blob in image.blobs:
        (folder / blob.digest.partition(":")[2]).write_bytes(blob.data)
    return folder


def check_layout(folder, image):
    """Another one has the same bytes."""
    for blob in [image.manifest, *(c.manifest for c in image.children),
                 *image.blobs]:
        path = folder / "blobs" / "sha256" / blob.digest.partition(":")[2]
        assert path.read_bytes() == blob.data, blob.digest


def check_held(mirror, name, reference, image):
    """The registry gives it back, byte for byte."""
    ask = mirror.daemon.connect()
    paths = [(f"manifests/{reference}", image.manifest)] + \
        [(f"manifests/{part.digest}", part.manifest)
         for part in [image, *image.children]] + \
        [(f"blobs/{blob.digest}", blob) for blob in image.blobs]
    subject = json.loads(image.manifest.data).get("subject")
    if subject:
        assert referrers(mirror, name, subject["digest"]) == [image.digest]
    for path, blob in paths:
        answer = ask.get(f"/v2/{name}/{path}")
        assert answer.status == 200, (path, answer)
        assert answer.body == blob.data, path
        if path.startswith("m"):
            assert answer.headers["Content-Type"] == blob.type
            assert answer.digest == blob.digest


def check_tags(mirror, name, image):
    """All the TAGS, each of them this image."""
    assert tags_of(mirror, name) == TAGS
    ask = mirror.daemon.connect()
    for tag in TAGS:
        answer = ask.head(f"/v2/{name}/manifests/{tag}")
        assert (answer.status, answer.digest) == (200, image.digest), tag


def check_pushed(mirror, name, reference):
    """
    Where a client makes a manifest of its own: what it made is there whole.
    The manifest.
    """
    ask = mirror.daemon.connect()
    answer = ask.get(f"/v2/{name}/manifests/{reference}")
    assert answer.status == 200, answer
    made = answer.json()
    for part in [made["config"], *made["layers"]]:
        blob = ask.get(f"/v2/{name}/blobs/{part['digest']}")
        assert blob.status == 200 and len(blob.body) == part["size"], blob
        assert "sha256:" + hashlib.sha256(blob.body).hexdigest() == \
            part["digest"]
    return made


def mounts(lines):
    """Those of the access lines that are a mount which was granted."""
    return [line for line in lines if line["method"] == "POST" and
            "mount=" in line["path"] and line["status"] == "201"]


def tags_of(mirror, name):
    answer = mirror.daemon.get(f"/v2/{name}/tags/list")
    assert answer.status == 200, answer
    return answer.json()["tags"]


def referrers(mirror, name, digest):
    answer = mirror.daemon.get(f"/v2/{name}/referrers/{digest}")
    assert answer.status == 200, answer
    return [one["digest"] for one in json.loads(answer.body)["manifests"]]


def check_untouched(registry, mark, *names):
    """An upstream was asked nothing of these hosted names."""
    asked = [r for r in registry.since(mark)
             if any(f"/v2/{name}/" in r.path for name in names)]
    assert not asked, asked
