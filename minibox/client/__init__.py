"""The library: a minibox from Python, blocking (Client) or async (Session)."""

from minibox.client.authority import Credentials
from minibox.client.blocking import Client
from minibox.client.progress import Progress
from minibox.client.session import Session
from minibox.client.tree_report import TreeReport

__all__ = ["Client", "Credentials", "Progress", "Session", "TreeReport"]
