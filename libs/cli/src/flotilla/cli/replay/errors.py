"""
Why recorded traffic could not be replayed.

    flotilla.contracts.errors.FlotillaError
     └─ UsageError
         └─ ReplayError    the file, an option or a policy does not fit; one line that says where and what is expected
"""

from flotilla.cli.console.exits import UsageError


class ReplayError(UsageError):
    """The recording, an option or a policy does not fit; the text is one line, and holds nothing of the inputs."""
