"""Publishes what is on its standard input as a CloudEvent in structured mode: publish_structured.py EXCHANGE ROUTING_KEY"""
import os, sys
import pika

exchange, routing_key = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(os.environ["QUEUE_URL"])).channel()
channel.confirm_delivery()
properties = pika.BasicProperties(
    content_type="application/cloudevents+json; charset=utf-8", delivery_mode=pika.DeliveryMode.Persistent
)
channel.basic_publish(exchange, routing_key, sys.stdin.buffer.read(), properties, mandatory=True)
