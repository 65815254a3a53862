"""The error tree: what went wrong, where, and what to do next.

An error means that the tool itself cannot go on. A fault of the data is never an error: it is a finding.
Each class carries the exit code that the command line returns for it.
"""


class SidcurateError(Exception):
    """Base of every error that a user can meet; its message ends with what to do next."""

    exit_code = 2


class UsageError(SidcurateError):
    """The request cannot be carried out as it was put: an unknown device, an empty folder, a bad option."""

    exit_code = 2


class UnreadableRawError(SidcurateError):
    """One raw cannot be decoded. Ingest turns it into a row; elsewhere it stops the work."""

    exit_code = 3


class MissingResourceError(SidcurateError):
    """The machine lacks something: an optional package, space on the disk, a device."""

    exit_code = 4


class IntegrityError(SidcurateError):
    """A hash, a checksum or a schema version is not what was promised."""

    exit_code = 5


class Terminated(KeyboardInterrupt):
    """SIGTERM: an interrupt like Ctrl-C, and no error; what handles one handles the other."""
