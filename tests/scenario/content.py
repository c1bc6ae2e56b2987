# SPDX-License-Identifier: Apache-2.0
"""Blobs, manifests and indexes for tests: the same seed gives the same bytes."""

import functools
import gzip
import hashlib
import json
import random
from dataclasses import dataclass, field

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MIB = 1 << 20
PIECE = MIB


def digest_of(data, alg="sha256"):
    return f"{alg}:{hashlib.new(alg, data).hexdigest()}"


@dataclass(frozen=True, eq=False)
class Blob:
    """Some bytes and their digest."""

    data: bytes
    digest: str
    media_type: str = OCI_LAYER

    @property
    def size(self):
        return len(self.data)

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "digest": self.digest,
                "size": self.size, **more}


@functools.lru_cache(maxsize=16)
def _random_bytes(size, seed):
    whole, rest = divmod(size, PIECE)
    out = bytearray()
    for i in range(whole + (rest > 0)):
        n = PIECE if i < whole else rest
        out += random.Random(f"{seed}/{i}").randbytes(n)
    return bytes(out)


def make_blob(size, seed="blob", alg="sha256", media_type=OCI_LAYER):
    """`size` bytes that do not compress and depend only on `seed`."""
    data = _random_bytes(size, str(seed))
    return Blob(data, digest_of(data, alg), media_type)


def blob_of(data, alg="sha256", media_type=OCI_LAYER):
    return Blob(data, digest_of(data, alg), media_type)


@dataclass(eq=False)
class Image:
    """A manifest (or an index) with all that it names."""

    data: bytes
    digest: str
    media_type: str
    config: Blob | None = None
    layers: list[Blob] = field(default_factory=list)
    children: list["Image"] = field(default_factory=list)
    subject: str | None = None

    @property
    def size(self):
        return len(self.data)

    @property
    def blobs(self):
        """Config and layers of this and of all children, config first."""
        own = ([self.config] if self.config else []) + self.layers
        for child in self.children:
            own += child.blobs
        return own

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "digest": self.digest,
                "size": self.size, **more}


def _finish(document, alg):
    data = json.dumps(document, indent=3).encode()
    return data, digest_of(data, alg)


def make_image(layers=(), seed="image", docker=False, compress=False,
               alg="sha256", arch="amd64", subject=None, artifact_type=None,
               annotations=None, pad=0):
    """
    An image of these layers: blobs, or sizes from which blobs are made.
    `pad` makes the manifest larger by an annotation of that length.
    """
    layer_type = DOCKER_LAYER if docker else OCI_LAYER
    made = []
    for i, layer in enumerate(layers):
        if isinstance(layer, int):
            data = _random_bytes(layer, f"{seed}/layer{i}")
            if compress:
                data = gzip.compress(data, mtime=0)
            kind = layer_type
            if compress and not docker:
                kind += "+gzip"
            layer = blob_of(data, alg, kind)
        made.append(layer)
    config = blob_of(
        json.dumps({"architecture": arch, "os": "linux", "seed": str(seed),
                    "rootfs": {"type": "layers",
                               "diff_ids": [b.digest for b in made]}}).encode(),
        alg, DOCKER_CONFIG if docker else OCI_CONFIG)
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document = {"schemaVersion": 2, "mediaType": media_type,
                "config": config.descriptor(),
                "layers": [b.descriptor() for b in made]}
    if artifact_type:
        document["artifactType"] = artifact_type
    if subject:
        document["subject"] = subject.descriptor()
    if annotations or pad:
        document["annotations"] = dict(annotations or {})
        if pad:
            document["annotations"]["pad"] = "x" * pad
    data, digest = _finish(document, alg)
    return Image(data, digest, media_type, config, made,
                 subject=subject.digest if subject else None)


def make_index(children, docker=False, alg="sha256", annotations=None):
    """An index over these images, one platform each, in this order."""
    arches = ["amd64", "arm64", "riscv64", "s390x", "ppc64le"]
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": media_type,
                "manifests": [
                    c.descriptor(platform={"architecture": arches[i % 5],
                                           "os": "linux"})
                    for i, c in enumerate(children)]}
    if annotations:
        document["annotations"] = annotations
    data, digest = _finish(document, alg)
    return Image(data, digest, media_type, children=list(children))


def facts(data):
    """(subject digest, artifact type, annotations) of a manifest's bytes."""
    try:
        document = json.loads(data)
    except ValueError:
        return None, None, None
    if not isinstance(document, dict):
        return None, None, None
    kind = document.get("artifactType") or \
        (document.get("config") or {}).get("mediaType")
    subject = (document.get("subject") or {}).get("digest")
    return subject, kind, document.get("annotations")
