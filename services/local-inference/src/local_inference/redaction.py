"""Workers that redact, and the bucket of the vaults, which they make themselves: nobody else may."""

from functools import partial

from flotilla.fabric.inbox import Requests
from flotilla.inference.redaction import serving
from flotilla.inference.redaction.detection import Detection
from flotilla.inference.redaction.vault_keys import VaultKeys
from flotilla.inference.serving import Serving
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import vault_bucket
from local_inference.settings import LocalSettings


def serving_redaction(settings: LocalSettings, keys: VaultKeys) -> Serving:
    """Redact and restore, and nothing else."""
    make_bucket = partial(_make_bucket, settings.stream_replicas)
    return serving.serving_redaction(settings, _detection(settings), keys, make_bucket)


def with_redaction(models: Serving, settings: LocalSettings, keys: VaultKeys) -> Serving:
    """What the pool's models serve, and redaction with their help."""
    make_bucket = partial(_make_bucket, settings.stream_replicas)
    return serving.with_redaction(models, settings, _detection(settings), keys, make_bucket)


def _detection(settings: LocalSettings) -> Detection:
    return Detection(
        types=settings.redaction_types,
        plugins=tuple(part.strip() for part in settings.redaction_layers.split(",") if part.strip()),
        spacy=settings.redaction_spacy,
        timeout_s=settings.redaction_layer_timeout_s,
    )


async def _make_bucket(replicas: int, requests: Requests) -> None:
    await ensure(requests, [vault_bucket(replicas)])
