# SPDX-License-Identifier: Apache-2.0
"""The scripted upstream does what the scenarios rely on."""

import base64
import json
import socket
import ssl
import time
from urllib.parse import urlsplit

import pytest

import client
import content
from client import Closed, Connection
from daemon import Config, parse_access, parse_metrics
from httpd import Pace
from tokens import basic_user
from upstream import Quota, parse_range


def connect(server, tls=None):
    return Connection((server.host, server.port), tls=tls)


def get(up, path, headers=None, method="GET"):
    return client.request((up.registry.host, up.registry.port), method, path,
                          headers)


def follow(response, headers=None, method="GET"):
    where = urlsplit(response.headers["Location"])
    return client.request((where.hostname, where.port), method,
                          f"{where.path}?{where.query}", headers)


@pytest.fixture
def plain(new_up):
    """An upstream that serves blobs itself, with one image."""
    return new_up(cdn=False)


def test_content_is_deterministic():
    one = content.make_image([1000, 2 * content.MIB + 3], "x")
    again = content.make_image([1000, 2 * content.MIB + 3], "x")
    other = content.make_image([1000, 2 * content.MIB + 3], "y")
    assert one.digest == again.digest != other.digest
    assert one.layers[1].size == 2 * content.MIB + 3
    assert one.blobs[0] is one.config
    index = content.make_index([one, other])
    assert [m["digest"] for m in json.loads(index.data)["manifests"]] == \
        [one.digest, other.digest]
    assert len(index.blobs) == 6


def test_manifest_by_tag_and_digest(plain, image):
    plain.put_image("library/a", "1", image)
    for reference in ("1", image.digest):
        response = get(plain, f"/v2/library/a/manifests/{reference}")
        client.check_manifest(response, image)
        assert response.headers["ETag"] == f'"{image.digest}"'
    head = get(plain, "/v2/library/a/manifests/1", method="HEAD")
    assert (head.status, head.length, head.body) == (200, image.size, b"")
    assert get(plain, "/v2/library/a/manifests/2").code == "MANIFEST_UNKNOWN"
    assert get(plain, "/v2/library/b/manifests/2").code == "NAME_UNKNOWN"
    assert get(plain, "/v2/_catalog").status == 404
    assert plain.count(kind="manifest", method="HEAD", tag="1") == 1
    assert plain.count(kind="manifest", digest=image.digest) == 1


def test_manifest_refuses_a_narrow_accept(plain, image):
    plain.put_image("library/a", "1", image)
    path = "/v2/library/a/manifests/1"
    assert get(plain, path, {"Accept": content.DOCKER_MANIFEST}).status == 404
    assert get(plain, path, {"Accept": content.OCI_MANIFEST}).status == 200
    assert get(plain, path, {"Accept": "*/*"}).status == 200
    same = get(plain, path, {"If-None-Match": f'"{image.digest}"'})
    assert (same.status, same.body) == (304, b"")


def test_blob_ranges(plain, image):
    blob = image.layers[0]
    plain.put_image("library/a", "1", image)
    path = f"/v2/library/a/blobs/{blob.digest}"
    client.check_blob(get(plain, path), blob)
    part = get(plain, path, {"Range": "bytes=0-0"})
    assert (part.status, part.body) == (206, blob.data[:1])
    assert part.headers["Content-Range"] == f"bytes 0-0/{blob.size}"
    assert get(plain, path, {"Range": "bytes=-5"}).body == blob.data[-5:]
    assert get(plain, path, {"Range": f"bytes={blob.size}-"}).status == 416
    assert plain.bytes_sent(blob.digest) == blob.size + 5
    assert plain.bytes_sent(blob.digest, probes=True) == blob.size + 6
    assert len(plain.fetches(blob.digest)) == 2


@pytest.mark.parametrize("text, size, expected", [
    ("bytes=0-9", 100, (0, 9)), ("bytes=90-", 100, (90, 99)),
    ("bytes=-10", 100, (90, 99)), ("bytes=-200", 100, (0, 99)),
    ("bytes=5-1000", 100, (5, 99)), ("bytes=100-", 100, "bad"),
    ("bytes=9-5", 100, "bad"), ("bytes=-0", 100, "bad"), (None, 100, None),
    ("bytes=0-1,3-4", 100, None), ("lines=0-1", 100, None)])
def test_range_parser(text, size, expected):
    assert parse_range(text, size) == expected


def test_redirect_is_signed_expires_and_is_bound_to_a_method(up, image):
    blob = image.layers[0]
    up.put_image("library/a", "1", image)
    path = f"/v2/library/a/blobs/{blob.digest}"
    first = get(up, path)
    assert first.status == 307 and first.digest == blob.digest
    assert urlsplit(first.headers["Location"]).port == up.cdn.port
    client.check_blob(follow(first), blob)
    assert follow(first, {"Range": "bytes=7-9"}).body == blob.data[7:10]
    assert follow(first, method="HEAD").status == 403
    assert follow(first, {"Authorization": "Bearer x"}).status == 400
    assert len(up.leaked) == 1
    up.signed_seconds = -1
    assert follow(get(up, path)).status == 403
    assert up.bytes_sent(blob.digest) == blob.size + 3
    assert up.count(kind="cdn", digest=blob.digest) == 5


def bearer(up, repository, **query):
    text = "&".join(f"{k}={v}" for k, v in query.items())
    reply = client.request((up.tokens.host, up.tokens.port), "GET",
                           f"/token?scope=repository:{repository}:pull&{text}")
    return reply.json()


def test_bearer_tokens_by_scope(new_up, image):
    up = new_up(separate_tokens=True)
    up.put_image("library/a", "1", image)
    up.put_image("team/secret", "1", image)
    up.require_login(users={"joe": "pw"}, private={"team/secret": {"joe"}},
                     expires_in=77)
    refused = get(up, "/v2/library/a/manifests/1")
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == (
        f'Bearer realm="{up.tokens.url}/token",service="registry.test",'
        'scope="repository:library/a:pull"')
    reply = bearer(up, "library/a")
    assert reply["expires_in"] == 77 and reply["token"] == \
        reply["access_token"]
    good = {"Authorization": f"Bearer {reply['token']}"}
    assert get(up, "/v2/library/a/manifests/1", good).status == 200
    other = get(up, "/v2/team/secret/manifests/1", good)
    assert other.status == 401
    assert 'error="insufficient_scope"' in other.headers["WWW-Authenticate"]
    login = base64.b64encode(b"joe:pw").decode()
    reply = client.request(
        (up.tokens.host, up.tokens.port), "GET",
        "/token?scope=repository:team/secret:pull",
        {"Authorization": f"Basic {login}"})
    token = reply.json()["token"]
    assert get(up, "/v2/team/secret/manifests/1",
               {"Authorization": f"Bearer {token}"}).status == 200
    wrong = client.request((up.tokens.host, up.tokens.port), "GET",
                           "/token", {"Authorization": "Basic am9lOng="})
    assert wrong.status == 401
    up.auth.revoke()
    assert get(up, "/v2/library/a/manifests/1", good).status == 401
    assert up.count(kind="token") == 3


def test_token_server_fields_uses_and_post(plain, image):
    plain.put_image("library/a", "1", image)
    plain.require_login(fields=("access_token",), expires_in=None, uses=2,
                        users={"joe": "pw"}, refresh={"r1": "joe"})
    reply = bearer(plain, "library/a")
    assert list(reply) == ["access_token"]
    good = {"Authorization": f"Bearer {reply['access_token']}"}
    answers = [get(plain, "/v2/library/a/manifests/1", good).status
               for _ in range(3)]
    assert answers == [200, 200, 401]
    for form, status in ((b"grant_type=refresh_token&refresh_token=r1", 200),
                         (b"grant_type=refresh_token&refresh_token=no", 401),
                         (b"grant_type=password&username=joe&password=pw",
                          200)):
        assert client.request(
            (plain.registry.host, plain.registry.port), "POST", "/token",
            body=form + b"&scope=repository:library/a:pull").status == status
    plain.auth.post = False
    assert client.request((plain.registry.host, plain.registry.port), "POST",
                          "/token", body=b"").status == 405


def test_basic_and_odd_challenges(plain, image):
    plain.put_image("library/a", "1", image)
    plain.require_login("basic", users={"joe": "pw"})
    path = "/v2/library/a/manifests/1"
    assert get(plain, path).headers["WWW-Authenticate"] == \
        'Basic realm="test"'
    assert get(plain, path, {"Authorization": "Basic am9lOnB3"}).status == 200
    assert basic_user("Basic am9lOnB3") == ("joe", "pw")
    plain.require_login(
        on="ping", challenge=lambda scope, problem: ["Negotiate", "Basic x=y"])
    assert "WWW-Authenticate" not in get(plain, path).headers
    assert get(plain, "/v2/").headers.all("WWW-Authenticate") == \
        ["Negotiate", "Basic x=y"]


def test_quota_counts_only_manifest_gets(plain, image):
    plain.put_image("library/a", "1", image)
    plain.quota = Quota(remaining=1, retry_after=3)
    path = "/v2/library/a/manifests/1"
    head = get(plain, path, method="HEAD")
    assert head.headers["ratelimit-remaining"] == "1;w=21600"
    assert get(plain, path).status == 200
    late = get(plain, path)
    assert (late.status, late.headers["Retry-After"]) == (429, "3")
    assert get(plain, path, method="HEAD").status == 200


def test_tags_pages_and_referrers(plain, image):
    plain.put_image("library/a", "1", image)
    for tag in "bdac":
        plain.repository("library/a").tags[tag] = image.digest
    signature = content.make_image([10], "sig", subject=image,
                                   artifact_type="application/x-sig")
    plain.put_image("library/a", None, signature)
    first = get(plain, "/v2/library/a/tags/list?n=2&last=1")
    assert first.json() == {"name": "library/a", "tags": ["a", "b"]}
    assert first.headers["Link"] == \
        '</v2/library/a/tags/list?last=b&n=2>; rel="next"'
    rest = get(plain, "/v2/library/a/tags/list?n=2&last=b")
    assert rest.json()["tags"] == ["c", "d"] and "Link" not in rest.headers
    path = f"/v2/library/a/referrers/{image.digest}"
    found = get(plain, path).json()["manifests"]
    assert [(f["digest"], f["artifactType"]) for f in found] == \
        [(signature.digest, "application/x-sig")]
    plain.referrers_api = False
    assert get(plain, path).status == 404


def blob_path(up, blob, name="library/a"):
    up.put_blob(name, blob)
    return f"/v2/{name}/blobs/{blob.digest}"


def test_reset_and_truncation_after_bytes(plain):
    blob = content.make_blob(400_000)
    path = blob_path(plain, blob)
    for how, after in (("reset_after", 100_000), ("truncate_after", 300_001)):
        plain.fault(kind="blob", times=1, **{how: after})
        with pytest.raises(Closed) as caught:
            get(plain, path)
        assert caught.value.data == blob.data[:after]
        assert ("reset" in str(caught.value).lower()) == \
            (how == "reset_after")
    client.check_blob(get(plain, path), blob)
    plain.fault(kind="blob", times=1, reset_after=-1)
    with pytest.raises(Closed, match="before a head"):
        get(plain, path)


def test_stall_holds_until_released(plain):
    blob = content.make_blob(300_000)
    path = blob_path(plain, blob)
    fault = plain.fault(kind="blob", stall_after=1000)
    download = client.Download(("127.0.0.1", plain.registry.port), path)
    download.read_for(0.2)
    assert len(download.body) == 1000
    fault.release()
    assert download.finish().body == blob.data


def test_hold_waits_before_the_head(plain, image):
    plain.put_image("library/a", "1", image)
    fault = plain.fault(kind="manifest", method="HEAD", hold=True)
    waiting = client.Background(get, plain, "/v2/library/a/manifests/1",
                                method="HEAD")
    plain.wait_for(kind="manifest", count=1)
    assert get(plain, "/v2/library/a/manifests/1").status == 200
    assert waiting.is_alive()
    fault.release()
    assert waiting.join().status == 200


def test_wrong_bytes_headers_status_and_redirects(plain):
    blob = content.make_blob(5000)
    path = blob_path(plain, blob)
    fault = plain.fault(kind="blob", flip_at=4999)
    assert get(plain, path).body[:4999] == blob.data[:4999]
    assert get(plain, path).body[4999] == blob.data[4999] ^ 0xFF
    fault.clear()
    plain.fault(kind="blob", times=1, headers={
        "docker-content-digest": None, "Content-Type": "text/html"})
    odd = get(plain, path)
    assert odd.digest is None and odd.headers["Content-Type"] == "text/html"
    plain.fault(kind="blob", times=1, status=503, body=b"busy",
                headers={"Retry-After": "1"})
    busy = get(plain, path)
    assert (busy.status, busy.body, busy.headers["Retry-After"]) == \
        (503, b"busy", "1")
    plain.fault(kind="blob", times=1, chunked=True)
    chunked = get(plain, path)
    assert chunked.body == blob.data and chunked.length is None
    plain.fault(kind="blob", times=1, ignore_range=True)
    assert get(plain, path, {"Range": "bytes=5-6"}).status == 200
    plain.fault(kind="blob", times=1, redirect="loop")
    assert get(plain, path).headers["Location"] == path
    plain.fault(kind="blob", times=1, headers={"Content-Length": "9999"})
    connection = connect(plain.registry)
    connection.send_head("GET", path)
    assert connection.read_head().length == 9999


def test_fault_filters_and_counts(plain, image):
    plain.put_image("library/a", "1", image)
    plain.put_image("library/b", "1", image)
    fault = plain.fault(kind=("manifest", "tags"), name="library/a", skip=1,
                        times=1, status=500)
    answers = [get(plain, f"/v2/library/{n}/manifests/1").status
               for n in "aabaa"]
    assert answers == [200, 500, 200, 200, 200]
    assert fault.hits == 1 and fault.met[0].status == 500


@pytest.mark.parametrize("rate", [1_000_000, 100_000_000])
def test_bandwidth_cap_is_accurate(plain, rate):
    blob = content.make_blob(rate // 4)
    path = blob_path(plain, blob)
    plain.fault(kind="blob", rate=rate)
    start = time.monotonic()
    answer = get(plain, path)
    took = time.monotonic() - start
    client.check_blob(answer, blob)
    assert 0.22 < took < 0.25 + 0.25 * client.SLOW


def test_shared_pace_divides_the_rate(plain):
    blob = content.make_blob(1_000_000)
    path = blob_path(plain, blob)
    plain.limit(Pace(8_000_000))
    start = time.monotonic()
    client.all_at_once(lambda _: get(plain, path), range(4))
    assert 0.45 < time.monotonic() - start < 1.5 * client.SLOW


def test_outage_and_return_on_the_same_port(plain):
    before = plain.registry.port
    idle = connect(plain.registry)
    assert idle.get("/v2/").status == 200
    plain.close()
    assert idle.is_closed()
    with pytest.raises(ConnectionRefusedError):
        connect(plain.registry)
    plain.open()
    assert plain.registry.port == before
    assert get(plain, "/v2/").status == 200


def test_mute_accepts_and_never_answers(plain):
    plain.mute()
    connection = connect(plain.registry)
    connection.send_head("GET", "/v2/")
    assert not connection.is_closed(0.2)
    plain.mute(False)
    assert connection.read().status == 200


def test_keep_alive_and_pipelining(plain):
    connection = connect(plain.registry)
    for _ in range(3):
        connection.send_head("GET", "/v2/")
    assert [connection.read().status for _ in range(3)] == [200] * 3
    assert plain.registry.accepted == 1


def test_tls_with_an_authority_of_its_own(new_up, authority, image):
    up = new_up(tls=authority.server_context())
    up.put_image("library/a", "1", image)
    trusting = ssl.create_default_context(cafile=str(authority.cert))
    connection = connect(up.registry, trusting)
    client.check_manifest(connection.get("/v2/library/a/manifests/1"), image)
    assert up.realm.startswith("https://")
    with pytest.raises(ssl.SSLError):
        connect(up.registry, ssl.create_default_context())


def test_tls_that_wants_a_client_certificate(new_up, authority):
    up = new_up(tls=authority.server_context(client_ca=authority.cert))
    context = ssl.create_default_context(cafile=str(authority.cert))
    with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
        connect(up.registry, context).get("/v2/")
    context.load_cert_chain(*authority.issue("me", client=True))
    assert connect(up.registry, context).get("/v2/").status == 200


def test_multipart_parser():
    body = (b"--XX\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/9\r\n\r\n"
            b"ab\r\n--XX\r\nContent-Range: bytes 4-6/9\r\n\r\n--X\r\n--XX--\r\n")
    headers = client.Headers([("Content-Type",
                               "multipart/byteranges; boundary=XX")])
    assert client.multipart(client.Response(206, headers, body)) == \
        [(0, 1, 9, b"ab"), (4, 6, 9, b"--X")]


def test_configuration_file_is_a_tree(tmp_path, plain):
    config = Config(tmp_path / "data").options({"server.deadlines.head": "1s"})
    config.upstream("docker.io", plain, check="0s").upstream(
        "docker.io", username="joe", password="pw")
    tree = json.loads(config.text())
    assert tree["server"]["deadlines"] == {"head": "1s"}
    entry = tree["upstreams"]["docker.io"]
    assert entry["endpoints"] == [plain.url] and entry["check"] == "0s"
    assert "credentials" not in entry and entry["username"] == "joe"


def test_parsers_of_metrics_and_access_lines():
    assert parse_metrics('# HELP x y\nx{a="b c"} 3\ny 1.5\n') == \
        {'x{a="b c"}': 3, "y": 1.5}
    assert parse_access("nothing of the kind") is None


def test_pulls_as_clients_do_work_against_a_registry(plain):
    index = content.make_index([content.make_image([5000, 70], "amd"),
                                content.make_image([6000], "arm")])
    plain.put_image("library/a", "1", index)
    address = ("127.0.0.1", plain.registry.port)
    client.Docker(address).pull("library/a", "1", index)
    client.Containerd(address, ns=None).pull("library/a", "1", index, child=1)
    client.Podman(address).pull("library/a", "1", index)


def test_ipv6_listener(new_up):
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError:
        pytest.fail("no IPv6 loopback here")
    up = new_up(host="::1")
    assert up.url.startswith("http://[::1]:")
    assert connect(up.registry).get("/v2/").status == 200
