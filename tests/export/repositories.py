"""A table of YOLO repositories: layouts, quirks and broken ones, each with what is understood of it."""

import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

from PIL import Image

from service.domain.geometry import Box
from service.export.formats import Request
from service.export.manifest import MANIFEST
from service.export.model import Dataset, Row, Source
from service.export.plan import Placement, Plan
from service.export.writing import STATE_FOLDER, Memory, Store
from tests.factories import NOON

BOX = "0 0.5 0.5 0.25 0.25\n"
NAMES = "names: {0: cell}\n"
ADDED = 250
"""The number of the picture that is added."""
HERE = "{here}"
"""Stands for the folder that a repository is built in, in files and in what is expected."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A split: where new images and their labels go, how many images there are, and how many of them negatives."""

    images: str
    labels: str
    held: int
    negatives: int = 0


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, and what becomes of it.

    `files` are text by path; `images` are pictures; `boxes` are label files with an object. `understood` are its
    splits; `adds` the lists that change when each split gets one negative, as they are then. `warns` and `says` are
    parts of what people are told, `refused` of why it is not taken. `trains`: Ultralytics reads it where it is.
    """

    name: str
    yaml: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    into: str = "data.yaml"
    cwd: str = "."
    root: str | None = None
    new: bool = False
    home: str = "."
    understood: Mapping[str, Understood] = field(default_factory=dict)
    adds: Mapping[str, str | bytes] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    refused: str = ""
    trains: bool = True

    def build(self, here: Path) -> Request:
        """Make it in a folder, and go where its training is started."""
        texts = {self.into: self.yaml} if self.yaml else {}
        for path, content in {**texts, **dict.fromkeys(self.boxes, BOX), **self.files}.items():
            _write(here / path, content if isinstance(content, bytes) else content.replace(HERE, str(here)).encode())
        for number, path in enumerate(self.images):
            _write(here / path, picture(number, Path(path).suffix.lower()))
        for path, target in self.links.items():
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            (here / path).symlink_to(target.replace(HERE, str(here)))
        (here / self.cwd).mkdir(parents=True, exist_ok=True)
        os.chdir(here / self.cwd)
        return Request(here / self.into, here / self.root if self.root else None, self.new, ("cell",))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@cache
def picture(number: int, suffix: str = ".jpg") -> bytes:
    """A small picture, another one for each number."""
    out = io.BytesIO()
    kind = {".png": "PNG", ".bmp": "BMP"}.get(suffix, "JPEG")
    Image.new("RGB", (16, 16), (number * 7 % 256, 90, 200)).save(out, kind)
    return out.getvalue()


def negative(file: str, split: str) -> Row:
    """A row of the manifest for an image that is added."""
    box = Box(0, 0, 16, 16)
    content = picture(ADDED)
    return Row(
        file=file,
        split=split,
        studio="http://studio",
        project=3,
        task=7,
        patch="neg_1",
        source=Source("field.jpg", "/data/field.jpg", sha256(b"").hexdigest(), 0),
        box=box,
        cut=box,
        roi=box,
        size=(16, 16),
        mode="RGB",
        pixels="exact",
        sha256=sha256(content).hexdigest(),
        bytes=len(content),
        reviewers=(1,),
        annotations=(1,),
        accepted_at=NOON,
        exported_at=NOON,
        seed=1,
        rules=None,
        rules_from=None,
        proposed_by=None,
        exported_by="0",
    )


def one_for_each(dataset: Dataset) -> tuple[Row, ...]:
    """A negative for each split, as the plan names them."""
    return tuple(
        sorted(
            (negative(f"{split.images}/neg_{split.name}.jpg", split.name) for split in dataset.splits),
            key=lambda row: row.file,
        )
    )


def write(dataset: Dataset, rows: tuple[Row, ...], before: tuple[Row, ...], memory: Memory) -> Memory:
    """Export these rows in the place of those before."""
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "picture.jpg"
        staged.write_bytes(picture(ADDED))
        plan = Plan(
            rows=rows,
            write=tuple(Placement(row, staged) for row in rows if row not in before),
            remove=tuple(row for row in before if row not in rows),
            items=(),
            shares=(),
        )
        store = Store(Path(dataset.root))
        Path(dataset.root).mkdir(parents=True, exist_ok=True)
        memory = store.write(plan, dataset, before, memory, lambda _done, _all: None)
        store.remember(memory)
        return memory


def tree(folder: Path) -> Mapping[str, bytes | str]:
    """All that is in a folder: files with their content, links with their target; our own account aside."""
    found: dict[str, bytes | str] = {}
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != STATE_FOLDER]
        for name in (*folders, *files):
            path = Path(above) / name
            if path.is_symlink():
                found[str(path.relative_to(folder))] = str(path.readlink())
            elif path.is_file() and name != MANIFEST:
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


SIMPLE = {
    "train": Understood("images/train", "labels/train", 2),
    "val": Understood("images/val", "labels/val", 1),
}
SIMPLE_IMAGES = ("images/train/a.jpg", "images/train/b.jpg", "images/val/c.jpg")
SIMPLE_BOXES = ("labels/train/a.txt", "labels/train/b.txt", "labels/val/c.txt")
SIMPLE_YAML = "train: images/train\nval: images/val\n" + NAMES


def below(folder: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The same paths in a folder."""
    return tuple(f"{folder}/{path}" for path in paths)


LAYOUTS = (
    Repository(
        "images/train, as in Ultralytics' own",
        SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        says=("data.yaml is there and gives no path",),
    ),
    Repository(
        "train/images, as Roboflow has it, with ../ that leads nowhere",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['cell']\n",
        images=("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"),
        boxes=("train/labels/a.txt", "valid/labels/b.txt", "test/labels/c.txt"),
        understood={
            "train": Understood("train/images", "train/labels", 1),
            "val": Understood("valid/images", "valid/labels", 1),
            "test": Understood("test/images", "test/labels", 1),
        },
    ),
    Repository(
        "../ that leads somewhere: the manifest lies where the images are",
        "train: ../images/train\nval: ../images/val\n" + NAMES,
        into="cfg/data.yaml",
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        says=("the manifest lies in {here}, where",),
    ),
    Repository(
        "no folder images: labels lie beside",
        "train: data/obj\nval: data/val\n" + NAMES,
        images=("data/obj/a.jpg", "data/val/b.jpg"),
        boxes=("data/obj/a.txt", "data/val/b.txt"),
        understood={
            "train": Understood("data/obj", "data/obj", 1),
            "val": Understood("data/val", "data/val", 1),
        },
    ),
    Repository(
        "Images is not images",
        "train: Images/train\nval: my images/val\n" + NAMES,
        images=("Images/train/a.jpg", "my images/val/b.jpg"),
        boxes=("Images/train/a.txt", "my images/val/b.txt"),
        understood={
            "train": Understood("Images/train", "Images/train", 1),
            "val": Understood("my images/val", "my images/val", 1),
        },
    ),
    Repository(
        "the last of two folders images counts",
        "train: images/one/images\nval: images/two\n" + NAMES,
        images=("images/one/images/a.jpg", "images/two/b.jpg"),
        boxes=("images/one/labels/a.txt", "labels/two/b.txt"),
        understood={
            "train": Understood("images/one/images", "images/one/labels", 1),
            "val": Understood("images/two", "labels/two", 1),
        },
    ),
    Repository(
        "folders in folders: new images go where most are",
        SIMPLE_YAML,
        images=(
            *("images/train/top.jpg", "images/train/east/a.jpg", "images/train/east/b.jpg"),
            *("images/train/west.2/c.jpg", "images/val/d.jpg"),
        ),
        boxes=("labels/train/east/a.txt", "labels/train/west.2/c.txt", "labels/val/d.txt"),
        understood={
            "train": Understood("images/train/east", "labels/train/east", 4, 2),
            "val": Understood("images/val", "labels/val", 1),
        },
    ),
    Repository(
        "all images under one entry, val's among them: train's go where no other split looks",
        "train: images\nval: images/val\n" + NAMES,
        images=("images/a.jpg", "images/val/b.jpg", "images/val/c.jpg"),
        boxes=("labels/a.txt", "labels/val/b.txt", "labels/val/c.txt"),
        understood={
            "train": Understood("images", "labels", 3),
            "val": Understood("images/val", "labels/val", 2),
        },
        warns=("2 images are in train and in val",),
    ),
    Repository(
        "several folders make a split",
        "train: [images/one, images/two]\nval: images/val\n" + NAMES,
        images=("images/one/a.jpg", "images/two/b.jpg", "images/two/c.jpg", "images/val/d.jpg"),
        boxes=("labels/one/a.txt", "labels/two/b.txt", "labels/two/c.txt", "labels/val/d.txt"),
        understood={
            "train": Understood("images/two", "labels/two", 3),
            "val": Understood("images/val", "labels/val", 1),
        },
    ),
    Repository(
        "what trainers don't see: dot-files, no image, no suffix; what they do: suffixes in capitals",
        SIMPLE_YAML,
        images=(
            *("images/train/A.JPG", "images/train/b.jpeg", "images/train/.c.jpg", "images/train/.git/d.jpg"),
            *("images/train/jpg", "images/val/e.PNG"),
        ),
        files={"images/train/notes.md": "", "images/train/b.npy": "", "images/train/archive.tar.gz": ""},
        boxes=("labels/train/A.txt", "labels/train/b.txt", "labels/val/e.txt"),
        understood={
            "train": Understood("images/train", "labels/train", 2),
            "val": Understood("images/val", "labels/val", 1),
        },
    ),
    Repository(
        "labels that say nothing: missing, of no bytes, a line end, a byte order mark",
        SIMPLE_YAML,
        images=(*(f"images/train/{name}.jpg" for name in "abcde"), "images/val/f.jpg"),
        files={
            "labels/train/b.txt": "",
            "labels/train/c.txt": "\n",
            "labels/train/d.txt": b"\xef\xbb\xbf",
        },
        boxes=("labels/train/e.txt", "labels/val/f.txt"),
        understood={
            "train": Understood("images/train", "labels/train", 5, 4),
            "val": Understood("images/val", "labels/val", 1),
        },
    ),
)

LISTS = (
    Repository(
        "lists with ./, as COCO's",
        "train: train2017.txt\nval: val2017.txt\n" + NAMES,
        files={
            "train2017.txt": "./images/train2017/a.jpg\n./images/train2017/b.jpg\n",
            "val2017.txt": "./images/val2017/c.jpg\n",
        },
        images=(
            "images/train2017/a.jpg",
            "images/train2017/b.jpg",
            "images/train2017/loose.jpg",
            "images/val2017/c.jpg",
        ),
        boxes=("labels/train2017/a.txt", "labels/train2017/b.txt", "labels/val2017/c.txt"),
        understood={
            "train": Understood("images/train2017", "labels/train2017", 2),
            "val": Understood("images/val2017", "labels/val2017", 1),
        },
        adds={
            "train2017.txt": "./images/train2017/a.jpg\n./images/train2017/b.jpg\n./images/train2017/neg_train.jpg\n",
            "val2017.txt": "./images/val2017/c.jpg\n./images/val2017/neg_val.jpg\n",
        },
    ),
    Repository(
        "absolute lines that end as on Windows, from one folder into two splits",
        "train: lists/train.txt\nval: lists/val.txt\n" + NAMES,
        files={
            "lists/train.txt": "{here}/images/a.jpg\r\n{here}/images/b.jpg\r\n",
            "lists/val.txt": "{here}/images/c.jpg\r\n",
        },
        images=("images/a.jpg", "images/b.jpg", "images/c.jpg"),
        boxes=("labels/a.txt", "labels/b.txt", "labels/c.txt"),
        understood={"train": Understood("images", "labels", 2), "val": Understood("images", "labels", 1)},
        adds={
            "lists/train.txt": "{here}/images/a.jpg\r\n{here}/images/b.jpg\r\n{here}/images/neg_train.jpg\r\n",
            "lists/val.txt": "{here}/images/c.jpg\r\n{here}/images/neg_val.jpg\r\n",
        },
    ),
    Repository(
        "lines from the working directory, no end to the last one",
        "train: train.txt\nval: val.txt\n" + NAMES,
        files={"train.txt": "data/images/a.jpg\ndata/images/b.jpg", "val.txt": "data/images/c.jpg"},
        images=("data/images/a.jpg", "data/images/b.jpg", "data/images/c.jpg"),
        boxes=("data/labels/a.txt", "data/labels/b.txt", "data/labels/c.txt"),
        understood={
            "train": Understood("data/images", "data/labels", 2),
            "val": Understood("data/images", "data/labels", 1),
        },
        adds={
            "train.txt": "data/images/a.jpg\ndata/images/b.jpg\ndata/images/neg_train.jpg",
            "val.txt": "data/images/c.jpg\ndata/images/neg_val.jpg",
        },
        says=("{here}/train.txt: its lines start from {here}, where training has to be started",),
    ),
    Repository(
        "lines that begin with images/: there is no /images/ in them, so labels lie beside",
        "train: train.txt\nval: val.txt\n" + NAMES,
        files={"train.txt": "images/a.jpg\n", "val.txt": "images/b.jpg\n"},
        images=("images/a.jpg", "images/b.jpg"),
        boxes=("images/a.txt", "images/b.txt"),
        understood={"train": Understood("images", "images", 1), "val": Understood("images", "images", 1)},
        adds={
            "train.txt": "images/a.jpg\nimages/neg_train.jpg\n",
            "val.txt": "images/b.jpg\nimages/neg_val.jpg\n",
        },
    ),
    Repository(
        "a list that begins with a byte order mark and ends with empty lines",
        "train: train.txt\nval: images/val\n" + NAMES,
        files={"train.txt": b"\xef\xbb\xbf./images/a.jpg\n\n\n"},
        images=("images/a.jpg", "images/val/b.jpg"),
        boxes=("labels/a.txt", "labels/val/b.txt"),
        understood={
            "train": Understood("images", "labels", 1),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"train.txt": b"\xef\xbb\xbf./images/a.jpg\n\n\n./images/neg_train.jpg\n"},
    ),
    Repository(
        "two lists: the one that names most of the folder grows",
        "train: [one.txt, two.txt]\nval: images/val\n" + NAMES,
        files={"one.txt": "./images/a.jpg\n", "two.txt": "./images/b.jpg\n./images/c.jpg\n./images/a.jpg\n"},
        images=("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/val/d.jpg"),
        boxes=("labels/a.txt", "labels/b.txt", "labels/c.txt", "labels/val/d.txt"),
        understood={
            "train": Understood("images", "labels", 3),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"two.txt": "./images/b.jpg\n./images/c.jpg\n./images/a.jpg\n./images/neg_train.jpg\n"},
    ),
    Repository(
        "a folder and a list of what is in it: nothing is listed that the folder covers",
        "train: [images/train, train.txt]\nval: images/val\n" + NAMES,
        files={"train.txt": "./images/train/a.jpg\n"},
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
    ),
    Repository(
        "a folder and a list of others, which holds more",
        "train: [images/train, more.txt]\nval: images/val\n" + NAMES,
        files={"more.txt": "./more/a.jpg\n./more/b.jpg\n"},
        images=("images/train/c.jpg", "more/a.jpg", "more/b.jpg", "images/val/d.jpg"),
        boxes=("labels/train/c.txt", "more/a.txt", "more/b.txt", "labels/val/d.txt"),
        understood={
            "train": Understood("more", "more", 3),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"more.txt": "./more/a.jpg\n./more/b.jpg\n./more/neg_train.jpg\n"},
    ),
    Repository(
        "lines of which some name nothing",
        "train: train.txt\nval: images/val\n" + NAMES,
        files={"train.txt": "./images/a.jpg\n./images/lost.jpg\n# comment\n"},
        images=("images/a.jpg", "images/val/b.jpg"),
        boxes=("labels/a.txt", "labels/val/b.txt"),
        understood={
            "train": Understood("images", "labels", 1),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"train.txt": "./images/a.jpg\n./images/lost.jpg\n# comment\n./images/neg_train.jpg\n"},
        warns=("2 of the 3 lines of {here}/train.txt name no image that is there, the first is './images/lost.jpg'",),
    ),
)

ROOTS = (
    Repository(
        "a relative path from the working directory",
        "path: data\n" + SIMPLE_YAML,
        into="configs/data.yaml",
        images=below("data", SIMPLE_IMAGES),
        boxes=below("data", SIMPLE_BOXES),
        home="data",
        understood=SIMPLE,
        says=("path 'data' from the working directory, as Ultralytics reads it",),
    ),
    Repository(
        "a relative path in Ultralytics' folder of datasets",
        "path: shop\n" + SIMPLE_YAML,
        into="project/data.yaml",
        files={"config/Ultralytics/settings.json": '{"datasets_dir": "{here}/sets"}'},
        images=below("sets/shop", SIMPLE_IMAGES),
        boxes=below("sets/shop", SIMPLE_BOXES),
        home="sets/shop",
        understood=SIMPLE,
        says=("from the datasets_dir of {here}/config/Ultralytics/settings.json, as Ultralytics reads it",),
    ),
    Repository(
        "a relative path that leads somewhere from the yaml only",
        "path: data\n" + SIMPLE_YAML,
        into="project/data.yaml",
        images=below("project/data", SIMPLE_IMAGES),
        boxes=below("project/data", SIMPLE_BOXES),
        home="project/data",
        understood=SIMPLE,
        says=("path 'data' from the yaml's own folder",),
        warns=("is found beside the yaml only",),
        trains=False,
    ),
    Repository(
        "a YOLOv5 checkout, with the datasets beside it",
        "path: ../datasets/shop\n" + SIMPLE_YAML,
        into="yolov5/data/shop.yaml",
        cwd="yolov5/runs",
        files={"yolov5/train.py": "", "yolov5/models/yolo.py": "", "yolov5/utils/general.py": ""},
        images=below("datasets/shop", SIMPLE_IMAGES),
        boxes=below("datasets/shop", SIMPLE_BOXES),
        home="datasets/shop",
        understood=SIMPLE,
        says=("from the YOLOv5 checkout around the yaml, as YOLOv5 reads it",),
        trains=False,
    ),
    Repository(
        "an absolute path",
        "path: {here}/data\n" + SIMPLE_YAML,
        into="configs/data.yml",
        cwd="elsewhere",
        images=below("data", SIMPLE_IMAGES),
        boxes=below("data", SIMPLE_BOXES),
        home="data",
        understood=SIMPLE,
        says=("the absolute path in data.yml",),
    ),
    Repository(
        "absolute splits: the manifest lies with them",
        "train: {here}/data/images/train\nval: {here}/data/images/val\n" + NAMES,
        into="configs/data.yaml",
        cwd="elsewhere",
        images=below("data", SIMPLE_IMAGES),
        boxes=below("data", SIMPLE_BOXES),
        home="data",
        understood=SIMPLE,
    ),
    Repository(
        "absolute splits in the layout of Roboflow",
        "train: {here}/data/train/images\nval: {here}/data/valid/images\n" + NAMES,
        into="configs/data.yaml",
        images=("data/train/images/a.jpg", "data/valid/images/b.jpg"),
        boxes=("data/train/labels/a.txt", "data/valid/labels/b.txt"),
        home="data",
        understood={
            "train": Understood("train/images", "train/labels", 1),
            "val": Understood("valid/images", "valid/labels", 1),
        },
    ),
    Repository(
        "absolute splits in two datasets: the manifest lies with the yaml",
        "train: {here}/one/images\nval: {here}/two/images\n" + NAMES,
        into="configs/data.yaml",
        images=("one/images/a.jpg", "two/images/b.jpg"),
        boxes=("one/labels/a.txt", "two/labels/b.txt"),
        home="configs",
        understood={
            "train": Understood("{here}/one/images", "{here}/one/labels", 1),
            "val": Understood("{here}/two/images", "{here}/two/labels", 1),
        },
    ),
    Repository(
        "--root overrides",
        "path: /datasets/that/were/there\n" + SIMPLE_YAML,
        root="data",
        images=below("data", SIMPLE_IMAGES),
        boxes=below("data", SIMPLE_BOXES),
        home="data",
        understood=SIMPLE,
        says=("(--root)",),
        trains=False,
    ),
    Repository(
        "the same folder by two rules is no question",
        "path: .\n" + SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        says=("path '.' from the working directory, as Ultralytics reads it",),
    ),
    Repository(
        "another folder by another rule is one",
        "path: data\n" + SIMPLE_YAML,
        into="project/data.yaml",
        images=(*below("project/data", SIMPLE_IMAGES), *below("data", SIMPLE_IMAGES)),
        refused="more than one root.*working directory.*the yaml's own folder.*--root",
    ),
    Repository(
        "--root answers it",
        "path: data\n" + SIMPLE_YAML,
        into="project/data.yaml",
        root="project/data",
        images=(*below("project/data", SIMPLE_IMAGES), *below("data", SIMPLE_IMAGES)),
        boxes=below("project/data", SIMPLE_BOXES),
        home="project/data",
        understood=SIMPLE,
        trains=False,
    ),
    Repository(
        "lines that lead to other images from elsewhere",
        "train: train.txt\nval: train.txt\n" + NAMES,
        into="project/data.yaml",
        files={"project/train.txt": "pictures/a.jpg\n"},
        images=("project/pictures/a.jpg", "pictures/a.jpg"),
        refused="lead to images from .* and from .*--root",
    ),
    Repository(
        "--root answers that, too",
        "train: train.txt\nval: images/val\n" + NAMES,
        into="project/data.yaml",
        root="project",
        files={"project/train.txt": "pictures/a.jpg\n"},
        images=("project/pictures/a.jpg", "pictures/a.jpg", "project/images/val/b.jpg"),
        boxes=("project/pictures/a.txt", "project/labels/val/b.txt"),
        home="project",
        understood={
            "train": Understood("pictures", "pictures", 1),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"project/train.txt": "pictures/a.jpg\npictures/neg_train.jpg\n"},
        trains=False,
    ),
)

SPLITS = (
    Repository(
        "validation is val",
        "train: images/train\nvalidation: images/val\n" + NAMES,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
    ),
    Repository(
        "no val",
        "train: images/train\n" + NAMES,
        images=SIMPLE_IMAGES[:2],
        boxes=SIMPLE_BOXES[:2],
        understood={"train": SIMPLE["train"]},
        warns=("has no val split",),
        trains=False,
    ),
    Repository(
        "a val that isn't there",
        SIMPLE_YAML,
        images=SIMPLE_IMAGES[:2],
        boxes=SIMPLE_BOXES[:2],
        understood={"train": SIMPLE["train"]},
        warns=(
            r"val \('images/val'\) isn't there under {here}, and trainers will stop at that; until then nothing goes",
        ),
        trains=False,
    ),
    Repository(
        "a val list of images that aren't there",
        "train: images/train\nval: val.txt\n" + NAMES,
        files={"val.txt": "./images/lost/a.jpg\n"},
        images=SIMPLE_IMAGES[:2],
        boxes=SIMPLE_BOXES[:2],
        understood={"train": SIMPLE["train"]},
        warns=("val: none of the 1 images .*nothing goes to val",),
        trains=False,
    ),
    Repository(
        "val is train",
        "train: images/train\nval: images/train/\n" + NAMES,
        images=SIMPLE_IMAGES[:2],
        boxes=SIMPLE_BOXES[:2],
        understood={"train": SIMPLE["train"]},
        warns=("val is the same as train",),
    ),
    Repository(
        "a test split on another machine",
        "test: https://example.com/test.zip?token=1\n" + SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        warns=(r"test \(https://example.com/test.zip\) is on another machine",),
    ),
    Repository(
        "backgrounds only",
        SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES[:2],
        understood={"train": SIMPLE["train"], "val": Understood("images/val", "labels/val", 1, 1)},
        warns=("val holds no image with labels",),
    ),
    Repository(
        "a new one",
        new=True,
        into="fresh/data.yaml",
        home="fresh",
        understood={
            "train": Understood("images/train", "labels/train", 0),
            "val": Understood("images/val", "labels/val", 0),
        },
        adds={
            "data.yaml": "# Made by label-studio-negatives. Yours to edit.\n"
            "train: images/train\nval: images/val\nnames:\n  0: cell\n"
        },
        says=("is new; to train, put annotated images and their labels into",),
    ),
    Repository(
        "a new yaml for images that are there",
        new=True,
        images=("train/images/a.jpg", "valid/images/b.jpg"),
        boxes=("train/labels/a.txt", "valid/labels/b.txt"),
        understood={
            "train": Understood("train/images", "train/labels", 1),
            "val": Understood("valid/images", "valid/labels", 1),
        },
        adds={
            "data.yaml": "# Made by label-studio-negatives. Yours to edit.\n"
            "train: train/images\nval: valid/images\nnames:\n  0: cell\n"
        },
        trains=False,  # not before it is written
    ),
    Repository(
        "one of ours, whose empty folders git did not keep",
        "# Made by label-studio-negatives. Yours to edit.\ntrain: images/train\nval: images/val\n" + NAMES,
        understood={
            "train": Understood("images/train", "labels/train", 0),
            "val": Understood("images/val", "labels/val", 0),
        },
        warns=("train holds no image with labels", "val holds no image with labels"),
        trains=False,
    ),
    Repository(
        "--new where there is one already",
        SIMPLE_YAML,
        new=True,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
    ),
)

LINKS = (
    Repository(
        "images linked from elsewhere, labels with them",
        SIMPLE_YAML,
        images=("pool/images/train/a.jpg", "images/val/b.jpg"),
        boxes=("pool/labels/train/a.txt", "repository/labels/val/b.txt", "labels/val/b.txt"),
        links={"repository/images": "{here}/pool/images", "pool/images/val": "{here}/images/val"},
        into="repository/data.yaml",
        home="repository",
        understood={
            "train": Understood("images/train", "{here}/pool/labels/train", 1),
            "val": Understood("images/val", "{here}/labels/val", 1),
        },
        says=("repository/images/train is a link: trainers read {here}/pool/images/train, and labels in {here}/pool/",),
        warns=("the labels in {here}/repository/labels/val are not read",),
    ),
    Repository(
        "images and labels linked from elsewhere",
        SIMPLE_YAML,
        images=below("pool", SIMPLE_IMAGES),
        boxes=below("pool", SIMPLE_BOXES),
        links={"repository/images": "../pool/images", "repository/labels": "../pool/labels"},
        into="repository/data.yaml",
        home="repository",
        understood=SIMPLE,
    ),
    Repository(
        "a folder in a split linked from elsewhere",
        SIMPLE_YAML,
        images=("images/train/a.jpg", "pool/b.jpg", "pool/c.jpg", "images/val/d.jpg"),
        boxes=("labels/train/a.txt", "labels/train/more/b.txt", "labels/train/more/c.txt", "labels/val/d.txt"),
        links={"images/train/more": "{here}/pool"},
        understood={
            "train": Understood("pool", "labels/train/more", 3),
            "val": Understood("images/val", "labels/val", 1),
        },
    ),
    Repository(
        "a link that leads back",
        SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        links={"images/train/back": ".."},
        understood={**SIMPLE, "train": Understood("images/train", "labels/train", 3, 1)},
        warns=("1 images are in train and in val",),
        trains=False,  # Ultralytics goes round until the path is too long
    ),
    Repository(
        "images that are links, one of them to nothing",
        SIMPLE_YAML,
        images=("pool/a.jpg", "pool/b.jpg", "images/val/c.jpg"),
        boxes=("labels/train/a.txt", "labels/train/b.txt", "labels/val/c.txt"),
        links={
            "images/train/a.jpg": "{here}/pool/a.jpg",
            "images/train/b.jpg": "../../pool/b.jpg",
            "images/train/lost.jpg": "{here}/pool/lost.jpg",
        },
        understood=SIMPLE,
    ),
    Repository(
        "a list that is a link: ./ is where it leads",
        "train: train.txt\nval: images/val\n" + NAMES,
        files={"lists/train.txt": "./images/a.jpg\n"},
        images=("lists/images/a.jpg", "images/val/b.jpg"),
        boxes=("lists/labels/a.txt", "labels/val/b.txt"),
        links={"train.txt": "lists/train.txt"},
        understood={
            "train": Understood("lists/images", "lists/labels", 1),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"lists/train.txt": "./images/a.jpg\n./images/neg_train.jpg\n"},
        says=("train.txt is a link: trainers read {here}/lists/train.txt",),
    ),
    Repository(
        "lines that go through a link",
        "train: train.txt\nval: images/val\n" + NAMES,
        files={"train.txt": "./view/images/a.jpg\n"},
        images=("pool/images/a.jpg", "images/val/b.jpg"),
        boxes=("pool/labels/a.txt", "labels/val/b.txt"),
        links={"view": "pool"},
        understood={
            "train": Understood("pool/images", "pool/labels", 1),
            "val": Understood("images/val", "labels/val", 1),
        },
        adds={"train.txt": "./view/images/a.jpg\n./view/images/neg_train.jpg\n"},
    ),
)

ODD = (
    Repository(
        "a yaml with a byte order mark, comments, and ends as on Windows",
        files={"data.yaml": b"\xef\xbb\xbf# ours\r\ntrain: images/train\r\nval: images/val # all\r\nnames: [cell]\r\n"},
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
    ),
    Repository(
        "a yaml in Latin-1",
        files={"data.yaml": b"train: images/train\nval: images/val\nnames: [Sch\xe4den]\n"},
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        warns=("is not all UTF-8",),
    ),
    Repository(
        "names and nc that contradict each other",
        "train: images/train\nval: images/val\nnc: 3\nnames: [cell]\n",
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        warns=("nc is 3, but there are 1 names",),
        trains=False,
    ),
    Repository(
        "neither names nor nc",
        "train: images/train\nval: images/val\n",
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        warns=("neither names nor a number of classes",),
        trains=False,
    ),
    Repository(
        "names with a gap",
        "train: images/train\nval: images/val\nnames: {0: cell, 2: drop}\n",
        images=SIMPLE_IMAGES,
        boxes=SIMPLE_BOXES,
        understood=SIMPLE,
        warns=("don't run from 0 to 1",),
        trains=False,
    ),
    Repository("no yaml", refused="doesn't exist; give --new"),
    Repository("no YAML at all", "train: [images\n", refused="can't be read as YAML"),
    Repository("a yaml that is a list", "- train\n- val\n", refused="holds no settings"),
    Repository("an empty yaml", files={"data.yaml": ""}, refused="holds no settings"),
    Repository("a yaml in UTF-16", files={"data.yaml": SIMPLE_YAML.encode("utf-16")}, refused="is UTF-16"),
    Repository("no train", "val: images/val\n" + NAMES, refused="has no train split: add a line"),
    Repository("a train of nothing", "train:\nval: images/val\n" + NAMES, refused="has no train split: add a line"),
    Repository("a train that is a number", "train: 7\nval: images/val\n", refused="a path or a list of paths, not 7"),
    Repository("a train with a mapping in it", "train: [{a: b}]\n", refused="a path or a list of paths, not {'a'"),
    Repository("a path that is a number", "path: 2024\n" + SIMPLE_YAML, refused="path must be text, not 2024"),
    Repository(
        "a train folder that isn't there",
        SIMPLE_YAML,
        images=SIMPLE_IMAGES[2:],
        refused="its train split 'images/train' isn't there; looked under {here} .*Correct the yaml",
    ),
    Repository(
        "an absolute path that isn't there, and images beside the yaml",
        "path: /content/dataset\n" + SIMPLE_YAML,
        images=SIMPLE_IMAGES,
        refused="isn't there; looked under /content/dataset .*It is there under --root {here}",
    ),
    Repository("a path in ~", "path: ~/data\n" + SIMPLE_YAML, refused="Trainers don't take ~ for a home"),
    Repository(
        "one of two train folders that isn't there",
        "train: [images/train, images/more]\n" + NAMES,
        images=SIMPLE_IMAGES,
        refused="its train split 'images/more' isn't there",
    ),
    Repository(
        "a dataset that is still to be fetched",
        "path: coco8\n" + SIMPLE_YAML + "download: https://example.com/coco8.zip\n",
        refused="It has a download: let the trainer fetch the dataset first",
    ),
    Repository("a split in a cloud", "train: gs://bucket/train\n" + NAMES, refused="is on another machine"),
    Repository("a split in NDJSON", "train: train.ndjson\n" + NAMES, refused="export with --format ndjson"),
    Repository(
        "paths of Windows",
        "train: images\\train\nval: images\\val\n" + NAMES,
        images=SIMPLE_IMAGES,
        refused=r"paths of Windows \(images.train\).*write them with slashes",
    ),
    Repository("a drive of Windows", 'path: "D:/data"\n' + SIMPLE_YAML, refused="paths of Windows"),
    Repository(
        "a list with backslashes",
        "train: train.txt\n" + NAMES,
        files={"train.txt": "images\\a.jpg\nimages\\b.jpg\n"},
        images=("images/a.jpg", "images/b.jpg"),
        refused="none of the 2 images .*has slashes, no backslashes.*correct the list",
    ),
    Repository(
        "a list of images that are elsewhere",
        "train: train.txt\n" + NAMES,
        files={"train.txt": "/content/images/a.jpg\n"},
        refused="none of the 1 images that {here}/train.txt lists is there, the first is '/content/images/a.jpg'",
    ),
    Repository(
        "an empty list",
        "train: train.txt\n" + NAMES,
        files={"train.txt": "\n"},
        refused="the list of train, 'train.txt', names no image",
    ),
    Repository(
        "a list in UTF-16",
        "train: train.txt\n" + NAMES,
        files={"train.txt": "./images/a.jpg\n".encode("utf-16")},
        refused="is no list of images in UTF-8",
    ),
    Repository(
        "a single image",
        "train: images/train/a.jpg\n" + NAMES,
        images=SIMPLE_IMAGES,
        refused="names a single image",
    ),
)

REPOSITORIES = (*LAYOUTS, *LISTS, *ROOTS, *SPLITS, *LINKS, *ODD)
