"""What to call people and projects: asked of Label Studio once in a while, for all pages together."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from cachetools import TTLCache, cached

NAMES_SECONDS = 60.0
TITLE_SECONDS = 60.0
PROJECT_SECONDS = 5.0
MOST_PROJECTS = 1024


class Named(Protocol):
    """A user of Label Studio."""

    @property
    def name(self) -> str:
        """What to call them."""


class Project(Protocol):
    """A project of Label Studio's."""

    @property
    def title(self) -> str:
        """What it is called."""

    @property
    def label_config(self) -> str:
        """Its labeling configuration, XML."""


class Studio(Protocol):
    """What the directory asks of Label Studio, signed in as the service."""

    def people(self) -> Mapping[int, Named]:
        """The members of the organization, by id."""

    def project(self, project_id: int) -> Project:
        """One project."""


class Directory:
    """Names of people and projects. Safe to share between threads; raises what the client does."""

    def __init__(self, studio: Callable[[], Studio], *, timer: Callable[[], float] = time.monotonic) -> None:
        """`studio` gives the client, and is asked only when something has to be looked up; `timer` counts seconds."""

        def ask_names() -> Mapping[int, str]:
            return {person_id: person.name for person_id, person in studio().people().items()}

        @cached(TTLCache(MOST_PROJECTS, PROJECT_SECONDS, timer=timer), lock=threading.Lock())
        def project(project_id: int) -> Project:
            return studio().project(project_id)

        @cached(TTLCache(MOST_PROJECTS, TITLE_SECONDS, timer=timer), lock=threading.Lock())
        def title(project_id: int) -> str:
            return project(project_id).title

        self._names = cached(TTLCache(1, NAMES_SECONDS, timer=timer), lock=threading.Lock())(ask_names)
        self._names_anew = cached(TTLCache(1, PROJECT_SECONDS, timer=timer), lock=threading.Lock())(ask_names)
        self.project = project
        """One project, as it was a few seconds ago."""
        self.title = title
        """What a project is called."""

    def people(self, mentioned: Collection[int] = ()) -> Mapping[int, str]:
        """Names by Label Studio's ids, asked for anew where one of those who are `mentioned` joined within the last
        minute; the same object as long as nothing was asked.
        """
        names = self._names()
        return names if names.keys() >= set(mentioned) else self._names_anew()
