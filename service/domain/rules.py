"""Which rules hold for an ROI: its own number fields, else the labeling configuration's defaults, else the settings."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from service.domain.model import AGAIN, RULE_FIELDS, Rules
from service.errors import InvalidRules

FROM_ROI = "ROI"
FROM_LABELING = "labeling configuration"
FROM_SETTINGS = "settings"


def resolve_rules(
    roi_fields: Mapping[str, float], labeling_defaults: Mapping[str, float], settings: Rules
) -> tuple[Rules, dict[str, str]]:
    """The rules of one ROI, and for each field where its value comes from; each time that it asked again is one round
    more.

    Raises `InvalidRules` for a value that is fractional or out of range; nothing is clamped.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in RULE_FIELDS:
        if name in roi_fields:
            value, sources[name] = roi_fields[name], FROM_ROI
        elif name in labeling_defaults:
            value, sources[name] = labeling_defaults[name], FROM_LABELING
        else:
            value, sources[name] = getattr(settings, name), FROM_SETTINGS
        if not isfinite(value) or value != int(value):
            raise InvalidRules(f"{name} is {value:g}, but must be a whole number")
        values[name] = int(value)
    if again := int(roi_fields.get(AGAIN, 0)):
        values["round"], sources["round"] = values["round"] + again, FROM_ROI
    return replace(settings, **values), sources
