import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import ExportError
from service.export.plan import Existing, Origin
from service.export.repository import IMAGE_SUFFIXES, Layout, labels_for, locate, read_existing

NAMES = "names: {0: cell}\n"


def repository(root: Path, yaml: str, *folders: str) -> Path:
    """A `data.yaml` in `root` with this text, and these folders beneath."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
    root.mkdir(exist_ok=True)
    data = root / "data.yaml"
    data.write_text(yaml + NAMES, encoding="utf-8")
    return data


# ---------------------------------------------------------------- where negatives belong


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("/d/images/train", "/d/labels/train"),
        ("/d/train/images", "/d/train/labels"),
        ("/d/images", "/d/labels"),
        ("/d/images/train/neg", "/d/labels/train/neg"),
        ("/images/d/images/train", "/images/d/labels/train"),
        ("/images/d/train", "/labels/d/train"),
        ("/d/data/obj", "/d/data/obj"),
        ("/d/Images/train", "/d/Images/train"),
        ("/d/my images/train", "/d/my images/train"),
        ("/d/images2/train", "/d/images2/train"),
        ("images/train", "labels/train"),
    ],
)
def test_labels_lie_where_ultralytics_looks(images: str, labels: str) -> None:
    """The last component named exactly `images` becomes `labels`; without one, labels lie beside the images."""
    assert labels_for(Path(images)) == Path(labels)


def test_a_plain_directory_holds_all_in_one_folder(tmp_path: Path) -> None:
    """`negative_samples` holds images, labels and metadata."""
    folder = tmp_path / "out" / "negative_samples"
    assert locate(tmp_path / "out") == Layout(folder, folder, folder)


def test_locating_touches_nothing(tmp_path: Path) -> None:
    """Looking makes no folder."""
    locate(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """A file that isn't a data.yaml can't be exported into."""
    (tmp_path / "out").write_text("x")
    with pytest.raises(ExportError, match=r"neither a directory nor a data\.yaml"):
        locate(tmp_path / "out")


@pytest.mark.parametrize(
    ("yaml", "folder", "images", "labels"),
    [
        ("train: images/train\nval: images/val\n", "images/train", "images/train", "labels/train"),
        ("train: train/images\n", "train/images", "train/images", "train/labels"),
        ("train: ../train/images\n", "train/images", "train/images", "train/labels"),
        ("path: data\ntrain: images/train\n", "data/images/train", "data/images/train", "data/labels/train"),
        ("path: ''\ntrain: images\n", "images", "images", "labels"),
        ("path: .\ntrain: images/\n", "images", "images", "labels"),
        ("train: [images/a, images/b]\n", "images/a", "images/a", "labels/a"),
        ("train: [lists/a.txt, images/b]\n", "images/b", "images/b", "labels/b"),
        ("train: data/obj\n", "data/obj", "data/obj", "data/obj"),
    ],
)
def test_a_data_yaml_leads_to_its_train_split(tmp_path: Path, yaml: str, folder: str, images: str, labels: str) -> None:
    """The first folder of train, under path or the yaml's own directory, and Roboflow's `../` too."""
    root = tmp_path / "set"
    layout = locate(repository(root, yaml, folder))
    assert (layout.images, layout.labels) == (root / images, root / labels)


def test_metadata_lies_outside_of_the_image_folders(tmp_path: Path) -> None:
    """Beneath the dataset's root, where no trainer looks for images."""
    layout = locate(repository(tmp_path, "path: data\ntrain: images\n", "data/images"))
    assert layout.metadata == tmp_path / "data" / "negative_samples"


def test_an_absolute_path(tmp_path: Path) -> None:
    """`path` may lead elsewhere."""
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    data = repository(tmp_path / "set", f"path: {tmp_path / 'elsewhere'}\ntrain: images\n")
    assert locate(data).images == tmp_path / "elsewhere" / "images"


@pytest.mark.parametrize("name", ["data.yaml", "DATA.YAML", "cells.yml"])
def test_a_yaml_is_known_by_its_ending(tmp_path: Path, name: str) -> None:
    """Whatever it is called."""
    data = repository(tmp_path, "train: images\n", "images").rename(tmp_path / name)
    assert locate(data).images == tmp_path / "images"


def test_a_data_yaml_that_is_not_there(tmp_path: Path) -> None:
    """A misspelt path makes no new dataset."""
    with pytest.raises(ExportError, match=r"data\.yaml doesn't exist; give a directory"):
        locate(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: [\n", "can't be read as YAML"),
        ("train: images/train.txt\n", "names no image folder"),
        ("train: [a.txt, b.txt]\n", "names no image folder"),
        ("train:\n", "has no train split"),
        ("train: 7\n", "names no image folder"),
        ("val: images\n", "has no train split"),
        ("train: images/nowhere\n", "train folder 'images/nowhere' doesn't exist"),
        ("path: nowhere\ntrain: images\n", "path 'nowhere' is no directory"),
    ],
)
def test_a_data_yaml_that_leads_nowhere_is_refused(tmp_path: Path, yaml: str, said: str) -> None:
    """The refusal says what to change."""
    with pytest.raises(ExportError) as caught:
        locate(repository(tmp_path, yaml))
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", ""])
def test_a_yaml_without_settings_is_refused(tmp_path: Path, text: str) -> None:
    """A YAML that is no mapping is no data.yaml."""
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ExportError, match="holds no settings"):
        locate(tmp_path / "data.yaml")


def test_a_yaml_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8."""
    (tmp_path / "data.yaml").write_bytes(b"train: \xff\xfe")
    with pytest.raises(ExportError, match="can't be read as YAML"):
        locate(tmp_path / "data.yaml")


def test_a_yaml_runs_no_code(tmp_path: Path) -> None:
    """Python objects in a data.yaml are refused, not built."""
    with pytest.raises(ExportError, match="can't be read as YAML"):
        locate(repository(tmp_path, 'train: !!python/object/apply:os.system ["true"]\n'))


# ---------------------------------------------------------------- what is there


def layout_of(root: Path) -> Layout:
    """A layout of three folders."""
    found = Layout(root / "images", root / "labels", root / "metadata")
    for folder in (found.images, found.labels, found.metadata):
        folder.mkdir()
    return found


def ours(**more: Any) -> dict[str, Any]:
    """The part of our metadata that an export reads again."""
    return {
        "label_studio": {"project": 3, "task": 7, "image": "/a.jpg"},
        "patches": [{"id": n, "region": f"neg_{n}", "box": [0, 0, 9, 9]} for n in (1, 4)],
        **more,
    }


def test_a_dataset_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """The first export starts from nothing."""
    assert read_existing(locate(tmp_path / "new")) == Existing()


@pytest.mark.parametrize("suffix", [*sorted(IMAGE_SUFFIXES), ".JPG", ".Png"])
def test_an_image_of_any_kind_takes_its_stem(tmp_path: Path, suffix: str) -> None:
    """`a.jpg`, `a.png` and `A.JPG` share one label file."""
    layout = layout_of(tmp_path)
    (layout.images / f"Field_neg_1{suffix}").touch()
    assert read_existing(layout).taken == {"field_neg_1"}


@pytest.mark.parametrize("name", ["Field_neg_1.txt", "field_neg_1.TXT"])
def test_a_label_without_an_image_takes_its_stem(tmp_path: Path, name: str) -> None:
    """A label may wait for its image."""
    layout = layout_of(tmp_path)
    (layout.labels / name).touch()
    assert read_existing(layout).taken == {"field_neg_1"}


@pytest.mark.parametrize("name", [".field_neg_1.jpg", "field_neg_1.npy", "field_neg_1.json", "field_neg_1"])
def test_what_is_no_image_takes_nothing(tmp_path: Path, name: str) -> None:
    """Dot-files and other files are not seen by trainers either."""
    layout = layout_of(tmp_path)
    (layout.images / name).touch()
    assert read_existing(layout).taken == frozenset()


def test_our_metadata_is_read(tmp_path: Path) -> None:
    """Whose it is, which region has which number, and whose images are really there."""
    layout = layout_of(tmp_path)
    (layout.metadata / "Field_negative_metadata.json").write_text(json.dumps({"provenance": ours()}))
    (layout.images / "Field_neg_4.jpg").touch()
    (source,) = read_existing(layout).sources.values()
    assert (source.stem, source.owner) == ("Field", Origin("/a.jpg", 3, 7))
    assert {number: region for number, (region, _) in source.patches.items()} == {1: "neg_1", 4: "neg_4"}
    assert source.present == {4}


def test_the_desktop_tools_metadata_has_no_owner(tmp_path: Path) -> None:
    """Without provenance it is somebody else's."""
    layout = layout_of(tmp_path)
    (layout.metadata / "field_negative_metadata.json").write_text('{"source_image": "field.jpg", "patches": []}')
    (source,) = read_existing(layout).sources.values()
    assert (source.stem, source.owner, source.patches) == ("field", None, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        json.dumps({"provenance": {}}),
        json.dumps({"provenance": ours(patches=[{"id": "one", "region": "neg_a"}])}),
        json.dumps({"provenance": ours(patches=None)}),
        json.dumps({"provenance": ours(label_studio={"project": 3})}),
        '{"provenance": "ours"}',
    ],
)
def test_metadata_that_cannot_be_read_stops_the_export(tmp_path: Path, text: str) -> None:
    """Without it everything would be written again; the refusal names the file and what to do."""
    layout = layout_of(tmp_path)
    (layout.metadata / "field_negative_metadata.json").write_text(text)
    with pytest.raises(ExportError, match=r"field_negative_metadata\.json can't be read.*restore it"):
        read_existing(layout)
