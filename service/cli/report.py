"""`negatives status`."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.parts import (
    NEEDS_A_PERSON,
    Command,
    Reading,
    settings_and_log,
    studio_of,
)
from service.config import Settings
from service.domain.model import State
from service.errors import ExportError, NotFound, SetupError

if TYPE_CHECKING:
    from service.export.plan import Note
    from service.review.survey import ProjectStatus


@click.command(cls=Command, epilog="negatives status\nnegatives status --project 7 --json")
@click.option("--project", "-p", "project_id", type=int, help="One project; by default every connected one.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(project_id: int | None, as_json: bool) -> None:
    """ROIs, patches, verdicts, work in flight, and what is wrong with it."""
    from service import workflow
    from service.jobs import JobQueue
    from service.serving import webhook_url

    settings = settings_and_log()
    with JobQueue(settings.database_url) as queue, closing(studio_of(settings)) as studio:
        names = {person.id: person.name for person in studio.people().values()}
        projects = (
            [project_id] if project_id is not None else workflow.connected_projects(studio, webhook_url(settings))
        )
        found: dict[int, ProjectStatus] = {}
        troubles: dict[int, str] = {}
        for project in projects:
            try:
                found[project] = workflow.status(
                    project,
                    studio=Reading(studio),
                    agreement=settings.agreed,
                    margin=settings.margin,
                    names=names,
                )
            except (NotFound, SetupError) as error:  # of this project alone: the others are of interest all the same
                troubles[project] = str(error)
        jobs = queue.counts()
        up = _answers(settings)
        exports = queue.exports()
    report: dict[str, Any] = {
        "projects": {project: _counted(one) for project, one in found.items()}
        | {project: {"trouble": trouble} for project, trouble in troubles.items()},
        "dataset": _dataset(settings.dataset),
        "service": {"url": settings.service_url, "up": up},
        "jobs": {
            "waiting": jobs.waiting,
            "running": jobs.running,
            "failed": [
                {
                    "project": job.project_id,
                    "tasks": list(job.task_ids),
                    "at": job.at.isoformat(),
                    "why": job.message,
                }
                for job in jobs.failed
            ],
            "last_look": jobs.look_failure or "ok",
            "exports": [
                {
                    "project": one.project_id,
                    "what": one.work.words,
                    "at": one.at.isoformat(),
                    "is_over": one.is_over,
                    "failed": one.failed,
                    "message": one.message,
                }
                for one in exports
            ],
        },
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_status(report)
    last = {one.work: one for one in reversed(exports)}
    if (
        troubles
        or jobs.failed
        or jobs.look_failure
        or any(one.notes for one in found.values())
        or any(one.failed for one in last.values())
        or "trouble" in (report["dataset"] or {})
    ):
        sys.exit(NEEDS_A_PERSON)


def _counted(one: "ProjectStatus") -> dict[str, Any]:
    return {
        "tasks": one.tasks,
        "rois": one.rois,
        "unlabelled": one.unlabelled,
        "short": one.short,
        "conflicts": one.conflicts,
        "queued": dict(one.queued),
        **{state.value: one.states.get(state, 0) for state in State},
        "reasons": one.reasons,
        "notes": [_noted(note) for note in one.notes],
    }


def _dataset(path: str) -> dict[str, Any] | None:
    """The share of negatives in the dataset of the settings; None where none is set."""
    from service.export.formats import dataset_share

    if not path:
        return None
    try:
        share = dataset_share(Path(path))
    except ExportError as error:
        return {"path": path, "trouble": str(error)}
    return {"path": path, "images": share.images, "negatives": share.negatives, "advice": share.advice()}


def _noted(note: "Note") -> dict[str, Any]:
    """A note for scripts: with the figures, where patches fall short."""
    told = {"task": note.task_id, "text": note.text}
    if (short := note.shortfall) is None:
        return told
    free = short.largest_free_square
    figures = {
        "requested": short.requested,
        "placed": short.placed,
        "reason": short.cause.value,
        "largest_free_square": free and free.as_mapping(),
        "at_most": short.at_most,
    }
    return told | {"shortfall": figures}


def _print_status(report: dict[str, Any]) -> None:
    if not report["projects"]:
        click.echo("no project is connected: run negatives setup --project P")
    for project, one in report["projects"].items():
        if "trouble" in one:
            click.echo(f"project {project}: {one['trouble']}")
            continue
        click.echo(
            f"project {project}: {one['tasks']} tasks, {one['rois']} ROIs; patches: {one['accepted']} accepted, "
            f"{one['rejected']} rejected, {one['pending']} pending, {one['unsure']} unsure, {one['stale']} stale"
        )
        if one["short"] or one["conflicts"]:
            click.echo(f"  {one['short']} patches short of what was asked; people disagree on {one['conflicts']}")
        for queue, count in sorted(one["queued"].items()):
            click.echo(f"  review queue, project {queue}: {count} tasks wait")
        if one["reasons"]:
            given = ", ".join(f"{count} {reason}" for reason, count in sorted(one["reasons"].items()))
            click.echo(f"  why rejected, where somebody said: {given}")
        if one["unlabelled"]:
            click.echo(f"  {one['unlabelled']} tasks with patches have no labelled object: only the review says so")
        for note in one["notes"]:
            click.echo(f"  task {note['task']}: {note['text']}")
    if dataset := report["dataset"]:
        told = dataset.get("trouble") or (
            f"{dataset['negatives']} of {dataset['images']} training images are negatives: {dataset['advice']}"
        )
        click.echo(f"dataset {dataset['path']}: {told}")
    service, jobs = report["service"], report["jobs"]
    click.echo(f"service: {service['url']} " + ("is up" if service["up"] else "doesn't answer: start negatives serve"))
    click.echo(f"jobs: {jobs['waiting']} waiting, {jobs['running']} running, {len(jobs['failed'])} failed")
    for job in jobs["failed"]:
        tasks = ", ".join(str(task) for task in job["tasks"][:5]) + (" …" if len(job["tasks"]) > 5 else "")
        click.echo(f"  {job['at'][:19]} project {job['project']}, task {tasks}: {job['why']}")
    for one in jobs["exports"][:5]:
        told = one["message"] if one["is_over"] else "under way"
        click.echo(f"  {one['at'][:19]} export of project {one['project']} ({one['what']}): {told}")
    if jobs["last_look"] != "ok":
        click.echo(f"  the last look for changes failed: {jobs['last_look']}")


def _answers(settings: Settings) -> bool:
    """Whether the service is up, as seen from here."""
    import httpx

    try:
        return httpx.get(f"{settings.service_url}/health", timeout=3).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
