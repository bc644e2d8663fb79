"""A stand-in for Domo on loopback, for rehearsals and tests."""

from bulkcancel.sandbox.options import Options, SandboxOptions
from bulkcancel.sandbox.rules import RULES
from bulkcancel.sandbox.server import Sandbox

__all__ = ["RULES", "Options", "Sandbox", "SandboxOptions"]
