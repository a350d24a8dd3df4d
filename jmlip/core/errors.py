"""The errors a user meets: one sentence that says what must hold, what was found, and what to do.

The command line prints the message alone and exits with `exit_code`; everywhere else these are
ordinary exceptions.
"""


class JmlipError(ValueError):
    """The work could not be done; the message is one sentence with the remedy."""

    exit_code = 1


class ConfigError(JmlipError):
    """A configuration or a command-line option is wrong; nothing was started."""

    exit_code = 2


class DataError(JmlipError):
    """A data file or a structure is not what it must be."""


class PotentialError(JmlipError):
    """A potential directory is damaged, of another format, or does not know what is asked of it."""


class DivergenceError(JmlipError):
    """Training or dynamics left the finite numbers; the last good state was kept."""
