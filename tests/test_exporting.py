"""Exports as people ask for them: what is written, left, taken out and told, and that nothing depends on the way."""

import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.domain.geometry import Box
from service.errors import ExportError, ImageError, LabelStudioUnavailable, SetupError
from service.export.formats import Request, format_for
from service.export.manifest import MANIFEST, read_manifest
from service.export.model import Row
from service.export.plan import Action, Options
from service.export.writing import Store
from service.exporting import Exported, undo
from tests.exporting import LABELING, FakeSources, FakeStudio, draw_source, reviewed, run, tree, yolo_repository
from tests.factories import NOON, moved, review


@pytest.fixture
def sources(tmp_path: Path) -> FakeSources:
    """Where source images come from."""
    folder = tmp_path / "sources"
    folder.mkdir()
    return FakeSources(folder)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The data.yaml of a repository with train and val, two labelled images each."""
    return yolo_repository(tmp_path / "repository")


def rows(into: Path) -> tuple[Row, ...]:
    """The manifest beside a data.yaml."""
    path = into.parent / MANIFEST
    return read_manifest(path.read_bytes(), "") if path.exists() else ()


def told(done: Exported, action: Action) -> list[tuple[str, str]]:
    """(file's stem without its digest, reason) of the items with this action."""
    return [(Path(item.file).stem.rpartition("_")[0], item.reason) for item in done.plan.items if item.action is action]


def only(done: Exported, action: Action) -> str:
    """The reason of the only item with this action."""
    ((_, reason),) = told(done, action)
    return reason


# ---------------------------------------------------------------- what is written


def test_what_was_accepted_becomes_images_with_empty_labels(sources: FakeSources, into: Path) -> None:
    """Three of two tasks, beside what was there, each with a row that says where it comes from."""
    before = tree(into.parent)
    done = run(FakeStudio(reviewed(1, 0, 1), reviewed(2, 2), reviewed(3)), into, sources)
    after = tree(into.parent)
    new = sorted(after.keys() - before.keys())
    assert {name: after[name] for name in before} == before
    assert [name.rpartition("_")[0] for name in new] == [
        *["images/train/field1_neg"] * 2,
        "images/train/field2_neg",
        *["labels/train/field1_neg"] * 2,
        "labels/train/field2_neg",
        "",
    ]
    assert all(after[name] == b"" for name in new if name.startswith("labels/"))
    assert (done.plan.count(Action.ADD), done.failures, done.notes) == (3, (), ())
    for row in rows(into):
        assert (row.project, row.reviewers, row.split, row.source.name) == (3, (1,), "train", f"field{row.task}.png")
        assert (row.size, row.pixels) == ((row.box.width, row.box.height), "exact")


def test_a_second_run_reads_and_writes_nothing(sources: FakeSources, into: Path) -> None:
    """Neither a task nor an image is looked at again, and no file is touched."""
    studio = FakeStudio(reviewed(1, 0, 1), reviewed(2, 2))
    run(studio, into, sources)
    studio.put(reviewed(3))  # so that the last look's minute holds nothing else
    run(studio, into, sources)
    stamps = {path: path.stat().st_mtime_ns for path in into.parent.rglob("*")}
    studio.read.clear()
    sources.taken.clear()
    done = run(studio, into, sources)
    assert {path: path.stat().st_mtime_ns for path in into.parent.rglob("*")} == stamps
    assert (studio.read, sources.taken, done.tasks) == ([], [], 0)
    assert (done.plan.count(Action.KEEP), done.plan.count(Action.ADD)) == (3, 0)


def test_only_what_changed_is_read(sources: FakeSources, into: Path) -> None:
    """Of a hundred tasks the one that somebody reviewed since."""
    studio = FakeStudio(*(reviewed(number, 0) for number in range(1, 101)))
    run(studio, into, sources)
    studio.put(reviewed(50, 0, 1))
    studio.read.clear()
    sources.taken.clear()
    done = run(studio, into, sources)
    assert (studio.read, sources.taken) == ([50], [50])
    assert (done.plan.count(Action.ADD), done.plan.count(Action.KEEP)) == (1, 100)


def test_everything_is_read_again_when_the_rules_of_deciding_change(sources: FakeSources, into: Path) -> None:
    """Two approvals are asked for now: what has one goes."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    assert only(run(studio, into, sources, min_approvals=2), Action.TAKE_OUT) == "it is no longer accepted"
    assert rows(into) == ()


def test_each_image_is_taken_once(sources: FakeSources, into: Path) -> None:
    """All patches of a task come from one opening, and a task without any is not fetched."""
    run(FakeStudio(reviewed(1, 0, 1, 2), reviewed(2)), into, sources)
    assert sources.taken == [1]


def test_an_image_that_cannot_be_had_does_not_stop_the_others(sources: FakeSources, into: Path) -> None:
    """Each failure is told with its task, and the next run makes it good."""
    sources.problems = {1: ImageError("gone"), 3: LabelStudioUnavailable("slow")}
    studio = FakeStudio(*(reviewed(number, 0) for number in range(1, 5)))
    done = run(studio, into, sources)
    assert [(note.task_id, note.text) for note in done.failures] == [(1, "gone"), (3, "slow")]
    assert {row.task for row in rows(into)} == {2, 4}
    sources.problems = {}
    studio.read.clear()
    studio.put(reviewed(9))
    assert run(studio, into, sources).plan.count(Action.ADD) == 2
    assert sorted(studio.read) == [1, 3, 9]


def test_a_project_that_is_not_connected(sources: FakeSources, into: Path) -> None:
    """Refused like proposing, and nothing is touched."""
    before = tree(into.parent)
    with pytest.raises(SetupError, match="negatives setup --project 3"):
        run(FakeStudio(reviewed(1, 0), labeling=replace(LABELING, controls=())), into, sources)
    assert tree(into.parent) == before


# ---------------------------------------------------------------- dry run


def test_a_dry_run_tells_all_and_writes_nothing(sources: FakeSources, into: Path) -> None:
    """The plan is the one that the export then carries out."""
    studio = FakeStudio(reviewed(1, 0, 1), reviewed(2, 2))
    before = tree(into.parent)
    plan = run(studio, into, sources, is_dry=True)
    assert tree(into.parent) == before
    assert not (into.parent / ".negatives").exists()
    assert run(studio, into, sources).plan.items == plan.plan.items


def test_the_report_is_plain_json(sources: FakeSources, into: Path) -> None:
    """Each file with action, split, reason, collision and warning, and the shares before and after."""
    done = run(FakeStudio(reviewed(1, 0)), into, sources, is_dry=True)
    report = json.loads(json.dumps(done.report))
    (file,) = report["files"]
    assert file.keys() == {"action", "file", "split", "task", "reason", "collision", "warning"}
    assert (file["action"], file["split"], file["task"]) == ("add", "train", 1)
    assert report["splits"][0] == {
        "split": "train",
        "before": {"images": 2, "negatives": 0, "share": 0.0},
        "after": {"images": 3, "negatives": 1, "share": 0.3333},
    }
    assert "33% negatives" in report["warnings"][0]


# ---------------------------------------------------------------- what goes


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (reviewed(1, 1), "it was rejected"),
        (reviewed(1), "it is no longer accepted"),
        (reviewed(1, 0, 1, exclusions=[Box(12, 14, 20, 20)]), "it is no longer proved free of objects"),
        (replace(reviewed(1, 0, 1), image="/data/upload/3/other.png"), "the patch was moved, or its image replaced"),
    ],
)
def test_what_is_no_longer_approved_is_taken_out(then: object, reason: str, sources: FakeSources, into: Path) -> None:
    """Image, label and row: the repository is as if the patch had never been exported."""
    studio = FakeStudio(reviewed(1, 0, 1))
    run(studio, into, sources)
    studio.put(then)  # type: ignore[arg-type]
    done = run(studio, into, sources)
    assert reason in {why for _, why in told(done, Action.TAKE_OUT)}
    fresh = yolo_repository(into.parent.parent / "fresh")
    run(studio, fresh, sources)
    assert tree(into.parent) == tree(fresh.parent)


def test_a_patch_that_was_moved_is_another_one(sources: FakeSources, into: Path) -> None:
    """The old picture goes, the new one comes."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    one = studio.kept[1]
    offered = one.standing[0].patches
    elsewhere = moved(offered[0], Box(12, 14, 52, 46))
    studio.put(replace(one, reviews=(review([elsewhere], offered),)))
    done = run(studio, into, sources)
    assert (done.plan.count(Action.ADD), only(done, Action.TAKE_OUT)) == (
        1,
        "the patch was moved, or its image replaced",
    )
    assert [row.box for row in rows(into)] == [elsewhere.box]


@pytest.mark.parametrize("changed", ["images", "labels"])
def test_what_somebody_changed_is_not_taken_out_but_told(changed: str, sources: FakeSources, into: Path) -> None:
    """Their work stays, run after run, until they decide."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    path = into.parent / (row.file if changed == "images" else f"labels/train/{row.stem}.txt")
    path.write_bytes(b"0 0.5 0.5 0.1 0.1\n")
    studio.put(reviewed(1, 1))
    for _ in range(2):
        done = run(studio, into, sources)
        assert "was changed since" in only(done, Action.REPORT) or "theirs now" in only(done, Action.REPORT)
        assert done.needs_a_person
    assert path.read_bytes() == b"0 0.5 0.5 0.1 0.1\n"


def test_a_negative_in_which_somebody_labelled_an_object_is_told(sources: FakeSources, into: Path) -> None:
    """It stays as it is, and counts as theirs."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    (into.parent / "labels" / "train" / f"{row.stem}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert "theirs now" in only(run(studio, into, sources), Action.REPORT)


def test_an_image_that_was_lost_comes_back(sources: FakeSources, into: Path) -> None:
    """Though its task hasn't changed."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    before = tree(into.parent)
    (into.parent / rows(into)[0].file).unlink()
    done = run(studio, into, sources)
    assert (done.plan.count(Action.RESTORE), tree(into.parent)) == (1, before)


def test_negatives_of_tasks_that_are_gone_stay_until_told(sources: FakeSources, into: Path) -> None:
    """A full look notes them; --prune takes them out."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    del studio.kept[1]
    done = run(studio, into, sources, full=True)
    assert [(note.task_id, "--prune" in note.text) for note in done.notes] == [(1, True)]
    assert len(rows(into)) == 2
    done = run(studio, into, sources, options=Options(prune=True))
    assert only(done, Action.TAKE_OUT) == "its task is no longer in Label Studio"
    assert [row.task for row in rows(into)] == [2]


def test_undo_gives_the_first_tree_back(sources: FakeSources, into: Path) -> None:
    """Byte for byte, what we remember included."""
    before = tree(into.parent)
    run(FakeStudio(reviewed(1, 0, 1), reviewed(2, 2)), into, sources)
    done = undo(Request(into), format_for(into, None))
    assert done.plan.count(Action.TAKE_OUT) == 3
    assert tree(into.parent) == before
    assert not (into.parent / ".negatives").exists()


def test_undo_leaves_what_somebody_changed(sources: FakeSources, into: Path) -> None:
    """And tells of it; nothing else of ours stays."""
    run(FakeStudio(reviewed(1, 0, 1)), into, sources)
    mine, _ = rows(into)
    (into.parent / mine.file).write_bytes(b"retouched")
    done = undo(Request(into), format_for(into, None))
    assert (done.plan.count(Action.TAKE_OUT), done.plan.count(Action.REPORT)) == (1, 1)
    assert [row.file for row in rows(into)] == [mine.file]
    assert (into.parent / mine.file).read_bytes() == b"retouched"


# ---------------------------------------------------------------- names, splits, share


def test_names_that_are_taken_are_passed_by(sources: FakeSources, into: Path) -> None:
    """Whatever the extension and the case, in any split: nothing that exists is overwritten."""
    studio = FakeStudio(reviewed(1, 0))
    stem = Path(run(studio, into, sources, is_dry=True).plan.items[0].file).stem
    (into.parent / "labels" / "val" / f"{stem.upper()}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    draw_source(into.parent / "images" / "train" / f"{stem}_2.bmp", 77)
    done = run(studio, into, sources)
    (item,) = (item for item in done.plan.items if item.action is Action.ADD)
    assert (Path(item.file).stem, item.collision) == (f"{stem}_3", f"{stem} is taken")


def test_a_picture_that_is_there_already_is_left_out(sources: FakeSources, into: Path) -> None:
    """By content, against the whole repository, whatever its name."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    twin = into.parent / "images" / "val" / "from_somewhere.png"
    twin.write_bytes((into.parent / row.file).read_bytes())
    undo(Request(into), format_for(into, None))
    done = run(studio, into, sources)
    assert only(done, Action.LEAVE_OUT) == "the same picture is there: images/val/from_somewhere.png"
    twin.unlink()
    assert run(studio, into, sources).plan.count(Action.ADD) == 1  # looked at again, though nothing changed


def test_two_tasks_of_the_same_image_give_each_picture_once(sources: FakeSources, into: Path) -> None:
    """The second is left out, and named."""
    second = replace(reviewed(2, 0), image=reviewed(1).image)
    done = run(FakeStudio(reviewed(1, 0), second), into, sources)
    assert (done.plan.count(Action.ADD), done.plan.count(Action.LEAVE_OUT)) == (1, 1)


@pytest.mark.parametrize(
    "name", ["field1.png", "FIELD1.JPG", "field1_png.rf.0123456789abcdef.jpg", "field1_jpg.rf.aa.png"]
)
def test_patches_go_to_the_split_that_holds_their_image(name: str, sources: FakeSources, into: Path) -> None:
    """Known by its name, as Roboflow changes it, too."""
    draw_source(into.parent / "images" / "val" / name.replace(".JPG", ".jpg"), 1)
    done = run(FakeStudio(reviewed(1, 0, 1)), into, sources)
    assert {(row.split, Path(row.file).parent.as_posix()) for row in rows(into)} == {("val", "images/val")}
    assert only(replace(done, plan=replace(done.plan, items=done.plan.items[:1])), Action.ADD).endswith("is in val")


def test_patches_follow_their_image_into_another_split(sources: FakeSources, into: Path) -> None:
    """Somebody adds it to val later: what lies in train would leak."""
    studio = FakeStudio(reviewed(1, 0, 1), reviewed(2, 0))
    run(studio, into, sources)
    draw_source(into.parent / "images" / "val" / "field1.png", 1)
    done = run(studio, into, sources)
    assert done.plan.count(Action.MOVE) == 2
    assert {(row.task, row.split) for row in rows(into)} == {(1, "val"), (2, "train")}
    assert {path.stem for path in (into.parent / "labels" / "val").glob("*neg*")} == {
        row.stem for row in rows(into) if row.task == 1
    }


def test_shares_keep_the_patches_of_an_image_together(sources: FakeSources, into: Path) -> None:
    """By a hash of the image's content: the same every time, and about as asked."""
    studio = FakeStudio(*(reviewed(number, 0, 1, 2) for number in range(1, 41)))
    options = Options(shares={"train": 75, "val": 25})
    run(studio, into, sources, options=options)
    splits = {row.task: {other.split for other in rows(into) if other.task == row.task} for row in rows(into)}
    assert all(len(found) == 1 for found in splits.values())
    assert 4 <= sum(found == {"val"} for found in splits.values()) <= 16
    again = yolo_repository(into.parent.parent / "again")
    run(studio, again, sources, options=options)
    assert tree(again.parent) == tree(into.parent)


def test_shares_that_change_move_nothing(sources: FakeSources, into: Path) -> None:
    """New patches of an image join the ones that are there."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources, options=Options(shares={"val": 1}))
    studio.put(reviewed(1, 0, 1))
    run(studio, into, sources)
    assert [row.split for row in rows(into)] == ["val", "val"]


def test_a_share_of_a_split_that_is_not_there(sources: FakeSources, into: Path) -> None:
    """Refused, and nothing is touched but for what we remember."""
    before = tree(into.parent)
    with pytest.raises(ExportError, match="no split 'test'"):
        run(FakeStudio(reviewed(1, 0)), into, sources, options=Options(shares={"test": 1}))
    assert tree(into.parent) == before


def test_the_band_takes_the_best_first_and_always_the_same(sources: FakeSources, tmp_path: Path) -> None:
    """One of every image before the second of any; with the later run nothing more comes, and nothing goes."""
    into = yolo_repository(tmp_path / "repository", images=16)
    studio = FakeStudio(*(reviewed(number, 0, 1, 2) for number in range(1, 5)))
    options = Options(limit_to_band=True)
    done = run(studio, into, sources, options=options)
    assert (done.plan.count(Action.ADD), done.plan.count(Action.LEAVE_OUT)) == (4, 8)
    assert sorted(row.task for row in rows(into)) == [1, 2, 3, 4]
    assert done.plan.shares[0].after.share == 0.2
    again = run(studio, into, sources, options=options)
    assert (again.plan.count(Action.ADD), again.plan.count(Action.KEEP)) == (0, 4)
    other = yolo_repository(tmp_path / "other", images=16)
    run(studio, other, sources, options=options)
    assert tree(other.parent) == tree(into.parent)


def test_an_approval_more_is_told_in_the_manifest_and_nowhere_else(sources: FakeSources, into: Path) -> None:
    """The picture stays as it is."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    stamp = (into.parent / row.file).stat().st_mtime_ns
    one = studio.kept[1]
    offered = one.standing[0].patches
    studio.put(replace(one, reviews=(*one.reviews, review(offered[:1], offered, by=9, annotation=5))))
    run(studio, into, sources, at=NOON + timedelta(days=1))
    (now,) = rows(into)
    assert (now.reviewers, now.exported_at) == ((1, 9), row.exported_at)
    assert (into.parent / row.file).stat().st_mtime_ns == stamp


# ---------------------------------------------------------------- several of them


def test_two_projects_share_a_dataset(sources: FakeSources, into: Path) -> None:
    """What one takes out is not the other's, though both run."""
    run(FakeStudio(reviewed(1, 0)), into, sources)
    (first,) = rows(into)
    other = replace(first, project=8, task=99, patch="neg_other", file="images/train/other_neg_0.png")
    (into.parent / other.file).write_bytes(b"another project's")
    (into.parent / MANIFEST).write_bytes(b"".join(_line(row) for row in (first, other)))
    run(FakeStudio(), into, sources, options=Options(prune=True))
    assert rows(into) == (other,)


def _line(row: Row) -> bytes:
    from service.export.manifest import write_manifest

    return write_manifest([row])


def test_an_export_beside_another_one_is_refused_or_waits(sources: FakeSources, into: Path) -> None:
    """Two exporters never write into one dataset."""
    store = Store(into.parent)
    with store.sole_exporter(wait=False), pytest.raises(ExportError, match="another export"):
        run(FakeStudio(reviewed(1, 0)), into, sources)
    assert rows(into) == ()
    entered = threading.Event()

    def wait_for_it() -> None:
        with Store(into.parent).sole_exporter(wait=True):
            entered.set()

    with store.sole_exporter(wait=False):
        other = threading.Thread(target=wait_for_it)
        other.start()
        assert not entered.wait(0.2)
    other.join(10)
    assert entered.is_set()


def test_what_is_remembered_may_be_lost(sources: FakeSources, into: Path) -> None:
    """Everything is looked at anew then, and nothing is written twice."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 1))
    run(studio, into, sources)
    before = tree(into.parent)
    for path in (into.parent / ".negatives").iterdir():
        path.unlink()
    studio.read.clear()
    done = run(studio, into, sources)
    assert (studio.read, done.plan.count(Action.KEEP), tree(into.parent)) == ([1, 2], 2, before)


def test_a_manifest_that_cannot_be_read_stops_the_export(sources: FakeSources, into: Path) -> None:
    """Else what is there would be taken for somebody else's."""
    run(FakeStudio(reviewed(1, 0)), into, sources)
    with (into.parent / MANIFEST).open("a") as file:
        file.write("<<<<<<< ours\n")
    before = tree(into.parent)
    with pytest.raises(ExportError, match=r"negatives\.jsonl, line 2, .* version control"):
        run(FakeStudio(reviewed(1, 0)), into, sources)
    assert tree(into.parent) == before


def test_caches_of_the_touched_split_go(sources: FakeSources, into: Path) -> None:
    """And only those: the others still hold."""
    caches = {split: into.parent / "labels" / f"{split}.cache" for split in ("train", "val")}
    for path in caches.values():
        path.write_bytes(b"old")
    run(FakeStudio(reviewed(1, 0)), into, sources)
    assert {split for split, path in caches.items() if path.exists()} == {"val"}
