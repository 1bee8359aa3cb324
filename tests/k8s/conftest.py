"""The manifests, rendered once for all tests, and the certificates of a test cluster."""

import fcntl
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from flotilla.testkit.component_sets import compose_all, packed, unpacked
from flotilla.testkit.manifests import Fleet, find_kustomize


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
    Every overlay with every set of components, by name; rendered by one of the processes that run the tests.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    rendered = shared / "sets.json"
    with (shared / "sets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not rendered.exists():
            sets = compose_all(tmp_path_factory.mktemp("sets"), kustomize)
            rendered.write_text(packed(sets), encoding="utf-8")
    return unpacked(rendered.read_text(encoding="utf-8"))


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

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", *key, "-x509", "-subj", "/CN=flotilla", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", *key, "-subj", "/CN=nats", "-keyout", "tls.key", "-out", "tls.csr")
    (place / "names").write_text("subjectAltName=DNS:nats,DNS:*.nats-nodes,DNS:localhost,IP:127.0.0.1\n")
    signed_by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", "tls.csr", *signed_by, "-days", "2", "-extfile", "names", "-out", "tls.crt")
    return place
