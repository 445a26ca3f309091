"""The stream of chance: SplitMix64, the same on every machine and in every version of anything."""

MASK = (1 << 64) - 1


class Chance:
    """Numbers drawn by SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014;
    https://prng.di.unimi.it/splitmix64.c), which passes BigCrush. The seed is any integer, taken modulo 2⁶⁴.

    It is our own because no library promises its stream: Python's `random` only promises `random()`, numpy's
    `Generator` nothing.
    """

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        """An integer from 0 to `limit` − 1, exactly uniform: as many leading bits as needed, drawn again when above.

        `limit` is 1 to 2⁶⁴.
        """
        shift = 64 - (limit - 1).bit_length()
        while (drawn := self.bits() >> shift) >= limit:
            pass
        return drawn

    def between(self, first: int, last: int) -> int:
        """An integer from `first` to `last`, both included, exactly uniform."""
        return first + self.below(last - first + 1)
