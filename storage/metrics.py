"""The gauges with values from the database."""

from storage.admission import Caps
from storage.costs import list_cap_rooms
from storage.database import Database, read_statements
from storage.troubles import COUNTS
from telemetry.metrics import Sample

sql = read_statements("metrics", counts=COUNTS)


async def read_gauges(db: Database, caps: Caps) -> list[Sample]:
    """Return the values of all gauges that the database has, in two statements."""
    samples = await db.fetch_all(sql["gauges"], row=Sample)
    for room in await list_cap_rooms(db, caps):
        labels = {"project": room.name}
        samples.append(Sample("myloware_cap_usd", float(room.cap_usd), labels))
        samples.append(Sample("myloware_cap_left_usd", float(room.left_usd), labels))
    return samples
