"""A private PostgreSQL server for tests, from Debian's binaries."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"
STARTUP_SECONDS = 30.0
SHUTDOWN_SECONDS = 10.0


class PostgreSQL:
    """A server of its own, on a free loopback port, with an empty database; gone, with its data, at exit.

    ```python
    with PostgreSQL() as server:
        connect(server.url)
    ```
    Nothing is durable (fsync is off). PostgreSQL refuses root, so for root it runs as the user `postgres`.
    Raises RuntimeError where its binaries are missing or it does not start.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._password = secrets.token_hex(16)
        self._port = 0

    @property
    def url(self) -> str:
        """`postgresql://user:password@127.0.0.1:port/postgres`, its user a superuser."""
        if self._process is None:
            raise RuntimeError("the server is not running: use it in a with block")
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        programs = _programs()
        # Not pytest's tmp_path: its parents are closed to everyone but root, so `postgres` could not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="negatives-postgresql-"))
        try:
            self._create(programs, self._folder)
            self._start(programs, self._folder)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _create(self, programs: Path, folder: Path) -> None:
        password = folder / "password"
        password.write_text(self._password, encoding="ascii")
        owner = _owner()
        if owner is not None:
            for path in (folder, password):
                shutil.chown(path, owner, owner)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", f"--username={USER}"]
        made = subprocess.run(
            [programs / "initdb", *options, f"--pwfile={password}", f"--pgdata={folder / 'data'}"],
            cwd=folder,
            env=_environment(),
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed with status {made.returncode}: {made.stderr.strip()}")

    def _start(self, programs: Path, folder: Path) -> None:
        self._port = _free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        log = folder / "log"
        owner = _owner()
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", str(folder / "data"), *settings],
                cwd=folder,
                env=_environment(),
                user=owner,
                group=owner,
                extra_groups=None if owner is None else [],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests; the server goes when they let it go.
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not _is_ready(folder / "data" / "postmaster.pid"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            # "Fast": ends the sessions that are open instead of waiting for them.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(SHUTDOWN_SECONDS)
            except subprocess.TimeoutExpired:
                # "Immediate": takes its children along, as SIGKILL would not.
                process.send_signal(signal.SIGQUIT)
                process.wait(SHUTDOWN_SECONDS)
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder)


def _programs() -> Path:
    """Where the newest installed version keeps `initdb` and `postgres`."""
    versions = [path.parent for path in BINARIES.glob("*/bin/initdb") if path.parent.parent.name.isdigit()]
    if not versions:
        raise RuntimeError(f"no PostgreSQL below {BINARIES}: apt-get install --yes postgresql")
    return max(versions, key=lambda path: int(path.parent.name))


def _owner() -> str | None:
    """The user and group that the server must run as, None for the caller's own."""
    return "postgres" if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    """Without the caller's PG… variables, which would move the server elsewhere."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(pid_file: Path) -> bool:
    """The server writes its state into the eighth line; `pg_ctl --wait` reads it there too."""
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"
