"""`negatives sample`."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.core import ParameterSource

from service.cli.parts import NEEDS_A_PERSON, Command, bars
from service.domain.model import MAX_PATCHES, Rules
from service.errors import InvalidRules, UsageError

if TYPE_CHECKING:
    from service.batch.images import Sampled

RULES = Rules()


def _roi_option(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> tuple[int, int, int, int] | None:
    """Four whole numbers, width and height above 0."""
    if value is None:
        return None
    try:
        x, y, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise UsageError(f"--roi is {value!r}, but must be four whole numbers of pixels: X,Y,W,H") from None
    if width < 1 or height < 1:
        raise UsageError(f"--roi is {value!r}, but width and height must be above 0")
    return x, y, width, height


@click.command(
    cls=Command,
    epilog="negatives sample --scene scene.json\nnegatives sample photos/ --labels photos/labels --into negatives/",
)
@click.argument("images", type=click.Path(path_type=Path, exists=True), nargs=-1)
@click.option("--scene", type=click.File("rb"), help="A scene in JSON (- for standard input); its patches are printed.")
@click.option(
    "--into", type=click.Path(path_type=Path), help="The negatives go into negative_samples/ in this directory."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True),
    help="A directory of YOLO or Pascal VOC labels, or a COCO file; by default looked for beside the images.",
)
@click.option("--unlabelled", is_flag=True, help="Take images without labels as empty, instead of passing them over.")
@click.option("--roi", callback=_roi_option, metavar="X,Y,W,H", help="In pixels; by default the whole image.")
@click.option("--patches", default=RULES.patches, show_default=True, help=f"Per image, 1 to {MAX_PATCHES}.")
@click.option("--min-size", default=RULES.min_size, show_default=True, help="Smallest side of a patch, in pixels.")
@click.option("--max-size", default=RULES.max_size, show_default=True, help="Largest side of a patch, in pixels.")
@click.option(
    "--max-overlap",
    default=RULES.max_overlap,
    show_default=True,
    help="Two patches share less than this share of the smaller one's area.",
)
@click.option("--margin", default=RULES.margin, show_default=True, help="Pixels kept free around labelled objects.")
@click.option("--square", is_flag=True, help="Patches as wide as high.")
@click.option(
    "--align", default=RULES.align, show_default=True, help="Left and top edges are multiples of it, in pixels."
)
@click.option("--seed", default=1, show_default=True, help="Another seed gives other patches.")
@click.option(
    "--max-image-pixels",
    default=400_000_000,
    show_default=True,
    envvar="NEGATIVES_MAX_IMAGE_PIXELS",
    help="An image of more is refused.",
)
@click.option("--object-name", default="cells", show_default=True, help="What they are free of, for the metadata.")
@click.pass_context
def sample(
    ctx: click.Context, /, images: Sequence[Path], scene: BinaryIO | None, into: Path | None, **given: Any
) -> None:
    """Place patches without Label Studio: in a scene, or in images with labels. Needs no settings.

    IMAGES are files or folders of images. Nobody reviews what comes out: look at the contact sheet. Images without a
    label file are passed over, as nobody may have looked at them.
    """
    if scene is not None:
        set_by_hand = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if others := [name for name in set_by_hand if name != "scene" and ctx.params[name] != ()]:
            raise UsageError(f"--scene goes alone: {', '.join(sorted(others))} is for images, a scene file has its own")
        from service.batch.scene import sample_scene

        click.echo(sample_scene(scene.read(), scene.name))
        return
    if not images or into is None:
        raise UsageError("give --scene, or images and --into; negatives sample --help shows both")
    _sample_images(images, into, **given)


def _sample_images(
    images: Sequence[Path],
    into: Path,
    *,
    labels: Path | None,
    roi: tuple[int, int, int, int] | None,
    seed: int,
    unlabelled: bool,
    max_image_pixels: int,
    object_name: str,
    **rules: Any,
) -> None:
    from service.batch.images import sample_images
    from service.batch.labels import Labels, image_paths
    from service.domain.geometry import Box

    if into.suffix.lower() in (".yaml", ".yml"):
        raise UsageError(
            f"{into} is a repository's: only reviewed negatives go there (negatives export). Name a directory"
        )
    try:
        wanted = Rules(**rules)
    except InvalidRules as error:
        raise UsageError(str(error)) from error
    paths = [path for image in images for path in (image_paths(image) if image.is_dir() else (image,))]
    with ExitStack() as shown:
        done = sample_images(
            paths,
            into,
            labels=Labels(labels),
            roi=roi and Box.sized(*roi),
            rules=wanted,
            seed=seed,
            takes_unlabelled=unlabelled,
            object_name=object_name,
            max_pixels=max_image_pixels,
            now=lambda: datetime.now(UTC),
            progress=bars(shown),
        )
    _tell_sampled(done)


def _tell_sampled(done: "Sampled") -> None:
    click.echo(f"{done.images} images: {done.written} negatives written, {done.there} were there already")
    click.echo(f"  negatives     {done.folder}")
    if done.sheet:
        click.echo(f"  contact sheet {done.sheet}")
    if done.unlabelled:
        click.echo(f"  {done.unlabelled} images have no label file")
    if done.taken_out:
        click.echo(f"  {done.taken_out} negatives were taken out: as the labels are now, they would not be placed")
    if done.earlier:
        click.echo(f"  {done.earlier} negatives of earlier runs with other options lie there, too")
    if done.short:
        causes = Counter(found.shortfall.cause.value for found in done.short if found.shortfall)
        counted = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in sorted(causes.items()))
        missing = sum(found.shortfall.requested - found.shortfall.placed for found in done.short if found.shortfall)
        click.echo(f"{missing} patches are short, in {len(done.short)} images: {counted}")
    for found in (*done.short, *done.passed_over):
        click.echo(f"  {found.path}: {found.text}")
    for found in done.failures:
        click.echo(f"  failed: {found.path}: {found.text}", err=True)
    if done.failures:
        sys.exit(1)
    if done.short or done.passed_over or done.unlabelled:
        sys.exit(NEEDS_A_PERSON)
