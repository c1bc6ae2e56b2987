# SPDX-License-Identifier: Apache-2.0
"""
Real images, made without a network: a root file system of this machine's
shell and a few of its programs, with the libraries that they need; more
layers above it; Docker and OCI types, gzip and zstd, one platform or two.
"""

import gzip
import hashlib
import http.client
import io
import json
import platform
import random
import re
import subprocess
import tarfile
from dataclasses import dataclass, field

DOCKER = "application/vnd.docker."
OCI = "application/vnd.oci.image."

# What differs between the two families.
TYPES = {
    "docker": {
        "index": DOCKER + "distribution.manifest.list.v2+json",
        "manifest": DOCKER + "distribution.manifest.v2+json",
        "config": DOCKER + "container.image.v1+json",
        "gzip": DOCKER + "image.rootfs.diff.tar.gzip",
    },
    "oci": {
        "index": OCI + "index.v1+json",
        "manifest": OCI + "manifest.v1+json",
        "config": OCI + "config.v1+json",
        "gzip": OCI + "layer.v1.tar+gzip",
        "zstd": OCI + "layer.v1.tar+zstd",
    },
}

PROGRAMS = ["sh", "cat", "echo", "true", "sha256sum"]

BIG_BYTES = 40 << 20

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(),
                                                   platform.machine())
# The other platform's programs are never run.
ELSEWHERE = "arm64" if HERE == "amd64" else "amd64"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Blob:
    data: bytes = field(repr=False)
    type: str

    def __post_init__(self):
        self.digest = digest_of(self.data)

    def descriptor(self, **more):
        return {"mediaType": self.type, "digest": self.digest,
                "size": len(self.data), **more}


@dataclass
class Layer:
    """A tar, and what is in it: {path: sha256}."""
    tar: bytes = field(repr=False)
    files: dict
    blobs: dict = field(default_factory=dict, repr=False)

    def blob(self, compression, family):
        """The layer as a blob; compressed once."""
        if compression not in self.blobs:
            self.blobs[compression] = {"gzip": gzipped, "zstd": zstd}[
                compression](self.tar)
        return Blob(self.blobs[compression], TYPES[family][compression])


@dataclass
class Image:
    """One platform's manifest and all below it."""
    arch: str
    manifest: Blob
    config: Blob
    layers: list
    files: dict

    @property
    def digest(self):
        return self.manifest.digest

    @property
    def blobs(self):
        return [self.config, *self.layers]

    @property
    def children(self):
        return []


@dataclass
class Index:
    """An index, its children the image of this machine first."""
    manifest: Blob
    children: list

    @property
    def digest(self):
        return self.manifest.digest

    @property
    def blobs(self):
        return [b for child in self.children for b in child.blobs]


# ---- layers ----

def gzipped(data):
    return gzip.compress(data, 1, mtime=0)


def zstd(data):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, check=True,
                          capture_output=True).stdout


def make_layer(files):
    """{path: bytes, or a string that a link leads to}; programs in bin/."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made = set()
        for path, data in files.items():
            parents = path.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                folder = "/".join(parents[:depth])
                if folder not in made:
                    made.add(folder)
                    tar.addfile(entry(folder, 0o755, tarfile.DIRTYPE))
            info = entry(path, 0o755)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return Layer(out.getvalue(), {
        path: hashlib.sha256(data).hexdigest()
        for path, data in files.items() if isinstance(data, bytes)})


def entry(path, mode, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(path)
    info.mode, info.type, info.mtime = mode, kind, 1700000000
    return info


def root_files():
    """Programs of this machine and the libraries they load."""
    paths = {}
    for name in PROGRAMS:
        with open(f"/usr/bin/{name}", "rb") as program:
            paths[f"bin/{name}"] = program.read()
        ldd = subprocess.run(["ldd", f"/usr/bin/{name}"], check=True,
                             capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", ldd):
            with open(library, "rb") as data:
                paths[library.lstrip("/")] = data.read()
    return paths


def noise(seed, size):
    """Bytes that do not compress, the same ones each time."""
    return random.Random(seed).randbytes(size)


# ---- manifests ----

def to_json(value):
    return json.dumps(value, indent=3).encode()


def make_image(family, layers, compression="gzip", arch=HERE, command=None):
    types = TYPES[family]
    config = Blob(to_json({
        "architecture": arch, "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": command or ["/bin/echo", "it runs"],
                   "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers",
                   "diff_ids": [digest_of(layer.tar) for layer in layers]},
        "history": [{"created": "2024-01-02T03:04:05Z",
                     "created_by": f"layer {n}"}
                    for n, _ in enumerate(layers)],
    }), types["config"])
    blobs = [layer.blob(compression, family) for layer in layers]
    manifest = Blob(to_json({
        "schemaVersion": 2, "mediaType": types["manifest"],
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob in blobs],
    }), types["manifest"])
    files = {}
    for layer in layers:
        files.update(layer.files)
    return Image(arch, manifest, config, blobs, files)


def make_index(family, *images):
    types = TYPES[family]
    return Index(Blob(to_json({
        "schemaVersion": 2, "mediaType": types["index"],
        "manifests": [image.manifest.descriptor(
            platform={"architecture": image.arch, "os": "linux"})
            for image in images],
    }), types["index"]), list(images))


class Images:
    """
    small   Docker, two platforms, two layers
    big     OCI, two platforms, five layers of which one has 40 MiB
    zstd    OCI, one platform, three zstd layers
    other   OCI, two platforms; shares its first layer with the rest
    newer   what `small` becomes when its tag moves
    """

    def __init__(self):
        root = make_layer(root_files())
        away = make_layer({"bin/echo": noise(1, 20000)})
        etc = make_layer({"etc/name": b"small\n",
                          "etc/other": "name"})
        self.small = self._both("docker", [root, etc], [away, etc])
        self.newer = self._both(
            "docker", [root, make_layer({"etc/name": b"newer\n"})], [away])
        more = [make_layer({f"srv/{n}": noise(n, 300000 * n)})
                for n in range(2, 5)]
        large = make_layer({"srv/large": noise(9, BIG_BYTES)})
        self.big = self._both("oci", [root, more[0], large, *more[1:]],
                              [away, large])
        self.zstd = make_image("oci", [root, etc, more[2]], "zstd")
        self.other = self._both(
            "oci", [root, make_layer({"etc/name": b"other\n"})], [away])

    @staticmethod
    def _both(family, here, elsewhere):
        return make_index(family, make_image(family, here),
                          make_image(family, elsewhere, arch=ELSEWHERE))


# ---- pushing ----

def push(port, name, tag, image):
    """By the protocol, to a registry on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(method, path, body=None, **headers):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read()
        return response, text

    def put(path, body, kind):
        response, text = ask("PUT", path, body, **{"Content-Type": kind})
        assert response.status == 201, (path, response.status, text)

    def put_blob(blob):
        response, _ = ask("HEAD", f"/v2/{name}/blobs/{blob.digest}")
        if response.status == 200:
            return
        response, text = ask("POST", f"/v2/{name}/blobs/uploads/", b"")
        assert response.status == 202, (response.status, text)
        where = re.sub(r"^https?://[^/]*", "", response.headers["Location"])
        mark = "&" if "?" in where else "?"
        put(f"{where}{mark}digest={blob.digest}", blob.data,
            "application/octet-stream")

    for blob in {b.digest: b for b in image.blobs}.values():
        put_blob(blob)
    for child in image.children:
        put(f"/v2/{name}/manifests/{child.digest}", child.manifest.data,
            child.manifest.type)
    put(f"/v2/{name}/manifests/{tag}", image.manifest.data,
        image.manifest.type)
    connection.close()
