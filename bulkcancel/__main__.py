"""Where the process begins: signals first, then the program, so that neither meets half of it."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

from bulkcancel.cli import SIGNALS
from bulkcancel.errors import CRASHED, InterruptedRunError, fault_of


def main() -> None:
    """Run the command line of this process and exit with its code."""
    SIGNALS.install()
    gc.disable()  # until all is loaded, and nothing of that is garbage: a twentieth of the start
    # Nobody's plugin is to see the settings; looking for some takes another twentieth.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        # Loaded only now: a signal that comes while it loads must already find its handler.
        cli = import_module("bulkcancel.cli.app")
        code = cli.run_cli(sys.argv[1:])
    except InterruptedRunError as stopped:  # before there was anything to stop
        code = stopped.exit_code
    except Exception as error:  # noqa: BLE001 - a missing module, for one: no traceback, no 1
        code = CRASHED
        if sys.stderr is not None:
            print(fault_of(error), file=sys.stderr)  # noqa: T201
    sys.exit(SIGNALS.exit_code(code))


if __name__ == "__main__":
    main()
