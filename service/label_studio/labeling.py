"""A project's labeling configuration (XML): what we read from it, and our controls added to it. Pure.

https://labelstud.io/tags/ — a control's `toName` names the object tag that it draws on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from service.domain.model import MAX_PATCHES, RULE_FIELDS, Rules
from service.errors import PayloadError, SetupError

ROI = "roi"
ROI_LABEL = "Background ROI"
ROI_SHAPES = {"rectangle": ROI, "polygon": "roi_polygon", "ellipse": "roi_ellipse", "brush": "roi_brush"}
"""What an ROI may be drawn as, and with which control. A project has the rectangle, and such others as it wants."""
ROI_LABELS = {shape: ROI_LABEL if name == ROI else f"{ROI_LABEL}: {shape}" for shape, name in ROI_SHAPES.items()}
"""What the button for each shape says."""
PATCH = "patch"
PATCH_LABEL = "Negative patch"


@dataclass(frozen=True, slots=True)
class Labeling:
    """What a labeling configuration says to us.

    `image` is the Image tag's name, `data_key` the key of the task's data that it shows, `defaults` the
    `defaultValue` of our number fields, `rois` the names of the controls that draw ROIs. `missing` lists our controls
    that aren't there: empty in a connected project.
    """

    image: str
    data_key: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    rois: frozenset[str] = frozenset((ROI,))


def read_labeling(xml: str) -> Labeling:
    """Read a labeling configuration.

    Raises `PayloadError` when it is no XML or shows no image, `SetupError` when a name of ours is taken by another
    control.
    """
    root = _parsed(xml)
    images = [tag for tag in root.iter() if tag.tag in ("Image", "image")]
    if not images:
        raise PayloadError("the labeling configuration shows no image: add an <Image> tag, then run setup again")
    image = next((tag for tag in images if _draws_roi_on(root, tag.get("name", ""))), images[0])
    name, value = image.get("name", ""), image.get("value", "")
    if not name or not value.startswith("$"):
        raise PayloadError("the labeling configuration's <Image> tag needs a name and a value like $image")
    return Labeling(image=name, data_key=value[1:], defaults=_defaults(root), missing=_missing(root), rois=_rois(root))


def connect(xml: str, rules: Rules, shapes: Iterable[str] = ()) -> str:
    """The configuration with our controls added before its closing tag, everything else byte for byte as it was.

    The same text when nothing is missing. `rules` fill the number fields' defaults; `shapes` are those that an ROI may
    be drawn as, beside the rectangle: keys of `ROI_SHAPES`.

    Raises `SetupError` when a name of ours is taken by another control.
    """
    labeling = read_labeling(xml)
    missing = (*labeling.missing, *(name for shape in shapes if (name := ROI_SHAPES[shape]) not in labeling.rois))
    missing = tuple(dict.fromkeys(missing))
    if not missing:
        return xml
    if taken := {tag.get("name") for tag in _parsed(xml).iter()} & set(missing):
        raise SetupError(
            f"the labeling configuration has another control named {taken.pop()!r}: rename it, then run setup again"
        )
    end = xml.rstrip()
    closing = f"</{_parsed(xml).tag}>"
    if not end.endswith(closing):
        raise SetupError(
            "the labeling configuration must end with its closing tag (a comment after it, perhaps?): "
            "our controls go right before it"
        )
    at = len(end) - len(closing)
    return xml[:at] + controls(labeling.image, missing, rules) + xml[at:]


def controls(image: str, missing: tuple[str, ...], rules: Rules) -> str:
    """Our controls as XML: green ROI, magenta patches, the ROI's own number fields."""
    to = f"toName={quoteattr(image)}"
    lines = []
    for shape, name in ROI_SHAPES.items():
        if name in missing:
            tag = f"{shape.capitalize()}Labels"
            lines += [
                f'  <{tag} name="{name}" {to} strokeWidth="3" opacity="0.1">',
                f'    <Label value="{ROI_LABELS[shape]}" background="#00a651"/>',
                f"  </{tag}>",
            ]
    if PATCH in missing:
        lines += [
            f'  <RectangleLabels name="{PATCH}" {to} strokeWidth="3" opacity="0.25">',
            f'    <Label value="{PATCH_LABEL}" background="#ff00ff"/>',
            "  </RectangleLabels>",
        ]
    fields = [name for name in RULE_FIELDS if name in missing]
    if fields:
        lines.append(f'  <View visibleWhen="region-selected" whenLabelValue="{",".join(ROI_LABELS.values())}">')
        for name in fields:
            title, limits = FIELDS[name]
            lines += [
                f'    <Header value="{title}" size="5"/>',
                f'    <Number name="{name}" {to} perRegion="true" {limits} defaultValue="{getattr(rules, name)}"/>',
            ]
        lines.append("  </View>")
    return "\n".join(lines) + "\n"


FIELDS = {
    "patches": (f"Patches in this ROI (1–{MAX_PATCHES})", f'min="1" max="{MAX_PATCHES}" step="1"'),
    "min_size": ("Smallest side, pixels (min_size)", 'min="1" step="1"'),
    "max_size": ("Largest side, pixels (max_size)", 'min="1" step="1"'),
    "round": ("Round (one more asks for other patches)", 'min="1" step="1"'),
}


def _parsed(xml: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise PayloadError(f"the labeling configuration is no XML: {error}") from error


def _draws_roi_on(root: ElementTree.Element, image: str) -> bool:
    return any(tag.get("name") == ROI and tag.get("toName") == image for tag in root.iter())


def _rois(root: ElementTree.Element) -> frozenset[str]:
    """The controls by which an ROI can be drawn."""
    ours = {(name, f"{shape.capitalize()}Labels", ROI_LABELS[shape]): name for shape, name in ROI_SHAPES.items()}
    keys = ((tag.get("name"), tag.tag, child.get("value")) for tag in root.iter() for child in tag)
    return frozenset(ours[key] for key in keys if key in ours)


def _missing(root: ElementTree.Element) -> tuple[str, ...]:
    named = {name: tag for tag in root.iter() if (name := tag.get("name"))}
    missing = []
    for name, label in ((ROI, ROI_LABEL), (PATCH, PATCH_LABEL)):
        tag = named.get(name)
        if tag is None:
            missing.append(name)
        elif tag.tag != "RectangleLabels" or label not in [child.get("value") for child in tag]:
            raise SetupError(
                f"the labeling configuration has a control named {name!r} that is not <RectangleLabels> with the "
                f"label {label!r}: rename that control, then run setup again"
            )
    for name in RULE_FIELDS:
        tag = named.get(name)
        if tag is None:
            missing.append(name)
        elif tag.tag != "Number" or tag.get("perRegion") != "true":
            raise SetupError(
                f'the labeling configuration has a control named {name!r} that is not <Number perRegion="true">: '
                "rename that control, then run setup again"
            )
    if ROI not in missing and PATCH not in missing and named[ROI].get("toName") != named[PATCH].get("toName"):
        raise SetupError(
            f"the controls {ROI!r} and {PATCH!r} draw on different images: give both the same toName, then run setup "
            "again"
        )
    return tuple(missing)


def _defaults(root: ElementTree.Element) -> dict[str, float]:
    found: dict[str, float] = {}
    for tag in root.iter("Number"):
        name, value = tag.get("name", ""), tag.get("defaultValue", "")
        if name in RULE_FIELDS and value:
            try:
                found[name] = float(value)
            except ValueError as error:
                raise PayloadError(
                    f"the labeling configuration's default for {name} is {value!r}, which is no number"
                ) from error
    return found
