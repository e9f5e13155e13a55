"""Makes a table of the outside world equal to what is wanted, and touches nothing that is right.

`DeltaTracker` is memory only: desired rows, actual rows, and their difference as pending work. `Table` is the
outside world behind three verbs. `Reconciler` joins them, one row's failure never delaying another row.
Nothing here knows what a row is.
"""

from tortie.reconcile.backoff import Backoff
from tortie.reconcile.reconciler import Failure, Reconciler, Table
from tortie.reconcile.tracker import DeltaTracker

__all__ = ["Backoff", "DeltaTracker", "Failure", "Reconciler", "Table"]
