"""What is generated: settings of the services, resources, configurations of the programs."""

import configparser
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from infermesh_analytics.settings import AnalyticsSettings
from infermesh_cache.settings import CacheSettings, MilvusSettings
from infermesh_common.prices import PriceBook
from infermesh_common.resources.resource_set import ResourceSet, build
from infermesh_common.settings import CommonSettings, load_settings, read_secret
from infermesh_governance.settings import GovernanceSettings
from infermesh_local import LocalSettings, StateUnusable
from infermesh_local.blueprint import MeshBlueprint
from infermesh_local.config_file import SERVICES
from infermesh_local.layout import StateLayout
from infermesh_local.processes import RunContext
from infermesh_local.supervisor_config import render
from infermesh_router.settings import RouterSettings
from pydantic import SecretStr

KINDS: dict[str, type[CommonSettings]] = {
    "governance": GovernanceSettings,
    "cache": CacheSettings,
    "analytics": AnalyticsSettings,
    "router": RouterSettings,
}


@pytest.fixture
def context(settings: LocalSettings, tmp_path: Path) -> RunContext:
    """A run whose files are not written yet."""
    layout = StateLayout.at(tmp_path / "state")
    layout.create()
    names = [*MeshBlueprint().port_names, "public"]
    return RunContext(layout, settings, {name: 20000 + n for n, name in enumerate(names)})


def resources_of(context: RunContext) -> ResourceSet:
    """The resources as the services read them."""
    documents = [
        (path.name, document)
        for path in sorted(context.layout.resources.iterdir())
        for document in yaml.safe_load_all(path.read_text())
    ]
    return build(documents, ResourceSet())


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_accepts_its_settings(context: RunContext, service: str) -> None:
    MeshBlueprint().prepare(context)
    environment = MeshBlueprint().common_env(context)
    settings = load_settings(KINDS[service], service, environment=environment)
    port = context.ports[service]
    assert settings.server.listen_address == f"127.0.0.1:{port}"
    assert settings.server.metrics_address.startswith("127.0.0.1:")
    assert getattr(settings.targets, service) == f"127.0.0.1:{port}"
    assert settings.resources_dir == context.layout.resources
    assert settings.redis.url == f"redis://127.0.0.1:{context.ports['redis']}/0"
    assert read_secret(settings.identity.internal_token_file)


def test_milvus_runs_and_is_known_to_the_cache_when_it_is_wanted(context: RunContext) -> None:
    def names(context: RunContext) -> list[str]:
        stages = MeshBlueprint().stages(context)
        return [process.name for stage in stages for process in stage]

    def milvus(context: RunContext) -> MilvusSettings | None:
        MeshBlueprint().prepare(context)
        environment = MeshBlueprint().common_env(context)
        return load_settings(CacheSettings, "cache", environment=environment).vectors.milvus

    assert "milvus" not in names(context) and milvus(context) is None
    wanted = replace(context, settings=context.settings.model_copy(update={"milvus": True}))
    assert names(wanted)[:2] == ["redis", "milvus"]
    found = milvus(wanted)
    assert found is not None and found.uri == f"http://127.0.0.1:{context.ports['milvus']}"


def test_listeners_of_all_services_differ(context: RunContext) -> None:
    MeshBlueprint().prepare(context)
    values = yaml.safe_load(context.layout.config_file.read_text())
    addresses = [a for service in SERVICES for a in values[service]["server"].values()]
    assert len(set(addresses)) == 2 * len(SERVICES)


def test_secrets_stand_in_private_files_and_nowhere_else(context: RunContext) -> None:
    blueprint = MeshBlueprint()
    blueprint.prepare(context)
    files = sorted(context.layout.secrets.iterdir())
    assert len(files) == 6
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    secrets = [path.read_text().strip() for path in files]
    config = render(context, blueprint.stages(context))
    texts = {"supervisord": config, "infermesh.yaml": context.layout.config_file.read_text()}
    texts |= {path.name: path.read_text() for path in context.layout.resources.iterdir()}
    for where, text in texts.items():
        assert not [secret for secret in secrets if secret in text], where
    redis = context.layout.run / "redis.conf"
    assert (context.layout.secrets / "redis-password").read_text().strip() in redis.read_text()
    assert stat.S_IMODE(redis.stat().st_mode) == 0o600


def test_secrets_stay_the_same_from_start_to_start(context: RunContext) -> None:
    MeshBlueprint().prepare(context)
    before = {path: path.read_text() for path in context.layout.secrets.iterdir()}
    MeshBlueprint().prepare(context)
    assert before == {path: path.read_text() for path in context.layout.secrets.iterdir()}


def test_the_resources_are_whole(context: RunContext) -> None:
    MeshBlueprint().prepare(context)
    resources = resources_of(context)
    assert resources.faults == ()
    assert set(resources.tenants) == {"demo", "acme"}
    assert set(resources.models) == {"smollm2-135m"}
    provider = resources.providers["local"].spec
    assert provider.base_url == f"http://127.0.0.1:{context.ports['model']}/v1"
    assert provider.auth is not None and read_secret(Path(provider.auth.file or ""))
    for key in resources.api_keys.values():
        assert read_secret(Path(key.spec.secret_ref.file or "")).startswith("im_")


def test_the_price_of_the_own_model_names_its_source(context: RunContext) -> None:
    MeshBlueprint().prepare(context)
    overlay = resources_of(context).models["smollm2-135m"].spec.pricing.overlay
    assert overlay is not None and "estimate for this machine" in overlay.source
    assert overlay.input and overlay.output and overlay.cached_input is not None


def test_what_the_user_changed_or_deleted_stays_so(context: RunContext) -> None:
    MeshBlueprint().prepare(context)
    tenants = context.layout.resources / "tenants.yaml"
    local = context.layout.resources / "generated-local.yaml"
    tenants.write_text("# mine\n")
    (context.layout.resources / "policies.yaml").unlink()
    local.write_text("# mine\n")
    MeshBlueprint().prepare(context)
    assert tenants.read_text() == "# mine\n"
    assert not (context.layout.resources / "policies.yaml").exists()
    assert "kind: Provider" in local.read_text()


def test_openai_is_offered_exactly_while_there_is_a_key(context: RunContext) -> None:
    with_key = RunContext(
        context.layout,
        context.settings.model_copy(update={"openai_api_key": SecretStr("sk-secret")}),
        context.ports,
    )
    declared = context.layout.resources / "generated-openai.yaml"
    key_file = context.layout.secrets / "openai-api-key"
    MeshBlueprint().prepare(with_key)
    resources = resources_of(context)
    assert resources.faults == ()
    auth = resources.providers["openai"].spec.auth
    assert auth is not None and auth.file == str(key_file)
    assert key_file.read_text() == "sk-secret\n"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert {"gpt-4o-mini", "gpt-4.1-mini", "text-embedding-3-small"} <= set(resources.models)
    assert "sk-secret" not in declared.read_text()
    MeshBlueprint().prepare(context)
    assert not declared.exists() and not key_file.exists()


def test_every_model_of_openai_has_a_price(context: RunContext) -> None:
    settings = context.settings.model_copy(update={"openai_api_key": SecretStr("sk")})
    MeshBlueprint().prepare(RunContext(context.layout, settings, context.ports))
    models = resources_of(context).models
    book = PriceBook(models)
    assert [name for name in models if book.price(name) is None] == []


def test_supervisord_starts_nothing_by_itself_and_stops_the_last_first(
    context: RunContext,
) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(render(context, MeshBlueprint().stages(context)))
    programs = [name for name in parser.sections() if name.startswith("program:")]
    names = [name.removeprefix("program:") for name in programs]
    assert (names[0], names[1], names[-2], names[-1]) == ("redis", "governance", "router", "envoy")
    priorities = [parser.getint(name, "priority") for name in programs]
    assert priorities == sorted(priorities) and len(set(priorities)) == len(priorities)
    for name in programs:
        assert not parser.getboolean(name, "autostart")
        assert parser.getboolean(name, "autorestart")
        assert parser.getboolean(name, "killasgroup") and parser.getboolean(name, "stopasgroup")
    grace_s = context.settings.stop_grace_ms / 1000
    assert parser.getint("program:router", "stopwaitsecs") > grace_s


def test_an_argument_that_supervisord_cannot_be_given_is_refused(context: RunContext) -> None:
    stages = MeshBlueprint().stages(context)
    redis = stages[0][0]
    strange = type(redis)("redis", ("redis-server", "50%"), redis.ready)
    with pytest.raises(StateUnusable, match="percent"):
        render(context, [[strange]])
