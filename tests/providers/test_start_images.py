"""Images that clips start from, as each service takes them: the bytes of the stored file, never dropped silently."""

from __future__ import annotations

import base64
import io
import json
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sandbox_server import SandboxClient

from providers.base import OutcomeUnknown, Refused
from providers.higgsfield import Higgsfield
from providers.kling import Kling
from providers.native_videos import NativeVideos
from providers.replicate import Replicate
from providers.results import Succeeded
from providers.videos import Videos
from tests.providers.conftest import FileStore
from tests.providers.stub_server import respond_with, stub_client
from tests.providers.test_videos_provider import build_profile
from tests.providers.vendors import VendorTest, accept

KLING_TASK = {"code": 0, "data": {"id": "893605946402811985", "status": "submitted"}}


def image_file() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (360, 640), "teal").save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "base", "model"),
    [
        (Kling, "/kling", "kling-3.0"),
        (Kling, "/kling", "kling-3.0-turbo"),
        (Replicate, "/replicate/v1", "kwaivgi/kling-v3-video"),
        (Replicate, "/replicate/v1", "google/veo-3.1"),
    ],
)
@pytest.mark.slow
async def test_a_lost_create_with_an_image_is_found(
    kind: type[NativeVideos], base: str, model: str, sandbox: SandboxClient, tmp_path: Path, file_store: FileStore
) -> None:
    """The create is repeated byte for byte, and the look-up finds it by its key or its input."""
    digest = file_store.add(image_file())
    async with VendorTest(kind, base, "key", model, sandbox, tmp_path) as vendor:
        vendor.request["image"] = digest
        vendor.adapter = vendor.open(vendor.base_url, vendor.client, stored=file_store)
        client, requests = stub_client(respond_with(200, {**KLING_TASK, "id": "p1"}))
        for _ in range(2):
            await vendor.open("https://vendor.example", client, stored=file_store).submit(vendor.request, key="k")
        await vendor.sandbox.inject_fault("create_accept_then_drop")
        assert isinstance(await vendor.submit_error(), OutcomeUnknown)
        [found] = await vendor.lookup()

        assert isinstance(await vendor.wait(found), Succeeded)
    first, second = requests
    assert first.content == second.content
    assert first.content.count(base64.b64encode(image_file())) == 1


async def test_kling_takes_the_image_in_base64_at_a_path_of_its_own(file_store: FileStore) -> None:
    """The prompt is among the contents, and no aspect ratio is sent: the image decides about it."""
    client, requests = stub_client(respond_with(200, KLING_TASK))
    async with VendorTest(Kling, "/kling", "key", "kling-3.0", SandboxClient("http://unused"), file_store.folder) as it:
        request = {
            **it.request,
            "size": "1080x1920",
            "prompt": "Shot 1, 5, a fox",
            "image": file_store.add(image_file()),
        }
        await it.open("https://kling.example", client, stored=file_store).submit(request, key="k")

    [post] = requests
    body = json.loads(post.content)
    assert str(post.url) == "https://kling.example/image-to-video/kling-3.0"
    assert body.keys() == {"contents", "settings", "options"}
    assert body["settings"] == {"multi_shot": False, "audio": "native", "resolution": "1080p", "duration": 1}
    assert body["contents"] == [
        {"type": "prompt", "text": "Shot 1: 5, a fox"},
        {"type": "first_frame", "url": base64.b64encode(image_file()).decode()},
    ]


@pytest.mark.parametrize("encoding", ["multipart", "json"])
async def test_the_open_contract_takes_a_file_or_a_data_uri(encoding: str, file_store: FileStore) -> None:
    """A form contains the file as it is stored, a JSON body its data URI."""
    template: dict[str, Any] = {"input_reference": {"image_url": "$image"} if encoding == "json" else "$image"}
    client, requests = stub_client(respond_with(200, {"id": "video_1"}))
    profile = build_profile(encoding=encoding, start_image=template)
    videos = Videos("http://server/v1", "key", [profile], client, accept, stored=file_store)
    request = {"model": "wan", "prompt": "A fox", "seconds": 4, "size": "720x1280"}
    await videos.submit({**request, "image": file_store.add(image_file())}, key="k")

    [post] = requests
    if encoding == "json":
        uri = f"data:image/jpeg;base64,{base64.b64encode(image_file()).decode()}"
        assert json.loads(post.content)["input_reference"] == {"image_url": uri}
        return
    head = b"content-type: " + post.headers["content-type"].encode() + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + post.content)
    [part] = [
        each for each in message.walk() if each.get_param("name", header="content-disposition") == "input_reference"
    ]
    assert (part.get_content_type(), part.get_filename()) == ("image/jpeg", "image.jpg")
    assert image_file() in post.content


@pytest.mark.parametrize(
    ("model", "image", "code"),
    [
        ("kling-video/v3.0/std/text-to-video", "", "video_image_unsupported"),
        ("wan", "", "video_image_unsupported"),
        ("with-images", "f" * 64, "artifact_missing"),
    ],
)
async def test_an_image_is_never_dropped(model: str, image: str, code: str, file_store: FileStore) -> None:
    """An order whose image cannot be sent is refused, and nothing is sent."""
    client, requests = stub_client(respond_with(200, {"id": "video_1", "request_id": "r1"}))
    request = {"model": model, "prompt": "A fox", "seconds": 1, "size": "180x320"}
    request["image"] = image or file_store.add(image_file())
    profile = build_profile(models=[model], start_image={"input_reference": "$image"} if image else {})
    adapter: Any = Videos("http://server/v1", "key", [profile], client, accept, stored=file_store)
    if "/" in model:
        profile = build_profile(models=[model], input_fields={"prompt": "$prompt"})
        adapter = Higgsfield("http://server", "k:s", [profile], client, accept, None, stored=file_store)
    with pytest.raises(Refused) as caught:
        await adapter.submit(request, key="k")

    assert (caught.value.code, requests) == (code, [])
