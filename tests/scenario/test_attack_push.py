# SPDX-License-Identifier: Apache-2.0
"""What strangers try where images are pushed: clients, pages, pushers, and
upstreams that hold what is hosted here, too."""

import pytest

import client
import content
from content import MIB
from daemon import SANITIZERS
from push import Pusher
from test_attack import LOGIN, SECRET, private
from test_hygiene import INNER, statuses

HOSTED = {"hosted": ["team/**"]}
NAME = "team/app"


def digest(i):
    return content.digest_of(b"%d" % i)


def push_blob(entrepot, name, blob):
    pusher = Pusher(entrepot, name)
    answer = pusher.put(pusher.begin(), blob.digest, blob.data)
    assert answer.status == 201, answer


def push_manifest(entrepot, name, reference, image):
    return entrepot.request("PUT", f"/v2/{name}/manifests/{reference}",
                            {"Content-Type": image.media_type}, image.data)


# ---- whose content it is ----

@pytest.mark.parametrize("private_content", ["deny", "share"])
def test_push_builds_on_what_its_pusher_may_pull(up, new_entrepot,
                                                 private_content):
    """A private image is held by the mirror, and its digests are known."""
    entrepot = new_entrepot(up, private=private_content, **LOGIN)
    image = up.put_image(SECRET, "1", content.make_image([50_000], "secret"))
    private(up, SECRET)
    may = 200 if private_content == "share" else 403
    assert entrepot.manifest(SECRET, "1").status == may
    for blob in (image.config, *image.layers):
        assert entrepot.blob(SECRET, blob.digest).status == may
        entrepot.wait_stored(blob)
    for source in ("", "corp/other", SECRET, f"docker.io/{SECRET}"):
        answer = entrepot.request(
            "POST", f"/v2/team/app/blobs/uploads/?mount={image.layers[0].digest}"
            + (f"&from={source}" if source else ""), {}, b"")
        mounts = may == 200 and SECRET in source
        assert answer.status == (201 if mounts else 202), (source, answer)
    answer = push_manifest(entrepot, SECRET, "mine", image)
    if may == 403:
        assert (answer.status, answer.code) == (
            400, "MANIFEST_BLOB_UNKNOWN"), answer
        for blob in (image.config, *image.layers):
            assert entrepot.blob(SECRET, blob.digest).status == 404
    else:
        assert answer.status == 201, answer
        client.Podman(entrepot.address).pull(SECRET, "mine", image)


# ---- memory ----

def test_heads_of_invented_blobs_are_not_kept(new_entrepot):
    """Nobody leases what is not there."""
    entrepot = new_entrepot(None, HOSTED, start=False)
    # What was freed is free: else AddressSanitizer keeps it to look at.
    entrepot.env["ASAN_OPTIONS"] = SANITIZERS["ASAN_OPTIONS"] + \
        ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    entrepot.start()
    push_blob(entrepot, NAME, content.make_blob(1000))

    def invent(first, count):
        connection = entrepot.connect()
        for at in range(first, first + count, 50):
            for i in range(at, at + 50):
                connection.send_head("HEAD",
                                     f"/v2/{NAME}/blobs/{digest(i)}")
            for i in range(50):
                assert connection.read("HEAD").status == 404
        connection.close()

    grown = entrepot.growth(
        lambda n: invent(10_000 * n, 10_000 if n else 2000), under=700_000)
    assert grown[-1] < 700_000, grown


# ---- framing ----

# Bodies that nobody may read in two ways, and the request behind them.
FRAMING = {
    "hexadecimal prefix": "0x5\r\nhello\r\n0\r\n\r\n",
    "sign": "+5\r\nhello\r\n0\r\n\r\n",
    "negative": "-5\r\nhello\r\n0\r\n\r\n",
    "space before": " 5\r\nhello\r\n0\r\n\r\n",
    "space behind": "5 \r\nhello\r\n0\r\n\r\n",
    "no size": "\r\nhello\r\n0\r\n\r\n",
    "size that overflows": "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size of no file": "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "very many zeros": "0" * 10_000 + "5\r\nhello\r\n0\r\n\r\n",
    "no line end behind the data": "5\r\nhello0\r\n\r\n",
    "bare LF": "5\nhello\n0\n\n",
    "bare LF in an extension": "5;a=\nb\r\nhello\r\n0\r\n\r\n",
    "two CRs": "5\r\r\nhello\r\n0\r\n\r\n",
    "endless extension": "5;" + "a" * 20_000 + "\r\nhello\r\n0\r\n\r\n",
    "endless trailer": "5\r\nhello\r\n0\r\n" + "X: y\r\n" * 5000 + "\r\n",
    "folded trailer": "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "space before a trailer's colon": "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "NUL in a trailer": "5\r\nhello\r\n0\r\nX: \0y\r\n\r\n",
}


@pytest.mark.parametrize("form", ["PATCH", "PUT", "POST", "manifest"])
@pytest.mark.parametrize("case", FRAMING)
def test_body_of_doubtful_framing_ends_the_connection(new_entrepot, case,
                                                      form):
    entrepot = new_entrepot(None, HOSTED)
    pusher = Pusher(entrepot, NAME)
    blob = content.blob_of(b"hello")
    where = pusher.begin()
    first = {"PATCH": f"PATCH {where}",
             "PUT": f"PUT {where}?digest={blob.digest}",
             "POST": f"POST {pusher.uploads}?digest={blob.digest}",
             "manifest": f"PUT /v2/{NAME}/manifests/1"}[form]
    connection = entrepot.connect()
    try:
        connection.send(f"{first} HTTP/1.1\r\nHost: localhost\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n"
                        + FRAMING[case] + INNER)
    except ConnectionError:
        pass
    raw = connection.read_all()
    assert statuses(raw) == [400], raw[:400]
    assert not entrepot.stored(blob.digest)
    # Of a session what came stays, and nothing else.
    state = pusher.state(where)
    assert state.status == 204 and state.headers["Range"] in ("0-0", "0-4")


# ---- manifests that are hard to read ----

@pytest.mark.parametrize("data", [
    b"[" * (4 * MIB - 1), b'{"a":' * 800_000, b'{"layers":[' + b"{}," * 10**6,
    b'"' + b"\\u0000" * 600_000 + b'"', b"1" * (3 * MIB), b"\xff" * MIB],
    ids=["arrays", "objects", "layers", "text", "number", "bytes"])
def test_manifest_of_nonsense_is_400(new_entrepot, data):
    entrepot = new_entrepot(None, HOSTED)
    answer = entrepot.request("PUT", f"/v2/{NAME}/manifests/1", {}, data)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), answer
    assert entrepot.get("/healthz").status == 200
