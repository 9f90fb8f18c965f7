"""Settings that use the emulators of all vendors of clips, with small clips at the prices that they charge."""

from __future__ import annotations

import json
from typing import Any

from providers.video_profiles import load_profiles

#: By vendor: the model, its price per second with sound, and the input of a create.
MODELS: dict[str, tuple[str, str, str]] = {
    "replicate": (
        "bytedance/seedance-2.0",
        "0.14",
        'prompt = "$prompt"\nduration = "$seconds"\naspect_ratio = "$aspect"\nresolution = "$resolution"\n'
        'generate_audio = "$sound"\nseed = "$seed"\n',
    ),
    "kling": (
        "kling-3.0",
        "0.126",
        'prompt = "$prompt"\n[profiles.input_fields.settings]\nmulti_shot = false\naudio = "$sound"\n'
        'resolution = "$resolution"\naspect_ratio = "$aspect"\nduration = "$seconds"\n',
    ),
    "higgsfield": (
        "kling-video/v3.0-turbo/text-to-video",
        "0.112",
        'prompt = "$prompt"\nduration = "$seconds"\naspect_ratio = "$aspect"\nresolution = "$resolution"\n',
    ),
}
VENDORS = tuple(MODELS)


def vendor_profiles(lookup_window_seconds: int) -> str:
    """Return profiles in place of all built-in ones of the vendors, as their longest time to look up counts."""
    return "".join(_profile(vendor, lookup_window_seconds) for vendor in VENDORS)


def _profile(vendor: str, lookup_window_seconds: int) -> str:
    model, usd, fields = MODELS[vendor]
    built_in = [name for each in load_profiles() if each.kind == vendor for name in each.models]
    words = '{ "true" = "native", "false" = "off" }' if vendor == "kling" else "{}"
    return f"""
[[profiles]]
kind = "{vendor}"
models = {json.dumps([model, *(name for name in built_in if name != model)])}
sizes = ["180x320"]
seconds = [1, 2, 3]
usd_per_second = "{usd}"
words = {words}
poll_seconds = 1
lookup_window_seconds = {lookup_window_seconds}
[profiles.input_fields]
{fields}"""


def vendor_settings(sandbox_url: str, webhook_secret: str) -> dict[str, Any]:
    """Return the settings by their names in lower case."""
    return {
        "replicate_api_token": "r8_token",
        "replicate_base_url": f"{sandbox_url}/replicate/v1",
        "kling_api_key": "key",
        "kling_base_url": f"{sandbox_url}/kling",
        "kling_webhook_secrets": webhook_secret,
        "higgsfield_key_id": "id",
        "higgsfield_key_secret": "secret",
        "higgsfield_base_url": f"{sandbox_url}/higgsfield",
        "higgsfield_webhook_secrets": webhook_secret,
    }
