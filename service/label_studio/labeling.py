"""A project's labeling configuration (XML): what we read from it, and our controls added to it. Pure.

https://labelstud.io/tags/ — a control's `toName` names the object tag that it draws on.
"""

import re
from collections.abc import Container, Iterable, Mapping
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
ROI_KEY, PATCH_KEY = "g", "n"
PATCH_VERDICT = "patch_verdict"
"""The choices on a patch that is kept but not accepted."""
REASONS = {"object inside": "i", "ambiguous": "a", "duplicate": "d", "poor quality": "q"}
"""Why a patch is rejected, and the key for it."""
UNSURE, REJECTED = "unsure", "rejected"
VERDICTS = {**REASONS, REJECTED: "", UNSURE: "s"}
"""All of these choices, and the key for each that has one. Not U: Label Studio deselects with it, and drops the choice.
"""
ROI_LIVE = "roi_live"
"""A rectangle without a label, for the smart tool alone: one stroke of it asks for patches at once."""
ROI_AGAIN = "roi_again"
"""A text per ROI; each entry asks for other patches. Of all fields only a text's entry makes the browser ask anew."""
ROI_ANSWER = "roi_answer"
"""The line in which we tell the annotator what came of the ROIs."""


@dataclass(frozen=True, slots=True)
class Labeling:
    """What a labeling configuration says to us.

    `image` is the Image tag's name, `data_key` the key of the task's data that it shows, `defaults` the
    `defaultValue` of our number fields, `controls` the names of our controls that are there, in their order, `verdicts`
    the choices that a patch has.
    """

    image: str
    data_key: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    controls: tuple[str, ...] = (ROI,)
    verdicts: frozenset[str] = frozenset()

    @property
    def rois(self) -> frozenset[str]:
        """The controls that draw ROIs."""
        return frozenset(self.controls) & {*ROI_SHAPES.values(), ROI_LIVE}

    @property
    def missing(self) -> tuple[str, ...]:
        """What no project can do without and this one lacks: empty in a connected project."""
        return tuple(name for name in REQUIRED if name not in self.controls)

    def check(self, project_id: int) -> None:
        """Raise `SetupError`, saying what to do, for a project that isn't connected."""
        if self.missing:
            raise SetupError(
                f"project {project_id} lacks the controls {', '.join(self.missing)}: run negatives setup --project "
                f"{project_id}"
            )


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
    choices = [tag for tag in root.iter("Choices") if tag.get("name") == PATCH_VERDICT]
    verdicts = frozenset(choice.get("value", "") for tag in choices for choice in tag)
    return Labeling(name, value[1:], _defaults(root), _controls(root), verdicts)


def connect(xml: str, rules: Rules, shapes: Iterable[str] = (), *, live: bool = True) -> str:
    """The configuration with our controls added before its closing tag, everything else byte for byte as it was.

    The same text when nothing is missing. `rules` fill the number fields' defaults; `shapes` are those that an ROI may
    be drawn as, beside the rectangle: keys of `ROI_SHAPES`. `live` adds what suggestions within the stroke need, and
    keeps the smart tool for it: drawing controls that don't say `smart` themselves get `smart="false"`.

    Raises `SetupError` when a name of ours is taken by another control.
    """
    labeling = read_labeling(xml)
    if live:
        xml = _not_smart(xml, labeling.image)
    if PATCH_VERDICT in labeling.controls:
        xml = _with_verdicts(xml)
    wanted = {*REQUIRED, *EXTRAS, *(ROI_SHAPES[shape] for shape in shapes), *((ROI_LIVE,) if live else ())}
    missing = tuple(name for name in OURS if name in wanted and name not in labeling.controls)
    if not missing:
        return xml
    if taken := {tag.get("name") for tag in _parsed(xml).iter()} & set(missing):
        raise SetupError(
            f"the labeling configuration has another control named {taken.pop()!r}: rename it, then run setup again"
        )
    lines = _lines(labeling.image, missing, rules, _hotkeys(xml))
    if (at := _end_of_bar(xml)) is not None:
        return xml[:at] + "".join(f"{line}\n" for line in lines) + xml[at:]
    end = xml.rstrip()
    closing = f"</{_parsed(xml).tag}>"
    if not end.endswith(closing):
        raise SetupError(
            "the labeling configuration must end with its closing tag (a comment after it, perhaps?): "
            "our controls go right before it"
        )
    at = len(end) - len(closing)
    return xml[:at] + _bar(lines) + xml[at:]


def controls(image: str, missing: Iterable[str], rules: Rules) -> str:
    """Our controls as XML: a bar that stays at the lower edge of the screen, so that a laptop shows it, too."""
    return _bar(_lines(image, missing, rules, ()))


def _bar(lines: Iterable[str]) -> str:
    return "\n".join([f"  <Style>{STYLE}  </Style>", f"  {BAR}", *lines, "  </View>"]) + "\n"


def _end_of_bar(xml: str) -> int | None:
    """Where to add to the bar that is there, as two would lie over each other; None where there is none."""
    start, depth = xml.find(BAR), 0
    for tag in _VIEW.finditer(xml, start) if start >= 0 else ():
        depth += {"</": -1, "<V": 0 if tag[0].endswith("/>") else 1}.get(tag[0][:2], 0)
        if depth == 0:
            line = xml.rfind("\n", 0, tag.start()) + 1
            return line if xml[line : tag.start()].isspace() else tag.start()
    return None


def _lines(image: str, missing: Iterable[str], rules: Rules, taken: Container[str]) -> list[str]:
    """Green ROI, magenta patches; the fields of the selected ROI, the verdicts on the selected patch, and our answer.

    `taken` are hotkeys that the team uses itself: ours go without.
    """
    to, missing = f"toName={quoteattr(image)}", frozenset(missing)
    lines: list[str] = []

    for shape, name in ROI_SHAPES.items():
        if name in missing:
            tag, key = f"{shape.capitalize()}Labels", _hotkey(ROI_KEY if name == ROI else "", taken)
            lines += [
                f'    <{tag} name="{name}" {to} smart="false" strokeWidth="3" opacity="0.1">',
                f'      <Label value="{ROI_LABELS[shape]}" background="{GREEN}"{key}/>',
                f"    </{tag}>",
            ]
    if PATCH in missing:
        lines += [
            f'    <RectangleLabels name="{PATCH}" {to} smart="false" strokeWidth="3" opacity="0.25">',
            f'      <Label value="{PATCH_LABEL}" background="{MAGENTA}"{_hotkey(PATCH_KEY, taken)}/>',
            "    </RectangleLabels>",
        ]
    if ROI_LIVE in missing:
        look = f'strokeWidth="3" strokeColor="{GREEN}" fillColor="{GREEN}" fillOpacity="0.1"'
        lines.append(f'    <Rectangle name="{ROI_LIVE}" {to} smart="true" smartOnly="true" {look}/>')
    fields = [
        f'<Header value="{title}" size="6"/>'
        f'<Number name="{name}" {to} perRegion="true" {limits} defaultValue="{getattr(rules, name)}"/>'
        for name, (title, limits) in FIELDS.items()
        if name in missing
    ]
    if ROI_AGAIN in missing:
        fields.append(
            f'<TextArea name="{ROI_AGAIN}" {to} perRegion="true" placeholder="other patches: any key, Enter"/>'
        )
    lines += _shown_for(",".join(ROI_LABELS.values()), fields)
    if PATCH_VERDICT in missing:
        lines += verdict_row(image, taken)
    if ROI_ANSWER in missing:
        lines.append(f'    <TextArea name="{ROI_ANSWER}" {to} editable="false" maxSubmissions="-1"/>')
    return lines


def verdict_row(image: str, taken: Container[str] = ()) -> list[str]:
    """The choices on a selected patch, on the image of this name; `taken` are hotkeys to go without."""
    choices = (
        f'<Choices name="{PATCH_VERDICT}" toName={quoteattr(image)} perRegion="true" choice="single" showInline="true">'
        f"{_choices(VERDICTS, taken)}</Choices>"
    )
    return _shown_for(PATCH_LABEL, [f'<Header value="Verdict:" size="6"/>{choices}'])


def _choices(verdicts: Iterable[str], taken: Container[str]) -> str:
    return "".join(f'<Choice value="{verdict}"{_hotkey(VERDICTS[verdict], taken)}/>' for verdict in verdicts)


def _hotkey(key: str, taken: Container[str]) -> str:
    return "" if not key or key in taken else f' hotkey="{key}"'


def hidden_controls(image: str, rois: Iterable[str]) -> list[str]:
    """What ROIs, drawn with these controls, and patches need to be shown, without the buttons to draw more."""
    lines = _lines(image, {ROI, PATCH, *rois}, Rules(), taken=(ROI_KEY, PATCH_KEY))
    return ['    <View className="negatives-hidden">', *(f"  {line}" for line in lines), "    </View>"]


def _with_verdicts(xml: str) -> str:
    """The choices on a patch that our control has lacked since an earlier version, added to it."""
    (control,) = (tag for tag in _parsed(xml).iter("Choices") if tag.get("name") == PATCH_VERDICT)
    there, taken = {choice.get("value") for choice in control}, _hotkeys(xml)
    missing = _choices((verdict for verdict in VERDICTS if verdict not in there), taken)
    found = missing and _OUR_CHOICES.search(xml)
    return xml[: found.end(1)] + missing + xml[found.end(1) :] if found else xml


def _shown_for(labels: str, parts: list[str]) -> list[str]:
    """Parts that show while a region with one of these labels is selected, side by side."""
    if not parts:
        return []
    head = f'    <View className="negatives-row" visibleWhen="region-selected" whenLabelValue="{labels}">'
    return [head, *(f"      {part}" for part in parts), "    </View>"]


GREEN, MAGENTA = "#00a651", "#ff00ff"
BAR = '<View className="negatives-bar">'
STYLE = """
    .negatives-bar, .negatives-row { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 10px; }
    .negatives-bar { position: sticky; bottom: 0; z-index: 5; width: fit-content; margin-left: auto;
                     padding: 4px 0 4px 10px; background: var(--color-neutral-background, #ffffff); }
    .negatives-bar h4 { font-size: 13px !important; margin: 0 !important; }
    .negatives-bar div { margin-top: 0 !important; margin-bottom: 0 !important; }
    .negatives-bar input[type=number], .negatives-bar input[type=text] { height: 30px; width: 54px; padding: 2px 6px; }
    .negatives-bar input[type=text] { width: 210px; }
"""
FIELDS = {
    "patches": ("patches", f'min="1" max="{MAX_PATCHES}" step="1"'),
    "min_size": ("min_size px", 'min="1" step="1"'),
    "max_size": ("max_size px", 'min="1" step="1"'),
    "round": ("round", 'min="1" step="1"'),
}
SPECIFIED = {
    **{name: ("RectangleLabels", {}, label) for name, label in ((ROI, ROI_LABEL), (PATCH, PATCH_LABEL))},
    ROI_LIVE: ("Rectangle", {"smart": "true"}, ""),
    **{name: ("Number", {"perRegion": "true"}, "") for name in RULE_FIELDS},
    ROI_AGAIN: ("TextArea", {"perRegion": "true"}, ""),
    PATCH_VERDICT: ("Choices", {"perRegion": "true"}, ""),
    ROI_ANSWER: ("TextArea", {"editable": "false", "maxSubmissions": "-1"}, ""),
}
"""Our controls: tag, attributes that must be so, label that it must have. Shapes of an ROI beside the rectangle come
only where they are asked for, and a control of that name that is another's doesn't matter.
"""
REQUIRED = (ROI, PATCH, *RULE_FIELDS)
EXTRAS = (ROI_AGAIN, PATCH_VERDICT, ROI_ANSWER)
OURS = (*ROI_SHAPES.values(), *(name for name in SPECIFIED if name != ROI))
"""All of them, in the order in which they are added."""


def _parsed(xml: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, UnicodeError) as error:
        raise PayloadError(f"the labeling configuration is no XML: {error}") from error


def _draws_roi_on(root: ElementTree.Element, image: str) -> bool:
    return any(tag.get("name") == ROI and tag.get("toName") == image for tag in root.iter())


def _controls(root: ElementTree.Element) -> tuple[str, ...]:
    """Our controls that are there. Raises `SetupError` when another control has the name of one."""
    named = {name: tag for tag in root.iter() if (name := tag.get("name"))}
    found = {name for name in SPECIFIED if name in named}
    for name in found:
        (kind, attributes, label), tag = SPECIFIED[name], named[name]
        labels = [child.get("value") for child in tag]
        if tag.tag != kind or attributes.items() - tag.items() or (label and label not in labels):
            must = " ".join([kind, *(f'{key}="{value}"' for key, value in attributes.items())])
            raise SetupError(
                f"the labeling configuration has a control named {name!r} that is not <{must}>"
                + (f" with the label {label!r}" if label else "")
                + ": rename that control, then run setup again"
            )
    if {ROI, PATCH} <= found and named[ROI].get("toName") != named[PATCH].get("toName"):
        raise SetupError(
            f"the controls {ROI!r} and {PATCH!r} draw on different images: give both the same toName, then run setup "
            "again"
        )
    for shape, name in ROI_SHAPES.items():
        key = (f"{shape.capitalize()}Labels", ROI_LABELS[shape])
        if name in named and key in [(named[name].tag, child.get("value")) for child in named[name]]:
            found.add(name)
    return tuple(name for name in OURS if name in found)


DRAWS = "Rectangle|Ellipse|Polygon|Brush|KeyPoint|Bitmask|Vector"
_NO_TAG = r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
_ATTRIBUTES = r"""(?=[\s/>])(?:[^>"']|"[^"]*"|'[^']*')*>"""
_TAG = re.compile(rf"{_NO_TAG}|<(?:{DRAWS})(?:Labels)?{_ATTRIBUTES}", re.DOTALL)
_OUR_CHOICES = re.compile(rf"""(<Choices[^>]*\sname=["']{PATCH_VERDICT}["'][^>]*[^/]>.*?)</Choices\s*>""", re.DOTALL)
_VIEW = re.compile(rf"{_NO_TAG}|</View\s*>|<View{_ATTRIBUTES}", re.DOTALL)


def _not_smart(xml: str, image: str) -> str:
    """The smart tool left to us alone: with two of them, an annotator would have to find out which is which."""

    def without(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith(("<!", "<?")):
            return text
        try:
            tag = ElementTree.fromstring(text if text.endswith("/>") else f"{text[:-1]}/>")
        except ElementTree.ParseError:  # it uses an entity of the document's own
            return text
        if tag.get("toName") != image or {name.lower() for name, _ in tag.items()} & {"smart", "smartonly"}:
            return text
        attributes = text.removesuffix(">").removesuffix("/").rstrip()
        return f'{attributes} smart="false"{text[len(attributes) :]}'

    return _TAG.sub(without, xml)


def _hotkeys(xml: str) -> frozenset[str]:
    return frozenset(key.lower() for tag in _parsed(xml).iter() if (key := tag.get("hotkey")))


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
