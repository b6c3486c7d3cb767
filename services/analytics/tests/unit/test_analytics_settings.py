"""Settings that would lose the ledger or tell a secret are refused at boot."""

from pathlib import Path

import pytest

from infermesh_analytics.settings import AnalyticsSettings
from infermesh_common.settings import SettingsError, load_settings

CONFIG = """
common:
  server: {{listen_address: "127.0.0.1:0", metrics_address: "127.0.0.1:0"}}
  identity: {{internal_token_file: /secrets/token}}
  redis: {{url: "redis://127.0.0.1:6379/0"}}
  targets: {{router: a, cache: b, governance: c, analytics: d}}
  resources_dir: /resources
analytics:
  database_url: "{url}"
"""


def load(folder: Path, url: str) -> AnalyticsSettings:
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(url=url))
    return load_settings(
        AnalyticsSettings, "analytics", environment={"INFERMESH_CONFIG": str(config)}
    )


@pytest.mark.parametrize("url", ["sqlite:////data/ledger.db", "postgresql+psycopg://u@db/ledger"])
def test_the_defaults_need_nothing_but_a_database(tmp_path: Path, url: str) -> None:
    settings = load(tmp_path, url)
    assert settings.database_url == url
    assert settings.database_password_file is None
    assert settings.consumer.name is None
    assert settings.consumer.batch_events > 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:hunter2@db/ledger",
        "postgresql://user@db/hunter2",
        "mysql://user@db/hunter2",
        "sqlite://",
        "sqlite:///:memory:",
        "hunter2",
    ],
)
def test_a_database_that_cannot_be_meant_is_refused_without_repeating_it(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(SettingsError, match="database_url") as caught:
        load(tmp_path, url)
    assert "hunter2" not in str(caught.value)
