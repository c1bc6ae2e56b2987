# SPDX-License-Identifier: Apache-2.0
"""
Pushes: one request at a time, every form in which clients send a blob, and
whole images in the order in which clients send them.
"""

import re

import content

KIB = 1024
NAME = "team/app"


class Pusher:
    """One connection to a registry, kept as long as it answers."""

    def __init__(self, daemon, name=NAME):
        self.daemon = daemon
        self.connection = daemon.connect()
        self.name = name
        self.uploads = f"/v2/{name}/blobs/uploads/"

    def ask(self, method, path, headers=None, body=None):
        return self.connection.request(method, path, headers, body)

    def begin(self, query=""):
        answer = self.ask("POST", self.uploads + query, body=b"")
        assert answer.status == 202, answer
        check_state(answer, self.uploads, 0)
        return answer.headers["Location"]

    def patch(self, where, data, first=None):
        headers = {} if first is None else \
            {"Content-Range": f"{first}-{first + len(data) - 1}"}
        return self.ask("PATCH", where, headers, data)

    def stream(self, where, data, chunk=32 * KIB):
        """As dockerd does it: neither a length nor a type."""
        self.connection.send_head("PATCH", where,
                                  {"Transfer-Encoding": "chunked"})
        send_chunks(self.connection, data, chunk)
        return self.connection.read("PATCH")

    def put(self, where, digest, data=b"", first=None):
        headers = {} if first is None else \
            {"Content-Range": f"{first}-{first + len(data) - 1}"}
        return self.ask("PUT", with_digest(where, digest), headers, data)

    def state(self, where):
        return self.ask("GET", where)

    def mount(self, digest, source=None):
        """201, or 202 and a session."""
        query = f"?mount={digest}" + (f"&from={source}" if source else "")
        return self.ask("POST", self.uploads + query, body=b"")

    def put_manifest(self, image, reference=None, tags=(), chunked=False):
        """By its digest, or this tag; with ?tag= for each of `tags`."""
        query = "&".join(f"tag={tag}" for tag in tags)
        path = f"/v2/{self.name}/manifests/{reference or image.digest}" + \
            (f"?{query}" if query else "")
        headers = {"Content-Type": image.media_type}
        if not chunked:
            return self.ask("PUT", path, headers, image.data)
        headers["Transfer-Encoding"] = "chunked"
        self.connection.send_head("PUT", path, headers)
        send_chunks(self.connection, image.data)
        return self.connection.read("PUT")

    def push(self, image, *tags):
        """All of an image, what it names first; then each tag."""
        for blob in {b.digest: b for b in image.blobs}.values():
            answer = post_put(self, blob)
            assert answer.status == 201, answer
        for one in [*image.children, image]:
            answer = self.put_manifest(one)
            assert answer.status == 201, answer
        for tag in tags:
            answer = self.put_manifest(image, tag)
            assert answer.status == 201, answer


def send_chunks(connection, data, chunk=32 * KIB, end=True):
    for at in range(0, len(data), chunk):
        piece = data[at:at + chunk]
        connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
    if end:
        connection.send(b"0\r\n\r\n")


def with_digest(where, digest):
    return f"{where}{'&' if '?' in where else '?'}digest={digest}"


def check_state(answer, uploads, offset):
    """What 202, 204 and 416 say of a session."""
    where = answer.headers["Location"]
    assert where.startswith(uploads)
    identity = where[len(uploads):]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identity)
    assert answer.headers["Docker-Upload-UUID"] == identity
    assert answer.headers["Range"] == f"0-{max(offset - 1, 0)}"
    if answer.status == 202:
        assert answer.length == 0


# ---- the forms: each returns the last answer ----

def post_only(pusher, blob):
    return pusher.ask("POST", with_digest(pusher.uploads, blob.digest), {},
                      blob.data)


def post_put(pusher, blob):
    return pusher.put(pusher.begin(), blob.digest, blob.data)


def stream(pusher, blob):
    answer = pusher.stream(pusher.begin(), blob.data)
    assert answer.status == 202, answer
    return pusher.put(answer.headers["Location"], blob.digest)


def chunks_of(blob, size):
    """[(offset, bytes)]"""
    return [(at, blob.data[at:at + size])
            for at in range(0, max(blob.size, 1), size)]


def chunked(pusher, blob, size=KIB, put_last=False, before=None):
    """
    PATCHes with Content-Range, in order; the last one by the PUT itself if
    `put_last`.  before(where, at, data, last): called ahead of each.
    """
    where = pusher.begin()
    chunks = chunks_of(blob, size)
    for at, data in chunks:
        last = put_last and at == chunks[-1][0]
        if before:
            before(where, at, data, last)
        if last:
            return pusher.put(where, blob.digest, data, at)
        answer = pusher.patch(where, data, at)
        assert answer.status == 202, answer
        check_state(answer, pusher.uploads, at + len(data))
        where = answer.headers["Location"]
    return pusher.put(where, blob.digest)


def wrong_content(blob):
    """Five bytes more than its digest speaks of."""
    return content.Blob(blob.data + b"12345", blob.digest)
