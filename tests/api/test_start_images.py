"""Images that clips start from: uploaded, chosen at the gate, and handed to the model."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image, ImageCms

from tests.app import FOUR_PROJECT, App, SandboxClient, open_app

IDEATION = "awaiting_ideation_approval"
#: A colour for each corner, clockwise from the top left.
CORNERS = ("red", "lime", "blue", "white")


def picture(width: int = 360, height: int = 640) -> Image.Image:
    """Return an image whose quarters tell how it is turned."""
    image = Image.new("RGB", (width, height))
    x, y = width // 2, height // 2
    for colour, place in zip(CORNERS, ((0, 0), (x, 0), (x, y), (0, y)), strict=True):
        image.paste(colour, (*place, place[0] + x, place[1] + y))
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def post(app: App, content: bytes, media_type: str = "image/png") -> httpx.Response:
    return app.client.post("/v1/artifacts", content=content, headers={"content-type": media_type})


def uploaded(app: App, content: bytes) -> dict[str, Any]:
    answer = post(app, content)
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the rounded colours of the quarters, clockwise from the top left."""
    x, y = image.width // 4, image.height // 4
    points = (x, y), (3 * x, y), (3 * x, 3 * y), (x, 3 * y)
    pixels = [image.convert("RGB").getpixel(point) for point in points]
    return [tuple(round(value / 255) for value in pixel) for pixel in pixels if isinstance(pixel, tuple)]


UPRIGHT = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_stored_without_metadata(app: App, form: str) -> None:
    """EXIF with a place, a comment and the colour profile are gone; the turn that EXIF asks for is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # latitude
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = picture().transpose(Image.Transpose.ROTATE_90)
    content = encoded(turned, form, exif=exif, icc_profile=profile, comment=b"secret")
    assert b"A camera" in content
    stored = uploaded(app, content)
    file = app.client.get(stored["url"])

    assert stored["url"] == f"/v1/artifacts/{hashlib.sha256(file.content).hexdigest()}"
    assert (stored["width"], stored["height"], stored["bytes"]) == (360, 640, len(file.content))
    assert file.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(file.content)) as image:
        assert corners(image) == UPRIGHT
        assert not image.getexif()
        assert not {"exif", "icc_profile", "comment", "xmp", "gps"} & image.info.keys()
    assert uploaded(app, content) == stored


def test_a_form_is_accepted_too(app: App) -> None:
    """The same file as a form gives the same artifact; a large one is scaled down, and transparency becomes white."""
    large = picture(3000, 2000).convert("RGBA")
    large.paste((0, 0, 0, 0), (1500, 1000, 3000, 2000))
    content = encoded(large, compress_level=1)
    answer = app.client.post("/v1/artifacts", files={"file": ("frame.png", content, "application/octet-stream")})

    assert answer.status_code == 201
    assert answer.json() == uploaded(app, content)
    assert (answer.json()["width"], answer.json()["height"]) == (1920, 1280)
    with Image.open(io.BytesIO(app.client.get(answer.json()["url"]).content)) as image:
        assert corners(image) == [UPRIGHT[0], UPRIGHT[1], (1, 1, 1), UPRIGHT[3]]


def bomb(width: int, height: int) -> bytes:
    """Return a PNG file of a few bytes that announces this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"hello", "text/plain", (415, "unsupported_media_type")),
        (b"hello", "image/png", (422, "image_invalid")),
        (encoded(picture(), "GIF"), "image/png", (422, "image_invalid")),
        (encoded(picture())[:2000], "image/png", (422, "image_invalid")),
        (encoded(picture(299, 640)), "image/png", (422, "image_size_unsupported")),
        (bomb(8001, 300), "image/png", (422, "image_size_unsupported")),
        (bomb(12_000, 12_000), "image/png", (422, "image_invalid")),
        (bomb(60_000, 60_000), "image/png", (422, "image_invalid")),
        (b"\0" * (32 * 1024 * 1024 + 1), "image/png", (413, "body_too_large")),
        (b"--b\r\n\r\n--b--\r\n", "multipart/form-data; boundary=b", (400, "bad_request")),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            (422, "invalid_request"),
        ),
    ],
)
def test_anything_else_is_refused(app: App, content: bytes, media_type: str, expected: tuple[int, str]) -> None:
    """The content counts, not its declared type; the announced size is refused before anything is decoded."""
    before = app.rows("select count(*) from artifacts")

    assert error_of(post(app, content, media_type)) == expected
    assert app.rows("select count(*) from artifacts") == before


def test_an_upload_requires_a_key(app: App) -> None:
    assert error_of(httpx.post(f"{app.url}/v1/artifacts", content=b"", headers={"content-type": "image/png"})) == (
        401,
        "missing_api_key",
    )


# ---- from the gate to the vendor

PROFILE = """
[[profiles]]
hosts = ["127.0.0.1"]
models = ["sandbox-video"]
sizes = ["360x640"]
seconds = [1]
usd_per_second = "0.10"
poll_seconds = 1
start_image = { input_reference = "$image" }
"""
PROJECT = FOUR_PROJECT.replace("clip_size: 180x320", "clip_size: 360x640")


@pytest.fixture(scope="module")
def starting(
    postgres_server: str,
    migrated_template: str,
    sandbox_process: SandboxClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[App]:
    """The product with a model that takes start images."""
    folder = tmp_path_factory.mktemp("starting")
    (folder / "still.md").write_text(PROJECT)
    (folder / "profiles.toml").write_text(PROFILE)
    changes = {"projects_dir": folder, "video_profiles": folder / "profiles.toml"}
    with open_app(postgres_server, migrated_template, sandbox_process, **changes) as opened:
        yield opened


def with_image(run: dict[str, Any], image: str | None) -> list[dict[str, Any]]:
    """Return the ideas of a review with this image for each."""
    return [{**idea, "image": image} for idea in run["review"]["content"]["ideas"]]


def approve(app: App, run: dict[str, Any], image: str | None) -> httpx.Response:
    body = {"gate": "ideation", "approved": True, "edits": with_image(run, image)}
    return app.client.post(f"/v1/runs/{run['run_id']}/approve", json=body)


@pytest.fixture(scope="module")
def sampled(starting: App) -> tuple[dict[str, Any], dict[str, Any], str]:
    """A run before and after a sample with an image, and the digest of the image."""
    image = uploaded(starting, encoded(picture()))["digest"]
    run = starting.until(starting.start(project="still"), IDEATION)
    starting.decide(run["run_id"], "ideation", edits=with_image(run, image), sample=[1])
    return run, starting.until(run["run_id"], IDEATION, revision=2), image


def test_the_clip_starts_from_the_approved_image(
    starting: App, sampled: tuple[dict[str, Any], dict[str, Any], str], sandbox: SandboxClient
) -> None:
    """The image is part of what is approved, the order names it, and the vendor receives exactly its bytes.

    It is the first frame of the clip. After a sample the gate opens again with it, also on the reviewer's page.
    """
    run, again, digest = sampled
    run_id = run["run_id"]
    query = "select request, task_id, approved_digest from orders join decisions on number = decision"
    [order] = starting.rows(f"{query} where orders.run_id = %s and kind = 'clip'", run_id)

    assert order["request"]["image"] == digest
    assert order["approved_digest"] not in (None, run["review"]["digest"])
    received = (sandbox.state / "videos" / f"{order['task_id']}.image").read_bytes()
    assert hashlib.sha256(received).hexdigest() == digest
    [clip] = again["artifacts"]["clip_manifest"]["clips"]
    with av.open(io.BytesIO(starting.client.get(clip["url"]).content)) as container:
        assert corners(next(container.decode(video=0)).to_image()) == UPRIGHT

    assert [idea["image"] for idea in again["review"]["content"]["ideas"]] == [digest] * 4
    url = starting.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "ideation"}).json()["url"]
    assert f'src="/review/{url.rpartition("/")[2]}/images/4"' in httpx.get(url, headers={"accept": "text/html"}).text
    image = httpx.get(f"{url}/images/4")
    assert (hashlib.sha256(image.content).hexdigest(), image.headers["content-type"]) == (
        digest,
        "image/jpeg",
    )
    assert error_of(httpx.get(f"{url}/images/5")) == (404, "no_image")


def test_a_run_starts_with_an_image(starting: App) -> None:
    """The first idea has it, also when others were requested, and in a fork; one that is unusable starts nothing."""
    wrong = uploaded(starting, encoded(picture(640, 640)))["digest"]
    for image, expected in (
        ("0" * 64, "invalid_request"),
        (wrong, "video_image_unsupported"),
        ("x", "invalid_request"),
    ):
        body = {"project": "still", "brief": "Rain", "image": image}
        assert error_of(starting.client.post("/v1/runs/start", json=body)) == (422, expected)
    image = uploaded(starting, encoded(picture()))["digest"]
    run = starting.until(starting.start(project="still", image=image), IDEATION)
    assert run["image"] == image
    starting.decide(run["run_id"], "ideation", approved=False, comment="Other ideas, with snow.")
    again = starting.until(run["run_id"], IDEATION, revision=2)
    fork = starting.client.post(f"/v1/runs/{run['run_id']}/fork", json={}).json()["run_id"]
    forked = starting.until(fork, IDEATION)
    assert forked["image"] == image
    for each in (run, again, forked):
        assert [idea.get("image", "") for idea in each["review"]["content"]["ideas"]] == [image, "", "", ""]


def test_a_fork_pays_for_a_clip_with_another_image(
    starting: App, sampled: tuple[dict[str, Any], dict[str, Any], str]
) -> None:
    """A clip is reused only for an idea with the image that it started from."""
    run, again, _ = sampled
    made = []
    for edits in (None, with_image(again, None)):
        fork = starting.client.post(f"/v1/runs/{run['run_id']}/fork", json={"edits": edits}).json()["run_id"]
        made.append(starting.until(fork, IDEATION)["review"]["content"]["make"])

    assert made == [[2, 3, 4], [1, 2, 3, 4]]


def test_the_gate_refuses_an_image_that_no_clip_can_start_from(starting: App, app: App, sandbox: SandboxClient) -> None:
    """Unknown, of another size, or for a model that takes none: nothing is ordered, and the gate stays open."""
    run = starting.until(starting.start(project="still"), IDEATION)
    other = uploaded(starting, encoded(picture(640, 360)))["digest"]
    plain = app.until(app.start(), IDEATION)
    known = uploaded(app, encoded(picture()))["digest"]
    answers = [
        approve(starting, run, "f" * 64),
        approve(starting, run, "frame.png"),
        approve(starting, run, other),
        approve(app, plain, known),
    ]

    assert [error_of(answer) for answer in answers] == [
        (422, "invalid_request"),
        (422, "invalid_request"),
        (422, "video_image_unsupported"),
        (422, "video_image_unsupported"),
    ]
    assert [answer.json()["error"]["message"] for answer in answers] == [
        "Idea 1: no uploaded image has the digest ffffffffffff…; upload it first.",
        answers[1].json()["error"]["message"],
        "Idea 1: sandbox-video takes a start image of exactly 360x640 pixels, and this one has 640x360.",
        "Idea 1: sandbox-video takes no start image: remove the image, or set another model.",
    ]
    assert sandbox.charges(run["run_id"]) == sandbox.charges(plain["run_id"]) == []
    assert starting.run(run["run_id"])["review"] == run["review"]
    assert approve(app, plain, None).status_code == 200
