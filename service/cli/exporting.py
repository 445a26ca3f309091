"""`negatives export`: approved patches into a dataset, and out of it again."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli.parts import NEEDS_A_PERSON, Command, Reading, bars, settings_and_log, studio_of
from service.config import read_band, read_shares
from service.errors import UsageError

if TYPE_CHECKING:
    from service.export.plan import Item
    from service.exporting import Exported

MOST_ROWS = 200
"""Lines of a dry run's table; the JSON has all."""


def _parsed(read: object) -> object:
    """A click callback from one of the settings' readers."""

    def callback(_ctx: click.Context, _param: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else read(value)  # type: ignore[operator]
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


@click.command(
    cls=Command,
    epilog=(
        "negatives export --project 7 --into ~/datasets/cells/data.yaml --dry-run\n"
        "negatives export --project 7 --into ~/datasets/cells/data.yaml --shares train=80,val=20\n"
        "negatives export --project 7 --into annotations/instances_train.json\n"
        "negatives export --project 7 --into ./new --format yolo --new --class cell\n"
        "negatives export --undo --into ~/datasets/cells/data.yaml"
    ),
)
@click.option("--project", "-p", "project_id", type=int, help="Label Studio's project id.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="The dataset: a data.yaml, obj.data, COCO or NDJSON file, or a folder; by default NEGATIVES_DATASET.",
)
@click.option("--format", "format_name", help="What the dataset is, where its name doesn't say.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="The folder that its paths start from.")
@click.option("--new", is_flag=True, help="Make the dataset if it isn't there.")
@click.option("--class", "classes", multiple=True, help="A class of a new dataset; may be given again.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
@click.option(
    "--band",
    callback=_parsed(read_band),
    help="The share of negatives that helps, in percent, as in 10-20; by default NEGATIVES_BAND.",
)
@click.option("--limit-to-band", is_flag=True, help="Stay below the band's upper end; the best ones go first.")
@click.option(
    "--shares",
    callback=_parsed(read_shares),
    help="How source images that the dataset doesn't hold are spread over its splits; by default NEGATIVES_SHARES.",
)
@click.option("--wait", is_flag=True, help="Wait for another export into the same dataset.")
@click.option("--full", is_flag=True, help="Look at every task, not only at those that changed.")
@click.option("--prune", is_flag=True, help="Take out negatives whose tasks Label Studio no longer has.")
@click.option("--undo", is_flag=True, help="Take out everything that exports ever added, and nothing else.")
def export(
    project_id: int | None,
    into: Path | None,
    format_name: str | None,
    root: Path | None,
    new: bool,
    classes: Sequence[str],
    dry_run: bool,
    as_json: bool,
    band: tuple[float, float] | None,
    limit_to_band: bool,
    shares: dict[str, float] | None,
    wait: bool,
    full: bool,
    prune: bool,
    undo: bool,
) -> None:
    """Make a dataset hold the accepted patches, each as an image without objects.

    Adds what is new, takes out what is no longer accepted, and touches nothing else: what it does is in the dataset's
    negatives.jsonl. Run again it costs what changed.
    """
    from service import exporting
    from service.export.formats import Request, format_for

    if undo:
        if into is None:
            raise UsageError("say what to undo: --undo --into DATASET")
        done = exporting.undo(Request(into, root), format_for(into, format_name), is_dry=dry_run, wait=wait)
        _tell(done, as_json=as_json)
        return
    if project_id is None:
        raise UsageError("say which project: --project P")
    settings = settings_and_log()
    into = into or (Path(settings.dataset) if settings.dataset else None)
    if into is None:
        raise UsageError("say where to: --into DATASET, or set NEGATIVES_DATASET")
    kind = format_for(into, format_name)
    request = Request(into, root, new, tuple(classes) or (settings.object_name,))
    with (
        closing(studio_of(settings)) as studio,
        ExitStack() as shown,
        exporting.cutter_of(settings, studio.http, bars(shown)) as cutter,
    ):
        done = exporting.export(
            project_id,
            request,
            kind,
            studio=Reading(studio),
            studio_url=settings.people_url,
            cutter=cutter,
            agreement=settings.agreed,
            margin=settings.margin,
            options=exporting.options_of(settings, band=band, shares=shares, limit_to_band=limit_to_band, prune=prune),
            is_dry=dry_run,
            wait=wait,
            full=full,
        )
    _tell(done, as_json=as_json)


def _tell(done: "Exported", *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(done.report, indent=2, ensure_ascii=False))
    else:
        _print(done)
    for failure in done.failures:
        click.echo(f"  failed: task {failure.task_id}: {failure.text}", err=True)
    if done.failures:
        sys.exit(1)
    if done.needs_a_person:
        sys.exit(NEEDS_A_PERSON)


def _print(done: "Exported") -> None:
    plan = done.plan
    click.echo(done.sentence)
    for line in done.dataset.said:
        click.echo(f"  {line}")
    shown = [item for item in plan.items if done.is_dry or item.action in _TOLD]
    _print_table([item for item in shown if item.action != "keep"])
    for one in plan.shares:
        before, after = one.before, one.after
        if after.images:
            change = (
                "" if before == after else f"{before.negatives} of {before.images} ({before.share:.1%}) before, now "
            )
            click.echo(
                f"  {one.split}: {change}{after.negatives} of {after.images} images are negatives ({after.share:.1%})"
            )
    for warning in done.warnings:
        click.echo(f"  note: {warning}")
    if done.unlabelled:
        click.echo(f"  {done.unlabelled} of the source images have no labelled object: only the review says so")
    for note in done.notes:
        click.echo(f"  task {note.task_id}: {note.text}")
    for line in done.format.guidance:
        click.echo(f"  to train: {line}")


_TOLD = frozenset(("take out", "move", "restore", "leave out", "report"))


def _print_table(items: Sequence["Item"]) -> None:
    rows = [("", "file", "split", "task", "why")]
    for item in items[:MOST_ROWS]:
        why = "; ".join(filter(None, (item.reason, item.collision, item.warning)))
        rows.append((item.action, item.file, item.split, str(item.task), why))
    if len(rows) == 1:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo(("  " + "  ".join(cells) + "  " + row[4]).rstrip())
    if len(items) > MOST_ROWS:
        left = Counter(item.action for item in items[MOST_ROWS:])
        counted = ", ".join(f"{count} × {action}" for action, count in left.items())
        click.echo(f"  … and {counted} (--json tells all)")
