"""The service YAML as the message that it is."""

from __future__ import annotations

import functools
from typing import Any

import yaml
from google.api import service_pb2
from google.protobuf import json_format

from tests.meta.contract import descriptors as d


@functools.cache
def service_yaml() -> service_pb2.Service:
    """`proto/batchyard_v1.yaml`, parsed strictly: a key that google.api.Service does not have is an error."""
    content: dict[str, Any] = yaml.safe_load((d.ROOT / "proto/batchyard_v1.yaml").read_text())
    assert content.pop("type") == "google.api.Service"
    return json_format.ParseDict(content, service_pb2.Service())
