"""Settings: what is read, what is refused and how, and that the README says the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined

from service.config import PREFIX, Settings, read_band, read_settings, read_shares
from service.domain.model import Rules
from service.errors import SettingsError

README = Path(__file__).parent.parent / "README.md"

NEEDED = {
    "NEGATIVES_LABEL_STUDIO_URL": "http://localhost:8080",
    "NEGATIVES_LABEL_STUDIO_TOKEN": "0123456789abcdef",
    "NEGATIVES_WEBHOOK_SECRET": "a-secret-of-8-or-more",
}

Set = Callable[..., None]


@pytest.fixture
def put(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Puts variables into an environment that has none of ours; names come without their prefix."""
    assert not list(no_settings.iterdir())

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(PREFIX + name, value)

    return put


@pytest.fixture
def needed(put: Set) -> None:
    """What has no default is set."""
    put(**{name.removeprefix(PREFIX): value for name, value in NEEDED.items()})


def refusal() -> str:
    """What is said of the settings as they are."""
    with pytest.raises(SettingsError) as raised:
        read_settings()
    return str(raised.value)


@pytest.mark.usefixtures("put")
def test_all_missing_settings_are_named_at_once() -> None:
    """Nobody has to run a command three times to learn three names."""
    assert [line.strip() for line in refusal().splitlines()[1:]] == [f"{name}: is missing" for name in NEEDED]


def test_missing_wrong_and_unknown_settings_are_named_together(put: Set) -> None:
    """One look is enough."""
    put(LABEL_STUDIO_URL="localhost:8080", WEBHOOK_SECRET="a-secret-of-8-or-more", PORT="http", SECRET="x")
    named = {line.partition(":")[0].strip() for line in refusal().splitlines()[1:]}
    assert named == {
        "NEGATIVES_LABEL_STUDIO_URL",
        "NEGATIVES_LABEL_STUDIO_TOKEN",
        "NEGATIVES_PORT",
        "NEGATIVES_SECRET",
    }


WRONG = {
    "an address without scheme": ("LABEL_STUDIO_URL", "localhost:8080"),
    "an address with a sign-in": ("LABEL_STUDIO_URL", "http://me:pa55word@localhost:8080"),
    "an address with a query": ("PUBLIC_URL", "http://localhost:9090/?key=pa55word"),
    "an address of something else": ("PUBLIC_URL", "ftp://localhost"),
    "an empty token": ("LABEL_STUDIO_TOKEN", ""),
    "a short secret": ("WEBHOOK_SECRET", "pa55wor"),
    "an unknown database": ("DATABASE_URL", "mysql://me:pa55word@localhost/x"),
    "a port that is none": ("PORT", "65536"),
    "nobody's approval": ("MIN_APPROVALS", "0"),
    "a pause that cron can't say": ("RECONCILE_SECONDS", "45"),
    "a limit that refuses everything": ("MAX_WEBHOOK_BYTES", "0"),
    "an image limit that refuses everything": ("MAX_IMAGE_BYTES", "0"),
    "a pixel limit that refuses everything": ("MAX_IMAGE_PIXELS", "0"),
    "a level that logging doesn't know": ("LOG_LEVEL", "LOUD"),
    "a word for a number": ("PATCHES", "five"),
    "too many patches": ("PATCHES", "21"),
    "a size of nothing": ("MIN_SIZE", "0"),
    "sizes the wrong way round": ("MAX_SIZE", "99"),
    "patches that may not meet at all": ("MAX_OVERLAP", "0"),
    "an overlap of more than all": ("MAX_OVERLAP", "1.1"),
    "a word for a share": ("MAX_OVERLAP", "half"),
    "a margin below nothing": ("MARGIN", "-1"),
    "neither square nor not": ("SQUARE", "maybe"),
    "neither signed in nor not": ("BASIC_AUTH", "perhaps"),
    "a grid of nothing": ("ALIGN", "0"),
}


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(("name", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_named(put: Set, name: str, value: str) -> None:
    """It is refused before anything starts."""
    put(**{name: value})
    assert name in refusal()


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(
    ("name", "value"),
    [wrong for wrong in WRONG.values() if "pa55wor" in wrong[1]],
    ids=[case for case, wrong in WRONG.items() if "pa55wor" in wrong[1]],
)
def test_a_refusal_never_shows_a_secret(put: Set, name: str, value: str) -> None:
    """Logs are read by many."""
    put(**{name: value})
    assert "pa55wor" not in refusal()


@pytest.mark.usefixtures("needed")
def test_repr_never_shows_a_secret(put: Set) -> None:
    """Neither the token, nor the webhook's secret, nor the database's password."""
    put(LABEL_STUDIO_TOKEN="s3cret-1", WEBHOOK_SECRET="s3cret-2", DATABASE_URL="postgresql://me:s3cret-3@localhost/x")
    settings = read_settings()
    assert "s3cret" not in f"{settings!r} {settings}"


@pytest.mark.usefixtures("needed")
def test_a_misspelt_setting_is_refused_with_a_suggestion(put: Set) -> None:
    """Else its default would be used in silence."""
    put(DATABSE_URL="sqlite:///x.db")
    assert "NEGATIVES_DATABSE_URL: there is no such setting, did you mean NEGATIVES_DATABASE_URL?" in refusal()


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize("line", ["NEGATIVES_PROT=1", "export NEGATIVES_PROT=1", "  NEGATIVES_PROT = 1"])
def test_a_misspelt_setting_in_the_file_is_refused_too(no_settings: Path, line: str) -> None:
    """However it is written there."""
    (no_settings / ".env").write_text(f"# ours\n{line}\n")
    assert "NEGATIVES_PROT: there is no such setting, did you mean NEGATIVES_PORT?" in refusal()


@pytest.mark.usefixtures("needed")
def test_other_names_are_nobody_s_business(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment is full of them; so is an `.env` that compose reads, too."""
    monkeypatch.setenv("LABEL_STUDIO_PORT", "1")
    (no_settings / ".env").write_text("LABEL_STUDIO_USERNAME=me\n# NEGATIVES_PROT=1\n")
    assert read_settings().port == 9090


@pytest.mark.usefixtures("put")
def test_the_file_is_read(no_settings: Path) -> None:
    """`.env` in the working directory will do."""
    (no_settings / ".env").write_text("".join(f"{name}={value}\n" for name, value in NEEDED.items()))
    assert read_settings().label_studio_token.get_secret_value() == "0123456789abcdef"


@pytest.mark.usefixtures("needed")
def test_the_environment_beats_the_file(put: Set, no_settings: Path) -> None:
    """For a single run another value is given on the command line."""
    (no_settings / ".env").write_text("NEGATIVES_PORT=9001\nNEGATIVES_HOST=0.0.0.0\n")
    put(PORT="9002")
    settings = read_settings()
    assert (settings.port, settings.host) == (9002, "0.0.0.0")


@pytest.mark.usefixtures("needed")
def test_what_has_a_default_need_not_be_set() -> None:
    """An address, a token and a secret are enough."""
    defaults = read_settings().model_dump(exclude={"label_studio_url", "label_studio_token", "webhook_secret"})
    assert defaults == {
        "basic_auth": True,
        "database_url": "sqlite:///negatives.db",
        "host": "127.0.0.1",
        "port": 9090,
        "public_url": "",
        "label_studio_public_url": "",
        "patches": 5,
        "min_size": 100,
        "max_size": 400,
        "max_overlap": 0.5,
        "margin": 0,
        "square": False,
        "align": 1,
        "min_approvals": 1,
        "agreement": "any-rejection",
        "drawing_counts": True,
        "dataset": "",
        "band": "10-20",
        "shares": "train=1",
        "originals": "",
        "exports": "exports",
        "cache": "",
        "cache_bytes": 10_000_000_000,
        "object_name": "cells",
        "reconcile_seconds": 30,
        "max_webhook_bytes": 33_554_432,
        "max_image_bytes": 536_870_912,
        "max_image_pixels": 400_000_000,
        "log_level": "INFO",
    }


@pytest.mark.usefixtures("needed")
def test_settings_do_not_change() -> None:
    """They are read once."""
    settings = read_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # what is tried here


@pytest.mark.usefixtures("needed")
def test_a_trailing_slash_makes_no_difference(put: Set) -> None:
    """Addresses are put together by their ends."""
    put(LABEL_STUDIO_URL="http://localhost:8080/studio/", PUBLIC_URL="http://negatives.internal:9090/")
    settings = read_settings()
    assert settings.label_studio_url == "http://localhost:8080/studio"
    assert settings.service_url == "http://negatives.internal:9090"


@pytest.mark.usefixtures("needed")
def test_people_may_open_label_studio_elsewhere(put: Set) -> None:
    """In containers the service knows it by a name that no browser does."""
    assert read_settings().people_url == read_settings().label_studio_url
    put(LABEL_STUDIO_PUBLIC_URL="https://studio.example.org/")
    assert read_settings().people_url == "https://studio.example.org"


@pytest.mark.usefixtures("needed")
def test_label_studio_calls_host_and_port_by_default(put: Set) -> None:
    """On one machine no public address is needed."""
    put(HOST="10.0.0.7", PORT="9191")
    assert read_settings().service_url == "http://10.0.0.7:9191"


@pytest.mark.usefixtures("needed")
def test_the_rules_are_made_of_the_settings(put: Set) -> None:
    """Each goes where it belongs."""
    put(PATCHES="7", MIN_SIZE="32", MAX_SIZE="64", MAX_OVERLAP="0.25", MARGIN="3", SQUARE="true", ALIGN="8")
    assert read_settings().rules == Rules(
        patches=7, min_size=32, max_size=64, max_overlap=0.25, margin=3, square=True, align=8
    )


@pytest.mark.usefixtures("needed")
def test_a_network_of_one_s_own_may_go_without_signing_in(put: Set) -> None:
    """It has to be said."""
    put(BASIC_AUTH="false")
    assert read_settings().basic_auth is False


@pytest.mark.parametrize("name", ["label_studio_token", "webhook_secret"])
def test_secrets_are_of_the_type_that_hides_them(name: str) -> None:
    """So no log line shows one by mistake."""
    assert Settings.model_fields[name].annotation is SecretStr


def settings_table() -> list[str]:
    """The README's table, as the code would write it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = (
            "required" if field.default is PydanticUndefined else f"`{field.default}`" if field.default != "" else ""
        )
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return rows


def test_the_readme_has_the_settings_of_the_code() -> None:
    """Names, defaults and meanings."""
    text = README.read_text(encoding="utf-8")
    table = text.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert table.strip().splitlines() == settings_table()


@pytest.mark.parametrize(
    ("text", "band"), [("10-20", (0.1, 0.2)), ("0-50", (0.0, 0.5)), ("7.5-12.5", (0.075, 0.125)), ("20-20", (0.2, 0.2))]
)
def test_a_band_is_two_percents(text: str, band: tuple[float, float]) -> None:
    """The lower one first."""
    assert read_band(text) == band


@pytest.mark.parametrize("text", ["", "10", "20-10", "-10-20", "10-100", "a-b", "10–20", "nan-20"])
def test_what_is_no_band_is_refused(text: str) -> None:
    """With what it must look like."""
    with pytest.raises(ValueError, match="two percents like 10-20"):
        read_band(text)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("train=1", {"train": 1.0}),
        ("train=80, val=20", {"train": 80.0, "val": 20.0}),
        ("train=0.7,val=0.3,test=0", {"train": 0.7, "val": 0.3}),
    ],
)
def test_shares_are_numbers_by_split(text: str, shares: dict[str, float]) -> None:
    """They need not sum up to anything; one of nothing is none."""
    assert read_shares(text) == shares


@pytest.mark.parametrize(
    "text", ["", "train", "train=", "=1", "train=-1,val=2", "train=0", "train=inf", "train=x", "train=nan"]
)
def test_what_are_no_shares_is_refused(text: str) -> None:
    """With what they must look like."""
    with pytest.raises(ValueError, match="shares like train=80,val=20"):
        read_shares(text)
