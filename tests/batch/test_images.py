import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from service.batch.images import Sampled, sample_images
from service.batch.labels import Labels, image_paths
from service.domain.geometry import Box
from service.domain.model import Cause, Rules
from service.errors import UsageError
from service.export.manifest import MANIFEST, read_manifest
from service.export.model import Row

RULES = Rules(patches=3, min_size=30, max_size=60)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of 200 × 160 px, each labelled for YOLO: one object, two objects, none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, lines in enumerate(["0 0.5 0.5 0.2 0.2", "0 0.1 0.1 0.2 0.2\n0 0.8 0.7 0.3 0.3", ""]):
        picture(folder / f"field{number}.png", seed=number)
        (folder / f"field{number}.txt").write_text(lines)
    return folder


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (200, 160)) -> Path:
    """A picture of smooth noise, unlike any of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def run(
    photos: Path,
    into: Path,
    *,
    paths: tuple[Path, ...] | None = None,
    labels: Path | None = None,
    roi: Box | None = None,
    rules: Rules = RULES,
    seed: int = 1,
    takes_unlabelled: bool = False,
) -> Sampled:
    """The batch over a folder."""
    return sample_images(
        paths or image_paths(photos),
        into,
        labels=Labels(labels),
        roi=roi,
        rules=rules,
        seed=seed,
        takes_unlabelled=takes_unlabelled,
        object_name="cells",
        max_pixels=10_000_000,
        now=lambda: NOON,
        progress=lambda *_: None,
    )


def tree(folder: Path) -> dict[str, bytes]:
    """All files below the folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metadata(into: Path, stem: str) -> dict[str, object]:
    """What was noted of one source."""
    found: dict[str, object] = json.loads((into / "negative_samples" / f"{stem}_negative_metadata.json").read_text())
    return found


def placed(into: Path, stem: str) -> list[Box]:
    """The boxes cut from one source."""
    patches = metadata(into, stem)["patches"]
    assert isinstance(patches, list)
    return [Box.sized(one["x"], one["y"], one["width"], one["height"]) for one in patches]


def rows(into: Path) -> tuple[Row, ...]:
    """The manifest."""
    return read_manifest((into / "negative_samples" / MANIFEST).read_bytes(), "")


def test_the_plain_layout_comes_out(photos: Path, tmp_path: Path) -> None:
    """Per negative an image and a zero-byte label, per source its metadata, and one contact sheet beside them."""
    done = run(photos, tmp_path / "out")
    stems = [row.stem for row in rows(tmp_path / "out")]
    expected = {f"negative_samples/{stem}{suffix}" for stem in stems for suffix in (".png", ".txt")}
    expected |= {f"negative_samples/field{source}_negative_metadata.json" for source in range(3)}
    files = {name: content for name, content in tree(tmp_path / "out").items() if "/.negatives/" not in name}
    assert len(stems) == 9
    assert set(files) == expected | {"contact_sheet.png", f"negative_samples/{MANIFEST}"}
    assert all(files[f"negative_samples/{stem}.txt"] == b"" for stem in stems)
    assert (done.images, done.written, done.there, done.short, done.failures) == (3, 9, 0, (), ())


def test_the_images_are_what_their_boxes_say(photos: Path, tmp_path: Path) -> None:
    """Each is the crop of its source at the place that the metadata names, pixel for pixel."""
    run(photos, tmp_path / "out")
    of_field1 = [row for row in rows(tmp_path / "out") if row.source.name == "field1.png"]
    assert [row.cut for row in of_field1] == placed(tmp_path / "out", "field1")
    with Image.open(photos / "field1.png") as source:
        for row in of_field1:
            with Image.open(tmp_path / "out" / "negative_samples" / row.file) as negative:
                expected = source.crop((row.cut.left, row.cut.top, row.cut.right, row.cut.bottom))
                assert np.array_equal(np.asarray(negative), np.asarray(expected))


def test_no_negative_touches_a_labelled_object(photos: Path, tmp_path: Path) -> None:
    """In a full picture every patch keeps clear of all objects; judged by shapely."""
    (photos / "field0.txt").write_text("".join(f"0 {x / 10} {y / 8} 0.05 0.06\n" for x in range(10) for y in (1, 4, 7)))
    run(photos, tmp_path / "out")
    objects = [shapely.box(x * 20 - 5, y * 20 - 4.8, x * 20 + 5, y * 20 + 4.8) for x in range(10) for y in (1, 4, 7)]
    boxes = placed(tmp_path / "out", "field0")
    assert len(boxes) == 3
    for box in boxes:
        area = shapely.box(box.left, box.top, box.right, box.bottom)
        assert all(area.intersection(thing).area == 0 for thing in objects)


def test_the_manifest_says_that_nobody_reviewed(photos: Path, tmp_path: Path) -> None:
    """The origin is a file with its digest, not Label Studio, and nobody accepted it."""
    run(photos, tmp_path / "out")
    for row in rows(tmp_path / "out"):
        assert (row.studio.startswith("negatives sample "), row.project) == (True, 0)
        assert row.source.sha256 == sha256((photos / row.source.name).read_bytes()).hexdigest()
        assert (row.reviewers, row.annotations, row.accepted_at) == ((), (), None)


def test_again_nothing_is_added(photos: Path, tmp_path: Path) -> None:
    """The same run finds all its negatives there, also from a moved copy of the pictures."""
    run(photos, tmp_path / "out")
    before = tree(tmp_path / "out" / "negative_samples")
    moved = photos.rename(tmp_path / "elsewhere")
    done = run(moved, tmp_path / "out")
    assert (done.written, done.there) == (0, 9)
    assert tree(tmp_path / "out" / "negative_samples") == before


def test_another_run_adds_and_keeps(photos: Path, tmp_path: Path) -> None:
    """Another seed is another choice; what was there stays and is counted."""
    run(photos, tmp_path / "out")
    before = tree(tmp_path / "out" / "negative_samples")
    done = run(photos, tmp_path / "out", seed=2)
    after = tree(tmp_path / "out" / "negative_samples")
    assert (done.written, done.earlier) == (9, 9)
    pictures = {name for name in before if name.endswith((".png", ".txt"))}
    assert {name: after[name] for name in pictures} == {name: before[name] for name in pictures}


def test_what_would_not_be_placed_any_more_is_taken_out(photos: Path, tmp_path: Path) -> None:
    """An object that was labelled since fills the picture; the others stay."""
    run(photos, tmp_path / "out")
    (photos / "field0.txt").write_text("0 0.5 0.5 1 1")
    done = run(photos, tmp_path / "out")
    assert (done.written, done.there, done.taken_out, done.earlier) == (0, 6, 3, 0)
    assert {row.source.name for row in rows(tmp_path / "out")} == {"field1.png", "field2.png"}


def test_a_picture_without_labels_is_passed_over(photos: Path, tmp_path: Path) -> None:
    """That nobody looked is no proof; an empty label file is one."""
    (photos / "field1.txt").unlink()
    done = run(photos, tmp_path / "out")
    assert [found.path.name for found in done.passed_over] == ["field1.png"]
    assert "has no labels" in done.passed_over[0].text
    assert done.written == 6


def test_unlabelled_pictures_are_taken_when_told_so(photos: Path, tmp_path: Path) -> None:
    """Somebody who knows that they are empty says it."""
    (photos / "field1.txt").unlink()
    done = run(photos, tmp_path / "out", takes_unlabelled=True)
    assert (done.written, done.passed_over) == (9, ())


def test_the_roi_holds_all_patches(photos: Path, tmp_path: Path) -> None:
    """In pixels, for every picture; what hangs over the border is cut off."""
    roi = Box(120, -20, 260, 80)
    run(photos, tmp_path / "out", roi=roi)
    boxes = [box for source in range(3) for box in placed(tmp_path / "out", f"field{source}")]
    assert boxes
    assert all(Box(120, 0, 200, 80).holds(box) for box in boxes)


def test_a_turned_picture_is_sampled_upright(photos: Path, tmp_path: Path) -> None:
    """Labels are made on the upright picture; so is the crop."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "field0.png") as upright:
        whole = upright.copy()
        upright.transpose(Image.Transpose.ROTATE_90).save(photos / "field0.png", exif=exif)
    (photos / "field0.txt").write_text("0 0.25 0.5 0.5 1")  # the left half; lying, its upper half
    rules, roi = Rules(patches=1, min_size=100, max_size=100), Box(100, 0, 200, 100)
    done = run(photos, tmp_path / "out", paths=(photos / "field0.png",), rules=rules, roi=roi)
    assert (done.short, placed(tmp_path / "out", "field0")) == ((), [Box(100, 0, 200, 100)])
    (row,) = rows(tmp_path / "out")
    with Image.open(tmp_path / "out" / "negative_samples" / row.file) as negative:
        assert np.array_equal(np.asarray(negative), np.asarray(whole.crop((100, 0, 200, 100))))


def test_shortfalls_are_told_picture_by_picture(photos: Path, tmp_path: Path) -> None:
    """With cause and figures."""
    done = run(photos, tmp_path / "out", rules=Rules(patches=3, min_size=140, max_size=150))
    told = {found.path.name: found.shortfall for found in done.short}
    assert set(told) == {"field0.png", "field1.png", "field2.png"}
    first = told["field0.png"]
    assert first is not None
    assert (first.cause, first.requested, first.placed) == (Cause.BLOCKED, 3, 0)


def test_a_broken_picture_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    """It is told of; so are labels that can't be read."""
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "field1.txt").write_text("0 0.5 nonsense")
    done = run(photos, tmp_path / "out")
    assert {found.path.name for found in done.failures} == {"broken.png", "field1.png"}
    assert done.written == 6


def test_the_same_picture_twice_counts_once(photos: Path, tmp_path: Path) -> None:
    """A copy under another name gives no second set of the same negatives."""
    (photos / "copy.png").write_bytes((photos / "field0.png").read_bytes())
    (photos / "copy.txt").write_text("")
    done = run(photos, tmp_path / "out")
    assert done.written == 9
    assert [found.text for found in done.passed_over] == [
        f"is the same picture as {photos / 'copy.png'}; the labels of both count"
    ]


@pytest.mark.parametrize("labelled", ["copy.txt", "field0.txt"])
def test_what_is_labelled_in_one_copy_is_labelled_in_all(photos: Path, tmp_path: Path, labelled: str) -> None:
    """An object that fills the picture leaves no patch, whichever copy it was labelled in, also if nobody looked at the
    other.
    """
    (photos / "copy.png").write_bytes((photos / "field0.png").read_bytes())
    (photos / "field0.txt").unlink()
    (photos / labelled).write_text("0 0.5 0.5 1 1")
    done = run(photos, tmp_path / "out", takes_unlabelled=True)
    assert (done.written, [found.shortfall.placed for found in done.short if found.shortfall]) == (6, [0])


def test_one_label_file_is_for_one_image(photos: Path, tmp_path: Path) -> None:
    """Two pictures of one stem: nobody knows whose objects these are."""
    picture(photos / "field0.bmp", seed=8)
    done = run(photos, tmp_path / "out")
    assert [found.path.name for found in done.failures] == ["field0.png"]
    assert "labels go with one image" in done.failures[0].text


def test_our_own_contact_sheet_is_no_picture(photos: Path) -> None:
    """Run again with the pictures' own folder as the place for all that comes out, nothing is made of it."""
    run(photos, photos)
    done = run(photos, photos, takes_unlabelled=True)
    assert (done.written, done.there, done.unlabelled) == (0, 9, 0)


def test_what_an_interrupted_run_announced_is_forgotten(photos: Path, tmp_path: Path) -> None:
    """Metadata tells only of images that are there, also when the next run wants others."""
    run(photos, tmp_path / "out")
    for path in (tmp_path / "out" / "negative_samples").glob("field0_neg_*"):
        path.unlink()
    run(photos, tmp_path / "out", roi=Box(0, 0, 20, 20))
    assert not (tmp_path / "out" / "negative_samples" / "field0_negative_metadata.json").exists()
    assert len(placed(tmp_path / "out", "field1")) == 3


def test_sizes_that_no_trainer_keeps_are_refused(photos: Path, tmp_path: Path) -> None:
    """They would be dropped in silence."""
    with pytest.raises(UsageError, match="min_size is 5 px, but trainers drop images below 10 px"):
        run(photos, tmp_path / "out", rules=Rules(min_size=5))


def test_a_picture_without_brightness_is_refused(photos: Path, tmp_path: Path) -> None:
    """Floating-point values have no white: black negatives would come out."""
    Image.fromarray(np.zeros((160, 200), dtype=np.float32)).save(photos / "heights.tif")
    (photos / "heights.txt").write_text("")
    done = run(photos, tmp_path / "out")
    assert [found.path.name for found in done.failures] == ["heights.tif"]
    assert "floating-point" in done.failures[0].text


def test_pictures_of_the_same_name_keep_apart(photos: Path, tmp_path: Path) -> None:
    """From two folders: the second gets another stem, and nothing is overwritten."""
    other = tmp_path / "other"
    other.mkdir()
    picture(other / "field0.png", seed=9)
    (other / "field0.txt").write_text("")
    done = run(photos, tmp_path / "out", paths=(photos / "field0.png", other / "field0.png"))
    names = sorted(path.name for path in (tmp_path / "out" / "negative_samples").glob("*.json"))
    assert (done.written, len(names), len(rows(tmp_path / "out"))) == (6, 2, 6)


def test_a_foreign_contact_sheet_is_left_alone(photos: Path, tmp_path: Path) -> None:
    """Ours is written anew each time; somebody else's file of that name is not."""
    (tmp_path / "out").mkdir()
    foreign = picture(tmp_path / "out" / "contact_sheet.png").read_bytes()
    done = run(photos, tmp_path / "out")
    assert ((tmp_path / "out" / "contact_sheet.png").read_bytes(), done.sheet) == (foreign, None)
    assert "is in the way" in done.passed_over[0].text


def test_coco_labels_count(photos: Path, tmp_path: Path) -> None:
    """A COCO file beside the pictures, masks and polygons included; pictures that it doesn't list weren't looked at."""
    triangle = [0, 0, 200, 0, 0, 160]
    coco = {
        "images": [{"id": 1, "file_name": "field0.png", "width": 200, "height": 160}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 200, 160], "segmentation": [triangle]}
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    done = run(photos, tmp_path / "out", labels=tmp_path / "coco.json")
    assert [found.path.name for found in done.passed_over] == ["field1.png", "field2.png"]
    area = shapely.Polygon([(0, 0), (200, 0), (0, 160)])
    boxes = placed(tmp_path / "out", "field0")
    assert len(boxes) == 3
    assert all(area.intersection(shapely.box(*(b.left, b.top, b.right, b.bottom))).area < 0.1 for b in boxes)


# ---------------------------------------------------------------- the command


def negatives(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, as people run it, with no setting at all."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("NEGATIVES_")}
    command = [sys.executable, "-m", "service.cli", "sample", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=bare)


def test_the_command_needs_no_settings(photos: Path, tmp_path: Path) -> None:
    """Pictures in, negatives out, and it says where."""
    done = negatives(photos, "--into", tmp_path / "out", "--patches", 2, "--min-size", 30, "--max-size", 40)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "3 images: 6 negatives written, 0 were there already",
            f"  negatives     {tmp_path / 'out' / 'negative_samples'}",
            f"  contact sheet {tmp_path / 'out' / 'contact_sheet.png'}",
        ],
    )
    assert len(list((tmp_path / "out" / "negative_samples").glob("*.png"))) == 6


def test_the_command_sums_up_what_is_short(photos: Path, tmp_path: Path) -> None:
    """Causes counted, pictures named; exit code 3, as a person should look."""
    (photos / "field2.txt").unlink()
    done = negatives(photos, "--into", tmp_path / "out", "--min-size", 140, "--max-size", 150)
    assert done.returncode == 3
    assert "10 patches are short, in 2 images: 2 blocked" in done.stdout
    assert f"  {photos / 'field2.png'}: has no labels" in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--roi", "1,2,3"], "--roi is '1,2,3', but must be four whole numbers"),
        (["--roi", "1,2,0,3"], "--roi is '1,2,0,3', but width and height must be above 0"),
        (["--patches", "21"], "patches is 21, but must be 1 to 20"),
        (["--min-size", "500"], "max_size is 400 px, but must be at least min_size (500)"),
        (["--min-size", "many"], "many"),
        (["--unknown"], "unknown"),
    ],
)
def test_wrong_options_end_with_two(photos: Path, tmp_path: Path, more: list[str], said: str) -> None:
    """And nothing is written."""
    done = negatives(photos, "--into", tmp_path / "out", *more)
    assert (done.returncode, said in done.stderr, (tmp_path / "out").exists()) == (2, True, False)


def test_a_repository_takes_only_reviewed_negatives(photos: Path, tmp_path: Path) -> None:
    """A data.yaml is refused: what nobody reviewed doesn't go into training by itself."""
    (tmp_path / "data.yaml").write_text("train: images")
    done = negatives(photos, "--into", tmp_path / "data.yaml")
    assert (done.returncode, "only reviewed negatives" in done.stderr) == (2, True)


def test_without_anything_the_command_says_what_it_needs() -> None:
    """Neither a scene nor images."""
    done = negatives()
    assert (done.returncode, "give --scene, or images and --into" in done.stderr) == (2, True)


def test_the_limit_that_a_refusal_names_can_be_set(photos: Path, tmp_path: Path) -> None:
    """An image with more pixels than allowed is told of with the setting, which the command heeds."""
    command = [sys.executable, "-m", "service.cli", "sample", str(photos), "--into", str(tmp_path / "out")]
    limited = os.environ | {"NEGATIVES_MAX_IMAGE_PIXELS": "1000"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=limited)
    assert (done.returncode, done.stderr.count("more than 1,000 in all (NEGATIVES_MAX_IMAGE_PIXELS)")) == (1, 3)
