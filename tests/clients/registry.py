# SPDX-License-Identifier: Apache-2.0
"""
Debian's docker-registry as an upstream, and what its access log says of who
asked it for what.
"""

import http.client
import re
import time
from dataclasses import dataclass
from pathlib import Path

import images
import world

CONFIG = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""

LINE = re.compile(r'\] "(\S+) (\S+) HTTP/1\.\d" (\d{3}) (\d+)')


@dataclass
class Request:
    method: str
    path: str
    status: int
    bytes: int

    @property
    def is_check(self):
        """What a mirror asks when it looks whether a tag has moved."""
        return self.method == "HEAD" and "/manifests/" in self.path \
            and "/manifests/sha256:" not in self.path


class Registry:
    def __init__(self, the_world, folder, port):
        self.world = the_world
        self.port = port
        self.log = Path(folder) / "access"
        self._errors = Path(folder) / "errors"
        self._config = Path(folder) / "config.yml"
        self._process = None
        self._marks = 0
        data = Path(folder) / "data"
        data.mkdir(parents=True)
        self._config.write_text(CONFIG.format(folder=data, port=port))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        self._process = self.world.serve("docker-registry", "serve",
                                         self._config, log=self.log,
                                         errors=self._errors)
        self.world.kept.add(self._process.pid)
        end = time.monotonic() + 15
        while True:
            try:
                self.mark()
                return self
            except OSError:
                assert self.running and time.monotonic() < end, \
                    "docker-registry does not start:\n" + \
                    self._errors.read_text()
                time.sleep(0.05)

    def stop(self):
        """From now on connections to it are refused."""
        if self._process:
            self.world.kept.discard(self._process.pid)
            world.stop(self._process)

    def push(self, name, tag, image):
        images.push(self.port, name, tag, image)

    def mark(self):
        """
        A place in the log that is behind everything answered until now: it
        logs a request when it has been answered, so ask something and wait
        for that.
        """
        self._marks += 1
        path = f"/v2/?mark={self._marks}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=5)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()
        end = time.monotonic() + 5
        while True:
            text = self.log.read_text()
            found = text.find(f'"GET {path} ')
            line_end = text.find("\n", found)
            if found >= 0 and line_end >= 0:
                return line_end + 1
            assert time.monotonic() < end, f"no {path} in its log"
            time.sleep(0.01)

    def since(self, mark):
        """Requests answered after mark() returned this, our marks aside."""
        if self.running:
            self.mark()
        text = self.log.read_text()[mark:]
        found = [Request(method, path, int(status), int(size))
                 for method, path, status, size in LINE.findall(text)]
        return [r for r in found if not r.path.startswith("/v2/?mark=")]
