"""The manifests, rendered once for all tests of a process."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A folder with what the Secret `nats-tls` holds, for 127.0.0.1 as well.
    """
    place = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-x509", "-subj", "/CN=flotilla", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt"]
    subprocess.run(["openssl", "req", *key, *authority], cwd=place, check=True, capture_output=True, timeout=60)
    request = ["-subj", "/CN=nats", "-keyout", "tls.key", "-out", "tls.csr"]
    subprocess.run(["openssl", "req", *key, *request], cwd=place, check=True, capture_output=True, timeout=60)
    (place / "names").write_text("subjectAltName=DNS:nats,DNS:*.nats-nodes,DNS:localhost,IP:127.0.0.1\n")
    sign = ["-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    subprocess.run(
        ["openssl", "x509", *sign, "-extfile", "names", "-out", "tls.crt"],
        cwd=place,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return place
