# SPDX-License-Identifier: Apache-2.0
"""What strangers try: clients, upstreams, and owners of other repositories."""

import json
import os
import time

import pytest

import client
import content
from client import SLOW, Background
from daemon import SANITIZERS, seconds, wait_until
from push import Pusher

MIB = content.MIB
SECRET = "corp/secret"
PUBLIC = "evil/public"
LOGIN = {"username": "joe", "password": "s3cret"}
USERS = {"joe": "s3cret"}
NOTHING = "sha256:" + "0" * 64

# Sanitizers remember who has touched each word, and what was freed.
SHADOWS = 5 if os.environ.get("ENTREPOT_SAN") else 1


def private(up, *names):
    up.require_login(users=USERS, private={n: {"joe"} for n in names})


def remark(up):
    """Tokens given so far grant what was public when they were given."""
    up.auth.revoke()


@pytest.fixture
def secret(up):
    """An image that only joe may pull, and a tag that sorts last."""
    image = content.make_image([50_000], "secret")
    up.put_image(SECRET, "v1.2-codename", image)
    private(up, SECRET)
    return image


# ---- what a private repository tells ----

def test_private_repository_does_not_tell_which_names_it_has(
        up, new_entrepot, secret):
    entrepot = new_entrepot(up, **LOGIN)
    assert entrepot.manifest(SECRET, "v1.2-codename").status == 403
    signature = content.make_image([10], "signature", subject=secret)
    up.put_image(SECRET, None, signature)
    there = [f"manifests/{secret.digest}", f"blobs/{secret.config.digest}",
             f"referrers/{secret.digest}", "tags/list"]
    missing = ["manifests/other", f"manifests/{NOTHING}", f"blobs/{NOTHING}",
               f"referrers/{NOTHING}", "tags/list?last=v2"]
    for path in there + missing:
        for method in ("GET", "HEAD"):
            answer = entrepot.request(method, f"/v2/{SECRET}/{path}")
            assert answer.status == 403, (method, path, answer)
    one, other = (entrepot.get(f"/v2/{SECRET}/{path}").body
                  for path in (there[0], missing[0]))
    assert one == other


def test_removed_credentials_close_what_they_brought(up, new_entrepot,
                                                     secret):
    entrepot = new_entrepot(up, **LOGIN)
    assert entrepot.manifest(SECRET, "v1.2-codename").status == 403
    blob = secret.layers[0]
    assert entrepot.blob(SECRET, blob.digest).status == 403
    entrepot.wait_stored(blob)
    conf = entrepot.config.tree["upstreams"]["docker.io"]
    for key in LOGIN:
        del conf[key]
    conf["credentials"] = "none"
    entrepot.reload()
    for path in ("manifests/v1.2-codename", f"manifests/{secret.digest}",
                 f"blobs/{blob.digest}"):
        for method in ("GET", "HEAD"):
            answer = entrepot.request(method, f"/v2/{SECRET}/{path}")
            assert answer.status in (401, 403), (method, path, answer)


def test_repository_that_became_public_opens_without_credentials(
        up, new_entrepot, secret):
    entrepot = new_entrepot(up, check="always", public_check=seconds(0.3),
                            **LOGIN)
    assert entrepot.manifest(SECRET, "v1.2-codename").status == 403
    conf = entrepot.config.tree["upstreams"]["docker.io"]
    for key in LOGIN:
        del conf[key]
    conf["credentials"] = "none"
    entrepot.reload()
    up.auth.private.clear()
    remark(up)
    wait_until(lambda: entrepot.manifest(SECRET, secret.digest).status == 200,
               5)
    client.Podman(entrepot.address).pull(SECRET, "v1.2-codename", secret)


# ---- what one client can do to the others ----

def test_content_that_is_gone_upstream_does_not_close_its_repository(
        up, new_entrepot, image):
    entrepot = new_entrepot(up, public_check=seconds(0.3), **LOGIN)
    up.require_login(users=USERS)
    old = up.put_image("library/a", "1", image)
    new = up.put_image("library/a", "2", content.make_image([3000], "new"))
    client.Podman(entrepot.address).pull("library/a", "1", old)
    client.Podman(entrepot.address).pull("library/a", "2", new)
    up.delete_manifest("library/a", old.digest)
    del up.repository("library/a").blobs[old.layers[0].digest]
    time.sleep(0.4 * SLOW)
    assert entrepot.manifest("library/a", old.digest).status == 200
    assert entrepot.blob("library/a", old.layers[0].digest).status == 200
    assert entrepot.manifest("library/a", "2").status == 200


@pytest.mark.parametrize("status", [401, 403])
def test_list_that_is_denied_says_nothing_of_the_repository(
        up, new_entrepot, image, status):
    entrepot = new_entrepot(up, check="0s", max_denied="0s")
    up.put_image("library/a", "1", image)
    client.Podman(entrepot.address).pull("library/a", "1", image)
    up.fault(kind=("tags", "referrers"), status=status)
    for _ in range(2):
        assert entrepot.get("/v2/library/a/tags/list").status == 403
        assert entrepot.get(
            f"/v2/library/a/referrers/{image.digest}").status == 403
    up.fault(kind="manifest", mute=True)
    assert entrepot.manifest("library/a", image.digest).status == 200


def test_invented_names_at_a_running_fill_are_not_kept(up, new_entrepot):
    entrepot = new_entrepot(up, start=False)
    # What was freed is free: else AddressSanitizer keeps it to look at.
    entrepot.env["ASAN_OPTIONS"] = SANITIZERS["ASAN_OPTIONS"] + \
        ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    entrepot.start()
    blob = content.make_blob(8 << 20, "slow")
    up.put_blob("library/a", blob)
    fault = up.fault(kind="cdn", stall_after=300_000)
    entrepot.may_leave_partials = True
    slow = entrepot.download("library/a", blob.digest)
    slow.read(100_000)

    def invent(first, count):
        connection = entrepot.connect()
        for i in range(first, first + count):
            answer = connection.get(
                f"/v2/evil/{'n' * 200}{i}/blobs/{blob.digest}")
            assert answer.status == 404, answer
        connection.close()

    grown = entrepot.growth(
        lambda n: invent(10000 * (n + 1), 1500), under=700_000)
    assert grown[-1] < 700_000, grown
    fault.clear()
    assert slow.finish().body == blob.data


@pytest.fixture
def lists(up, new_entrepot, image):
    """A registry with long and short lists, mirrored and hosted."""
    entrepot = new_entrepot(up, {"hosted": ["team/**"]}, start=False)
    # What was freed is free: else AddressSanitizer keeps it to look at.
    entrepot.env["ASAN_OPTIONS"] = SANITIZERS["ASAN_OPTIONS"] + \
        ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    entrepot.start()
    up.put_image("library/few", "1", image)
    up.put_image("library/many", "0", image)
    up.repository("library/many").tags.update(
        (f"v{i:020}", image.digest) for i in range(200_000))
    pusher = Pusher(entrepot)
    pusher.push(image)
    for i in range(0, 8000, 40):
        answer = pusher.put_manifest(
            image, tags=[f"{i + n:0100}" for n in range(40)])
        assert answer.status == 201, answer
    return entrepot


def few(entrepot):
    """Short lists are answered, and in time."""
    for path, tags in (("library/few/tags/list", ["1"]),
                       ("team/app/tags/list?n=1", ["0" * 100]),
                       ("library/many/tags/list?n=1", ["0"])):
        began = time.monotonic()
        answer = entrepot.get(f"/v2/{path}")
        assert answer.status == 200, (path, answer)
        assert answer.json()["tags"] == tags
        assert time.monotonic() - began < 3 * SLOW
    answer = entrepot.get("/v2/_catalog")
    assert answer.json()["repositories"] == ["docker.io/library/few",
                                             "team/app"], answer


@pytest.mark.parametrize("name, count", [("library/many", 60),
                                         ("team/app", 150)])
def test_long_lists_that_nobody_reads_are_bounded(lists, image, name, count):
    """32 MiB of them; what reading one takes besides comes once."""
    path = f"/v2/{name}/tags/list"

    def ask(times):
        connections = [lists.connect(rcvbuf=4096, maxseg=536)
                       for _ in range(times)]
        for connection in connections:
            connection.send_head("GET", path)
        return connections

    assert lists.manifest("library/few", "1").status == 200
    size = len(lists.get(path).body)
    before = lists.memory()
    connections = ask(count)
    few(lists)
    heads = [connection.read_head() for connection in connections]
    grown = lists.memory() - before
    sent = sum(head.status == 200 for head in heads)
    assert 24 * MIB < sent * size <= 32 * MIB, (sent, size)
    for connection, head in zip(connections, heads):
        if head.status != 200:
            assert head.status == 503
            assert head.headers["Retry-After"] == "1"
            answer = connection.read_body(head)
            assert answer.code == "UNAVAILABLE"
            assert "long lists" in answer.message
    assert grown < 60 * MIB * SHADOWS, grown
    few(lists)
    client.Podman(lists.address).pull("library/few", "1", image)
    for connection in connections[::2]:
        connection.reset()
    client.close_all()
    wait_until(lambda: lists.client_sockets() == 0)
    # All of the room is there again.
    assert [c.read_head().status for c in ask(sent)] == [200] * sent


def test_size_that_a_stranger_declares_is_not_anothers(up, new_entrepot):
    entrepot = new_entrepot(up)
    blob = content.make_blob(700_000, "shared")
    good = up.put_image("library/good", "1", content.make_image([blob], "g"))
    lie = content.blob_of(b"x")
    fake = content.Blob(lie.data, blob.digest, blob.media_type)
    evil = content.make_image([fake], "evil")
    up.put_manifest("evil/x", evil, "1")
    up.put_blob("evil/x", evil.config)
    up.put_blob("evil/x", blob)
    for name in ("library/good", "evil/x"):
        assert entrepot.manifest(name, "1").status == 200
    hold = up.fault(kind="cdn", hold=True)
    bad = Background(entrepot.blob, "evil/x", blob.digest)
    up.wait_for(kind="cdn")
    fine = Background(entrepot.blob, "library/good", blob.digest)
    time.sleep(0.1)
    hold.clear()
    assert fine.join().body == blob.data
    assert good.layers[0].digest == blob.digest
    try:
        assert bad.join().body == blob.data
    except client.Closed:
        pass


# ---- naming somebody else's content ----

def decoy(up, *layers, children=(), subject=None, urls=()):
    """A manifest in PUBLIC that names these."""
    image = content.make_image(list(layers), "decoy", subject=subject)
    up.put_manifest(PUBLIC, image, "1")
    up.put_blob(PUBLIC, image.config)
    if children:
        index = {"schemaVersion": 2, "mediaType": content.OCI_INDEX,
                 "manifests": [c.descriptor() for c in children]}
        data = json.dumps(index).encode()
        index = content.Image(data, content.digest_of(data),
                              content.OCI_INDEX)
        up.put_manifest(PUBLIC, index, "2")
    return image


@pytest.mark.parametrize("held", ["stored", "partial"])
def test_named_private_content_needs_its_own_yes(up, new_entrepot, held):
    entrepot = new_entrepot(up, private="share", linger="0s", **LOGIN)
    image = content.make_image([900_000], "secret")
    blob = image.layers[0]
    up.put_image(SECRET, "1", image)
    private(up, SECRET)
    assert entrepot.manifest(SECRET, "1").status == 200
    if held == "stored":
        assert entrepot.blob(SECRET, blob.digest).status == 200
        entrepot.wait_stored(blob)
    else:
        entrepot.may_leave_partials = True
        ranged = entrepot.blob(SECRET, blob.digest,
                               {"Range": "bytes=0-499999"})
        assert ranged.status == 206
    longer = content.Blob(blob.data + b"x", blob.digest)
    child = content.Image(image.data + b"x", image.digest, image.media_type)
    decoy(up, longer, children=[child], subject=image)
    for tag in ("1", "2"):
        assert entrepot.manifest(PUBLIC, tag).status == 200
    for path in (f"blobs/{blob.digest}", f"manifests/{image.digest}",
                 f"blobs/{image.digest}", f"blobs/{image.config.digest}"):
        for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=-9"},
                        {"Range": "bytes=99999999-"}):
            answer = entrepot.get(f"/v2/{PUBLIC}/{path}", headers)
            assert answer.status == 404, (path, headers, answer)
        # What is not here as a blob has the size that the decoy declares.
        answer = entrepot.head(f"/v2/{PUBLIC}/{path}")
        assert answer.status == 404 or answer.length in (
            longer.size, child.size), (path, answer)


def test_running_private_fill_is_not_joined_without_a_yes(up, new_entrepot):
    entrepot = new_entrepot(up, private="share", **LOGIN)
    image = content.make_image([4 << 20], "secret")
    blob = image.layers[0]
    up.put_image(SECRET, "1", image)
    private(up, SECRET)
    assert entrepot.manifest(SECRET, "1").status == 200
    fault = up.fault(kind="cdn", stall_after=1_000_000)
    slow = entrepot.download(SECRET, blob.digest)
    slow.read(500_000)
    decoy(up, blob)
    assert entrepot.manifest(PUBLIC, "1").status == 200
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=5-"}):
        answer = entrepot.blob(PUBLIC, blob.digest, headers)
        assert answer.status == 404, answer
    fault.clear()
    assert slow.finish().body == blob.data


@pytest.mark.parametrize("status,size", [(200, 5), (206, 77), (416, 9)])
def test_yes_of_another_size_is_no_yes(up, new_up, new_entrepot, image,
                                       status, size):
    """A captive portal says 200 to everything."""
    portal = new_up(cdn=False)
    entrepot = new_entrepot({"docker.io": up, "portal.test": portal})
    up.put_image("library/a", "1", image)
    blob = image.layers[0]
    client.Podman(entrepot.address).pull("library/a", "1", image)
    entrepot.wait_stored(blob)
    headers = {} if status == 200 else \
        {"Content-Range": f"bytes 0-0/{size}" if status == 206
         else f"bytes */{size}"}
    portal.fault(kind="blob", status=status, headers=headers,
                 body=b"x" * (size if status == 200 else 1))
    answer = entrepot.blob("portal.test/x/y", blob.digest)
    assert answer.status == 502, answer
    assert entrepot.blob("portal.test/x/y", blob.digest,
                         method="HEAD").status == 502


# ---- rows, memory, the disk ----

def test_invented_names_make_no_rows(up, new_entrepot, image):
    entrepot = new_entrepot(up, **LOGIN)
    private(up)
    up.put_image("library/a", "1", image)
    client.Podman(entrepot.address).pull("library/a", "1", image)
    for one in image.blobs:
        entrepot.wait_stored(one)
    connection = entrepot.connect()
    for i in range(150):
        for path in ("manifests/1", f"manifests/{NOTHING}",
                     f"blobs/{NOTHING}", "tags/list",
                     f"referrers/{NOTHING}"):
            connection.get(f"/v2/evil/{i}/{path}")
    wait_until(lambda: not entrepot.partials())
    client.close_all()
    assert entrepot.stop() == 0
    rows = entrepot.rows()
    held = {"repo_name": 1, "repo": 1, "manifest": 1, "tag": 1, "blob": 3,
            "edge": 3, "link": 4, "referrer": 0, "trash": 0}
    assert {table: rows[table] for table in held} == held


def test_length_that_no_disk_holds(up, new_entrepot):
    entrepot = new_entrepot(up, retries=0)
    blob = content.make_blob(1000, "vast")
    up.put_blob("library/a", blob)
    entrepot.may_leave_partials = True
    up.fault(kind="cdn", headers={"Content-Length": str(2**63 - 1)},
             times=1, truncate_after=900)
    with pytest.raises(client.Closed):
        answer = entrepot.blob("library/a", blob.digest)
        raise client.Closed(str(answer)) if answer.status >= 500 \
            else AssertionError(answer)
    assert entrepot.get("/healthz").status == 200
    assert sum(p.stat().st_blocks for p in
               (entrepot.data / "partial").rglob("*") if p.is_file()) < 9000


def test_blob_without_a_length_that_never_ends(up, new_entrepot):
    """Nothing of it is kept."""
    entrepot = new_entrepot(up, retries=1)
    image = up.put_image("library/a", "1", content.make_image([1000], "e"))
    assert entrepot.manifest("library/a", "1").status == 200
    up.fault(kind="cdn", chunked=True, body=b"x" * (64 << 20))
    try:
        answer = entrepot.blob("library/a", image.layers[0].digest)
        assert answer.status >= 500, answer
    except client.Closed:
        pass
    assert up.bytes_sent() < 3 * 64 << 20
    wait_until(lambda: not entrepot.partials(), 5)
    assert not entrepot.stored(image.layers[0].digest)


# ---- poison ----

@pytest.mark.parametrize("value", [
    "text/html\x01", "text/html\x7f", "a" * 3000, "text/html\xe9",
    "application/vnd.oci.image.index.v1+json; a=\"\r\"",
])
def test_odd_type_reaches_no_client(up, entrepot, image, value):
    up.put_image("library/a", "1", image)
    up.fault(kind="manifest", headers={"Content-Type": value})
    for method in ("HEAD", "GET"):
        answer = entrepot.manifest("library/a", "1", method)
        for name, text in answer.headers.pairs:
            assert all(0x20 <= ord(c) < 0x7f for c in text), (name, text)
            assert len(text) < 1100


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_digest_that_lies_is_not_stored(up, entrepot, image, method):
    other = content.make_image([99], "other")
    up.put_image("library/a", "1", image)
    up.put_manifest("library/a", other)
    up.fault(kind="manifest", reference="1", method="GET",
             headers={"Docker-Content-Digest": other.digest})
    up.fault(kind="manifest", reference="1", method="HEAD", status=405)
    assert entrepot.manifest("library/a", "1", method).status == 502
    client.check_manifest(entrepot.manifest("library/a", other.digest), other)


def test_keys_twice_are_refused(up, entrepot):
    secret = content.make_blob(50, "s")
    one, two = (content.make_image([n], str(n)) for n in (10, 20))
    text = one.data.decode().rstrip().removesuffix("}")
    layers = json.loads(two.data)["layers"]
    data = f'{text}, "layers": {json.dumps(layers)}}}'.encode()
    image = content.Image(data, content.digest_of(data), one.media_type)
    up.put_manifest("library/a", image, "1")
    up.put_blob("library/a", secret)
    for reference in ("1", image.digest):
        assert entrepot.manifest("library/a", reference).status == 502


# ---- where we may be led ----

@pytest.mark.parametrize("location", [
    "http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/x",
    "http://[::ffff:a9fe:a9fe]/x", "http://[64:ff9b::a9fe:a9fe]/x",
    "http://2852039166/x", "http://0xa9fea9fe/x", "http://0251.0376.0251.0376",
    "http://169.254.43518/x", "http://127.0.0.1:1@169.254.169.254/x",
    "http://169.254.169.254\\@127.0.0.1/", "http:\\\\169.254.169.254/x",
    "//169.254.169.254/x", "http://169.254.169.254./x", "http://0/x",
    "http://[::]/x", "http://[fe80::1]/x", "http://[fe80::1%25lo]/x",
    "http://[ff02::1]/x", "file:///etc/passwd", "gopher://127.0.0.1/x",
    "ftp://127.0.0.1/x", "http://", "http:///x", "http://127.0.0.1:0/x",
    "http://127.0.0.1:99999/x", "http://\t127.0.0.1/x",
])
@pytest.mark.parametrize("kind", ["manifest", "blob"])
def test_location_that_may_not_be_followed(up, new_entrepot, image, kind,
                                           location):
    entrepot = new_entrepot(up, retries=0)
    up.put_image("library/a", "1", image)
    up.fault(kind=kind, redirect=location)
    path = "manifests/1" if kind == "manifest" \
        else f"blobs/{image.layers[0].digest}"
    begun = time.monotonic()
    answer = entrepot.get(f"/v2/library/a/{path}")
    assert answer.status in (502, 403), answer
    assert time.monotonic() - begun < 2 * SLOW, "it was dialled"


@pytest.mark.parametrize("target,headers", [
    ("/v2/x/manifests/1?ns={host}", {}),
    ("/v2/{host}/x/manifests/1", {}),
    ("/v2/localhost/x/manifests/1", {}),
    ("http://{host}/v2/x/y/manifests/1", {}),
    ("/v2/x/y/manifests/1", {"Host": "{host}"}),
    ("/v2/x/y/manifests/1", {"Host": "{host}", "X-Forwarded-Host": "{host}",
                             "X-Forwarded-For": "127.0.0.1"}),
    ("/v2/x/manifests/1?ns=docker.io%00.{host}", {}),
    ("/v2/x/manifests/1?ns=docker.io%0d%0aX-A:%20b", {}),
    ("/v2/x/manifests/1?ns=docker.io@{host}", {}),
    ("/v2/..%2f..%2fx/manifests/1", {}),
    ("/v2/x/../../y/manifests/1", {}),
    ("/v2/x%00/manifests/1", {}),
    ("/v2/x/manifests/1%0d%0a", {}),
])
def test_client_never_chooses_whom_we_dial(up, new_up, entrepot, target,
                                           headers):
    other = new_up()
    host = other.url.removeprefix("http://")
    connection = entrepot.connect()
    connection.send_head("GET", target.format(host=host),
                         {k: v.format(host=host) for k, v in headers.items()})
    answer = connection.read()
    connection.close()
    assert answer.status in (400, 404), answer
    assert "X-A" not in answer.headers
    assert not other.requests()
    for request in up.requests():
        assert ".." not in request.path and "%" not in request.path
        assert request.headers["host"] == up.url.removeprefix("http://")


# ---- logs ----

def test_nothing_of_a_stranger_forges_a_log_line(up, new_entrepot, image):
    entrepot = new_entrepot(up, retries=0)
    up.put_image("library/a", "1", image)
    for path in ("/v2/%0aforged", "/v2/%1b[2Jx/manifests/1", "/v2/\"x\"",
                 "/v2/x/manifests/%0d%0aforged"):
        connection = entrepot.connect()
        connection.send_head("GET", path,
                             {"User-Agent": "a\tb", "X-Request-Id": "\x80"})
        connection.read()
        connection.close()
    up.fault(kind="manifest", reference="1", body=b"\x1b[2J\x07forged",
             headers={"Content-Type": content.OCI_MANIFEST,
                      "Docker-Content-Digest": None})
    assert entrepot.manifest("library/a", "1").status == 502
    entrepot.command("refresh", "library/a:1")
    up.fault(kind="cdn", redirect="http://x\x1b[2Jy/")
    assert entrepot.blob("library/a", image.layers[0].digest).status == 502
    lines = entrepot.whole_log().splitlines()
    log = entrepot.log_file.read_bytes()
    assert not [b for b in log if b < 0x20 and b != 0x0a or b == 0x7f]
    assert not any(line.startswith("forged") for line in lines)


# ---- pages ----

@pytest.mark.parametrize("last", ["%ff" * 250, "z" * 250, "%00", "a%0ab",
                                  "%", "..%2f", "x" * 5000])
def test_odd_place_in_a_list_is_no_crash(up, new_entrepot, image, last):
    entrepot = new_entrepot(up)
    up.put_image("library/a", "1", image)
    assert entrepot.manifest("library/a", "1").status == 200
    for mute in (False, True):
        if mute:
            up.close()
        for query in (f"last={last}", f"n=1&last={last}",
                      f"n={'9' * 40}&last={last}"):
            answer = entrepot.get(f"/v2/library/a/tags/list?{query}")
            assert answer.status in (200, 400, 502, 503), answer
    assert entrepot.get("/healthz").status == 200
