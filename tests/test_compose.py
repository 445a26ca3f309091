"""`docker-compose.yml` says nothing that the service, Label Studio or Docker would not understand."""

import ipaddress
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
ENVIRONMENT_EXAMPLE = ROOT / "docker" / "env.example"

# `${NAME:?what to do}`: compose stops with the message where NAME is unset or empty.
REQUIRED = re.compile(r"\$\{(?P<name>\w+):\?(?P<message>[^}]+)\}")

# https://github.com/compose-spec/compose-spec/blob/main/spec.md, as far as this file goes.
TOP_LEVEL_KEYS = {"name", "services", "networks", "volumes"}
SERVICE_KEYS = {
    *(
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "environment",
        "healthcheck",
        "hostname",
        "image",
        "init",
    ),
    *("networks", "ports", "restart", "security_opt", "stop_grace_period", "volumes"),
}
CLOSED_ADDRESSES = [
    *(
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.30.76.255",
        "172.30.78.0",
        "172.30.78.1",
    ),
    *("172.31.255.255", "192.168.1.1", "0.0.0.0", "100.64.0.1", "255.255.255.255"),
    *("::1", "fc00::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "::ffff:172.30.77.10"),
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run to its end, whatever that is."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assignments(path: Path) -> list[tuple[str, str]]:
    """Names and values of a file like `.env`."""
    return re.findall(r"^(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, parsed."""
    document = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def calls(compose: dict[str, Any]) -> dict[str, str]:
    """Subnet and gateway of the network in which Label Studio calls the service."""
    (config,) = compose["networks"]["calls"]["ipam"]["config"]
    assert isinstance(config, dict)
    return config


@pytest.fixture(scope="module")
def bans(compose: dict[str, Any]) -> list[str]:
    """As Label Studio reads them: split at commas, nothing stripped."""
    environment = compose["services"]["label-studio"]["environment"]
    assert environment["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    text = environment["USER_ADDITIONAL_BANNED_SUBNETS"]
    assert isinstance(text, str)
    return text.split(",")


def is_banned(address: str, bans: list[str]) -> bool:
    """As Label Studio decides it: IPv4 lies in no IPv6 network, nor the other way round."""
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(ban) for ban in bans)


def variables(compose: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Service, name and value of every environment variable."""
    for service, definition in compose["services"].items():
        for name, value in definition["environment"].items():
            yield service, name, value


def complaints(compose: dict[str, Any]) -> Iterator[str]:
    """What Docker Compose would stumble over."""
    yield from (f"unknown key {key}" for key in compose.keys() - TOP_LEVEL_KEYS if not key.startswith("x-"))
    for name, service in compose["services"].items():
        yield from (f"{name}: unknown key {key}" for key in service.keys() - SERVICE_KEYS)
        yield from (f"{name}: no network {key}" for key in set(service["networks"]) - compose["networks"].keys())
        for variable, value in service["environment"].items():
            if not isinstance(value, str):
                yield f"{name}: {variable} is not a string"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source not in compose["volumes"] and not (source[0] == "." and (ROOT / source).is_file()):
                yield f"{name}: neither a volume nor a file: {source}"
        for other, dependency in service.get("depends_on", {}).items():
            # All that we wait for is health, so what we wait for must have a check.
            if dependency != {"condition": "service_healthy"}:
                yield f"{name}: no such condition: {dependency}"
            if "healthcheck" not in compose["services"].get(other, {}):
                yield f"{name}: waits for {other}, which is not there or has no health check"


def test_docker_compose_understands_the_file(compose: dict[str, Any], tmp_path: Path) -> None:
    """Keys, references and mounts hold; and where Docker Compose is installed, it says so itself."""
    assert list(complaints(compose)) == []

    filled = tmp_path / "env"
    filled.write_text("".join(f"{name}=0\n" for name, _ in assignments(ENVIRONMENT_EXAMPLE)), encoding="utf-8")
    docker = shutil.which("docker")
    if docker is not None and run(docker, "compose", "version").returncode == 0:
        options = ["--file", str(COMPOSE_FILE), "--env-file", str(filled)]
        answer = run(docker, "compose", *options, "config", "--quiet")
        assert answer.returncode == 0, answer.stderr


def test_the_service_knows_every_variable(compose: dict[str, Any]) -> None:
    """A misspelt `NEGATIVES_…` would stop the service; here it stops the build."""
    from service.config import Settings

    used = {name for _, name, _ in variables(compose) if name.startswith("NEGATIVES_")}
    used |= set(re.findall(r"NEGATIVES_[A-Z_]+", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    used |= {name for name, _ in assignments(ENVIRONMENT_EXAMPLE) if name.startswith("NEGATIVES_")}
    assert used
    assert used <= {"NEGATIVES_" + field.upper() for field in Settings.model_fields}


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    """The same file starts the same software tomorrow."""
    pulled = [service["image"] for service in compose["services"].values() if "build" not in service]
    assert pulled
    for image in pulled:
        assert re.search(r":\d+[\w.-]*$", image), image


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    """Docker opens the firewall for every published port; who wants that says so."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert str(port).startswith("127.0.0.1:"), port


def test_no_secret_has_a_value_in_the_file(compose: dict[str, Any]) -> None:
    """Each comes from outside, and without it nothing starts."""
    secrets = 0
    for service, name, value in variables(compose):
        if re.search(r"PASSWORD|SECRET|TOKEN", name) and value not in ("true", "false"):
            secrets += 1
            assert REQUIRED.fullmatch(value), f"{service}: {name}"
        # The names in braces hold no "@" and no "/", so this finds the password of a URL, braces and all.
        if in_url := re.search(r"://[^:/]*:(?P<password>.*)@", value):
            secrets += 1
            assert REQUIRED.fullmatch(in_url["password"]), f"{service}: {name}"
    assert secrets >= 8


def test_every_reference_is_required_and_in_the_example() -> None:
    """`docker/env.example` asks for exactly what the file needs, and gives none of it away."""
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    assert text.count("${") == len(REQUIRED.findall(text))
    asked = assignments(ENVIRONMENT_EXAMPLE)
    assert {name for name, _ in asked} == {match["name"] for match in REQUIRED.finditer(text)}
    assert {value for _, value in asked} == {""}


def test_the_bans_are_in_force_for_webhooks_and_ml_backends(compose: dict[str, Any]) -> None:
    """Both are on by default, and heed the list (tried with 1.23.2): a hole in it is all that the service needs."""
    environment = compose["services"]["label-studio"]["environment"]
    assert environment.keys() & {"SSRF_PROTECTION_ENABLED", "ML_BLOCK_LOCAL_IP"} == set()


def test_label_studio_may_call_the_network_of_the_service(calls: dict[str, str], bans: list[str]) -> None:
    """Every address that a container there can get; the gateway is the machine outside."""
    subnet = ipaddress.IPv4Network(calls["subnet"])
    banned = [str(address) for address in subnet if is_banned(str(address), bans)]
    assert banned == [calls["gateway"]]


@pytest.mark.parametrize("address", CLOSED_ADDRESSES)
def test_label_studio_may_call_no_other_reserved_address(address: str, bans: list[str]) -> None:
    """What its own list refuses stays refused, to the neighbours of the network."""
    assert is_banned(address, bans)


def test_label_studio_may_call_the_internet(bans: list[str]) -> None:
    """Or no image could be imported."""
    assert not is_banned("8.8.8.8", bans)
    assert not is_banned("2001:4860:4860::8888", bans)


def test_the_bans_are_what_the_script_prints(calls: dict[str, str], bans: list[str]) -> None:
    """Who changes the network makes the list with the script, not by hand."""
    script = ROOT / "docker" / "banned_subnets.py"
    printed = run(sys.executable, str(script), calls["subnet"])
    assert printed.stdout.strip().split(",") == bans


def test_label_studio_reaches_the_service_by_one_address_and_no_database(compose: dict[str, Any]) -> None:
    """A second shared network would give the service a second, banned address; one ban refuses the name."""
    networks = {name: set(service["networks"]) for name, service in compose["services"].items()}
    assert networks["label-studio"] & networks["negatives-web"] == {"calls"}
    assert "calls" not in networks["postgres"]


def test_label_studio_accepts_the_address_of_the_service(compose: dict[str, Any]) -> None:
    """Its form wants a dot in a host name, so the service's name alone is no valid URL."""
    web = compose["services"]["negatives-web"]
    (alias,) = web["networks"]["calls"]["aliases"]
    assert "." in alias
    assert web["environment"]["NEGATIVES_PUBLIC_URL"] == f"http://{alias}:9090"


def test_executors_have_fixed_names_of_their_own(compose: dict[str, Any]) -> None:
    """A restarted process takes up its own jobs, and never another's."""
    built = [service for service in compose["services"].values() if "build" in service]
    names = [service["hostname"] for service in built]
    assert len(set(names)) == len(names) == 2
