"""The same requests as the benchmark's suite, by a bare aiohttp loop with 64 workers: the floor to compare with."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp


async def main(url: str, dataset: str, answers: str, concurrency: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with Path(dataset).open() as rows, Path(answers).open("w") as out:  # noqa: ASYNC230
            pending = iter(rows)

            async def worker() -> None:
                for line in pending:
                    row = json.loads(line)
                    messages = [{"role": "user", "content": row["question"]}]
                    async with session.post(url, json={"model": "stub", "messages": messages}) as response:
                        body = json.loads(await response.read())
                    text = body["choices"][0]["message"]["content"]
                    out.write(json.dumps({"id": row["id"], "text": text, "score": row["answer"] in text}) + "\n")

            await asyncio.gather(*(worker() for _ in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
