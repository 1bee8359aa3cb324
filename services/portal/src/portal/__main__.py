"""`python -m portal`: wiring only."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import portal
from flotilla.chassis.deployable import Deployable, Runtime, Served, run_deployable
from flotilla.chassis.plain_structlog import structlog
from flotilla.chassis.probes import beating
from flotilla.chassis.service import run_service
from flotilla.chassis.signals import starting
from flotilla.contracts.errors import SettingsError
from flotilla.fabric.inbox import Requests
from portal.access.approvers import Approvers
from portal.access.fleets import Fleets
from portal.access.oidc_settings import OidcSettings
from portal.access.people import People, load_people
from portal.access.proxy import proxy_of
from portal.access.sessions import Sessions, session_key
from portal.live.view import FleetView
from portal.metrics import PortalMetrics
from portal.settings import LOOPBACK_NAMES, PortalSettings
from portal.web.app import Answer, StreamAnswers, application, every_answer
from portal.web.data_answers import data_answers
from portal.web.server import listen, served
from portal.web.session_answers import SessionAnswers
from portal.web.who import Doors

INBOX_PREFIX = "_INBOX.observer"

logger = structlog.get_logger("portal")


async def run(settings: PortalSettings, instance: str) -> None:
    """Serve until a stop signal, then close every stream."""
    settings.check()
    people = load_people(settings.portal_people)
    sessions = Sessions(people, session_key(settings.portal_session_key_file), lifetime_s=settings.session_lifetime_s)
    proxy = proxy_of(settings.portal_proxies, settings.portal_proxy_header)
    provider = settings.provider()
    doors = Doors(
        people,
        sessions,
        proxy,
        open_view=settings.is_loopback,
        https=settings.portal_https,
        has_provider=provider is not None,
    )
    signing_in = {} if provider is None else provider_answers(provider, settings, people, sessions, doors)
    scopes = settings.scope_names()
    names = settings.names() | (frozenset(LOOPBACK_NAMES) if settings.is_loopback else frozenset[str]())
    listening = listen(settings.portal_host, settings.portal_port, settings.portal_fd)
    metrics = PortalMetrics()

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncGenerator[Served]:
        requests = Requests(runtime.connection)
        stopping = asyncio.Event()
        with starting(runtime.stop):
            await requests.start()
            view = FleetView(runtime.connection, requests, scopes=scopes)
            metrics.view = view
            await view.start()
            fleets = Fleets(settings.nats_url, settings.nats_tls_ca)
            await fleets.start()
            approvers = Approvers(settings.nats_url, settings.nats_tls_ca)
        session = SessionAnswers(doors, people, sessions, scopes=scopes)
        stream = StreamAnswers(doors, view, viewers_max=settings.viewers_max, stopping=stopping)
        answers = {**data_answers(doors, view, requests, fleets, approvers), **signing_in}
        app = application(every_answer(session, stream, answers), names=names, https=settings.portal_https)
        async with served(app, listening, viewers_max=settings.viewers_max, place_of=proxy.place_of) as ended:
            host, port = listening.getsockname()[:2]
            logger.info("portal", host=host, port=port)
            yield Served(
                live=beating(lambda: view.turned_s),
                ends=(ended,),
                facts={"scopes": scopes, "people": len(people), "port": port},
            )
            stopping.set()
        await fleets.stop()
        await view.stop()
        await requests.stop()

    what = Deployable(
        connection_name="portal",
        inbox_prefix=INBOX_PREFIX,
        trace_service="portal",
        discovery_name=None,
        version=portal.__version__,
        description="Flotilla: the fleet, live, in a browser",
        metadata={"instance": instance},
        registry=metrics.registry,
        serve=serve,
    )
    await run_deployable(what, settings, instance)


def provider_answers(
    provider: OidcSettings, settings: PortalSettings, people: People, sessions: Sessions, doors: Doors
) -> dict[tuple[str, str], Answer]:
    """
    What answers those who sign in at a provider.

    Raises:
        SettingsError: The extra is not installed.
    """
    try:
        from portal.access.oidc import Oidc  # noqa: PLC0415  (an extra)
        from portal.web.oidc_answers import OidcAnswers  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise SettingsError(
            "setting FLOTILLA_PORTAL_OIDC_ISSUER: what signs in there is not here; install flotilla-portal[oidc], or build "
            "the image with EXTRAS=oidc"
        ) from error
    return OidcAnswers(doors, Oidc(provider, people), sessions, https=settings.portal_https).answers()


if __name__ == "__main__":
    sys.exit(run_service("portal", PortalSettings, run))
