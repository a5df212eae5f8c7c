"""For programs that ask the endpoint: photos in, counts out, and URLs fetched safely on the caller's side."""

from binventory.client.addresses import FetchError
from binventory.client.counting import Count, CountError, count_photo
from binventory.client.fetching import DATASET_HOSTS, Fetched, FetchPolicy, fetch_photo
from binventory.client.queueing import Queue, count_queued

__all__ = [
    "DATASET_HOSTS",
    "Count",
    "CountError",
    "FetchError",
    "FetchPolicy",
    "Fetched",
    "Queue",
    "count_photo",
    "count_queued",
    "fetch_photo",
]
