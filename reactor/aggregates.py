"""What windows make of their events: for ``windows.aggregate(Count(), Sum(fn))``, or one of your own."""

from reactor.windows import Aggregate, Collect, Fold, Max, Mean, Min, Quantile, Reduce, Sum, Top
from reactor.windows import Counting as Count

__all__ = ["Aggregate", "Collect", "Count", "Fold", "Max", "Mean", "Min", "Quantile", "Reduce", "Sum", "Top"]
