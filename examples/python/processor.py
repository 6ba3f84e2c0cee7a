"""Executes the tasks of an operation that stands in EBS' OPERATIONS_FILE as external: python processor.py reverse

Needs pika (pip install pika). QUEUE_URL and EXCHANGE are those of EBS. Start as many as you like, anywhere, and stop or
kill any of them at any time: a task that was not acknowledged is delivered again, and what it says twice counts once.
"""
import json, os, socket, sys, time, uuid
from datetime import datetime, timezone
import pika


def execute(part, parameters):
    """Yours: the partial result of a part. Raises if there is none. May be called for the same part again."""
    return [text[::-1] for text in part]


operation = sys.argv[1]
exchange = os.environ.get("EXCHANGE", "ebs")
url = os.environ.get("QUEUE_URL", "amqp://guest:guest@localhost:5672/%2f")
queue = f"{exchange}.processor.{operation}"
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.confirm_delivery()  # from now on basic_publish returns when the broker has it durably, or raises
for needed in [queue, f"{exchange}.statistics"]:
    channel.queue_declare(needed, passive=True)  # EBS declares them; fails if it never ran with this operation
channel.basic_qos(prefetch_count=1)  # the others get the rest


def now():
    return datetime.now(timezone.utc).isoformat()


def publish(kind, key, task, attempt, cause, more):
    """An event about a task, as a CloudEvent in binary mode. Its id follows from what it says."""
    event_id = str(uuid.uuid5(uuid.UUID(task["id"]), f"{kind}/{task['round']}/{attempt}"))
    headers = {"cloudEvents:" + name: value for name, value in {
        "specversion": "1.0", "type": kind, "source": "/python/processor", "id": event_id, "time": now(),
        "subject": task["id"], "correlationid": task["object_id"], "causationid": cause,
    }.items()}
    body = {name: task[name] for name in ["object_id", "part", "parts", "operation", "round"]}
    body |= {"task_id": task["id"], "attempt": attempt, "processor": f"{socket.gethostname()}-{os.getpid()}"} | more
    properties = pika.BasicProperties(
        content_type="application/json", headers=headers, delivery_mode=pika.DeliveryMode.Persistent,
        message_id=event_id, correlation_id=task["object_id"], type=kind,
    )
    channel.basic_publish(exchange, f"{key}.{operation}", json.dumps(body), properties, mandatory=True)


def set_aside(properties, body, reason):
    """Among EBS' dead letters, whence people replay it: the message as it was, with the reason."""
    properties.headers = (properties.headers or {}) | {
        "ebs-dead-reason": reason, "ebs-dead-cause": "rejected", "ebs-dead-time": now(), "ebs-dead-queue": queue,
        "ebs-dead-exchange": exchange, "ebs-dead-routing-key": f"task.created.{operation}",
    }
    channel.basic_publish(f"{exchange}.dead", queue, body, properties, mandatory=True)


print(f"executes {operation}", file=sys.stderr, flush=True)
# Whoever executes longer than a minute does so in a thread, or the connection is given up for want of heartbeats.
for method, properties, body in channel.consume(queue):
    try:
        task, attempt = json.loads(body)["task"], (properties.headers or {}).get("ebs-attempt", 1)
        task["round"] = task.get("round", 0)
        about = (task, attempt, properties.message_id)
    except (ValueError, KeyError, TypeError) as error:
        set_aside(properties, body, f"not a task: {error}"[:2000])
    else:
        publish("TASK_STARTED", "task.started", *about, {})
        began, reason = time.monotonic(), None
        try:
            outcome = {"outcome": "succeeded", "result": execute(task["data"], task.get("parameters", {}))}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:2000]
            outcome = {"outcome": "failed", "error": reason}
        duration_ms = (time.monotonic() - began) * 1000
        publish("TASK_FINISHED", "task.finished", *about, outcome | {"duration_ms": duration_ms})
        if reason:
            set_aside(properties, body, reason)
    channel.basic_ack(method.delivery_tag)  # last of all: what it caused is confirmed
