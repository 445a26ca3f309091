from pathlib import Path

import pytest
from PIL import Image

from service.batch.labels import LabelledObject
from service.demo import loop
from service.domain.geometry import Box
from service.errors import UsageError

SIZE = (200, 100)


def picture(path: Path, label: str | None = None) -> None:
    """A grey picture of `SIZE`, and a YOLO file beside it with this line, if one is given."""
    Image.new("RGB", SIZE, "grey").save(path)
    if label is not None:
        path.with_suffix(".txt").write_text(label)


def test_people_draw_boxes_in_the_image(tmp_path: Path) -> None:
    """A polygon that sticks out is labelled by its box, cut to the image: YOLO refuses shares above 1."""
    picture(tmp_path / "a.png", "0 0.75 0.25 1.01 0.25 1.01 1.01")
    (found,) = loop._pictures(tmp_path, None, tmp_path / "drawn")
    assert found.objects == (LabelledObject("class 0", Box(150, 25, 200, 100)),)
    assert found.roi is not None


def test_pictures_without_labels_can_be_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a demo: nobody labelled, so all is background, and that is said."""
    picture(tmp_path / "a.png")
    (found,) = loop._pictures(tmp_path, None, tmp_path / "drawn")
    assert found.objects == ()
    assert "no labels were found" in capsys.readouterr().out


def test_only_pictures_that_label_studio_shows_are_taken(tmp_path: Path) -> None:
    """Label Studio takes no TIFF; without any other picture the demo says what it looked for."""
    picture(tmp_path / "a.tif", "")
    with pytest.raises(UsageError, match="looked for jpg, jpeg, png, bmp, webp;"):
        loop._pictures(tmp_path, None, tmp_path / "drawn")
    picture(tmp_path / "b.png", "")
    (found,) = loop._pictures(tmp_path, None, tmp_path / "drawn")
    assert found.path.name == "b.png"
