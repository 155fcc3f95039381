"""Child processes that end with their parent, however it dies; watched, and started again.

Each child holds the reading end of a pipe whose other end only the parent has: the system closes it
with the parent, and the child stops. A child runs in a session of its own, so that Ctrl-C reaches
the parent alone and the children are stopped in order.
"""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from minibox.cli.supervision import Lapses

STOP_SECONDS = 20.0
"""A child that takes longer to stop is killed."""
_LINE_BYTES = 4096


class Child:
    """One process. It has said ``ready`` in a line on its stdout, or will."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.is_ready = False
        self.lapses = Lapses()
        self.start_at: float | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = arguments
        self._began = 0.0
        self._output = b""

    def start(self, pipe: int) -> None:
        """Run it; ``pipe`` is what it watches its parent by."""
        self.start_at = None
        self._began = time.monotonic()
        self._output = b""
        self.process = subprocess.Popen(  # noqa: S603 - this very program
            [*self._arguments, "--parent-pipe", str(pipe)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(pipe,),
            start_new_session=True,
        )

    def read(self) -> bool:
        """Take what it wrote; whether it is still there."""
        process = self.process
        if process is None or process.stdout is None:
            return False
        found = os.read(process.stdout.fileno(), _LINE_BYTES)
        self._output = (self._output + found)[-_LINE_BYTES:]
        if self._output.startswith(b"ready") and b"\n" in self._output:
            self.is_ready = True
        return bool(found)

    def ended(self) -> int:
        """It has closed its stdout: its exit code. It is to be started again after a pause."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.stdout is not None:
            process.stdout.close()
        code = process.wait()
        now = time.monotonic()
        self.lapses = self.lapses.after(now - self._began)
        self.start_at = now + self.lapses.pause_seconds
        return code

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


class Children:
    """Runs children until a signal comes. ``log`` is told what happens to them."""

    def __init__(self, children: Sequence[Child], log: Callable[[str], None]) -> None:
        self._children = children
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._is_told_to_stop = False
        self._told_by = ""

    def run(self, all_ready: Callable[[], None]) -> bool:
        """Until SIGINT or SIGTERM; then all are stopped, last started first.

        ``all_ready`` is called once. False when one could not start in the first place.
        """
        theirs, ours = os.pipe()
        noticed, noticing = socket.socketpair()
        noticing.setblocking(False)
        former = signal.set_wakeup_fd(noticing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._selector.register(noticed, selectors.EVENT_READ, None)
        try:
            for child in self._children:
                self._start(child, theirs)
            return self._supervise(theirs, all_ready)
        finally:
            for child in reversed(self._children):
                child.stop()
            signal.set_wakeup_fd(former)
            self._selector.close()
            for each in (noticed, noticing):
                each.close()
            os.close(ours)
            os.close(theirs)

    def _supervise(self, pipe: int, all_ready: Callable[[], None]) -> bool:
        is_up = False
        while not self._is_told_to_stop:
            for key, _ in self._selector.select(self._seconds_to_next_start()):
                child = key.data
                if child is None:
                    with suppress(OSError):
                        key.fileobj.recv(_LINE_BYTES)  # type: ignore[union-attr]
                elif not child.read():
                    self._selector.unregister(key.fileobj)
                    code = child.ended()
                    if not is_up and not self._is_told_to_stop:
                        self._log(f"{child.name} could not start (exit {code})")
                        return False
                    self._log(f"{child.name} ended with {code}; it is started again")
            if not is_up and all(child.is_ready for child in self._children):
                is_up = True
                all_ready()
            for child in self._children:
                if child.start_at is not None and time.monotonic() >= child.start_at:
                    self._start(child, pipe)
        self._log(f"stopping, as {self._told_by} says")
        return True

    def _start(self, child: Child, pipe: int) -> None:
        child.start(pipe)
        if child.process is not None and child.process.stdout is not None:
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _seconds_to_next_start(self) -> float | None:
        due = [each.start_at for each in self._children if each.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self._is_told_to_stop:  # twice: at once
            for child in self._children:
                if child.process is not None:
                    child.process.kill()
        self._is_told_to_stop = True
        self._told_by = signal.Signals(number).name
