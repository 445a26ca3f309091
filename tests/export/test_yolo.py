import errno
import json
import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import __version__
from service.domain.geometry import Box
from service.domain.model import Patch, State
from service.errors import ExportError
from service.export.plan import Plan, plan_export
from service.export.repository import Layout, locate, read_existing
from service.export.yolo import sole_exporter, write_source
from tests.export.factories import BOXES, LATER, decision, export, offered, one_source, picture, task
from tests.factories import NOON, moved

ONE = (task(), "field.jpg", (decision(offered(0)), decision(offered(1))))
THREE = (task(), "field.jpg", tuple(decision(offered(at)) for at in range(3)))
METADATA = "field_negative_metadata.json"


@pytest.fixture
def plain(tmp_path: Path) -> Layout:
    """The plain layout in an empty directory."""
    return locate(tmp_path / "out")


@pytest.fixture
def yolo(tmp_path: Path) -> Layout:
    """A YOLO repository with two images of the user's, one of them without a label."""
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "cells.jpg").write_bytes(b"an image of the user's")
    (tmp_path / "images" / "train" / "field_neg_1.PNG").write_bytes(b"an image of the user's")
    (tmp_path / "labels" / "train" / "cells.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    data = tmp_path / "data.yaml"
    data.write_text("train: images/train\nval: images/train\nnames: [cell]\n")
    return locate(data)


def tree(folder: Path) -> list[str]:
    """All files beneath a folder, dot-files too, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files beneath a folder with their bytes and times."""
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in tree(folder)}


def metadata(layout: Layout, name: str = METADATA) -> dict[str, Any]:
    """A metadata file, keys in their order."""
    found: dict[str, Any] = json.loads((layout.metadata / name).read_text(encoding="utf-8"))
    return found


def write(plan: Plan, layout: Layout, image: Image.Image | None = None) -> int:
    """Write the one source of a plan."""
    return write_source(one_source(plan), image or picture(), layout, object_name="cells", at=LATER)


# ---------------------------------------------------------------- the files


def test_the_plain_layout(plain: Layout) -> None:
    """Exactly an image and a label for each patch, and one metadata file."""
    export(plain, ONE)
    assert tree(plain.images) == [
        "field_neg_1.jpg",
        "field_neg_1.txt",
        "field_neg_2.jpg",
        "field_neg_2.txt",
        METADATA,
    ]


def test_labels_have_no_bytes(plain: Layout) -> None:
    """Empty means background."""
    export(plain, ONE)
    assert [path.stat().st_size for path in plain.labels.glob("*.txt")] == [0, 0]


def test_a_yolo_repository(tmp_path: Path, yolo: Layout) -> None:
    """Images and labels join the train split, metadata lies outside, the user's files are passed by and untouched."""
    before = contents(tmp_path)
    export(yolo, ONE)
    after = contents(tmp_path)
    assert sorted(after.keys() - before.keys()) == [
        "images/train/field_neg_2.jpg",
        "images/train/field_neg_3.jpg",
        "labels/train/field_neg_2.txt",
        "labels/train/field_neg_3.txt",
        f"negative_samples/{METADATA}",
    ]
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_the_patch(plain: Layout, mode: str) -> None:
    """Each image is its box of the source, as nearly as JPEG allows."""
    source = picture().convert(mode)
    export(plain, ONE, image=source)
    for number, box in enumerate(BOXES[:2], 1):
        with Image.open(plain.images / f"field_neg_{number}.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", mode, (box.width, box.height))
            wanted = np.asarray(source, dtype=int)[box.top : box.bottom, box.left : box.right]
            assert np.abs(np.asarray(image, dtype=int) - wanted).max() <= 6


def test_a_patch_that_was_moved_is_cut_where_it_was_left(plain: Layout) -> None:
    """The reviewer's box counts."""
    there = Box(150, 150, 210, 195)
    export(plain, (task(), "field.jpg", (decision(moved(offered(0), there)),)))
    with Image.open(plain.images / "field_neg_1.jpg") as image:
        assert image.size == (60, 45)
    assert metadata(plain)["patches"] == [{"id": 1, "x": 150, "y": 150, "width": 60, "height": 45}]


def test_jpegs_are_complete_and_upright(plain: Layout) -> None:
    """Ending with FFD9 (else Ultralytics rewrites them) and without an orientation, whatever the source says."""
    source = picture()
    source.getexif()[0x0112] = 6
    export(plain, ONE, image=source)
    data = (plain.images / "field_neg_1.jpg").read_bytes()
    assert data.endswith(b"\xff\xd9")
    with Image.open(plain.images / "field_neg_1.jpg") as image:
        assert image.getexif().get(0x0112) is None


def test_the_colour_profile_stays(plain: Layout) -> None:
    """Colours mean what they meant in the source."""
    source = picture()
    source.info["icc_profile"] = b"a profile"
    export(plain, ONE, image=source)
    with Image.open(plain.images / "field_neg_1.jpg") as image:
        assert image.info["icc_profile"] == b"a profile"


def test_names_in_any_writing(plain: Layout) -> None:
    """Spaces, dots and umlauts of the file's own name stay, in the metadata too."""
    export(plain, (task(), "Plätze 1.v2.tif", (decision(),)))
    assert tree(plain.images) == [
        "Plätze 1.v2_neg_1.jpg",
        "Plätze 1.v2_neg_1.txt",
        "Plätze 1.v2_negative_metadata.json",
    ]
    text = (plain.metadata / "Plätze 1.v2_negative_metadata.json").read_text(encoding="utf-8")
    assert '"source_image": "Plätze 1.v2.tif"' in text


# ---------------------------------------------------------------- the metadata


def test_the_guides_six_keys_come_first(plain: Layout) -> None:
    """In the guide's order; then our provenance."""
    export(plain, ONE)
    assert list(metadata(plain)) == [
        "source_image",
        "roi",
        "num_patches",
        "patches",
        "purpose",
        "description",
        "provenance",
    ]


def test_what_the_six_keys_mean(plain: Layout) -> None:
    """Name of the source; ROI as [x, y, w, h]; how many; id, place and size of each; the purpose; the description."""
    export(plain, ONE)
    document = metadata(plain)
    del document["provenance"]
    assert document == {
        "source_image": "field.jpg",
        "roi": [5, 5, 390, 290],
        "num_patches": 2,
        "patches": [
            {"id": 1, "x": 10, "y": 20, "width": 50, "height": 60},
            {"id": 2, "x": 100, "y": 100, "width": 64, "height": 48},
        ],
        "purpose": "negative_samples",
        "description": "Background regions with no cells",
    }


def test_patches_have_the_guides_keys_in_order(plain: Layout) -> None:
    """id, x, y, width, height."""
    export(plain, ONE)
    assert [list(item) for item in metadata(plain)["patches"]] == [["id", "x", "y", "width", "height"]] * 2


def test_the_objects_name_can_be_set(plain: Layout) -> None:
    """Whatever the negatives are free of."""
    export(plain, ONE, object_name="spores")
    assert metadata(plain)["description"] == "Background regions with no spores"


def test_the_roi_of_a_patch_drawn_by_hand_is_its_own_box(plain: Layout) -> None:
    """Without a proposal there is no ROI but the patch itself."""
    export(plain, (task(), "field.jpg", (decision(Patch("by hand", BOXES[0])),)))
    document = metadata(plain)
    assert document["roi"] == [10, 20, 50, 60]
    assert document["provenance"]["patches"][0]["rules"] is None


def test_provenance_says_where_a_patch_comes_from(plain: Layout) -> None:
    """Label Studio's ids, reviewers, times, seed, rules, version and the file's digest."""
    export(plain, ONE)
    provenance = metadata(plain)["provenance"]
    first = provenance["patches"][0]
    assert {key: provenance[key] for key in ("tool", "version", "label_studio", "image_size")} == {
        "tool": "label-studio-negatives",
        "version": __version__,
        "label_studio": {"project": 3, "task": 7, "image": "/data/upload/3/1a2b3c4d-field.jpg"},
        "image_size": [400, 300],
    }
    assert first == {
        "id": 1,
        "file": "field_neg_1.jpg",
        "sha256": sha256((plain.images / "field_neg_1.jpg").read_bytes()).hexdigest(),
        "region": offered(0).id,
        "box": [10, 20, 50, 60],
        "roi": [5, 5, 390, 290],
        "accepted_by": [1, 4],
        "accepted_at": NOON.isoformat(),
        "annotations": [11, 12],
        "seed": 1,
        "rules": {
            "patches": 4,
            "min_size": 40,
            "max_size": 200,
            "max_overlap": 0.5,
            "margin": 0,
            "round": 1,
            "square": False,
            "align": 1,
        },
        "rules_from": {},
        "version": "0",
        "exported_at": LATER.isoformat(),
    }


# ---------------------------------------------------------------- again


def test_a_second_run_changes_nothing(plain: Layout) -> None:
    """No byte and no time of any file."""
    export(plain, ONE)
    before = contents(plain.images)
    plan = export(plain, ONE)
    assert (plan.new, plan.there) == (0, 2)
    assert contents(plain.images) == before


def test_a_second_run_adds_only_what_is_new(plain: Layout) -> None:
    """What is there stays byte for byte; the metadata lists all."""
    export(plain, ONE)
    before = contents(plain.images)
    export(plain, THREE)
    after = contents(plain.images)
    assert sorted(after.keys() - before.keys()) == ["field_neg_3.jpg", "field_neg_3.txt"]
    assert {name for name in before if after[name] != before[name]} == {METADATA}
    assert [item["id"] for item in metadata(plain)["patches"]] == [1, 2, 3]
    assert metadata(plain)["num_patches"] == 3


def test_the_records_of_before_stay(plain: Layout) -> None:
    """A later export, with more and by another version, doesn't rewrite what was known of the first."""
    export(plain, ONE, at=NOON)
    before = metadata(plain)["provenance"]["patches"]
    export(plain, THREE, at=LATER)
    assert metadata(plain)["provenance"]["patches"][:2] == before


def test_a_withdrawn_patch_keeps_its_files_and_record(plain: Layout) -> None:
    """Nothing is deleted: a person is told, and the metadata still says whose file that is."""
    export(plain, ONE)
    before = contents(plain.images)
    again = (task(), "field.jpg", (decision(offered(0), State.REJECTED), *THREE[2][1:]))
    plan = export(plain, again)
    after = contents(plain.images)
    assert "field_neg_1 was exported before" in plan.notes[0].text
    assert {name for name in before if after[name] != before[name]} == {METADATA}
    assert [item["id"] for item in metadata(plain)["patches"]] == [1, 2, 3]


def test_two_images_of_one_stem(plain: Layout) -> None:
    """Each has files and metadata of its own, and a second run finds both."""
    other = (task(8, image="/data/upload/3/field.png"), "field.png", (decision(offered(0, 8)),))
    export(plain, ONE, other)
    assert [name for name in tree(plain.images) if "task8" in name] == [
        "field_task8_neg_1.jpg",
        "field_task8_neg_1.txt",
        "field_task8_negative_metadata.json",
    ]
    assert export(plain, other, ONE).new == 0


def test_the_desktop_tools_files_are_not_touched(plain: Layout) -> None:
    """Its metadata and negatives of the same stem stay as they are; ours lie beside them."""
    plain.images.mkdir(parents=True)
    (plain.metadata / METADATA).write_text('{"source_image": "field.jpg", "num_patches": 1}')
    (plain.images / "field_neg_1.jpg").write_bytes(b"theirs")
    (plain.labels / "field_neg_1.txt").touch()
    before = contents(plain.images)
    export(plain, ONE)
    after = contents(plain.images)
    assert {name: after[name] for name in before} == before
    assert "field_task7_neg_1.jpg" in after


# ---------------------------------------------------------------- interrupted, crowded, full


def planned(layout: Layout, *what: Any) -> Plan:
    """The plan as it is now."""
    return plan_export(what or (THREE,), read_existing(layout))


FINISHED = sorted([METADATA, *(f"field_neg_{n}.{kind}" for n in (1, 2, 3) for kind in ("jpg", "txt"))])


def break_at(monkeypatch: pytest.MonkeyPatch, write_number: int) -> None:
    """Let the disk be full at the n-th file."""
    real, count = os.fsync, iter(range(1, 100))

    def fsync(file: int) -> None:
        if next(count) == write_number:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_full_disk_leaves_whole_files_and_is_made_good(
    plain: Layout, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Wherever it stops: no temporary file, every image whole with its label there, and the next run finishes under
    the same names.
    """
    with monkeypatch.context() as broken:
        break_at(broken, at)
        with pytest.raises(ExportError, match=r"No space left on device.*run the export again"):
            write(planned(plain), plain)
    left = tree(plain.images)
    assert [name for name in left if name.startswith(".")] == []
    for name in (name for name in left if name.endswith(".jpg")):
        assert name.replace(".jpg", ".txt") in left
        assert (plain.images / name).read_bytes().endswith(b"\xff\xd9")
    before = contents(plain.images)
    export(plain, THREE)
    after = contents(plain.images)
    assert tree(plain.images) == FINISHED
    assert {name for name in before if name != METADATA and after[name] != before[name]} == set()
    assert [item["region"] for item in metadata(plain)["provenance"]["patches"]] == [offered(n).id for n in range(3)]


def test_the_metadata_comes_first_and_the_image_last(plain: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader sees at any time is complete: intent, label, image; what is being written lies in dot-files."""
    appeared: list[str] = []
    temporary: list[str] = []
    real_link, real_replace = os.link, Path.replace

    def link(source: Path, target: Path) -> None:
        appeared.append(target.name)
        temporary.append(source.name)
        real_link(source, target)

    def replace(source: Path, target: Path) -> Path:
        appeared.append(target.name)
        temporary.append(source.name)
        return real_replace(source, target)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(Path, "replace", replace)
    export(plain, ONE)
    assert appeared == [METADATA, "field_neg_1.txt", "field_neg_1.jpg", "field_neg_2.txt", "field_neg_2.jpg"]
    assert [name for name in temporary if not name.startswith(".")] == []  # readers of images see no dot-files


def test_an_image_that_was_lost_is_written_again_under_its_name(plain: Layout) -> None:
    """Metadata and label are there, the image isn't: as after a crash between them."""
    export(plain, THREE)
    before = contents(plain.images)
    (plain.images / "field_neg_2.jpg").unlink()
    assert export(plain, THREE).new == 1
    assert {name: data for name, (data, _) in contents(plain.images).items() if name != METADATA} == {
        name: data for name, (data, _) in before.items() if name != METADATA
    }


@pytest.mark.parametrize("kind", ["jpg", "txt"])
def test_a_file_that_appears_meanwhile_is_left_alone(plain: Layout, kind: str) -> None:
    """Somebody's file under a planned name is never overwritten: the export stops and says so."""
    plan = planned(plain)
    plain.images.mkdir(parents=True)
    intruder = plain.images / f"field_neg_2.{kind}"
    intruder.write_bytes(b"somebody's")
    with pytest.raises(ExportError, match=rf"field_neg_2\.{kind} appeared while exporting; it was left alone"):
        write(plan, plain)
    assert intruder.read_bytes() == b"somebody's"
    assert [name for name in tree(plain.images) if name.startswith(".")] == []


def test_a_directory_in_the_way(plain: Layout) -> None:
    """A directory under a planned name stops the export; once it is gone the next run finishes."""
    plan = planned(plain)
    obstacle = plain.images / "field_neg_3.jpg"
    obstacle.mkdir(parents=True)
    with pytest.raises(ExportError, match=r"field_neg_3\.jpg"):
        write(plan, plain)
    obstacle.rmdir()
    export(plain, THREE)
    assert tree(plain.images) == FINISHED


def test_a_file_where_a_folder_belongs(tmp_path: Path, plain: Layout) -> None:
    """The refusal names what can't be written."""
    plan = planned(plain)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ExportError, match=r"out.* can't be written"):
        write(plan, plain)


@pytest.mark.parametrize("intruder", [None, "jpg", "txt"])
def test_a_file_system_without_hard_links(plain: Layout, monkeypatch: pytest.MonkeyPatch, intruder: str | None) -> None:
    """FAT, some network disks: the same files, and still nothing is overwritten."""

    def link(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    plan = planned(plain)
    if intruder is None:
        write(plan, plain)
        assert tree(plain.images) == FINISHED
        return
    plain.images.mkdir(parents=True)
    there = plain.images / f"field_neg_2.{intruder}"
    there.write_bytes(b"somebody's")
    with pytest.raises(ExportError, match="appeared while exporting"):
        write(plan, plain)
    assert there.read_bytes() == b"somebody's"


def elsewhere(layout: Layout) -> Callable[[], None]:
    """Another exporter's try at the same dataset."""

    def attempt() -> None:
        with sole_exporter(layout):
            pass

    return attempt


def test_two_exporters_at_once(plain: Layout) -> None:
    """The second is refused while the first runs, and says what to do."""
    with sole_exporter(plain), pytest.raises(ExportError, match=r"another export into .* is running; wait"):
        elsewhere(plain)()


def test_two_exporters_in_two_threads(plain: Layout) -> None:
    """Neither does another thread of this process get in."""
    refused: list[str] = []

    def attempt() -> None:
        try:
            elsewhere(plain)()
        except ExportError as error:
            refused.append(str(error))

    with sole_exporter(plain):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_one_exporter_after_another(plain: Layout) -> None:
    """The first one's end, failed or not, lets the second in."""
    with pytest.raises(RuntimeError), sole_exporter(plain):
        raise RuntimeError
    elsewhere(plain)()


def test_exporters_of_two_datasets(plain: Layout, yolo: Layout) -> None:
    """Another dataset is another matter."""
    with sole_exporter(plain):
        elsewhere(yolo)()


def test_the_same_dataset_by_another_way(tmp_path: Path, plain: Layout) -> None:
    """A link to the folder is the same folder."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with sole_exporter(plain), pytest.raises(ExportError, match="another export"):
        elsewhere(locate(tmp_path / "link"))()


def test_the_lock_lies_outside_of_the_dataset(tmp_path: Path, plain: Layout) -> None:
    """Whoever looks into the dataset sees files of the dataset only."""
    with sole_exporter(plain):
        assert tree(tmp_path) == []


def test_what_an_interrupted_run_announced_and_nobody_accepts_any_more_is_forgotten(plain: Layout) -> None:
    """Its record goes when the metadata is written next, as there is no image that it tells of."""
    export(plain, ONE)
    (plain.images / "field_neg_2.jpg").unlink()
    export(plain, (task(), "field.jpg", (*ONE[2][:1], *THREE[2][2:])))
    assert "field_neg_2.jpg" not in [record["file"] for record in metadata(plain)["provenance"]["patches"]]
    assert metadata(plain)["num_patches"] == 2


def test_what_a_killed_export_left_half_written_is_cleared(plain: Layout) -> None:
    """Its temporary files go with the next export; nobody else's dot-files do."""
    export(plain, ONE)
    (plain.images / ".field_neg_9.jpg.4711.part").write_bytes(b"half")
    (plain.images / ".keep.part").touch()
    with sole_exporter(plain):
        pass
    assert [path.name for path in plain.images.glob(".*")] == [".keep.part"]
