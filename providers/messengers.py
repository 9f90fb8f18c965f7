"""Notifications as messages in Slack, by an incoming webhook, and in Telegram, by a bot.

Contracts: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, with the blocks of Block Kit, and
https://core.telegram.org/bots/api. Both are sent plain text, in which nothing is markup, and neither knows a repeated
message.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, ClassVar

import httpx

from providers.base import Json
from providers.notifications import SendResult, attempt, classify
from providers.public_hosts import CheckedClient

#: Of the text of a section; of the caption of a photo, in UTF-16 code units as Telegram counts.
MAX_SLACK_CHARACTERS, MAX_CAPTION_UNITS = 3_000, 1_024
MAX_ANSWER_CHARACTERS = 200

# This logger writes the URL of every request, and those of both messengers are secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Message:
    """A notification in words. `link` is a page of the console, which asks a person to sign in.

    `picture` is a JPEG file, and `picture_url` its public address, if it has one.
    """

    text: str
    link: str
    picture: bytes | None = field(default=None, repr=False)
    picture_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Messenger:
    """A service that shows notifications as messages, at a secret URL, from which `scheme` and host remain a name.

    The hosts in `private_hosts` can have private addresses.
    """

    scheme: ClassVar[str]
    client: CheckedClient
    url: str = field(repr=False)
    private_hosts: Sequence[str] = ()

    @property
    def endpoint(self) -> str:
        """Return the name of the service in deliveries, without the secret."""
        return f"{self.scheme}://{httpx.URL(self.url).netloc.decode()}"

    async def send(self, message: Message) -> SendResult:
        """Send the message once, without its picture if that is refused. Never raises for an error of the service."""
        sent = await attempt(self._send(message))
        if sent.outcome == "refused" and (message.picture or message.picture_url):
            sent = await attempt(self._send(replace(message, picture=None, picture_url=None)))
        return sent

    async def check(self) -> str:
        """Return what can be said of the service without sending a message. Raises ValueError if it refuses."""
        raise NotImplementedError

    async def _send(self, message: Message) -> SendResult:
        raise NotImplementedError

    async def _post(self, path: str = "", **content: Any) -> httpx.Response:
        extensions = {"private_hosts": frozenset(self.private_hosts)}
        return await self.client.post(f"{self.url}{path}", **content, extensions=extensions)

    def _describe(self, result: SendResult, answer: str) -> SendResult:
        """Return the result with what the service answered."""
        words = answer[:MAX_ANSWER_CHARACTERS].strip().replace(self.url, "…")
        return replace(result, response=f"{result.response}: {words}")


class Slack(Messenger):
    """The channel of an incoming webhook, whose URL is the permission to write in it."""

    scheme = "slack"

    async def _send(self, message: Message) -> SendResult:
        text = message.text[:MAX_SLACK_CHARACTERS]
        blocks: list[Json] = [{"type": "section", "text": {"type": "plain_text", "text": text}}]
        if message.picture_url:
            blocks.append({"type": "image", "image_url": message.picture_url, "alt_text": "A picture of the film"})
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open the console"}, "url": message.link}
        blocks.append({"type": "actions", "elements": [button]})
        # This text is shown where blocks are not, and there it could be markup.
        response = await self._post(json={"text": escape(text, quote=False), "blocks": blocks})
        result = classify(response.status_code, response.headers.get("retry-after"))
        if result.outcome == "delivered" and response.text.strip() != "ok":
            result = replace(result, outcome="refused")
        return result if result.outcome == "delivered" else self._describe(result, response.text)

    async def check(self) -> str:
        """Return that nothing was asked."""
        return "Slack is not asked, because every request to its webhook is a message"


@dataclass(frozen=True, kw_only=True)
class Telegram(Messenger):
    """A chat in which a bot writes, by the Bot API at a URL that ends in the token of the bot."""

    scheme = "telegram"
    chat_id: str

    async def _send(self, message: Message) -> SendResult:
        units = MAX_CAPTION_UNITS - 1 - len(message.link)
        text = message.text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore") + f"\n{message.link}"
        if message.picture:
            photo = {"photo": ("film.jpg", message.picture, "image/jpeg")}
            return (await self._call("sendPhoto", {"caption": text}, files=photo))[0]
        # Without a preview: Telegram would request the page.
        return (await self._call("sendMessage", {"text": text, "link_preview_options": '{"is_disabled": true}'}))[0]

    async def check(self) -> str:
        """Return the names of the bot and of the chat. Raises ValueError if one is refused or there is no answer."""
        found = []
        for method in ("getMe", "getChat"):
            try:
                result, answer = await self._call(method, {})
            except (OSError, httpx.HTTPError) as error:
                message = f"Telegram cannot be reached at {httpx.URL(self.url).host}: {error}. Check TELEGRAM_BASE_URL."
                raise ValueError(message) from error
            if result.outcome != "delivered":
                raise ValueError(f"Telegram {method}: {result.response}. Check TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID.")
            found.append(answer)
        return f"Telegram: @{found[0].get('username')} can write in chat {found[1].get('id')}; no message was sent"

    async def _call(self, method: str, data: Json, **content: Any) -> tuple[SendResult, Json]:
        """Return the result of a call of the Bot API for the chat, and what it returned."""
        response = await self._post(f"/{method}", data={"chat_id": self.chat_id, **data}, **content)
        try:
            answer = response.json()
            status = response.status_code if answer["ok"] else answer["error_code"]
            wait = (answer.get("parameters") or {}).get("retry_after", "")
            result = classify(int(status), str(wait))
        except (ValueError, LookupError, TypeError, AttributeError):
            # That was no Bot API, perhaps a proxy on the way.
            return classify(max(response.status_code, 500)), {}
        if result.outcome == "delivered":
            return result, answer["result"]
        return self._describe(result, str(answer.get("description"))), {}
