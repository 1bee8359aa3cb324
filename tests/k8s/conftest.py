"""The manifests, rendered once for all tests of a process."""

import os
from collections.abc import Mapping

import pytest

from flotilla.testkit.manifests import Fleet, find_kustomize, render_sets


@pytest.fixture(scope="session")
def kustomize() -> tuple[str, ...]:
    """
    What renders; without it the tests are skipped, but not in CI.
    """
    found = find_kustomize()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("neither kustomize nor kubectl is on the PATH")
        pytest.skip("neither kustomize nor kubectl is on the PATH")
    return found


@pytest.fixture(scope="session")
def fleets(tmp_path_factory: pytest.TempPathFactory, kustomize: tuple[str, ...]) -> Mapping[str, Fleet]:
    """
    Every overlay with every set of components, by name.
    """
    return render_sets(tmp_path_factory.mktemp("sets"), kustomize)


@pytest.fixture(scope="session")
def prod(fleets: Mapping[str, Fleet]) -> Fleet:
    """
    The prod overlay as it stands.
    """
    return fleets["prod"]


@pytest.fixture(scope="session")
def dev(fleets: Mapping[str, Fleet]) -> Fleet:
    """
    The dev overlay as it stands.
    """
    return fleets["dev"]
