"""Thirty-two threads against a limit: python peer_retries.py plain|botocore IDS BASE_URL OUT.

`plain` sends a refused cancel again after a full-jitter back-off, as most scripts do; `botocore`
asks the rate limiter of botocore's adaptive mode before every request, and tells it the answer.
"""

from __future__ import annotations

import csv
import http.client
import random
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 32


def _botocore_limiter() -> tuple[Callable[[], None], Callable[[bool], None]]:
    from botocore.retries import adaptive, bucket, throttling

    clock = bucket.Clock()

    class Detector:
        def is_throttling_error(self, **told: bool) -> bool:
            return told["throttled"]

    limiter = adaptive.ClientRateLimiter(
        rate_adjustor=throttling.CubicCalculator(
            starting_max_rate=0, start_time=clock.current_time()
        ),
        rate_clocker=adaptive.RateClocker(clock),
        token_bucket=bucket.TokenBucket(max_rate=1, clock=clock),
        throttling_detector=Detector(),
        clock=clock,
    )
    return (
        lambda: limiter.on_sending_request(request=None),
        lambda throttled: limiter.on_receiving_response(throttled=throttled),
    )


def main(kind: str, ids_file: str, base_url: str, out: str) -> None:
    with open(ids_file, newline="") as listed:
        todo = iter([row[0] for row in csv.reader(listed)][1:])
    before, after = (
        _botocore_limiter() if kind == "botocore" else (lambda: None, lambda _throttled: None)
    )
    address = urlsplit(base_url).netloc
    lock = threading.Lock()
    with open(out, "w") as file:

        def work() -> None:
            connection = http.client.HTTPConnection(address)
            while True:
                with lock:
                    each = next(todo, None)
                if each is None:
                    return
                attempt = 0
                while True:
                    before()
                    connection.request("POST", f"/api/workflow/v1/instances/{each}/cancel")
                    try:
                        response = connection.getresponse()
                        response.read()
                    except (ConnectionError, http.client.HTTPException):
                        connection.close()  # nginx was reloaded
                        continue
                    after(response.status == 429)
                    if response.status != 429:
                        break
                    time.sleep(random.random() * min(20.0, 2.0**attempt))
                    attempt += 1
                with lock:
                    file.write(f"{each},{response.status}\n")

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
