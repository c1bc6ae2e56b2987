# SPDX-License-Identifier: Apache-2.0
"""
The mirror between client and upstream, where conf/clients/* expect it
(mirror.example.lan:5000), and what its access lines say of a pull.
"""

import sys
from pathlib import Path

import world

sys.path.insert(0, str(world.ROOT / "tests" / "scenario"))

import client  # noqa: E402
from daemon import Config, Daemon, parse_access, wait_until  # noqa: E402

PORT = 5000
TEMPLATES = world.ROOT / "conf" / "clients"


def template(name):
    """A client's set-up file, word for word."""
    text = (TEMPLATES / name).read_text()
    assert f"{world.MIRROR}:{PORT}" in text, f"{name} names another mirror"
    return text


def commented_out(text, first):
    """The example in a comment that begins with the line `first`."""
    lines = iter(text.splitlines())
    found = []
    for line in lines:
        body = line[1:].strip() if line.startswith("#") else None
        if body == first or (found and body):
            found.append(body)
        elif found:
            break
    assert found, f"no comment has {first}"
    return "\n".join(found) + "\n"


class Mirror:
    def __init__(self, folder, upstreams, **options):
        """`upstreams`: {name: Registry}; `options` go to each of them."""
        folder = Path(folder)
        config = Config(folder / "data")
        config.options({"listen": [f"127.0.0.1:{PORT}"]})
        for name, registry in upstreams.items():
            config.upstream(name, registry, **options)
        self.daemon = Daemon(folder, config)
        self._marks = 0

    def host(self, *patterns):
        """These names live here, too."""
        self.daemon.config.options({"hosted": list(patterns)})
        return self

    def start(self):
        self.daemon.start()
        return self

    def mark(self):
        """A place in its log behind every request answered until now."""
        self._marks += 1
        path = f"/v2/?mark={self._marks}"
        assert self.daemon.get(path).status == 200
        wait_until(lambda: path in self.daemon.log(), 5,
                   lambda: f"no {path} in its log:\n{self.daemon.tail()}")
        return len(self.daemon.log())

    def since(self, mark):
        """Access lines of content since mark() returned this."""
        self.mark()
        found = map(parse_access, self.daemon.log()[mark:].splitlines())
        return [line for line in found if line and
                ("/manifests/" in line["path"] or "/blobs/" in line["path"])]

    def finish(self):
        client.close_all()
        self.daemon.finish()


# ---- what a pull should look like ----

def digests_of(image):
    """Those blobs that a client on this machine pulls."""
    here = image.children[0] if image.children else image
    return {blob.digest: blob for blob in here.blobs}


def assert_each_blob_once(requests, blobs):
    """Upstream sent every byte of the blobs, and none of them twice."""
    for digest, blob in blobs.items():
        asked = [r for r in requests
                 if r.method == "GET" and r.path.endswith(digest)]
        sent = sum(r.bytes for r in asked)
        assert sent == len(blob.data), \
            f"{digest} has {len(blob.data)} bytes, upstream sent {asked}"


def assert_each_manifest_once(requests):
    """No manifest was fetched twice, by tag or by digest."""
    got = [r.path for r in requests
           if r.method == "GET" and "/manifests/" in r.path]
    assert len(got) == len(set(got)), f"upstream was asked again: {got}"


def assert_served(lines, blobs, verdicts):
    """The client had all the blobs from the mirror, with these verdicts."""
    for digest in blobs:
        of_it = [line for line in lines if line["method"] == "GET"
                 and line["path"].partition("?")[0].endswith(digest)]
        assert of_it, f"the mirror was not asked for {digest}: {lines}"
        for line in of_it:
            assert line["status"] in ("200", "206"), line
            assert line["verdict"] in verdicts, line


def assert_all_hits(lines, by_tag="hit"):
    """Every answer came from the cache; those by tag have this verdict."""
    assert lines, "the mirror was not asked at all"
    for line in lines:
        path = line["path"].partition("?")[0]
        tagged = "/manifests/" in path and "sha256:" not in path
        # After HEAD has asked upstream, GET may find that fresh.
        allowed = {by_tag, "hit"} if tagged else {"hit"}
        assert line["status"] == "200" and line["verdict"] in allowed, \
            f"{line} in {lines}"
    assert any(line["verdict"] == by_tag for line in lines), lines
