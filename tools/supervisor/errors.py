"""The two ways in which a command ends early."""


class Failure(Exception):
    """Something outside this program is wrong. The text is one sentence: what happened, where, what to do."""


class Interrupted(BaseException):
    """A signal (or `millrace stop`) ended a start before it was complete.

    Raised by signal handlers at any point, hence not an Exception: nothing that handles errors may swallow it.
    """
