"""
Attempts of which nobody said a word: were they dropped on their way?

A server drops a request without a word when it reaches the node of a replica that has just left its queue group there,
and no other member is left: between the nodes of a cluster the news of the leaving travels, too. Waiting for the first
word would cost each of them its second, and count as a replica's death. So every replica of the pool is asked which it
holds: messages between the same two keep their order, so one that no replica holds has been dropped.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.attempts import ATTEMPTS_ASKED_MAX, RollCall, decode_roll, encode
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.inbox import Inbox

logger = structlog.get_logger("orchestrator")

ROLL_CALL_S: Final = 1.0

ReplicasOf = Callable[[str], frozenset[str]]
"""The replicas of a pool that are known to live."""


class RollCalls:
    """Asks a pool's replicas which attempts they hold."""

    def __init__(self, connection: Connection, inbox: Inbox, instance: str, replicas_of: ReplicasOf) -> None:
        self._connection = connection
        self._inbox = inbox
        self._instance = instance
        self._replicas_of = replicas_of
        self._loop = asyncio.get_running_loop()

    async def ask(self, zone: Zone, pool: str, attempts: list[str], on_missing: Callable[[str], None]) -> None:
        """
        Ask; `on_missing` is called with each attempt that no replica holds, once every replica has answered.

        When one does not within ROLL_CALL_S nothing is known, and nothing is called.
        """
        silent = set(self._replicas_of(pool))
        missing = dict.fromkeys(attempts[:ATTEMPTS_ASKED_MAX])
        if not silent:
            return

        async def on_roll(message: Message) -> None:
            if status_of(message) is not None:
                return
            try:
                roll = decode_roll(message.data)
            except DecodeFailedError as error:
                logger.warning("undecodable_roll", pool=pool, detail=str(error))
                return
            silent.discard(roll.replica)
            for held in roll.attempts:
                missing.pop(held, None)
            if not silent:
                self._inbox.close(reply)
                for attempt in missing:
                    on_missing(attempt)

        reply = self._inbox.open(on_roll, prefix=subjects.attempt_inbox(zone, pool, self._instance))
        self._loop.call_later(ROLL_CALL_S, self._inbox.close, reply)
        await self._connection.publish(
            subjects.infer_control(zone, pool, subjects.EVERY_REPLICA),
            encode(RollCall(attempts=list(missing))),
            reply=reply,
        )
