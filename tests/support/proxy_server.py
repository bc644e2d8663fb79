"""HTTP proxies for tests: a real tinyproxy, and one of few lines that keeps all it sees."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_PATIENCE_S = 20.0


class TinyProxy:
    """A running tinyproxy; made by `tiny_proxy`."""

    def __init__(self, program: str, folder: Path, port: int) -> None:
        self.port = port
        self._command = (program, "-d", "-c", str(folder / "tinyproxy.conf"))
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it in the foreground; return once it accepts connections."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.01)
        log = self.log()
        self.stop()
        pytest.fail(f"tinyproxy did not come up:\n{log}")

    def stop(self) -> None:
        """End it at once, and with it all tunnels through it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_PATIENCE_S)

    def log(self) -> str:
        """Return all that it has logged."""
        path = self._folder / "tinyproxy.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


@contextlib.contextmanager
def tiny_proxy(*, login: tuple[str, str] | None = None, allow_port: int = 0) -> Iterator[TinyProxy]:
    """Run tinyproxy on a free loopback port, out of a folder of its own, as the current user.

    With a `login` it asks for that; `allow_port` is the one port it lets a CONNECT through to,
    0 for any. Skips the test when tinyproxy is not installed.
    """
    program = shutil.which("tinyproxy") or shutil.which("tinyproxy", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("tinyproxy is not installed (Debian: apt-get install tinyproxy-bin)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="tinyproxy-") as name:
        folder = Path(name)
        lines = [
            f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 200", "LogLevel Info",
            f'LogFile "{folder / "tinyproxy.log"}"', "DisableViaHeader Yes",
        ]  # fmt: skip
        if login is not None:
            lines.append(f"BasicAuth {login[0]} {login[1]}")
        if allow_port:
            lines.append(f"ConnectPort {allow_port}")
        (folder / "tinyproxy.conf").write_text("".join(f"{line}\n" for line in lines))
        proxy = TinyProxy(program, folder, port)
        try:
            proxy.start()
            yield proxy
        finally:
            proxy.stop()


class RecordingProxy:
    """A proxy that lets every CONNECT through to this machine, and keeps every byte it sees."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[bytes] = []
        """What came before each tunnel."""
        self.through = bytearray()
        """What went through the tunnels, both ways."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            port = int(head.split(b" ")[1].rpartition(b":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, back))
                both.create_task(self._pass_on(there, writer))

    async def _pass_on(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    self.through += data
                    to.write(data)
        finally:
            to.close()


@contextlib.contextmanager
def recording_proxy(ssl: ssl.SSLContext | None = None) -> Iterator[RecordingProxy]:
    """Run a `RecordingProxy` in a thread of its own, with `ssl` as an https proxy."""
    proxy, started = RecordingProxy(), threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=ssl)
        proxy.port = server.sockets[0].getsockname()[1]
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        started.set()
        await stopping.wait()
        server.close()

    thread = threading.Thread(
        target=lambda: asyncio.run(serve()), name="recording-proxy", daemon=True
    )
    thread.start()
    assert started.wait(_PATIENCE_S)
    try:
        yield proxy
    finally:
        stop[0]()
        thread.join(_PATIENCE_S)
