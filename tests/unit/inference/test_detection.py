"""Layers that a worker's settings add: there from the start or the worker does not start, and closed when they fail."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import RedactInput, RedactOutput
from flotilla.inference.backend import Work
from flotilla.inference.redaction.detection import PLUGINS_MAX, Detection
from flotilla.inference.redaction.engine import RedactionEngine
from flotilla.inference.redaction.vaults import Vaults
from flotilla.privacy import Entries
from flotilla.privacy.layers import STUCK_MAX
from flotilla.privacy.own_types import FILE_LENGTH_MAX

HANDLE = "abcdefghijklmnopqrstuvwx23"
TEXT = "Order C-123456 sails on the Nautilus for ann@example.com"
EXAMPLES = Path(__file__).parents[3] / "examples" / "redaction"
OWN = "[types.ORDER]\npattern = 'C-\\d{6}'\n"
PLUGIN = """
import threading
released = threading.Event()
def ships(text):
    at = text.find("Nautilus")
    return [(at, at + 8, "SHIP")] if at >= 0 else []
def raises(text):
    raise ValueError(text)
def hangs(text):
    released.wait(600)
    return []
def lies(text):
    return [(0, len(text) + 1, "SHIP")]
no_function = 7
"""


class NoVaults:
    """Vaults that hold nothing."""

    async def change(self, _scope: str, work: Any, **_: Any) -> tuple[Any, str, int]:
        """Have the work done on an empty vault."""
        outcome, _entries = await work(Entries.empty(HANDLE))
        return outcome, HANDLE, 1


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    A module of somebody's own where Python finds it.
    """
    (tmp_path / "sea_plugins.py").write_text(PLUGIN)
    (tmp_path / "broken_plugins.py").write_text("raise RuntimeError('sea')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    module = importlib.import_module("sea_plugins")
    yield module
    module.released.set()
    for name in ("sea_plugins", "broken_plugins"):
        sys.modules.pop(name, None)


async def redacted(detection: Detection, document: str = TEXT) -> RedactOutput:
    """What a worker with these settings makes of a document."""
    engine = RedactionEngine(detection.layers(), threads=1)
    engine.open(cast("Vaults", NoVaults()))
    given = RedactInput(document=document, language="en")
    work = Work(task="t", capability="redact", input=given, model="", deadline_s=60.0, scope="acme")
    try:
        return msgspec.json.decode((await engine.answer(work)).output, type=RedactOutput)
    finally:
        await engine.aclose()


@pytest.mark.usefixtures("plugins")
async def test_types_and_functions_of_ones_own_add_to_what_is_built_in(tmp_path: Path):
    """
    Each with its own type.
    """
    file = tmp_path / "types.toml"
    file.write_text(OWN)

    output = await redacted(Detection(types=file, plugins=("sea_plugins:ships",)))

    assert {"ORDER", "SHIP", "EMAIL"} == {found.type for found in output.found}
    assert not any(word in output.document for word in ("C-123456", "Nautilus", "ann@"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"types = 3", "expected tables"),
        (b"[types.ORDER]\npattern = '('", "types.ORDER.pattern"),
        (b"[types.EMAIL]\npattern = 'x'", "types.EMAIL"),
        (b"\xff", "UTF-8"),
        (b"#" * (FILE_LENGTH_MAX + 1), "longer than"),
    ],
    ids=["absent", "no types", "no pattern", "a built-in one", "not UTF-8", "too long"],
)
def test_a_file_of_types_that_is_none_stops_the_worker(tmp_path: Path, content: bytes | None, says: str):
    """
    With the setting, the file, and the key.
    """
    file = tmp_path / "types.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match="FLOTILLA_REDACTION_TYPES") as refused:
        Detection(types=file).layers()

    assert str(file) in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    "plugins",
    [
        ("no_such_module:find",),
        ("sea_plugins:absent",),
        ("sea_plugins:no_function",),
        ("broken_plugins:find",),
        ("sea_plugins",),
        ("sea_plugins:ships", "sea_plugins:ships"),
        tuple(f"sea_plugins:ships{number}" for number in range(PLUGINS_MAX + 1)),
    ],
    ids=["no module", "no attribute", "no function", "raises when imported", "no name", "twice", "too many"],
)
def test_a_function_that_is_not_there_stops_the_worker(plugins: tuple[str, ...]):
    """
    Without it less would be found than somebody relies on.
    """
    with pytest.raises(SettingsError, match="FLOTILLA_REDACTION_LAYERS"):
        Detection(plugins=plugins).layers()


def test_a_pipeline_that_is_not_there_stops_the_worker(monkeypatch: pytest.MonkeyPatch):
    """
    Whether spaCy is not installed or has none of that name.
    """
    with pytest.raises(SettingsError, match="FLOTILLA_REDACTION_SPACY"):
        Detection(spacy="no_such_pipeline").layers()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(SettingsError, match=r"FLOTILLA_REDACTION_SPACY.*install"):
        Detection(spacy="en_core_web_sm").layers()


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", ["raises", "lies"])
async def test_a_function_that_fails_fails_the_task(name: str):
    """
    The error names the layer, and has nothing of the text.
    """
    with pytest.raises(AttemptError, match=f"sea_plugins:{name}") as failed:
        await redacted(Detection(plugins=(f"sea_plugins:{name}",)))

    assert FailureKind.CRASHED is failed.value.kind
    assert "Nautilus" not in repr(failed.value)
    assert "Nautilus" not in repr(failed.value.__cause__) + repr(failed.value.__context__)


async def test_a_function_that_hangs_fails_the_task_and_holds_few_threads(plugins: Any):
    """
    A thread cannot be ended: as many as are bounded stay until the function comes back, and then it is asked again.
    """
    layers = Detection(plugins=("sea_plugins:hangs",), timeout_s=0.02).layers()
    engine = RedactionEngine(layers, threads=1)
    engine.open(cast("Vaults", NoVaults()))
    given = RedactInput(document=TEXT, language="en")
    work = Work(task="t", capability="redact", input=given, model="", deadline_s=60.0, scope="acme")

    for _ in range(STUCK_MAX + 3):
        with pytest.raises(AttemptError, match="sea_plugins:hangs") as failed:
            await engine.answer(work)
        assert FailureKind.TIMEOUT is failed.value.kind
    stuck = [thread for thread in threading.enumerate() if thread.name == "layer-sea_plugins:hangs"]
    assert STUCK_MAX == len(stuck)

    plugins.released.set()
    for thread in stuck:
        thread.join(60)
    patient = Detection(plugins=("sea_plugins:hangs",), timeout_s=60).layers()
    await engine.aclose()
    assert [] == list(patient[-1].find(TEXT, "en"))


PRESIDIO = {
    "presidio_analyzer/__init__.py": """
from types import SimpleNamespace
class AnalyzerEngine:
    def __init__(self, nlp_engine, supported_languages):
        assert nlp_engine.nlp["en"] == "blank en", supported_languages
    def analyze(self, text, language, score_threshold):
        assert (language, score_threshold) == ("en", 0.4)
        at = text.find("078-05-1120")
        return [SimpleNamespace(start=at, end=at + 11, entity_type="US_SSN")] if at >= 0 else []
""",
    "presidio_analyzer/nlp_engine.py": """
class SpacyNlpEngine:
    def __init__(self, models):
        self.models = models
""",
    "spacy.py": "def blank(language):\n    return f'blank {language}'\n",
}


@pytest.fixture
def presidio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    A stand-in with Presidio's names, and the example, where Python finds them; forgotten afterwards.
    """
    for name, content in PRESIDIO.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    names = ("presidio_analyzer", "presidio_analyzer.nlp_engine", "spacy", "presidio_layer")
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(EXAMPLES), *sys.path])
    yield
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.mark.usefixtures("presidio")
def test_presidio_is_a_layer_by_the_example():
    """
    What the example makes of Presidio's answers is what counts here.
    """
    layer = Detection(plugins=("presidio_layer:find",)).layers()[-1]

    assert [(4, 15, "ID")] == [(span.start, span.end, span.type) for span in layer.find("ssn 078-05-1120", "en")]
