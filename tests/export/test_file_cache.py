import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from service.export.file_cache import FileCache, Kept, link
from service.label_studio.images import Validators

ROOT = Path(__file__).resolve().parents[2]
KILO = 1000


def content(name: str, count: int = 100 * KILO) -> bytes:
    """The bytes of a file of this name: no two are alike."""
    return (sha256(name.encode()).digest() * (count // 32 + 1))[:count]


def keep(cache: FileCache, name: str, count: int = 100 * KILO) -> None:
    """Keep a file under its own name."""
    place = cache.room / f"in-{name}-{os.urandom(4).hex()}"
    data = content(name, count)
    place.write_bytes(data)
    cache.keep(name, place, Kept(sha256(data).hexdigest(), len(data), Validators(f'"{name}"')))
    place.unlink()


def take(cache: FileCache, name: str) -> bytes | None:
    """What is kept under a name."""
    place = cache.room / f"out-{name}-{os.urandom(4).hex()}"
    kept = cache.take(name, place)
    if kept is None:
        assert not place.exists()
        return None
    data = place.read_bytes()
    assert kept == Kept(sha256(data).hexdigest(), len(data), Validators(f'"{name}"'))
    place.unlink()
    return data


def kept_bytes(folder: Path) -> int:
    """How much lies in the folder that nobody uses now."""
    return sum(path.stat().st_size for path in (folder / "files").rglob("*.val"))


def test_a_file_is_there_the_next_time(tmp_path: Path) -> None:
    """With all that was known of it; a new one takes its place."""
    with closing(FileCache(tmp_path, KILO**2)) as cache:
        assert take(cache, "a") is None
        keep(cache, "a")
        keep(cache, "a", 50 * KILO)
    with closing(FileCache(tmp_path, KILO**2)) as cache:
        assert take(cache, "a") == content("a", 50 * KILO)
        assert kept_bytes(tmp_path) == 50 * KILO


def test_nobody_else_may_look_at_it(tmp_path: Path) -> None:
    """The pictures may be confidential."""
    with closing(FileCache(tmp_path / "new", KILO**2)) as cache:
        keep(cache, "a")
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_it_never_holds_more_than_it_may(tmp_path: Path) -> None:
    """And what is used often stays, while what was used longest ago goes."""
    with closing(FileCache(tmp_path, 3 * KILO**2)) as cache:
        for number in range(100):
            keep(cache, str(number))
            assert kept_bytes(tmp_path) <= 3 * KILO**2
            assert take(cache, "0") == content("0")
        assert [take(cache, str(number)) for number in (1, 2, 3, 50)] == [None] * 4
        assert take(cache, "99") == content("99")


def test_a_smaller_bound_holds_from_then_on(tmp_path: Path) -> None:
    """The setting may be lowered; the next file that comes makes room."""
    with closing(FileCache(tmp_path, 5 * KILO**2)) as cache:
        for number in range(40):
            keep(cache, str(number))
    with closing(FileCache(tmp_path, 2 * KILO**2)) as cache:
        keep(cache, "another")
        assert kept_bytes(tmp_path) <= 2 * KILO**2
        assert take(cache, "another") == content("another")


def test_what_is_larger_than_all_is_not_kept(tmp_path: Path) -> None:
    """One huge file doesn't drive out all others."""
    with closing(FileCache(tmp_path, KILO**2)) as cache:
        keep(cache, "a")
        keep(cache, "huge", KILO**2 + 1)
        assert (take(cache, "a"), take(cache, "huge")) == (content("a"), None)


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path) -> None:
    """A bound of 0 bytes is one."""
    with closing(FileCache(tmp_path, 0)) as cache:
        keep(cache, "a")
        assert take(cache, "a") is None


def test_what_somebody_uses_stays_when_it_is_thrown_out(tmp_path: Path) -> None:
    """Until they are done."""
    with closing(FileCache(tmp_path, KILO**2)) as cache, closing(FileCache(tmp_path, KILO**2)) as other:
        keep(cache, "a")
        place = cache.room / "used"
        assert cache.take("a", place) is not None
        for number in range(40):
            keep(other, str(number))
        assert take(cache, "a") is None
        assert place.read_bytes() == content("a")


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path) -> None:
    """From one file system to another."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    (tmp_path / "a").write_bytes(b"here")
    place = memory / f"negatives-{os.urandom(8).hex()}"
    try:
        link(tmp_path / "a", place)
        assert place.read_bytes() == b"here"
    finally:
        place.unlink(missing_ok=True)


def test_a_file_is_never_put_over_another(tmp_path: Path) -> None:
    """Two that chose one place would mix their pictures up."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        link(tmp_path / "a", tmp_path / "b")


def test_a_run_leaves_nothing_but_what_is_kept(tmp_path: Path) -> None:
    """Its room goes, and so does a temporary folder."""
    with closing(FileCache(tmp_path, KILO**2)) as cache:
        (cache.room / "forgotten").write_bytes(b"x")
    assert list((tmp_path / "runs").iterdir()) == []
    with closing(FileCache(None, KILO**2)) as cache:
        keep(cache, "a")
        assert take(cache, "a") == content("a")
        room = cache.room
    assert not room.parents[1].exists()


WORK = """
import sys
from pathlib import Path
from tests.export.test_file_cache import FileCache, closing, content, keep, take, KILO
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
with closing(FileCache(folder, 2 * KILO**2)) as cache:
    if seed < 0:
        (cache.room / "half").write_bytes(b"half a file")
        print("ready", flush=True)
        sys.stdin.read()
    found = 0
    for turn in range(60):
        name = str((turn * 7 + seed * 13) % 30)
        data = take(cache, name)
        assert data in (None, content(name)), name
        found += data is not None
        if data is None:
            keep(cache, name)
    print(found)
"""


def process(folder: Path, seed: int) -> "subprocess.Popen[str]":
    """Another process that works with the folder; with a seed below 0, one that holds half a file and waits."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORK, str(folder), str(seed)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_share_it(tmp_path: Path) -> None:
    """Three that keep, take and drive out at once: each gets a file whole or not at all, and the bound holds."""
    told = [process(tmp_path, seed) for seed in range(3)]
    ended = [(*one.communicate(timeout=120), one.returncode) for one in told]
    assert [(error, code) for _, error, code in ended] == [("", 0)] * 3
    assert sum(int(found) for found, _, _ in ended) > 0
    assert kept_bytes(tmp_path) <= 2 * KILO**2
    assert list((tmp_path / "runs").iterdir()) == []


def test_threads_share_it(tmp_path: Path) -> None:
    """As processes do."""

    def work(turn: int) -> None:
        name = str(turn % 25)
        data = take(cache, name)
        assert data in (None, content(name))
        if data is None:
            keep(cache, name)

    with closing(FileCache(tmp_path, 2 * KILO**2)) as cache, ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(300)))
        assert kept_bytes(tmp_path) <= 2 * KILO**2


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    """And only that: what a run that is still at work uses stays."""
    killed, working = process(tmp_path, -1), process(tmp_path, -1)
    for one in (killed, working):
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    assert len(list((tmp_path / "runs").rglob("half"))) == 2
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    with closing(FileCache(tmp_path, KILO**2)):
        assert len(list((tmp_path / "runs").rglob("half"))) == 1
    assert working.communicate("", timeout=60)[1] == ""
    assert list((tmp_path / "runs").iterdir()) == []
