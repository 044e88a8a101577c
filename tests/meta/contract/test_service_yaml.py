"""Does the service YAML know every service and every request_id?"""

from __future__ import annotations

from tests.meta.contract import descriptors as d
from tests.meta.contract.service_yaml import service_yaml

OPERATIONS = "google.longrunning.Operations"


def test_it_lists_our_services_and_operations() -> None:
    ours = [f"{d.PUBLIC}.{service.name}" for _, service, _ in d.services()]
    assert [api.name for api in service_yaml().apis] == [*ours, OPERATIONS]


def test_it_has_the_error_domain_as_its_name() -> None:
    assert service_yaml().name == "batchyard.dev"


def test_every_method_of_operations_has_a_rule_below_a_project() -> None:
    rules = {rule.selector: rule for rule in service_yaml().http.rules}
    assert sorted(rules) == sorted(f"{OPERATIONS}.{method.name}" for method in d.operations_methods())
    for rule in rules.values():
        path: str = getattr(rule, rule.WhichOneof("pattern") or "get")
        assert path.startswith("/v1/{name=projects/*")


def test_generated_clients_fill_every_request_id() -> None:
    wanted = {
        f"{method.service}.{method.name}"
        for method in d.methods()
        if d.message(method.proto.input_type).field("request_id") is not None
    }
    settings = {setting.selector: setting for setting in service_yaml().publishing.method_settings}
    filled = {name for name, setting in settings.items() if list(setting.auto_populated_fields) == ["request_id"]}
    assert filled == wanted
    assert set(settings) == wanted, "no settings for a method that is not there"


def test_methods_that_return_an_operation_say_how_to_poll_it() -> None:
    operations = {f"{method.service}.{method.name}" for method in d.methods() if method.operation_info is not None}
    settings = service_yaml().publishing.method_settings
    assert {setting.selector for setting in settings if setting.HasField("long_running")} == operations
