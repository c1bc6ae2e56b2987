# SPDX-License-Identifier: Apache-2.0
"""
What podman, buildah and skopeo share: their settings, and for the first two
an image store.
"""

import hashlib
from pathlib import Path

from mirror import commented_out, template
from world import need

FILE = "containers-registries.conf"
PLACE = "/etc/containers/registries.conf.d/50-mirror.conf"


def layout_host(world):
    """The mirror by registry, as the file is: location = "m/docker.io"."""
    settings(world, template(FILE))


def layout_plain(world):
    """The other one, which the file has in a comment: location = "m"."""
    settings(world, commented_out(template(FILE), "[[registry]]"))


def settings(world, text):
    """Where the file itself says that it goes."""
    assert PLACE in template(FILE)
    assert PLACE.startswith(str(world.containers))
    Path(PLACE).write_text(text)


class Store:
    """Images and containers of podman or buildah, below `folder`."""

    def __init__(self, world, folder, program):
        need(program, "runc")
        self.world = world
        self.program = program
        folder.mkdir()
        self.run = world.short_folder()
        self.options = ["--root", folder / "root", "--runroot",
                        self.run / "run", "--storage-driver", driver(folder)]

    def __call__(self, *words, **more):
        return self.world.run(self.program, *self.options, *words, **more)

    def pull(self, reference):
        self("pull", reference)

    def forget(self):
        self("rmi", "--all", "--force")
        assert not self("images", "--quiet").stdout


def driver(folder):
    """overlay, unless the file system below cannot carry one."""
    text = Path("/proc/self/mountinfo").read_text()
    points = [(words[4], words[words.index("-") + 1])
              for words in map(str.split, text.splitlines())]
    _, kind = max((point, kind) for point, kind in points
                  if f"{folder}/".startswith(point.rstrip("/") + "/"))
    return "vfs" if kind in ("overlay", "tmpfs") else "overlay"


def check_files(root, image):
    """What is at `root` has every file of the image."""
    here = image.children[0] if image.children else image
    for path, digest in here.files.items():
        data = (Path(root) / path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, path
