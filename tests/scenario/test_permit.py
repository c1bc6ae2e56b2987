# SPDX-License-Identifier: Apache-2.0
"""
Who may push and delete before there are users: this machine, in the strict
sense, until "anonymous" opens it.  A name of "hosted" keeps the rows of the
name table out of it.
"""

import pytest

import client
import content
import namespace
from push import Pusher

UPLOADS = "/v2/team/app/blobs/uploads/"
MANIFEST = "/v2/team/app/manifests/1"
BLOB = f"/v2/team/app/blobs/sha256:{'0' * 64}"
PURGE = f"/v2/library/app/blobs/sha256:{'0' * 64}"
HOSTED = {"hosted": ["team/**"], "cors.origins": ["https://ui.example"]}

WRITES = [("POST", UPLOADS, "push"), ("PUT", MANIFEST, "push"),
          ("PATCH", UPLOADS + "x", "push"), ("DELETE", UPLOADS + "x", "push"),
          ("DELETE", MANIFEST, "delete"), ("DELETE", BLOB, "delete"),
          ("DELETE", PURGE, "delete")]


def ask(connection, method, path, headers=(), version="1.1", host=None):
    """One request without a body; its answer, and then the connection ends."""
    host = host or "%s:%d" % connection.address
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}",
             "Content-Length: 0", *headers]
    connection.send("\r\n".join(lines) + "\r\n\r\n")
    answer = connection.read(method)
    connection.close()
    return answer


def refused(answer):
    return answer.status == 403 and answer.code == "DENIED"


@pytest.fixture
def hosted(new_entrepot, up):
    return new_entrepot(up, HOSTED)


@pytest.mark.parametrize("method, path, _", WRITES)
def test_this_machine_may_write(up, hosted, method, path, _):
    for host in (None, "localhost", "localhost:5000", "LOCALHOST",
                 "127.0.0.1", "127.1.2.3:80", "[::1]:5000"):
        answer = ask(hosted.connect(), method, path, host=host)
        assert answer.status not in (401, 403), answer
    assert not up.requests()


@pytest.mark.parametrize("method, path, action", WRITES)
@pytest.mark.parametrize("header", [
    "Forwarded: for=127.0.0.1", "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-proto: https", "X-Forwarded-Whatever: 1",
    "X-Real-IP: 127.0.0.1", "Via: 1.1 proxy", "X-Forwarded: for=127.0.0.1",
    "X-Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1",
    "CF-Connecting-IP: 127.0.0.1", "CDN-Loop: proxy"])
def test_what_a_proxy_passes_on_is_not_local(up, hosted, method, path, action,
                                             header):
    answer = ask(hosted.connect(), method, path, [header])
    assert refused(answer), answer
    assert f'"anonymous": ["pull", "{action}"]' in answer.json()[
        "errors"][0]["message"]
    assert "a proxy has passed it on" in answer.message
    assert not up.requests()


@pytest.mark.parametrize("host", [
    "registry.example", "localhost.example:5000", "127.0.0.1.example",
    "192.0.2.1:5000", "0.0.0.0", "[::]:5000", "localhost.",
    "[::1]evil.example", "[::1]:5000.evil.example", "localhost:evil"])
def test_other_hosts_are_not_local(hosted, host):
    """The name of an attacker may lead to 127.0.0.1 too."""
    answer = ask(hosted.connect(), "POST", UPLOADS, host=host)
    assert refused(answer) and "Host" in answer.message, answer


def test_an_old_http_is_not_local(hosted):
    assert refused(ask(hosted.connect(), "POST", UPLOADS, version="1.0"))


def test_an_absolute_target_is_a_host_too(hosted):
    port = hosted.port
    for target, may in (("http://localhost", True), ("http://a.example", False)):
        answer = ask(hosted.connect(), "POST", target + UPLOADS,
                     host=f"127.0.0.1:{port}")
        assert refused(answer) != may, answer


@pytest.mark.parametrize("method, path, _", WRITES)
def test_foreign_origins_never_write(up, new_entrepot, method, path, _):
    """Not even where everybody may."""
    entrepot = new_entrepot(
        up, {**HOSTED, "anonymous": ["pull", "push", "delete"]})
    for origin in ("https://evil.example", "null", "http://ui.example",
                   "https://ui.example.evil"):
        answer = ask(entrepot.connect(), method, path, [f"Origin: {origin}"])
        assert refused(answer), answer
        assert f'"origins": ["{origin}"]' in answer.json()[
            "errors"][0]["message"]
    twice = ["Origin: https://ui.example", "Origin: https://ui.example"]
    assert refused(ask(entrepot.connect(), method, path, twice))
    good = ask(entrepot.connect(), method, path, twice[:1])
    assert good.status not in (401, 403), good
    assert not up.requests()


def test_an_allowed_origin_counts_as_none(hosted):
    """It opens nothing that is closed without it."""
    origin = "Origin: https://ui.example"
    assert ask(hosted.connect(), "DELETE", BLOB, [origin]).status != 403
    assert refused(ask(hosted.connect(), "DELETE", BLOB,
                       [origin, "Via: 1.1 proxy"]))


def test_reading_is_open_to_all_origins_and_proxies(up, hosted, image):
    up.put_image("library/a", "1", image)
    for header in ("Origin: https://evil.example", "Via: 1.1 proxy",
                   "X-Forwarded-For: 192.0.2.1"):
        answer = ask(hosted.connect(), "GET", "/v2/library/a/manifests/1",
                     [header], host="a.example")
        assert answer.status == 200, answer


# ---- other machines ----

@pytest.fixture
def apart(new_entrepot):
    """apart(options): a daemon that other machines reach."""
    def make(options=None):
        return new_entrepot({"docker.io": None}, {
            **HOSTED, "listen": [f"{namespace.V4}:0", f"[{namespace.V6}]:0"],
            "upstreams": {"docker.io": {"endpoints": ["http://127.0.0.1:1"],
                                        "credentials": "none",
                                        "retry_max": "1ms",
                                        "retry_min": "1ms"}},
            **(options or {})}, wrap=namespace.WRAP)
    return make


def ask_from_afar(entrepot, method, path, **more):
    out = []
    for host, port in zip((namespace.V4, namespace.V6), entrepot.ports):
        with namespace.inside(entrepot):
            connection = client.Connection((host, port))
        out.append(ask(connection, method, path, **more))
    assert out[0].status == out[1].status, out
    return out[0]


@pytest.mark.parametrize("may", [
    ["pull"], ["pull", "push"], ["pull", "delete"], ["push"],
    ["pull", "push", "delete"], []])
def test_other_machines_may_what_anonymous_lists(apart, may):
    entrepot = apart({"anonymous": may})
    for method, path, action in WRITES:
        answer = ask_from_afar(entrepot, method, path, host="localhost")
        assert refused(answer) != (action in may), (method, path, answer)
        if refused(answer):
            assert "another machine" in answer.message
    for path in (MANIFEST, BLOB, "/v2/team/app/tags/list", "/v2/_catalog",
                 "/v1/search?q=a", "/v2/library/a/manifests/1",
                 f"/v2/team/app/referrers/sha256:{'0' * 64}"):
        answer = ask_from_afar(entrepot, "GET", path, host="localhost")
        assert refused(answer) != ("pull" in may), (path, answer)
    assert ask_from_afar(entrepot, "GET", "/v2/", host="x").status == 200


def test_a_list_without_pull_closes_proxies_too(new_entrepot, up, image):
    entrepot = new_entrepot(up, {"anonymous": []})
    up.put_image("library/a", "1", image)
    path = "/v2/library/a/manifests/1"
    assert refused(ask(entrepot.connect(), "GET", path, ["Via: 1.1 p"]))
    assert not up.requests()
    assert ask(entrepot.connect(), "GET", path).status == 200


def test_the_message_names_the_whole_list(new_entrepot, up):
    entrepot = new_entrepot(up, {**HOSTED, "anonymous": ["push"]})
    answer = ask(entrepot.connect(), "DELETE", BLOB, ["Via: 1.1 p"])
    assert '"anonymous": ["push", "delete"]' in answer.message
    answer = ask(entrepot.connect(), "GET", MANIFEST, ["Via: 1.1 p"])
    assert '"anonymous": ["pull", "push"]' in answer.message


def test_a_reload_opens_and_closes(hosted):
    header = ["Via: 1.1 p"]
    assert refused(ask(hosted.connect(), "POST", UPLOADS, header))
    hosted.config.options({"anonymous": ["pull", "push"]})
    hosted.reload()
    assert not refused(ask(hosted.connect(), "POST", UPLOADS, header))


# ---- those who may push and not pull ----

NOWHERE = content.make_blob(70_000, "nowhere")


@pytest.fixture
def takes_pushes(new_entrepot, up, image):
    """Private to this machine: team/secret, and what org/app brought."""
    entrepot = new_entrepot(up, {**HOSTED, "claim": "push",
                                 "anonymous": ["push"]})
    up.put_image("org/app", "1", image)
    client.Docker(entrepot.address).pull("org/app", "1", image)
    Pusher(entrepot, "team/secret").push(image, "1")
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    return entrepot


def mount(entrepot, name, digest, source, headers):
    query = f"?mount={digest}" + (f"&from={source}" if source else "")
    connection = entrepot.connect()
    answer = ask(connection, "POST", f"/v2/{name}/blobs/uploads/{query}",
                 headers)
    if answer.status == 202:
        end = entrepot.request("DELETE", answer.headers["Location"])
        assert end.status == 204, end
    return answer


@pytest.mark.parametrize("source", [
    None, "team/secret", "org/app", "docker.io/org/app"])
@pytest.mark.parametrize("name", ["team/app", "team/secret"])
def test_a_mount_needs_a_pull(takes_pushes, image, name, source):
    """It would tell what there is, and answers as where there is nothing."""
    for blob in (image.layers[0], image.config, NOWHERE):
        answer = mount(takes_pushes, name, blob.digest, source, ["Via: 1.1 p"])
        assert answer.status == 202, answer
        assert answer.digest is None
    path = f"/v2/team/app/blobs/{image.layers[0].digest}"
    assert takes_pushes.get(path).status == 404
    # This machine may pull.
    answer = mount(takes_pushes, name, image.layers[0].digest, source, [])
    assert answer.status == 201, answer


def test_a_push_builds_on_its_mirror_where_it_may_pull(takes_pushes, image):
    def put(headers):
        connection = takes_pushes.connect()
        connection.send_head("PUT", "/v2/org/app/manifests/2", {
            **headers, "Content-Type": image.media_type,
            "Content-Length": len(image.data)})
        connection.send(image.data)
        answer = connection.read("PUT")
        connection.close()
        return answer

    answer = put({"Via": "1.1 p"})
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert put({}).status == 201


# ---- deleting ----

def test_deleting_can_be_switched_off(new_entrepot, up):
    entrepot = new_entrepot(up, {**HOSTED, "delete": False})
    for path, allow in ((MANIFEST, "GET, HEAD, PUT"), (BLOB, "GET, HEAD")):
        answer = ask(entrepot.connect(), "DELETE", path)
        assert (answer.status, answer.code) == (405, "UNSUPPORTED"), answer
        assert answer.headers["Allow"] == allow
        assert '"delete": false' in answer.message
    # purging what is mirrored is another thing
    answer = ask(entrepot.connect(), "DELETE", PURGE)
    assert '"delete": false' not in answer.message
    assert not up.requests()
