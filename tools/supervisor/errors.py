"""The two ways in which a command ends early."""


class Failure(Exception):
    """Something outside this program is wrong. The text is one sentence: what happened, where, what to do."""


def not_saved(reason):
    """The Failure of a stop that could not save the data."""
    return Failure(f"the data could not be saved and stays in shared memory: {reason}; mend that, then 'millrace start' goes on with it and "
                   "'millrace stop' tries again; 'millrace stop --force' gives it up")


class Interrupted(BaseException):
    """A signal (or `millrace stop`) ended a start before it was complete.

    Raised by signal handlers at any point, hence not an Exception: nothing that handles errors may swallow it.
    """
