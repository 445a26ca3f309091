"""The command `negatives`: help, exit codes, and that errors are sentences."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click
import pytest

from service import __version__, cli
from service.cli import main, negatives
from service.domain.geometry import Box
from service.domain.model import Cause, Proposal, RoiOutcome, Shortfall
from service.domain.work import ProposeWork
from service.errors import NegativesError, SetupError
from service.jobs import FailedJob, JobCounts, JobQueue
from service.label_studio.labeling import ROI_SHAPES, Labeling
from service.label_studio.payloads import write_prediction
from tests.factories import roi
from tests.label_studio.fake_studio import FakeStudio, gives, page
from tests.payloads import recorded

README = Path(__file__).parent.parent / "README.md"
COMMANDS = sorted(negatives.commands)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(no_settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `negatives …` in an empty directory, without settings."""
    assert not list(no_settings.iterdir())

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["negatives", *arguments])
        code: str | int | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        assert code is None or isinstance(code, int)
        written = capsys.readouterr()
        return Ended(code or 0, written.out, written.err)

    return run


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:  # noqa: ARG001  # it takes away what was set
    """Settings that are complete, of a Label Studio that isn't there."""
    monkeypatch.setenv("NEGATIVES_LABEL_STUDIO_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NEGATIVES_LABEL_STUDIO_TOKEN", "t0ken-of-somebody")
    monkeypatch.setenv("NEGATIVES_WEBHOOK_SECRET", "s3cret-of-somebody")


def test_the_readme_has_the_commands_of_the_code() -> None:
    """Each as `negatives NAME`, none that isn't there."""
    text = README.read_text(encoding="utf-8")
    listed = text.partition("<!-- commands -->")[2].partition("<!-- /commands -->")[0]
    assert sorted(set(re.findall(r"`negatives ([a-z]+)", listed))) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    """Something to copy, written as it is typed."""
    ended = run(command, "--help")
    lines = ended.out.partition("\nExample:\n")[2].splitlines()
    assert (ended.code, bool(lines)) == (0, True)
    assert all(line.startswith(f"  negatives {command} ") or line == f"  negatives {command}" for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_accepted(command: str) -> None:
    """Options that an example shows exist."""
    for line in (negatives.commands[command].epilog or "").splitlines():
        with suppress(click.BadParameter):  # the files that it names are the reader's
            negatives.commands[command].make_context(command, line.split()[2:])


def test_the_version_is_told(run: Run) -> None:
    """A bug report begins with it."""
    ended = run("--version")
    assert (ended.code, ended.out) == (0, f"negatives, version {__version__}\n")


ARGUMENTS = {
    "setup": ("--project", "7"),
    "serve": (),
    "propose": ("--project", "7"),
    "export": ("--project", "7", "--into", "out"),
    "status": (),
}


WITHOUT_SETTINGS = {"demo", "sample"}
"""Tested by themselves: tests/demo, tests/batch."""


def test_every_command_that_needs_settings_is_tried_below() -> None:
    """A command that is added later isn't left untested."""
    assert sorted({*ARGUMENTS, *WITHOUT_SETTINGS}) == COMMANDS


@pytest.mark.parametrize("command", ARGUMENTS)
def test_missing_settings_end_a_command_with_2(run: Run, command: str) -> None:
    """And are told in a sentence on stderr."""
    ended = run(command, *ARGUMENTS[command])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("negatives: these settings need attention")
    assert "NEGATIVES_LABEL_STUDIO_URL: is missing" in ended.err


BAD_ARGUMENTS = {
    "no command": (),
    "no such command": ("nope",),
    "no such option": ("status", "--colour"),
    "a project that is no number": ("propose", "--project", "seven"),
    "no project": ("export", "--into", "out"),
    "no such role": ("serve", "--role", "boss"),
    "no such shape": ("setup", "--project", "7", "--roi-shape", "star"),
    "the shape that is always there": ("setup", "--project", "7", "--roi-shape", "rectangle"),
}


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_wrong_arguments_end_a_command_with_2(run: Run, arguments: Sequence[str]) -> None:
    """And with how it is used, on stderr."""
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"^Usage: .*negatives", ended.err)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", ["propose", "export"])
def test_what_failed_ends_a_command_with_1_and_one_sentence(run: Run, command: str) -> None:
    """No Label Studio there: that is said, without a traceback."""
    ended = run(command, *ARGUMENTS[command])
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert ended.err.splitlines()[-1].startswith("negatives: Label Studio can't be reached ")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", ["setup", "serve", "propose", "status"])
def test_without_its_database_a_command_ends_with_1_and_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """No PostgreSQL there: that is said, without a traceback or the password."""
    monkeypatch.setenv("NEGATIVES_DATABASE_URL", "postgresql://negatives:pa55word@127.0.0.1:1/negatives")
    ended = run(command, *ARGUMENTS[command])
    assert ended.code == 1
    assert re.fullmatch(r"negatives: the database of NEGATIVES_DATABASE_URL can't be opened [^\n]*\n", ended.err)


@pytest.mark.usefixtures("settings")
def test_no_secret_is_shown(run: Run) -> None:
    """When something goes wrong, the settings aren't part of what is said."""
    ended = run("setup", *ARGUMENTS["setup"])
    assert "of-somebody" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("interruption", "code"), [(KeyboardInterrupt(), 130), (click.Abort(), 130), (SetupError("no"), 1)]
)
def test_an_interruption_is_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, interruption: BaseException, code: int
) -> None:
    """Ctrl-C ends as shells expect it."""

    def interrupted() -> None:
        raise interruption

    monkeypatch.setitem(negatives.commands, "interrupted", click.Command("interrupted", callback=interrupted))
    ended = run("interrupted")
    assert (ended.code, len(ended.err.split("negatives: "))) == (code, 2)
    assert "Traceback" not in ended.err


def test_setup_knows_every_shape_that_an_roi_can_have(run: Run) -> None:
    """Whoever asks for help reads which."""
    others = [shape for shape in ROI_SHAPES if shape != "rectangle"]
    assert f"--roi-shape [{'|'.join(others)}]" in run("setup", "--help").out


# What `negatives status` tells scripts


def as_listed(task_id: int, outcome: RoiOutcome) -> dict[str, Any]:
    """A task with our prediction of one ROI, as Label Studio lists it."""
    moment = {"updated_at": "2026-03-01T12:00:00.000000Z"}
    stored = write_prediction(Proposal(task_id, 1600, 1200, (outcome,)), Labeling("image", "image"))
    prediction = {"id": task_id, **moment, **stored}
    return {"id": task_id, "project": 5, "data": {"image": "a.jpg"}, "predictions": [prediction], **moment}


def notes_of(run: Run, monkeypatch: pytest.MonkeyPatch, *outcomes: RoiOutcome) -> tuple[Ended, list[Any]]:
    """How `status --json` ended for a project whose tasks have these outcomes, and the notes that it told."""
    studio = FakeStudio()
    tasks = [as_listed(number, outcome) for number, outcome in enumerate(outcomes, 1)]
    studio.on("GET /api/projects/5/", gives(recorded("project")))
    studio.on("GET /api/tasks/", page(*tasks))
    monkeypatch.setattr(cli, "_studio", lambda _: studio.client())
    ended = run("status", "--project", "5", "--json")
    return ended, json.loads(ended.out)["projects"]["5"]["notes"]


JAMMED = Shortfall(5, 2, Cause.JAMMED, "the two are in the way", Box.sized(30, 40, 120, 120), at_most=3)
OUTSIDE = Shortfall(5, 0, Cause.ROI_TOO_SMALL, "the ROI lies outside of the image")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("shortfall", "figures"),
    [
        pytest.param(
            JAMMED,
            {
                "requested": 5,
                "placed": 2,
                "reason": "jammed",
                "largest_free_square": {"x": 30, "y": 40, "width": 120, "height": 120},
                "at_most": 3,
            },
            id="all of them",
        ),
        pytest.param(
            OUTSIDE,
            {"requested": 5, "placed": 0, "reason": "roi_too_small", "largest_free_square": None, "at_most": None},
            id="those that there are",
        ),
    ],
)
def test_scripts_get_the_figures_of_a_shortfall(
    run: Run, monkeypatch: pytest.MonkeyPatch, shortfall: Shortfall, figures: dict[str, Any]
) -> None:
    """Beside the sentence, under names that stay."""
    ended, notes = notes_of(run, monkeypatch, RoiOutcome(roi(), shortfall=shortfall))
    assert notes == [{"task": 1, "text": shortfall.sentence, "shortfall": figures}]
    assert ended.code == 3


@pytest.mark.usefixtures("settings")
def test_a_note_that_is_no_shortfall_has_no_figures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is a sentence."""
    _, notes = notes_of(run, monkeypatch, RoiOutcome(roi(), refusal="patches is 99"))
    assert notes == [{"task": 1, "text": "No patches: patches is 99."}]


# Waiting for work: what `negatives propose` tells in the end

DONE = {"tasks": 1, "created": 1, "changed": 0, "patches": 5, "explanations": {}}


@dataclass
class Jobs:
    """A job queue whose jobs have ended as they were told to, one each time it is asked."""

    outcomes: Iterator[Mapping[str, Any] | NegativesError]
    put_in: list[ProposeWork] = field(default_factory=list)

    def put(self, work: ProposeWork) -> str:
        self.put_in.append(work)
        return work.job_id

    def finished(self, job_ids: Sequence[str]) -> dict[str, Mapping[str, Any] | NegativesError]:
        return {job_ids[0]: next(self.outcomes)}

    def counts(self) -> JobCounts:
        failed: tuple[FailedJob, ...] = ()
        return JobCounts(0, 0, failed, None)


def wait_for(*outcomes: Mapping[str, Any] | NegativesError) -> int:
    """The exit code when jobs end so."""
    work = [ProposeWork(7, (task,), "a") for task in range(len(outcomes))]
    return cli._wait_for(cast(JobQueue, Jobs(iter(outcomes))), work)[0]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([DONE, DONE], 0),
        ([DONE, {**DONE, "explanations": {12: ["3 of 5 patches placed"]}}], 3),
        ([SetupError("project 7 isn't connected"), {**DONE, "explanations": {12: ["3 of 5 patches placed"]}}], 1),
    ],
    ids=["done", "needs a person", "failed"],
)
def test_scripts_can_tell_by_the_exit_code(outcomes: list[Mapping[str, Any] | NegativesError], code: int) -> None:
    """0 done, 3 done but something needs a person, 1 failed, whatever else there is."""
    assert wait_for(*outcomes) == code


def test_what_came_of_the_work_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Of all jobs, in one line."""
    wait_for(DONE, {**DONE, "created": 0, "changed": 1, "patches": 4})
    assert capsys.readouterr().out == "2 tasks: 1 proposals created, 1 changed, 9 patches on offer\n"


def test_what_needs_a_person_is_said_task_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason."""
    wait_for({**DONE, "explanations": {12: ["3 of 5 patches placed"]}})
    assert "  task 12: 3 of 5 patches placed\n" in capsys.readouterr().out


def test_a_failure_of_many_jobs_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A project of a hundred jobs isn't a hundred lines."""
    wait_for(*[SetupError("project 7 isn't connected")] * 3)
    assert capsys.readouterr().err.count("project 7 isn't connected") == 1
