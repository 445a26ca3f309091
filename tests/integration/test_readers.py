"""Real readers read what was exported: each counts exactly our negatives, and the positives as before."""

import io
import json
import math
import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from service.export.formats import Request, formats
from service.export.model import Dataset, Row
from service.export.plan import Options
from service.export.writing import Store
from service.exporting import undo
from tests.export.formats.factories import tree, write_tree
from tests.exporting import FakeSources, FakeStudio, reviewed, run

HERE = Path(__file__).resolve().parent
READERS = HERE.parents[1] / ".venv-readers" / "bin" / "python"
SIDE = 96
POSITIVES = {"train": 8, "val": 4}
OBJECTS = 2
"""In each positive, of this size and at these places, in pixels."""
BOXES = ((10, 20, 30, 40), (50, 40, 30, 20))


def picture(seed: str, suffix: str = ".jpg", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """A picture like no other."""
    chance = np.random.default_rng(int(sha256(seed.encode()).hexdigest()[:8], 16))
    out = io.BytesIO()
    pixels = chance.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, {".jpg": "JPEG", ".png": "PNG"}[suffix])
    return out.getvalue()


def positives(split: str) -> list[str]:
    """The names of the images with objects, without extension."""
    return [f"{split}_{number}" for number in range(POSITIVES[split])]


@dataclass(frozen=True, slots=True)
class Exported:
    """A dataset with negatives in it: `before` is what was there without them."""

    into: Path
    kind: str
    dataset: Dataset
    rows: tuple[Row, ...]
    before: Mapping[str, bytes]

    def of(self, split: str) -> set[str]:
        """The names of our images in a split."""
        return {row.name for row in self.rows if row.split == split}

    def others_are_untouched(self, *but: str) -> bool:
        """Whether each file that was there is as it was, but for these, which tell of our images."""
        now = tree(Path(self.dataset.root))
        return all(now[name] == held for name, held in self.before.items() if name not in but)

    def undone(self) -> Mapping[str, bytes]:
        """What is there after taking everything out again."""
        undo(Request(self.into), formats()[self.kind])
        return tree(Path(self.dataset.root))


def exported(into: Path, kind: str, scratch: Path, *, new: bool = False, suffix: str = "jpg") -> Exported:
    """Export 18 approved patches of six images, as the command does: those that go to a split go by hash."""
    dataset = formats()[kind].open(Request(into, new=new, classes=("cell",)))
    before = tree(Path(dataset.root))
    scratch.mkdir()
    studio = FakeStudio(*(reviewed(number, 0, 1, 2, suffix=suffix) for number in range(1, 7)))
    options = Options(shares={split.name: 1.0 for split in dataset.splits})
    run(studio, into, FakeSources(scratch), kind=kind, new=new, options=options)
    rows = Store(Path(dataset.root)).manifest()
    assert len(rows) == 18
    assert {row.split for row in rows} == {split.name for split in dataset.splits}
    return Exported(into, kind, formats()[kind].open(Request(into)), rows, before)


def read_with(script: str, *arguments: str | Path, scratch: Path) -> Any:
    """What one of the scripts beside this file says, run where the readers are installed."""
    done = subprocess.run(
        [READERS, HERE / script, *arguments],
        env={
            **os.environ,
            "YOLO_CONFIG_DIR": str(scratch),
            "YOLO_OFFLINE": "true",
            "YOLO_VERBOSE": "false",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def yolo_label() -> str:
    """The objects of a positive, as YOLO has them."""
    return "".join(
        f"0 {(x + width / 2) / SIDE} {(y + height / 2) / SIDE} {width / SIDE} {height / SIDE}\n"
        for x, y, width, height in BOXES
    )


# ---------------------------------------------------------------- YOLO


@pytest.fixture
def yolo(tmp_path: Path) -> Exported:
    """A YOLO repository of folders."""
    files: dict[str, bytes | str] = {"data.yaml": "train: images/train\nval: images/val\nnames: [cell]\n"}
    for split in POSITIVES:
        for name in positives(split):
            files |= {f"images/{split}/{name}.jpg": picture(name), f"labels/{split}/{name}.txt": yolo_label()}
    write_tree(tmp_path / "yolo", files)
    return exported(tmp_path / "yolo" / "data.yaml", "yolo", tmp_path / "sources")


def test_ultralytics_finds_our_negatives(yolo: Exported, tmp_path: Path) -> None:
    """Its dataset check and its loader: as many background images as we wrote, and no object less."""
    found = read_with("read_with_ultralytics.py", yolo.into, scratch=tmp_path)
    assert {Path(file).name for file in found["backgrounds"]} == yolo.of("train")
    assert (found["images"], found["objects"]) == (
        POSITIVES["train"] + len(yolo.of("train")),
        POSITIVES["train"] * OBJECTS,
    )
    assert yolo.others_are_untouched()


def test_ultralytics_trains_on_our_negatives(yolo: Exported, tmp_path: Path) -> None:
    """One epoch, on all images of the split, ours among them; then everything can be taken out again."""
    found = read_with("train_with_ultralytics.py", yolo.into, tmp_path / "runs", scratch=tmp_path)
    assert {Path(file).name for file in found["backgrounds"]} == yolo.of("train")
    assert (found["images"], found["objects"]) == (
        POSITIVES["train"] + len(yolo.of("train")),
        POSITIVES["train"] * OBJECTS,
    )
    assert all(math.isfinite(loss) for loss in found["losses"])
    for cache in yolo.into.parent.rglob("*.cache"):
        cache.unlink()
    assert yolo.undone() == yolo.before


# ---------------------------------------------------------------- NDJSON


def test_ultralytics_converts_our_ndjson(tmp_path: Path) -> None:
    """In each split it finds our images by their bytes, as backgrounds, and the objects of others."""
    lines: list[dict[str, Any]] = [{"type": "dataset", "task": "detect", "path": ".", "class_names": {"0": "cell"}}]
    files: dict[str, bytes | str] = {}
    for split in POSITIVES:
        for name in positives(split):
            files[f"images/{split}/{name}.jpg"] = picture(name)
            boxes = [[float(number) for number in line.split()] for line in yolo_label().splitlines()]
            boxes = [[int(label), *box] for label, *box in boxes]
            image = {"type": "image", "file": f"{name}.jpg", "width": SIDE, "height": SIDE, "split": split}
            lines.append({**image, "annotations": {"boxes": boxes}})
    files["data.ndjson"] = "".join(json.dumps(line) + "\n" for line in lines)
    into = write_tree(tmp_path / "dataset", files) / "data.ndjson"
    done = exported(into, "ndjson", tmp_path / "sources")
    found = read_with("read_ndjson_with_ultralytics.py", into, tmp_path / "converted", scratch=tmp_path)
    for split, count in POSITIVES.items():
        assert found[split] == {
            "images": count + len(done.of(split)),
            "backgrounds": sorted(row.sha256 for row in done.rows if row.split == split),
            "objects": count * OBJECTS,
        }
    assert done.others_are_untouched("data.ndjson")
    assert into.read_bytes().startswith(done.before["data.ndjson"])
    assert done.undone() == done.before


# ---------------------------------------------------------------- COCO


@pytest.mark.parametrize("indent", [None, 2])
def test_pycocotools_finds_our_negatives(tmp_path: Path, indent: int | None) -> None:
    """Images without annotations, each with an id of its own, at its path, in its size; all that was there is."""
    files: dict[str, bytes | str] = {}
    for split in POSITIVES:
        names = positives(split)
        images = [
            {"id": number, "file_name": f"{name}.jpg", "width": SIDE, "height": SIDE}
            for number, name in enumerate(names, 1)
        ]
        boxes = [{"bbox": list(box), "area": box[2] * box[3], "iscrowd": 0, "category_id": 1} for box in BOXES]
        annotations = [
            {"id": number * OBJECTS + at, "image_id": number, **box}
            for number in range(1, len(names) + 1)
            for at, box in enumerate(boxes)
        ]
        document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        files[f"annotations/instances_{split}2017.json"] = json.dumps(document, indent=indent)
        files |= {f"{split}2017/{name}.jpg": picture(name) for name in names}
    into = write_tree(tmp_path / "coco", files)
    done = exported(into, "coco", tmp_path / "sources")
    for split, count in POSITIVES.items():
        file = f"annotations/instances_{split}2017.json"
        before, after = json.loads(done.before[file]), COCO(into / file)
        of_image = {number: len(after.getAnnIds(imgIds=[number])) for number in after.getImgIds()}
        images = after.loadImgs(list(of_image))
        assert {one["file_name"] for one in images if not of_image[one["id"]]} == done.of(split)
        assert Counter(of_image.values()) == {OBJECTS: count, 0: len(done.of(split))}
        assert [one for one in after.dataset["images"] if of_image[one["id"]]] == before["images"]
        assert after.dataset["annotations"] == before["annotations"]
        for one in images:
            with Image.open(into / f"{split}2017" / one["file_name"]) as image:
                assert image.size == (one["width"], one["height"])
    assert done.others_are_untouched(*(f"annotations/instances_{split}2017.json" for split in POSITIVES))
    assert done.undone() == done.before


# ---------------------------------------------------------------- Pascal VOC


def test_torchvision_finds_our_negatives(tmp_path: Path) -> None:
    """In each list, with the picture that the annotation tells of, and without an object; the others as before."""
    objects = "".join(
        f"<object><name>cell</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + width}</xmax>"
        f"<ymax>{y + height}</ymax></bndbox></object>"
        for x, y, width, height in BOXES
    )
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    files: dict[str, bytes | str] = {}
    for name in (*positives("train"), *positives("val")):
        files[f"JPEGImages/{name}.jpg"] = picture(name)
        annotation = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
        files[f"Annotations/{name}.xml"] = annotation
    both = {"trainval": (*positives("train"), *positives("val"))}
    for split, names in {**{split: positives(split) for split in POSITIVES}, **both}.items():
        files[f"ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in names)
        files[f"ImageSets/Main/cell_{split}.txt"] = "".join(f"{name}  1\n" for name in names)
    into = write_tree(tmp_path / "VOCdevkit" / "VOC2012", files)
    done = exported(into, "voc", tmp_path / "sources")
    found = read_with("read_with_torchvision.py", tmp_path, scratch=tmp_path)
    ours = {split: done.of(split) for split in POSITIVES}
    ours["trainval"] = ours["train"] | ours["val"]
    for split, images in found.items():
        assert {name for name, one in images.items() if not one["objects"]} == ours[split]
        assert all(one["is_of_its_size"] for one in images.values())
        assert sum(one["objects"] for one in images.values()) == OBJECTS * (len(images) - len(ours[split]))
    positive = {**POSITIVES, "trainval": sum(POSITIVES.values())}
    assert {split: len(images) - len(ours[split]) for split, images in found.items()} == positive
    for one in done.rows:
        root = ElementTree.parse(into / "Annotations" / f"{one.stem}.xml").getroot()
        assert (root.tag, root.find("object"), root.findtext("filename")) == ("annotation", None, one.name)
    lists = [f"ImageSets/Main/{kind}{split}.txt" for kind in ("", "cell_") for split in found]
    assert done.others_are_untouched(*lists)
    assert done.undone() == done.before


# ---------------------------------------------------------------- TFRecord


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_tensorflow_finds_our_negatives(tmp_path: Path, suffix: str) -> None:
    """Every example has what the Object Detection API asks for, a picture of its size, and no box."""
    into = tmp_path / "records"
    done = exported(into, "tfrecord", tmp_path / "sources", new=True, suffix=suffix)
    shards = {split: into / f"negatives-{split}.tfrecord" for split in POSITIVES}
    found = read_with("read_with_tensorflow.py", *shards.values(), scratch=tmp_path)
    for split, shard in shards.items():
        examples = found[str(shard)]
        assert {one["filename"]: one["sha256"] for one in examples} == {
            one.name: one.sha256 for one in done.rows if one.split == split
        }
        assert len({one["source_id"] for one in examples}) == len(done.of(split))
        assert {(one["boxes"], one["is_of_its_size"], one["format"]) for one in examples} == {
            (0, True, {"jpg": "jpeg", "png": "png"}[suffix])
        }
    assert done.undone() == {}


# ---------------------------------------------------------------- darknet


def test_darknets_rule(tmp_path: Path) -> None:
    """Each line of the list is an image that is there, with a label beside it, which is empty for ours (`load_data`,
    `replace_image_to_label`: without the file darknet warns and skips the image).
    """
    files: dict[str, bytes | str] = {
        "data/obj.data": "classes = 1\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\n",
        "data/obj.names": "cell\n",
    }
    for split in POSITIVES:
        files[f"data/{split}.txt"] = "".join(f"data/obj/{name}.jpg\n" for name in positives(split))
        for name in positives(split):
            files |= {f"data/obj/{name}.jpg": picture(name), f"data/obj/{name}.txt": yolo_label()}
    root = write_tree(tmp_path / "darknet", files)
    done = exported(root / "data" / "obj.data", "darknet", tmp_path / "sources")
    for split, count in POSITIVES.items():
        lines = (root / "data" / f"{split}.txt").read_text().splitlines()
        labels = {Path(line).name: (root / line).with_suffix(".txt").read_bytes() for line in lines}
        assert all((root / line).is_file() for line in lines)
        assert {name for name, label in labels.items() if label == b""} == done.of(split)
        assert [label for label in labels.values() if label] == [yolo_label().encode()] * count
    assert done.others_are_untouched("data/train.txt", "data/val.txt")
    assert done.undone() == done.before
