"""The same loop with httpx: python peer_httpx.py IDS BASE_URL OUT."""

from __future__ import annotations

import asyncio
import csv
import sys

import httpx

WORKERS = 32


async def _main(ids: list[str], base_url: str, out: str) -> None:
    todo = iter(ids)
    with open(out, "w", newline="") as file:
        rows = csv.writer(file)

        async def work(client: httpx.AsyncClient) -> None:
            for each in todo:
                response = await client.post(f"/api/workflow/v1/instances/{each}/cancel")
                body = response.json()
                rows.writerow(
                    (each, response.status_code, body["status"], body["modelName"], body["modelId"])
                )

        limits = httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
        async with httpx.AsyncClient(base_url=base_url, limits=limits) as client:
            await asyncio.gather(*(work(client) for _ in range(WORKERS)))


if __name__ == "__main__":
    with open(sys.argv[1], newline="") as listed:
        column = [row[0] for row in csv.reader(listed)][1:]
    asyncio.run(_main(column, sys.argv[2], sys.argv[3]))
