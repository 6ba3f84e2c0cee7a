"""Publishes two messages that are no events, and that not every client can read: publish_unreadable.py EXCHANGE ROUTING_KEY

One has bytes that are no text where AMQP has text, the other one has lists in lists in a header, 20 000 of them."""
import os, sys, threading
import pika

exchange, routing_key = sys.argv[1:]
LEVELS = 20_000


def publish():
    channel = pika.BlockingConnection(pika.URLParameters(os.environ["QUEUE_URL"])).channel()
    channel.confirm_delivery()
    latin = "naïve".encode("latin-1")
    properties = pika.BasicProperties(
        message_id=latin, type=latin, app_id=latin, correlation_id=latin, content_type=latin, headers={latin: "Latin-1"}
    )
    channel.basic_publish(exchange, routing_key.encode() + b"." + latin, b"in Latin-1", properties, mandatory=True)
    deep = []
    for _ in range(LEVELS):
        deep = [deep]
    channel.basic_publish(exchange, routing_key, b"deep", pika.BasicProperties(headers={"deep": deep}), mandatory=True)
    print("published", flush=True)
    # Without undoing what was nested: that is deep, too.
    os._exit(0)


sys.setrecursionlimit(10 * LEVELS)
threading.stack_size(1 << 29)
threading.Thread(target=publish).start()
