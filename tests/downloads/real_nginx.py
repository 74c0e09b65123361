"""nginx, run by the tests on free ports of loopback with a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

__all__ = ["LARGE_BYTES", "SMALL_FILES", "Nginx", "find_nginx"]

SMALL_FILES = 300
"""Of some hundred bytes to some kB each."""
LARGE_BYTES = 64_000_000
STOP_S = 10.0

CONFIG = """
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    types {{ }} default_type application/octet-stream;
    log_format books '$request_method $uri $status $body_bytes_sent $connection "$http_range"';
    access_log {folder}/access.log books;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    sendfile on;
    etag on;
    limit_conn_zone $server_port zone=few:1m;
    limit_req_zone $server_port zone=slowly:1m rate=40r/s;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.pem;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        root {root};
        location / {{ }}
        location /ten/ {{ alias {root}/small/; keepalive_requests 10; }}
        location /closed/ {{ alias {root}/small/; keepalive_timeout 0; }}
        location /packed/ {{ gzip_static on; }}
        location /secret/ {{ alias {root}/small/; auth_basic "the tests"; auth_basic_user_file {folder}/users; }}
        location /few/ {{ alias {root}/small/; limit_conn few 2; limit_conn_status 503; }}
        location /slowly/ {{ alias {root}/small/; limit_req zone=slowly burst=4 nodelay; limit_req_status 429; }}
        location /throttled/ {{ alias {root}/; limit_rate 4m; }}
        location /whole/ {{ alias {root}/; max_ranges 0; }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /small/$1 redirect; }}
    }}
}}
"""


def find_nginx() -> str | None:
    """The program; Debian puts it where only root's PATH looks."""
    return shutil.which(
        "nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )


class Nginx:
    """Started when made; `stop` ends its master and its workers.

    Attributes:
        root: What it serves. ``small/0000.bin`` ..., ``large.bin``, ``packed/text.txt`` with a ``.gz`` beside it.
        http, https: Its origins.
    """

    def __init__(self, program: str, folder: Path, certificate: bytes) -> None:
        self.folder, self.root = folder, folder / "root"
        (self.root / "small").mkdir(parents=True)
        (folder / "server.pem").write_bytes(certificate)
        (folder / "users").write_text("mole:{PLAIN}digs-deep\n")
        # It takes over sockets that listen already: the ports are free for certain, and nobody waits until it is ready.
        listening = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
        for s in listening:
            s.setblocking(False)  # it does not do so itself, and of two workers one would hang in accept()
        port, tls_port = (s.getsockname()[1] for s in listening)
        (folder / "nginx.conf").write_text(
            CONFIG.format(
                user="user root;" if os.geteuid() == 0 else "",
                folder=folder,
                root=self.root,
                port=port,
                tls_port=tls_port,
            )
        )
        numbers = [s.fileno() for s in listening]
        with open(folder / "output", "wb") as output:
            self.process = subprocess.Popen(
                [
                    program,
                    "-p",
                    str(folder),
                    "-c",
                    str(folder / "nginx.conf"),
                    "-e",
                    str(folder / "error.log"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=numbers,
                env={"PATH": os.environ.get("PATH", ""), "NGINX": "".join(f"{n};" for n in numbers)},
                start_new_session=True,
            )
        for s in listening:
            s.close()
        self.http, self.https = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}"

    def log(self) -> list[list[str]]:
        """What it was asked: method, path, status, bytes, connection, range."""
        return [line.split(" ", 5) for line in (self.folder / "access.log").read_text().splitlines()]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)  # at once, not gracefully
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its session is its own
            self.process.wait(STOP_S)
