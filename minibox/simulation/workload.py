"""What simulated people do all day: seeded deeds through the real doors."""

from collections.abc import Awaitable, Callable

from minibox.simulation.looking import Looking
from minibox.simulation.naming import Naming
from minibox.simulation.writing import Writing

SHORTEST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.6


class Worker(Writing, Looking, Naming):
    """A person who does everything."""

    async def act(self, count: int) -> None:
        """So many deeds, one after the other."""
        doings, weights = zip(*self._deeds(), strict=True)
        for _ in range(count):
            [doing] = self._generator.choices(doings, weights)
            await doing()
            await self._cluster.pause(
                self._generator.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            )

    def _deeds(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        return [
            (self.put, 9),
            (self.replace, 6),
            (self.upload_form, 4),
            (self.put_directly, 6),
            (self.abort_a_put, 2),
            (self.read, 9),
            (self.look, 4),
            (self.list, 2),
            (self.make_folder, 2),
            (self.move, 4),
            (self.copy, 3),
            (self.restore_version, 3),
            (self.delete, 3),
            (self.restore, 2),
            (self.purge, 1),
            (self.race, 2),
        ]
