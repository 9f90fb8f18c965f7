"""What vendors with contracts of their own have in common: the input of a create, the end of a task, and its file."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from providers.base import Json, NotSent, Progress, Refused, Unusable
from providers.http import ApiResponse, Limits
from providers.public_hosts import FileRules, download_file
from providers.results import Failed, FileMissing, NotFound, Pending, PollResult
from providers.video_provider import VideoProvider, fill, image_values
from providers.webhooks import VideoEvent, read_task_event

#: A list may repeat the images of its orders.
LIMITS = Limits(submit_seconds=60.0, response_bytes=64 * 1024 * 1024)


class NativeVideos(VideoProvider):
    """A vendor with a contract of its own, written from its published pages.

    A request contains `model`, `prompt`, `seconds`, `size`, and where they apply `sound`, `image`, the digest of one in
    `stored`, and `callback`, the URL for webhooks. The key of the order is added to it, so that any webhook of a lost
    order reveals which one it was.
    """

    limits = LIMITS
    #: The path of a task, and its states: `done` with a clip, None for one that is unfinished.
    status_path: ClassVar[str]
    states: ClassVar[Mapping[str, Failed | None]]
    done: ClassVar[str]
    #: The HTTP status that refuses an order because the account has no credit.
    no_credit_status: ClassVar[int] = 402
    #: Whether the vendor's API gives out the secret of webhooks, so that no setting has to.
    gives_secrets: ClassVar[bool] = False
    #: The public hosts of files, if the vendor names them; a profile can name others.
    file_hosts: ClassVar[Sequence[str]] = ("*",)

    def read_event(self, body: bytes) -> VideoEvent:
        """Return the event in the body of a verified webhook: a task. Raises InvalidEvent."""
        return read_task_event(body, self.id_names)

    async def submit(self, request: Json, *, key: str) -> str:
        """Place one order and return the vendor's id of it. Raises NotSent, Refused or OutcomeUnknown."""
        profile = self._profiles.get(request["model"])
        image = await self._read_image(request, profile) if profile else None
        path, content = self._create({**request, "start": image_values(image)} if image else request, key)
        return await self._accepted(await self._api.submit(path, **content), key)

    @abstractmethod
    def _create(self, request: Json, key: str) -> tuple[str, dict[str, Any]]:
        """Return path and content of a create."""

    async def _accepted(self, response: ApiResponse, key: str) -> str:
        """Return the id in the response to a create. Raises as `submit` does."""
        if response.status == self.no_credit_status:
            raise self._refused("credit_exhausted", response, "Add credit to the account, and retry the run.")
        if error := self._api.submit_error(response, "video_refused"):
            raise error
        return self._id_of(response.json())

    def _refused(self, code: str, response: ApiResponse, advice: str = "") -> Refused:
        message = self._api.error_details(response.json(), code)[1] or f"HTTP {response.status}"
        return Refused(code, f"{self._api.service_name} refused the order: {message} {advice}".strip())

    def _input(self, request: Json, key: str) -> dict[str, Any]:
        """Return the input of a create: nothing is left to the defaults of the vendor, which differ by model.

        Raises NotSent for a model without a valid profile, and Refused for a prompt that the vendor would cut.
        """
        profile, model, prompt = self._profiles.get(request["model"]), request["model"], request["prompt"]
        if profile is None:
            message = f"No profile of {self.short_name} names the model {model}. Add one to your video profiles file."
            raise NotSent("video_model_unknown", message)
        longest = profile.max_prompt_characters
        if longest and len(prompt) > longest:
            message = f"{model} takes prompts of {longest} characters; this one has {len(prompt)}. Shorten it."
            raise Refused("prompt_too_long", message)
        width, height = (int(pixels) for pixels in request["size"].split("x"))
        shape, resolution, sound = math.gcd(width, height), f"{min(width, height)}p", request.get("sound", True)
        values = {
            "prompt": prompt,
            "seconds": request["seconds"],
            "aspect": f"{width // shape}:{height // shape}",
            "resolution": profile.words.get(resolution, resolution),
            "sound": profile.words.get(str(sound).lower(), sound),
            # Unique to the order: one of unknown outcome is found by it.
            "seed": int(hashlib.sha256(key.encode()).hexdigest()[:7], 16),
            **request.get("start", {}),
        }
        fields = profile.start_image if "start" in request else profile.input_fields
        try:
            return {name: fill(part, values) for name, part in fields.items()}
        except KeyError as error:
            message = f"The input_fields of {model} name {error}, which no order has. Correct your video profiles file."
            raise NotSent("video_profiles_invalid", message) from None

    async def poll(self, task_id: str, request: Json, *, into: Path, progress: Progress) -> PollResult:
        """Return the status of a task; once it is done, its clip, downloaded and validated. Raises Unavailable."""
        response = await self._query_task(task_id)
        task = self._find_task(response)
        if task is None:
            return NotFound()
        status = str(task.get("status"))
        if status == "failed":
            return self._failed(task)
        if status == self.done:
            return await self._clip(task, request, into)
        if status not in self.states:
            raise self._api.unexpected_response(response)
        return self.states[status] or Pending()

    async def _query_task(self, task_id: str) -> ApiResponse:
        return await self._api.query("GET", self.status_path.format(quote(task_id, safe="")), expected=(200, 404))

    def _find_task(self, response: ApiResponse) -> Json | None:
        """Return the task in a response, None if the vendor does not know it. Raises Unavailable."""
        return response.json() if response.status == 200 else None

    def _failed(self, task: Json, *, charged: bool = False) -> Failed:
        """Return the failure of a task with the vendor's reason; the profile lists those of moderation."""
        names = ("error", "message", "detail", "details")
        text = self._api.sanitize(next((task[name] for name in names if task.get(name)), None))
        return Failed("video_failed", text or f"{self.service_name} could not generate the clip.", charged)

    @abstractmethod
    async def _clip(self, task: Json, request: Json, into: Path) -> PollResult:
        """Return the clip of a task that has succeeded."""

    async def _fetch(self, url: object, request: Json, into: Path, headers: Json | None = None) -> PollResult:
        """Return the clip at the URL. It is charged for even if it cannot be used. Raises Unavailable."""
        received, profile = into / "received.mp4", self._profiles.get(request["model"])
        hosts, private = (profile.file_hosts, profile.private_file_hosts) if profile else ((), ())
        rules = FileRules(hosts or self.file_hosts, private, self._api.base_url)
        try:
            if not isinstance(url, str):
                return self._file_missing("names no file")
            response = await download_file(url, received, rules, LIMITS, headers, self._file_client)
            if response.status in (401, 403, 404, 410):
                return self._file_missing(f"does not serve the file (HTTP {response.status})")
            if response.status != 200:
                raise self._api.unexpected_response(response)
            width, height = (int(pixels) for pixels in request["size"].split("x"))
            size = {"width": width, "height": height}
            clip = await self._accept(received, seconds=float(request["seconds"]), **size, into=into)
        except Unusable as error:  # the file is too large, or not a usable clip
            return Failed(error.code, error.message, charged=True)
        return replace(clip, facts={**clip.facts, "model": request["model"]})

    def _file_missing(self, reason: str) -> FileMissing:
        message = f"{self.service_name} reports the clip as finished, and {reason}."
        return FileMissing(Failed("video_expired", message, charged=True))


def callback_url(request: Json, key: str) -> str | None:
    """Return the URL for webhooks about the order, or None without webhooks."""
    return f"{request['callback']}?order={quote(key, safe='')}" if request.get("callback") else None
