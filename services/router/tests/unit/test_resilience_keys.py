"""Keys of a provider: rotated without a restart, and used in turns."""

import os
from collections import Counter

import pytest

from infermesh_common.errors import ResourceExhausted, Unavailable
from infermesh_common.resources.resource_set import ResourceSet, build, parse
from infermesh_common.secrets.facade import Secrets
from infermesh_common.telemetry.metrics import Metrics
from infermesh_common.testing.resources import model, resource
from infermesh_common.testing.secrets import ScriptedSource
from infermesh_router.adapters.outbound.providers.keys import ProviderKeys, keys_in_use
from infermesh_router.application.resource_readiness import Standing
from infermesh_router.domain.resilience.key_ring import RestRules

RULES = RestRules(first_s=30.0, refused_s=60.0, longest_s=300.0)
MODEL = parse(model("m"), "test")
OTHER = parse(model("other"), "test")


class Keys:
    def __init__(self, folder, *weights, auth=False, vault=None):
        self.paths = [folder / f"key-{n}" for n in range(len(weights))]
        for number, path in enumerate(self.paths):
            path.write_text(f"secret-{number}\n")
        refs = [{"file": str(path)} for path in self.paths]
        if vault:
            refs = [{"vault": {"path": "p", "key": str(n)}} for n in range(len(weights))]
        spec = {"keys": [{"secret": ref, "weight": w} for ref, w in zip(refs, weights)]}
        if auth:
            spec = {"auth": refs[0]}
        provider = parse(resource("Provider", "p", baseUrl="http://x/v1", **spec), "test")
        self.metrics = Metrics()
        secrets = Secrets(self.metrics, stale_after_s=60, vault=vault)
        resources = build([("test", provider.model_dump(by_alias=True))], ResourceSet())
        self.refs = keys_in_use(resources)
        secrets.follow(self.refs)
        self.keys = ProviderKeys(provider, RULES, self.metrics, secrets)

    def secrets(self, count, of=MODEL):
        return Counter(self.keys.choose(of).secret for _ in range(count))

    def both(self):
        """The two keys, as calls under way hold them."""
        return sorted(self.keys.choose(MODEL) for _ in range(2))

    def cooldowns(self, why):
        labels = {"provider": "p", "why": why}
        return self.metrics.sample("infermesh_provider_cooldowns_total", labels)


def test_keys_take_calls_by_weight_and_are_counted(tmp_path):
    keys = Keys(tmp_path, 3, 1)
    assert keys.secrets(8) == {"secret-0": 6, "secret-1": 2}
    labels = {"provider": "p", "key": "0"}
    assert keys.metrics.sample("infermesh_provider_key_calls_total", labels) == 6


def test_one_key_alone_and_none_at_all_are_served_as_well(tmp_path):
    assert Keys(tmp_path, 1, auth=True).secrets(2) == {"secret-0": 2}
    assert Keys(tmp_path).secrets(2) == {"": 2}


def test_a_key_without_a_readable_file_is_passed_over_and_none_is_a_clear_error(tmp_path):
    keys = Keys(tmp_path, 5, 1)
    for path in keys.paths:
        path.rename(path.with_suffix(".away"))
    keys.paths[1].write_text("only")
    assert keys.secrets(4) == {"only": 4}
    keys = Keys(tmp_path, 5, 1)
    for path in keys.paths:
        path.unlink()
    with pytest.raises(Unavailable) as caught:
        keys.keys.choose(MODEL)
    assert caught.value.reason == "PROVIDER_KEY_MISSING"
    assert caught.value.message == "The provider p has no readable key (SecretMissing)."
    keys.paths[0].write_text("back")
    assert keys.secrets(1) == {"back": 1}


def test_a_limited_key_rests_for_its_model_and_all_resting_is_said_with_the_earliest_end(tmp_path):
    keys = Keys(tmp_path, 1, 1)
    first, second = keys.both()
    keys.keys.limited(first, MODEL, 20)
    assert keys.secrets(3) == {"secret-1": 3} and keys.keys.is_free(MODEL)
    assert keys.secrets(2, OTHER) == {"secret-0": 1, "secret-1": 1}
    keys.keys.limited(second, MODEL, 8)
    assert not keys.keys.is_free(MODEL)
    with pytest.raises(ResourceExhausted) as caught:
        keys.keys.choose(MODEL)
    assert caught.value.reason == "PROVIDER_KEYS_COOLING"
    assert 0 < caught.value.retry_after_s <= 8
    assert keys.cooldowns("rate_limited") == 2


def test_keys_that_are_all_refused_are_the_meshs_fault_and_not_the_clients_rate(tmp_path):
    keys = Keys(tmp_path, 1, 1)
    for key in keys.both():
        keys.keys.refused(key, MODEL)
    with pytest.raises(Unavailable) as caught:
        keys.keys.choose(OTHER)
    assert caught.value.reason == "PROVIDER_REFUSED_CREDENTIALS"
    assert caught.value.retry_after_s > 0 and keys.cooldowns("refused") == 2


def test_a_rotated_secret_is_used_at_once_though_the_one_before_it_rests(tmp_path):
    keys = Keys(tmp_path, 1)
    old = keys.keys.choose(MODEL)
    keys.keys.limited(old, MODEL, 600)
    fresh = tmp_path / "fresh"
    fresh.write_text("rotated")
    os.replace(fresh, keys.paths[0])
    assert keys.secrets(1) == {"rotated": 1}
    keys.keys.limited(old, MODEL, 600)
    assert keys.secrets(1) == {"rotated": 1}, "a late refusal is of the old one"


def test_an_only_key_that_is_refused_is_tried_again_by_the_next_request(tmp_path):
    keys = Keys(tmp_path, 1)
    assert not keys.keys.refused(keys.keys.choose(MODEL), MODEL)
    assert keys.secrets(1) == {"secret-0": 1}


def test_an_answer_that_uses_the_limit_up_lets_its_key_rest(tmp_path):
    keys = Keys(tmp_path, 1, 1)
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    first, second = keys.both()
    keys.keys.answered(first, MODEL, spent)
    assert keys.secrets(3) == {"secret-1": 3} and keys.cooldowns("exhausted") == 1
    keys.keys.answered(second, MODEL, {"x-ratelimit-remaining-requests": "1"})
    assert keys.secrets(1) == {"secret-1": 1}


def test_keys_of_vault_outlive_it_and_without_one_the_error_says_why(tmp_path):
    vault = ScriptedSource()
    keys = Keys(tmp_path, 1, 1, vault=vault)
    first, second = keys.refs
    vault.fail(first)
    with pytest.raises(Unavailable) as caught:
        keys.keys.choose(MODEL)
    assert caught.value.message.endswith("has no readable key (SecretNotRead, VaultSealed).")
    vault.put(first, "one")
    assert keys.secrets(2) == {"one": 2}
    vault.put(second, "two")
    vault.fail(first)
    assert keys.secrets(2) == {"one": 1, "two": 1}, "what was read last is in use"


def test_a_key_of_vault_that_is_rotated_rests_no_more(tmp_path):
    vault = ScriptedSource()
    keys = Keys(tmp_path, 1, vault=vault)
    vault.put(keys.refs[0], "one")
    keys.keys.limited(keys.keys.choose(MODEL), MODEL, 600)
    vault.put(keys.refs[0], "one")
    assert not keys.keys.is_free(MODEL)
    with pytest.raises(ResourceExhausted):
        keys.keys.choose(MODEL)
    vault.put(keys.refs[0], "two")
    assert keys.secrets(1) == {"two": 1}


def test_keys_that_are_not_let_in_are_known_until_they_are_let_in_or_replaced(tmp_path):
    keys = Keys(tmp_path, 1, auth=True)
    key = keys.keys.choose(MODEL)
    assert keys.keys.standing(failing=False) == Standing(1, 0, 0, False)
    keys.keys.refused(key, MODEL)
    assert keys.keys.standing(failing=True) == Standing(1, 1, 0, True)
    keys.keys.answered(key, MODEL, {})
    assert keys.keys.standing(failing=False).refused == 0
    keys.keys.refused(key, MODEL)
    keys.paths[0].write_text("another-secret")
    assert keys.keys.standing(failing=False).refused == 0


def test_keys_that_rest_are_counted_for_whichever_model(tmp_path):
    keys = Keys(tmp_path, 1, 1)
    first, second = keys.both()
    keys.keys.limited(first, MODEL, None)
    keys.keys.limited(first, OTHER, None)
    assert keys.keys.standing(failing=False) == Standing(2, 0, 1, False)
    keys.keys.refused(second, MODEL)
    assert keys.keys.standing(failing=False) == Standing(2, 1, 2, False)
    assert Keys(tmp_path).keys.standing(failing=False) == Standing(1, 0, 0, False)
