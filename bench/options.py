"""Names and options that the programs of the bench share with the processes that they start."""

from dataclasses import dataclass

API_KEY = "bench-key-000000000000000"
PROJECT = "shorts"
#: The signing secret of the stub of the video provider.
WEBHOOK_SECRET = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g="

#: The tables of the bare API.
BARE_SCHEMA = """
create table webhooks (
    id text primary key, event jsonb not null, created_at timestamptz not null default now()
);
create table runs (
    id uuid primary key, status text not null, content jsonb not null, created_at timestamptz not null default now()
);
create index runs_newest on runs (created_at desc, id desc);
"""


@dataclass(frozen=True)
class ProductOptions:
    """The options of `bench.product`. A clip can be fetched after `clip_seconds`; metrics are served at their port."""

    dsn: str
    folder: str
    clip_seconds: float = 0.0
    metrics_port: int | None = None
