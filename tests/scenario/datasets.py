# SPDX-License-Identifier: Apache-2.0
"""
What a registry has to take: one set of blobs and manifests for each kind of
content that the conformance suite of the OCI speaks of, under its names.
"""

import base64 as coding
import gzip
import json
from dataclasses import dataclass, field

from content import (OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER,
                     OCI_MANIFEST, Image, blob_of, digest_of, facts,
                     make_blob)

EXAMPLE = "application/vnd.example.config.v1+json"
EXAMPLE2 = "application/vnd.example.other.v1+json"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"

SETS = ["image", "image-uncompressed", "large-manifest", "index",
        "nested-index", "empty-index", "artifact", "artifact-index",
        "artifact-without-layers", "artifacts-with-subject",
        "index-with-subject", "missing-subject", "data-field",
        "non-distributable-layers", "custom-fields", "no-layers", "sparse",
        "sha512", "tag-param-sha256", "tag-param-sha512"]


@dataclass
class DataSet:
    """`blobs` and `manifests` in the order of a push."""

    name: str
    alg: str = "sha256"
    blobs: dict = field(default_factory=dict)      # digest: Blob
    manifests: list = field(default_factory=list)  # of Image
    tags: dict = field(default_factory=dict)       # tag: Image
    by_param: bool = False  # tags come with the manifest's digest, as ?tag=
    subjects: list = field(default_factory=list)   # descriptors

    # ---- making it ----

    def blob(self, data, media_type, alg=None):
        blob = blob_of(data, alg or self.alg, media_type)
        self.blobs[blob.digest] = blob
        return blob

    def layer(self, seed, media_type=OCI_LAYER + "+gzip", size=2000):
        data = make_blob(size, f"{self.name}/{seed}").data
        if media_type.endswith("+gzip"):
            data = gzip.compress(data, mtime=0)
        return self.blob(data, media_type)

    def config(self, arch="amd64", **more):
        document = {"architecture": arch, "os": "linux", "set": self.name,
                    "rootfs": {"type": "layers", "diff_ids": []}, **more}
        return self.blob(json.dumps(document).encode(), OCI_CONFIG)

    def empty(self):
        return self.blob(b"{}", OCI_EMPTY)

    def manifest(self, config, layers, tag=None, subject=None, **more):
        """`layers` and `config` are blobs or descriptors."""
        return self.add({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(config),
            "layers": [descriptor(one) for one in layers], **more},
            tag, subject)

    def index(self, children, tag=None, subject=None, **more):
        return self.add({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [descriptor(one) for one in children], **more},
            tag, subject)

    def add(self, document, tag, subject):
        if subject:
            document["subject"] = subject
            if subject not in self.subjects:
                self.subjects.append(subject)
        data = json.dumps(document, indent=2).encode()
        made = Image(data, digest_of(data, self.alg), document["mediaType"],
                     subject=subject and subject["digest"])
        self.manifests.append(made)
        if tag:
            self.tags[tag] = made
        return made

    def image(self, tag=None, arch="amd64", seed=0, **more):
        return self.manifest(self.config(arch), [
            self.layer(f"{arch}/{seed}/{i}") for i in range(2)], tag, **more)

    def artifact(self, tag=None, kind=EXAMPLE, seed=0, **more):
        return self.manifest(self.empty(), [self.layer(f"{kind}/{seed}", kind)],
                             tag, artifactType=kind, **more)

    def images(self):
        return [self.image(arch=arch) for arch in ("amd64", "arm64")]

    # ---- what it implies ----

    def referrers(self, subject):
        """{digest: descriptor as the referrers API has to show it}"""
        found = {}
        for one in self.manifests:
            named, kind, annotations = facts(one.data)
            if named == subject:
                found[one.digest] = one.descriptor(**{
                    key: value for key, value in
                    (("artifactType", kind), ("annotations", annotations))
                    if value})
        return found

    def tags_of(self, image):
        return sorted(tag for tag, one in self.tags.items() if one is image)


def descriptor(one):
    return one if isinstance(one, dict) else one.descriptor()


# ---- one function for each, named after it ----

def _image(made):
    made.image("image")


def _image_uncompressed(made):
    made.manifest(made.config(), [made.layer(i, OCI_LAYER) for i in range(2)],
                  "image-uncompressed")


def _large_manifest(made):
    made.image("large-manifest", annotations={
        f"org.example.{i}": chr(97 + i % 26) * 10_000 for i in range(390)})


def _index(made):
    made.index(made.images(), "index")


def _nested_index(made):
    inner = [made.index(made.images()),
             made.index([made.image(arch="riscv64")])]
    made.index(inner, "index-of-index")


def _empty_index(made):
    made.index([], "index")


def _artifact(made):
    made.artifact("artifact")


def _artifact_index(made):
    made.index([made.artifact(seed=i) for i in range(2)], "artifact-index",
               artifactType=EXAMPLE)


def _artifact_without_layers(made):
    empty = made.empty()
    made.manifest(empty, [empty], "artifact-without-layers",
                  artifactType=EXAMPLE)


def _artifacts_with_subject(made):
    subject = made.image("image").descriptor()
    made.image(seed=1, subject=subject)  # its type is its config's
    made.artifact("tagged-artifact1", subject=subject,
                  annotations={"org.example.n": "one", "unique": "1"})
    made.artifact("tagged-artifact2", EXAMPLE2, subject=subject,
                  annotations={"org.example.n": "two", "unique": "2"})


def _index_with_subject(made):
    subject = made.index(made.images(), "index").descriptor()
    children = [made.artifact(seed=i, subject=subject) for i in range(2)]
    made.index(children, "tagged-artifact", subject, artifactType=EXAMPLE2,
               annotations={"org.example.n": "index"})


def _missing_subject(made):
    subject = blob_of(b"never pushed", made.alg, OCI_MANIFEST).descriptor()
    made.artifact("tagged-artifact", subject=subject,
                  annotations={"org.example.n": "orphan"})


def _data_field(made):
    config = made.config()
    layer = made.blob(b"small enough", OCI_LAYER)
    made.manifest({**config.descriptor(), "data": base64(config)},
                  [{**layer.descriptor(), "data": base64(layer)}],
                  "data-field")


def _non_distributable_layers(made):
    away = [blob_of(name.encode(), made.alg, FOREIGN + end).descriptor(
        urls=[f"https://store.example.com/{name}"])
        for name, end in (("first", "+gzip"), ("second", ""))]
    made.manifest(made.config(), [*away, made.layer("here")],
                  "non-distributable-image")


def _custom_fields(made):
    extra = {"org.example.extra": {"deep": [1, "two", None]}}
    children = [made.manifest(made.config(arch, **extra),
                              [{**made.layer(arch).descriptor(), **extra}],
                              **extra) for arch in ("amd64", "arm64")]
    made.index(children, "custom-fields", **extra)


def _no_layers(made):
    made.manifest(made.config(), [], "no-layers")


def _sparse(made):
    """A layer, and a child of an index, that nobody ever pushes."""
    lacking = made.layer("never pushed")
    made.manifest(made.config(), [lacking, made.layer("here")],
                  "sparse-image")
    del made.blobs[lacking.digest]
    child = blob_of(b"never pushed", made.alg, OCI_MANIFEST)
    made.index([made.image(), child], "sparse-index")


def _sha512(made):
    """By digest alone: a tag in the path stands for a sha256."""
    made.alg = "sha512"
    made.index(made.images())


def _tag_param_sha256(made):
    made.index(made.images(), made.name)
    made.by_param = True
    for number, one in enumerate(made.manifests):
        made.tags[f"{made.name}-{number}"] = one


def _tag_param_sha512(made):
    made.alg = "sha512"
    _tag_param_sha256(made)


def base64(blob):
    return coding.b64encode(blob.data).decode()


def make(name):
    made = DataSet(name)
    globals()["_" + name.replace("-", "_")](made)
    return made
