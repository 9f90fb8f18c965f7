"""Signed webhooks, as the vendors or the contracts publish them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Vector:
    """A webhook with the secret and the time of its signature, and the task that it is about."""

    secret: str
    id: str
    timestamp: int
    signature: str
    body: bytes
    status: str
    task_id: str

    @property
    def at(self) -> datetime:
        """Return the time of the signature."""
        return datetime.fromtimestamp(self.timestamp, UTC)

    @property
    def headers(self) -> dict[str, str]:
        """Return the published headers."""
        timestamp = str(self.timestamp)
        return {"webhook-id": self.id, "webhook-timestamp": timestamp, "webhook-signature": self.signature}


#: The vector of each vendor.
VECTORS = {
    "replicate": Vector(
        "whsec_bXlsb3dhcmUtc2FuZGJveC1zZWNyZXQtMzItYnl0ZXM=",
        "msg_2rp0001",
        1795000000,
        "v1,a/D+5iSi/HZRVP/BtR/vFmq/QRZDVez+FJs1VRK+YfA=",
        b'{"id":"q7w2mzrb5drma0cr8e9v1t4nzc","status":"succeeded","input":{"prompt":"x","seed":424242},'
        b'"output":"https://replicate.delivery/xezq/a.mp4","error":null}',
        "succeeded",
        "q7w2mzrb5drma0cr8e9v1t4nzc",
    ),
    "kling": Vector(
        "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=",
        "9876543210",
        1781080794,
        "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
        b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}',
        "succeeded",
        "1234567890",
    ),
    "higgsfield": Vector(
        "whsec_bXlsb3dhcmUtc2FuZGJveC1zZWNyZXQtMzItYnl0ZXM=",
        "msg_2hf0001",
        1795000000,
        "v1,90y1T7FWLvwq3pMQZmfpbR8LoxhmEINsbra4xqysak8=",
        b'{"request_id":"0c4a9e17-5b82-4d66-9a3f-7c1e08b45d29","status":"completed","error":null,"payload":{"video":'
        b'{"url":"https://media.example/hf.mp4","content_type":"video/mp4"}},"expires_at":"2026-12-03T10:00:00Z"}',
        "completed",
        "0c4a9e17-5b82-4d66-9a3f-7c1e08b45d29",
    ),
}
