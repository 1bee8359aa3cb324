"""
The capabilities that only the local zone serves: redact a document, restore it, and look after the vaults between.

They are local by construction: tasks of theirs are restricted whatever their headers say, routing knows no cloud route
for them whatever a policy lists, and a cloud worker's card that announces them is taken without them.

A vault has the values that the placeholders of one case stand for. Its handle is unguessable and good in the scope that
it was made in; to any other scope it is one that does not exist.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from flotilla.contracts.headers import DataClass
from flotilla.contracts.patterns import pattern

VAULT_LIFETIME_S_MIN: Final = 60
VAULT_LIFETIME_S_MAX: Final = 7 * 86_400
VAULT_LIFETIME_S_DEFAULT: Final = 86_400
CASE_LENGTH_MAX: Final = 200
VAULTS_LISTED_MAX: Final = 200
TYPES_SWITCHED_MAX: Final = 32
"""In one list of a policy: it travels with every attempt of `redact`."""

Handle = Annotated[str, Meta(pattern=pattern(r"^[a-z2-7]{26}\Z", "26 of a-z and 2-7"))]
Case = Annotated[str, Meta(min_length=1, max_length=CASE_LENGTH_MAX)]
Language = Annotated[
    str, Meta(pattern=pattern(r"^[A-Za-z0-9-]{2,35}\Z", "a language: 2 to 35 of A-Z, a-z, 0-9 and hyphens"))
]
Count = Annotated[int, Meta(ge=0)]
TypeName = Annotated[str, Meta(pattern=pattern(r"^[A-Z]{2,16}\Z", "2 to 16 of A-Z"))]
"""Of personal data; a placeholder begins with it."""
Score = Annotated[float, Meta(ge=0.0, le=1.0)]
LifetimeS = Annotated[int, Meta(ge=VAULT_LIFETIME_S_MIN, le=VAULT_LIFETIME_S_MAX)]


class RedactionPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Which types of personal data are replaced: the operator's word, in the policy; no caller has one.

    Attributes:
        off: Types that stay in the text.
        score_min: By type, how sure a layer must be (0 to 1); what it finds with a lower score stays in the text.
    """

    off: Annotated[list[TypeName], Meta(max_length=TYPES_SWITCHED_MAX)] = []
    score_min: Annotated[dict[TypeName, Score], Meta(max_length=TYPES_SWITCHED_MAX)] = {}


EVERY_TYPE: Final = RedactionPolicy()
"""What holds where no policy says anything."""


class RedactInput(Struct, frozen=True, kw_only=True):
    """
    A document to redact.

    Attributes:
        document: A text, or any JSON whose texts, keys included, are redacted; its shape stays.
        language: A BCP 47 tag; None has it detected, "any" accepts that names of a language without lists are missed.
        vault: Goes on with this vault: what it knows already gets the same placeholder.
        case: The same by a name of the caller's own; the scope's vault of that name is made when there is none.
        lifetime_s: After the last redaction into it, the vault is gone.
    """

    document: Any
    language: Language | None = None
    vault: Handle | None = None
    case: Case | None = None
    lifetime_s: LifetimeS = VAULT_LIFETIME_S_DEFAULT


class Placeholder(Struct, frozen=True, kw_only=True):
    """What stands in a redacted document for one value, of which type it is, and how often it stands there."""

    placeholder: str
    type: str
    count: Count


class Found(Struct, frozen=True, kw_only=True):
    """In how many places values of a type were replaced."""

    type: str
    count: Count


class RedactOutput(Struct, frozen=True, kw_only=True):
    """
    A redacted document: nothing here is a value, nor says where in the original one stood.

    Attributes:
        document: In the shape of the input's.
        vault: The handle to restore with.
        found: By type, the most frequent first.
        expires_unix_ms: When the vault is gone, if nothing more is redacted into it.
    """

    document: Any
    vault: Handle
    placeholders: list[Placeholder]
    found: list[Found]
    expires_unix_ms: Annotated[int, Meta(ge=0)]


class RestoreInput(Struct, frozen=True, kw_only=True):
    """A text, or any JSON, in which a vault's placeholders stand."""

    document: Any
    vault: Handle


class RestoreOutput(Struct, frozen=True, kw_only=True):
    """
    The document with the values put back.

    Attributes:
        document: In the shape of the input's.
        restored: How many placeholders were replaced.
        unknown: Those in the vault's form for which it has no value; they stay as they stand.
        missing: Those of the vault that do not occur, which is no fault.
    """

    document: Any
    restored: Count
    unknown: list[str]
    missing: list[str]


class VaultInput(Struct, frozen=True, kw_only=True):
    """
    What to do with the scope's vaults.

    Attributes:
        action: `list` them, or `forget` one, named by its handle or its case.
    """

    action: Literal["list", "forget"]
    vault: Handle | None = None
    case: Case | None = None


class VaultEntry(Struct, frozen=True, kw_only=True):
    """A vault without what is in it."""

    vault: Handle
    entries: Count
    created_unix_ms: Annotated[int, Meta(ge=0)]
    expires_unix_ms: Annotated[int, Meta(ge=0)]


class VaultOutput(Struct, frozen=True, kw_only=True):
    """
    The scope's vaults, oldest first, and how many were forgotten.

    Attributes:
        more: There are more than the VAULTS_LISTED_MAX that are listed.
        unreadable: Handles of those whose key the worker has no more, or that were damaged: all that is left is to forget
            them.
    """

    vaults: list[VaultEntry] = []
    forgotten: Count = 0
    more: bool = False
    unreadable: list[Handle] = []


LOCAL_CAPABILITIES: Final[dict[str, tuple[type[Struct], type[Struct]]]] = {
    "redact": (RedactInput, RedactOutput),
    "restore": (RestoreInput, RestoreOutput),
    "vault": (VaultInput, VaultOutput),
}
"""Input and output of each, as `capabilities.BUILT_IN` has them of the others."""

DECLASSIFIED: Final[dict[tuple[str, str], DataClass]] = {("redact", "document"): "internal"}
"""The only fields of an output whose class is lower than their task's, unless the operator's policy names others."""


def task_data_class(capability: str, given: DataClass | None, default: DataClass) -> DataClass:
    """The class of a task: its caller's word, else the scope's default; of these capabilities always `restricted`."""
    return "restricted" if capability in LOCAL_CAPABILITIES else given or default
