# SPDX-License-Identifier: Apache-2.0
"""A certificate authority and certificates, made by the openssl command."""

import ssl
import subprocess


class Authority:
    """A private CA in `folder`."""

    def __init__(self, folder, name="Entrepot test CA"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.cert = folder / "ca.pem"
        self.key = folder / "ca.key"
        _openssl("req", "-x509", *_new_key(self.key), "-days", "2",
                 "-subj", f"/CN={name}", "-out", str(self.cert),
                 "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, name, hosts=("127.0.0.1", "localhost"), client=False):
        """(certificate, key) files, for these hosts or for a client."""
        cert = self.folder / f"{name}.pem"
        key = self.folder / f"{name}.key"
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        names = ",".join(
            ("IP:" if h.replace(".", "").isdigit() or ":" in h else "DNS:") + h
            for h in hosts)
        extensions.write_text(
            f"subjectAltName={names}\nextendedKeyUsage="
            f"{'clientAuth' if client else 'serverAuth'}\n")
        _openssl("req", *_new_key(key), "-subj", f"/CN={name}",
                 "-out", str(request))
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.cert),
                 "-CAkey", str(self.key), "-CAcreateserial", "-days", "2",
                 "-extfile", str(extensions), "-out", str(cert))
        return cert, key

    def server_context(self, hosts=("127.0.0.1", "localhost"),
                       client_ca=None):
        """An ssl context for a server; with client_ca it wants a client's
        certificate of that authority."""
        cert, key = self.issue("server-" + hosts[0].replace(":", "_"), hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", str(path)]


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
