"""How many of a dataset's images are negatives, against the share that helps. Pure."""

from dataclasses import dataclass

BAND = 0.10, 0.20
"""Of the training images so many may be negatives: fewer teach little, more cost recall."""


@dataclass(frozen=True, slots=True)
class DatasetShare:
    """Images of a split, and how many of them have an empty label or none."""

    images: int
    negatives: int

    @property
    def share(self) -> float:
        """0 to 1; 0 of an empty dataset."""
        return self.negatives / self.images if self.images else 0.0

    def advice(self, band: tuple[float, float] = BAND) -> str:
        """What to do about it, in a sentence."""
        low, high = band
        words = f"{low:.0%} to {high:.0%}"
        if not self.images:
            return "there are no images yet"
        if self.share > high:
            return f"above the band of {words}: add objects, or export fewer negatives"
        if self.share < low:
            # n more negatives: (negatives + n) / (images + n) = low
            missing = round((low * self.images - self.negatives) / (1 - low) + 0.4999)
            return f"below the band of {words}: {missing} more would reach it"
        return f"within the band of {words}"
