"""The real microscope images that lie beside the checkout, or those that the project draws where they don't."""

from dataclasses import dataclass
from pathlib import Path

from service.batch.labels import LabelledObject, Labels, image_paths
from service.demo.pictures import draw_field

BCCD = Path(__file__).resolve().parents[2] / "shared" / "data" / "bccd"
SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class Photo:
    """An image file with its true boxes; size in pixels."""

    path: Path
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...]


def photos(count: int, directory: Path) -> list[Photo]:
    """So many of BCCD's images with their boxes. Where BCCD isn't there (a lone clone), drawn fields in `directory`."""
    if BCCD.is_dir():
        labels = Labels()
        return [Photo(path, SIZE, labels.of(path, SIZE) or ()) for path in image_paths(BCCD / "images")[:count]]
    found = []
    for seed in range(count):
        drawn = draw_field(seed, 1000, 800)
        path = directory / f"field_{seed:03}.jpg"
        drawn.image.save(path, quality=92)
        found.append(Photo(path, drawn.image.size, drawn.objects))
    return found
