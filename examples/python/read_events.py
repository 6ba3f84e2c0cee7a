"""Prints the events of EBS as they happen: python read_events.py [PATTERN], such as object.finished.#

Needs pika (pip install pika). QUEUE_URL (amqp://...) and EXCHANGE are those of EBS.
"""
import os, sys
import pika

exchange = os.environ.get("EXCHANGE", "ebs")
pattern = sys.argv[1] if len(sys.argv) > 1 else "#"  # of routing keys: * is one word, # any number of them
url = os.environ.get("QUEUE_URL", "amqp://guest:guest@localhost:5672/%2f")
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.exchange_declare(exchange, "topic", durable=True)  # as EBS declares it: whoever comes first
# A queue of our own, gone when we leave. When we are slow it loses its oldest events and holds up nobody. To miss
# nothing instead: a name, durable=True, exclusive=False, {"x-queue-type": "quorum"}, and somebody who reads it for ever.
queue = channel.queue_declare("", exclusive=True, arguments={"x-max-length": 10_000}).method.queue
channel.queue_bind(queue, exchange, pattern)
channel.basic_qos(prefetch_count=100)
print(f"listening to {pattern} of {exchange}", file=sys.stderr, flush=True)
for method, properties, body in channel.consume(queue):
    # The attributes of the CloudEvent are headers, "cloudEvents:subject" for one; the body is its data, JSON. Only what
    # others publish in structured mode has all of it in the body.
    attributes = properties.headers or {}
    print(method.routing_key, attributes.get("cloudEvents:id"), body.decode(errors="replace"), flush=True)
    channel.basic_ack(method.delivery_tag)  # only when all is done: what is not acknowledged comes again
