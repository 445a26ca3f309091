"""The command `negatives`: help, exit codes, and that errors are sentences."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import click
import pytest

from service import __version__
from service.cli import main, negatives
from service.cli.parts import wait_for as wait_for_jobs
from service.domain.geometry import Box
from service.domain.model import Cause, Proposal, RoiOutcome, Rules, Shortfall
from service.domain.work import ProposeWork
from service.errors import NegativesError, SetupError
from service.jobs import FailedJob, JobCounts, JobQueue
from service.label_studio.labeling import ROI_SHAPES, Labeling, connect
from service.label_studio.payloads import write_prediction
from service.label_studio.queues import ReviewedStudio
from tests.exporting import FakeSources, reviewed, yolo_repository
from tests.exporting import FakeStudio as LabelStudio
from tests.exporting import run as export_as_the_command
from tests.factories import patch, roi
from tests.label_studio.fake_studio import TOKEN, URL, FakeStudio, gives, page
from tests.payloads import recorded

README = Path(__file__).parent.parent / "README.md"


def commands_of(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    """What can be typed after `negatives`: a group's commands under the group's name, the group itself not."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, *before, name)
        else:
            yield " ".join((*before, name)), command


BY_NAME = dict(commands_of(negatives))
COMMANDS = sorted(BY_NAME)


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


TOLD = re.compile(r"(?:[Rr]un:? |start |<code>|`|\.venv/bin/)negatives ([a-z]+)(?: ([a-z]+))?")


def test_what_people_are_told_to_run_can_be_run() -> None:
    """In messages, pages and docs: a command that doesn't exist helps nobody."""
    root = README.parent
    told = [
        (path.name, found[1], found[2])
        for pattern in ("service/**/*.py", "service/**/*.html", "*.md", "docs/*.md")
        for path in root.glob(pattern)
        for found in TOLD.finditer(path.read_text(encoding="utf-8"))
    ]
    assert len(told) > 50
    for where, name, verb in told:
        command = negatives.commands.get(name)
        assert command is not None, (where, name)
        assert not isinstance(command, click.Group) or verb is None or verb in command.commands, (where, name, verb)


def test_the_readme_has_the_commands_of_the_code() -> None:
    """Each as `negatives NAME`, none that isn't there."""
    text = README.read_text(encoding="utf-8")
    listed = text.partition("<!-- commands -->")[2].partition("<!-- /commands -->")[0]
    assert sorted(set(re.findall(r"`negatives ([a-z]+(?: [a-z]+)*)", listed))) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    """Something to copy, written as it is typed."""
    ended = run(*command.split(), "--help")
    lines = ended.out.partition("\nExample:\n")[2].splitlines()
    assert (ended.code, bool(lines)) == (0, True)
    assert all(line.startswith(f"  negatives {command} ") or line == f"  negatives {command}" for line in lines)


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
    "review open": ("--project", "7"),
    "review accept": ("--project", "7", "--all"),
    "review reject": ("--project", "7", "--task", "12"),
    "review unsure": ("--project", "7", "--patch", "neg_1"),
    "review empty": ("--project", "7", "--task", "12"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_accepted(command: str) -> None:
    """Options that an example shows exist, and their values are taken."""
    for line in (BY_NAME[command].epilog or "").splitlines():
        try:
            BY_NAME[command].make_context(command, shlex.split(line)[1 + len(command.split()) :])
        except click.BadParameter as error:
            names_a_file = error.param is not None and isinstance(error.param.type, click.Path | click.File)
            if not names_a_file:  # those are the reader's
                raise


WITHOUT_SETTINGS = {"demo", "sample"}
"""Tested by themselves: tests/demo, tests/batch."""


def test_every_command_that_needs_settings_is_tried_below() -> None:
    """A command that is added later isn't left untested."""
    assert sorted({*ARGUMENTS, *WITHOUT_SETTINGS}) == COMMANDS


@pytest.mark.parametrize("command", ARGUMENTS)
def test_missing_settings_end_a_command_with_2(run: Run, command: str) -> None:
    """And are told in a sentence on stderr."""
    ended = run(*command.split(), *ARGUMENTS[command])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("negatives: these settings need attention")
    assert "NEGATIVES_LABEL_STUDIO_URL: is missing" in ended.err


BAD_ARGUMENTS = {
    "no command": (),
    "no such command": ("nope",),
    "no such option": ("status", "--colour"),
    "a project that is no number": ("propose", "--project", "seven"),
    "no project": ("propose",),
    "no such band": ("export", "--project", "7", "--into", "out", "--band", "20-10"),
    "no such shares": ("export", "--project", "7", "--into", "out", "--shares", "train"),
    "no such role": ("serve", "--role", "boss"),
    "no such shape": ("setup", "--project", "7", "--roi-shape", "star"),
    "the shape that is always there": ("setup", "--project", "7", "--roi-shape", "rectangle"),
    "no command of a group": ("review",),
    "no such command of a group": ("review", "nope"),
    "no such layout": ("review", "open", "--project", "7", "--layout", "wall"),
    "no such state": ("review", "accept", "--project", "7", "--all", "--state", "fine"),
    "no such reason": ("review", "reject", "--project", "7", "--all", "--reason", "ugly"),
    "a reason to accept": ("review", "accept", "--project", "7", "--all", "--reason", "ambiguous"),
    "no empty image": ("review", "empty", "--project", "7"),
}


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_wrong_arguments_end_a_command_with_2(run: Run, arguments: Sequence[str]) -> None:
    """And with how it is used, on stderr."""
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"^Usage: .*negatives", ended.err)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", ["propose", "export", *(name for name in ARGUMENTS if name.startswith("review "))])
def test_what_failed_ends_a_command_with_1_and_one_sentence(run: Run, command: str) -> None:
    """No Label Studio there: that is said, without a traceback."""
    ended = run(*command.split(), *ARGUMENTS[command])
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert ended.err.splitlines()[-1].startswith("negatives: Label Studio can't be reached ")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", ["setup", "serve", "propose", "status", "review open"])
def test_without_its_database_a_command_ends_with_1_and_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """No PostgreSQL there: that is said, without a traceback or the password."""
    monkeypatch.setenv("NEGATIVES_DATABASE_URL", "postgresql://negatives:pa55word@127.0.0.1:1/negatives")
    ended = run(*command.split(), *ARGUMENTS[command])
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
    studio.on("GET /api/users/", gives([recorded("whoami")]))
    studio.on("GET /api/projects/5/", gives(recorded("project")))
    studio.on("GET /api/tasks/", page(*tasks))
    monkeypatch.setattr("service.cli.report.studio_of", lambda _: studio.client())
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
    return wait_for_jobs(cast(JobQueue, Jobs(iter(outcomes))), work)[0]


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


# Verdicts by command

FIRST = patch(Box.sized(200, 200, 100, 100), task_id=1)
SECOND = patch(Box.sized(400, 400, 100, 100), task_id=1)
OTHER = patch(Box.sized(200, 200, 100, 100), task_id=2)


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> FakeStudio:
    """Project 5 with two tasks, of which the first has two patches; whoever is signed in is user 1."""
    drawn, studio = roi(), FakeStudio()
    outcomes = {1: RoiOutcome(drawn, (FIRST, SECOND)), 2: RoiOutcome(drawn, (OTHER,))}
    tasks = {number: as_listed(number, outcome) for number, outcome in outcomes.items()}
    for one in tasks.values():
        region = one["predictions"][0]["result"][0] | {"id": "drawn", "meta": {}}
        moment = one["updated_at"]
        one["annotations"] = [{"id": 10 + one["id"], "completed_by": 1, "updated_at": moment, "result": [region]}]
        studio.on(f"GET /api/tasks/{one['id']}/", gives(one))
        studio.on(f"POST /api/tasks/{one['id']}/annotations/", gives({"id": 900}, 201))
    project = recorded("project")
    connected = connect(project["label_config"], Rules())
    studio.on("GET /api/projects/5/", gives({**project, "label_config": connected}))
    studio.on("GET /api/tasks/", page(*tasks.values()))
    studio.on("GET /api/current-user/whoami", gives(recorded("whoami")))
    studio.on("GET /api/webhooks/", gives([]))
    client = partial(ReviewedStudio, URL, TOKEN, transport=studio.transport)
    monkeypatch.setattr("service.cli.verdicts.studio_of", lambda _: client())
    return studio


def written(studio: FakeStudio) -> dict[str, list[tuple[str, str]]]:
    """What was said, by task: each patch with what was chosen for it, nothing where it was accepted."""
    found = {}
    for task in ("1", "2"):
        for body in studio.sent(f"POST /api/tasks/{task}/annotations/"):
            chosen = {one["id"]: one["value"]["choices"][0] for one in body["result"] if one["type"] == "choices"}
            patches = [one["id"] for one in body["result"] if one["type"] == "rectanglelabels"]
            found[task] = [(region_id, chosen.get(region_id, "")) for region_id in patches]
    return found


@pytest.mark.usefixtures("settings")
def test_all_that_wait_are_accepted(run: Run, studio: FakeStudio) -> None:
    """With one word, and told how many."""
    ended = run("review", "accept", "--project", "5", "--all")
    assert (ended.code, ended.out) == (0, "3 patches accepted\n")
    assert written(studio) == {"1": [(FIRST.id, ""), (SECOND.id, "")], "2": [(OTHER.id, "")]}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("arguments", "choice", "told"),
    [
        (("reject",), "rejected", "rejected"),
        (("reject", "--reason", "object inside"), "object inside", "rejected"),
        (("unsure",), "unsure", "unsure"),
    ],
    ids=["rejected", "with a reason", "unsure"],
)
def test_other_words(run: Run, studio: FakeStudio, arguments: Sequence[str], choice: str, told: str) -> None:
    """With the reason, where one is given."""
    ended = run("review", *arguments, "--project", "5", "--patch", SECOND.id)
    assert (ended.code, ended.out) == (0, f"1 patches {told}\n")
    assert written(studio) == {"1": [(SECOND.id, choice)]}


@pytest.mark.usefixtures("settings")
def test_patches_of_a_task(run: Run, studio: FakeStudio) -> None:
    """Of that one only, and it alone is read."""
    assert run("review", "accept", "--project", "5", "--task", "2").code == 0
    assert written(studio) == {"2": [(OTHER.id, "")]}
    assert "GET /api/tasks/" not in studio.calls()


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("arguments", [(), ("--all", "--task", "1"), ("--all", "--patch", "neg_1")])
def test_which_patches_has_to_be_said(run: Run, studio: FakeStudio, arguments: Sequence[str]) -> None:
    """All alone, or which: nobody accepts a project by leaving something out."""
    ended = run("review", "accept", "--project", "5", *arguments)
    assert (ended.code, studio.calls()) == (2, [])
    assert "say which patches" in ended.err


@pytest.mark.usefixtures("settings")
def test_only_patches_in_the_state_that_is_named(run: Run, studio: FakeStudio) -> None:
    """By default those that wait: nothing that somebody decided is overridden by the way."""
    ended = run("review", "reject", "--project", "5", "--all", "--state", "accepted")
    assert (ended.code, ended.out, written(studio)) == (0, "0 patches rejected\n", {})


@pytest.mark.usefixtures("settings")
def test_a_patch_that_is_not_there_is_told_before_anything_is_written(run: Run, studio: FakeStudio) -> None:
    """With the state in which it was looked for."""
    ended = run("review", "accept", "--project", "5", "--patch", FIRST.id, "--patch", "neg_gone")
    assert (ended.code, written(studio)) == (1, {})
    assert ended.err.splitlines()[-1] == "negatives: project 5 has no pending patch neg_gone"


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("arguments", [("--task", "999"), ("--task", "1", "--state", "accepted")])
def test_a_task_without_such_a_patch_is_told(run: Run, studio: FakeStudio, arguments: Sequence[str]) -> None:
    """A typing error doesn't look like work done."""
    ended = run("review", "accept", "--project", "5", *arguments)
    assert (ended.code, written(studio)) == (1, {})
    assert "patch there; --state asks for others" in ended.err


@pytest.mark.usefixtures("settings")
def test_a_verdict_that_failed_is_told_and_the_others_are_written(run: Run, studio: FakeStudio) -> None:
    """Exit code 1."""
    studio.on("POST /api/tasks/1/annotations/", gives({"detail": "No."}, 400))
    ended = run("review", "accept", "--project", "5", "--all")
    assert (ended.code, ended.out) == (1, "1 patches accepted\n")
    assert "failed: task 1: Label Studio refused the verdicts on task 1 with 400: No." in ended.err


@pytest.mark.usefixtures("settings")
def test_whole_images_are_accepted(run: Run, studio: FakeStudio) -> None:
    """Each as one patch; a task that isn't there is told."""
    ended = run("review", "empty", "--project", "5", "--task", "2", "--task", "9")
    assert (ended.code, ended.out) == (1, "1 whole images accepted\n")
    assert "failed: task 9" in ended.err
    ((region,),) = [body["result"] for body in studio.sent("POST /api/tasks/2/annotations/")]
    assert [region["value"][key] for key in ("x", "y", "width", "height")] == [0, 0, 100, 100]


def test_a_group_tells_its_commands(run: Run) -> None:
    """Each with what it does."""
    text = run("review", "--help").out
    assert all(name in text for name in ("open", "accept", "reject", "unsure", "empty"))


def test_queue_work_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is a queue, in a line of its own; a job of an earlier version knows none."""
    wait_for({**DONE, "queued": 3, "taken_out": 1}, DONE, {**DONE, "queued": 2, "taken_out": 0})
    assert "review queues: 5 tasks added, 1 taken out\n" in capsys.readouterr().out
    wait_for(DONE)
    assert "review queues" not in capsys.readouterr().out


@pytest.fixture
def exported(tmp_path: Path, no_settings: Path) -> Path:  # noqa: ARG001
    """The data.yaml of a repository into which two negatives were exported."""
    (tmp_path / "sources").mkdir()
    into = yolo_repository(tmp_path / "repository")
    export_as_the_command(LabelStudio(reviewed(1, 0, 1)), into, FakeSources(tmp_path / "sources"))
    return into


def test_undo_needs_no_settings_and_no_project(run: Run, exported: Path) -> None:
    """It tells what goes, file by file, and the shares before and after."""
    ended = run("export", "--undo", "--into", str(exported), "--dry-run")
    assert ended.code == 0
    assert ended.out.startswith("0 negatives would be written, 2 would be taken out\n")
    assert len(re.findall(r"(?m)^  take out  images/train/field1_neg_\w{8}\.png  train  1 +undo$", ended.out)) == 2
    assert "train: 2 of 4 (50.0%) before, now 0 of 2 images are negatives (0.0%)" in ended.out
    assert (exported.parent / "negatives.jsonl").exists()
    assert run("export", "--undo", "--into", str(exported)).code == 0
    assert not (exported.parent / "negatives.jsonl").exists()


def test_an_undo_that_leaves_something_needs_a_person(run: Run, exported: Path) -> None:
    """What somebody changed stays, and the exit code says so, in JSON, too."""
    changed = next((exported.parent / "labels" / "train").glob("field1_neg_*"))
    changed.write_text("0 0.5 0.5 0.1 0.1\n")
    ended = run("export", "--undo", "--into", str(exported), "--json")
    report = json.loads(ended.out)
    assert (ended.code, report["counts"]["take out"], report["counts"]["report"]) == (3, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--undo",), "say what to undo: --undo --into DATASET"),
        (("--into", "out"), "say which project: --project P"),
        (("--undo", "--into", "out", "--format", "nope"), "there is no format 'nope': coco, darknet, ndjson"),
        (("--undo", "--into", "data.toml"), "say by --format what it is"),
        (("--undo", "--into", "data.yaml"), "data.yaml doesn't exist; give --new"),
    ],
)
def test_export_says_what_is_missing(run: Run, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is asked of Label Studio."""
    ended = run("export", *arguments)
    assert ended.code in (1, 2)
    assert words in ended.err
