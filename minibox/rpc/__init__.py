"""Calls between processes: MessagePack frames over any Twisted endpoint.

Many calls are in flight on one connection, both ways, with deadlines, cancelling and back-pressure;
failures arrive as the class that was raised; the handshake settles who is there.
"""

from minibox.rpc.connection import Connection
from minibox.rpc.dialing import Dialer
from minibox.rpc.frames import EMPTY, Body, Part
from minibox.rpc.listening import Listening, serve
from minibox.rpc.methods import Answer, Caller, Identity, Method, Reply, Role

__all__ = [
    "EMPTY",
    "Answer",
    "Body",
    "Caller",
    "Connection",
    "Dialer",
    "Identity",
    "Listening",
    "Method",
    "Part",
    "Reply",
    "Role",
    "serve",
]
