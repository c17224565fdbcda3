"""The overall scores of YouTube-VOS and VIPOSeg."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from segblocks.metrics.base import Record, mean
from segblocks.metrics.j_and_f import Judged, ObjectSimilarity


class GScore(ObjectSimilarity):
    """Compute G, the mean of J and F over classes that training shows and those that it does not.

    Xu et al., YouTube-VOS (arXiv:1809.03327), section 5: J and F, as DAVIS has them, are averaged
    over the objects of seen classes and over those of unseen ones, and G is the mean of the four.
    An object is of an unseen class where its attribute ``seen`` is false. VIPOSeg (Xu et al.,
    Video Object Segmentation in Panoptic Wild Scenes, IJCAI 2023) parts things and stuff as well.

    The official evaluation of YouTube-VOS is a server whose code is not public; that frames count
    from the one after the object's first to the last annotated one is how its users describe it.

    Args:
        judged: see :class:`~segblocks.metrics.j_and_f.JAndF`.
        by_kind: average over things and stuff, seen and unseen, so that G is the mean of eight.

    Returns of ``compute``: G, J_seen, J_unseen, F_seen and F_unseen; by kind J_seen_thing,
    J_seen_stuff and so on. What has no object is NaN, and G is the mean of the others.
    """

    def __init__(self, judged: Judged = "after", *, by_kind: bool = False) -> None:
        super().__init__(judged)
        self.by_kind = by_kind

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        objects = [entry for record in records for entry in record.values()]
        groups: dict[str, Record] = {
            "_seen": {"seen": True},
            "_unseen": {"seen": False},
        }
        if self.by_kind:
            kinds = {"_thing": {"is_thing": True}, "_stuff": {"is_thing": False}}
            groups = {
                name + kind: {**wanted, **of_kind}
                for (name, wanted), (kind, of_kind) in product(groups.items(), kinds.items())
            }
        result = {
            what + name: mean([e[what][0] for e in objects if _fits(e, wanted)])
            for what in ("J", "F")
            for name, wanted in groups.items()
        }
        judged = [value for value in result.values() if value == value]
        return {"G": mean(judged), **result}


def _fits(entry: Record, wanted: Record) -> bool:
    return all(entry[name] == value for name, value in wanted.items())
