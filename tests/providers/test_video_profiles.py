"""Capabilities and prices are known before anything is ordered."""

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from providers.video_profiles import BUILT_IN_PROFILES, Profile, ProfileError, load_profiles, profile_for

BEFORE, SHUTDOWN = date(2026, 9, 23), date(2026, 9, 24)
OPENAI = "https://api.openai.com/v1"
ELSEWHERE = "http://gpu.example:8000/v1"
OWN = '[[profiles]]\nhosts = ["gpu.example:8000"]\nmodels = ["wan"]\nsizes = ["480x832"]\nseconds = [5]\n'


def write_file(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("base_url", [OPENAI, "https://API.openai.com:443/v1", "https://eu.api.openai.com/v1"])
@pytest.mark.parametrize("model", ["sora-2", "sora-2-pro", "sora-2-2025-12-08", "sora-2-pro-2025-10-06"])
def test_openai_is_rejected_from_its_shutdown_date(base_url: str, model: str) -> None:
    """A configuration with the service that was shut down is rejected from that day on."""
    assert model in profile_for(load_profiles(), base_url, model, BEFORE).models
    with pytest.raises(ProfileError) as caught:
        profile_for(load_profiles(), base_url, model, SHUTDOWN)

    assert caught.value.code == "video_model_shut_down"
    assert model in caught.value.message
    assert "2026-09-24" in caught.value.message


@pytest.mark.parametrize("model", ["sora-2", "sora-2-pro", "sandbox-video"])
def test_the_models_are_supported_at_other_hosts(model: str) -> None:
    """The same models at any other host have a profile."""
    assert profile_for(load_profiles(), ELSEWHERE, model, SHUTDOWN).shutdown is None


@pytest.mark.parametrize("base_url", [OPENAI, ELSEWHERE, "not a url"])
def test_an_unknown_model_is_rejected_with_instructions(base_url: str) -> None:
    """No clip is ordered from a model without a known price."""
    with pytest.raises(ProfileError, match=r"\[\[profiles\]\]") as caught:
        profile_for(load_profiles(), base_url, "dream-9", SHUTDOWN)

    assert caught.value.code == "video_model_unknown"


@pytest.mark.parametrize(
    ("model", "seconds", "size", "price"),
    [
        ("sora-2", 8, "720x1280", "0.80"),
        ("sora-2-pro", 4, "720x1280", "1.20"),
        ("sora-2-pro", 4, "1024x1792", "2.00"),
        ("sora-2-pro", 12, "1080x1920", "8.40"),
        ("sandbox-video", 1, "1080x1920", "0.10"),
    ],
)
def test_price_depends_on_seconds_and_size(model: str, seconds: int, size: str, price: str) -> None:
    """A clip costs its seconds times the price of its size."""
    assert profile_for(load_profiles(), ELSEWHERE, model, SHUTDOWN).price(seconds, size) == Decimal(price)


@pytest.mark.parametrize(
    ("seconds", "size", "code", "message"),
    [
        (5, "720x1280", "video_seconds_unsupported", "4, 8, 12, 16, 20 seconds, not 5"),
        (8, "720x1281", "video_size_unsupported", "720x1280, 1280x720, not 720x1281"),
    ],
)
def test_unsupported_lengths_and_sizes_are_rejected(seconds: int, size: str, code: str, message: str) -> None:
    """The message names the model that was asked for and lists the supported ones, and there is no price."""
    profile = profile_for(load_profiles(), ELSEWHERE, "sora-2-2025-12-08", SHUTDOWN)

    with pytest.raises(ProfileError, match=f"^sora-2-2025-12-08 generates clips of {message}") as caught:
        profile.price(seconds, size)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "encoding", "webhooks", "can_look_up", "query"),
    [
        ("openai", "multipart", True, True, {}),
        ("vllm-omni", "multipart", False, True, {}),
        ("sglang", "multipart", False, False, {}),
        ("litellm", "json", False, False, {}),
        ("openrouter", "json", False, False, {"index": "0"}),
    ],
)
def test_a_profile_inherits_from_its_kind(
    tmp_path: Path, kind: str, encoding: str, webhooks: bool, can_look_up: bool, query: dict[str, str]
) -> None:
    """A profile of one's own has the properties of the server kind it names."""
    path = write_file(tmp_path, f'{OWN}usd_per_second = 0.05\nkind = "{kind}"\n')
    profile = profile_for(load_profiles(path), ELSEWHERE, "wan", SHUTDOWN)

    assert profile.price(5, "480x832") == Decimal("0.25")
    assert (profile.encoding, profile.webhooks, profile.list_echoes_prompt) == (encoding, webhooks, can_look_up)
    assert profile.content_query == query


@pytest.mark.parametrize("model", ["bytedance/seedance-2.0", "google/veo-3.1"])
def test_a_vendor_with_a_contract_of_its_own_is_none_with_the_open_one(model: str) -> None:
    """Its profile does not describe a server of `/v1/videos` that offers a model of the same name."""
    assert model in [name for profile in load_profiles() for name in profile.models]
    with pytest.raises(ProfileError, match="Nothing is known"):
        profile_for(load_profiles(), ELSEWHERE, model, SHUTDOWN)


def test_own_profiles_take_precedence(tmp_path: Path) -> None:
    """A profile of one's own precedes a built-in one, and a named host any host, with or without its port."""
    own = OWN.replace("wan", "sora-2").replace("gpu.example:8000", "GPU.example") + "usd_per_second = 0\n"
    profiles = load_profiles(write_file(tmp_path, own))

    assert profile_for(profiles, ELSEWHERE, "sora-2", SHUTDOWN).price(5, "480x832") == 0
    assert profile_for(profiles, "http://other.example/v1", "sora-2", SHUTDOWN).seconds == (4, 8, 12, 16, 20)
    assert profile_for(list(reversed(profiles)), ELSEWHERE, "sora-2", SHUTDOWN).seconds == (5,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[profiles", "mine.toml: is not TOML"),
        ("profiles = 3", r"profiles must be written as \[\[profiles\]\]"),
        ("profiles = [3]", r"profiles\[0\].kind is not one of"),
        ("[kinds.mine]", "kinds is unknown"),
        (OWN, r"profiles\[0\].usd_per_second"),
        (OWN + 'usd_per_second = 0\nkind = "magic"', r"profiles\[0\].kind is not one of openai, vllm-omni"),
        (OWN + "usd_per_second = 0\nsecond = [1]", r"profiles\[0\].second: Extra inputs"),
        (OWN + "usd_per_second = -1", r"profiles\[0\].usd_per_second"),
        (OWN + "usd_per_second = nan", r"profiles\[0\].usd_per_second"),
        (OWN + 'usd_per_second = { "1x1" = 1 }', "price for 1x1, which is not among the sizes"),
        (OWN + "usd_per_second = {}", "no price for 480x832"),
        (OWN.replace("480x832", "tall") + "usd_per_second = 0", r"profiles\[0\].sizes.0"),
        (OWN.replace("[5]", "[0]") + "usd_per_second = 0", r"profiles\[0\].seconds.0"),
        (OWN + 'usd_per_second = 0\nstatuses = { done = "fine" }', r"profiles\[0\].statuses.done"),
        (
            OWN + 'usd_per_second = 0\nnot_accepted = ["("]',
            r"profiles\[0\].not_accepted.0: .* valid regular expression",
        ),
    ],
)
def test_an_invalid_file_is_reported_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    """The message contains the file name, the field and the problem."""
    with pytest.raises(ProfileError, match=message) as caught:
        load_profiles(write_file(tmp_path, text))

    assert caught.value.code == "video_profiles_invalid"
    assert caught.value.message.startswith("mine.toml: ")


def test_a_missing_file_is_an_error() -> None:
    """A missing profiles file is not treated as empty; the message does not contain its folder."""
    with pytest.raises(ProfileError, match=r"^none\.toml: cannot be read \(No such file or directory\)\.$"):
        load_profiles(Path("/nowhere/none.toml"))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", "running"),
        ("in_progress", "running"),
        ("IN_PROGRESS", "running"),
        ("processing", "running"),
        ("pending", "running"),
        ("unknown", "running"),
        (None, "running"),
        ("completed", "completed"),
        ("Finished", "completed"),
        ("failed", "failed"),
        ("cancelled", "failed"),
        ("expired", "failed"),
        ("deleted", "failed"),
    ],
)
def test_job_state_of_each_status(status: str | None, state: str) -> None:
    """A profile can add final statuses; an unknown status means running."""
    profile = Profile.model_validate(
        {
            "hosts": ["*"],
            "models": ["m"],
            "sizes": ["16x16"],
            "seconds": [1],
            "usd_per_second": 0,
            "statuses": {"finished": "completed"},
        }
    )

    assert profile.job_state(status) == state


@pytest.mark.parametrize("kind", ["openai", "litellm", "openrouter"])
@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("moderation_blocked", "", True),
        ("sentinel_block", "Hmmm something didn't look right with your request.", True),
        ("content_policy_violation", "", True),
        ("safety_input_text", "", True),
        ("safety_output_video", "", True),
        ("input_preprocessing_safety_third_party", "", True),
        ("rai_media_filtered", "", True),
        ("input_text_sensitive_content_detected", "", True),
        ("data_inspection_failed", "", True),
        ("code_1026", "", True),
        ("video_failed", "Your request was blocked by our moderation system.", True),
        ("generation_failed", "The generation failed.", False),
        ("internal_bad_output_code01", "An unexpected error occurred.", False),
        ("video_failed", "CUDA out of memory", False),
        ("asset_invalid", "The image is too small.", False),
        ("code_1008", "The balance is insufficient.", False),
    ],
)
def test_moderation_is_recognised_by_code_or_message(kind: str, code: str, message: str, expected: bool) -> None:
    """Each kind of server has a list of what means that moderation refused the prompt."""
    fields = tomllib.loads(BUILT_IN_PROFILES.read_text())["kinds"][kind]
    clip = {"hosts": ["*"], "models": ["m"], "sizes": ["720x1280"], "seconds": [4], "usd_per_second": 0}

    assert Profile.model_validate({**clip, **fields}).is_moderation(code, message) is expected
