"""Options of a harness run, and the stops that it plans for a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["api", "worker"]
StopSignal = Literal["SIGKILL", "SIGSTOP"]


@dataclass(frozen=True)
class Options:
    """How many runs to start, how many processes to kill, and which faults to inject."""

    kills: int = 200
    runs: int = 100
    seed: int = 1
    max_minutes: float = 60.0
    concurrent_runs: int = 6
    #: Mean lifetime of a process before its failpoint is armed.
    mean_lifetime_seconds: float = 8.0
    #: Time between two database outages; 0 for none.
    outage_interval_seconds: float = 60.0
    provider_faults: bool = True


@dataclass(frozen=True)
class Stop:
    """A signal that a process sends itself when it hits a failpoint.

    Attributes:
        failpoint: The failpoint, for example `submit.before`.
        signal: The signal, SIGKILL or SIGSTOP.
        after_seconds: The failpoint is armed so many seconds after the start, or after the previous stop.
        fallback_seconds: If the failpoint is not hit for so many seconds, the next one of any name is used instead.
    """

    failpoint: str
    signal: StopSignal
    after_seconds: float = 0.0
    fallback_seconds: float = 1e9
