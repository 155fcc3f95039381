"""The index in production: LMDB beside the volumes."""

import shutil
from pathlib import Path

from minibox.node.index import OpenIndex
from minibox.store import Store, open_lmdb
from minibox.world import World

FOLDER = "index"


def lmdb_index(world: World, directory: Path) -> OpenIndex:
    """Opens the index of the data directory ``directory``."""

    async def open_index(*, anew: bool) -> Store:
        if anew:
            await world.threads.run(shutil.rmtree, directory / FOLDER, ignore_errors=True)
        return await open_lmdb(world, directory / FOLDER)

    return open_index
