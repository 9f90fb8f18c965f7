"""A child for the tests: it does what the order says."""

from __future__ import annotations

import os
import time

from providers.base import ProviderError
from providers.media import leash


def do(order, progress):
    match order["do"]:
        case "tell the environment":
            return dict(os.environ)
        case "refuse":
            raise ProviderError("no_such_thing", "There is no such thing.")
        case "break":
            raise RuntimeError
        case "chatter":
            print("not an answer", flush=True)
            return {"said": True}
        case _:
            progress(0.5)
            time.sleep(60)
            return {}


if __name__ == "__main__":
    leash.work(do)
