from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box
from service.domain.model import Decision, State, Verdict, Vote
from service.export.model import Dataset, Held, Key, Row, Source, Split
from service.export.plan import (
    Condition,
    Cutting,
    Difference,
    Files,
    Options,
    Settled,
    Wanted,
    best_first,
    compare,
    negative_stem,
    original_stem,
    plan_export,
    settle,
)
from service.export.share import DatasetShare
from tests.export.formats.factories import row
from tests.exporting import STUDIO_URL, patches_of, reviewed
from tests.factories import NOON


def cutting(task_id: int, number: int = 0, *, approvals: int = 1) -> Cutting:
    """One patch of a task, cut."""
    one = patches_of(task_id)[number]
    votes = tuple(Vote(by, Verdict.ACCEPTED, NOON, by, one.box) for by in range(1, approvals + 1))
    wanted = Wanted(reviewed(task_id, number), Decision(one, State.ACCEPTED, votes), STUDIO_URL)
    source = Source(f"field{task_id}.png", wanted.task.source_reference, f"digest of {task_id}", 1000 + task_id)
    size = one.box.width, one.box.height
    return Cutting(wanted, source, one.box, size, "RGB", "exact", ".png", f"{task_id} {number}", 77)


def dataset(*, images: int = 2, splits: Sequence[str] = ("train",)) -> Dataset:
    """A dataset of labelled images."""
    held = {name: tuple(Held(f"images/{name}/{number}.png", 50, False) for number in range(images)) for name in splits}
    return Dataset(
        PurePath("dataset"), tuple(Split(name, f"images/{name}", held[name]) for name in splits), frozenset()
    )


def test_one_of_every_image_goes_before_the_second_of_any() -> None:
    """Varied background teaches more than much of one."""
    order = best_first([cutting(task, number) for number in range(3) for task in range(1, 6)])
    tasks = [one.wanted.task.id for one in order]
    assert [len(set(tasks[start : start + 5])) for start in (0, 5, 10)] == [5, 5, 5]


def test_what_more_people_approved_goes_before_other_patches_of_its_image() -> None:
    """However the others are called."""
    for number in range(3):
        them = [cutting(1, other, approvals=2 if other == number else 1) for other in range(3)]
        assert best_first(them)[0] is them[number]


@given(st.permutations([(task, number) for task in range(1, 5) for number in range(3)]))
def test_the_order_is_always_the_same(order: list[tuple[int, int]]) -> None:
    """In whatever order they come."""
    found = best_first([cutting(*one) for one in order])
    expected = best_first([cutting(*one) for one in sorted(order)])
    assert [one.wanted.key for one in found] == [one.wanted.key for one in expected]


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("images/train/Field 1.JPG", "field 1"),
        ("a/field1_jpg.rf.0a1b2c.jpg", "field1"),
        ("a/field1_PNG.rf.0a1b2c.jpg", "field1"),
        ("a/field_1.rf.0a1b2c.jpg", "field_1"),
        ("a/field.v2.png", "field.v2"),
        ("a/weißes.png", "weisses"),
    ],
)
def test_an_image_is_known_by_its_name(file: str, stem: str) -> None:
    """Without folder, case, extension, and what Roboflow adds."""
    assert original_stem(file) == stem


@pytest.mark.parametrize("name", ["", ".png", "...", "\n.png", ".hidden.png", "a" * 300 + ".png", "ü" * 200 + ".png"])
def test_every_name_fits_every_file_system(name: str) -> None:
    """Not hidden, printable, and short enough with all that is added."""
    stem = negative_stem(name, cutting(1).wanted.key)
    assert not stem.startswith((".", " "))
    assert stem.isprintable()
    assert len(f"{stem}_99.tiff".encode()) < 200


def test_a_name_says_what_the_negative_is() -> None:
    """Another patch, task, place or image: another name; the same again: the same."""
    one = cutting(1).wanted.key
    others = [replace_at(one, at, value) for at, value in enumerate(["x", 9, 9, "x", Box(0, 0, 1, 1), "x"])]
    names = {negative_stem("field.png", key) for key in (one, *others)}
    assert len(names) == 7
    assert negative_stem("field.png", one) in names


def replace_at(key: Key, at: int, value: object) -> Key:
    """The key with another part."""
    return cast(Key, (*key[:at], value, *key[at + 1 :]))


@pytest.mark.parametrize(("band", "added"), [((0.1, 0.2), 2), ((0.1, 0.5), 8), ((0.0, 0.01), 0), ((0.1, 0.99), 12)])
def test_the_band_limits_each_split(band: tuple[float, float], added: int) -> None:
    """With 8 images, so many negatives are at most the upper share of all."""
    cuttings = [cutting(task, number) for task in range(1, 5) for number in range(3)]
    plan = plan_export(
        Difference(),
        cuttings,
        dataset(images=8),
        [],
        options=Options(band=band, limit_to_band=True),
        at=NOON,
        kind="yolo data.yaml",
        files=Files(lambda _: "", lambda _: Condition.AS_WRITTEN, lambda _: False),
    )
    (share,) = plan.shares
    assert (len(plan.write), share.before) == (added, DatasetShare(8, 0))
    assert share.after == DatasetShare(8 + added, added)
    assert share.after.share <= band[1]


def test_shares_come_out_as_asked() -> None:
    """Of 400 images, about; all patches of one go together."""
    cuttings = [cutting(task, number) for task in range(1, 401) for number in (0, 1)]
    plan = plan_export(
        Difference(),
        cuttings,
        dataset(splits=("train", "val", "test")),
        [],
        options=Options(shares={"train": 70, "val": 20, "test": 10}),
        at=NOON,
        kind="yolo data.yaml",
        files=Files(lambda _: "", lambda _: Condition.AS_WRITTEN, lambda _: False),
    )
    split_of = {row.task: row.split for row in plan.rows}
    assert all(row.split == split_of[row.task] for row in plan.rows)
    counts = Counter(split_of.values())
    assert 250 <= counts["train"] <= 310
    assert 55 <= counts["val"] <= 105
    assert 20 <= counts["test"] <= 60


def settled(*rows: Row, missing: Sequence[Row] = ()) -> Settled:
    """Rows as they are found."""
    return Settled(rows, (), frozenset(row.file for row in missing))


def test_a_row_of_a_task_that_was_not_looked_at_stays_as_it_is() -> None:
    """Whatever others say; one whose image is missing stays known, too."""
    one, other = row("images/train/a_neg_0.jpg"), row("images/train/b_neg_0.jpg")
    looked_at = [(reviewed(1), ())]
    found = compare(looked_at, settled(one, other, missing=[other]), studio="elsewhere", gone={one.task}, prune=True)
    assert (found.stay, found.lost, found.out, found.new) == ((one,), (other,), (), ())


def test_what_is_gone_from_label_studio_and_from_the_disk_is_over() -> None:
    """Nobody wants it, and nothing could bring it back."""
    one = row("images/train/a_neg_0.jpg")
    found = compare([], settled(one, missing=[one]), studio=one.studio, gone={one.task})
    assert ([out for out, _ in found.out], found.notes) == ([one], ())


def test_patches_too_small_for_trainers_are_noted() -> None:
    """They would be dropped in silence."""
    small = replace(patches_of(1)[0], box=Box(0, 0, 40, 9))
    found = compare([(reviewed(1), (Decision(small, State.ACCEPTED),))], settled(), studio=STUDIO_URL)
    assert found.new == ()
    assert "smaller than 10 px" in found.notes[0].text


def test_of_two_rows_for_one_negative_the_one_that_is_there_counts() -> None:
    """An interrupted move left both, or a merge of two branches."""
    old, new = row("images/train/a_neg_0.jpg"), row("images/val/a_neg_0.jpg", split="val")
    for there, surplus in ((old, new), (new, old)):

        def is_there(one: Row, file: str = there.file) -> bool:
            return one.file == file

        found = settle([old, new], dataset(), is_there=is_there, digest=lambda _: "")
        assert (found.rows, found.surplus, set(found.missing)) == ((there,), (surplus,), {surplus.file})


@pytest.mark.parametrize(("bytes_", "digest", "is_found"), [(0, "", True), (1, "", False), (0, "other", False)])
def test_a_file_that_was_moved_is_known_by_name_size_and_content(bytes_: int, digest: str, is_found: bool) -> None:
    """Another file of that name is not ours."""
    one = row("images/train/a_neg_0.jpg")
    held = Held("images/val/background/a_neg_0.jpg", one.bytes + bytes_, True)
    somewhere = Dataset(PurePath("d"), (Split("train", "images/train", ()), Split("val", "v", (held,))), frozenset())
    found = settle([one], somewhere, is_there=lambda _: False, digest=lambda _: digest or one.sha256)
    expected = replace(one, file=held.file, split="val") if is_found else one
    assert (found.rows, found.has(expected)) == ((expected,), is_found)
