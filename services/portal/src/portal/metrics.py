"""What a portal counts of itself."""

from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from portal.live.view import FleetView


class PortalMetrics:
    """
    Read when they are asked for.

    Attributes:
        view: Set when the portal has begun to follow the fleet.
    """

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.view: FleetView | None = None
        viewers = Gauge("flotilla_portal_viewers", "Pages that are open", registry=self.registry)
        viewers.set_function(lambda: 0 if self.view is None else self.view.viewers)
        events = Gauge("flotilla_portal_events", "Events that came since the start", registry=self.registry)
        events.set_function(lambda: 0 if self.view is None else self.view.events.total)
        tasks = Gauge("flotilla_portal_tasks_held", "Tasks whose story is held", registry=self.registry)
        tasks.set_function(lambda: 0 if self.view is None else len(self.view.tasks))
