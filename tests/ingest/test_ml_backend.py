"""Label Studio's ML backend protocol, over HTTP, without a network; what it sends was recorded."""

import json
from base64 import b64encode
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from service.domain.model import Rules
from service.domain.work import Work
from service.ingest.ml_backend import NOTHING_TO_DO
from service.web import create_app
from tests.ingest.test_webhook import UnreadBody
from tests.payloads import recorded

Json = dict[str, Any]
SECRET = "a secret of 8 or more"
LIMIT = 60_000


def take(_work: Work) -> None:
    """A stroke puts no work in."""
    raise AssertionError


def backend(*, secret: str = SECRET, basic_auth: bool = True, rules: Rules | None = None) -> FlaskClient:
    """Label Studio's side."""
    return create_app(
        secret=secret, put=take, max_webhook_bytes=LIMIT, rules=rules or Rules(), basic_auth=basic_auth
    ).test_client()


def signed(user: str = "negatives", password: str = SECRET, encoding: str = "utf-8") -> dict[str, str]:
    """The header of who signs in so."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode(encoding)).decode()}


@pytest.fixture
def client() -> FlaskClient:
    """Label Studio's side."""
    return backend()


def ask(client: FlaskClient, body: object, path: str = "/predict") -> TestResponse:
    """A call, signed in."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, data=data, headers=signed())


def told(answer: TestResponse) -> Json:
    """What is answered, as strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: Json = json.loads(answer.text, parse_constant=refuse)
    return found


def regions(answer: TestResponse) -> list[Json]:
    """The regions that are suggested."""
    (result,) = told(answer)["results"]
    assert result["model_version"] == "negatives"
    found: list[Json] = result["result"]
    return found


# ---------------------------------------------------------------- who may ask

GUARDED = [("POST", "/setup"), ("GET", "/versions"), ("POST", "/predict")]
WRONG = {
    "nobody": {},
    "an empty header": {"Authorization": ""},
    "a name alone": signed(password=""),
    "another name": signed(user="admin"),
    "no name": signed(user=""),
    "another password": signed(password="a secret of 8 or less"),
    "its beginning": signed(password=SECRET[:-1]),
    "with more behind": signed(password=f"{SECRET}!"),
    "in capitals": signed(password=SECRET.upper()),
    "name and password changed about": signed(user=SECRET, password="negatives"),
    "another letter for each that Latin-1 lacks": signed(password="?" * len(SECRET)),
    "a token": {"Authorization": f"Bearer {SECRET}"},
    "another scheme": {"Authorization": signed()["Authorization"].replace("Basic", "Digest")},
    "no scheme": {"Authorization": signed()["Authorization"].removeprefix("Basic ")},
    "no base64": {"Authorization": "Basic negatives"},
    "not ASCII": {"Authorization": "Basic nägatives"},
    "the webhook's header": {"X-Negatives-Secret": SECRET},
}


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
def test_who_doesn_t_sign_in_is_refused(client: FlaskClient, method: str, path: str, headers: dict[str, str]) -> None:
    """401, and how to sign in."""
    answer = client.open(path, method=method, headers=headers, data=b"{}")
    assert (answer.status_code, list(told(answer))) == (401, ["error"])
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_a_refusal_repeats_no_secret(client: FlaskClient) -> None:
    """Neither what was sent nor what was wanted."""
    text = client.post("/predict", headers=signed(password="guess-4711")).text
    assert ("4711" in text, SECRET in text) == (False, False)


def test_a_stranger_s_body_is_not_read(client: FlaskClient) -> None:
    """Who doesn't know the secret makes us neither read nor parse."""
    body = UnreadBody(b"{}")
    client.post("/predict", input_stream=body, content_length=2)
    assert not body.was_read


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_who_signs_in_is_answered(client: FlaskClient, method: str, path: str) -> None:
    """As the user that setup registers."""
    body = json.dumps(recorded("predict_task_opened")).encode()
    assert client.open(path, method=method, headers=signed(), data=body).status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_scheme_s_case_makes_no_difference(client: FlaskClient, scheme: str) -> None:
    """As RFC 9110 has it."""
    headers = {"Authorization": signed()["Authorization"].replace("Basic", scheme)}
    assert client.get("/versions", headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_network_of_one_s_own_may_go_without_signing_in(method: str, path: str) -> None:
    """If the settings say so."""
    body = json.dumps(recorded("predict_task_opened")).encode()
    assert backend(basic_auth=False).open(path, method=method, data=body).status_code == 200


# ---------------------------------------------------------------- what Label Studio calls beside


def test_recorded_setup_is_answered_with_the_version(client: FlaskClient) -> None:
    """Label Studio takes it for the model's name."""
    answer = ask(client, recorded("ml_setup"), "/setup")
    assert (answer.status_code, told(answer)) == (200, {"model_version": "negatives"})


def test_there_is_one_version(client: FlaskClient) -> None:
    """The one of our predictions."""
    assert told(client.get("/versions", headers=signed())) == {"versions": ["negatives"]}


@pytest.mark.parametrize("name", NOTHING_TO_DO)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_else_label_studio_may_call_does_nothing(client: FlaskClient, name: str, method: str) -> None:
    """It is fine, without signing in (Label Studio's own webhook doesn't), and says so; work is put in by ours."""
    answer = client.open(f"/{name}", method=method, data=b'{"action": "ANNOTATION_CREATED"}')
    assert (answer.status_code, list(told(answer))) == (200, ["ignored"])


def test_all_that_label_studio_calls_is_there(client: FlaskClient) -> None:
    """Every address that version 1.23.2 puts together for an ML backend (`ml/api_connector.py`)."""
    called = {"health", "setup", "versions", "predict", "webhook", "train", "validate", "job_status", "delete"}
    called |= {"duplicate_model"}
    assert {name for name in called if client.get(f"/{name}").status_code == 404} == set()


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("GET", "/setup"), ("POST", "/versions")])
def test_another_method_is_refused_as_json(client: FlaskClient, method: str, path: str) -> None:
    """405."""
    answer = client.open(path, method=method, headers=signed())
    assert (answer.status_code, list(told(answer))) == (405, ["error"])


# ---------------------------------------------------------------- strokes


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("predict_stroke", ["roi", *["patch"] * 3, "roi_answer"]),
        ("predict_two_strokes", ["roi", *["patch"] * 3, "roi", *["patch"] * 3, "roi_answer"]),
        ("predict_other_patches", ["roi", "patches", "round", *["patch"] * 7, "roi_answer"]),
    ],
)
def test_recorded_strokes_get_their_patches(client: FlaskClient, name: str, controls: list[str]) -> None:
    """As many as the project's configuration says, or the stroke's own field."""
    answer = ask(client, recorded(name))
    assert (answer.status_code, [region["from_name"] for region in regions(answer)]) == (200, controls)


@pytest.mark.parametrize("name", ["predict_stroke", "predict_two_strokes", "predict_other_patches"])
def test_an_answer_fits_the_project_s_configuration(client: FlaskClient, name: str) -> None:
    """Every region's control is there, draws on that image, is of that type and has these labels; else Label Studio
    would drop it, or stumble.
    """
    request = recorded(name)
    tags = {tag.get("name"): tag for tag in ElementTree.fromstring(request["label_config"]).iter() if tag.get("name")}
    for region in regions(ask(client, request)):
        tag = tags[region["from_name"]]
        assert (region["to_name"], region["type"]) == (tag.get("toName"), tag.tag.lower())
        labels = region["value"]["rectanglelabels"] if region["type"] == "rectanglelabels" else []
        assert set(labels) <= {child.get("value") for child in tag}


def test_a_task_that_was_merely_opened_gets_nothing(client: FlaskClient) -> None:
    """Not even an empty prediction: Label Studio would store it."""
    assert told(ask(client, recorded("predict_task_opened"))) == {"results": []}


@pytest.mark.parametrize("context", [{}, {"result": []}, {"result": None}, {"something": "new"}])
def test_where_nothing_was_drawn_there_is_a_result_without_regions(client: FlaskClient, context: Json) -> None:
    """Not an empty one: that would be accepted, and with it Label Studio deletes what was drawn with a smart tool."""
    answer = ask(client, {**recorded("predict_stroke"), "params": {"context": context}})
    assert told(answer)["results"] == [{"result": None, "model_version": "negatives"}]


def test_what_isnt_ours_to_answer_goes_back_as_it_is(client: FlaskClient) -> None:
    """A cell that was drawn with the team's own smart tool stays."""
    request = recorded("predict_stroke")
    (drawn,) = request["params"]["context"]["result"]
    drawn |= {"from_name": "label", "type": "rectanglelabels"}
    assert regions(ask(client, request)) == [drawn]


def test_the_settings_rules_hold_where_nothing_else_says_otherwise() -> None:
    """A configuration without defaults leaves them to the settings."""
    request = recorded("predict_stroke")
    request["label_config"] = request["label_config"].replace("defaultValue", "hint")
    answer = ask(backend(rules=Rules(patches=2, min_size=20, max_size=30)), request)
    sides = [region["value"]["width"] * 6.4 for region in regions(answer) if region["from_name"] == "patch"]
    assert (len(sides), max(sides) < 30.5) == (2, True)


def test_the_same_stroke_gets_the_same_answer(client: FlaskClient) -> None:
    """From any process, at any time, whatever Label Studio calls the region."""
    request = recorded("predict_stroke")
    first = regions(ask(client, request))
    request["params"]["context"]["result"][0]["id"] = "another"
    assert regions(ask(backend(), request)) == first


def test_a_stroke_where_patches_wait_in_the_draft_gets_others(client: FlaskClient) -> None:
    """The very place of an ROI that was accepted and isn't submitted yet: nothing is offered twice."""
    request = recorded("predict_stroke")
    draft = request["tasks"][0]["drafts"][0]["result"]
    (area,) = [region for region in draft if region["id"].startswith("live_")]
    request["params"]["context"]["result"][0]["value"] |= {
        key: area["value"][key] for key in ("x", "y", "width", "height")
    }
    there = {region["id"] for region in draft if region["from_name"] == "patch"}
    offered = {region["id"] for region in regions(ask(client, request)) if region["from_name"] == "patch"}
    assert (bool(offered), len(there), offered & there) == (True, 3, set())


BROKEN = {
    "a region that is none": "region",
    "an object of unknown extent": {"id": "odd", "type": "cuboidlabels", "to_name": "image", "value": {"faces": [1]}},
    "a place that is none": {"id": "odd", "type": "polygonlabels", "to_name": "image", "value": {"points": "here"}},
    "a place that no image has": {
        "id": "odd",
        "type": "rectanglelabels",
        "to_name": "image",
        "value": {"x": 1e300, "y": 1, "width": 1, "height": 1},
    },
}


@pytest.mark.parametrize("region", BROKEN.values(), ids=BROKEN.keys())
def test_labels_that_can_t_be_read_are_told_with_the_roi(client: FlaskClient, region: object) -> None:
    """The stroke comes back with the sentence, and with no patch: nothing could be proved."""
    request = recorded("predict_stroke")
    size = {"original_width": 640, "original_height": 480}
    request["tasks"][0]["annotations"][0]["result"] = [region | size if isinstance(region, dict) else region]
    area, line = regions(ask(client, request))
    assert (area["from_name"], line["from_name"]) == ("roi", "roi_answer")
    assert area["meta"]["text"] == line["value"]["text"]
    assert line["value"]["text"][0].startswith("No patches: annotation 5")


@pytest.mark.parametrize("image", ["http://[", "http://[/a.jpg?key=4711", "\ud800"])
def test_an_address_that_is_none_is_told_with_the_roi(client: FlaskClient, image: str) -> None:
    """What patches remember their image by can't be made of it."""
    request = recorded("predict_stroke")
    request["tasks"][0]["data"]["image"] = image
    (sentence,) = regions(ask(client, request))[-1]["value"]["text"]
    assert sentence == "No patches: the address of its image can't be read: something in it has no sense."


# ---------------------------------------------------------------- what is no request


def test_a_body_above_the_limit_is_refused_as_json(client: FlaskClient) -> None:
    """413, before it fills the memory."""
    answer = ask(client, {**recorded("predict_stroke"), "padding": "x" * LIMIT})
    assert (answer.status_code, list(told(answer))) == (413, ["error"])


def nested(depth: int) -> bytes:
    """A request whose standing prediction holds lists within lists."""
    request = recorded("predict_stroke")
    standing = {"id": 1, "model_version": "negatives", "updated_at": "2026-03-01T12:00:00Z"}
    region = {**request["params"]["context"]["result"][0], "from_name": "roi"}
    region["value"]["more"] = "HERE"
    request["tasks"][0]["predictions"] = [{**standing, "result": [region]}]
    return json.dumps(request).replace('"HERE"', "[" * depth + "]" * depth).encode()


NO_REQUESTS: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"tasks=1",
    "half of it": json.dumps(recorded("predict_stroke")).encode()[:-10],
    "no UTF-8": b'{"tasks": "\xff\xfe"}',
    "an endless number": b'{"tasks": ' + b"1" * 5000 + b"}",
    "deeply nested": b"[" * 10_000,
    "a list": [recorded("predict_task_opened")],
    "a text": "predict",
    "nothing in it": {"params": {"context": {}}},
    "tasks that are an object": {**recorded("predict_stroke"), "tasks": {"id": 1}},
    "a task that is a list": {**recorded("predict_stroke"), "tasks": [[]]},
    "params that are a list": {**recorded("predict_stroke"), "params": [1]},
    "a context that is a list": {**recorded("predict_stroke"), "params": {"context": [1]}},
    "a configuration that is none": {**recorded("predict_stroke"), "label_config": "\ud800"},
}


@pytest.mark.parametrize("body", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_what_is_no_request_is_refused(client: FlaskClient, body: Any) -> None:
    """422 with a sentence."""
    answer = ask(client, body)
    assert (answer.status_code, list(told(answer))) == (422, ["error"])


@pytest.mark.parametrize("depth", [300, 600, 990])
def test_what_is_nested_where_it_is_read_never_trips_us(client: FlaskClient, depth: int) -> None:
    """How deep is too deep is Python's to say."""
    assert ask(client, nested(depth)).status_code in (200, 422)


def places(found: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in JSON: the keys that lead to it."""
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


PLACES = [place for place in places(recorded("predict_stroke")) if place]
ODDS: list[Any] = [
    *(None, True, 0, -1, 7, 0.5, 1e12, 1e308, 10**30, -(10**30), float("inf"), float("nan")),
    *("", "x", "\ud800", "http://[", "neg_1", "live_1", "roi", "patch", "roi_live", "number"),
    *([], {}, [1], ["x"], [[]], {"a": 1}),
]
ODD: st.SearchStrategy[Any] = st.sampled_from(ODDS)
json_values = st.recursive(
    ODD | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("odd", ODDS, ids=repr)
def test_nonsense_in_any_one_place_never_trips_us(odd: Any) -> None:
    """Every place in turn: an id that is a list, a picture's width without end, labels that are a number."""
    client = backend()
    for *way, last in PLACES:
        request = recorded("predict_stroke")
        inner = request
        for key in way:
            inner = inner[key]
        inner[last] = deepcopy(odd)
        answer = ask(client, request)
        assert answer.status_code in (200, 409, 413, 422), (*way, last)
        assert list(told(answer)) in (["results"], ["error"]), (*way, last)


@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD | json_values), min_size=1, max_size=4))
def test_nonsense_anywhere_never_trips_us(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Whatever stands wherever: regions or a refusal, in JSON that any browser reads, never a 500."""
    request = recorded("predict_stroke")
    for (*way, last), odd in changes:
        inner = request
        try:
            for key in way:
                inner = inner[key]
            inner[last] = deepcopy(odd)
        except (LookupError, TypeError):
            continue  # another change took away what this one is about
    answer = ask(backend(), request)
    assert answer.status_code in (200, 409, 413, 422)
    assert list(told(answer)) in (["results"], ["error"])
