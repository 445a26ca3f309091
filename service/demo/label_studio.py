"""A real Label Studio of one's own: started from a virtual environment, on loopback, in a folder of its own.

The demo and the tests use it. Nothing outside of the folder is touched; closing it stops the process.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from service.errors import NegativesError

EMAIL = "demo@example.com"
PASSWORD = "negatives-demo"
FIRST_START_SECONDS = 180.0


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LabelStudioProcess:
    """Label Studio with SQLite, one user, and webhooks to loopback allowed.

    `executable` is the `label-studio` command of a virtual environment; `directory` will hold its data and log;
    `allow_local` false leaves its ban on private webhook addresses in force.
    """

    def __init__(self, executable: Path, directory: Path, *, allow_local: bool = True) -> None:
        self.url = ""
        self.token = secrets.token_hex(20)
        self.log = directory.absolute() / "label-studio.log"
        self._executable = executable.absolute()  # it starts in a folder of its own
        self._directory = directory.absolute()
        self._allow_local = allow_local
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, waiting: Callable[[], None] = lambda: None) -> Self:
        """Start it and return once it answers; `waiting` is called about once a second until then.

        Raises `NegativesError` with the end of its log when it doesn't come up.
        """
        if not self._executable.exists():
            raise NegativesError(f"{self._executable} isn't there: run make label-studio")
        self._directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._executable,
                    "start",
                    "--no-browser",
                    "--internal-host=127.0.0.1",
                    f"--host={self.url}",
                    f"--port={port}",
                ],
                env=self._environment(),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + FIRST_START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                self.close()
                raise NegativesError(f"Label Studio didn't start; the end of its log:\n{end}")
            waiting()
            time.sleep(1)
        return self

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SYSTEMROOT")
        }
        environment |= {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self._directory / "data"),
            "LABEL_STUDIO_USERNAME": EMAIL,
            "LABEL_STUDIO_PASSWORD": PASSWORD,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        if self._allow_local:
            environment |= {"SSRF_PROTECTION_ENABLED": "false", "ML_BLOCK_LOCAL_IP": "false"}
        return environment

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def api(self) -> httpx.Client:
        """A client that calls its API as its one user."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Token {self.token}"}, timeout=60, follow_redirects=True
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the process still: it accepts connections and answers nothing, as a very slow one would."""
        if self._process is None:
            raise ValueError("Label Studio isn't running")
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop the process and those that it started."""
        if self._process is None or self._process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(self._process.pid, number)
            try:
                self._process.wait(10)
                return
            except subprocess.TimeoutExpired:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
