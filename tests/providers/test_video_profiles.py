"""What can be ordered from whom, and at what price, is known before anything is ordered."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from providers.video_profiles import Profile, ProfileError, load_profiles, profile_for

BEFORE, SHUTDOWN = date(2026, 9, 23), date(2026, 9, 24)
OPENAI = "https://api.openai.com/v1"
ELSEWHERE = "http://gpu.example:8000/v1"
OWN = '[[profiles]]\nhosts = ["gpu.example:8000"]\nmodels = ["wan"]\nsizes = ["480x832"]\nseconds = [5]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("base_url", [OPENAI, "https://API.openai.com:443/v1", "https://eu.api.openai.com/v1"])
@pytest.mark.parametrize("model", ["sora-2", "sora-2-pro", "sora-2-2025-12-08", "sora-2-pro-2025-10-06"])
def test_openai_is_shut_down(base_url: str, model: str) -> None:
    """A configuration that points at the shut-down service is refused in one sentence, from that day on."""
    assert model in profile_for(load_profiles(), base_url, model, BEFORE).models
    with pytest.raises(ProfileError) as caught:
        profile_for(load_profiles(), base_url, model, SHUTDOWN)

    assert caught.value.code == "video_model_shut_down"
    assert model in caught.value.message
    assert "2026-09-24" in caught.value.message


@pytest.mark.parametrize("model", ["sora-2", "sora-2-pro", "sandbox-video"])
def test_the_contract_lives_on_elsewhere(model: str) -> None:
    """The same models at any other host are served."""
    assert profile_for(load_profiles(), ELSEWHERE, model, SHUTDOWN).shutdown is None


@pytest.mark.parametrize("base_url", [OPENAI, ELSEWHERE, "not a url"])
def test_an_unknown_model_says_how_to_add_it(base_url: str) -> None:
    """Nothing is ordered of a model whose price is not known."""
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
def test_price(model: str, seconds: int, size: str, price: str) -> None:
    """A clip costs its seconds, at the price of its size."""
    assert profile_for(load_profiles(), ELSEWHERE, model, SHUTDOWN).price(seconds, size) == Decimal(price)


@pytest.mark.parametrize(
    ("seconds", "size", "code", "says"),
    [
        (5, "720x1280", "video_seconds_unsupported", "4, 8, 12, 16, 20 seconds, not 5"),
        (8, "720x1281", "video_size_unsupported", "720x1280, 1280x720, not 720x1281"),
    ],
)
def test_what_cannot_be_made_is_refused(seconds: int, size: str, code: str, says: str) -> None:
    """A length or a size that the model does not make is refused, naming those that it does, and has no price."""
    profile = profile_for(load_profiles(), ELSEWHERE, "sora-2", SHUTDOWN)

    for ask in (profile.check, profile.price):
        with pytest.raises(ProfileError, match=says) as caught:
            ask(seconds, size)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "encoding", "webhooks", "findable", "query"),
    [
        ("openai", "multipart", True, True, {}),
        ("vllm-omni", "multipart", False, True, {}),
        ("sglang", "multipart", False, True, {}),
        ("litellm", "multipart", False, False, {}),
        ("openrouter", "json", False, False, {"index": "0"}),
    ],
)
def test_kinds(tmp_path: Path, kind: str, encoding: str, webhooks: bool, findable: bool, query: dict[str, str]) -> None:
    """One's own profile takes on the ways of the kind of server it names."""
    path = written(tmp_path, f'{OWN}usd_per_second = 0.05\nkind = "{kind}"\n')
    profile = profile_for(load_profiles(path), ELSEWHERE, "wan", SHUTDOWN)

    assert profile.price(5, "480x832") == Decimal("0.25")
    assert (profile.encoding, profile.webhooks, profile.list_echoes_prompt) == (encoding, webhooks, findable)
    assert profile.content_query == query


def test_own_profiles_come_first(tmp_path: Path) -> None:
    """One's own profile beats a shipped one, and a named host beats any host, with or without its port."""
    own = OWN.replace("wan", "sora-2").replace("gpu.example:8000", "GPU.example") + "usd_per_second = 0\n"
    profiles = load_profiles(written(tmp_path, own))

    assert profile_for(profiles, ELSEWHERE, "sora-2", SHUTDOWN).price(5, "480x832") == 0
    assert profile_for(profiles, "http://other.example/v1", "sora-2", SHUTDOWN).seconds == (4, 8, 12, 16, 20)
    assert profile_for(list(reversed(profiles)), ELSEWHERE, "sora-2", SHUTDOWN).seconds == (5,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[profiles", "mine.toml: is not TOML"),
        ("profiles = 3", r"profiles must be written as \[\[profiles\]\]"),
        ("profiles = [3]", r"profiles\[0\].kind is not one of"),
        ("[kinds.mine]", "kinds is not known here"),
        (OWN, r"profiles\[0\].usd_per_second"),
        (OWN + 'usd_per_second = 0\nkind = "magic"', r"profiles\[0\].kind is not one of openai, vllm-omni"),
        (OWN + "usd_per_second = 0\nsecond = [1]", r"profiles\[0\].second Extra inputs"),
        (OWN + "usd_per_second = -1", r"profiles\[0\].usd_per_second"),
        (OWN + "usd_per_second = nan", r"profiles\[0\].usd_per_second"),
        (OWN + 'usd_per_second = { "1x1" = 1 }', "price for 1x1, which is not among the sizes"),
        (OWN + "usd_per_second = {}", "no price for 480x832"),
        (OWN.replace("480x832", "tall") + "usd_per_second = 0", r"profiles\[0\].sizes\[0\]"),
        (OWN.replace("[5]", "[0]") + "usd_per_second = 0", r"profiles\[0\].seconds\[0\]"),
        (OWN + 'usd_per_second = 0\nstatuses = { done = "fine" }', r"profiles\[0\].statuses.done"),
    ],
)
def test_a_wrong_file_is_told_by_name_and_place(tmp_path: Path, text: str, says: str) -> None:
    """A mistake in one's own profiles names the file, the place and the mistake."""
    with pytest.raises(ProfileError, match=says) as caught:
        load_profiles(written(tmp_path, text))

    assert caught.value.code == "video_profiles_invalid"
    assert caught.value.message.startswith("mine.toml: ")


def test_a_missing_file_is_told() -> None:
    """A profiles file that is not there is an error, not an empty one; its folder is not told."""
    with pytest.raises(ProfileError, match=r"^none\.toml: cannot be read \(No such file or directory\)\.$"):
        load_profiles(Path("/nowhere/none.toml"))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", "running"),
        ("in_progress", "running"),
        ("IN_PROGRESS", "running"),
        ("processing", "running"),
        ("pending", "running"),
        ("dreaming", "running"),
        (None, "running"),
        ("completed", "completed"),
        ("Finished", "completed"),
        ("failed", "failed"),
        ("cancelled", "failed"),
        ("expired", "failed"),
        ("deleted", "failed"),
    ],
)
def test_status_words(word: str | None, state: str) -> None:
    """Known words mean what they say, the profile may add some, and a word nobody knows means: not yet."""
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

    assert profile.state(word) == state
