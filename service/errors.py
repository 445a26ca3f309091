"""Everything that this project raises on purpose.

```text
NegativesError                     exit code  HTTP  again?
├── SettingsError                      2       500          settings missing or wrong
├── UsageError                         2       400          a command's arguments don't fit
├── InvalidRules                       -       422          patches, sizes or round out of range
├── PayloadError                       -       422          Label Studio's JSON can't be read as ours
├── SetupError                         1       409          a project can't be, or isn't, connected
├── LabelStudioError                   1       502          Label Studio said no
│   ├── NotFound                       1       404          … there is no such project or task
│   ├── Unauthorized                   1       502          … the token isn't accepted
│   ├── PredictionsDropped             1       502   yes    … it stored fewer than it was sent
│   └── LabelStudioUnavailable         1       503   yes    … it is down, slow or talks nonsense
├── ImageError                         1       422          a source image can't be fetched or used
└── ExportError                        1       409          a dataset can't be written to
```

Each class knows two facts that the edges ask for: its HTTP status and whether trying again can help. A message says
what happened, to which id, and what to do; never a payload, a token or a URL's query.
"""

from typing import ClassVar


class NegativesError(Exception):
    """The base of the tree; its message is fit to be shown to a person."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class SettingsError(NegativesError):
    """A setting is missing or wrong; the message names all of them at once."""

    exit_code = 2


class UsageError(NegativesError):
    """A command was called with arguments that don't fit."""

    http_status = 400
    exit_code = 2


class InvalidRules(NegativesError):
    """A rule is outside of its range; the message names field, value and range."""

    http_status = 422


class PayloadError(NegativesError):
    """JSON from Label Studio doesn't mean what we need; the message says which part."""

    http_status = 422


class SetupError(NegativesError):
    """A Label Studio project can't be connected, or isn't connected yet."""

    http_status = 409


class LabelStudioError(NegativesError):
    """Label Studio refused a call."""

    http_status = 502


class NotFound(LabelStudioError):
    """Label Studio has no such project, task or file (or this token may not see it)."""

    http_status = 404


class Unauthorized(LabelStudioError):
    """Label Studio doesn't accept the token."""


class PredictionsDropped(LabelStudioError):
    """Label Studio stored fewer predictions than it was sent, and did not say why."""

    retryable = True


class LabelStudioUnavailable(LabelStudioError):
    """Label Studio is down, slow or answers nonsense; trying again can help."""

    http_status = 503
    retryable = True


class ImageError(NegativesError):
    """A source image can't be fetched, is too large, or isn't the image that was labelled."""

    http_status = 422


class ExportError(NegativesError):
    """A dataset can't be read or written as asked; what is there is whole."""

    http_status = 409
