# SPDX-License-Identifier: Apache-2.0
"""Upload sessions of hosted repositories: every form in which clients push a
blob, and what becomes of it when they break off, race or are wrong."""

import hashlib
import os
import re
import time

import pytest

import client
import content
from client import Background, all_at_once
from content import MIB
from daemon import seconds, wait_until
from push import (KIB, NAME, Pusher, check_state, send_chunks,
                  with_digest)
from test_nospace import EVERYTHING, fill

UPLOADS = f"/v2/{NAME}/blobs/uploads/"
# What a sanitizer keeps of freed memory.
SANITIZER_BYTES = 400 * MIB if os.environ.get("ENTREPOT_SAN") else 0
NOTHING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def registry(new_entrepot):
    return new_entrepot(None, {"default_upstream": None})


def offset_of(answer):
    """Of a session that is known not to be empty."""
    return int(re.fullmatch(r"0-(\d+)", answer.headers["Range"]).group(1)) + 1


def check_created(daemon, answer, blob, name=NAME):
    assert answer.status == 201, answer
    assert answer.headers["Location"] == f"/v2/{name}/blobs/{blob.digest}"
    assert answer.digest == blob.digest
    assert answer.length == 0
    # It is on the disk when the answer comes, and nothing is left over.
    assert daemon.stored(blob.digest).read_bytes() == blob.data
    assert not daemon.partials()


# ---- the forms ----

def test_post_then_put_of_the_whole(registry):
    """containerd, BuildKit."""
    pusher = Pusher(registry)
    for size in (1, 1000, 64 * KIB, 3 * MIB + 17):
        blob = content.make_blob(size, f"whole {size}")
        where = pusher.begin()
        check_created(registry, pusher.put(where, blob.digest, blob.data),
                      blob)


def test_post_then_chunked_put_of_the_whole(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(MIB + 1)
    where = with_digest(pusher.begin(), blob.digest)
    pusher.connection.send_head("PUT", where, {"Transfer-Encoding": "chunked"})
    send_chunks(pusher.connection, blob.data, 1000)
    check_created(registry, pusher.connection.read("PUT"), blob)


def test_streamed_patch_then_empty_put(registry):
    """dockerd, containers/image, crane."""
    pusher = Pusher(registry)
    for size in (1, 1000, 2 * MIB + 3):
        blob = content.make_blob(size, f"stream {size}")
        where = pusher.begin()
        answer = pusher.stream(where, blob.data)
        assert answer.status == 202
        check_state(answer, UPLOADS, size)
        answer = pusher.put(answer.headers["Location"], blob.digest)
        check_created(registry, answer, blob)


def test_patch_with_a_length_and_no_range(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(700_000)
    where = pusher.begin()
    for at in range(0, blob.size, 300_000):
        answer = pusher.patch(where, blob.data[at:at + 300_000])
        assert answer.status == 202
    check_state(answer, UPLOADS, blob.size)
    check_created(registry, pusher.put(where, blob.digest), blob)


@pytest.mark.parametrize("last", ["put", "put with range", "patch"])
def test_chunks_in_order(registry, last):
    pusher = Pusher(registry)
    blob = content.make_blob(3067)
    where = pusher.begin()
    for at in range(0, 3 * KIB, KIB):
        data = blob.data[at:at + KIB]
        if at == 2 * KIB and last != "patch":
            answer = pusher.put(where, blob.digest, data,
                                at if last == "put with range" else None)
            break
        answer = pusher.patch(where, data, at)
        assert answer.status == 202
        check_state(answer, UPLOADS, at + len(data))
    else:
        answer = pusher.put(where, blob.digest)
    check_created(registry, answer, blob)


def test_single_post(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(512)
    path = f"{UPLOADS}?digest={blob.digest}"
    check_created(registry, pusher.ask("POST", path, {}, blob.data), blob)
    # Again: stored already, and no error.
    check_created(registry, pusher.ask("POST", path, {}, blob.data), blob)


def test_post_with_a_digest_and_no_body_begins_a_session(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(512)
    where = pusher.begin(f"?digest={blob.digest}")
    check_created(registry, pusher.put(where, blob.digest, blob.data), blob)


def test_uploads_without_the_slash(registry):
    answer = Pusher(registry).ask("POST", UPLOADS[:-1], body=b"")
    assert answer.status == 202
    registry.may_leave_partials = True


def test_blob_of_no_bytes(registry):
    empty = content.blob_of(b"")
    pusher = Pusher(registry)
    path = f"{UPLOADS}?digest={empty.digest}"
    check_created(registry, pusher.ask("POST", path, {}, b""), empty)
    where = pusher.begin()
    check_created(registry, pusher.put(where, empty.digest), empty)
    where = pusher.begin()
    answer = pusher.patch(where, b"")
    assert answer.status == 202
    check_state(answer, UPLOADS, 0)
    check_created(registry, pusher.put(where, empty.digest), empty)
    where = pusher.begin()
    assert pusher.stream(where, b"").status == 202
    check_created(registry, pusher.put(where, empty.digest), empty)


def test_sha512_known_only_at_the_end(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(300_000, alg="sha512")
    where = pusher.begin()
    assert pusher.stream(where, blob.data).status == 202
    check_created(registry, pusher.put(where, blob.digest), blob)
    path = f"{UPLOADS}?digest={blob.digest}"
    check_created(registry, pusher.ask("POST", path, {}, blob.data), blob)


def test_digest_algorithm(registry):
    pusher = Pusher(registry)
    for alg in ("sha256", "sha512"):
        blob = content.make_blob(1000, alg, alg=alg)
        where = pusher.begin(f"?digest-algorithm={alg}")
        assert pusher.stream(where, blob.data).status == 202
        check_created(registry, pusher.put(where, blob.digest), blob)
    answer = pusher.ask("POST", UPLOADS + "?digest-algorithm=md5", body=b"")
    assert answer.status == 400


def test_escaped_digest(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(512)
    where = pusher.begin()
    check_created(registry, pusher.put(
        where, blob.digest.replace(":", "%3A"), blob.data), blob)


def test_expect_continue(registry):
    """curl: it waits until the body is wanted, and is told early if not."""
    pusher = Pusher(registry)
    blob = content.make_blob(100_000)
    where = with_digest(pusher.begin(), blob.digest)
    headers = {"Content-Length": str(blob.size), "Expect": "100-continue"}
    pusher.connection.send_head("PUT", where, headers)
    assert pusher.connection.read_head().status == 100
    pusher.connection.send(blob.data)
    check_created(registry, pusher.connection.read("PUT"), blob)
    pusher.connection.send_head("PUT", where, headers)
    assert pusher.connection.read("PUT").status == 404


def test_a_connection_is_kept_from_upload_to_upload(registry):
    pusher = Pusher(registry)
    for i in range(20):
        blob = content.make_blob(3000, f"kept {i}")
        where = pusher.begin()
        assert pusher.stream(where, blob.data[:2000]).status == 202
        check_created(registry, pusher.put(where, blob.digest,
                                           blob.data[2000:]), blob)


# ---- state and cancel ----

def test_state_and_cancel(registry):
    pusher = Pusher(registry)
    where = pusher.begin()
    for method in ("GET", "HEAD"):
        answer = pusher.ask(method, where)
        assert answer.status == 204
        check_state(answer, UPLOADS, 0)
    assert pusher.patch(where, b"x" * 100).status == 202
    for method in ("GET", "HEAD"):
        answer = pusher.ask(method, f"{where}?digest=sha256:{'0' * 64}")
        assert answer.status == 204
        check_state(answer, UPLOADS, 100)
    assert pusher.ask("DELETE", where).status == 204
    assert not registry.partials()
    check_unknown(registry, where)


def check_unknown(registry, where):
    for method, body in (("GET", None), ("PATCH", b"x"), ("PUT", b"x"),
                         ("DELETE", None)):
        path = where if method != "PUT" else \
            with_digest(where, content.digest_of(b"x"))
        answer = registry.request(method, path, {}, body)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert registry.request("HEAD", where).status == 404


def test_unknown_sessions(registry):
    check_unknown(registry, UPLOADS + NOTHING)
    check_unknown(registry, UPLOADS + "no-such-thing")
    # A session is its repository's.
    pusher = Pusher(registry)
    where = pusher.begin()
    check_unknown(registry, where.replace("team/app", "team/other"))
    assert pusher.state(where).status == 204
    assert pusher.ask("DELETE", where).status == 204


def test_after_its_201_a_session_is_unknown(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(100)
    where = pusher.begin()
    check_created(registry, pusher.put(where, blob.digest, blob.data), blob)
    check_unknown(registry, where)


# ---- what is refused ----

def test_wrong_digests(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(1000)
    wrong = blob.data + b"12345"

    def refused(answer):
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
        assert not registry.stored(blob.digest)

    # A single POST leaves nothing.
    refused(pusher.ask("POST", f"{UPLOADS}?digest={blob.digest}", {}, wrong))
    wait_until(lambda: not registry.partials(), 5)
    # A PUT's body goes back, and may come again.
    where = pusher.begin()
    refused(pusher.put(where, blob.digest, wrong))
    check_state(pusher.state(where), UPLOADS, 0)
    check_created(registry, pusher.put(where, blob.digest, blob.data), blob)
    # Behind a PATCH too: what that brought stays.
    blob = content.make_blob(1001)
    where = pusher.begin()
    assert pusher.patch(where, blob.data[:400]).status == 202
    refused(pusher.put(where, blob.digest, blob.data))
    check_state(pusher.state(where), UPLOADS, 400)
    check_created(registry, pusher.put(where, blob.digest, blob.data[400:]),
                  blob)
    # What came by PATCH stays.
    where = pusher.begin()
    blob = content.make_blob(1002)
    assert pusher.stream(where, blob.data).status == 202
    answer = pusher.put(where, content.make_blob(7).digest)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    check_state(pusher.state(where), UPLOADS, 1002)
    check_created(registry, pusher.put(where, blob.digest), blob)


@pytest.mark.parametrize("digest", [
    None, "", "sha256", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "&digest=x"])
def test_put_without_a_good_digest(registry, digest):
    pusher = Pusher(registry)
    blob = content.make_blob(100)
    where = pusher.begin()
    path = where if digest is None else with_digest(where, digest)
    answer = pusher.ask("PUT", path, {}, blob.data)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    pusher = Pusher(registry)
    check_created(registry, pusher.put(where, blob.digest, blob.data), blob)


def test_post_with_a_bad_digest(registry):
    answer = registry.request("POST", UPLOADS + "?digest=sha256:x", {}, b"abc")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_chunks_out_of_order_are_416_and_keep_the_session(registry):
    blob = content.make_blob(3067)
    where = Pusher(registry).begin()

    def refused(answer, offset):
        assert (answer.status, answer.code) == (416, "RANGE_INVALID")
        check_state(answer, UPLOADS, offset)
        state = Pusher(registry).state(with_digest(where, blob.digest))
        assert state.status == 204
        check_state(state, UPLOADS, offset)

    for at in (0, KIB, 2 * KIB):
        data = blob.data[at:at + KIB]
        for wrong in (at + KIB, at - 1, 0):
            if wrong < 0 or wrong == at:
                continue
            refused(Pusher(registry).patch(where, data, wrong), at)
            refused(Pusher(registry).put(where, blob.digest, data, wrong), at)
        pusher = Pusher(registry)
        if at < 2 * KIB:
            assert pusher.patch(where, data, at).status == 202
        else:
            check_created(registry, pusher.put(where, blob.digest, data, at),
                          blob)


def test_length_and_range_that_disagree(registry):
    where = Pusher(registry).begin()
    for method in ("PATCH", "PUT"):
        path = with_digest(where, content.digest_of(b"x")) \
            if method == "PUT" else where
        for text in ("0-99", "0-8"):
            answer = Pusher(registry).ask(
                method, path, {"Content-Range": text}, b"0123456789")
            assert (answer.status, answer.code) == (400, "SIZE_INVALID")
        for text in ("a-b", "9-0", "", "-", "0-", "0-9x"):
            answer = Pusher(registry).ask(
                method, path, {"Content-Range": text}, b"0123456789")
            assert answer.status == 400
    check_state(Pusher(registry).state(where), UPLOADS, 0)
    # Chunked: known at the end only.
    for text, size in (("0-9", 8), ("0-3", 10)):
        pusher = Pusher(registry)
        pusher.connection.send_head("PATCH", where, {
            "Transfer-Encoding": "chunked", "Content-Range": text})
        send_chunks(pusher.connection, b"x" * size)
        answer = pusher.connection.read("PATCH")
        assert (answer.status, answer.code) == (400, "SIZE_INVALID")
        where = Pusher(registry).begin()
    registry.may_leave_partials = True


def test_content_range_with_a_unit(registry):
    pusher = Pusher(registry)
    blob = content.make_blob(30)
    where = pusher.begin()
    for text, first in (("bytes=0-9", 0), ("bytes 10-19/30", 10)):
        answer = pusher.ask("PATCH", where, {"Content-Range": text},
                            blob.data[first:first + 10])
        assert answer.status == 202
    check_created(registry, pusher.put(where, blob.digest, blob.data[20:]),
                  blob)


def test_early_answers_reach_who_is_still_sending(registry):
    blob = content.make_blob(8 * MIB)
    answer = Pusher(registry).patch(UPLOADS + NOTHING, blob.data)
    assert answer.status == 404
    assert answer.headers["Connection"] == "close"


# ---- mounts ----

def push(registry, blob, name=NAME):
    pusher = Pusher(registry, name)
    check_created(registry, pusher.put(pusher.begin(), blob.digest, blob.data),
                  blob, name)


def test_mounts(registry):
    blob = content.make_blob(5000)
    push(registry, blob, "team/source")
    pusher = Pusher(registry)
    raw = f"?mount={blob.digest}&from=team/source"
    escaped = (f"?from=team%2Fsource&mount={blob.digest}"
               .replace(":", "%3A"))
    for query in (raw, escaped, f"?mount={blob.digest}"):
        answer = pusher.ask("POST", UPLOADS + query, body=b"")
        check_created(registry, answer, blob)
    # From there it can be mounted on.
    other = Pusher(registry, "team/third")
    answer = other.ask("POST", f"{other.uploads}?mount={blob.digest}"
                               f"&from={NAME}", body=b"")
    check_created(registry, answer, blob, "team/third")


@pytest.mark.parametrize("query", [
    "?mount={missing}&from=team/source", "?mount={missing}",
    "?mount={stored}&from=team/empty", "?mount={stored}&from=NOT*A*NAME",
    "?mount={stored}&from=", "?mount=sha256:abc&from=team/source",
    "?mount=&from=team/source", "?from=team/source",
    "?mount={missing}&from=team/source&digest={missing}"])
def test_a_mount_that_finds_nothing_is_a_session(registry, query):
    blob = content.make_blob(5000)
    missing = content.make_blob(5001)
    push(registry, blob, "team/source")
    pusher = Pusher(registry)
    where = pusher.begin(query.format(missing=missing.digest,
                                      stored=blob.digest))
    answer = pusher.put(where, missing.digest, missing.data)
    check_created(registry, answer, missing)


# ---- claims ----

def test_the_first_blob_claims_the_name_and_says_what_that_hides(
        new_entrepot, up, image):
    registry = new_entrepot(up)
    up.put_image(NAME, "1", image)
    blob = content.make_blob(1000)
    pusher = Pusher(registry)
    # An upload that is only begun claims nothing.
    where = pusher.begin()
    assert pusher.patch(where, blob.data).status == 202
    assert registry.manifest(NAME, "1").status == 200
    answer = pusher.put(where, blob.digest)
    check_created(registry, answer, blob)
    assert f"docker.io/{NAME}" in answer.warning
    registry.wait_log(f"hides docker.io/{NAME}")
    asked = len(up.requests())
    assert registry.manifest(NAME, "1").status == 404
    assert registry.blob(NAME, blob.digest).body == blob.data
    assert registry.blob(NAME, image.layers[0].digest).status == 404
    # From now on it is no news.
    other = content.make_blob(1001)
    answer = pusher.put(pusher.begin(), other.digest, other.data)
    check_created(registry, answer, other)
    assert answer.warning is None
    assert len(up.requests()) == asked
    # The mirror's own repository goes on elsewhere, and is a source.
    client.Docker(registry.address).pull(f"docker.io/{NAME}", "1", image)
    for one in image.blobs:
        registry.wait_stored(one)
    layer = image.layers[0]
    answer = pusher.ask("POST", f"{UPLOADS}?mount={layer.digest}"
                                f"&from=docker.io/{NAME}", body=b"")
    check_created(registry, answer, layer)


# ---- breaking off ----

def break_off(registry, method, path, size, data, chunked=False):
    """Send the beginning of a body and close."""
    connection = registry.connect()
    connection.send_head(method, path, {"Transfer-Encoding": "chunked"}
                         if chunked else {"Content-Length": str(size)})
    if chunked:
        send_chunks(connection, data, 10_000, end=False)
    else:
        connection.send(data)
    connection.half_close()
    answer = connection.read(method)
    assert answer.status == 400
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_patch_cut_at_every_64_kib_goes_on_there(registry, chunked):
    step = 64 * KIB
    blob = content.make_blob(12 * step + 100)
    for cut in range(0, blob.size, step):
        pusher = Pusher(registry)
        where = pusher.begin()
        break_off(registry, "PATCH", where, blob.size, blob.data[:cut],
                  chunked)
        wait_until(lambda: pusher.state(where).headers["Range"] ==
                   f"0-{max(cut - 1, 0)}", 5)
        answer = pusher.patch(where, blob.data[cut:], cut)
        assert answer.status == 202
        check_state(answer, UPLOADS, blob.size)
        check_created(registry, pusher.put(where, blob.digest), blob)


def test_a_put_cut_at_every_64_kib_begins_again(registry):
    step = 64 * KIB
    blob = content.make_blob(12 * step + 100)
    for cut in range(0, blob.size, step):
        pusher = Pusher(registry)
        where = pusher.begin()
        head = b""
        if cut % (2 * step):
            head = blob.data[:1000]
            assert pusher.patch(where, head).status == 202
        rest = blob.data[len(head):]
        break_off(registry, "PUT", with_digest(where, blob.digest),
                  len(rest), rest[:cut], chunked=bool(cut % (3 * step)))
        check_state(pusher.state(where), UPLOADS, len(head))
        check_created(registry, pusher.put(where, blob.digest, rest), blob)


def test_a_reset_keeps_what_was_written(registry):
    blob = content.make_blob(3 * MIB)
    pusher = Pusher(registry)
    where = pusher.begin()
    connection = registry.connect()
    connection.send_head("PATCH", where, {"Content-Length": str(blob.size)})
    connection.send(blob.data[:MIB + 1])
    wait_until(lambda: pusher.state(where).headers["Range"] ==
               f"0-{MIB - 1}", 5)
    wait_until(connection.is_taken)
    connection.reset()
    wait_until(lambda: pusher.state(where).headers["Range"] == f"0-{MIB}", 5)
    assert pusher.patch(where, blob.data[MIB + 1:], MIB + 1).status == 202
    check_created(registry, pusher.put(where, blob.digest), blob)


def test_a_put_with_a_range_that_breaks_off_stays(registry):
    blob = content.make_blob(100_000)
    pusher = Pusher(registry)
    where = pusher.begin()
    assert pusher.patch(where, blob.data[:10], 0).status == 202
    connection = registry.connect()
    connection.send_head("PUT", with_digest(where, blob.digest), {
        "Content-Range": f"10-{blob.size - 1}",
        "Content-Length": str(blob.size - 10)})
    connection.send(blob.data[10:500])
    connection.half_close()
    assert connection.read("PUT").status == 400
    wait_until(lambda: pusher.state(where).headers["Range"] == "0-499", 5)
    answer = pusher.put(where, blob.digest, blob.data[500:], 500)
    check_created(registry, answer, blob)


def test_a_broken_single_post_leaves_nothing(registry):
    blob = content.make_blob(MIB)
    break_off(registry, "POST", f"{UPLOADS}?digest={blob.digest}", blob.size,
              blob.data[:500_000])
    wait_until(lambda: not registry.partials(), 5)


def test_a_silent_body_is_408_and_a_slow_one_is_not(new_entrepot):
    registry = new_entrepot(None, {
        "default_upstream": None,
        "server.deadlines.body_stall": seconds(0.5)})
    blob = content.make_blob(1000)
    pusher = Pusher(registry)
    where = pusher.begin()
    slow = Pusher(registry)
    slow.connection.send_head("PATCH", where, {"Content-Length": "1000"})
    for at in range(0, 800, 100):
        slow.connection.send(blob.data[at:at + 100])
        time.sleep(0.1 * client.SLOW)
    answer = slow.connection.read("PATCH")
    assert answer.status == 408
    wait_until(lambda: pusher.state(where).headers["Range"] == "0-799", 5)
    assert pusher.patch(where, blob.data[800:], 800).status == 202
    check_created(registry, pusher.put(where, blob.digest), blob)


# ---- no more than there may be ----

def check_too_many(answer):
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS"), answer
    assert '"uploads.max"' in answer.message
    assert int(answer.headers["Retry-After"]) > 0


def test_past_the_bound_an_upload_is_429(new_entrepot):
    registry = new_entrepot(None, {"default_upstream": None,
                                   "uploads": {"max": 3}})
    pusher = Pusher(registry)
    wheres = [pusher.begin() for _ in range(3)]
    blob = content.make_blob(1000)
    for _ in range(2):
        check_too_many(pusher.ask("POST", UPLOADS, body=b""))
        check_too_many(Pusher(registry).ask(
            "POST", with_digest(UPLOADS, blob.digest), {}, blob.data))
    assert len(list((registry.data / "uploads").iterdir())) == 3
    # Those that there are go on, and one that ends makes room for one.
    answer = pusher.put(wheres[0], blob.digest, blob.data)
    assert answer.status == 201, answer
    wheres[0] = pusher.begin()
    check_too_many(pusher.ask("POST", UPLOADS, body=b""))
    # They count after a restart too, and a reload has its say.
    registry.restart(kill=True)
    pusher = Pusher(registry)
    check_too_many(pusher.ask("POST", UPLOADS, body=b""))
    registry.config.options({"uploads.max": 4})
    registry.reload()
    wheres.append(pusher.begin())
    check_too_many(pusher.ask("POST", UPLOADS, body=b""))
    for where in wheres:
        assert pusher.ask("DELETE", where).status == 204


# ---- one at a time ----

def test_a_second_patch_takes_over(registry):
    blob = content.make_blob(MIB)
    first, others = 256 * KIB, []
    where = Pusher(registry).begin()
    # On both loops, so that some of them are another one's.
    for _ in range(4):
        old = registry.connect()
        others.append(old)
        old.send_head("PATCH", where, {"Content-Length": str(blob.size)})
        old.send(blob.data[:first + 1000])
        wait_until(lambda: Pusher(registry).state(where).headers["Range"] ==
                   f"0-{first - 1}", 5)
        pusher = Pusher(registry)
        answer = pusher.patch(where, blob.data[first:first + 5], first)
        assert answer.status == 202, answer
        assert old.read_all() == b""  # cut, without a word
        assert pusher.ask("DELETE", where).status == 204
        where = pusher.begin()
    assert pusher.ask("DELETE", where).status == 204


def test_put_and_delete_take_over(registry):
    blob = content.make_blob(100_000)
    for method in ("PUT", "DELETE"):
        where = Pusher(registry).begin()
        old = registry.connect()
        old.send_head("PUT", with_digest(where, blob.digest),
                      {"Content-Length": str(blob.size),
                       "Expect": "100-continue"})
        assert old.read_head().status == 100  # it has the session
        old.send(blob.data[:50_000])
        pusher = Pusher(registry)
        if method == "PUT":
            check_created(registry, pusher.put(where, blob.digest, blob.data),
                          blob)
        else:
            assert pusher.ask("DELETE", where).status == 204
            assert not registry.partials()
        assert old.read_all() == b""


def test_who_asks_in_another_repository_disturbs_nobody(registry):
    registry.may_leave_partials = True
    blob = content.make_blob(400_000)
    where = Pusher(registry).begin()
    elsewhere = where.replace(NAME, "team/other")

    def ask_elsewhere():
        # On every loop.
        for method in ("PATCH", "PUT", "DELETE", "GET") * 2:
            answer = Pusher(registry).ask(
                method, with_digest(elsewhere, blob.digest), {},
                None if method in ("DELETE", "GET") else b"x")
            assert (answer.status, answer.code) == (404,
                                                    "BLOB_UPLOAD_UNKNOWN")

    ask_elsewhere()
    owner = registry.connect()
    owner.send_head("PATCH", where, {"Content-Length": str(blob.size)})
    owner.send(blob.data[:300_000])
    ask_elsewhere()
    owner.send(blob.data[300_000:])
    answer = owner.read("PATCH")
    assert answer.status == 202
    check_state(answer, UPLOADS, blob.size)
    # Nor does anybody know whose it is after a restart.
    registry.restart()
    ask_elsewhere()
    pusher = Pusher(registry)
    check_state(pusher.state(where), UPLOADS, blob.size)
    check_created(registry, pusher.put(where, blob.digest), blob)


def test_many_puts_of_one_session(registry):
    """One is served; the others find it taken or gone."""
    for i in range(10):
        blob = content.make_blob(300_000, f"raced {i}")
        where = Pusher(registry).begin()

        def put(_):
            try:
                return Pusher(registry).put(where, blob.digest,
                                            blob.data).status
            except (client.Closed, ConnectionError):
                return None
        found = all_at_once(put, range(6))
        assert found.count(201) == 1, found
        assert set(found) <= {201, 404, None}, found
        assert registry.stored(blob.digest).read_bytes() == blob.data


def test_state_does_not_wait_for_who_is_sending(registry):
    pusher = Pusher(registry)
    where = pusher.begin()
    connection = registry.connect()
    connection.send_head("PATCH", where, {"Content-Length": "1000000"})
    connection.send(b"x" * 100)
    for _ in range(5):
        assert pusher.state(where).status == 204
    connection.send(b"x" * 999_900)
    assert connection.read("PATCH").status == 202
    assert pusher.ask("DELETE", where).status == 204


# ---- restarts ----

@pytest.mark.parametrize("kill", [True, False])
def test_sessions_survive_a_restart(registry, kill):
    registry.may_leave_partials = True
    blob = content.make_blob(5 * MIB)
    wheres = [Pusher(registry).begin() for _ in range(3)]
    assert Pusher(registry).patch(wheres[0], blob.data[:MIB]).status == 202
    busy = registry.connect()
    busy.send_head("PATCH", wheres[1], {"Content-Length": str(blob.size)})
    busy.send(blob.data[:2 * MIB])
    whole = registry.connect()
    whole.send_head("PUT", with_digest(wheres[2], blob.digest),
                    {"Content-Length": str(blob.size)})
    whole.send(blob.data[:2 * MIB])
    wait_until(lambda: offset_of(Pusher(registry).state(wheres[1])) >= MIB, 5)
    if kill:
        registry.restart(kill=True)
    else:
        registry.config.options({"server.deadlines.drain": "100ms"})
        registry.reload()
        registry.restart()
    pusher = Pusher(registry)
    check_state(pusher.state(wheres[0]), UPLOADS, MIB)
    check_state(pusher.state(wheres[2]), UPLOADS, 0)
    for where in wheres[:2]:
        at = offset_of(pusher.state(where))
        assert MIB <= at <= 2 * MIB
        assert pusher.patch(where, blob.data[at:], at).status == 202
        answer = pusher.put(where, blob.digest)
        assert answer.status == 201
    answer = pusher.put(wheres[2], blob.digest, blob.data)
    check_created(registry, answer, blob)


def test_who_does_not_come_back_finds_nothing(new_entrepot):
    """A session expires, file and all; one that is being used does not."""
    registry = new_entrepot(None, {"default_upstream": None,
                                   "uploads.expire": seconds(1),
                                   "collect.interval": "10ms"})
    registry.may_leave_partials = True
    blob = content.make_blob(4 * MIB)
    pusher = Pusher(registry)
    left, used = pusher.begin(), pusher.begin()
    assert pusher.patch(left, blob.data[:1000]).status == 202
    # One that rests stays open for a minute; not over a restart.
    registry.restart()
    pusher = Pusher(registry)
    for at in range(0, 1000):
        assert pusher.patch(used, blob.data[at:at + 1], at).status == 202
        if pusher.state(left).status == 404:
            break
        time.sleep(0.1)
    check_unknown(registry, left)
    check_state(pusher.state(used), UPLOADS, at + 1)
    assert registry.partials() == [f"uploads/{used.rpartition('/')[2]}"]
    check_created(registry, pusher.put(used, blob.digest, blob.data[at + 1:]),
                  blob)


def test_a_session_keeps_its_repository(new_entrepot, up):
    """Whatever becomes of the name while it runs."""
    registry = new_entrepot(up)
    blob = content.make_blob(1000)
    pusher = Pusher(registry, "org/app")
    where = pusher.begin()
    assert pusher.patch(where, blob.data[:300]).status == 202
    registry.config.options({"claim": "none"})
    registry.reload()
    assert registry.request("POST", pusher.uploads, {}, b"").status == 403
    assert pusher.state(where).status == 204
    assert pusher.patch(where, blob.data[300:600], 300).status == 202
    answer = pusher.put(where, blob.digest, blob.data[600:])
    check_created(registry, answer, blob, "org/app")
    client.check_blob(registry.blob("org/app", blob.digest), blob)
    assert not up.requests()


# ---- large, many, small disks ----

def send_large(connection, piece, count):
    for _ in range(count):
        connection.send(piece)


def test_gibibytes_in_flat_memory(registry):
    """More than 32 bits count, where a sanitizer does not make it slow."""
    gibibytes = 1 if os.environ.get("ENTREPOT_SAN") else 5
    piece, count = content.make_blob(MIB).data, gibibytes * 1024
    sha = hashlib.sha256()
    for _ in range(count):
        sha.update(piece)
    pusher = Pusher(registry)
    where = pusher.begin()
    before = registry.memory()
    most = 0
    pusher.connection.send_head("PATCH", where, {
        "Content-Length": str(count * MIB)})
    sending = Background(send_large, pusher.connection, piece, count)
    while sending.is_alive():
        most = max(most, registry.memory())
        # Others are served meanwhile.
        assert registry.get("/v2/").status == 200
        time.sleep(0.01)
    sending.join()
    answer = pusher.connection.read("PATCH")
    assert answer.status == 202
    digest = f"sha256:{sha.hexdigest()}"
    assert pusher.put(where, digest).status == 201
    assert registry.stored(digest).stat().st_size == count * MIB
    assert most - before < 12 * MIB + SANITIZER_BYTES
    # The last bytes, and those around a border of pieces far behind.
    for first in (count * MIB - 100, (count - 1) * MIB - 50):
        answer = registry.blob(NAME, digest, headers={
            "Range": f"bytes={first}-{first + 99}"})
        assert answer.status == 206
        assert answer.body == (piece + piece)[first % MIB:][:100]


def test_many_uploads_at_once(registry):
    blobs = [content.make_blob(3 * MIB + i, f"many {i}") for i in range(16)]

    def one(blob):
        pusher = Pusher(registry)
        where = pusher.begin()
        if blob.size % 2:
            assert pusher.stream(where, blob.data).status == 202
            return pusher.put(where, blob.digest)
        return pusher.put(where, blob.digest, blob.data)

    before = registry.memory()
    running = [Background(one, b) for b in blobs]
    most = 0
    while any(r.is_alive() for r in running):
        most = max(most, registry.memory())
        time.sleep(0.01)
    for blob, run in zip(blobs, running):
        assert run.join().status == 201
        assert registry.stored(blob.digest).read_bytes() == blob.data
    assert most - before < 40 * MIB + SANITIZER_BYTES


def test_one_blob_by_many_at_once(registry):
    blob = content.make_blob(2 * MIB)

    def one(i):
        pusher = Pusher(registry, f"team/n{i}")
        return pusher.put(pusher.begin(), blob.digest, blob.data).status
    assert all_at_once(one, range(8)) == [201] * 8
    assert registry.stored(blob.digest).read_bytes() == blob.data
    assert not registry.partials()


def test_below_min_free_pushes_are_507(new_entrepot):
    registry = new_entrepot(None, {"default_upstream": None})
    registry.may_leave_partials = True
    pusher = Pusher(registry)
    where = pusher.begin()
    assert pusher.patch(where, b"x" * 10).status == 202
    registry.config.options({"cache.min_free": EVERYTHING})
    registry.reload()
    answer = registry.request("POST", UPLOADS, {}, b"")
    assert answer.status == 507 and re.search(r"\d", answer.message)
    # What was promised to the session before is still its own.
    answer = Pusher(registry).patch(where, b"x" * 40 * MIB)
    assert answer.status == 507 and re.search(r"\d", answer.message)
    at = offset_of(pusher.state(where))
    assert at < 40 * MIB
    registry.config.options({"cache.min_free": 0})
    registry.reload()
    blob = content.blob_of(b"x" * (at + 5))
    pusher = Pusher(registry)
    assert pusher.patch(where, b"x" * 5, at).status == 202
    check_created(registry, pusher.put(where, blob.digest), blob)


def test_a_disk_that_fills_in_the_middle(small_disk, new_entrepot):
    registry = new_entrepot(None, {"data": str(small_disk / "data"),
                                   "default_upstream": None}, start=False)
    registry.data = small_disk / "data"
    registry.may_leave_partials = True
    registry.start()
    blob = content.make_blob(3 * MIB)
    pusher = Pusher(registry)
    where = pusher.begin()
    assert pusher.patch(where, blob.data[:MIB]).status == 202
    ballast = fill(small_disk, leave=0)
    answer = Pusher(registry).patch(where, blob.data[MIB:], MIB)
    assert answer.status == 507, answer
    at = offset_of(pusher.state(where))
    assert MIB <= at < blob.size
    ballast.unlink()
    assert pusher.patch(where, blob.data[at:], at).status == 202
    check_created(registry, pusher.put(where, blob.digest), blob)
    registry.stop()
