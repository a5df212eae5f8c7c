"""The public bucket on the internet, for a machine without one: a TLS server with the photos of a folder.

Only the last step of the way is bent. The name resolves to a public address, as it does on the internet; a connection
to that address is led to the server, whose certificate bears the name. All checks of who fetches stay as they are.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

HOST = "aft-vbi-pds.s3.amazonaws.com"
_PUBLIC = "93.184.215.14"
_BEND = f'''
import socket

_resolve, _connect = socket.getaddrinfo, socket.create_connection


def getaddrinfo(host, *more, **named):
    return _resolve("{_PUBLIC}" if host == "{HOST}" else host, *more, **named)


def create_connection(address, *more, **named):
    return _connect(("127.0.0.1", %d) if address[0] == "{_PUBLIC}" else address, *more, **named)


socket.getaddrinfo, socket.create_connection = getaddrinfo, create_connection
'''


@contextmanager
def on_the_web(photos: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Serve `photos` under the bucket's name; yields the variables with which a Python program finds the server."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(tls)

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(photos))) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bend = folder / "web"
        bend.mkdir()
        (bend / "sitecustomize.py").write_text(_BEND % server.server_address[1])
        authority.cert_pem.write_to_path(bend / "authority.pem")
        try:
            yield {"PYTHONPATH": str(bend), "SSL_CERT_FILE": str(bend / "authority.pem")}
        finally:
            server.shutdown()
