from dataclasses import replace

import pytest

from service.domain.geometry import Box
from service.domain.model import Patch, State
from service.export.plan import (
    Existing,
    ExportedSource,
    Note,
    Origin,
    negative_stem,
    origin_in_label_studio,
    plan_export,
)
from tests.export.factories import decision, offered, one_source, planned, task
from tests.factories import patch


def there(*numbers: int, stem: str = "field", present: tuple[int, ...] | None = None) -> ExportedSource:
    """Our metadata of task 7: its first patches have these numbers."""
    return ExportedSource(
        stem,
        origin_in_label_studio(task()),
        {number: (offered(at).id, offered(at).box) for at, number in enumerate(numbers)},
        frozenset(numbers if present is None else present),
    )


def names(*decisions_of: int, existing: Existing) -> list[str]:
    """The names that a plan gives to new negatives of the n-th patches of task 7."""
    plan = planned(*(decision(offered(at)) for at in decisions_of), there=existing)
    return [source.file_stem(negative) for source in plan.sources for negative in source.new]


def holding(*sources: ExportedSource, taken: tuple[str, ...] = ()) -> Existing:
    """A dataset with these metadata files, and images or labels of these stems."""
    present = {negative_stem(one.stem, number).casefold() for one in sources for number in one.present}
    return Existing({one.stem.casefold(): one for one in sources}, frozenset(present | set(taken)))


def test_names_are_the_guides() -> None:
    """`{stem}_neg_{k}`, counted from 1."""
    assert names(0, 1, 2, existing=Existing()) == ["field_neg_1", "field_neg_2", "field_neg_3"]


@pytest.mark.parametrize("state", [State.PENDING, State.REJECTED, State.STALE])
def test_only_what_was_accepted_is_exported(state: State) -> None:
    """What nobody reviewed, or somebody rejected, or an object touches, becomes no file."""
    assert planned(decision(state=state, note="why")).sources == ()


def test_a_stale_patch_is_told_of() -> None:
    """Whoever accepted it reads why it isn't there, and where it lies."""
    plan = planned(decision(state=State.STALE, note="a labelled object touches it"))
    assert plan.notes == (
        Note(7, "accepted, but not exported: a labelled object touches it (patch 50 × 60 px at (10, 20))"),
    )


@pytest.mark.parametrize(("side", "written"), [(9, 0), (10, 1)])
def test_a_patch_that_trainers_would_drop_is_told_of(side: int, written: int) -> None:
    """Below 10 px on a side: not exported, but noted."""
    plan = planned(decision(patch(Box.sized(0, 0, 50, side))))
    assert (plan.new, len(plan.notes)) == (written, 1 - written)


def test_the_note_of_a_small_patch_says_why() -> None:
    """The note says the limit."""
    (note,) = planned(decision(patch(Box.sized(0, 0, 50, 9)))).notes
    assert note.text == "accepted, but smaller than 10 px, which trainers drop (patch 50 × 9 px at (0, 0))"


def test_pending_and_rejected_are_no_news() -> None:
    """There is nothing to tell of patches that are where they should be."""
    assert planned(decision(state=State.PENDING), decision(offered(1), State.REJECTED)).notes == ()


def test_two_sources_of_one_stem_do_not_collide() -> None:
    """The second one's name says which task it is."""
    plan = plan_export(
        [(task(7), "field.jpg", (decision(),)), (task(8, image="b"), "field.png", (decision(offered(0, 8)),))],
        Existing(),
    )
    assert [source.stem for source in plan.sources] == ["field", "field_task8"]


@pytest.mark.parametrize(("one", "other"), [("Field", "field"), ("field", "FIELD")])
def test_stems_that_differ_in_case_only_do_not_collide(one: str, other: str) -> None:
    """On a disk that ignores case they would be one file."""
    plan = plan_export(
        [(task(7), f"{one}.jpg", (decision(),)), (task(8, image="b"), f"{other}.jpg", (decision(offered(0, 8)),))],
        Existing(),
    )
    assert [source.stem for source in plan.sources] == [one, f"{other}_task8"]


def test_a_stem_that_looks_like_the_second_ones_is_no_trap() -> None:
    """Where that name is somebody's too, the next one is taken."""
    sources = [
        (task(7), "field.jpg", (decision(),)),
        (task(9, image="c"), "field_task8.jpg", (decision(offered(0, 9)),)),
        (task(8, image="b"), "field.jpg", (decision(offered(0, 8)),)),
    ]
    assert [source.stem for source in plan_export(sources, Existing()).sources] == [
        "field",
        "field_task8",
        "field_task8_2",
    ]


def test_a_task_with_nothing_accepted_takes_no_name() -> None:
    """Names go to sources that have something to write."""
    plan = plan_export(
        [
            (task(7), "field.jpg", (decision(state=State.PENDING),)),
            (task(8, image="b"), "field.jpg", (decision(offered(0, 8)),)),
        ],
        Existing(),
    )
    assert [source.stem for source in plan.sources] == ["field"]


def test_the_desktop_tools_metadata_is_not_ours() -> None:
    """A metadata file without our provenance keeps its name; ours takes another."""
    existing = holding(ExportedSource("field", owner=None))
    assert one_source(planned(decision(), there=existing)).stem == "field_task7"


@pytest.mark.parametrize("other", [task(7, project_id=4), task(7, image="/data/upload/3/other.jpg"), task(8)])
def test_another_owners_metadata_is_not_ours(other: object) -> None:
    """Project, task and image must all be the same for a file to be added to."""
    assert isinstance(other, type(task()))
    existing = holding(ExportedSource("field", origin_in_label_studio(other)))
    assert one_source(planned(decision(), there=existing)).stem == "field_task7"


def test_taken_stems_are_passed_by() -> None:
    """A number whose name an image or label of the user's has is not used."""
    existing = holding(taken=("field_neg_1", "field_neg_3"))
    assert names(0, 1, existing=existing) == ["field_neg_2", "field_neg_4"]


def test_taken_stems_are_taken_in_any_case() -> None:
    """`Field_neg_1` and `field_neg_1` are one name on some disks."""
    plan = planned(decision(), name="FIELD.jpg", there=holding(taken=("field_neg_1",)))
    source = one_source(plan)
    assert source.file_stem(source.negatives[0]) == "FIELD_neg_2"


def test_what_is_there_keeps_its_number() -> None:
    """A second run gives only what is new a number: the first that is free."""
    existing = holding(there(1, 3))
    assert names(0, 1, 2, existing=existing) == ["field_neg_2"]


def test_what_is_there_is_counted_as_there() -> None:
    """The plan says how many are new and how many are there already."""
    plan = planned(*(decision(offered(at)) for at in range(3)), there=holding(there(1, 2)))
    assert (plan.new, plan.there) == (1, 2)


def test_an_image_that_is_missing_is_written_under_its_number() -> None:
    """Metadata without its image is an interrupted run: finished under the same name."""
    assert names(0, 1, existing=holding(there(4, 9, present=(4,)))) == ["field_neg_9"]


def test_the_number_of_a_withdrawn_patch_is_not_given_away() -> None:
    """Its file may be in somebody's cache: new content gets a new name."""
    existing = holding(there(1, present=()))
    assert names(1, existing=existing) == ["field_neg_2"]


def test_a_withdrawn_patch_is_told_of() -> None:
    """What was exported and is no longer accepted stays where it is, but a person is told."""
    plan = planned(decision(state=State.REJECTED), there=holding(there(3)))
    assert plan.notes == (Note(7, "field_neg_3 was exported before and is no longer accepted: remove it by hand"),)


def test_a_withdrawn_patch_whose_file_is_gone_is_no_news() -> None:
    """Once removed by hand there is nothing left to say."""
    assert planned(decision(state=State.REJECTED), there=holding(there(3, present=()))).notes == ()


def test_a_task_finds_its_own_metadata_under_a_name_of_its_own() -> None:
    """Also when the stem that it had to avoid the first time is free by now: nothing is written twice."""
    plan = planned(decision(), there=holding(there(1, stem="field_task7")))
    assert (plan.new, plan.there) == (0, 1)


def test_negatives_come_in_the_order_of_their_numbers() -> None:
    """Whatever the order of the decisions."""
    plan = planned(decision(offered(0)), decision(offered(2)), there=holding(there(5)))
    assert [negative.number for negative in one_source(plan).negatives] == [1, 5]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("plate.v2.tif", "plate.v2"),
        ("field", "field"),
        ("", "task7"),
        (".hidden.jpg", "hidden"),
        ("Ä 1.png", "Ä 1"),
        ("...", "task7"),
    ],
)
def test_the_stem_is_the_files_own(name: str, stem: str) -> None:
    """Without extension; never one that hides the files from their readers; the task's id where there is no name."""
    assert one_source(planned(decision(), name=name)).stem == stem


def test_a_patch_that_was_moved_after_its_export_gets_a_new_file() -> None:
    """People move a patch because something is in it: the old file is told of, the new place gets its own number."""
    one = offered(0)
    elsewhere = Patch(one.id, Box(20, 30, 70, 90), one.provenance)
    plan = planned(decision(elsewhere), there=holding(there(1)))
    assert [source.file_stem(negative) for source in plan.sources for negative in source.new] == ["field_neg_2"]
    assert "field_neg_1 was exported before but the patch was moved since" in plan.notes[0].text


def test_a_number_whose_label_somebody_filled_is_passed_by() -> None:
    """The image is gone and the label is theirs now."""
    blocked = replace(there(1, present=()), blocked=frozenset({1}))
    assert names(0, existing=holding(blocked, taken=("field_neg_1",))) == ["field_neg_2"]


def test_a_link_that_was_signed_anew_is_the_same_image() -> None:
    """What changes with every signature must not export everything a second time."""
    first, again = (task(image=f"https://me:pw@bucket.example/field.jpg?X-Signature={n}") for n in (1, 2))
    assert (
        origin_in_label_studio(first)
        == origin_in_label_studio(again)
        == Origin("https://bucket.example/field.jpg", 3, 7)
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [("x" * 240 + ".jpg", "x" * 150), ("細胞" * 60 + ".png", "細胞" * 25), ("a\x00b.jpg", "a_b"), (".x.jpg", "x")],
)
def test_a_stem_that_every_file_system_takes(name: str, stem: str) -> None:
    """Too long, with control characters, with a leading dot: cut and cleaned, never refused."""
    assert planned(decision(), name=name).sources[0].stem == stem
