"""The outcome of a film's publication by platform, over all orders that were placed for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from providers.orders import OrderStatus


@dataclass
class PublicationOutcome:
    """What is known of each platform. A platform that published the film is never posted to again."""

    published: set[str] = field(default_factory=set)
    #: The reasons of the platforms that did not publish the film, by their own word or that of a person.
    failed: dict[str, str] = field(default_factory=dict)
    #: The platforms that said neither: they are not posted to again, and have not failed.
    unconfirmed: set[str] = field(default_factory=set)
    #: URL and id of each post.
    links: dict[str, Any] = field(default_factory=dict)
    #: The other facts of the orders.
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as the artifact `publication` shows it."""
        rest = {"failed": self.failed, "unconfirmed": sorted(self.unconfirmed)}
        return {**self.facts, "platforms": self.links, **{name: value for name, value in rest.items() if value}}

    def add(self, order: OrderStatus) -> None:
        """Add what a later order says."""
        result, links, reasons = order.result, order.result.get("platforms") or {}, order.result.get("failed") or {}
        self.links |= links
        warnings = [*self.facts.get("warnings", []), *result.get("warnings", [])]
        self.facts |= {name: value for name, value in result.items() if name not in _OUTCOME}
        self.facts |= {"warnings": warnings} if warnings else {}
        # A publisher that knows no platforms has one place to post to.
        names = order.request.get("platforms") or ["the publisher"]
        for name in (name for name in names if name not in self.published):
            self.failed.pop(name, None)
            self.unconfirmed.discard(name)
            if name in links or (order.state == "settled" and name not in reasons):
                self.published.add(name)
            elif name in reasons or order.state == "failed":
                self.failed[name] = str(reasons.get(name) or result.get("message") or "no reason given")
            else:
                self.unconfirmed.add(name)


#: The names that `PublicationOutcome.add` reads by platform or that belong to one order.
_OUTCOME = ("platforms", "failed", "unconfirmed", "warnings", "code", "message")


def publication_outcome(orders: Iterable[OrderStatus]) -> PublicationOutcome:
    """Return the outcome of these orders, oldest first."""
    outcome = PublicationOutcome()
    for order in orders:
        outcome.add(order)
    return outcome
