# SPDX-License-Identifier: Apache-2.0
"""
Images as other programs keep them: the storage of Docker's registry, and OCI
image layouts.  Written here where a test needs one that is wrong somewhere;
that ours are right is what the tests with the real programs show.
"""

import io
import json
import os
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import client
import content

REF = "org.opencontainers.image.ref.name"
CONTAINERD = "io.containerd.image.name"

CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class RegistryFolder:
    """docker/registry/v2 below `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.base = self.folder / "docker/registry/v2"
        (self.base / "repositories").mkdir(parents=True)

    def data(self, digest):
        alg, hexes = digest.split(":")
        return self.base / "blobs" / alg / hexes[:2] / hexes / "data"

    def link(self, repo, what, text):
        path = self.base / "repositories" / repo / what / "link"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def blob(self, digest, data):
        path = self.data(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(data)

    def revision(self, repo, digest):
        alg, hexes = digest.split(":")
        self.link(repo, f"_manifests/revisions/{alg}/{hexes}", digest)

    def tag(self, repo, tag, digest):
        self.link(repo, f"_manifests/tags/{tag}/current", digest)

    def image(self, repo, tag, image, blobs=True):
        """An image with all that it names, as a push leaves it."""
        for child in image.children:
            self.image(repo, None, child)
        for blob in image.blobs if blobs else []:
            self.blob(blob.digest, blob.data)
            alg, hexes = blob.digest.split(":")
            self.link(repo, f"_layers/{alg}/{hexes}", blob.digest)
        self.blob(image.digest, image.data)
        self.revision(repo, image.digest)
        if tag:
            self.tag(repo, tag, image.digest)


class OciFolder:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        (self.folder / "oci-layout").write_text(
            '{"imageLayoutVersion": "1.0.0"}')
        self.entries = []

    def path(self, digest):
        return self.folder / "blobs" / digest.replace(":", "/")

    def blob(self, digest, data):
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def content(self, image):
        for child in image.children:
            self.content(child)
        for blob in image.blobs:
            self.blob(blob.digest, blob.data)
        self.blob(image.digest, image.data)

    def entry(self, image, **annotations):
        """An entry of index.json; the annotation's names are their last
        words."""
        names = {"ref": REF, "containerd": CONTAINERD}
        self.entries.append(image.descriptor(
            annotations={names[k]: v for k, v in annotations.items()}))
        self.write()

    def write(self):
        (self.folder / "index.json").write_text(json.dumps(
            {"schemaVersion": 2, "mediaType": content.OCI_INDEX,
             "manifests": self.entries}))

    def image(self, image, **annotations):
        self.content(image)
        self.entry(image, **annotations)

    def tar(self, path, form=tarfile.GNU_FORMAT, prefix="."):
        with tarfile.open(path, "w", format=form) as tar:
            for name in os.listdir(self.folder):
                tar.add(self.folder / name, arcname=os.path.join(prefix, name))
        return path


def add_bytes(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


class Registry:
    """The real docker-registry on a folder."""

    def __init__(self, folder, proxy=None):
        folder = Path(folder)
        self.folder = folder / "storage"
        self.folder.mkdir(parents=True)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        text = CONFIG.format(folder=self.folder, port=self.port)
        if proxy:
            text += f"proxy: {{remoteurl: {proxy}}}\n"
        config = folder / "config.yml"
        config.write_text(text)
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20 * client.SLOW
        while True:
            try:
                self.request("GET", "/v2/")
                return
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None
                time.sleep(0.05)

    def request(self, method, path, headers=None, body=None):
        return client.request(("127.0.0.1", self.port), method, path, headers,
                              body)

    def push(self, repo, tag, image):
        for child in image.children:
            self.push(repo, None, child)
        push(self, repo, tag, image)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def push(registry, repo, tag, image):
    """Push one manifest with its blobs to whatever has request()."""
    own = ([image.config] if image.config else []) + image.layers
    for blob in own:
        begun = registry.request("POST", f"/v2/{repo}/blobs/uploads/", {}, b"")
        assert begun.status == 202, begun.body
        at = begun.headers["Location"]
        at = at[at.index("/v2/"):]
        put = registry.request(
            "PUT", f"{at}{'&' if '?' in at else '?'}digest={blob.digest}",
            {"Content-Type": "application/octet-stream"}, blob.data)
        assert put.status == 201, put.body
    put = registry.request(
        "PUT", f"/v2/{repo}/manifests/{tag or image.digest}",
        {"Content-Type": image.media_type}, image.data)
    assert put.status == 201, put.body
