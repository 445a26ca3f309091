from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

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
SHAPES = ("polygon", "ellipse", "brush")
RULES = Rules(patches=7, min_size=30, max_size=90)


def with_control(control: str) -> str:
    """Their configuration with one control more."""
    return THEIRS.replace("</View>", control + "</View>")


def named(xml: str) -> list[str]:
    """The names in a configuration, in the order of their tags."""
    return [name for tag in ElementTree.fromstring(xml.encode()).iter() if (name := tag.get("name"))]


def test_connect_leaves_what_is_there_byte_for_byte() -> None:
    """Everything that a team wrote stays as it was; ours is one insertion before the closing tag."""
    before, closing, after = THEIRS.rpartition("</View>")
    connected = connect(THEIRS, RULES)
    assert connected.startswith(before)
    assert connected.endswith(closing + after)


def test_connect_adds_all_our_controls() -> None:
    """A connected configuration lacks nothing."""
    assert read_labeling(THEIRS).missing == ALL
    assert read_labeling(connect(THEIRS, RULES)).missing == ()


def test_connect_twice_is_connect_once() -> None:
    """Connecting a connected configuration gives the very same text."""
    connected = connect(THEIRS, RULES)
    assert connect(connected, replace(RULES, patches=1)) == connected


@pytest.mark.parametrize("there", ALL)
def test_connect_adds_only_what_is_missing(there: str) -> None:
    """A control of ours that is there already is neither added again nor changed."""
    missing = tuple(name for name in ALL if name != there)
    xml = with_control(controls("image", (there,), RULES))
    connected = connect(xml, replace(RULES, patches=2))
    assert named(connected) == ["image", "label", there, *missing]


def test_the_labels_names_are_the_documented_ones() -> None:
    """ROIs are labelled "Background ROI", patches "Negative patch"; scripts rely on it."""
    root = ElementTree.fromstring(connect(THEIRS, RULES).encode())
    labels = {tag.get("name"): [child.get("value") for child in tag] for tag in root.iter("RectangleLabels")}
    assert labels == {"label": ["Zelle Ä"], "roi": ["Background ROI"], "patch": ["Negative patch"]}


def test_number_fields_show_for_a_selected_roi_only() -> None:
    """The number fields are per region and stand in a view that shows when an ROI is selected, whatever its shape."""
    root = ElementTree.fromstring(connect(THEIRS, RULES, SHAPES).encode())
    (view,) = [tag for tag in root.iter("View") if tag.get("visibleWhen")]
    shows = {name: value for name, value in view.items() if name.startswith("when")}
    every = "Background ROI,Background ROI: polygon,Background ROI: ellipse,Background ROI: brush"
    assert (view.get("visibleWhen"), shows) == ("region-selected", {"whenLabelValue": every})
    assert [(field.get("name"), field.get("perRegion")) for field in view.iter("Number")] == [
        (name, "true") for name in ALL[2:]
    ]


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
    assert added(THEIRS, connected) == list(ALL)
    assert read_labeling(connected).rois == {"roi"}


@pytest.mark.parametrize("shapes", [("polygon",), ("ellipse",), ("brush",), ("brush", "polygon"), SHAPES])
def test_an_roi_may_be_drawn_as_what_is_asked_for(shapes: tuple[str, ...]) -> None:
    """The rectangle always, and each that is asked for, in the one order, whatever was said first."""
    connected = connect(THEIRS, RULES, shapes)
    wanted = [name for shape, name in ROI_SHAPES.items() if shape in ("rectangle", *shapes)]
    assert added(THEIRS, connected) == [*wanted, *ALL[1:]]
    assert read_labeling(connected).rois == set(wanted)
    assert read_labeling(connected).missing == ()


def test_every_control_for_an_roi_says_what_it_draws() -> None:
    """Each of the tag that draws it, under a label that tells them apart; the number fields show by these."""
    root = ElementTree.fromstring(connect(THEIRS, RULES, SHAPES).encode())
    labels = {tag.get("name"): (tag.tag, [child.get("value") for child in tag]) for tag in root}
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
    assert after.startswith(before.rpartition("</View>")[0])
    assert connect(after, RULES, [shape, shape]) == after


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
    assert read_labeling(connect(with_control(taken), RULES)).rois == {"roi"}


def test_without_saying_so_a_labeling_has_the_rectangle() -> None:
    """Which every connected project has."""
    assert Labeling("image", "image").rois == {"roi"}


@pytest.mark.parametrize("xml", ["", "no xml", "<View>", "<View><Image></View>", "<View/><View/>"])
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
    """`label_config/negatives.xml`, for new projects, is what setup would make of it."""
    text = (Path(__file__).resolve().parents[2] / "label_config" / "negatives.xml").read_text(encoding="utf-8")
    labeling = read_labeling(text)
    assert labeling.missing == ()
    assert controls(labeling.image, ALL, Rules()) in text
