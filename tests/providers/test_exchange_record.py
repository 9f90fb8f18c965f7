"""A record contains what proves a contract, and nothing that belongs to the account or to other orders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from providers.base import Unavailable
from providers.exchange_record import ExchangeRecorder
from tests.providers.stub_server import respond_with, stub_client

KEY, OURS = "key-4711-of-a-test", "A paper boat. (ours)"
FILE = "https://files.example/clip.mp4?X-Amz-Signature=77aa&X-Amz-Expires=60"
ANSWER = {
    "account_id": "acct-99",
    "owner": {"name": "Anna"},
    "message": f"The key {KEY} of anna@films.example is valid.",
    "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "results": [
        {"id": "1", "created_at": "2026-11-27", "input": {"prompt": OURS}, "output": FILE, "user": "u-5"},
        {"id": "2", "created_at": "2026-11-26", "input": {"prompt": "A secret film"}, "output": "https://f.example/x"},
        {"id": "3", "prompt": "Another secret film", "size": "720x1280"},
    ],
}


async def test_what_is_private_is_left_out(tmp_path: Path) -> None:
    """Keys, tokens, accounts, addresses, signatures of URLs and the contents of other orders are not written."""
    recorder, file = ExchangeRecorder(), tmp_path / "record.json"
    client = recorder.attach(stub_client(respond_with(200, ANSWER))[0])
    async with client:
        await client.post(
            "https://v.example/v1?since=5", json={"prompt": OURS}, headers={"authorization": f"Key {KEY}"}
        )
        await client.get(FILE)
    recorder.write(file, {"order": {"prompt": OURS}}, [f"{KEY}:other-half-of-it"], OURS)
    text, [create, download] = file.read_text(), json.loads(file.read_text())["exchanges"]

    private = (KEY, "acct-99", "Anna", "anna@", "MfKQ", "77aa", "u-5", "secret film", "f.example/x", "Key ")
    assert [word for word in private if word in text] == []
    assert (create["method"], create["path"], create["query"]) == ("POST", "/v1", "since=5")
    assert create["body"] == {"json": {"prompt": OURS}}
    ours, *others = create["response"]["body"]["json"]["results"]
    assert (ours["input"], ours["output"]) == ({"prompt": OURS}, FILE.partition("?")[0])
    assert others == [
        {"id": "2", "created_at": "2026-11-26", "status": None},
        {"id": "3", "created_at": None, "status": None},
    ]
    assert "query" not in download


async def test_files_are_not_copied(tmp_path: Path) -> None:
    """Of bytes that are no text there are length and digest."""
    recorder = ExchangeRecorder()
    async with recorder.attach(stub_client(respond_with(200, b"\0\xff" * 8))[0]) as client:
        assert (await client.get(FILE)).content == b"\0\xff" * 8
    body = recorder.exchanges[0]["response"]["body"]

    assert body["bytes"] == 16
    assert len(body["sha256"]) == 64


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(Unavailable, match="nowhere"):
        ExchangeRecorder().write(tmp_path / "nowhere" / "record.json", {}, [KEY], OURS)
