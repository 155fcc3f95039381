"""A file's bytes to chunks on nodes, and back: for the client and for the coordinator's doors."""

from minibox.transfer.fetching import Source, fetch_chunks, read_content
from minibox.transfer.nodes import Nodes
from minibox.transfer.sending import Placed, Placer, send_chunks
from minibox.transfer.upload import Sent, Upload

__all__ = [
    "Nodes",
    "Placed",
    "Placer",
    "Sent",
    "Source",
    "Upload",
    "fetch_chunks",
    "read_content",
    "send_chunks",
]
