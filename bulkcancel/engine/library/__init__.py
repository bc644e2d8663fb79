"""The library's face: cancel many instances from Python."""

from bulkcancel.engine.library.cancel import cancel_all, cancel_many
from bulkcancel.engine.library.progress import Progress

__all__ = ["Progress", "cancel_all", "cancel_many"]
