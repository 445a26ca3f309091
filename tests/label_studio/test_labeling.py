from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.model import Rules
from service.errors import PayloadError, SetupError
from service.label_studio.labeling import ROI_SHAPES, Labeling, connect, controls, read_labeling
from tests.payloads import recorded

THEIRS = """<?xml version="1.0" encoding="utf-8"?>
<!-- our cells; "don't" touch -->
<View  style='display: flex'>
\t<Header value="Mark every cell &amp; spore — 100 %"/>
  <Image  value="$image" name='image'
          zoom="true"/>
  <RectangleLabels name="label" toName="image"><Label value="Zelle Ä"/></RectangleLabels>
</View>

"""
ALL = ("roi", "patch", "patches", "min_size", "max_size", "round")
"""What no connected project lacks."""
EXTRAS = ("roi_again", "patch_verdict", "roi_answer")
EVERY = ("roi", "patch", "roi_live", *ALL[2:], *EXTRAS)
"""All that a project gets that draws rectangles, in the order of the tags."""
SHAPES = ("polygon", "ellipse", "brush")
RULES = Rules(patches=7, min_size=30, max_size=90)


OWN = '<RectangleLabels name="label" toName="image"'
TOOLS = ("label", "roi", "patch")


def smart(xml: str) -> dict[str, str]:
    """What the controls say that say whether they are the smart tool."""
    tags = ElementTree.fromstring(xml.encode()).iter()
    return {tag.get("name", ""): said for tag in tags if (said := tag.get("smart"))}


def with_control(control: str) -> str:
    """Their configuration with one control more."""
    return THEIRS.replace("</View>", control + "</View>")


def named(xml: str) -> list[str]:
    """The names in a configuration, in the order of their tags."""
    return [name for tag in ElementTree.fromstring(xml.encode()).iter() if (name := tag.get("name"))]


def inserted(before: str, after: str) -> str:
    """What is new in a configuration to which one piece was added before its closing tag."""
    head, closing, tail = before.rpartition("</View>")
    assert after.startswith(head)
    assert after.endswith(closing + tail)
    return after[len(head) : -len(closing + tail)]


def test_without_live_suggestions_connect_leaves_what_is_there_byte_for_byte() -> None:
    """Everything that a team wrote stays as it was; ours is one insertion before the closing tag."""
    assert "negatives-bar" in inserted(THEIRS, connect(THEIRS, RULES, live=False))


def test_for_live_suggestions_a_team_s_own_tool_gets_one_attribute() -> None:
    """It says that it isn't the smart one; else everything is as it was, byte for byte."""
    told = THEIRS.replace('<RectangleLabels name="label" toName="image">', OWN + ' smart="false">')
    assert "negatives-bar" in inserted(told, connect(THEIRS, RULES))


def test_connect_adds_all_our_controls() -> None:
    """A connected configuration lacks nothing."""
    assert read_labeling(THEIRS).missing == ALL
    assert read_labeling(connect(THEIRS, RULES)).missing == ()


@pytest.mark.parametrize("live", [True, False])
def test_a_labeling_knows_which_of_our_controls_are_there(live: bool) -> None:
    """All that were added, in their order; the one for live suggestions only where they are wanted."""
    expected = tuple(name for name in EVERY if live or name != "roi_live")
    assert read_labeling(THEIRS).controls == ()
    assert read_labeling(connect(THEIRS, RULES, live=live)).controls == expected


@pytest.mark.parametrize("live", [True, False])
def test_connect_twice_is_connect_once(live: bool) -> None:
    """Connecting a connected configuration gives the very same text."""
    connected = connect(THEIRS, RULES, live=live)
    assert connect(connected, replace(RULES, patches=1), live=live) == connected


def test_live_suggestions_stay_without_being_asked_for() -> None:
    """Setup takes nothing away."""
    connected = connect(THEIRS, RULES)
    assert connect(connected, RULES, live=False) == connected


def test_live_suggestions_may_be_added_later() -> None:
    """One more control; the tools that are there, the team's and ours, leave the smart one to it."""
    before = connect(THEIRS, RULES, live=False)
    after = connect(before, RULES)
    assert (added(before, after), smart(after)) == (["roi_live"], {"roi_live": "true"} | dict.fromkeys(TOOLS, "false"))


@pytest.mark.parametrize("there", EVERY)
def test_connect_adds_only_what_is_missing(there: str) -> None:
    """A control of ours that is there already is neither added again nor changed."""
    missing = tuple(name for name in EVERY if name != there)
    xml = with_control(controls("image", (there,), RULES))
    connected = connect(xml, replace(RULES, patches=2))
    assert named(connected) == ["image", "label", there, *missing]


def test_the_labels_names_are_the_documented_ones() -> None:
    """ROIs are labelled "Background ROI", patches "Negative patch"; scripts rely on it."""
    root = ElementTree.fromstring(connect(THEIRS, RULES).encode())
    labels = {tag.get("name"): [child.get("value") for child in tag] for tag in root.iter("RectangleLabels")}
    assert labels == {"label": ["Zelle Ä"], "roi": ["Background ROI"], "patch": ["Negative patch"]}


def test_number_fields_show_for_a_selected_roi_only() -> None:
    """The number fields are per region and stand in a view that shows when an ROI is selected, whatever its shape; so
    does the text that asks for other patches.
    """
    root = ElementTree.fromstring(connect(THEIRS, RULES, SHAPES).encode())
    (view,) = [tag for tag in root.iter("View") if tag.get("visibleWhen") and tag.find("Number") is not None]
    shows = {name: value for name, value in view.items() if name.startswith("when")}
    every = "Background ROI,Background ROI: polygon,Background ROI: ellipse,Background ROI: brush"
    assert (view.get("visibleWhen"), shows) == ("region-selected", {"whenLabelValue": every})
    assert [(field.get("name"), field.get("perRegion")) for field in view if field.get("name")] == [
        (name, "true") for name in (*ALL[2:], "roi_again")
    ]


def test_verdicts_show_for_a_selected_patch_only() -> None:
    """One choice per region, with the reasons and their keys that the README names."""
    root = ElementTree.fromstring(connect(THEIRS, RULES).encode())
    (view,) = [tag for tag in root.iter("View") if tag.find("Choices") is not None]
    (choices,) = view.iter("Choices")
    assert (view.get("visibleWhen"), view.get("whenLabelValue")) == ("region-selected", "Negative patch")
    assert (choices.get("name"), choices.get("perRegion"), choices.get("choice")) == ("patch_verdict", "true", "single")
    assert [(one.get("value"), one.get("hotkey")) for one in choices] == [
        ("object inside", "i"),
        ("ambiguous", "a"),
        ("duplicate", "d"),
        ("poor quality", "q"),
        ("rejected", None),
        ("unsure", "s"),
    ]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_verdicts_that_an_earlier_version_lacked_are_added(quote: str) -> None:
    """A project that was connected before gets them with the next set-up, and everything else stays as it is."""
    now = connect(THEIRS, RULES).replace('name="patch_verdict"', f"name={quote}patch_verdict{quote}")
    before = now.replace('<Choice value="rejected"/><Choice value="unsure" hotkey="s"/>', "")
    assert before != now
    assert connect(before, RULES) == now
    assert connect(now, RULES) == now


def test_the_stroke_for_live_suggestions_has_no_label() -> None:
    """A rectangle for the smart tool alone: the label that it lacks comes with the answer."""
    root = ElementTree.fromstring(connect(THEIRS, RULES).encode())
    (stroke,) = root.iter("Rectangle")
    said = {name: stroke.get(name) for name in ("name", "toName", "smart", "smartOnly")}
    assert said == {"name": "roi_live", "toName": "image", "smart": "true", "smartOnly": "true"}


def test_the_answer_can_t_be_written_by_hand() -> None:
    """It is ours to say what came of an ROI."""
    root = ElementTree.fromstring(connect(THEIRS, RULES).encode())
    (line,) = [tag for tag in root.iter("TextArea") if tag.get("name") == "roi_answer"]
    assert (line.get("editable"), line.get("maxSubmissions"), line.get("perRegion")) == ("false", "-1", None)


def hotkeys(xml: str) -> list[str]:
    """The keys in a configuration."""
    return [key for tag in ElementTree.fromstring(xml.encode()).iter() if (key := tag.get("hotkey"))]


OUR_KEYS = ["g", "n", "i", "a", "d", "q", "s"]


def test_every_key_of_ours_is_one() -> None:
    """No two of our labels and verdicts share one."""
    assert hotkeys(connect(THEIRS, RULES, SHAPES)) == OUR_KEYS


@pytest.mark.parametrize("key", OUR_KEYS)
def test_a_key_that_the_team_uses_stays_theirs(key: str) -> None:
    """In whatever case they wrote it; ours goes without one, and the others keep theirs."""
    xml = THEIRS.replace('<Label value="Zelle Ä"/>', f'<Label value="Zelle Ä" hotkey="{key.upper()}"/>')
    assert hotkeys(connect(xml, RULES)) == [key.upper(), *(other for other in OUR_KEYS if other != key)]


def test_the_defaults_are_the_rules() -> None:
    """What connect writes as default is what read_labeling reads."""
    defaults = read_labeling(connect(THEIRS, RULES)).defaults
    assert defaults == {"patches": 7, "min_size": 30, "max_size": 90, "round": 1}


def test_a_default_that_is_not_set_is_absent() -> None:
    """A number field without a default leaves the rule to the settings."""
    field = '<Number name="patches" toName="image" perRegion="true"/>'
    assert read_labeling(with_control(field)).defaults == {}


def test_a_number_field_that_is_not_ours_says_nothing() -> None:
    """Only our own fields' defaults are read."""
    field = '<Number name="magnification" toName="image" defaultValue="40"/>'
    assert read_labeling(with_control(field)).defaults == {}


def test_a_default_that_is_no_number_is_refused_by_name() -> None:
    """The message names the field whose default can't be a number."""
    field = '<Number name="min_size" toName="image" perRegion="true" defaultValue="tiny"/>'
    with pytest.raises(PayloadError, match="default for min_size is 'tiny'"):
        read_labeling(with_control(field))


def test_another_image_name_and_data_key() -> None:
    """Controls draw on the Image tag by its own name, and the picture is under its own key."""
    xml = THEIRS.replace("name='image'", 'name="slide &amp; co"').replace("$image", "$photo_url")
    xml = xml.replace('toName="image"', 'toName="slide &amp; co"')
    connected = read_labeling(connect(xml, RULES))
    assert (connected.image, connected.data_key, connected.missing) == ("slide & co", "photo_url", ())


def test_new_controls_draw_on_the_image_there_is() -> None:
    """Every control that is added draws on the Image tag that is there."""
    xml = THEIRS.replace("name='image'", 'name="slide"').replace('toName="image"', 'toName="slide"')
    root = ElementTree.fromstring(connect(xml, RULES).encode())
    assert {tag.get("toName") for tag in root.iter() if tag.get("toName")} == {"slide"}


def test_of_two_images_the_one_with_our_roi_counts() -> None:
    """With two images, the one that ROIs are drawn on is ours."""
    xml = with_control('<Image name="second" value="$other"/>')
    assert read_labeling(xml).image == "image"
    drawn = with_control('<Image name="second" value="$other"/>' + controls("second", ("roi",), RULES))
    assert (read_labeling(drawn).image, read_labeling(drawn).data_key) == ("second", "other")


@pytest.mark.parametrize(
    "taken",
    [
        '<Choices name="roi" toName="image"><Choice value="yes"/></Choices>',
        '<RectangleLabels name="roi" toName="image"><Label value="Region"/></RectangleLabels>',
        '<PolygonLabels name="patch" toName="image"><Label value="Negative patch"/></PolygonLabels>',
        '<Text name="patch" value="$text"/>',
        '<Number name="patches" toName="image"/>',
        '<TextArea name="round" toName="image" perRegion="true"/>',
        '<TextArea name="roi_answer" toName="image" perRegion="true"/>',
        '<Rectangle name="roi_live" toName="image"/>',
        '<RectangleLabels name="roi_live" toName="image" smart="true"><Label value="Region"/></RectangleLabels>',
        '<TextArea name="roi_again" toName="image"/>',
        '<Choices name="patch_verdict" toName="image"><Choice value="yes"/></Choices>',
        '<Choices name="roi_answer" toName="image"><Choice value="yes"/></Choices>',
    ],
)
def test_a_name_that_another_control_has_is_refused(taken: str) -> None:
    """A control of the team's under one of our names is not taken for ours: they are told which to rename."""
    name = ElementTree.fromstring(taken).get("name")
    with pytest.raises(SetupError, match=f"control named '{name}' that is not .*rename"):
        connect(with_control(taken), RULES)


def added(before: str, after: str) -> list[str]:
    """The names of the controls that are in the second configuration alone."""
    return [name for name in named(after) if name not in named(before)]


def test_without_being_asked_only_the_rectangle_is_added() -> None:
    """A project that draws rectangles gets no labels that it doesn't want."""
    connected = connect(THEIRS, RULES)
    assert added(THEIRS, connected) == list(EVERY)
    assert read_labeling(connected).rois == {"roi", "roi_live"}


def test_without_live_suggestions_no_stroke_asks_for_patches() -> None:
    """The control for it is left out, and no tool of anybody's is changed."""
    connected = connect(THEIRS, RULES, live=False)
    assert added(THEIRS, connected) == [name for name in EVERY if name != "roi_live"]
    assert read_labeling(connected).rois == {"roi"}


@pytest.mark.parametrize("shapes", [("polygon",), ("ellipse",), ("brush",), ("brush", "polygon"), SHAPES])
def test_an_roi_may_be_drawn_as_what_is_asked_for(shapes: tuple[str, ...]) -> None:
    """The rectangle always, and each that is asked for, in the one order, whatever was said first."""
    connected = connect(THEIRS, RULES, shapes)
    wanted = [name for shape, name in ROI_SHAPES.items() if shape in ("rectangle", *shapes)]
    assert added(THEIRS, connected) == [*wanted, *EVERY[1:]]
    assert read_labeling(connected).rois == {*wanted, "roi_live"}
    assert read_labeling(connected).missing == ()


def test_every_control_for_an_roi_says_what_it_draws() -> None:
    """Each of the tag that draws it, under a label that tells them apart; the number fields show by these."""
    root = ElementTree.fromstring(connect(THEIRS, RULES, SHAPES).encode())
    labels = {tag.get("name"): (tag.tag, [child.get("value") for child in tag]) for tag in root.iter()}
    assert {name: labels[name] for name in ROI_SHAPES.values()} == {
        "roi": ("RectangleLabels", ["Background ROI"]),
        "roi_polygon": ("PolygonLabels", ["Background ROI: polygon"]),
        "roi_ellipse": ("EllipseLabels", ["Background ROI: ellipse"]),
        "roi_brush": ("BrushLabels", ["Background ROI: brush"]),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_may_be_added_to_a_connected_configuration(shape: str) -> None:
    """One more control, nothing else changed; asked for again, nothing at all."""
    before = connect(THEIRS, RULES)
    after = connect(before, replace(RULES, patches=1), [shape])
    assert added(before, after) == [ROI_SHAPES[shape]]
    start = before.rpartition("  </View>")[0]
    assert after.startswith(start)
    assert after.endswith(before.removeprefix(start))
    assert connect(after, RULES, [shape, shape]) == after


@pytest.mark.parametrize("later", [{"shapes": SHAPES}, {"live": True}])
def test_what_is_added_later_goes_into_the_bar_that_is_there(later: dict[str, Any]) -> None:
    """Two bars would lie over each other at the lower edge, and the first be hidden."""
    once = connect(THEIRS, RULES, live=False)
    after = ElementTree.fromstring(connect(once, RULES, **later).encode())
    (bar,) = [view for view in after.iter("View") if view.get("className") == "negatives-bar"]
    assert {tag.get("name") for tag in bar.iter() if tag.get("name")} == set(
        read_labeling(connect(once, RULES, **later)).controls
    )
    assert len(list(after.iter("Style"))) == 1


def test_a_tag_with_an_entity_of_the_teams_own_stays_as_it_is() -> None:
    """It can't be read by itself, and is no reason to refuse the configuration."""
    xml = '<!DOCTYPE View [<!ENTITY cell "Zelle">]>' + THEIRS.partition("-->")[2].strip()
    xml = xml.replace('<Label value="Zelle Ä"/>', "").replace('toName="image">', 'toName="image" title="&cell;">')
    assert 'title="&cell;">' in connect(xml, RULES)


def test_a_shape_that_is_there_stays_without_being_asked_for() -> None:
    """Setup takes nothing away."""
    with_polygon = connect(THEIRS, RULES, ["polygon"])
    assert connect(with_polygon, RULES) == with_polygon


def test_a_shape_asked_for_twice_is_added_once() -> None:
    """A doubled option is no doubled control, which Label Studio would refuse."""
    assert connect(THEIRS, RULES, ["polygon", "polygon"]) == connect(THEIRS, RULES, ["polygon"])


@pytest.mark.parametrize(
    "taken",
    [
        '<Choices name="roi_polygon" toName="image"><Choice value="yes"/></Choices>',
        '<PolygonLabels name="roi_polygon" toName="image"><Label value="Region"/></PolygonLabels>',
        '<RectangleLabels name="roi_polygon" toName="image"><Label value="Background ROI"/></RectangleLabels>',
        '<Text name="roi_polygon" value="$text"/>',
    ],
)
def test_a_shapes_name_that_another_control_has_is_refused_if_asked_for(taken: str) -> None:
    """They are told which to rename; who doesn't ask for that shape may call their control so."""
    with pytest.raises(SetupError, match="another control named 'roi_polygon': rename it"):
        connect(with_control(taken), RULES, ["polygon"])
    assert read_labeling(connect(with_control(taken), RULES)).rois == {"roi", "roi_live"}


def test_without_saying_so_a_labeling_has_the_rectangle() -> None:
    """Which every connected project has."""
    assert Labeling("image", "image").rois == {"roi"}


@pytest.mark.parametrize(
    "xml", ["", "no xml", "<View>", "<View><Image></View>", "<View/><View/>", "<View>\ud800</View>"]
)
def test_broken_xml_is_refused(xml: str) -> None:
    """What is no XML is called so."""
    with pytest.raises(PayloadError, match="is no XML"):
        read_labeling(xml)


def test_a_configuration_without_an_image_is_refused() -> None:
    """Without an image there is nothing to cut from."""
    with pytest.raises(PayloadError, match="shows no image"):
        read_labeling('<View><Text name="t" value="$text"/></View>')


@pytest.mark.parametrize("tag", ['<Image value="$image"/>', '<Image name="image"/>', '<Image name="i" value="x.jpg"/>'])
def test_an_image_without_name_or_data_key_is_refused(tag: str) -> None:
    """An Image tag that controls or tasks can't refer to is refused."""
    with pytest.raises(PayloadError, match="needs a name and a value"):
        read_labeling(f"<View>{tag}</View>")


def test_a_comment_after_the_closing_tag_is_refused() -> None:
    """Rather than guess where the configuration ends, connecting says what is in the way."""
    with pytest.raises(SetupError, match="must end with its closing tag"):
        connect(THEIRS + "<!-- the end -->", RULES)


def test_the_configuration_that_label_studio_returns_is_connected() -> None:
    """What Label Studio stored comes back as a configuration that lacks nothing."""
    labeling = read_labeling(recorded("project")["label_config"])
    assert (labeling.image, labeling.data_key, labeling.missing) == ("image", "image", ())
    assert labeling.defaults == {"patches": 3, "min_size": 40, "max_size": 120, "round": 1}


def test_roi_and_patches_belong_on_one_image() -> None:
    """With two images, an ROI on the one and patches on the other would mean nothing."""
    two = (
        connect(THEIRS, RULES)
        .replace("<View ", "<View ", 1)
        .replace('name="patch" toName="image"', 'name="patch" toName="b"')
    )
    with pytest.raises(SetupError, match="different images"):
        read_labeling(two)


def test_the_configuration_that_we_hand_out_has_just_our_controls() -> None:
    """`label_config/negatives.xml`, for new projects, is what setup would make of it without them."""
    text = (Path(__file__).resolve().parents[2] / "label_config" / "negatives.xml").read_text(encoding="utf-8")
    theirs, _, rest = text.partition("  <Style>")
    before = theirs.replace(' smart="false"', "") + "</View>" + rest.rpartition("</View>")[2]
    assert connect(before, Rules()) == text


# ---------------------------------------------------------------- the smart tool is ours alone


def told(control: str, *, others: str = "") -> str:
    """What becomes of a team's control when live suggestions are added."""
    connected = connect(f'<View><Image name="image" value="$image"/>{others}{control}</View>', RULES)
    head = f'<View><Image name="image" value="$image"/>{others}'
    assert connected.startswith(head)
    return connected[len(head) :].partition("  <Style>")[0]


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        pytest.param('<Brush name="b" toName="image"/>', '<Brush name="b" toName="image" smart="false"/>', id="closed"),
        pytest.param(
            '<Brush name="b" toName="image" />', '<Brush name="b" toName="image" smart="false" />', id="with a space"
        ),
        pytest.param(
            '<Brush\n  name="b"\n  toName="image"\n></Brush>',
            '<Brush\n  name="b"\n  toName="image" smart="false"\n></Brush>',
            id="in several lines",
        ),
        pytest.param(
            "<Polygon toName='image' name='p' hint='\"'/>",
            "<Polygon toName='image' name='p' hint='\"' smart=\"false\"/>",
            id="in single quotes",
        ),
        pytest.param(
            '<Ellipse name="a > b / c" toName="image"></Ellipse>',
            '<Ellipse name="a > b / c" toName="image" smart="false"></Ellipse>',
            id="a name with an angle",
        ),
        pytest.param(
            '<KeyPoint name="k" toName = "&#105;mage"/>',
            '<KeyPoint name="k" toName = "&#105;mage" smart="false"/>',
            id="an image's name in other letters",
        ),
    ],
)
def test_a_drawing_control_gets_one_attribute_however_it_is_written(control: str, expected: str) -> None:
    """Nothing else of the tag changes, not even its white space."""
    assert told(control) == expected


@pytest.mark.parametrize("kind", ["Rectangle", "Ellipse", "Polygon", "Brush", "KeyPoint", "Bitmask", "Vector"])
@pytest.mark.parametrize("ending", ["", "Labels"])
def test_every_drawing_control_leaves_the_smart_tool_to_us(kind: str, ending: str) -> None:
    """With labels or without."""
    control = f'<{kind}{ending} name="b" toName="image"/>'
    assert told(control) == f'<{kind}{ending} name="b" toName="image" smart="false"/>'


@pytest.mark.parametrize(
    "control",
    [
        pytest.param('<Brush name="b" toName="image" smart="true"/>', id="smart"),
        pytest.param('<Brush name="b" toName="image" smartOnly="true"/>', id="smart alone"),
        pytest.param("<Brush name='b' toName='image' smart = 'false'/>", id="not smart"),
        pytest.param('<Brush name="b" toName="image" SMART="true"/>', id="in capitals, which Label Studio reads, too"),
        pytest.param('<!-- <Brush name="b" toName="image"/> -->', id="in a comment"),
        pytest.param('<!-- <Brush name="b" toName="image"> --><!-- </Brush> -->', id="in two comments"),
        pytest.param('<Style><![CDATA[ <Brush name="b" toName="image"/> ]]></Style>', id="in a text"),
        pytest.param('<?note <Brush name="b" toName="image"/> ?>', id="in an instruction"),
        pytest.param('<Choices name="b" toName="image"><Choice value="c"/></Choices>', id="no drawing control"),
        pytest.param('<BrushStroke name="b" toName="image"/>', id="a tag of almost that name"),
        pytest.param('<Header value="Brush toName=image"/>', id="a text about one"),
    ],
)
def test_what_is_no_drawing_control_or_says_so_itself_stays(control: str) -> None:
    """Byte for byte."""
    assert told(control) == control


def test_the_controls_of_another_image_stay() -> None:
    """A stroke on the second picture is a matter of the team's own."""
    control = '<Brush name="b" toName="second"/>'
    assert told(control, others='<Image name="second" value="$other"/>') == control


SPACE = st.sampled_from([" ", "  ", "\n\t"])
ATTRIBUTES = st.lists(
    st.sampled_from(
        [
            'toName="image"',
            "toName='second'",
            'smart="true"',
            "smartonly='true'",
            'hint="a > b"',
            "title='\"/>'",
            'value="&lt;Brush&gt;"',
            "opacity = '0.5'",
        ]
    ),
    unique_by=lambda attribute: attribute.partition("=")[0].strip(),
    max_size=5,
)
KINDS = st.sampled_from(["Brush", "BrushLabels", "Rectangle", "PolygonLabels", "Choices", "Vector", "Brushes", "View"])
ENDS = st.sampled_from(["/>", " />", ">", "\n>"])


@st.composite
def tags(draw: st.DrawFn) -> str:
    """One tag of a team's, in one of the many ways in which XML may be written."""
    kind, end = draw(KINDS), draw(ENDS)
    text = f"<{kind}" + "".join(draw(SPACE) + attribute for attribute in draw(ATTRIBUTES)) + end
    text = text if end.endswith("/>") else f"{text}</{kind}>"
    return f"<!-- {text} -->" if draw(st.integers(0, 4)) == 4 else text


@given(st.lists(tags(), max_size=6).map("\n  ".join))
def test_whatever_a_team_wrote_only_that_attribute_is_new(controls: str) -> None:
    """Taken away again, the text is the old one; and each tool on the picture says whether it is smart."""
    before = f'<View>\n  <Image name="image" value="$image"/>\n  {controls}</View>'
    connected = connect(before, RULES)
    head, _, _ = connected.partition("  <Style>")
    assert head.replace(' smart="false"', "") == before.removesuffix("</View>")
    silent = [
        tag
        for tag in ElementTree.fromstring(connected).iter()
        if tag.tag.removesuffix("Labels") in ("Brush", "Rectangle", "Polygon", "Vector")
        and tag.get("toName") == "image"
        and not {"smart", "smartonly"} & {name.lower() for name, _ in tag.items()}
    ]
    assert silent == []
