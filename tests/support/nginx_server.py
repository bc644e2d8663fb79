"""A real nginx that answers the documented call: a fast server, and a limiter nobody here wrote."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_S = 20.0
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BODY = (
    '{"id":"$instance","modelId":"a8afdc89-9491-4ee4-b7c3-b9e9b86c0138",'
    '"modelName":"AddTwoNumbers","modelVersion":"1.1.0","createdBy":"8811501",'
    '"createdOn":"2023-11-15T15:28:57.479Z","updatedBy":"8811501",'
    '"updatedOn":"2023-11-15T15:28:57.479Z","status":"IN_PROGRESS",'
    '"deploymentId":"b1f6","bpmnProcessId":"Process_a8afdc89",'
    '"bpmnProcessName":"AddTwoNumbers","isTestRun":false}'
)


@dataclass(frozen=True, slots=True)
class Limit:
    """nginx's `limit_req`: a leaky bucket with room for `burst`; 429 when it runs over."""

    rate_per_s: int
    burst: int = 0
    nodelay: bool = False
    """Let a burst through at once; otherwise nginx itself spaces it out."""
    retry_after_s: int | None = None
    """Send `Retry-After` with a 429; nginx by itself sends none."""


@dataclass(frozen=True, slots=True)
class NginxOptions:
    """How the server is set up; `cpu` pins its one worker to that core."""

    limit: Limit | None = None
    access_log: bool = False
    keepalive_requests: int = 100_000_000
    cpu: int | None = None
    tls: bool = False
    """Serve TLS 1.3 alone, with a certificate of the authority in `NginxServer.ca_file`."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One request to the cancel call, as nginx logged it."""

    at: float
    """Seconds since the epoch, to the millisecond, when the answer was out."""
    status: int
    instance_id: str


class NginxServer:
    """A running nginx; made by `nginx_server`."""

    def __init__(self, program: str, folder: Path, port: int, options: NginxOptions) -> None:
        self.port = port
        self._command = (program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log")
        self._folder = folder
        self._options = options
        self._generation = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`, or https."""
        return f"http{'s' if self._options.tls else ''}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that a client must trust."""
        return self._folder / "ca.pem"

    def start(self) -> None:
        """Start nginx in the foreground; return once it answers."""
        if self._options.tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            server = authority.issue_cert("127.0.0.1")
            server.private_key_and_cert_chain_pem.write_to_path(self._folder / "server.pem")
        self._write()
        self._process = subprocess.Popen(self._command)
        self._wait_for_worker()

    def reload(self, limit: Limit | None) -> None:
        """Put another limit into force; return once no worker of the old one is left.

        Idle keep-alive connections are closed on the way, as any reload of nginx does.
        """
        _, old_worker = self._worker()
        self._options = replace(self._options, limit=limit)
        self._write()
        subprocess.run((*self._command, "-s", "reload"), check=True)
        self._wait_for_worker(gone=old_worker)

    def stop(self) -> None:
        """End nginx at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=_PATIENCE_S)

    def logged(self) -> list[Logged]:
        """Return what the access log holds of the cancel call, in its order."""
        # The one worker writes a line before it turns to the next request: this one.
        self._worker()
        rows = []
        for line in (self._folder / "access.log").read_text("ascii").splitlines():
            at, status, instance_id = line.split(" ")
            rows.append(Logged(float(at), int(status), instance_id))
        return rows

    def _write(self) -> None:
        self._generation += 1
        text = _config(self._options, self.port, self._generation)
        (self._folder / "nginx.conf").write_text(text, "ascii")

    def _worker(self) -> tuple[int, int]:
        """Return the generation of the configuration and the process that answers now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        if self._options.tls:
            connection = http.client.HTTPSConnection(
                "127.0.0.1",
                self.port,
                timeout=_PATIENCE_S,
                context=ssl.create_default_context(cafile=str(self.ca_file)),
            )
        with contextlib.closing(connection):
            connection.request("GET", "/worker")
            generation, pid = connection.getresponse().read().split()
        return int(generation), int(pid)

    def _wait_for_worker(self, gone: int | None = None) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                if self._worker()[0] == self._generation and not _is_alive(gone):
                    return
            time.sleep(0.01)
        log = (self._folder / "error.log").read_text("utf-8", "replace")
        self.stop()
        pytest.fail(f"nginx did not come up:\n{log}")


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _config(options: NginxOptions, port: int, generation: int) -> str:
    limit = options.limit
    zone = use = after = affinity = tls = certificate = ""
    if options.tls:
        tls = " ssl"
        certificate = "ssl_certificate server.pem; ssl_certificate_key server.pem;"
        certificate += " ssl_protocols TLSv1.3;"
    if limit is not None:
        zone = f"limit_req_zone $server_name zone=all:1m rate={limit.rate_per_s}r/s;"
        burst = f" burst={limit.burst}" if limit.burst else ""
        nodelay = " nodelay" if limit.burst and limit.nodelay else ""
        use = f"limit_req zone=all{burst}{nodelay}; limit_req_status 429;"
        if limit.retry_after_s is not None:
            after = f"add_header Retry-After {limit.retry_after_s} always;"
    if options.cpu is not None:
        affinity = f"worker_cpu_affinity {1 << options.cpu:b};"
    log = "access.log cancels if=$instance" if options.access_log else "off"
    user = "user root;" if sys.platform != "win32" and os.geteuid() == 0 else ""
    return f"""
{user}
daemon off;
worker_processes 1;
{affinity}
worker_shutdown_timeout 1s;
pid nginx.pid;
error_log error.log error;
events {{ worker_connections 4096; }}
http {{
    log_format cancels '$msec $status $instance';
    access_log {log};
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests {options.keepalive_requests};
    keepalive_timeout 75s;
    default_type application/json;
    {zone}
    server {{
        listen 127.0.0.1:{port}{tls} backlog=1024;
        {certificate}
        server_name all;
        set $instance '';
        location = /worker {{ return 200 '{generation} $pid'; }}
        location ~ '^/api/workflow/v1/instances/(?<named>{_UUID})/cancel$' {{
            set $instance $named;
            {use}
            error_page 429 @limited;
            # Not answered here: a plain `return` comes before limit_req has its say.
            try_files /none @cancel;
        }}
        location @cancel {{ return 200 '{_BODY}'; }}
        location @limited {{
            {after}
            return 429 '{{"status":429,"message":"slow down"}}';
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx_server(options: NginxOptions = NginxOptions()) -> Iterator[NginxServer]:
    """Run nginx on a free loopback port, out of a folder of its own, as the current user.

    Skips the test when nginx is not installed.
    """
    # Debian keeps it where the PATH of an ordinary user does not look.
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        server = NginxServer(program, Path(folder), port, options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
