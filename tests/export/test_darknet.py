import re
from pathlib import Path

import pytest

from service.errors import ExportError
from service.export.formats.darknet import FORMAT
from service.export.writing import Memory, Store
from tests.export.repositories import (
    ADDED,
    HERE,
    Repository,
    Understood,
    negative,
    one_for_each,
    picture,
    tree,
    write,
)

OBJ = "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\nbackup = backup/\n"
FILES = {
    "data/obj.names": "cell\n",
    "data/train.txt": "data/obj/a.jpg\ndata/obj/b.jpg\n",
    "data/test.txt": "data/obj/c.jpg\n",
}
IMAGES = ("data/obj/a.jpg", "data/obj/b.jpg", "data/obj/c.jpg", "data/obj/loose.jpg")
BOXES = ("data/obj/a.txt", "data/obj/b.txt", "data/obj/c.txt")
BESIDE = {"train": Understood("data/obj", "data/obj", 2), "val": Understood("data/obj", "data/obj", 1)}
ADDS = {
    "data/train.txt": "data/obj/a.jpg\ndata/obj/b.jpg\ndata/obj/neg_train.jpg\n",
    "data/test.txt": "data/obj/c.jpg\ndata/obj/neg_val.jpg\n",
}


def coco(images: str, labels: str, *, boxes: bool = True, rule: str) -> Repository:
    """Images in one folder and their labels in another."""
    return Repository(
        f"{images} and {labels}" + ("" if boxes else ", without labels"),
        "classes=1\ntrain=train.txt\nvalid=val.txt\nnames=obj.names\n",
        files={"obj.names": "cell\n", "train.txt": f"{images}/a.jpg\n", "val.txt": f"{images}/b.jpg\n"},
        images=(f"{images}/a.jpg", f"{images}/b.jpg"),
        boxes=(f"{labels}/a.txt", f"{labels}/b.txt") if boxes else (),
        into="obj.data",
        understood={
            "train": Understood(images, labels, 1, 0 if boxes else 1),
            "val": Understood(images, labels, 1, 0 if boxes else 1),
        },
        adds={
            "train.txt": f"{images}/a.jpg\n{images}/neg_train.jpg\n",
            "val.txt": f"{images}/b.jpg\n{images}/neg_val.jpg\n",
        },
        says=(rule,),
        warns=() if boxes else ("train holds no image with labels", "val holds no image with labels"),
    )


REPOSITORIES = (
    Repository(
        "AlexeyAB's layout, started where it belongs",
        OBJ,
        into="data/obj.data",
        files=FILES,
        images=IMAGES,
        boxes=BOXES,
        understood=BESIDE,
        adds=ADDS,
        says=("the working directory", "labels lie beside the images", "data/train.txt: its lines start from {here}"),
    ),
    Repository(
        "the same from elsewhere: a folder above",
        OBJ,
        into="data/obj.data",
        cwd="elsewhere",
        files=FILES,
        images=IMAGES,
        boxes=BOXES,
        understood=BESIDE,
        adds=ADDS,
        says=("a folder above obj.data",),
    ),
    Repository(
        "--root",
        OBJ,
        into="elsewhere/obj.data",
        cwd="elsewhere",
        root=".",
        files=FILES,
        images=IMAGES,
        boxes=BOXES,
        understood=BESIDE,
        adds=ADDS,
        says=("(--root)",),
    ),
    Repository(
        "absolute paths, comments, line ends of Windows",
        "# ours\r\nclasses = 1\r\n; no\r\ntrain={here}/train.txt\r\nvalid = {here}/val.txt\r\n"
        "names = {here}/obj.names\r\n",
        into="obj.data",
        files={"obj.names": "cell", "train.txt": "{here}/obj/a.jpg\r\n", "val.txt": "{here}/obj/b.jpg"},
        images=("obj/a.jpg", "obj/b.jpg"),
        boxes=("obj/a.txt", "obj/b.txt"),
        understood={"train": Understood("obj", "obj", 1), "val": Understood("obj", "obj", 1)},
        adds={
            "train.txt": "{here}/obj/a.jpg\r\n{here}/obj/neg_train.jpg\r\n",
            "val.txt": "{here}/obj/b.jpg\n{here}/obj/neg_val.jpg",
        },
        says=("which has absolute paths",),
    ),
    coco("coco/images/train2017", "coco/labels/train2017", rule="labels lie in labels for images in images"),
    coco("coco/images/train2017", "coco/labels/train2017", boxes=False, rule="where AlexeyAB's darknet looks for them"),
    coco("set/images/mine", "set/labels/mine", rule="labels lie in labels for images in images"),
    coco("images", "labels", rule="labels lie in labels for images in images"),
    coco("set/images/mine", "set/images/mine", rule="labels lie beside the images"),
    coco("set/images/mine", "set/images/mine", boxes=False, rule="where AlexeyAB's darknet looks for them"),
    coco("voc/JPEGImages", "voc/labels", rule="labels lie in labels for images in JPEGImages"),
    Repository(
        "much that is odd",
        "train = train.txt\n",
        into="obj.data",
        files={"train.txt": b"\xef\xbb\xbfobj/a.jpg\nobj/lost.jpg\n"},
        images=("obj/a.jpg",),
        boxes=("obj/a.txt",),
        understood={"train": Understood("obj", "obj", 1)},
        adds={"train.txt": b"\xef\xbb\xbfobj/a.jpg\nobj/lost.jpg\nobj/neg_train.jpg\n"},
        warns=("has no valid", "has no names", "starts with a byte order mark", "1 of the 2 lines"),
    ),
    Repository(
        "valid is train, and the wrong number of classes",
        "classes = 2\ntrain = train.txt\nvalid = train.txt\nnames = obj.names\n",
        into="obj.data",
        files={"train.txt": "obj/a.jpg\n", "obj.names": "cell\n\n"},
        images=("obj/a.jpg",),
        boxes=("obj/a.txt",),
        understood={"train": Understood("obj", "obj", 1)},
        adds={"train.txt": "obj/a.jpg\nobj/neg_train.jpg\n"},
        warns=("valid is the same list as train", "classes is 2, but obj.names has 1 names"),
    ),
    Repository(
        "a valid that isn't there, and names that aren't",
        OBJ.replace("data/test", "data/lost").replace("obj.names", "lost.names"),
        into="data/obj.data",
        files=FILES,
        images=IMAGES,
        boxes=BOXES,
        understood={"train": BESIDE["train"]},
        adds={"data/train.txt": ADDS["data/train.txt"]},
        warns=(r"valid \(data/lost.txt\) is no list of images.*nothing goes to val", "'data/lost.names' aren't there"),
    ),
    Repository("no file", into="obj.data", refused="doesn't exist; a new repository starts with a data.yaml"),
    Repository("no train", "classes = 1\n", into="obj.data", refused="names no list of images to train on"),
    Repository("a list that isn't there", "train = a\\b.txt\n", into="obj.data", refused="no backslashes.*--root"),
    Repository(
        "a folder for a list",
        "train = {here}/obj\n",
        into="obj.data",
        files={"obj/x": ""},
        refused="the list '{here}/obj' of the train split isn't there",
    ),
    Repository(
        "an empty list",
        "train = train.txt\n",
        into="obj.data",
        files={"train.txt": ""},
        refused="names no image, so there is no folder",
    ),
    Repository(
        "a list of images that are elsewhere",
        "train = train.txt\n",
        into="obj.data",
        files={"train.txt": "/content/a.jpg\n"},
        refused="none of the 1 images",
    ),
    Repository(
        "two lists by two rules",
        OBJ,
        into="a/data/obj.data",
        files={**FILES, **{f"a/{path}": content for path, content in FILES.items()}},
        images=IMAGES,
        refused="from more than one folder.*--root",
    ),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, from which everything is started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(row: Repository) -> str:
    """The name of a test."""
    return row.name


@pytest.mark.parametrize("row", [row for row in REPOSITORIES if not row.refused], ids=named)
def test_a_repository_is_understood_added_to_and_taken_back(row: Repository, here: Path) -> None:
    """An image, an empty label by the rule that the others follow, and a line in the list; nothing else, and without
    them all is as it was.
    """
    request = row.build(here)
    before = tree(here)
    dataset = FORMAT.open(request)
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
        name: (one.images, (f"{one.labels}/n.txt", b""), one.held, one.negatives)
        for name, one in row.understood.items()
    }
    for part in row.says:
        assert any(part.replace(HERE, str(here)) in said for said in dataset.said), dataset.said
    assert len(dataset.warnings) == len(row.warns), dataset.warnings
    for part in row.warns:
        assert any(re.search(part, warning) for warning in dataset.warnings), dataset.warnings
    assert dataset.caches({"train", "val"}) == ()

    rows = one_for_each(dataset)
    memory = write(dataset, rows, (), Memory())
    expected = dict(before)
    for name, one in row.understood.items():
        expected |= {f"{one.images}/neg_{name}.jpg": picture(ADDED), f"{one.labels}/neg_{name}.txt": b""}
    for path, text in row.adds.items():
        expected[path] = text if isinstance(text, bytes) else text.replace(HERE, str(here)).encode()
    assert tree(here) == expected
    memory = write(FORMAT.open(request), (), rows, memory)
    Store(Path(dataset.root)).forget(memory, is_used=False)
    assert tree(here) == before


@pytest.mark.parametrize("row", [row for row in REPOSITORIES if row.refused], ids=named)
def test_what_cannot_be_understood_is_refused_with_what_to_do(row: Repository, here: Path) -> None:
    """The message says what is wrong; nothing is touched."""
    request = row.build(here)
    before = tree(here)
    with pytest.raises(ExportError, match=row.refused.replace(HERE, re.escape(str(here)))):
        FORMAT.open(request)
    assert tree(here) == before


@pytest.mark.parametrize(("name", "claimed"), [("obj.data", True), ("OBJ.DATA", True), ("data.yaml", False)])
def test_a_data_file_is_claimed(name: str, claimed: bool) -> None:
    """By its suffix."""
    assert FORMAT.claims(Path(name)) is claimed
