"""The loop against a real Label Studio: ROI → webhook → patches → verdicts → export → Ultralytics."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from service.demo.annotator import Annotator, Json, Prediction
from service.demo.background import emptiest_rectangle
from service.demo.loop import Picture, make_repository
from service.domain.geometry import Box
from service.export.manifest import MANIFEST, read_manifest
from tests.bccd import Photo, photos
from tests.service_process import ServiceProcess, wait_for

HERE = Path(__file__).resolve().parent
READERS = HERE.parents[1] / ".venv-readers" / "bin" / "python"


def background(photo: Photo) -> tuple[Box, dict[str, float]]:
    """The emptiest part of a photo, a little more than that, and fields for patches that fit between cells."""
    found = emptiest_rectangle(*photo.size, tuple(thing.box for thing in photo.objects))
    assert found is not None
    roi = Box(
        max(0, found.left - 20),
        max(0, found.top - 20),
        min(photo.size[0], found.right + 20),
        min(photo.size[1], found.bottom + 20),
    )
    side = min(found.width, found.height)
    return roi, {"patches": 4, "min_size": max(12, side // 2), "max_size": max(24, side)}


def draw_and_wait(annotator: Annotator, taken: list[Photo]) -> dict[int, tuple[Photo, Prediction]]:
    """Upload, label every object, draw an ROI each, and wait for the patches."""
    tasks = dict(zip(annotator.upload([photo.path for photo in taken]), taken, strict=True))
    for task, photo in tasks.items():
        annotator.label_objects(task, photo.size, photo.objects)
        roi, fields = background(photo)
        annotator.draw_roi(task, photo.size, roi, fields)
    return {
        task: (photo, wait_for(partial(annotator.prediction, task), f"patches for task {task}"))
        for task, photo in tasks.items()
    }


def test_an_roi_becomes_negatives_that_ultralytics_reads_as_background(
    service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Every accepted patch, and no other, becomes a background image of the team's repository; none touches a box."""
    shown = draw_and_wait(connected, photos(8, tmp_path))
    rejected: set[str] = set()
    for number, (task, (_, prediction)) in enumerate(shown.items()):
        out = {patch["id"] for patch in prediction.patches[:1]} if number % 2 else set()
        rejected |= out
        connected.review(task, prediction, partial(is_among, out))
    offered = {patch["id"] for _, prediction in shown.values() for patch in prediction.patches}
    accepted = offered - rejected
    assert len(accepted) >= 8
    assert rejected
    pictures = [Picture(photo.path, photo.size, photo.objects, None) for photo, _ in shown.values()]
    data_yaml = make_repository(pictures, tmp_path / "repository")
    before = read_with_ultralytics(data_yaml, tmp_path)

    done = service.run("export", "--project", str(connected.project_id), "--into", str(data_yaml))

    assert done.returncode == 0, done.stdout + done.stderr
    after = read_with_ultralytics(data_yaml, tmp_path)
    rows = read_manifest((data_yaml.parent / MANIFEST).read_bytes(), MANIFEST)
    negatives = {Path(path).name for path in after["backgrounds"]} - {Path(path).name for path in before["backgrounds"]}
    assert negatives == {row.name for row in rows}
    assert after["objects"] == before["objects"]
    assert {row.patch for row in rows} == accepted
    for row in rows:
        photo, _ = shown[row.task]
        assert (data_yaml.parent / "images" / row.split / photo.path.name).is_file()
        assert row.pixels == "lossless"
        assert not [thing for thing in photo.objects if thing.box.touches(row.cut)]


def is_among(ids: set[str], patch: Json) -> bool:
    """Whether the patch is one of these."""
    return patch["id"] in ids


def read_with_ultralytics(data_yaml: Path, scratch: Path) -> dict[str, list[str]]:
    """What Ultralytics' own dataset check and loader find."""
    for cache in data_yaml.parent.rglob("*.cache"):
        cache.unlink()
    done = subprocess.run(
        [READERS, HERE / "read_with_ultralytics.py", data_yaml, "train", "val"],
        env={**os.environ, "YOLO_CONFIG_DIR": str(scratch), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_second_export_adds_only_what_was_accepted_since(
    service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Exporting again writes nothing; after one more review it writes just that, and touches no file that was there."""
    shown = draw_and_wait(connected, photos(2, tmp_path))
    (first, (_, one)), (second, (_, two)) = shown.items()
    into = tmp_path / "dataset"

    def export() -> dict[str, int]:
        done = service.run("export", "--project", str(connected.project_id), "--into", str(into))
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.name: path.stat().st_mtime_ns for path in (into / "negative_samples").glob("*_neg_*.*")}

    connected.review(first, one, lambda _: False)
    once = export()
    again = export()
    connected.review(second, two, lambda _: False)
    more = export()

    assert len(once) == 2 * len(one.patches)
    assert again == once
    assert {name: more[name] for name in once} == once
    assert len(more) == 2 * (len(one.patches) + len(two.patches))


def test_nothing_that_nobody_reviewed_is_exported(
    service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Proposals without a verdict, and those of a task that was skipped, stay out of the dataset."""
    shown = draw_and_wait(connected, photos(2, tmp_path))
    skipped, (_, prediction) = next(iter(shown.items()))
    connected.submit(skipped, prediction.result, was_cancelled=True, parent_prediction=prediction.id)

    done = service.run("export", "--project", str(connected.project_id), "--into", str(tmp_path / "dataset"))

    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "dataset").rglob("*.jpg"))


def test_an_object_labelled_later_replaces_just_the_patch_that_it_touches(connected: Annotator, tmp_path: Path) -> None:
    """The other patches, their ids and the prediction itself stay: somebody may be looking at them."""
    photo = photos(1, tmp_path)[0]
    (task,) = connected.upload([photo.path])
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 40, "max_size": 80})
    before = wait_for(lambda: connected.prediction(task), "patches")
    hit = before.patches[0]["value"]
    middle_x, middle_y = hit["x"] + hit["width"] / 2, hit["y"] + hit["height"] / 2
    at = Box.sized(int(middle_x * photo.size[0] / 100), int(middle_y * photo.size[1] / 100), 3, 3)
    touched = {patch["id"] for patch in before.patches if _pixels(patch, photo.size).touches(at)}

    connected.label_objects(task, photo.size, [type(photo.objects[0])("RBC", at)])

    def changed() -> Prediction | None:
        now = connected.prediction(task)
        return now if now is not None and now.result != before.result else None

    after = wait_for(changed, "the changed proposal")
    ids_before, ids_after = ({patch["id"] for patch in one.patches} for one in (before, after))
    assert after.id == before.id
    assert ids_before - ids_after == touched
    assert len(ids_after) == len(ids_before)


def _pixels(patch: dict[str, dict[str, float]], size: tuple[int, int]) -> Box:
    value = patch["value"]
    return Box.sized(
        *(
            round(value[key] * extent / 100)
            for key, extent in zip(("x", "y", "width", "height"), (*size, *size), strict=True)
        )
    )


def test_predictions_of_other_models_are_left_alone(connected: Annotator, tmp_path: Path) -> None:
    """A team's own model keeps its prediction, whatever becomes of ours."""
    photo = photos(1, tmp_path)[0]
    (task,) = connected.upload([photo.path])
    theirs = {"task": task, "model_version": "their-model", "score": 0.5, "result": []}
    connected.api.post("/api/predictions/", json=theirs).raise_for_status()
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 20, "max_size": 40})
    wait_for(lambda: connected.prediction(task), "patches")
    found = connected.api.get("/api/predictions/", params={"task": task}).json()
    assert sorted(item["model_version"] for item in found) == ["negatives", "their-model"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"patches": 25}, "patches is 25, but must be 1 to 20"),
        ({"min_size": 90, "max_size": 50}, "max_size is 50 px, but must be at least min_size (90)"),
        ({"min_size": 1000, "max_size": 2000}, "smaller than one patch of 1000 × 1000 px"),
    ],
)
def test_a_refusal_reaches_the_person(
    fields: dict[str, float], sentence: str, service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Values out of range are not clamped: the reason stands on the prediction's ROI, and in `negatives status`."""
    photo = photos(1, tmp_path)[0]
    (task,) = connected.upload([photo.path])
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), fields)
    prediction = wait_for(lambda: connected.prediction(task), "the refusal")
    assert not prediction.patches
    assert sentence in prediction.result[0]["meta"]["text"][0]
    status = service.run("status", "--project", str(connected.project_id))
    assert sentence in status.stdout
    assert status.returncode == 3
