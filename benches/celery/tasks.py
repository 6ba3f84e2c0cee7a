"""The peer's work: count the words of each part of a text, and merge the counts."""

import os
from collections import Counter

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER_URL"], backend=os.environ["BENCH_REDIS_URL"])
# As durable as ours: quorum queues, publisher confirms, a task acknowledged after its end.
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
)


@app.task
def count(text):
    return Counter(text.split())


@app.task
def merge(counts):
    total = Counter()
    for part in counts:
        total.update(part)
    return total
