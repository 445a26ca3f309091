import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import Task
from service.errors import ImageError, LabelStudioUnavailable
from service.export.sources import SAMPLE, SourceFiles, scaled_inward
from service.label_studio.images import ImageLimits
from tests.export.hosts import NOW, STUDIO, TOKEN, Hosts
from tests.factories import task as any_task

SIZE = (160, 120)
UPLOAD = "/data/upload/3/1a2b3c4d-field.png"
LOCAL = "/data/local-files/?d=plates/field.png"
CLOUD = "s3://scans/plates/field.png"
PLAIN = "http://pictures.example/field.png"


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Noise, so that no two regions and no two pictures are alike."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


FIELD = encoded(picture(1))
OTHER = encoded(picture(2))
LARGE = encoded(picture(3, (300, 300)))
PHOTO = encoded(picture(3), "JPEG")


def task(image: str = UPLOAD, **more: object) -> Task:
    """A task that shows this image, of 160 × 120 px unless said otherwise."""
    changed: dict[str, object] = {"image": image, "size": SIZE, **more}
    return replace(any_task(), **changed)  # type: ignore[arg-type]


def taken(files: SourceFiles, of: Task, *held: Path) -> tuple[bytes, str]:
    """What is in a task's file, and where it came from."""
    with files.take(of, held) as found:
        data = found.path.read_bytes()
        assert (found.source.sha256, found.source.bytes) == (sha256(data).hexdigest(), len(data))
        return data, found.origin


def folders(cache: Path) -> dict[str, int]:
    """How many files are kept, and how many are in use."""
    return {
        "kept": len(list((cache / "files").rglob("*.val"))),
        "used": sum(path.is_file() for path in (cache / "runs").rglob("*")),
    }


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize("image", [UPLOAD, LOCAL, CLOUD, PLAIN])
def test_a_file_is_given_as_it_is_stored(tmp_path: Path, image: str) -> None:
    """Byte for byte, with its name, its digest, and where it is; gone when nobody uses it any more."""
    hosts = Hosts({image: FIELD})
    with hosts.run(tmp_path) as files, files.take(task(image), ()) as found:
        assert found.path.read_bytes() == FIELD
        assert (found.source.name, found.source.reference) == ("field.png", image)
        assert (found.source.sha256, found.source.bytes) == (sha256(FIELD).hexdigest(), len(FIELD))
        assert (found.seen, found.size, found.origin) == (SIZE, SIZE, "downloaded")
        there = found.path
        assert folders(tmp_path)["used"] == 1
    assert not there.exists()
    assert folders(tmp_path) == {"kept": 1, "used": 0}


def test_an_image_without_regions_is_of_its_own_size(tmp_path: Path) -> None:
    """Where no region says what people saw, they saw the image."""
    with Hosts({UPLOAD: LARGE}).run(tmp_path) as files, files.take(task(size=None), ()) as found:
        assert (found.seen, found.size) == ((300, 300), (300, 300))


def test_an_image_that_was_replaced_is_refused(tmp_path: Path) -> None:
    """Its regions mean nothing on another picture; the message says both sizes."""
    with Hosts({UPLOAD: LARGE}).run(tmp_path) as files:
        with pytest.raises(ImageError, match="task 7: its regions were drawn on 160 × 120 px, but the image is 300 ×"):
            taken(files, task())
        assert folders(tmp_path)["used"] == 0


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    """A page where an image was."""
    with Hosts({UPLOAD: b"<html>"}).run(tmp_path) as files, pytest.raises(ImageError, match="the image of task 7"):
        taken(files, task())


def test_a_file_beyond_the_limit_is_not_taken(tmp_path: Path) -> None:
    """What is larger than the setting allows is neither read nor kept."""
    hosts = Hosts({UPLOAD: FIELD})
    with hosts.run(tmp_path, limits=ImageLimits(len(FIELD) - 1, 10**6)) as files:
        with pytest.raises(ImageError, match="NEGATIVES_MAX_IMAGE_BYTES"):
            taken(files, task())
        assert (hosts.sent, folders(tmp_path)) == (0, {"kept": 0, "used": 0})


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    """By the task, as everywhere."""
    with Hosts().run(tmp_path) as files, pytest.raises(ImageError, match=r"task 7 can't be fetched: .* 404: has"):
        taken(files, task())


# ---------------------------------------------------------------- once


@pytest.mark.parametrize("image", [UPLOAD, LOCAL, CLOUD, PLAIN])
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_run_asks_for_an_image_once(tmp_path: Path, image: str, is_kept: bool) -> None:
    """However many tasks show it, with or without a folder for the next time."""
    hosts = Hosts({image: FIELD})
    with hosts.run(tmp_path if is_kept else None) as files:
        assert taken(files, task(image)) == (FIELD, "downloaded")
        asked = len(hosts.asked)
        assert [taken(files, task(image, id=number)) for number in (8, 9)] == [(FIELD, "cached")] * 2
        assert (len(hosts.asked), hosts.sent) == (asked, len(FIELD))


def test_threads_that_want_the_same_image_ask_once(tmp_path: Path) -> None:
    """The others wait, and all get it."""
    hosts = Hosts({UPLOAD: FIELD, LOCAL: OTHER})
    wanted = [task(UPLOAD if number % 2 else LOCAL, id=number) for number in range(1, 33)]
    with hosts.run(tmp_path) as files, ThreadPoolExecutor(8) as threads:
        given = [data for data, _ in threads.map(lambda one: taken(files, one), wanted)]
    assert given == [FIELD if one.image == UPLOAD else OTHER for one in wanted]
    assert hosts.sent == len(FIELD) + len(OTHER)


@pytest.mark.parametrize("image", [LOCAL, CLOUD])
def test_the_next_run_asks_whether_it_is_still_the_same(tmp_path: Path, image: str) -> None:
    """A file that is unchanged isn't sent again, though a cloud's link is another one each time."""
    hosts = Hosts({image: FIELD})
    with hosts.run(tmp_path) as files:
        taken(files, task(image))
    sent = hosts.sent
    with hosts.run(tmp_path) as files:
        assert taken(files, task(image)) == (FIELD, "cached")
    assert hosts.sent == sent


def test_what_is_told_by_its_date_is_not_sent_again(tmp_path: Path) -> None:
    """A host without ETag, and with a date of long ago."""
    hosts = Hosts({PLAIN: FIELD}, changed={PLAIN: NOW - 3600})
    for origin in ("downloaded", "cached"):
        with hosts.run(tmp_path) as files:
            assert taken(files, task(PLAIN)) == (FIELD, origin)
    assert hosts.sent == len(FIELD)


def test_a_date_of_just_now_tells_nothing(tmp_path: Path) -> None:
    """The file may be changed twice in that second."""
    hosts = Hosts({PLAIN: FIELD}, changed={PLAIN: NOW - 1})
    for data in (FIELD, OTHER):
        hosts.files[PLAIN] = data
        with hosts.run(tmp_path) as files:
            assert taken(files, task(PLAIN)) == (data, "downloaded")


@pytest.mark.parametrize("image", [LOCAL, CLOUD, PLAIN])
def test_a_file_that_changed_is_fetched_again(tmp_path: Path, image: str) -> None:
    """The next run gets what is there now, and keeps that."""
    hosts = Hosts({image: FIELD}, changed={image: NOW - 7200})
    with hosts.run(tmp_path) as files:
        taken(files, task(image))
    hosts.files[image], hosts.changed[image] = OTHER, NOW - 3600
    for origin in ("downloaded", "cached"):
        with hosts.run(tmp_path) as files:
            assert taken(files, task(image)) == (OTHER, origin)
    assert folders(tmp_path)["kept"] == 1


def test_an_upload_is_known_by_its_name_and_how_it_begins(tmp_path: Path) -> None:
    """Label Studio can't tell whether it changed; its name is unique, so its size and its first bytes are enough."""
    hosts = Hosts({UPLOAD: LARGE})
    for origin in ("downloaded", "cached"):
        with hosts.run(tmp_path) as files:
            assert taken(files, task(size=None)) == (LARGE, origin)
    assert len(LARGE) + SAMPLE == hosts.sent


@pytest.mark.parametrize(
    ("before", "after"),
    [(LARGE, LARGE + b"\0"), (PHOTO, PHOTO[:5000] + bytes([PHOTO[5000] ^ 1]) + PHOTO[5001:])],
)
def test_an_upload_that_was_replaced_by_hand_is_fetched_again(tmp_path: Path, before: bytes, after: bytes) -> None:
    """Of another size, or beginning in another way."""
    hosts = Hosts({UPLOAD: before})
    with hosts.run(tmp_path) as files:
        taken(files, task(size=None))
    hosts.files[UPLOAD] = after
    with hosts.run(tmp_path) as files:
        assert taken(files, task(size=None)) == (after, "downloaded")


@pytest.mark.parametrize("image", [PLAIN, "http://pictures.example/data/upload/3/1a2b3c4d-field.png"])
def test_what_nothing_is_known_by_is_fetched_by_each_run(tmp_path: Path, image: str) -> None:
    """A host that gives neither ETag nor date; only Label Studio's own uploads are never replaced."""
    hosts = Hosts({image: FIELD})
    for _ in range(2):
        with hosts.run(tmp_path) as files:
            assert taken(files, task(image)) == (FIELD, "downloaded")


# ---------------------------------------------------------------- which is which


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (task(PLAIN + "?id=1"), task(PLAIN + "?id=2")),
        (task(LOCAL), task(LOCAL.replace("field", "fields"))),
        (task(PLAIN), task(PLAIN.replace("http", "https"))),
    ],
)
def test_two_images_are_never_taken_for_one(tmp_path: Path, one: Task, other: Task) -> None:
    """What comes after the question mark may be what tells them apart."""
    hosts = Hosts({one.image: FIELD, other.image: OTHER})
    for _ in range(2):
        with hosts.run(tmp_path) as files:
            assert [taken(files, each)[0] for each in (one, other)] == [FIELD, OTHER]


def test_two_label_studios_do_not_share_an_image(tmp_path: Path) -> None:
    """Each has an upload 1a2b3c4d of its own."""
    for url, data in ((STUDIO, FIELD), ("http://other.internal", OTHER)):
        with Hosts({UPLOAD: data}).run(tmp_path, url=url) as files:
            assert taken(files, task()) == (data, "downloaded")


def test_two_projects_do_not_share_a_bucket(tmp_path: Path) -> None:
    """Each project's storage says on its own where the bucket is."""
    hosts = Hosts({CLOUD: FIELD})
    with hosts.run(tmp_path) as files:
        assert taken(files, task(CLOUD, project_id=3)) == (FIELD, "downloaded")
        hosts.files[CLOUD] = OTHER
        assert taken(files, task(CLOUD, project_id=4)) == (OTHER, "downloaded")


def test_no_secret_is_written_down(tmp_path: Path) -> None:
    """Neither a signature, nor what is signed in with, nor the token: not in the folder, not in what is told."""
    signed = "http://ann:hunter2@pictures.example/a.png?signature=hunter2"
    links = [signed, signed.replace("http", "HTTP"), CLOUD, UPLOAD]
    hosts = Hosts({signed: FIELD, CLOUD: FIELD, UPLOAD: FIELD})
    with hosts.run(tmp_path) as files:
        for link in links:
            with files.take(task(link), ()) as found:
                assert "hunter2" not in repr(found)
        for link in links:
            hosts.files.clear()
            with pytest.raises(ImageError) as caught:
                taken(files, task(link.replace("field", "gone").replace("a.png", "gone.png")))
            assert "hunter2" not in str(caught.value)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hunter2" not in written
    assert TOKEN.encode() not in written


# ---------------------------------------------------------------- what goes wrong on the way


@pytest.mark.parametrize("image", [UPLOAD, LOCAL, CLOUD, PLAIN])
@pytest.mark.parametrize("broken", [None, httpx.ReadError("cut")])
def test_half_a_file_is_never_kept(tmp_path: Path, image: str, broken: Exception | None) -> None:
    """A connection that breaks, with or without a word, leaves nothing; trying again can help."""
    hosts = Hosts({image: FIELD}, breaks=20_000, broken=broken)
    with hosts.run(tmp_path) as files:
        with pytest.raises(LabelStudioUnavailable, match="the image of task 7"):
            taken(files, task(image))
        assert folders(tmp_path) == {"kept": 0, "used": 0}
        hosts.breaks = hosts.broken = None
        assert taken(files, task(image)) == (FIELD, "downloaded")


def test_what_may_be_half_a_file_is_not_kept(tmp_path: Path) -> None:
    """Where nothing says how long a file is, it is used once, and fetched again by whoever wants it next."""
    hosts = Hosts({PLAIN: PHOTO}, changed={PLAIN: NOW - 3600}, is_mute=True, breaks=len(PHOTO) // 2)
    with hosts.run(tmp_path) as files:
        assert taken(files, task(PLAIN)) == (PHOTO[: len(PHOTO) // 2], "downloaded")
        assert folders(tmp_path)["kept"] == 0
        hosts.breaks = None
        assert taken(files, task(PLAIN)) == (PHOTO, "downloaded")


def test_a_host_that_is_down_is_told_though_the_file_is_there(tmp_path: Path) -> None:
    """Nobody can say whether it is still the same; trying again can help, and what is there stays."""
    hosts = Hosts({LOCAL: FIELD})
    with hosts.run(tmp_path) as files:
        taken(files, task(LOCAL))
    hosts.fails = 503
    with hosts.run(tmp_path) as files, pytest.raises(LabelStudioUnavailable):
        taken(files, task(LOCAL))
    hosts.fails = 0
    assert folders(tmp_path) == {"kept": 1, "used": 0}
    with hosts.run(tmp_path) as files:
        assert taken(files, task(LOCAL)) == (FIELD, "cached")


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "index"])
def test_what_was_damaged_is_fetched_again(tmp_path: Path, damage: str) -> None:
    """A bit that flipped, a file that lost its end, one that is gone, an index that is none."""
    hosts = Hosts({LOCAL: FIELD})
    with hosts.run(tmp_path) as files:
        taken(files, task(LOCAL))
    (kept,) = (tmp_path / "files").rglob("*.val")
    if damage == "changed":
        kept.write_bytes(FIELD[:100] + bytes([FIELD[100] ^ 1]) + FIELD[101:])
    elif damage == "cut":
        kept.write_bytes(FIELD[:100])
    elif damage == "gone":
        kept.unlink()
    else:
        for part in (tmp_path / "files").glob("cache.db*"):
            part.write_bytes(b"no database" * 1000)
    with hosts.run(tmp_path) as files:
        assert taken(files, task(LOCAL)) == (FIELD, "downloaded")
        assert taken(files, task(LOCAL)) == (FIELD, "cached")


def test_a_place_that_is_no_folder_is_done_without(tmp_path: Path) -> None:
    """The run keeps its images elsewhere, and says so."""
    place = tmp_path / "file"
    place.write_bytes(b"")
    hosts = Hosts({UPLOAD: FIELD})
    with hosts.run(place) as files:
        assert [taken(files, task())[1] for _ in range(2)] == ["downloaded", "cached"]
    assert place.read_bytes() == b""


def test_a_folder_that_vanishes_is_done_without(tmp_path: Path) -> None:
    """Somebody empties their caches while an export runs."""
    hosts = Hosts({UPLOAD: FIELD, LOCAL: OTHER})
    cache = tmp_path / "cache"
    with hosts.run(cache) as files:
        taken(files, task())
        shutil.rmtree(cache)
        assert [taken(files, task(image))[0] for image in (UPLOAD, LOCAL)] == [FIELD, OTHER]


# ---------------------------------------------------------------- the repository's own file


def held(folder: Path, data: bytes, name: str = "field.png") -> Path:
    """An image of the repository."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("image", [UPLOAD, LOCAL, CLOUD, PLAIN])
def test_the_repositorys_own_file_is_not_downloaded(tmp_path: Path, image: str) -> None:
    """Where size and name agree, and how it begins, or the digest: its bytes are used, where they are."""
    hosts = Hosts({image: LARGE})
    own = held(tmp_path / "train", LARGE)
    with hosts.run(tmp_path / "cache") as files, files.take(task(image, size=None), [own]) as found:
        assert (found.path, found.origin) == (own, "repository")
        assert (found.source.name, found.source.reference) == ("field.png", image)
        assert found.source.sha256 == sha256(LARGE).hexdigest()
        assert hosts.sent <= SAMPLE + 8192
    assert own.read_bytes() == LARGE


@pytest.mark.parametrize("image", [UPLOAD, LOCAL, CLOUD, PLAIN])
@pytest.mark.parametrize("own", [OTHER, FIELD + b"\0", FIELD[:-1] + b"\1", b"", bytes(len(FIELD))])
def test_another_file_of_that_name_is_not_used(tmp_path: Path, image: str, own: bytes) -> None:
    """Of another size, with another end, empty, or only as large."""
    hosts = Hosts({image: FIELD})
    with hosts.run(tmp_path / "cache") as files:
        assert taken(files, task(image), held(tmp_path / "train", own)) == (FIELD, "downloaded")


def test_of_several_files_of_that_name_and_size_none_is_guessed(tmp_path: Path) -> None:
    """Unless they are the same, or the host tells the digest."""
    near = LARGE[:-1] + b"\1"
    paths = [held(tmp_path / folder, data) for folder, data in (("train", near), ("val", LARGE), ("test", LARGE))]
    hosts = Hosts({UPLOAD: LARGE, CLOUD: LARGE})
    with hosts.run(tmp_path / "cache") as files:
        assert taken(files, task(UPLOAD, size=None), *paths) == (LARGE, "downloaded")
        assert taken(files, task(UPLOAD, size=None), *paths[1:]) == (LARGE, "repository")
        assert taken(files, task(CLOUD, size=None), *paths) == (LARGE, "repository")
        assert taken(files, task(CLOUD, size=None), paths[0]) == (LARGE, "downloaded")


def test_files_of_that_name_and_another_size_are_in_nobodys_way(tmp_path: Path) -> None:
    """The one that has the size is used."""
    paths = [held(tmp_path / folder, data) for folder, data in (("train", OTHER + b"0"), ("val", FIELD))]
    with Hosts({UPLOAD: FIELD}).run(tmp_path / "cache") as files:
        assert taken(files, task(), *paths) == (FIELD, "repository")


@pytest.mark.parametrize("changed", ["middle", "end"])
def test_an_empty_border_does_not_make_two_slides_one(tmp_path: Path, changed: str) -> None:
    """Uncompressed files of one camera have one size; the middle and the end are looked at, too."""
    slide = encoded(Image.new("RGB", (500, 400), (255, 255, 255)), "BMP")
    at = len(slide) // 2 if changed == "middle" else len(slide) - 2
    another = slide[:at] + b"\0" + slide[at + 1 :]
    image = UPLOAD.replace(".png", ".bmp")
    hosts = Hosts({image: slide})
    with hosts.run(tmp_path / "cache") as files:
        own = held(tmp_path / "train", another, "field.bmp")
        assert taken(files, task(image, size=None), own) == (slide, "downloaded")
        own = held(tmp_path / "train", slide, "field.bmp")
        assert taken(files, task(image, size=None), own) == (slide, "repository")


def test_what_is_packed_for_the_way_has_another_size(tmp_path: Path) -> None:
    """The length of a packed answer says nothing of the file: it isn't taken for the file's."""
    hosts = Hosts({PLAIN: FIELD}, extra={"Content-Encoding": "identity"})
    own = held(tmp_path / "train", FIELD)
    with hosts.run(tmp_path / "cache") as files:
        assert taken(files, task(PLAIN), own) == (FIELD, "repository")
    hosts.extra["Content-Encoding"] = "x-unknown"
    with hosts.run(tmp_path / "cache") as files:
        assert taken(files, task(PLAIN), own)[1] == "downloaded"


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    """A folder, a link to nowhere, a pipe that nobody writes into."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    odd = [tmp_path / name for name in ("folder.png", "link.png", "pipe.png")]
    with Hosts({UPLOAD: FIELD}).run(tmp_path / "cache") as files:
        assert taken(files, task(), *odd) == (FIELD, "downloaded")
        assert taken(files, task(), *odd, held(tmp_path / "train", FIELD)) == (FIELD, "repository")


# ---------------------------------------------------------------- originals

ORIGINAL = encoded(picture(4, (640, 480)))


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """A folder of originals, with one of four times the size, and a secret next to it."""
    folder = tmp_path / "originals"
    (folder / "plates").mkdir(parents=True)
    (folder / "plates" / "field 1.tif").write_bytes(ORIGINAL)
    (tmp_path / "secret.png").write_bytes(ORIGINAL)
    return folder


def test_an_original_is_used_where_it_is(tmp_path: Path, originals: Path) -> None:
    """By its path from the folder of originals: nothing is downloaded, the source's name and place are its own."""
    hosts = Hosts()
    path = originals / "plates" / "field 1.tif"
    for written in ("plates/field 1.tif", str(path), "plates/../plates/field 1.tif"):
        one = task(original=written)
        with hosts.run(tmp_path / "cache", originals=originals) as files, files.take(one, ()) as found:
            assert (found.path, found.origin) == (path, "original")
            assert (found.seen, found.size) == (SIZE, (640, 480))
            assert (found.source.name, found.source.reference) == ("field 1.tif", written)
            assert found.source.sha256 == sha256(ORIGINAL).hexdigest()
            assert files.name(one) == "field 1.tif"
    assert hosts.asked == []
    assert path.read_bytes() == ORIGINAL


@pytest.mark.parametrize("original", [UPLOAD, LOCAL, CLOUD, PLAIN])
def test_an_original_may_be_anywhere(tmp_path: Path, original: str) -> None:
    """It is fetched and kept as any image; the preview isn't fetched at all."""
    hosts = Hosts({original: ORIGINAL})
    one = task("/data/upload/3/00000000-preview.jpg", original=original)
    for _ in range(2):
        with hosts.run(tmp_path) as files, files.take(one, ()) as found:
            assert found.path.read_bytes() == ORIGINAL
            assert (found.seen, found.size, found.origin) == (SIZE, (640, 480), "original")
            assert (found.source.name, found.source.reference) == ("field.png", original)
    assert not any("preview" in str(request.url) for request in hosts.asked)


def test_the_repository_may_hold_the_original(tmp_path: Path) -> None:
    """Then it isn't downloaded."""
    hosts = Hosts({CLOUD: ORIGINAL})
    own = held(tmp_path / "train", ORIGINAL)
    one = task(original=CLOUD)
    with hosts.run(tmp_path / "cache") as files, files.take(one, [own]) as found:
        assert (found.path, found.size) == (own, (640, 480))


def test_a_label_studio_under_a_path_has_its_originals_there(tmp_path: Path, originals: Path) -> None:
    """Its own addresses are told from paths, with its path or without."""
    url = f"{STUDIO}/labels"
    hosts = Hosts({f"/labels{UPLOAD}": ORIGINAL})
    for original in (UPLOAD, f"/labels{UPLOAD}"):
        with hosts.run(tmp_path / "cache", url=url, originals=originals) as files:
            assert taken(files, task(original=original)) == (ORIGINAL, "original")


@pytest.mark.parametrize("escape", ["../secret.png", "plates/../../secret.png", "link.png", "linked/secret.png", "ABS"])
def test_an_original_outside_of_the_folder_is_refused(tmp_path: Path, originals: Path, escape: str) -> None:
    """By dots, by a link, by a linked folder, or named in full: nobody who can edit a task reads other files."""
    (originals / "link.png").symlink_to(tmp_path / "secret.png")
    (originals / "linked").symlink_to(tmp_path)
    one = task(original=str(tmp_path / "secret.png") if escape == "ABS" else escape)
    with (
        Hosts().run(tmp_path / "cache", originals=originals) as files,
        pytest.raises(ImageError, match=r"the original of task 7 lies outside of .*NEGATIVES_ORIGINALS"),
    ):
        taken(files, one)


@pytest.mark.parametrize("name", ["a%20b.png", "a#1.png", "what?.png", "ä 1.png", "1a2b3c4d-a.png"])
def test_an_originals_name_is_its_files(tmp_path: Path, name: str) -> None:
    """A path is no address: no sign in it means anything."""
    (tmp_path / name).write_bytes(ORIGINAL)
    one = task(original=name)
    with Hosts().run(None, originals=tmp_path) as files, files.take(one, ()) as found:
        assert (found.source.name, files.name(one)) == (name, name)


def test_links_within_the_folder_are_followed(tmp_path: Path, originals: Path) -> None:
    """And the folder itself may be a link."""
    (originals / "today.tif").symlink_to("plates/field 1.tif")
    root = tmp_path / "linked"
    root.symlink_to(originals)
    with Hosts().run(tmp_path / "cache", originals=root) as files:
        assert taken(files, task(original="today.tif")) == (ORIGINAL, "original")
        assert taken(files, task(original=f"{root}/today.tif")) == (ORIGINAL, "original")


@pytest.mark.parametrize(
    ("original", "message"),
    [
        (
            "plates/none.tif",
            r"the original of task 7 isn't in the folder of originals \(NEGATIVES_ORIGINALS\): 'plates",
        ),
        ("plates", "is no file, or an empty one"),
        ("empty.png", "is no file, or an empty one"),
        ("round.png", "can't be read"),
        ("a\0b", "can't be read"),
        ("x" * 5000, "can't be read"),
        ("plates/field 1.tif/more", "can't be read"),
        ("notes.txt", "can't be read"),
        ("ftp://host/a.tif", "task 7: its original can't be fetched from where its data says it is"),
        ("file:///etc/passwd", "task 7: its original can't be fetched"),
    ],
)
def test_an_original_that_cannot_be_used_is_refused(
    tmp_path: Path, originals: Path, original: str, message: str
) -> None:
    """By a sentence that says why; the preview is never cut in its place."""
    (originals / "empty.png").write_bytes(b"")
    (originals / "notes.txt").write_text("no picture")
    (originals / "round.png").symlink_to("round.png")
    with (
        Hosts({UPLOAD: FIELD}).run(tmp_path / "cache", originals=originals) as files,
        pytest.raises(ImageError, match=message),
    ):
        taken(files, task(original=original))


def test_an_original_needs_the_folder_to_be_set(tmp_path: Path) -> None:
    """The message names the setting."""
    with Hosts().run(tmp_path) as files, pytest.raises(ImageError, match="set NEGATIVES_ORIGINALS"):
        taken(files, task(original="plates/field 1.tif"))


def test_an_original_beyond_the_limit_is_refused(tmp_path: Path, originals: Path) -> None:
    """The same limit holds as for what is downloaded."""
    limits = ImageLimits(len(ORIGINAL) - 1, 10**7)
    with (
        Hosts().run(tmp_path / "cache", originals=originals, limits=limits) as files,
        pytest.raises(ImageError, match="NEGATIVES_MAX_IMAGE_BYTES"),
    ):
        taken(files, task(original="plates/field 1.tif"))


@pytest.mark.parametrize("seen", [(160, 120), (80, 60), (640, 480), (33, 25), (34, 25), (1280, 960), (639, 480)])
def test_a_preview_may_be_rounded(tmp_path: Path, originals: Path, seen: tuple[int, int]) -> None:
    """A side that is less than a pixel off is still the same picture."""
    with Hosts().run(tmp_path / "cache", originals=originals) as files:
        taken(files, task(original="plates/field 1.tif", size=seen))


@pytest.mark.parametrize("seen", [(120, 160), (160, 118), (157, 120), (160, 160), (1600, 1208)])
def test_an_original_of_another_shape_is_refused(tmp_path: Path, originals: Path, seen: tuple[int, int]) -> None:
    """It is turned, cropped, or another image's."""
    with (
        Hosts().run(tmp_path / "cache", originals=originals) as files,
        pytest.raises(ImageError, match="the original is 640 × 480 px, which is another shape"),
    ):
        taken(files, task(original="plates/field 1.tif", size=seen))


def test_without_regions_the_preview_says_what_people_saw(tmp_path: Path, originals: Path) -> None:
    """Then it has to be asked for."""
    one = task(original="plates/field 1.tif", size=None)
    hosts = Hosts({UPLOAD: FIELD})
    with hosts.run(tmp_path / "cache", originals=originals) as files, files.take(one, ()) as found:
        assert (found.seen, found.size) == (SIZE, (640, 480))


# ---------------------------------------------------------------- scaling

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], Box]:
    """A picture's size, and a box in it."""
    width, height = draw(sizes)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (width, height), Box(left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))


@given(seen=boxes(), size=sizes)
def test_a_scaled_box_lies_in_what_was_approved(seen: tuple[tuple[int, int], Box], size: tuple[int, int]) -> None:
    """Scaled back, without rounding, it is inside of the box, and one pixel more on any side would not be."""
    (width, height), box = seen
    (is_wide, is_high) = size
    try:
        scaled = scaled_inward(box, (width, height), size)
    except ImageError:
        # Not even one pixel of the other picture lies in it.
        ends = ((box.left, box.right, is_wide, width), (box.top, box.bottom, is_high, height))
        assert any(-(-low * to // of) >= high * to // of for low, high, to, of in ends)
        return
    assert box.left * is_wide <= scaled.left * width < box.left * is_wide + width
    assert box.top * is_high <= scaled.top * height < box.top * is_high + height
    assert box.right * is_wide - width < scaled.right * width <= box.right * is_wide
    assert box.bottom * is_high - height < scaled.bottom * height <= box.bottom * is_high
    assert Box(0, 0, *size).holds(scaled)


@given(seen=boxes())
def test_a_box_stays_where_nothing_is_scaled(seen: tuple[tuple[int, int], Box]) -> None:
    """And eight times the size is eight times the box."""
    (width, height), box = seen
    assert scaled_inward(box, (width, height), (width, height)) == box
    assert scaled_inward(box, (width, height), (8 * width, 8 * height)) == Box(
        8 * box.left, 8 * box.top, 8 * box.right, 8 * box.bottom
    )


def test_a_box_on_a_preview_of_an_eighth_is_that_region_of_the_original(tmp_path: Path) -> None:
    """The crop of the original, made as small as the preview was, is the preview's pixels in the box."""
    original = picture(5, (1600, 1200))
    preview = original.reduce(8)
    (tmp_path / "large.png").write_bytes(encoded(original))
    random, limits = Random(1), ImageLimits(10**7, 10**7)
    one = task(original="large.png", size=preview.size)
    with (
        Hosts().run(None, originals=tmp_path, limits=limits) as files,
        files.take(one, ()) as found,
        Image.open(found.path) as large,
    ):
        for _ in range(20):
            left, top = random.randint(0, 180), random.randint(0, 130)
            box = Box(left, top, random.randint(left + 1, 200), random.randint(top + 1, 150))
            cut = scaled_inward(box, found.seen, found.size)
            crop = large.crop((cut.left, cut.top, cut.right, cut.bottom)).reduce(8)
            shown = preview.crop((box.left, box.top, box.right, box.bottom))
            assert np.array_equal(np.asarray(crop), np.asarray(shown))


def test_a_preview_of_a_phones_picture_is_upright(tmp_path: Path) -> None:
    """The original's orientation counts: its size is that of what people saw."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(6, (640, 480)).save(tmp_path / "phone.jpg", exif=exif)
    one = task(original="phone.jpg", size=(120, 160))
    with Hosts().run(None, originals=tmp_path) as files, files.take(one, ()) as found:
        assert found.size == (480, 640)
