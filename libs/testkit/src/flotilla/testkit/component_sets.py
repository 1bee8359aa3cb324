"""
Every overlay with every set of components that go together: over a thousand fleets, of which a hundred are rendered.

A component changes an object, or it does not; which ones do is seen by rendering each component alone and in pairs. An
object of a larger set is then the one of the set's own components that change it, rendered with those alone. That this
is what the tool would have made of the whole set is tested with some sets that are rendered as they are.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import yaml

from flotilla.testkit.manifests import K8S, Fleet, Manifest, documents, name_of, render_text

COMPONENTS: Final[dict[str, tuple[str, ...]]] = {
    "dev": (
        "llamacpp",
        "monitoring",
        "redaction",
        "sealed",
        "tenant",
        "tls-cert-manager",
        "vllm",
        "gpu-nvidia",
        "model-pull",
        "tls",
    ),
    "prod": (
        *(
            "llamacpp",
            "monitoring",
            "redaction",
            "sealed",
            "tenant",
            "tls-cert-manager",
            "vllm",
            "autoscaling-hpa",
            "autoscaling-keda",
        ),
        *("gpu-nvidia", "model-pull", "tls"),
    ),
}
"""Of each overlay, in the order in which they are to be listed. Autoscalers are for the pools of prod."""
NEVER_TOGETHER: Final = frozenset({"autoscaling-hpa", "autoscaling-keda"})
"""They would fight over the same counts."""
RENDERED_AT_ONCE: Final = 2

Chosen = frozenset[str]
Key = tuple[str, str, str]
"""Kind, namespace and name."""
Objects = dict[Key, Manifest]


def name_of_set(overlay: str, chosen: Chosen) -> str:
    """Such as `prod+vllm+tls`."""
    return "+".join((overlay, *(name for name in COMPONENTS[overlay] if name in chosen)))


def all_sets(overlay: str, at_once: int | None = None) -> list[Chosen]:
    """Every set of components that go together, of at most so many, smaller ones first."""
    names = COMPONENTS[overlay]
    sizes = range((len(names) if at_once is None else at_once) + 1)
    sets = (frozenset(chosen) for size in sizes for chosen in combinations(names, size))
    return [chosen for chosen in sets if not chosen >= NEVER_TOGETHER]


class Renderer:
    """
    Renders sets, each once, several at a time.

    What is the same in several sets is one object in all of them: do not change any.
    """

    def __init__(self, directory: Path, kustomize: Sequence[str]) -> None:
        self._directory = directory
        self._kustomize = kustomize
        self._parsed: dict[str, Manifest] = {}
        self._made: dict[tuple[str, Chosen], Objects] = {}

    def objects(self, overlay: str, chosen: Chosen) -> Objects:
        """A set that was rendered, by key."""
        self.render(overlay, [chosen])
        return self._made[overlay, chosen]

    def render(self, overlay: str, sets: Iterable[Chosen]) -> None:
        """Render those that were not yet."""
        missing = [chosen for chosen in dict.fromkeys(sets) if (overlay, chosen) not in self._made]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for chosen, text in zip(missing, pool.map(partial(self._text, overlay), missing), strict=True):
                self._made[overlay, chosen] = self._objects(text)

    def _text(self, overlay: str, chosen: Chosen) -> str:
        place = (self._directory / name_of_set(overlay, chosen)).resolve()
        place.mkdir()

        def listed(paths: Iterable[Path]) -> list[str]:
            return [os.path.relpath(path, place) for path in paths]

        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": listed([K8S / "overlays" / overlay]),
            "components": listed(K8S / "components" / name for name in COMPONENTS[overlay] if name in chosen),
        }
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return render_text(place, self._kustomize)

    def _objects(self, text: str) -> Objects:
        found = [self._parsed.get(part) or self._parse(part) for part in text.split("\n---\n")]
        objects = {_key(manifest): manifest for manifest in found}
        if len(objects) != len(found):
            raise ValueError("two objects of one kind and name")
        return objects

    def _parse(self, part: str) -> Manifest:
        [manifest] = documents(part)
        return self._parsed.setdefault(part, manifest)


class Composer:
    """The objects of any set of an overlay, from what its components do alone and in pairs."""

    def __init__(self, renderer: Renderer, overlay: str) -> None:
        self._renderer = renderer
        self._overlay = overlay
        small = all_sets(overlay, RENDERED_AT_ONCE)
        renderer.render(overlay, small)
        self.changed_by: dict[Key, Chosen] = {}
        for chosen in small:
            for component in chosen:
                before, after = (renderer.objects(overlay, each) for each in (chosen - {component}, chosen))
                for key in before.keys() | after.keys():
                    if before.get(key) != after.get(key):
                        self.changed_by[key] = self.changed_by.get(key, frozenset()) | {component}
                    else:
                        self.changed_by.setdefault(key, frozenset())

    def objects(self, chosen: Chosen) -> Objects:
        """A set's, in the order of their keys."""
        found: Objects = {}
        for key, changing in sorted(self.changed_by.items()):
            manifest = self._renderer.objects(self._overlay, chosen & changing).get(key)
            if manifest is not None:
                found[key] = manifest
        return found


def compose_all(directory: Path, kustomize: Sequence[str]) -> Mapping[str, Fleet]:
    """Every set of every overlay, by name."""
    renderer = Renderer(directory, kustomize)
    fleets: dict[str, Fleet] = {}
    for overlay in COMPONENTS:
        composer = Composer(renderer, overlay)
        for chosen in all_sets(overlay):
            fleets[name_of_set(overlay, chosen)] = list(composer.objects(chosen).values())
    return fleets


def packed(sets: Mapping[str, Fleet]) -> str:
    """The sets as one text, each different object once."""
    objects = {id(manifest): manifest for fleet in sets.values() for manifest in fleet}
    places = {identity: index for index, identity in enumerate(objects)}
    listed = {name: [places[id(manifest)] for manifest in fleet] for name, fleet in sets.items()}
    return json.dumps({"objects": list(objects.values()), "sets": listed})


def unpacked(text: str) -> Mapping[str, Fleet]:
    """What `packed` put together."""
    found: dict[str, Any] = json.loads(text)
    return {name: [found["objects"][place] for place in places] for name, places in found["sets"].items()}


def _key(manifest: Manifest) -> Key:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), name_of(manifest)
