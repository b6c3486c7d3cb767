"""Settings are read once, in layers; what is wrong is named, and no value is shown."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infermesh_common.settings import (
    CommonSettings,
    Settings,
    SettingsError,
    TelemetrySettings,
    load_settings,
    read_secret,
)

pytestmark = pytest.mark.usefixtures("probe_packages")
SECRET = "hunter2"
Document = dict[str, object]


class Limits(Settings):
    depth: int
    width: int


class ProbeSettings(CommonSettings):
    greeting: str
    limits: Limits


def deployment(**common: object) -> Document:
    """What no default states."""
    targets = dict.fromkeys(("router", "cache", "governance", "analytics"), "127.0.0.1:1")
    return {
        "server": {"listen_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"},
        "identity": {"internal_token_file": "/run/token"},
        "redis": {"url": "redis://127.0.0.1:1/0"},
        "targets": targets,
        "resources_dir": "/resources",
        **common,
    }


def load(folder: Path, content: object, **environment: str) -> ProbeSettings:
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    file = folder / "infermesh.yaml"
    file.write_text(text)
    return load_settings(
        ProbeSettings, "probe", environment={"INFERMESH_CONFIG": str(file), **environment}
    )


def refusal(folder: Path, content: object, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, content, **environment)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)
    return str(caught.value)


def test_each_layer_overrides_the_one_before_it(tmp_path: Path) -> None:
    base = load(tmp_path, {"common": deployment()})
    assert base.breaker.failure_threshold == 5  # infermesh_common/defaults.yaml
    assert base.server.reflection is False  # the service's defaults over those
    assert (base.greeting, base.limits.depth) == ("hello", 3)

    common = deployment(breaker={"failure_threshold": 6}, limits={"depth": 4})
    by_common = load(tmp_path, {"common": common})
    assert (by_common.breaker.failure_threshold, by_common.limits.depth) == (6, 4)
    assert by_common.breaker.open_ms == base.breaker.open_ms
    assert by_common.limits.width == 4

    service = {"breaker": {"failure_threshold": 7}, "greeting": "good day"}
    by_service = load(tmp_path, {"common": common, "probe": service, "other": {"greeting": "x"}})
    assert (by_service.breaker.failure_threshold, by_service.greeting) == (7, "good day")
    assert by_service.limits.depth == 4

    by_environment = load(
        tmp_path,
        {"common": common, "probe": service},
        INFERMESH_PROBE__BREAKER__FAILURE_THRESHOLD="8",
        INFERMESH_PROBE__GREETING="good evening",
        INFERMESH_PROBE__REDIS__PASSWORD_FILE="/run/redis",
        INFERMESH_OTHER__GREETING="x",
    )
    assert by_environment.breaker.failure_threshold == 8
    assert by_environment.breaker.open_ms == base.breaker.open_ms
    assert by_environment.greeting == "good evening"
    assert by_environment.redis.password_file == Path("/run/redis")


def test_the_environment_alone_will_do() -> None:
    names = {
        "SERVER__LISTEN_ADDRESS": "127.0.0.1:0",
        "SERVER__METRICS_ADDRESS": "127.0.0.1:0",
        "IDENTITY__INTERNAL_TOKEN_FILE": "/run/token",
        "REDIS__URL": "redis://127.0.0.1:1/0",
        "RESOURCES_DIR": "/resources",
        **{f"TARGETS__{name}": "x:1" for name in ("ROUTER", "CACHE", "GOVERNANCE", "ANALYTICS")},
    }
    environment = {f"INFERMESH_PROBE__{name}": value for name, value in names.items()}
    settings = load_settings(ProbeSettings, "probe", environment=environment)
    assert settings.redis.url == "redis://127.0.0.1:1/0"


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    common = deployment()
    del common["redis"]
    assert refusal(tmp_path, {"common": common}) == "settings of probe: redis.url: Field required"


def test_an_unknown_field_is_named_without_its_value(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"common": deployment(), "probe": {"limits": {"dept": SECRET}}})
    assert message == "settings of probe: limits.dept: Extra inputs are not permitted"


def test_a_mistyped_field_is_named_without_its_value(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, {"common": deployment(), "probe": {"limits": {"depth": SECRET}, "greeting": [1]}}
    )
    assert "limits.depth: " in message and "greeting: " in message


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_section_that_says_nothing_changes_nothing(tmp_path: Path, nothing: object) -> None:
    plain = load(tmp_path, {"common": deployment()})
    assert load(tmp_path, {"common": deployment(limits={}), "probe": nothing}) == plain


@pytest.mark.parametrize("wrong", [SECRET, [SECRET], 7])
def test_a_section_that_is_no_mapping_is_an_error(tmp_path: Path, wrong: object) -> None:
    assert refusal(tmp_path, {"common": wrong}) == "common must hold a mapping"
    assert refusal(tmp_path, {"common": deployment(), "probe": wrong}).startswith("probe must hold")
    assert "limits: " in refusal(tmp_path, {"common": deployment(), "probe": {"limits": wrong}})
    assert refusal(tmp_path, yaml.safe_dump(wrong)).endswith("must hold a mapping")


@pytest.mark.parametrize(
    "text",
    [
        f"common: {{password: {SECRET}",
        f"common: *{SECRET}",
        f"common: !{SECRET} x",
        f"common: \t{SECRET}: x",
        f"common: {{day: 2024-99-99, password: {SECRET}}}",
        "[" * 50_000,
    ],
)
def test_a_file_that_is_no_yaml_is_named_without_quoting_it(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)
    assert "infermesh.yaml is not valid YAML" in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a folder.yaml").mkdir()
    for path in (tmp_path / "missing.yaml", tmp_path / "a folder.yaml"):
        with pytest.raises(SettingsError, match=f"INFERMESH_CONFIG names {path}: "):
            load_settings(ProbeSettings, "probe", environment={"INFERMESH_CONFIG": str(path)})
    (tmp_path / "latin").write_bytes(b"common: \xff")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        load_settings(
            ProbeSettings, "probe", environment={"INFERMESH_CONFIG": str(tmp_path / "latin")}
        )


def test_of_a_directory_every_yaml_counts_and_later_names_override(tmp_path: Path) -> None:
    files = {
        "10-base.yaml": {"common": deployment(), "probe": {"greeting": "first"}},
        "90-own.yaml": {"probe": {"greeting": "last"}},
        "notes.txt": {"probe": {"greeting": "none"}},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    loaded = load_settings(ProbeSettings, "probe", environment={"INFERMESH_CONFIG": str(tmp_path)})
    assert loaded.greeting == "last"
    assert loaded.redis.url == "redis://127.0.0.1:1/0"


def test_a_variable_that_is_no_yaml_is_named_without_its_value(tmp_path: Path) -> None:
    name = "INFERMESH_PROBE__GREETING"
    for value in (f"*{SECRET}", f"@{SECRET}", "2024-99-99"):
        message = refusal(tmp_path, {"common": deployment()}, **{name: value})
        assert message.startswith(f"{name} is not valid YAML")


def test_a_variable_may_contradict_another_without_a_crash(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {"common": deployment()},
        INFERMESH_PROBE__LIMITS="7",
        INFERMESH_PROBE__LIMITS__DEPTH="8",
        INFERMESH_PROBE__LIMITS__WIDTH="9",
    )
    assert (settings.limits.depth, settings.limits.width) == (8, 9)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path, {"common": deployment()})
    with pytest.raises(ValidationError):
        setattr(settings, "greeting", "other")


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("server", "max_concurrent_rpcs", 0),
        ("server", "drain_ms", -1),
        ("redis", "operation_timeout_ms", 0),
        ("breaker", "failure_threshold", 0),
        ("telemetry", "log_level", "LOUD"),
        ("telemetry", "trace_sample_ratio", 1.5),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_at_boot(
    tmp_path: Path, section: str, field: str, value: object
) -> None:
    message = refusal(tmp_path, {"common": deployment(), "probe": {section: {field: value}}})
    assert message.startswith(f"settings of probe: {section}.{field}: ")


@given(ratio=st.floats(allow_nan=True))
def test_a_sample_ratio_is_a_ratio(ratio: float) -> None:
    values = {
        "log_level": "INFO",
        "log_flush_interval_ms": 0,
        "otlp_endpoint": None,
        "trace_sample_ratio": ratio,
    }
    if 0 <= ratio <= 1:
        assert TelemetrySettings.model_validate(values).trace_sample_ratio == ratio
    else:
        with pytest.raises(ValidationError):
            TelemetrySettings.model_validate(values)


def test_a_secret_is_read_without_white_space(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"\n {SECRET}\n\n")
    assert read_secret(file) == SECRET


def test_a_secret_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(SettingsError, match=f"secret file {file}: No such file"):
        read_secret(file)
    file.write_text(" \n")
    with pytest.raises(SettingsError, match="is empty"):
        read_secret(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_secret(file)


@pytest.mark.parametrize(
    "places",
    [
        {"resources_dir": None, "resources_namespace": None},
        {"resources_dir": "/resources", "resources_namespace": "mesh"},
    ],
    ids=["nowhere", "two places"],
)
def test_resources_have_exactly_one_place(tmp_path: Path, places: Document) -> None:
    said = refusal(tmp_path, {"common": deployment(**places)})
    assert "give either resources_dir or resources_namespace" in said


def test_resources_may_be_those_of_a_namespace(tmp_path: Path) -> None:
    places = {"resources_dir": None, "resources_namespace": "mesh"}
    settings = load(tmp_path, {"common": deployment(**places)})
    assert (settings.resources_dir, settings.resources_namespace) == (None, "mesh")
