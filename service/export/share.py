"""How many of a dataset's training images are negatives, against the share that helps."""

from dataclasses import dataclass
from pathlib import Path

from service.errors import ExportError
from service.export.repository import IMAGE_SUFFIXES, files, locate

BAND = 0.10, 0.20
"""Of the training images so many may be negatives: fewer teach little, more cost recall."""


@dataclass(frozen=True, slots=True)
class DatasetShare:
    """Images of the split that gets the negatives, and how many of them have an empty label or none."""

    images: int
    negatives: int

    @property
    def share(self) -> float:
        """0 to 1; 0 of an empty dataset."""
        return self.negatives / self.images if self.images else 0.0

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence."""
        low, high = BAND
        band = f"{low:.0%} to {high:.0%}"
        if not self.images:
            return "there are no images yet"
        if self.share > high:
            return f"more than {band}: add objects, or export fewer negatives"
        if self.share < low:
            # n more negatives: (negatives + n) / (images + n) = low
            missing = round((low * self.images - self.negatives) / (1 - low) + 0.4999)
            return f"less than {band}: {missing} more would reach it"
        return f"within {band}"


def dataset_share(into: Path) -> DatasetShare:
    """Count the images of the split that `locate` finds. Raises `ExportError` when the dataset can't be read."""
    layout = locate(into)
    try:
        images = [path for path in files(layout.images) if path.suffix.lower() in IMAGE_SUFFIXES]
        labelled = {path.stem for path in files(layout.labels) if path.suffix == ".txt" and path.read_bytes().strip()}
    except OSError as error:
        raise ExportError(f"{error.filename} can't be read ({error.strerror}): may you read the dataset?") from error
    return DatasetShare(len(images), sum(path.stem not in labelled for path in images))
