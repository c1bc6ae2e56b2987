# SPDX-License-Identifier: Apache-2.0
"""
Whose is a name?  Every row of the table, for pushes and for pulls, with
upstreams that record each request and must never see a hosted name.  (The
rows themselves, in all their forms, are unit-tested.)
"""

import pytest

import client
import content
from push import Pusher
from test_permit import ask, refused

DIGEST = f"sha256:{'0' * 64}"
PROXY = ["Via: 1.1 proxy"]  # makes a request one of "another machine"

# name, ns, whose it is for a pull, and what refuses a push (None: nothing).
ROWS = [
    # 1
    ("app", "docker.io", "docker.io/library/app", '"hosted": ["app"]'),
    ("team/app", "docker.io", "docker.io/team/app", '"hosted": ["team/**"]'),
    ("org/app", "quay.io", "quay.io/org/app", '"hosted": ["org/**"]'),
    ("org/app", "QUAY.mirror:443", "quay.io/org/app", '"hosted": ["org/**"]'),
    # 2
    ("team/app", "evil.example", None, '"names": ["evil.example"]'),
    ("app", "localhost:1", None, '"names": ["localhost:1"]'),
    # 3
    ("quay.io/org/app", None, "quay.io/org/app", '"hosted": ["org/**"]'),
    ("quay.mirror/org/app", None, "quay.io/org/app", '"hosted": ["org/**"]'),
    ("docker.io/app", None, "docker.io/library/app", '"hosted": ["app"]'),
    # 4
    ("team/app", None, "hosted", None),
    ("team/sub/app", None, "hosted", None),
    ("solo", None, "hosted", None),
    ("dotted.example/app", None, "hosted", None),
    ("team/app", "mirror.lan", "hosted", None),
    ("team/app", "", "hosted", None),
    # 5
    ("other.example/org/app", None, None, '"hosted": ["other.example/**"]'),
    ("localhost/app", None, None, '"hosted": ["localhost/**"]'),
    ("localhost:5001/org/app", None, None, '"hosted": ["org/**"]'),
    # 6
    ("app", None, "docker.io/library/app", None),
    ("app", "mirror.lan", "docker.io/library/app", None),
    ("org/app", None, "docker.io/org/app", None),
    ("team", None, "docker.io/library/team", None),
    ("library/app", None, "docker.io/library/app",
     '"hosted": ["library/app"]'),
]
OPTIONS = {"hosted": ["team/**", "solo", "dotted.example/*"],
           "names": ["mirror.lan"]}


@pytest.fixture
def ups(new_up):
    return {"docker.io": new_up(), "quay.io": new_up()}


@pytest.fixture
def make(new_entrepot, ups):
    """make(options): a daemon in front of both."""
    def make(options=None, **more):
        entrepot = new_entrepot(ups, {**OPTIONS, **(options or {})},
                                start=False)
        entrepot.config.upstream("quay.io", aliases=["quay.mirror"])
        return entrepot.start(**more)
    return make


def at(path, ns):
    return path if ns is None else f"{path}?ns={ns}"


def push(entrepot, name, ns=None, headers=(), connect=None):
    """
    What a push begins with: an upload, and a manifest.  The answer of both is
    of the same kind.
    """
    connect = connect or entrepot.connect
    post = ask(connect(), "POST", at(f"/v2/{name}/blobs/uploads/", ns),
               headers)
    put = ask(connect(), "PUT", at(f"/v2/{name}/manifests/{DIGEST}", ns),
              headers)
    assert refused(post) == refused(put), (post, put)
    if refused(post):
        assert post.message == put.message
    return post


def silent(ups):
    return not any(up.requests() for up in ups.values())


@pytest.mark.parametrize("name, ns, _, refusal", ROWS)
def test_pushes_by_every_row(ups, make, name, ns, _, refusal):
    answer = push(make(), name, ns)
    if refusal:
        assert refused(answer) and refusal in answer.message, answer
    else:
        assert not refused(answer), answer
    assert silent(ups)


@pytest.mark.parametrize("name, ns, owner, _", ROWS)
def test_pulls_by_every_row(ups, make, image, name, ns, owner, _):
    for up in ups.values():
        for repo in ("library/app", "team/app", "org/app", "library/team"):
            up.put_image(repo, "1", image)
    entrepot = make()
    paths = ["manifests/1", f"manifests/{image.digest}",
             f"blobs/{image.layers[0].digest}", "tags/list",
             f"referrers/{image.digest}"]
    for path in paths:
        for method in ("HEAD", "GET") if path[0] in "mb" else ("GET",):
            answer = ask(entrepot.connect(), method,
                         at(f"/v2/{name}/{path}", ns))
            if owner in (None, "hosted"):
                assert answer.status == 404 or "referrers" in path, answer
    host, _, repo = (owner or "").partition("/")
    for upstream, up in ups.items():
        asked = {r.name for r in up.requests() if r.name}
        assert asked == ({repo} if upstream == host else set()), upstream


@pytest.mark.parametrize("name, ns, owner, _", ROWS)
def test_deletes_ask_no_upstream(ups, make, name, ns, owner, _):
    entrepot = make()
    for path in ("manifests/1", f"manifests/{DIGEST}", f"blobs/{DIGEST}"):
        answer = ask(entrepot.connect(), "DELETE", at(f"/v2/{name}/{path}", ns))
        assert not refused(answer)
        assert answer.status == 404 or owner, answer
    assert silent(ups)


# ---- claims ----

CLAIMS = [
    # claim, headers, name, may
    ("loopback", [], "app", True),
    ("loopback", [], "org/app", True),
    ("loopback", [], "org/deep/app", True),
    ("loopback", [], "library/app", False),
    ("loopback", [], "library/app/x", False),
    ("loopback", [], "library", True),
    ("loopback", PROXY, "app", True),
    ("loopback", PROXY, "org/app", False),
    ("loopback", PROXY, "library/app", False),
    ("push", [], "library/app", True),
    ("push", PROXY, "app", True),
    ("push", PROXY, "org/app", True),
    ("push", PROXY, "library/app", True),
    ("none", [], "app", False),
    ("none", [], "org/app", False),
    ("none", PROXY, "app", False),
]


@pytest.mark.parametrize("claim, headers, name, may", CLAIMS)
def test_what_a_push_may_claim(ups, make, claim, headers, name, may):
    entrepot = make({"claim": claim, "anonymous": ["pull", "push"]})
    answer = push(entrepot, name, headers=headers)
    assert refused(answer) != may, answer
    if not may:
        line = name if name.startswith("library/") or "/" not in name \
            else name.split("/")[0] + "/**"
        assert f'"hosted": ["{line}"]' in answer.message
    # what is declared needs no claim
    assert not refused(push(entrepot, "team/app", headers=headers))
    assert silent(ups)


CLAIMED = content.make_image([3000], "claimed")


def first_blob(pusher):
    return pusher.put(pusher.begin(), CLAIMED.config.digest,
                      CLAIMED.config.data)


def mounted_blob(pusher):
    other = Pusher(pusher.daemon, "team/app")
    assert first_blob(other).status == 201
    return pusher.mount(CLAIMED.config.digest, "team/app")


def index_manifest(pusher):
    return pusher.put_manifest(content.make_index([CLAIMED]), "1")


def manifest_without_blobs(pusher):
    return pusher.put_manifest(CLAIMED, "1")


def begun_upload(pusher):
    where = pusher.begin()
    answer = pusher.patch(where, CLAIMED.config.data)
    assert pusher.ask("DELETE", where).status == 204
    return answer


def refused_digest(pusher):
    answer = pusher.ask("POST", f"{pusher.uploads}?digest={DIGEST}", {},
                        CLAIMED.config.data)
    return answer


def nonsense(pusher):
    return pusher.ask("PUT", f"/v2/{pusher.name}/manifests/1", {}, b"{}")


def missing_mount(pusher):
    answer = pusher.mount(DIGEST)
    assert pusher.ask("DELETE", answer.headers["Location"]).status == 204
    return answer


@pytest.mark.parametrize("how, status, claims", [
    (first_blob, 201, True), (mounted_blob, 201, True),
    (index_manifest, 201, True), (manifest_without_blobs, 400, True),
    (begun_upload, 202, False), (missing_mount, 202, False),
    (refused_digest, 400, False), (nonsense, 400, False)])
def test_what_claims_a_name(ups, make, image, how, status, claims):
    hub = ups["docker.io"]
    entrepot = make()
    hub.put_image("org/app", "2", image)
    answer = how(Pusher(entrepot, "org/app"))
    assert answer.status == status, answer
    assert not hub.requests()
    # Where that hides something, it says so, if it says yes.
    hides = "docker.io/org/app" in (answer.warning or "")
    assert hides == (claims and status == 201)
    got = ask(entrepot.connect(), "GET", "/v2/org/app/manifests/2").status
    assert (got, bool(hub.requests())) == ((404, False) if claims
                                           else (200, True))
    listed = [line for line in entrepot.command("ls").stdout.splitlines()
              if line.startswith("org/app  hosted")]
    assert bool(listed) == claims
    assert not claims or "hides docker.io/org/app" in listed[0]
    assert ask(entrepot.connect(), "GET",
               "/v2/org/app/manifests/2?ns=docker.io").status == 200


def test_a_hosted_name_outlives_its_pattern(ups, make, image):
    """What was pushed by row 4 is a claim, too."""
    ups["docker.io"].put_image("team/app", "1", image)
    ups["docker.io"].put_image("team/other", "1", image)
    entrepot = make()
    Pusher(entrepot, "team/app").push(CLAIMED, "1")
    entrepot.config.options({"hosted": [], "claim": "none"})
    entrepot.reload()
    client.Docker(entrepot.address).pull("team/app", "1", CLAIMED)
    assert silent(ups)
    assert not refused(push(entrepot, "team/app"))
    # One that nobody pushed was the pattern's.
    client.Docker(entrepot.address).pull("team/other", "1", image)
    assert refused(push(entrepot, "team/other"))
    # What the rows before it decide, no claim does.
    entrepot.config.upstream("team", [ups["quay.io"]])
    ups["quay.io"].put_image("app", "1", image)
    entrepot.reload()
    client.Docker(entrepot.address).pull("team/app", "1", image)
    assert "hidden by the upstream team" in entrepot.command("ls").stdout


def test_without_a_default_upstream_every_name_is_hosted(ups, make):
    entrepot = make({"default_upstream": None, "claim": "none"})
    for name in ("app", "org/app", "library/app", "other.example/app"):
        assert not refused(push(entrepot, name)), name
        assert ask(entrepot.connect(), "GET",
                   f"/v2/{name}/manifests/1").status == 404
    assert refused(push(entrepot, "quay.io/org/app"))
    assert refused(push(entrepot, "org/app", "docker.io"))
    assert silent(ups)


def test_a_mirroring_listener_hosts_nothing(ups, make, image):
    entrepot = make({"listen": [
        "127.0.0.1:0", {"address": "[::1]:0", "mirror_of": "quay.io"}],
        "claim": "push"})
    ups["quay.io"].put_image("team/app", "1", image)

    def connect():
        return client.Connection(("::1", entrepot.ports[1]))

    def ask_there(*request):
        return ask(connect(), *request, host="[::1]")

    for name in ("team/app", "org/app", "app"):
        posted = ask_there("POST", f"/v2/{name}/blobs/uploads/")
        assert refused(posted) and '"mirror_of": "quay.io"' in posted.message
    assert ask_there("PATCH", "/v2/team/app/blobs/uploads/x").status == 404
    assert silent(ups)
    assert ask_there("GET", "/v2/team/app/manifests/1").status == 200
    assert ask(entrepot.connect(), "GET",
               "/v2/team/app/manifests/1").status == 404


# ---- pushes begin with a HEAD ----

BLOB = content.make_image([1000], "head").layers[0]


def head(entrepot, path, headers=()):
    return ask(entrepot.connect(), "HEAD", path, headers)


def test_head_of_a_blob_begins_a_push(ups, make):
    hub = ups["docker.io"]
    for name in ("library/app", "org/app"):
        hub.repository(name).blobs[BLOB.digest] = BLOB.data
    entrepot = make({"anonymous": ["pull", "push"]})
    path = f"/v2/%s/blobs/{BLOB.digest}"
    for name in ("app", "org/app"):
        assert head(entrepot, path % name).status == 404
    assert head(entrepot, path % "app", PROXY).status == 404
    assert silent(ups)
    # from one that could not claim it, it is a mirror's question
    assert head(entrepot, path % "org/app", PROXY).status == 200
    assert head(entrepot, path % "library/app").status == 200
    assert head(entrepot, path % "org/app" + "?ns=docker.io").status == 200
    assert ask(entrepot.connect(), "GET", path % "app").status == 200


def test_head_of_a_blob_where_something_is_held(ups, make, image):
    ups["docker.io"].put_image("org/app", "1", image)
    entrepot = make()
    path = f"/v2/org/app/blobs/{image.layers[0].digest}"
    assert head(entrepot, path).status == 404
    assert entrepot.manifest("org/app", "1").status == 200
    assert head(entrepot, path).status == 200


TROUBLE = [{"status": 401}, {"status": 403}, {"status": 500}, {"status": 503}]


@pytest.mark.parametrize("fault", TROUBLE, ids=str)
@pytest.mark.parametrize("reference", ["1", DIGEST])
def test_head_of_a_manifest_begins_a_push(ups, make, fault, reference):
    ups["docker.io"].fault(kind="manifest", times=None, **fault)
    entrepot = make()
    for name in ("org/app", "app"):
        path = f"/v2/{name}/manifests/{reference}"
        assert head(entrepot, path).status == 404, name
        got = ask(entrepot.connect(), "GET", path).status
        assert got in ((403,) if fault.get("status") in (401, 403)
                       else (502, 503, 504)), got
        assert head(entrepot, path).status == 404, name
    for path in (f"/v2/library/app/manifests/{reference}",
                 f"/v2/org/app/manifests/{reference}?ns=docker.io"):
        assert head(entrepot, path).status in (403, 502, 503, 504)


def test_head_of_a_manifest_while_upstream_is_away(make, ups):
    entrepot = make({"claim": "loopback"})
    ups["docker.io"].stop()
    assert head(entrepot, "/v2/org/app/manifests/1").status == 404
    assert ask(entrepot.connect(), "GET",
               "/v2/org/app/manifests/1").status in (502, 503, 504)


def test_head_of_a_manifest_that_is_there(ups, make, image):
    """A push of the same image is skipped, as it is at the upstream itself."""
    ups["docker.io"].put_image("org/app", "1", image)
    entrepot = make()
    answer = head(entrepot, "/v2/org/app/manifests/1")
    assert (answer.status, answer.digest) == (200, image.digest)
    assert head(entrepot, "/v2/org/app/manifests/2").status == 404


def test_after_none_the_head_is_a_mirrors(ups, make):
    entrepot = make({"claim": "none"})
    ups["docker.io"].fault(kind="manifest", times=None, status=401)
    assert head(entrepot, "/v2/org/app/manifests/1").status == 403


# ---- whole pushes, in their clients' order of requests ----

PUSHED = content.make_image([5000, 300], "pushed")


def put_blob(pusher, blob, whole):
    """What is not there yet, as PATCH and PUT or at once."""
    path = f"/v2/{pusher.name}/blobs/{blob.digest}"
    if pusher.ask("HEAD", path).status == 200:
        return
    where = pusher.begin()
    if not whole:
        answer = pusher.stream(where, blob.data)
        assert answer.status == 202, answer
        where = answer.headers["Location"]
    answer = pusher.put(where, blob.digest, blob.data if whole else b"")
    assert answer.status == 201, answer
    # dockerd looks for each one at once.
    assert pusher.ask("HEAD", path).status == 200


def by_crane(pusher, image):
    """HEAD of the manifest's tag; the blobs; PUT."""
    path = f"/v2/{pusher.name}/manifests/1"
    assert pusher.ask("HEAD", path).status == 404
    for blob in image.blobs:
        put_blob(pusher, blob, whole=False)
    assert pusher.put_manifest(image, "1").status == 201


def by_oras(pusher, image):
    """oras, helm: HEAD of the manifest's digest; layers first; once more;
    PUT by digest, then by tag."""
    path = f"/v2/{pusher.name}/manifests/{image.digest}"
    assert pusher.ask("HEAD", path).status == 404
    for blob in [*image.layers, image.config]:
        put_blob(pusher, blob, whole=True)
    assert pusher.ask("HEAD", path).status == 404
    assert pusher.put_manifest(image).status == 201
    assert pusher.put_manifest(image, "1").status == 201


def by_dockerd(pusher, image):
    """No question of the manifest before its PUT."""
    for blob in [*image.layers, image.config]:
        put_blob(pusher, blob, whole=False)
    assert pusher.put_manifest(image, "1").status == 201


UPSTREAMS = {"answering": None, "unauthorized": {"status": 401},
             "denying": {"status": 403}, "failing": {"status": 503},
             "resetting": {"reset_after": -1}, "down": None}


@pytest.mark.parametrize("order", [by_crane, by_oras, by_dockerd])
@pytest.mark.parametrize("name", ["fresh/app", "fresh"])
@pytest.mark.parametrize("state", UPSTREAMS)
def test_push_of_a_new_name(ups, make, state, name, order):
    hub = ups["docker.io"]
    entrepot = make()
    if UPSTREAMS[state]:
        hub.fault(times=None, **UPSTREAMS[state])
    elif state == "down":
        hub.close()
    order(Pusher(entrepot, name), PUSHED)
    # What there is by that name upstream, from now on nobody asks.
    hub.clear_faults()
    hub.open()
    other = content.make_image([100], "other")
    for repo in ("fresh/app", "library/fresh"):
        for tag in "12":
            hub.put_image(repo, tag, other)
    for up in ups.values():
        up.forget()
    client.Docker(entrepot.address).pull(name, "1", PUSHED)
    client.Containerd(entrepot.address, ns=None).pull(name, "1", PUSHED)
    assert ask(entrepot.connect(), "GET", f"/v2/{name}/tags/list"
               ).json()["tags"] == ["1"]
    assert ask(entrepot.connect(), "GET",
               f"/v2/{name}/referrers/{PUSHED.digest}").status == 200
    assert silent(ups)
    # With its registry's name it is the registry's.  (That there is no tag 1
    # is believed for a while.)
    client.Docker(entrepot.address).pull(f"docker.io/{name}", "2", other)
