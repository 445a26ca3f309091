"""The service as its own process, as `negatives serve` runs it: started, stopped, killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from service.config import PREFIX
from service.demo.label_studio import LabelStudioProcess, free_port
from service.jobs import JobQueue

T = TypeVar("T")
SECRET = "a-secret-of-the-tests"


def wait_for(ready: Callable[[], T | bool | None], what: str, seconds: float = 30.0) -> T:
    """Wait until `ready` returns something true; fail saying what did not come."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)
    return found  # type: ignore[return-value]


class ServiceProcess:
    """`negatives serve` with a database and a port of its own; `run` calls other commands with the same settings."""

    def __init__(self, studio: LabelStudioProcess, directory: Path, *, role: str = "all", **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.webhook_url = f"{self.url}/webhooks/label-studio"
        self.database_url = f"sqlite:///{directory / 'negatives.db'}"
        self.log = directory / "service.log"
        self.role = role
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self.environment = inherited | {
            "NEGATIVES_LABEL_STUDIO_URL": studio.url,
            "NEGATIVES_LABEL_STUDIO_TOKEN": studio.token,
            "NEGATIVES_WEBHOOK_SECRET": SECRET,
            "NEGATIVES_DATABASE_URL": self.database_url,
            "NEGATIVES_PORT": str(self.port),
            "NEGATIVES_CACHE": str(directory / "cache"),
            **settings,
        }
        self.database_url = self.environment["NEGATIVES_DATABASE_URL"]

    def start(self) -> Self:
        """Start it; returns once it is ready."""
        before = self._times_ready()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "serve", "--role", self.role],
                env=self.environment,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._times_ready() > before, f"the service (see {self.log})")
        return self

    def _times_ready(self) -> int:
        return self.log.read_text().count("ready as") if self.log.exists() else 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it, by default in order; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run another `negatives` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            env=self.environment | more,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def deliver(self, payload: object, secret: str = SECRET) -> httpx.Response:
        """Post a webhook as Label Studio does."""
        return httpx.post(self.webhook_url, json=payload, headers={"X-Negatives-Secret": secret}, timeout=10)

    def jobs(self) -> JobQueue:
        """The service's job queue, to look at."""
        return JobQueue(self.database_url)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
