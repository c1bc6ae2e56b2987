# SPDX-License-Identifier: Apache-2.0
"""The scripted upstream's notion of who may pull what: tokens and Basic."""

import base64
import binascii
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass(eq=False)
class Token:
    text: str
    user: str | None
    scopes: frozenset
    expires: float
    uses: int | None

    def grants(self, scope):
        return "aws" in self.scopes or scope is None or scope in self.scopes


@dataclass(eq=False)
class Auth:
    """
    mode        none, bearer or basic
    users       {user: password}
    private     {repository: users who may pull it}; all others are public
    anonymous   may anyone have a token?  (False: only users)
    fields      names under which the token server returns a token
    expires_in  what it says; None leaves it out
    lifetime    how long a token is really good for
    uses        requests that one token is good for; None: any number
    challenge   None, or f(scope, error) -> list of WWW-Authenticate values
    on          "all": each refused request has a challenge; "ping": only /v2/
    scope       a fixed scope in challenges (public.ecr.aws: "aws")
    realm       URL in challenges; set by the upstream
    post        does the token server take POST?
    refresh     {refresh token: user} for POST grant_type=refresh_token
    """

    mode: str = "none"
    users: dict = field(default_factory=dict)
    private: dict = field(default_factory=dict)
    anonymous: bool = True
    service: str = "registry.test"
    fields: tuple = ("token", "access_token")
    expires_in: int | None = 300
    lifetime: float = 300
    uses: int | None = None
    challenge: object = None
    on: str = "all"
    scope: str | None = None
    realm: str | None = None
    post: bool = True
    refresh: dict = field(default_factory=dict)

    def __post_init__(self):
        self._tokens = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    # ---- tokens ----

    def may_pull(self, user, name):
        if name in self.private:
            return user in self.private[name]
        return user is not None or self.anonymous

    def revoke(self):
        """Every token given so far is refused from now on."""
        with self._lock:
            self._tokens.clear()

    def issue(self, user, wanted):
        granted = set()
        for scope in wanted:
            kind, _, rest = scope.partition(":")
            name = rest.rpartition(":")[0]
            if scope == "aws" or \
                    (kind == "repository" and self.may_pull(user, name)):
                granted.add(f"repository:{name}:pull" if name else scope)
        with self._lock:
            text = f"token-{user or 'anonymous'}-{next(self._numbers)}"
            token = Token(text, user, frozenset(granted),
                          time.monotonic() + self.lifetime, self.uses)
            self._tokens[text] = token
        return token

    def find(self, text):
        """A good token, one use of which is spent; or None."""
        with self._lock:
            token = self._tokens.get(text)
            if not token or token.expires <= time.monotonic():
                return None
            if token.uses is not None:
                if token.uses <= 0:
                    return None
                token.uses -= 1
            return token

    def answer(self, request):
        """The token server: (status, headers, body)."""
        user, given = basic_user(request.headers.get("authorization"))
        scopes = request.query.get("scope", [])
        if request.method == "POST":
            if not self.post:
                return error(405, "UNSUPPORTED", "no POST here")
            form = dict(parse_qsl(request.body.decode()))
            scopes = [form.get("scope", "")]
            if form.get("grant_type") == "refresh_token":
                user = self.refresh.get(form.get("refresh_token"))
                if user is None:
                    return error(401, "UNAUTHORIZED", "bad refresh token")
                given = self.users.get(user)
            else:
                user, given = form.get("username"), form.get("password")
        if user is not None and self.users.get(user) != given:
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        wanted = [s for text in scopes for s in text.split(" ") if s]
        token = self.issue(user, wanted)
        reply = {name: token.text for name in self.fields}
        if self.expires_in is not None:
            reply["expires_in"] = self.expires_in
        return 200, {"Content-Type": "application/json"}, \
            json.dumps(reply).encode()

    # ---- the registry's side ----

    def _challenges(self, scope, problem):
        if self.challenge:
            return self.challenge(scope, problem)
        if self.mode == "basic":
            return ['Basic realm="test"']
        text = f'Bearer realm="{self.realm}",service="{self.service}"'
        if self.scope or scope:
            text += f',scope="{self.scope or scope}"'
        if problem:
            text += f',error="{problem}"'
        return [text]

    def _refuse(self, scope, problem, ping):
        status, headers, body = error(401, "UNAUTHORIZED",
                                      "authentication required")
        if self.on == "all" or ping:
            headers["WWW-Authenticate"] = self._challenges(scope, problem)
        return status, headers, body

    def check(self, request):
        """None if the request may pass, else its refusal."""
        if self.mode == "none":
            return None
        scope = f"repository:{request.name}:pull" if request.name else None
        ping = request.kind == "ping"
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        if self.mode == "basic":
            user, given = basic_user(request.headers.get("authorization"))
            if user is None or self.users.get(user) != given:
                return self._refuse(scope, None, ping)
            if request.name and not self.may_pull(user, request.name):
                return error(403, "DENIED", "requested access is denied")
            return None
        if kind.lower() != "bearer":
            return self._refuse(scope, None, ping)
        token = self.find(text.strip())
        if not token:
            return self._refuse(scope, "invalid_token", ping)
        if not token.grants(scope):
            return self._refuse(scope, "insufficient_scope", ping)
        return None


def basic_user(header):
    """(user, password) of an Authorization header, or (None, None)."""
    kind, _, text = (header or "").partition(" ")
    if kind.lower() != "basic":
        return None, None
    try:
        user, _, given = base64.b64decode(text, validate=True).decode() \
            .partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, given


def error(status, code, message, **headers):
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return status, {"Content-Type": "application/json",
                    **{k.replace("_", "-"): v for k, v in headers.items()}}, \
        body.encode()
