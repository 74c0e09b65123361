"""The configuration of the nginx that serves, which needs nothing outside a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

CONFIG = """
daemon off;
worker_processes 1;
pid {own}/nginx.pid;
error_log {own}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    log_not_found off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=10000;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    server {{ listen {port} backlog=4096; root {root}; }}
}}
"""
"""One worker: the second core of a small machine is the client's. More requests to a connection than the default
1,000, so that 2,000 files do not measure who notices that a connection was closed."""


def path() -> str | None:
    """nginx, if it is installed; Debian puts it where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


def command(root: Path, own: Path, port: int) -> list[str]:
    """The command that serves ``root`` on ``port``, in the foreground.

    Args:
        root: what is served.
        own: a folder for nginx's configuration, log and temporary files.
        port: where it listens, on all addresses.

    Raises:
        FileNotFoundError: nginx is not installed.
    """
    program = path()
    if program is None:
        raise FileNotFoundError("nginx is not installed (Debian: apt-get install nginx-light)")
    # Started by root, its worker would be another user, who cannot look into a private folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = own / "nginx.conf"
    config.write_text(CONFIG.format(own=own, root=root, port=port, user=user))
    return [program, "-e", str(own / "error.log"), "-c", str(config)]
