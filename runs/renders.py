"""Renders of a worker: those that this process can do; the others are left to the other workers for a while."""

import asyncio
import logging
import time
from datetime import timedelta

from providers.base import Refused
from providers.media.glyphs import find_missing_glyphs
from providers.renders.manifest import parse_manifest
from runs.reconcile import reconcile_order
from runs.services import Services
from storage.orders import OrderRow
from storage.wakeups import count_workers

log = logging.getLogger(__name__)

#: For so long a render is left to the other workers. Then this one does it as well as it can, with a notice.
LEFT_SECONDS = 60.0


class Renders:
    """The queue of renders of a process. `left` has the keys that it leaves to others, and since when."""

    def __init__(self, services: Services, only: list[str] | None = None) -> None:
        self._services, self._only = services, only
        self.left: dict[str, float] = {}

    async def claim(self, limit: int) -> list[str]:
        """Return the keys of due renders, without those that are left to other workers."""
        left = [key for key in self.left if self._is_left(key)]
        return await self._services.ledger.claim_due(limit, renders=True, only=self._only, without=left)

    async def reconcile(self, key: str) -> None:
        """Reconcile a render, or leave it to the other workers, if there are any, when this process cannot do it."""
        if not self._is_left(key) and not await self._leave(key):
            await reconcile_order(self._services, key)

    def _is_left(self, key: str) -> bool:
        return time.monotonic() - self.left.get(key, float("-inf")) < LEFT_SECONDS

    async def _leave(self, key: str) -> bool:
        """Leave a render that this process cannot do, once, and make it due for the others; False for any other."""
        order = None if key in self.left or self._only else await self._services.ledger.get(key)
        if order is None or order.settled_at or not (lack := await asyncio.to_thread(self._describe_lack, order)):
            return False
        if await count_workers(self._services.db) < 2:
            return False
        self.left[key] = time.monotonic()
        log.info("render %s is left to other workers: this one %s", key, lack)
        await self._services.ledger.reschedule_poll(key, timedelta(0))
        return True

    def _describe_lack(self, order: OrderRow) -> str:
        """Return what this process lacks for the render, or nothing."""
        if order.provider != self._services.ledger.provider_of(order).name:
            return f"does not use {order.provider}"
        try:
            manifest = parse_manifest(order.request)
        except Refused:  # the renderer reports what is wrong
            return ""
        texts = [manifest.title, *manifest.props.values(), *(clip.overlay for clip in manifest.clips)]
        missing = find_missing_glyphs("".join(texts))
        return f"has no font for {' '.join(missing[:10])}" if missing else ""
