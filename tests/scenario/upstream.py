# SPDX-License-Identifier: Apache-2.0
"""
A scripted registry with its token server and its CDN.

It answers as Docker Hub does: manifests with digest, length, ETag and quota
headers; blobs as a redirect to signed, expiring, method-specific URLs on
another port; a token server with scopes.  fault() makes it misbehave.  Every
request is recorded with the bytes that were written for it.
"""

import fnmatch
import hashlib
import hmac
import json
import re
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from client import SLOW
from content import OCI_INDEX, facts
from faults import Faults
from httpd import HttpServer
from tokens import Auth, error

ROUTES = [
    ("ping", re.compile(r"/v2/?")),
    ("catalog", re.compile(r"/v2/_catalog")),
    ("tags", re.compile(r"/v2/(?P<name>.+)/tags/list")),
    ("manifest", re.compile(r"/v2/(?P<name>.+)/manifests/(?P<ref>[^/]+)")),
    ("blob", re.compile(r"/v2/(?P<name>.+)/blobs/(?P<ref>[^/]+)")),
    ("referrers", re.compile(r"/v2/(?P<name>.+)/referrers/(?P<ref>[^/]+)")),
]


@dataclass(eq=False)
class Repository:
    tags: dict = field(default_factory=dict)       # tag -> digest
    manifests: dict = field(default_factory=dict)  # digest -> (type, bytes)
    blobs: dict = field(default_factory=dict)      # digest -> bytes


@dataclass
class Quota:
    """Manifest GETs left; at 0 they are answered 429."""

    limit: int = 100
    remaining: int = 100
    window: int = 21600
    retry_after: object = None  # what the header says; None: no header

    def headers(self):
        return {"ratelimit-limit": f"{self.limit};w={self.window}",
                "ratelimit-remaining": f"{self.remaining};w={self.window}",
                "docker-ratelimit-source": "192.0.2.1"}


class Upstream:
    """
    Servers: `registry`, `cdn` (where blobs are redirected to, unless `cdn` is
    turned off) and, with separate_tokens, `tokens` on ports of their own.
    """

    def __init__(self, cdn=True, tls=None, separate_tokens=False,
                 host="127.0.0.1", cdn_host=None, token_host=None):
        self.repositories = {}
        self.faults = Faults()
        self.auth = Auth()
        self.quota = None
        self.redirect_blobs = cdn
        self.redirect_status = 307
        self.signed_seconds = 300
        self.referrers_api = True
        self.tags_page = None
        self.referrers_page = None
        self.strict_accept = True
        self.leaked = []  # requests to the CDN that carried Authorization
        self.mount = ""   # path in front of /v2, for endpoints with one
        self._secret = b"signing key"
        self._lock = threading.Lock()
        self._log = []
        self.registry = HttpServer("registry", self._registry, host, tls)
        self.cdn = HttpServer("cdn", self._cdn, cdn_host or host, tls)
        self.tokens = HttpServer("token", self._token, token_host or host,
                                 tls) if separate_tokens else self.registry
        self.auth.realm = self.realm

    # ---- life ----

    @property
    def url(self):
        return self.registry.url + self.mount

    @property
    def realm(self):
        return self.tokens.url + "/token"

    @property
    def servers(self):
        return {self.registry, self.cdn, self.tokens}

    def close(self):
        """The network is gone: connections are refused, open ones cut."""
        for server in self.servers:
            server.close()

    def open(self):
        """And is back, on the same ports."""
        for server in self.servers:
            server.open()

    def mute(self, on=True):
        """Accept connections, and never answer on them."""
        for server in self.servers:
            (server.mute.set if on else server.mute.clear)()

    def limit(self, *paces):
        """Share these Paces among all answers of all servers."""
        for server in self.servers:
            server.paces = list(paces)

    def stop(self):
        self.faults.clear()
        self.close()

    # ---- content ----

    def repository(self, name):
        return self.repositories.setdefault(name, Repository())

    def put_blob(self, name, blob):
        self.repository(name).blobs[blob.digest] = blob.data
        return blob

    def put_manifest(self, name, image, tag=None):
        repo = self.repository(name)
        repo.manifests[image.digest] = (image.media_type, image.data)
        if tag:
            repo.tags[tag] = image.digest

    def put_image(self, name, tag, image):
        """The image, its children and all blobs; `tag` may be None."""
        for child in image.children:
            self.put_image(name, None, child)
        for blob in ([image.config] if image.config else []) + image.layers:
            self.put_blob(name, blob)
        self.put_manifest(name, image, tag)
        return image

    def move_tag(self, name, tag, image):
        self.put_image(name, tag, image)

    def delete_tag(self, name, tag):
        del self.repository(name).tags[tag]

    def delete_manifest(self, name, digest):
        repo = self.repository(name)
        del repo.manifests[digest]
        repo.tags = {t: d for t, d in repo.tags.items() if d != digest}

    def require_login(self, mode="bearer", **more):
        """Turn authentication on; see tokens.Auth."""
        self.auth = Auth(mode=mode, **more)
        if not self.auth.realm:
            self.auth.realm = self.realm
        return self.auth

    # ---- faults and what was asked ----

    def fault(self, **what):
        return self.faults.add(**what)

    def clear_faults(self):
        self.faults.clear()

    def requests(self, kind=None, method=None, name=None, digest=None,
                 tag=None, server=None, status=None, since=None, path=None,
                 probes=True):
        """Requests so far that match; `probes` = Range bytes=0-0 too."""
        reference = digest or tag
        kinds = kind if isinstance(kind, tuple) else (kind,)
        with self._lock:
            log = list(self._log)
        return [r for r in log
                if (kind is None or r.kind in kinds)
                and method in (None, r.method)
                and name in (None, r.name)
                and reference in (None, r.reference)
                and server in (None, r.server)
                and status in (None, r.status)
                and (since is None or r.at >= since)
                and (path is None or fnmatch.fnmatch(r.path, path))
                and (probes or r.range != "bytes=0-0")]

    def count(self, **which):
        return len(self.requests(**which))

    def fetches(self, digest):
        """Requests that were answered with bytes of this blob, apart from
        bytes=0-0."""
        return [r for r in self.requests(("blob", "cdn"), "GET",
                                         digest=digest, probes=False)
                if r.status in (200, 206)]

    def bytes_sent(self, digest=None, kinds=("blob", "cdn"), probes=False):
        """
        Body bytes written for this blob (for all: None), good or bad.  Who has
        got them may ask before their sender has noted them; one that waits for
        its reader is not waited for.
        """
        end = time.monotonic() + 0.5 * SLOW
        while time.monotonic() < end and any(
                r.sending for r in self.requests(kinds, digest=digest,
                                                 probes=probes)):
            time.sleep(0.001)
        return sum(r.sent for r in
                   self.requests(kinds, digest=digest, probes=probes)
                   if r.status in (200, 206))

    def forget(self):
        """Start the record anew."""
        with self._lock:
            self._log.clear()
        self.leaked.clear()

    def wait_for(self, count=1, timeout=5, **which):
        """Until that many matching requests have come; the list."""
        end = time.monotonic() + timeout * SLOW
        while True:
            found = self.requests(**which)
            if len(found) >= count:
                return found
            if time.monotonic() > end:
                raise AssertionError(
                    f"only {len(found)} of {count} requests {which} came:\n"
                    + self.dump())
            time.sleep(0.005)

    def dump(self):
        return "\n".join(str(r) for r in self.requests())

    # ---- answering ----

    def _begin(self, request, connection):
        """Record the request and let faults act before its head; the Plan."""
        with self._lock:
            self._log.append(request)
        plan = self.faults.plan(request)
        if plan.mute:
            connection.wait(lambda: False)
        if plan.hold:
            connection.wait(plan.hold.is_set)
        if plan.delay:
            connection.wait(lambda: False, plan.delay)
        return plan

    def _end(self, request, connection, answer, plan):
        status, headers, body = answer
        if plan.redirect:
            where = request.target if plan.redirect == "loop" \
                else plan.redirect
            if callable(where):
                where = where(request)
            status, body = plan.status or 307, b""
            headers = {"Location": where}
        elif plan.status:
            status, headers, body = error(plan.status, "SCRIPTED", "a fault")
        if plan.body is not None:
            body = plan.body
        connection.reply(request, status, headers, body, plan)

    def _registry(self, request, connection):
        if self.mount and request.path.startswith(self.mount):
            request.path = request.path[len(self.mount):]
        if request.path == "/token":
            self._token(request, connection)
            return
        for kind, pattern in ROUTES:
            match = pattern.fullmatch(request.path)
            if match:
                request.kind = kind
                request.name = match.groupdict().get("name")
                request.reference = match.groupdict().get("ref")
                break
        plan = self._begin(request, connection)
        answer = self.auth.check(request) or self._route(request, plan)
        answer[1].setdefault("Docker-Distribution-Api-Version",
                             "registry/2.0")
        self._end(request, connection, answer, plan)

    def _token(self, request, connection):
        request.kind = "token"
        plan = self._begin(request, connection)
        self._end(request, connection, self.auth.answer(request), plan)

    def _route(self, request, plan):
        if request.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED", "read only")
        if request.kind == "ping":
            return 200, {"Content-Type": "application/json"}, b"{}"
        answer = {"manifest": self._manifest, "blob": self._blob,
                  "tags": self._tags, "referrers": self._referrers
                  }.get(request.kind)
        if answer is None:
            return error(404, "NOT_FOUND", "404 page not found")
        repo = self.repositories.get(request.name)
        if repo is None:
            return error(404, "NAME_UNKNOWN", "repository name not known")
        return answer(request, repo, plan)

    def _manifest(self, request, repo, plan):
        quota = self._spend(request)
        if quota is None:
            answer = error(429, "TOOMANYREQUESTS", "You have reached your "
                           "pull rate limit. " + "You may increase it. " * 20)
            answer[1].update(self.quota.headers())
            if self.quota.retry_after is not None:
                answer[1]["Retry-After"] = str(self.quota.retry_after)
            return answer
        digest = repo.tags.get(request.reference, request.reference)
        if digest not in repo.manifests:
            answer = error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            answer[1].update(quota)
            return answer
        kind, data = repo.manifests[digest]
        if self.strict_accept and not _accepts(request, kind):
            return error(404, "MANIFEST_UNKNOWN", f"{kind} found, but accept "
                         "header does not support it")
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest,
                   "ETag": f'"{digest}"', **quota}
        if request.headers.get("if-none-match", "").strip('"') == digest:
            return 304, headers, b""
        return 200, headers, data

    def _spend(self, request):
        """Quota headers of this answer; None: the quota is used up."""
        quota = self.quota
        if not quota:
            return {}
        with self._lock:
            if request.method == "GET":
                if quota.remaining <= 0:
                    return None
                quota.remaining -= 1
            return quota.headers()

    def _blob(self, request, repo, plan):
        digest = request.reference
        if digest not in repo.blobs:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.redirect_blobs:
            return self.redirect_status, {
                "Location": self.sign(request.method, request.name, digest),
                "Docker-Content-Digest": digest}, b""
        return _file(request, repo.blobs[digest], plan,
                     {"Docker-Content-Digest": digest})

    def sign(self, method, name, digest, seconds=None):
        """A URL at the CDN for one method and a while."""
        seconds = self.signed_seconds if seconds is None else seconds
        query = {"method": method, "repo": name,
                 "expires": f"{time.monotonic() + seconds:.3f}"}
        path = f"/data/{digest.replace(':', '/')}/data"
        query["signature"] = self._signature(path, query)
        return f"{self.cdn.url}{path}?{urlencode(query)}"

    def _signature(self, path, query):
        text = path + "".join(query[k] for k in ("method", "repo", "expires"))
        return hmac.new(self._secret, text.encode(),
                        hashlib.sha256).hexdigest()

    def _cdn(self, request, connection):
        request.kind = "cdn"
        query = {k: v[0] for k, v in request.query.items()}
        parts = request.path.split("/")
        if len(parts) == 5:
            request.reference = f"{parts[2]}:{parts[3]}"
        request.name = query.get("repo")
        if "authorization" in request.headers:
            self.leaked.append(request)
        plan = self._begin(request, connection)
        self._end(request, connection, self._stored(request, query, plan),
                  plan)

    def _stored(self, request, query, plan):
        """What an object store answers: XML where it refuses."""
        def refuse(status, code):
            return status, {"Content-Type": "application/xml"}, \
                f"<Error><Code>{code}</Code></Error>".encode()

        if "authorization" in request.headers:
            return refuse(400, "InvalidArgument")
        try:
            good = hmac.compare_digest(self._signature(request.path, query),
                                       query["signature"])
        except KeyError:
            good = False
        if not good or query["method"] != request.method:
            return refuse(403, "SignatureDoesNotMatch")
        if float(query["expires"]) < time.monotonic():
            return refuse(403, "AccessDenied")
        repo = self.repositories.get(request.name)
        if not repo or request.reference not in repo.blobs:
            return refuse(404, "NoSuchKey")
        return _file(request, repo.blobs[request.reference], plan, {})

    def _tags(self, request, repo, plan):
        tags = sorted(repo.tags)
        last = request.query.get("last", [None])[0]
        if last is not None:
            tags = [t for t in tags if t > last]
        asked = request.query.get("n", [None])[0]
        count = int(asked) if asked else self.tags_page
        if self.tags_page and count:
            count = min(count, self.tags_page)
        headers = {"Content-Type": "application/json"}
        if count is not None and len(tags) > count:
            tags = tags[:count]
            if tags:
                headers["Link"] = (f"</v2/{request.name}/tags/list?"
                                   f"last={tags[-1]}&n={count}>; rel=\"next\"")
        return 200, headers, json.dumps({"name": request.name,
                                         "tags": tags}).encode()

    def _referrers(self, request, repo, plan):
        if not self.referrers_api:
            return error(404, "NOT_FOUND", "404 page not found")
        found = []
        for digest, (kind, data) in repo.manifests.items():
            subject, artifact, annotations = facts(data)
            if subject == request.reference:
                one = {"mediaType": kind, "digest": digest, "size": len(data)}
                if artifact:
                    one["artifactType"] = artifact
                if annotations:
                    one["annotations"] = annotations
                found.append(one)
        headers = {"Content-Type": OCI_INDEX}
        page = int(request.query.get("page", ["0"])[0])
        if self.referrers_page:
            count = self.referrers_page
            if len(found) > (page + 1) * count:
                headers["Link"] = (f"</v2/{request.name}/referrers/"
                                   f"{request.reference}?page={page + 1}>; "
                                   "rel=\"next\"")
            found = found[page * count:(page + 1) * count]
        return 200, headers, json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_INDEX,
             "manifests": found}).encode()


def _accepts(request, kind):
    accept = request.headers.get("accept")
    if accept is None:
        return True
    kinds = {a.split(";")[0].strip() for a in accept.split(",")}
    return bool(kinds & {kind, "*/*", "application/*"})


def parse_range(text, size):
    """(first, last) of one satisfiable range, "bad" for 416, None for all."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        first, last = max(0, size - int(last)), size - 1
        return (first, last) if last >= first else "bad"
    first, last = int(first), int(last) if last else size - 1
    if first >= size or last < first:
        return "bad"
    return first, min(last, size - 1)


def _file(request, data, plan, headers):
    """Bytes of an object, as a static file server gives them."""
    headers = {"Content-Type": "application/octet-stream",
               "Accept-Ranges": "bytes", "ETag": f'"{len(data)}"', **headers}
    part = None if plan.ignore_range else \
        parse_range(request.range, len(data))
    if part is None:
        return 200, headers, data
    if part == "bad":
        return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
    first, last = part
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return 206, headers, memoryview(data)[first:last + 1]
