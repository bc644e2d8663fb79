"""The plain loop that one would write instead: aiohttp workers, a row per ID, nothing else.

python peer_aiohttp.py asyncio|uvloop IDS BASE_URL OUT [WORKERS]
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys

import aiohttp
from yarl import URL


async def _main(ids: list[str], base_url: str, out: str, workers: int) -> None:
    todo = iter(ids)
    with open(out, "w", newline="") as file:
        rows = csv.writer(file)

        async def work(session: aiohttp.ClientSession) -> None:
            for each in todo:
                url = URL(f"{base_url}/api/workflow/v1/instances/{each}/cancel", encoded=True)
                async with session.post(url, allow_redirects=False) as response:
                    body = json.loads(await response.read())
                    rows.writerow(
                        (each, response.status, body["status"], body["modelName"], body["modelId"])
                    )

        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=workers),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"X-DOMO-Developer-Token": "token"},
        ) as session:
            await asyncio.gather(*(work(session) for _ in range(workers)))


if __name__ == "__main__":
    loop, ids_file, address, results = sys.argv[1:5]
    with open(ids_file, newline="") as listed:
        column = [row[0] for row in csv.reader(listed)][1:]
    job = _main(column, address, results, int(sys.argv[5]) if len(sys.argv) > 5 else 32)
    if loop == "uvloop":
        import uvloop

        uvloop.run(job)
    else:
        asyncio.run(job)
