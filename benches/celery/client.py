"""Submits every text of a file as a chord and waits for all of them; prints how long it took, and the totals.

A text has a line, its parts are separated by tabs.
"""

import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from celery import chord
from tasks import count, merge

# How long everything may take.
PATIENCE_S = 300


def submit(text):
    return chord(count.s(part) for part in text.split("\t"))(merge.s())


def main():
    path, publishers = sys.argv[1], int(sys.argv[2])
    with open(path, encoding="utf-8") as file:
        texts = file.read().splitlines()
    # Connections, queues and the worker's processes are there when the clock starts.
    with ThreadPoolExecutor(publishers) as pool:
        for result in list(pool.map(submit, texts[:1] * (4 * publishers))):
            result.get(timeout=PATIENCE_S)
        began = time.monotonic()
        results = list(pool.map(submit, texts))
        submitted = time.monotonic()
        counts = [result.get(timeout=PATIENCE_S) for result in results]
        ended = time.monotonic()
    totals = Counter()
    for counted in counts:
        totals.update(counted)
    print(json.dumps({"seconds": ended - began, "submitted_s": submitted - began, "totals": totals}))


if __name__ == "__main__":
    main()
