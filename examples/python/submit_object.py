"""Submits an object without asking anybody: python submit_object.py OPERATION DATA [PARAMETERS], such as
python submit_object.py pow '[1, 2, 3]' '{"exponent": 2}'. Prints its id; EBS shows it at /api/objects/ID.

Needs pika (pip install pika). QUEUE_URL (amqp://...) and EXCHANGE are those of EBS; asyncapi.json has every event's schema.
"""
import json, os, sys, uuid
from datetime import datetime, timezone
import pika

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
operation, data, parameters = sys.argv[1], json.loads(sys.argv[2]), json.loads("".join(sys.argv[3:]) or "{}")
exchange = os.environ.get("EXCHANGE", "ebs")
url = os.environ.get("QUEUE_URL", "amqp://guest:guest@localhost:5672/%2f")
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.confirm_delivery()  # from now on basic_publish returns when the broker has it durably, or raises
for queue in ["distributor", "statistics"]:
    # It must reach both, and `mandatory` only notices when it reaches none. Passive: fails if there is no such queue.
    channel.queue_declare(f"{exchange}.{queue}", passive=True)

object_id, now = uuid.uuid4(), datetime.now(timezone.utc).isoformat()
event = {"object": {
    "id": str(object_id), "name": "from Python", "operation": operation, "parameters": parameters, "data": data,
    "tasks": 3, "deadline_ms": 3_600_000, "created_at": now,
}}
# A CloudEvent in binary mode: attributes in headers. The event's id follows from what it says, so that who is not sure
# whether it arrived sends the same again, and it counts once.
headers = {"cloudEvents:" + name: value for name, value in {
    "specversion": "1.0", "type": "OBJECT_CREATED", "source": "/python/submit_object",
    "id": str(uuid.uuid5(object_id, "OBJECT_CREATED/0/0")), "time": now,
    "subject": str(object_id), "correlationid": str(object_id),
}.items()}
properties = pika.BasicProperties(
    content_type="application/json", headers=headers, delivery_mode=pika.DeliveryMode.Persistent,
    message_id=headers["cloudEvents:id"], correlation_id=str(object_id), type="OBJECT_CREATED",
)
channel.basic_publish(exchange, f"object.created.{operation}", json.dumps(event), properties, mandatory=True)
print(object_id)
