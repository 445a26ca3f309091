import json
import subprocess
import sys
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batch.scene import sample_scene
from service.errors import UsageError

SMALL = {"width": 400, "height": 300}


def asked(**fields: Any) -> dict[str, Any]:
    """What comes of a scene of 400 × 300 px with these fields."""
    found: dict[str, Any] = json.loads(sample_scene(json.dumps(SMALL | fields), "scene.json"))
    return found


def refused(text: str) -> str:
    """The one line that is said of a scene file."""
    with pytest.raises(UsageError) as error:
        sample_scene(text, "scene.json")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_answer_has_these_keys() -> None:
    """Scripts rely on them, also when nothing is short."""
    found = asked(seed=3)
    assert list(found) == ["patches", "requested", "shortfall", "reason", "explanation", "largest_free_square"]
    assert (found["requested"], found["shortfall"], len(found["patches"])) == (5, 0, 5)
    assert (found["reason"], found["explanation"], found["largest_free_square"]) == (None, None, None)
    assert all(list(patch) == ["x", "y", "width", "height"] for patch in found["patches"])


def test_without_rois_the_whole_image_is_one() -> None:
    """Both ways to say it give the same patches."""
    assert asked() == asked(rois=[[0, 0, 400, 300]])


def test_the_defaults_are_the_rules_defaults() -> None:
    """The contract's values need not be written out."""
    rules = {"patches": 5, "min_size": 100, "max_size": 400, "max_overlap": 0.5, "margin": 0}
    assert asked() == asked(**rules, square=False, align=1, seed=1, exclusions=[])


def test_a_shortfall_is_told_with_its_figures() -> None:
    """Cause, sentence, and the largest square that is clear of objects."""
    found = asked(rois=[[10, 20, 200, 200]], exclusions=[[60, 20, 90, 200]])
    assert found["reason"] == "blocked"
    assert (found["requested"], found["shortfall"], found["patches"]) == (5, 5, [])
    assert found["largest_free_square"] == {"x": 150, "y": 20, "width": 60, "height": 60}
    assert found["explanation"].startswith("0 of 5 patches: labelled objects leave no room for a patch of 100 × 100 px")


def test_each_roi_gets_its_patches() -> None:
    """`patches` is per ROI; ROIs that overlap respect each other's patches, and all shortfalls are told."""
    found = asked(rois=[[0, 0, 300, 300], {"polygon": [[0, 0], [300, 0], [300, 300], [0, 300]]}, [0, 0, 90, 90]])
    assert found["requested"] == 15
    assert found["shortfall"] == 15 - len(found["patches"])
    assert "ROI 3: 0 of 5 patches: the ROI is 90 × 90 px" in found["explanation"]
    boxes = [shapely.box(p["x"], p["y"], p["x"] + p["width"], p["y"] + p["height"]) for p in found["patches"]]
    shares = [
        one.intersection(other).area / min(one.area, other.area)
        for index, one in enumerate(boxes)
        for other in boxes[:index]
    ]
    assert max(shares) < 0.5


@settings(max_examples=60, deadline=None)
@given(
    rois=st.lists(
        st.tuples(st.floats(-50, 300), st.floats(-50, 250), st.floats(60, 300), st.floats(60, 250)),
        min_size=1,
        max_size=3,
    ),
    cells=st.lists(st.tuples(st.floats(0, 390), st.floats(0, 290), st.floats(1, 60), st.floats(1, 60)), max_size=12),
    corners=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=3, max_size=5),
    margin=st.integers(0, 5),
    is_square=st.booleans(),
    align=st.sampled_from([1, 8]),
    seed=st.integers(-5, 1 << 70),
)
def test_whatever_is_asked_no_patch_breaks_a_rule(
    rois: list[tuple[float, ...]],
    cells: list[tuple[float, ...]],
    corners: list[tuple[int, int]],
    margin: int,
    is_square: bool,
    align: int,
    seed: int,
) -> None:
    """Judged by shapely: in an ROI, in the image, clear of every object, of a permitted size and place."""
    found = asked(
        rois=rois,
        exclusions=[*cells, {"polygon": corners}],
        min_size=30,
        max_size=120,
        margin=margin,
        square=is_square,
        align=align,
        seed=seed,
    )
    areas = [shapely.box(x, y, x + width, y + height).buffer(0.01, join_style="mitre") for x, y, width, height in rois]
    objects = [shapely.box(x, y, x + width, y + height) for x, y, width, height in cells]
    objects.append(shapely.Polygon(corners).buffer(0))
    for patch in found["patches"]:
        x, y, width, height = (patch[key] for key in ("x", "y", "width", "height"))
        box = shapely.box(x, y, x + width, y + height)
        assert any(area.covers(box) for area in areas)
        assert shapely.box(0, 0, 400, 300).covers(box)
        grown = shapely.box(x - margin, y - margin, x + width + margin, y + height + margin)
        assert all(grown.intersection(thing).area < 0.01 * (width + height) for thing in objects)
        assert 30 <= min(width, height) <= max(width, height) <= 120
        assert x % align == y % align == 0
        assert width == height or not is_square


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"paches": 3}, "scene.json: paches is unknown; did you mean patches?"),
        ({"width": 0}, "scene.json: width is 0, but must be greater than or equal to 1"),
        ({"width": 10.5}, "scene.json: width is 10.5, but must be a valid integer"),
        ({"width": "400"}, 'scene.json: width is "400", but must be a valid integer'),
        ({"patches": 0}, "scene.json: patches is 0, but must be 1 to 20"),
        ({"patches": 21}, "scene.json: patches is 21, but must be 1 to 20"),
        ({"min_size": 0}, "scene.json: min_size is 0 px, but must be at least 1"),
        ({"min_size": 500}, "scene.json: max_size is 400 px, but must be at least min_size (500)"),
        ({"max_overlap": 0}, "scene.json: max_overlap is 0.0, but must be above 0 and at most 1"),
        ({"max_overlap": 1.5}, "scene.json: max_overlap is 1.5, but must be above 0 and at most 1"),
        ({"margin": -1}, "scene.json: margin is -1 px, but must be 0 to 1000000"),
        ({"align": 10**30}, "scene.json: align is 1000000000000000000000000000000 px, but must be 1 to 1000000"),
        ({"a\nb": 1}, "scene.json: 'a\\nb' is unknown; known are width"),
        ({"align": 0}, "scene.json: align is 0 px, but must be 1 to 1000000"),
        ({"square": 1}, "scene.json: square is 1, but must be a valid boolean"),
        ({"seed": "a"}, 'scene.json: seed is "a", but must be a valid integer'),
        ({"rois": []}, "scene.json: rois is empty; leave it out, and the whole image is the ROI"),
        (
            {"rois": [[1, 2, 3]]},
            'scene.json: rois.0 is [1, 2, 3], but must be [x, y, width, height] or {"polygon": [[x, y], …]}',
        ),
        (
            {"rois": [[1, 2, 0, 3]]},
            "scene.json: rois.0 is [1, 2, 0, 3], but width and height must be above 0, not 0 and 3",
        ),
        (
            {"rois": [{"polygon": [[1, 1], [1, 2], [1, 3]]}]},
            'scene.json: rois.0 is {"polygon": [[1, 1], [1, 2], [1, 3]]}, but encloses nothing: its points lie on',
        ),
        (
            {"exclusions": [{"polygon": [[1, 1], [1, 2]]}]},
            'scene.json: exclusions.0 is {"polygon": [[1, 1], [1, 2]]}, but a polygon has three or more points [x, y]',
        ),
        ({"exclusions": [[0, 0, "a", 1]]}, "scene.json: exclusions.0 is [0, 0, \"a\", 1], but 'a' is no number"),
        ({"exclusions": [[0, 0, 1e9, 1]]}, "scene.json: exclusions.0 is [0, 0, 1000000000.0, 1], but 1e+09 is more"),
        ({"exclusions": [{"circle": 3}]}, 'scene.json: exclusions.0 is {"circle": 3}, but must be [x, y, width,'),
    ],
)
def test_unknown_and_impossible_values_are_named(fields: dict[str, Any], said: str) -> None:
    """One line that says which, and what it may be."""
    assert refused(json.dumps(SMALL | fields)).startswith(said)


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense", '{"width": 1,}'])
def test_what_is_no_json_object_is_told(text: str) -> None:
    """With the place, where there is one."""
    assert refused(text).startswith("scene.json is no JSON object")


def test_what_is_missing_is_named() -> None:
    """Width and height can't be guessed."""
    assert refused('{"width": 3}') == "scene.json: height is missing"


def test_a_key_that_stands_twice_is_refused() -> None:
    """The second would silently take the first one's place, and objects with it."""
    text = '{"width": 300, "height": 300, "exclusions": [[0, 0, 300, 300]], "exclusions": []}'
    assert refused(text) == "scene.json: the key 'exclusions' stands twice in one object"


def test_a_byte_order_mark_is_no_harm() -> None:
    """Some editors write one."""
    assert json.loads(sample_scene(json.dumps(SMALL).encode("utf-8-sig"), "scene.json")) == asked()


def test_not_a_number_is_refused() -> None:
    """Python's JSON lets NaN through; a rule doesn't."""
    assert refused('{"width": 3, "height": 3, "max_overlap": NaN}').startswith("scene.json: max_overlap is nan")


def negatives(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command, as people run it."""
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def test_the_command_prints_the_answer_and_nothing_else() -> None:
    """Without Label Studio and without settings; from standard input, too."""
    done = negatives("sample", "--scene", "-", given=json.dumps(SMALL))
    assert (done.returncode, done.stderr, json.loads(done.stdout)) == (0, "", asked())


def test_a_shortfall_is_an_answer_not_a_failure() -> None:
    """Scripts read it from the answer."""
    done = negatives("sample", "--scene", "-", given=json.dumps(SMALL | {"rois": [[0, 0, 50, 50]]}))
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "roi_too_small")


def test_an_impossible_value_ends_with_two_and_one_line() -> None:
    """On standard error; standard output stays empty."""
    done = negatives("sample", "--scene", "-", given='{"width": 3, "height": 0}')
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "negatives: <stdin>: height is 0, but must be greater than or equal to 1\n"


@pytest.mark.parametrize("more", [["--patches", "3"], ["--into", "out"], ["--square"], ["."]])
def test_a_scene_goes_alone(more: list[str]) -> None:
    """What is for images is not silently passed over."""
    done = negatives("sample", "--scene", "-", *more, given=json.dumps(SMALL))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--scene goes alone" in done.stderr
