"""Pictures of patches: what they show, and that an image is opened no more often than needed."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import Task
from service.errors import ImageError, LabelStudioUnavailable
from service.pictures import plan_cut, plan_whole
from service.web.crops import SIDES, Crops, placeholder, version
from tests.factories import task
from tests.service_process import wait_for

SIZE = (1600, 1200)
BOXES = [Box.sized(100 * number, 200, 100, 120) for number in range(1, 5)]


class FakeImages:
    """Source images in one colour; remembers which were opened, and how many at a time."""

    def __init__(self, colour: tuple[int, int, int] = (90, 120, 200)) -> None:
        self.colour = colour
        self.opened: list[int] = []
        self.trouble: Exception | None = None
        self.delay = 0.0
        self.slow: threading.Event | None = None
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def fetch(self, task: Task) -> bytes:
        with self._lock:
            self.opened.append(task.id)
        if self.trouble is not None:
            raise self.trouble
        if self.slow is not None and task.id == 1:
            self.slow.wait(30)
        return b""

    def decode(self, task: Task, data: bytes) -> Image.Image:
        assert (task.id > 0, data) == (True, b"")
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay)
        with self._lock:
            self.at_once -= 1
        return Image.new("RGB", SIZE, self.colour)


def decoded(data: bytes) -> Image.Image:
    """A picture that a browser gets."""
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image.convert("RGB")


def test_a_version_is_of_task_image_and_place() -> None:
    """Any other of these, another picture."""
    versions = {
        version(7, "ab", BOXES[0]),
        version(8, "ab", BOXES[0]),
        version(7, "cd", BOXES[0]),
        version(7, "ab", BOXES[1]),
        version(7, "ab", None),
    }
    assert len(versions) == 5


@pytest.mark.parametrize("sentence", ["task 7 <has> no image & that's it", "x" * 500, "word " * 200, ""])
def test_a_placeholder_says_why(sentence: str) -> None:
    """As a picture, whatever the sentence."""
    root = ElementTree.fromstring(placeholder(sentence))
    assert root[0].text in (sentence, None)
    assert root.get("width") == "320"


# ---------------------------------------------------------------- how often an image is opened


def test_a_picture_is_what_the_plan_says() -> None:
    """A page lays it out before it comes."""
    crops = Crops(FakeImages)
    for longest in SIDES:
        found = decoded(crops.patch(task(), BOXES[0], longest))
        assert found.size == plan_cut(BOXES[0], SIZE, longest).size
        assert decoded(crops.whole(task(), longest)).size == plan_whole(SIZE, longest)


def test_opening_an_image_cuts_all_of_its_patches() -> None:
    """The others are there when they are asked for."""
    images = FakeImages()
    crops = Crops(lambda: images)
    for box in BOXES:
        crops.patch(task(), box, 320, BOXES)
    assert images.opened == [7]
    crops.patch(task(task_id=8), BOXES[0], 320, BOXES)
    crops.patch(task(), BOXES[0], 640, BOXES)
    assert images.opened == [7, 8, 7]


def test_many_that_ask_at_once_open_it_once() -> None:
    """A page asks for all patches of a task at the same time."""
    images = FakeImages()
    images.delay = 0.1
    crops = Crops(lambda: images)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: crops.patch(task(), BOXES[number % 4], 320, BOXES), range(8)))
    assert len(made) == 8
    assert images.opened == [7]


def test_two_are_decoded_at_a_time() -> None:
    """Each may be very large."""
    images = FakeImages()
    images.delay = 0.05
    crops = Crops(lambda: images)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: crops.whole(task(task_id=number), 320), range(1, 9)))
    assert images.most_at_once == 2


def test_the_memory_is_bounded() -> None:
    """In bytes: what was asked for longest ago goes first, and comes again when it is asked for."""
    images = FakeImages()
    length = len(Crops(lambda: images).whole(task(), 320))
    images.opened.clear()
    crops = Crops(lambda: images, cache_bytes=2 * length)
    for task_id in (1, 2, 3, 3, 1):
        crops.whole(task(task_id=task_id), 320)
    assert images.opened == [1, 2, 3, 1]


def test_a_picture_larger_than_the_memory_is_given_all_the_same() -> None:
    """And isn't kept."""
    images = FakeImages()
    crops = Crops(lambda: images, cache_bytes=10)
    assert crops.whole(task(), 320) == crops.whole(task(), 320)
    assert len(images.opened) == 2


@pytest.mark.parametrize("trouble", [ImageError("task 7: it is gone"), LabelStudioUnavailable("it is down")])
def test_an_image_that_cant_be_had_is_asked_for_once(trouble: Exception) -> None:
    """Not once for each of its patches: each is told the sentence."""
    images = FakeImages()
    images.trouble = trouble
    crops = Crops(lambda: images)
    for box in BOXES:
        with pytest.raises((ImageError, LabelStudioUnavailable), match=str(trouble)):
            crops.patch(task(), box, 320, BOXES)
    assert len(images.opened) == 1


def test_what_is_broken_here_blocks_nobody() -> None:
    """Who waited tries it, and is told the same."""
    images = FakeImages()
    images.trouble = ZeroDivisionError("a bug")
    crops = Crops(lambda: images)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            crops.whole(task(), 320)


def test_a_slow_host_keeps_nobody_elses_picture_back() -> None:
    """Images are decoded two at a time, but fetched by as many as ask."""
    images = FakeImages()
    images.slow = threading.Event()
    crops = Crops(lambda: images, decodings=1)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(crops.whole, task(task_id=1), 320)
        wait_for(lambda: 1 in images.opened, "the slow host")
        assert decoded(crops.whole(task(task_id=2), 320)).size == (320, 240)
        assert not slow.done()
        images.slow.set()
        assert slow.result(30)
