"""What several test files need: fresh databases of both kinds, a real Label Studio."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from service.config import PREFIX
from tests.postgresql import PostgreSQL
from tests.studio import api, connected, new_project, reader, service, studio

__all__ = ["api", "connected", "new_project", "reader", "service", "studio"]

# A deadline per example would be a timed assertion; the same examples each time, so that what passes here passes there.
settings.register_profile("negatives", deadline=None, derandomize=True)
# What looks for new ones: pytest --hypothesis-profile=hunt
settings.register_profile("hunt", deadline=None, derandomize=False, max_examples=5000)
settings.load_profile("negatives")

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server of this run's own."""
    with PostgreSQL() as server:
        yield server.url


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes an empty database of a kind in `DATABASES`; returns its URL, as in NEGATIVES_DATABASE_URL."""

    def sqlite() -> str:
        return f"sqlite:///{tmp_path_factory.mktemp('database') / 'negatives.db'}"

    def postgresql() -> str:
        server: str = request.getfixturevalue("postgresql_url")
        name = f"negatives_{uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return f"{server.rpartition('/')[0]}/{name}"

    return lambda kind: {"sqlite": sqlite, "postgresql": postgresql}[kind]()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    """An empty database, once of each kind."""
    return new_database(request.param)


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of ours in the environment; the working directory, which this returns, is empty, so has no `.env`."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
