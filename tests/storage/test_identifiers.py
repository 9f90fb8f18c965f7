"""Order keys, and the identity of requests."""

from __future__ import annotations

import pytest

from providers.orders import OrderKey
from storage.actors import LOCAL, Actor, RequestContext


def test_order_key_is_parsed_from_its_text() -> None:
    """The text of a key identifies run, kind, number and attempt."""
    key = OrderKey("3f9a", "clip", 2, 3)

    assert str(key) == "3f9a:clip:2:3"
    assert OrderKey.parse(str(key)) == key
    assert str(OrderKey("3f9a", "ideas")) == "3f9a:ideas:1:1"


@pytest.mark.parametrize("text", ["", "run", "run:clip:1", "run:clip:one:1"])
def test_malformed_order_key_is_refused(text: str) -> None:
    """Parsing raises ValueError."""
    with pytest.raises(ValueError, match=r"order key|invalid literal"):
        OrderKey.parse(text)


def test_repeated_request_has_the_same_event_id() -> None:
    """Requests without an idempotency key, of another actor or for another action have other ids."""
    context = RequestContext(LOCAL, "cli", "once")

    assert context.event_id("cancel") == RequestContext(LOCAL, "api", "once").event_id("cancel")
    others = [
        context.event_id("retry"),
        RequestContext(Actor("api_key", "key_1", "key"), "api", "once").event_id("cancel"),
        *(RequestContext(LOCAL, "cli").event_id("cancel") for _ in range(2)),
    ]
    assert len({context.event_id("cancel"), *others}) == 5


def test_actor_has_no_rights_by_default() -> None:
    """Approval permission is given explicitly."""
    assert not Actor("api_key", "key_1", "key").can_approve
    assert LOCAL.can_approve
