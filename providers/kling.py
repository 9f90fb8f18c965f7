"""Clips from Kling's own API. Contract: kling.ai/document-api as read in September 2026; never tried with an account.

A create carries an id of ours that is unique in the account, by which the task is looked up. Errors are classified by
their number, not by their HTTP status: some of those with 429 are permanent. Results are kept for 30 days; each query
returns another URL of the file, signed for a while.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from providers.base import Json, NotSent, Unavailable
from providers.http import ApiResponse
from providers.native_videos import NativeVideos, callback_url
from providers.results import Failed, PollResult, Succeeded
from providers.values import parse_number

BASE_URL = "https://api-singapore.klingai.com"
#: What is billed is money or prepaid units.
USD_RATES = {"USD": Decimal(1), "unit": Decimal("0.14")}
#: Codes of errors that end when other orders have ended, and of those that do not end by waiting, with ours.
WAIT_CODES = (1302, 1303)
REFUSALS = {
    **dict.fromkeys((1100, 1101, 1102), "credit_exhausted"),
    **dict.fromkeys((1103, 1200, 1201, 1202, 1203, 1304), "video_refused"),
    **dict.fromkeys((1300, 1301), "content_policy_violation"),
}
#: "shot 1, 5, a fox;" in a prompt would be read as the description of several shots.
_SHOT = re.compile(r"\b(shot\s+\d+)\s*,", re.IGNORECASE)


class Kling(NativeVideos):
    """Tasks of models such as `kling-3.0`."""

    short_name, service_name = "kling", "Kling"
    #: Older events have other names.
    id_names = ("id", "task_id")
    states, done = {"submitted": None, "processing": None}, "succeeded"
    #: A second create under our id is refused.
    replayable = timedelta(hours=1)
    unknown_task_id = "100000000000000001"
    lookup_proof = "Kling knows every order by an id that was chosen before the call and is unique in the account."

    async def check(self) -> None:
        """Query a task that does not exist. Raises Unavailable."""
        await self._find_ours("check")

    def _create(self, request: Json, key: str) -> tuple[str, dict[str, Any]]:
        options = {"external_task_id": _our_id(key), "watermark_info": {"enabled": False}}
        if callback := callback_url(request, key):
            options["callback_url"] = callback
        prompt = _SHOT.sub(r"\1:", request["prompt"])
        body = {**self._input({**request, "prompt": prompt}, key), "options": options}
        source = "image" if request.get("image") else "text"
        return f"/{source}-to-video/{quote(request['model'], safe='')}", {"json": body}

    async def _accepted(self, response: ApiResponse, key: str) -> str:
        code, data = int(parse_number(response.json().get("code")) or 0), response.json().get("data")
        if response.status == 200 and response.json().get("code") == 0 and isinstance(data, dict):
            return self._id_of(data)
        if code in WAIT_CODES:
            raise NotSent("rate_limited", f"{self._api.service_name}: too many orders of the account are in progress.")
        # 1201 is any invalid parameter, and also the answer to an order that exists.
        if code == 1201 and (task_id := await self._find_refused(response, key)):
            return task_id
        if code in REFUSALS:
            raise self._refused(REFUSALS[code], response)
        error = self._api.submit_error(response, "video_refused")
        raise error or self._api.outcome_unknown("its response reports an error")

    async def _find_refused(self, response: ApiResponse, key: str) -> str | None:
        """Return the id of the task that an order was refused for, None if there is none. Raises OutcomeUnknown."""
        try:
            found = await self._find_ours(key)
        except Unavailable as error:
            raise self._api.outcome_unknown("its refusal could not be checked") from error
        if not found and "exist" in str(response.json().get("message")):
            raise self._api.outcome_unknown("it reports that the order exists, and does not list it yet")
        return found[0] if found else None

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        """Return the id of the task with our id. Raises Unavailable."""
        return await self._find_ours(key)

    def lookup_url(self, request: Json, *, key: str) -> str:
        """Return the URL of the task by our id."""
        return f"{self._api.base_url}/tasks?external_task_ids={_our_id(key)}"

    async def _find_ours(self, key: str) -> list[str]:
        params = {"external_task_ids": _our_id(key)}
        task = self._find_task(await self._api.query("GET", "/tasks", params=params))
        return [self._id_of(task)] if task else []

    async def _query_task(self, task_id: str) -> ApiResponse:
        return await self._api.query("GET", "/tasks", params={"task_ids": task_id})

    def _find_task(self, response: ApiResponse) -> Json | None:
        tasks = response.json().get("data")
        if response.status != 200 or response.json().get("code") != 0 or not isinstance(tasks, list):
            raise self._api.unexpected_response(response)
        return next((task for task in tasks if isinstance(task, dict)), None)

    def _failed(self, task: Json, *, charged: bool = False) -> Failed:
        return super()._failed(task, charged=bool(task.get("billing")) and _charged_usd(task) != 0)

    async def _clip(self, task: Json, request: Json, into: Path) -> PollResult:
        outputs = task.get("outputs")
        output = outputs[0] if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict) else {}
        result = await self._fetch(output.get("url"), request, into)
        if isinstance(result, Succeeded):
            result.facts["provider_seconds"] = parse_number(output.get("duration"))
            if task.get("billing") and (usd := _charged_usd(task)) is not None:
                result.facts["charged_usd"] = f"{usd:.3f}"
        return result


def _our_id(key: str) -> str:
    return str(uuid5(NAMESPACE_URL, key))


def _charged_usd(task: Json) -> Decimal | None:
    """Return what is billed for the task in USD; None for another currency or without a number."""
    total = Decimal(0)
    for entry in [entry for entry in task.get("billing") or () if isinstance(entry, dict)]:
        number = parse_number(entry.get("amount"))
        rate = USD_RATES.get("unit" if entry.get("charge_type") == "unit" else str(entry.get("currency")))
        if number is None or rate is None:
            return None
        total += Decimal(str(number)) * rate
    return total
