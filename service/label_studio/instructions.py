"""What annotators read behind Label Studio's button "Instructions": our part, beside what the team wrote.

Label Studio keeps HTML there, cleans it when it is stored (no style, no comments, no data: addresses), and shows it
about 540 pixels wide, with lists and margins reset: so numbers are written out and spaces are <br>.
"""

from collections.abc import Iterator

from service.label_studio.labeling import ROI_LABEL, VERDICTS

START, END = '<div class="negatives-instructions">', "</div>"
"""Our part is what stands between these; it holds no <div> of its own."""
TITLE = "<h3>Background patches (negatives)</h3>"
_SOURCE = '<img src="'


def with_instructions(html: str, picture: str | None) -> str:
    """The instructions with our part in them, everything else byte for byte as it was.

    The same text when our part is there and says this already. `picture` is the address of the picture that shows the
    switches for live suggestions; None leaves live suggestions out. Label Studio stores the result as it is.
    """
    ours = START + TITLE + "<br>".join(_paragraphs(picture)) + END
    before, start, rest = html.partition(START)
    if start:
        return before + ours + rest.partition(END)[2]
    return f"{html}\n{ours}" if html.strip() else ours


def picture_in(html: str) -> str | None:
    """The address of the picture in our part; None where there is none."""
    ours = html.partition(START)[2].partition(END)[0]
    return ours.partition(_SOURCE)[2].partition('"')[0] or None


def _paragraphs(picture: str | None) -> Iterator[str]:
    by_hand = (
        f"press <b>G</b> ({ROI_LABEL}), draw around background, <b>Submit</b>. Patches come as the prediction "
        "<b>negatives</b>: ⋮, Duplicate Annotation."
    )
    if picture is not None:
        yield (
            "<p><b>Once, in your browser:</b> 1 switch on <b>Auto-Annotation</b>, 2 click the pink tool "
            "(<b>Auto-Detect</b>), 3 switch on <b>Auto-Accept Suggestions</b>.</p>"
            f'<p>{_SOURCE}{picture}" alt="Where the three switches are"></p>'
        )
        yield (
            "<p><b>On every task:</b> one stroke around background, nothing of interest inside. It becomes a green ROI "
            f"with magenta patches. {_verdicts()} <b>Submit</b>.</p>"
        )
        yield (
            "<p><b>Not what you want?</b> <b>Ctrl+Z</b> and draw again. Or click the green ROI and set its fields (how "
            "many, how large); <i>round</i> + 1 asks for others. They come when you submit.</p>"
        )
        yield (
            "<p><b>Auto-Accept off:</b> patches come dashed. The left half of the pill under each rejects, the right "
            "half accepts; ✗ and ✓ in the bottom bar take all. For others: select the green ROI, press <b>G</b>, type "
            "anything in its field <i>other patches</i>, Enter.</p>"
        )
        yield f"<p><b>Without the switches:</b> {by_hand}</p>"
    else:
        yield f"<p>{by_hand[0].upper()}{by_hand[1:]}</p>"
        yield f"<p>{_verdicts()} <b>Submit</b>.</p>"


def _verdicts() -> str:
    keys = ", ".join(f"<b>{key.upper()}</b> {verdict}" for verdict, key in VERDICTS.items() if key)
    return f"Click a bad one: <b>Backspace</b>, or say why by key: {keys}."
