"""Exports as people ask for them: what is written, left, taken out and told, and that nothing depends on the way."""

import json
import shutil
import tempfile
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.domain.geometry import Box
from service.domain.model import Task
from service.errors import ExportError, ImageError, LabelStudioUnavailable, SetupError
from service.export.formats import Request, format_for
from service.export.manifest import MANIFEST, read_manifest, write_manifest
from service.export.model import Row
from service.export.plan import Action, Options
from service.export.writing import Store
from service.exporting import Exported, undo
from tests.exporting import (
    LABELING,
    FakeSources,
    FakeStudio,
    draw_source,
    reviewed,
    run,
    tree,
    with_lists,
    with_voc,
    without_rights,
    yolo_repository,
)
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


def test_what_somebody_changed_is_not_taken_out_but_told(sources: FakeSources, into: Path) -> None:
    """Their work stays, run after run, until they decide."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    (into.parent / row.file).write_bytes(b"retouched")
    studio.put(reviewed(1, 1))
    for _ in range(2):
        done = run(studio, into, sources)
        assert "was changed since" in only(done, Action.REPORT)
        assert done.needs_a_person
    assert (into.parent / row.file).read_bytes() == b"retouched"


@pytest.mark.parametrize("then", [reviewed(1, 0), reviewed(1, 1), reviewed(1)])
def test_a_negative_in_which_somebody_labelled_an_object_is_theirs(
    then: Task, sources: FakeSources, into: Path
) -> None:
    """That is told once; whatever is said of the patch, nothing of theirs is touched, and nothing comes twice."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    label = into.parent / "labels" / "train" / f"{row.stem}.txt"
    label.write_text("0 0.5 0.5 0.1 0.1\n")
    studio.put(then)
    assert "from now on it is theirs" in only(run(studio, into, sources), Action.REPORT)
    again = run(studio, into, sources, full=True)
    assert (again.plan.count(Action.REPORT), again.needs_a_person) == (0, False)
    assert row.key not in {one.key for one in rows(into)}
    assert (label.read_text(), (into.parent / row.file).is_file()) == ("0 0.5 0.5 0.1 0.1\n", True)
    undo(Request(into), format_for(into, None))
    assert (label.read_text(), (into.parent / row.file).is_file()) == ("0 0.5 0.5 0.1 0.1\n", True)


def test_an_image_that_was_lost_comes_back(sources: FakeSources, into: Path) -> None:
    """Though its task hasn't changed."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    before = tree(into.parent)
    (into.parent / rows(into)[0].file).unlink()
    done = run(studio, into, sources)
    assert (done.plan.count(Action.RESTORE), tree(into.parent)) == (1, before)


def test_a_label_that_was_lost_comes_back(sources: FakeSources, into: Path) -> None:
    """Other readers of the repository would lose the image."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    before = tree(into.parent)
    (into.parent / "labels" / "train" / f"{rows(into)[0].stem}.txt").unlink()
    assert only(run(studio, into, sources), Action.RESTORE) == "its label was missing"
    assert tree(into.parent) == before


def test_an_image_that_cannot_be_had_again_stays_known(sources: FakeSources, into: Path) -> None:
    """The disk with the images isn't there for a while, and the source isn't either: it is told of, and when the image
    is back all is as before.
    """
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    before = tree(into.parent)
    (into.parent / row.file).rename(into.parent / "away")
    sources.problems = {1: ImageError("gone")}
    assert "missing" in only(run(studio, into, sources), Action.REPORT)
    assert rows(into) == (row,)
    (into.parent / "away").rename(into.parent / row.file)
    assert run(studio, into, sources).plan.count(Action.KEEP) == 1
    assert tree(into.parent) == before


def test_a_negative_that_somebody_moved_is_found_again(sources: FakeSources, into: Path) -> None:
    """With its label, into another folder of the split: it is still ours, to be taken out and undone."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    for row in rows(into):
        for kind, suffix in (("images", ".png"), ("labels", ".txt")):
            folder = into.parent / kind / "train" / "background"
            folder.mkdir(exist_ok=True)
            (into.parent / kind / "train" / f"{row.stem}{suffix}").rename(folder / f"{row.stem}{suffix}")
    studio.put(reviewed(2))
    done = run(studio, into, sources)
    assert (done.plan.count(Action.KEEP), done.plan.count(Action.TAKE_OUT)) == (1, 1)
    (row,) = rows(into)
    assert row.file.startswith("images/train/background/")
    undo(Request(into), format_for(into, None))
    assert not list(into.parent.rglob("field*"))


def test_a_list_that_was_made_anew_gets_its_lines_back(sources: FakeSources, tmp_path: Path) -> None:
    """Somebody's script wrote train.txt again, without ours."""
    into = with_lists(tmp_path / "repository")
    listed = into.parent / "train.txt"
    first = listed.read_bytes()
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    with_ours = listed.read_bytes()
    listed.write_bytes(first)
    assert only(run(studio, into, sources), Action.RESTORE) == "it was in no split any more"
    assert listed.read_bytes() == with_ours


def test_lists_never_name_what_is_not_there(sources: FakeSources, tmp_path: Path) -> None:
    """Of another project whose images are missing, for example: that is told, and its rows stay."""
    into = with_lists(tmp_path / "repository")
    run(FakeStudio(reviewed(1, 0)), into, sources)
    (first,) = rows(into)
    other = replace(first, project=8, task=99, patch="neg_other", file="images/train/other_neg_0.png", sha256="0" * 64)
    (into.parent / MANIFEST).write_bytes(write_manifest([first, other]))
    done = run(FakeStudio(reviewed(1, 0), reviewed(2, 0)), into, sources)
    assert "missing" in only(done, Action.REPORT)
    listed = (into.parent / "train.txt").read_text().splitlines()
    assert [line for line in listed if not (into.parent / line).is_file()] == []
    assert other in rows(into)


def test_after_a_change_of_branch_everything_is_there_again(sources: FakeSources, into: Path) -> None:
    """Git took manifest and images away, and left what it ignores."""
    before = tree(into.parent)
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    after = tree(into.parent)
    for name in after.keys() - before.keys():
        (into.parent / name).unlink()
    assert run(studio, into, sources).plan.count(Action.ADD) == 2
    assert tree(into.parent) == after


def test_a_manifest_that_was_lost_is_made_again(sources: FakeSources, into: Path) -> None:
    """What is there under our names, with our bytes, is ours."""
    studio = FakeStudio(reviewed(1, 0), reviewed(2, 0))
    run(studio, into, sources)
    after = tree(into.parent)
    (into.parent / MANIFEST).unlink()
    done = run(studio, into, sources)
    assert (done.plan.count(Action.KEEP), done.plan.count(Action.ADD)) == (2, 0)
    assert tree(into.parent) == after


def test_two_descriptions_of_one_root_are_kept_apart(sources: FakeSources, into: Path) -> None:
    """A second data.yaml, for cross-validation: its lists would not be told of what goes."""
    run(FakeStudio(reviewed(1, 0)), into, sources)
    fold = into.with_name("fold2.yaml")
    fold.write_text(into.read_text())
    before = tree(into.parent)
    with pytest.raises(ExportError, match=r"another dataset with the same root \(yolo data\.yaml; this is yolo fold2"):
        run(FakeStudio(reviewed(1, 0)), fold, sources)
    assert tree(into.parent) == before


def test_a_change_of_label_studios_address_is_told(sources: FakeSources, into: Path) -> None:
    """Else nothing that is there would be known, and nothing would say why."""
    run(FakeStudio(reviewed(1, 0)), into, sources)
    rows_now = [replace(row, studio="https://studio.internal") for row in rows(into)]
    (into.parent / MANIFEST).write_bytes(write_manifest(rows_now))
    done = run(FakeStudio(reviewed(1, 0)), into, sources)
    assert "NEGATIVES_LABEL_STUDIO_PUBLIC_URL" in done.notes[0].text


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


@pytest.mark.parametrize("blocker", ["images/val/{}.bmp", "images/val/{}.png", "labels/val/{}.txt"])
def test_what_is_in_the_way_of_a_move_stays(blocker: str, sources: FakeSources, into: Path) -> None:
    """The negative stays where it is, and that is told; all else is exported."""
    studio = FakeStudio(reviewed(1, 0))
    run(studio, into, sources)
    (row,) = rows(into)
    draw_source(into.parent / "images" / "val" / "field1.png", 1)
    path = into.parent / blocker.format(row.stem)
    if path.suffix == ".txt":
        path.write_text("0 0.5 0.5 0.1 0.1\n")
    else:
        draw_source(path, 55)
    theirs = path.read_bytes()
    studio.put(reviewed(2, 0))
    done = run(studio, into, sources)
    assert "move it by hand" in only(done, Action.REPORT)
    assert (done.plan.count(Action.ADD), path.read_bytes()) == (1, theirs)
    assert {one.file for one in rows(into)} > {row.file}


def test_a_split_may_change_without_the_file(sources: FakeSources, tmp_path: Path) -> None:
    """Where the splits are lists over one folder, the line moves, and undo leaves no line."""
    root = tmp_path / "repository"
    into = with_voc(root)
    studio = FakeStudio(reviewed(1, 0))
    first = tree(root)
    run(studio, into, sources)
    (row,) = rows_below(root)
    theirs = {
        "JPEGImages/field1.jpg": draw_source(root / "JPEGImages" / "field1.jpg", 1).read_bytes(),
        "ImageSets/Main/val.txt": b"field1\n",
    }
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(theirs["ImageSets/Main/val.txt"])
    assert only(run(studio, into, sources), Action.MOVE) == "from train: field1.png is in val"
    (moved,) = rows_below(root)
    assert (moved.file, moved.split) == (row.file, "val")
    assert (root / "ImageSets" / "Main" / "train.txt").read_text() == "one\n"
    assert (root / "ImageSets" / "Main" / "val.txt").read_text() == f"field1\n{row.stem}\n"
    assert run(studio, into, sources).plan.count(Action.KEEP) == 1
    undo(Request(into), format_for(into, None))
    assert tree(root) == first | theirs


def rows_below(folder: Path) -> tuple[Row, ...]:
    """The only manifest somewhere in a folder."""
    (path,) = folder.rglob(MANIFEST)
    return read_manifest(path.read_bytes(), "")


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
    """Refused where somebody asked for it, and nothing is touched; passed by where it is only a setting."""
    before = tree(into.parent)
    with pytest.raises(ExportError, match="no split 'test'"):
        run(FakeStudio(reviewed(1, 0)), into, sources, options=Options(shares={"test": 1}, is_strict=True))
    assert tree(into.parent) == before
    assert run(FakeStudio(reviewed(1, 0)), into, sources, options=Options(shares={"test": 1})).plan.count(Action.ADD)


def test_the_band_takes_the_best_first_and_always_the_same(sources: FakeSources, tmp_path: Path) -> None:
    """One of every image before the second of any; with the later run nothing more comes, and nothing goes."""
    into = yolo_repository(tmp_path / "repository", images=16)
    studio = FakeStudio(*(reviewed(number, 0, 1, 2) for number in range(1, 5)))
    options = Options(limit_to_band=True)
    done = run(studio, into, sources, options=options)
    assert (done.plan.count(Action.ADD), done.plan.count(Action.LEAVE_OUT)) == (4, 8)
    assert sorted(row.task for row in rows(into)) == [1, 2, 3, 4]
    assert done.plan.shares[0].after.share == 0.2
    sources.taken.clear()
    studio.put(reviewed(9))
    again = run(studio, into, sources, options=options)
    assert (again.plan.count(Action.ADD), again.plan.count(Action.KEEP), sources.taken) == (0, 4, [])
    assert len(list((into.parent / "images" / "train").glob("field*"))) == 4
    other = yolo_repository(tmp_path / "other", images=16)
    run(studio, other, sources, options=options)
    assert tree(other.parent) == tree(into.parent)


def test_room_in_the_band_is_used_once_there_is_some(sources: FakeSources, tmp_path: Path) -> None:
    """Labelled images came: of what was left out, those of images without any negative go first."""
    into = yolo_repository(tmp_path / "repository", images=8)
    options = Options(limit_to_band=True)
    studio = FakeStudio(reviewed(1, 0, 1, 2), reviewed(2, 0, 1, 2), reviewed(3, 0, 1, 2))
    run(studio, into, sources, options=options)
    first = {row.task for row in rows(into)}
    assert len(rows(into)) == 2
    for number in range(4):
        draw_source(into.parent / "images" / "train" / f"more{number}.png", 900 + number)
        (into.parent / "labels" / "train" / f"more{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert run(studio, into, sources, options=options).plan.count(Action.ADD) == 1
    assert {row.task for row in rows(into)} == {1, 2, 3} > first


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
    (into.parent / MANIFEST).write_bytes(write_manifest([first, other]))
    run(FakeStudio(), into, sources, options=Options(prune=True))
    assert rows(into) == (other,)


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


def test_a_list_that_a_cache_shares_is_not_written_through(sources: FakeSources, tmp_path: Path) -> None:
    """DVC leaves a link to a read-only file of its cache, which holds older versions of the dataset, too."""
    into = with_voc(tmp_path / "repository")
    listed = into / "ImageSets" / "Main" / "train.txt"
    shared = tmp_path / "cache" / "ab12"
    shared.parent.mkdir()
    listed.rename(shared)
    listed.symlink_to(shared)
    shared.chmod(0o444)
    before = tree(into)
    with pytest.raises(ExportError, match=r"train\.txt, which leads to .*ab12, is read-only"):
        run(FakeStudio(reviewed(1, 0)), into, sources)
    assert tree(into) == before
    shared.chmod(0o644)
    run(FakeStudio(reviewed(1, 0)), into, sources)
    assert len(shared.read_text().splitlines()) == 2
    assert listed.is_symlink()


def test_a_folder_that_may_not_be_written_into_is_refused() -> None:
    """Before anything is written; tried as somebody who isn't its owner."""
    folder = Path(tempfile.mkdtemp())  # pytest's own can be entered by its owner alone
    try:
        (folder / "sources").mkdir()
        run(FakeStudio(reviewed(1, 0)), yolo_repository(folder / "other"), FakeSources(folder / "sources"))
        into = yolo_repository(folder / "repository")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        labels = into.parent / "labels" / "train"
        labels.chmod(0o555)
        before = tree(into.parent)
        with without_rights(folder), pytest.raises(ExportError, match=f"{labels} can't be written into"):
            run(FakeStudio(reviewed(1, 0)), into, FakeSources(folder / "sources"))
        assert tree(into.parent) == before
        labels.chmod(0o777)
        with without_rights(folder):
            run(FakeStudio(reviewed(1, 0)), into, FakeSources(folder / "sources"))
        assert len(rows(into)) == 1
    finally:
        shutil.rmtree(folder)


def test_caches_of_the_touched_split_go(sources: FakeSources, into: Path) -> None:
    """And only those: the others still hold."""
    caches = {split: into.parent / "labels" / f"{split}.cache" for split in ("train", "val")}
    for path in caches.values():
        path.write_bytes(b"old")
    run(FakeStudio(reviewed(1, 0)), into, sources)
    assert {split for split, path in caches.items() if path.exists()} == {"val"}
