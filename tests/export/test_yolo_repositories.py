import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.yolo import FORMAT
from service.export.writing import Memory, Store
from tests.export.repositories import (
    ADDED,
    HERE,
    NAMES,
    REPOSITORIES,
    SIMPLE_BOXES,
    SIMPLE_IMAGES,
    SIMPLE_YAML,
    Repository,
    below,
    negative,
    one_for_each,
    picture,
    tree,
    write,
)
from tests.exporting import without_rights

UNDERSTOOD = [row for row in REPOSITORIES if not row.refused]
REFUSED = [row for row in REPOSITORIES if row.refused]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, from which everything is started, and where Ultralytics has its settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path


def named(row: Repository) -> str:
    """The name of a test."""
    return row.name


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("row", UNDERSTOOD, ids=named)
def test_a_repository_is_understood(row: Repository, here: Path) -> None:
    """Root, splits, and where the trainer looks for labels; what is odd is said; nothing is touched."""
    request = row.build(here)
    before = tree(here)
    dataset = FORMAT.open(request)
    assert Path(dataset.root) == (here / row.home)
    found = {
        split.name: (
            split.images,
            dataset.sidecar(negative(f"{split.images}/n.jpg", split.name)),
            len(split.held),
            sum(held.is_negative for held in split.held),
        )
        for split in dataset.splits
    }
    assert found == {
        name: (
            one.images.replace(HERE, str(here)),
            (one.labels.replace(HERE, str(here)) + "/n.txt", b""),
            one.held,
            one.negatives,
        )
        for name, one in row.understood.items()
    }
    assert [next(iter(found), None)] == ["train"]
    for part in row.says:
        assert any(part.replace(HERE, str(here)) in said for said in dataset.said), dataset.said
    assert len(dataset.warnings) == len(row.warns), dataset.warnings
    for part in row.warns:
        assert any(re.search(part.replace(HERE, str(here)), warning) for warning in dataset.warnings), dataset.warnings
    assert tree(here) == before


@pytest.mark.parametrize("row", UNDERSTOOD, ids=named)
def test_what_a_repository_holds_is_named_so_that_it_is_found(row: Repository, here: Path) -> None:
    """Each image once, by a name that leads to it, with its size; its stem is taken."""
    dataset = FORMAT.open(row.build(here))
    for split in dataset.splits:
        files = [held.file for held in split.held]
        assert files == sorted(set(files))
        for held in split.held:
            assert (Path(dataset.root) / held.file).stat().st_size == held.bytes
            assert Path(held.file).stem.casefold() in dataset.taken


@pytest.mark.parametrize("row", UNDERSTOOD, ids=named)
def test_an_export_adds_images_labels_and_lines_and_takes_them_away_again(row: Repository, here: Path) -> None:
    """One negative for each split: its image and empty label, a line where the split is a list, and nothing else; the
    next run understands the same; without the negatives the tree is what it was.
    """
    request = row.build(here)
    before = tree(here)
    dataset = FORMAT.open(request)
    rows = one_for_each(dataset)
    memory = write(dataset, rows, (), Memory())

    expected = dict(before)
    home = here / row.home
    for name, one in row.understood.items():
        for path, content in ((f"{one.images}/neg_{name}.jpg", picture(ADDED)), (f"{one.labels}/neg_{name}.txt", b"")):
            place = Path(os.path.realpath(home / path.replace(HERE, str(here)))).relative_to(here)
            expected[str(place)] = content
    for path, text in row.adds.items():
        base = here if not row.new else home
        content = text if isinstance(text, bytes) else text.replace(HERE, str(here)).encode()
        expected[str((base / path).relative_to(here))] = content
    assert tree(here) == expected

    again = FORMAT.open(request)
    assert (again.root, [(one.name, one.images) for one in again.splits]) == (
        dataset.root,
        [(one.name, one.images) for one in dataset.splits],
    )
    for split in again.splits:
        ours = [held for held in split.held if Path(held.file).name == f"neg_{split.name}.jpg"]
        assert [held.is_negative for held in ours] == [True]
    memory = write(again, (), rows, memory)
    Store(Path(dataset.root)).forget(memory, is_used=False)
    assert tree(here) == before


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_what_cannot_be_understood_is_refused_with_what_to_do(row: Repository, here: Path) -> None:
    """The message says what is wrong; nothing is touched."""
    request = row.build(here)
    before = tree(here)
    with pytest.raises(ExportError, match="(?s)" + row.refused.replace(HERE, re.escape(str(here)))):
        FORMAT.open(request)
    assert tree(here) == before


# ---------------------------------------------------------------- names, labels and lists of rows


def simple(here: Path, yaml: str = SIMPLE_YAML, **more: str | bytes) -> Request:
    """A repository with two images in train and one in val."""
    return Repository("simple", yaml, files=more, images=SIMPLE_IMAGES, boxes=SIMPLE_BOXES).build(here)


def test_stems_are_taken_wherever_a_new_image_could_meet_them(here: Path) -> None:
    """By images, labels that lost theirs, and arrays that Ultralytics would load instead; in any case of letters."""
    files = ("labels/train/Lost.txt", "images/train/Array.npy", "images/train/.hidden.jpg", "labels/train/far/Away.txt")
    request = simple(here, **dict.fromkeys(files, ""), **{"images/train/far/D.JPG": "", "labels/val/.hidden.txt": ""})
    assert FORMAT.open(request).taken == {"a", "b", "c", "lost", "array", "d", "away"}


def test_a_row_keeps_its_label_and_its_list_where_new_ones_go_elsewhere(here: Path) -> None:
    """An image that was added to another folder of the split has its label by the same rule, and its line as others of
    that folder.
    """
    row = Repository(
        "two folders",
        "train: train.txt\nval: images/val\n" + NAMES,
        files={"train.txt": "./images/a/1.jpg\n{here}/images/b/1.jpg\n{here}/images/b/2.jpg\n"},
        images=("images/a/1.jpg", "images/b/1.jpg", "images/b/2.jpg", "images/val/3.jpg"),
        boxes=("labels/a/1.txt", "labels/b/1.txt"),
    )
    dataset = FORMAT.open(row.build(here))
    assert dataset.splits[0].images == "images/b"
    earlier, foreign = negative("images/a/n.jpg", "train"), negative("images/new/n.jpg", "train")
    assert dataset.sidecar(earlier) == ("labels/a/n.txt", b"")
    assert dataset.sidecar(foreign) == ("labels/new/n.txt", b"")
    (index,) = dataset.indexes((earlier,))
    before = (here / "train.txt").read_bytes()
    after = index.content(before, (), (earlier, foreign), lambda _row: b"")
    assert after == before + f"./images/a/n.jpg\n{here}/images/new/n.jpg\n".encode()
    assert index.content(after, (earlier, foreign), (), lambda _row: b"") == before


def test_nothing_is_listed_that_a_folder_of_the_split_covers(here: Path) -> None:
    """Be it there already or not, or linked into it from elsewhere."""
    row = Repository(
        "mixed",
        "train: [images/train, train.txt]\nval: images/val\n" + NAMES,
        files={"train.txt": "./more/a.jpg\n"},
        images=("images/train/a.jpg", "more/a.jpg", "pool/b.jpg", "images/val/c.jpg"),
        links={"images/train/linked": "{here}/pool"},
    )
    (index,) = FORMAT.open(row.build(here)).indexes(())
    covered = [negative(f"{folder}/n.jpg", "train") for folder in ("images/train", "images/train/new", "pool")]
    before = (here / "train.txt").read_bytes()
    assert index.content(before, (), covered, lambda _row: b"") == before
    other = negative("more/n.jpg", "train")
    assert index.content(before, (), (*covered, other), lambda _row: b"") == before + b"./more/n.jpg\n"


def test_a_row_of_a_split_that_is_no_more_still_has_its_label(here: Path) -> None:
    """So that it can be taken out."""
    dataset = FORMAT.open(simple(here))
    assert dataset.sidecar(negative("images/test/n.jpg", "test")) == ("labels/test/n.txt", b"")


def test_only_the_caches_of_the_splits_that_change_are_named(here: Path) -> None:
    """As Ultralytics derives them from the first image's label, and YOLOv5 from a list; a cache that isn't there isn't
    named.
    """
    request = simple(here, "train: images/train\nval: val.txt\n" + NAMES, **{"val.txt": "./images/val/c.jpg\n"})
    for path in ("labels/train.cache", "labels/val.cache", "val.cache", "labels/other.cache"):
        (here / path).write_bytes(b"")
    dataset = FORMAT.open(request)
    assert sorted(dataset.caches({"train"})) == ["labels/train.cache"]
    assert sorted(dataset.caches({"val"})) == ["labels/val.cache", "val.cache"]
    assert sorted(dataset.caches({"test"})) == []


def test_a_folder_with_a_dot_in_its_name_has_its_cache_without(here: Path) -> None:
    """Ultralytics replaces what follows the last dot."""
    row = Repository("dot", "train: images/v1.2\n" + NAMES, images=("images/v1.2/a.jpg",), boxes=("labels/v1.2/a.txt",))
    request = row.build(here)
    (here / "labels/v1.cache").write_bytes(b"")
    assert FORMAT.open(request).caches(["train"]) == ("labels/v1.cache",)


# ---------------------------------------------------------------- where Ultralytics has its settings


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("XDG_CONFIG_HOME", "xdg/Ultralytics"), ("HOME", "home/.config/Ultralytics")],
)
def test_the_settings_of_ultralytics_are_where_it_has_them(
    here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str
) -> None:
    """In the configured folder, in the desktop's, or in the usual one at home (as it is on Linux)."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("YOLO_CONFIG_DIR")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv(variable, str(here / folder.partition("/")[0]))
    row = Repository(
        "settings",
        "path: shop\n" + SIMPLE_YAML,
        files={f"{folder}/settings.json": '{"datasets_dir": "{here}/sets"}'},
        images=below("sets/shop", SIMPLE_IMAGES),
    )
    assert FORMAT.open(row.build(here)).root == here / "sets/shop"


def test_without_settings_datasets_are_where_ultralytics_would_put_them(here: Path) -> None:
    """In `datasets` of the folder where it is started."""
    row = Repository("none", "path: shop\n" + SIMPLE_YAML, images=below("datasets/shop", SIMPLE_IMAGES))
    assert FORMAT.open(row.build(here)).root == here / "datasets/shop"


# ---------------------------------------------------------------- rights, git, cost


@pytest.mark.parametrize("place", ["images/train", "images"])
def test_a_folder_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """By name, or by what is in it."""
    folder = Path(tempfile.mkdtemp())
    try:
        monkeypatch.chdir(folder)
        request = simple(folder)
        folder.chmod(0o777)
        (folder / place).chmod(0o000)
        with without_rights(folder), pytest.raises(ExportError, match=r"images/train can't be read .*may you read"):
            FORMAT.open(request)
        (folder / place).chmod(0o777)
    finally:
        monkeypatch.undo()
        shutil.rmtree(folder)


def test_what_git_would_not_keep_is_said(here: Path) -> None:
    """Images, labels or the manifest that git ignores: a warning, whatever else git has to say."""
    request = simple(here)
    assert FORMAT.open(request).warnings == ()
    git = shutil.which("git")
    assert git is not None
    subprocess.run([git, "init", "--quiet", str(here)], check=True, env={**os.environ, "HOME": str(here)})
    assert FORMAT.open(request).warnings == ()
    (here / ".gitignore").write_text("images/\n*.jsonl\n")
    (warning,) = FORMAT.open(request).warnings
    assert warning.startswith(
        "git ignores the manifest, images of train (images/train), images of val (images/val): these won't be committed"
    )


def test_without_git_nothing_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anything fail."""
    request = simple(here)
    (here / ".git").mkdir()
    monkeypatch.setenv("PATH", str(here))
    assert FORMAT.open(request).warnings == ()


def test_a_survey_opens_no_image_and_reads_each_folder_once(here: Path) -> None:
    """It opens the yaml, and labels that are almost empty; it doesn't follow a link that leads back."""
    request = simple(here, **{"labels/train/b.txt": "\n"})
    (here / "images/train/back").symlink_to(".")
    seen: list[tuple[str, str]] = []
    is_listening = True

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if is_listening and event in ("open", "os.scandir", "os.listdir"):
            path = str(arguments[0])
            if path.startswith(str(here)):
                seen.append((event.removeprefix("os."), os.path.relpath(path, here)))

    sys.addaudithook(listen)  # it can't be taken away again
    FORMAT.open(request)
    is_listening = False
    assert sorted(seen) == [
        ("open", "data.yaml"),
        ("open", "labels/train/b.txt"),
        *(("scandir", folder) for folder in ("images/train", "images/val", "labels/train", "labels/val")),
    ]


# ---------------------------------------------------------------- a new one


def test_a_new_repository_has_the_classes_that_were_asked_for(here: Path) -> None:
    """One called object without any."""
    made = FORMAT.open(Request(here / "data.yaml", new=True, classes=("cell", "Träger: 2"))).makes["data.yaml"]
    assert made.decode().endswith("names:\n  0: cell\n  1: 'Träger: 2'\n")
    assert FORMAT.open(Request(here / "data.yaml", new=True)).makes["data.yaml"].endswith(b"names:\n  0: object\n")


def test_a_new_yaml_apart_from_its_root_says_where_that_is(here: Path) -> None:
    """By its path in full."""
    dataset = FORMAT.open(Request(here / "configs/cells.yml", here / "data", new=True))
    assert dataset.root == here / "data"
    ((file, content),) = dataset.makes.items()
    assert (file, f"path: {here}/data\n" in content.decode()) == (f"{here}/configs/cells.yml", True)


@pytest.mark.parametrize(("name", "claimed"), [("data.yaml", True), ("a.YML", True), ("obj.data", False), ("x", False)])
def test_a_yaml_is_claimed_whether_it_is_there_or_not(name: str, claimed: bool) -> None:
    """By its suffix."""
    assert FORMAT.claims(Path(name)) is claimed
