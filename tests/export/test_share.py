import pytest

from service.export.share import DatasetShare


@pytest.mark.parametrize(
    ("images", "negatives", "advice"),
    [
        (0, 0, "there are no images yet"),
        (90, 0, "below the band of 10% to 20%: 10 more would reach it"),
        (100, 9, "below the band of 10% to 20%: 2 more would reach it"),
        (100, 10, "within the band of 10% to 20%"),
        (100, 20, "within the band of 10% to 20%"),
        (100, 21, "above the band of 10% to 20%: add objects, or export fewer negatives"),
    ],
)
def test_the_advice_fits_the_band(images: int, negatives: int, advice: str) -> None:
    """Both ends belong to it, and as many as are told reach its lower one."""
    assert DatasetShare(images, negatives).advice() == advice


@pytest.mark.parametrize(("images", "negatives"), [(100, 0), (99, 3), (1000, 99), (7, 0)])
def test_so_many_more_and_not_one_fewer_reach_the_band(images: int, negatives: int) -> None:
    """Counted with the images that they are themselves."""
    missing = int(DatasetShare(images, negatives).advice().partition(": ")[2].partition(" ")[0])
    assert (negatives + missing) / (images + missing) >= 0.1
    assert (negatives + missing - 1) / (images + missing - 1) < 0.1
