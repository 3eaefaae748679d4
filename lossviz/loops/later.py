"""The minibatches of later steps, which some measures need, in a loop that has not drawn them yet."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from torch.utils.data import DataLoader

from lossviz.data.batch import Batch
from lossviz.errors import refuse

ANOTHER = "another DataLoader of the same data"
# What accelerate and Fabric make of a DataLoader, by name: they need not be installed.
PREPARED = {"DataLoaderAdapter", "_FabricDataLoader"}
Given: TypeAlias = Callable[[int], Batch] | Iterable[Batch]


class LaterBatches:
    """Batches by step: of a function of the step, or of data that are gone through from the start at each measurement.

    Args:
        given: the function; or a list, or a DataLoader. After the last batch the first follows.

    Raises:
        RequestError: the data can be gone through only once, or to go through them changes the loop.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        if isinstance(given, Iterator):
            accepted = "a function from a step to its batch, a list, or a DataLoader"
            refuse("batches", "can be gone through only once", accepted=accepted)
        if isinstance(given, DataLoader) and given.persistent_workers:
            problem = "is a DataLoader with persistent_workers, which would start again for the loop too"
            refuse("batches", problem, accepted=ANOTHER)
        # One that was begun anew within accelerate's took 5 updates in the place of 6.
        if PREPARED.intersection(each.__name__ for each in type(given).__mro__):
            problem = f"is a {type(given).__name__}, which counts its passes: those of the loop would change"
            refuse("batches", problem, accepted=ANOTHER, advice="make one of torch's, before accelerate or Fabric")

    def __call__(self, step: int) -> Callable[[int], Batch]:
        """The batches of the steps after this one."""
        given = self.given
        if not isinstance(given, Iterable):
            return given
        endless = _again_and_again(given)
        fetched: list[Batch] = []

        def of_step(later: int) -> Batch:
            while len(fetched) < later - step:
                fetched.append(next(endless))
            return fetched[later - step - 1]

        return of_step


def _again_and_again(data: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        count = 0
        for batch in data:
            count += 1
            yield batch
        if not count:
            refuse("batches", "there is none", accepted="data with a batch or more")
