#!/usr/bin/env python3
"""Reads Waybill's events from RabbitMQ, each once in effect. Needs `pip install pika==1.3.2`.

    python3 events_consumer.py amqp://guest:guest@127.0.0.1:5672/%2f my-erp 'order.*'

It binds a queue of its own to Waybill's exchange, so it takes nothing away from anybody, and what happens while it is
away waits for it. Prints one line of JSON per event; `--count N` ends it after N.
"""

import argparse
import json
import sys

import pika

parser = argparse.ArgumentParser()
parser.add_argument("url", help="amqp:// URL of the broker")
parser.add_argument("queue", help="a name of your own; it is kept at the broker")
parser.add_argument("topics", nargs="+", help="as order.confirmed, or with * for one word and # for any number")
parser.add_argument("--exchange", default="waybill.events")
parser.add_argument("--count", type=int, default=0)
options = parser.parse_args()

connection = pika.BlockingConnection(pika.URLParameters(options.url))
channel = connection.channel()
# Passive: the exchange is Waybill's to declare.
channel.exchange_declare(options.exchange, exchange_type="topic", passive=True)
# A quorum queue is kept on several nodes, and gives up a message that is delivered in vain ten times.
channel.queue_declare(
    options.queue,
    durable=True,
    arguments={"x-queue-type": "quorum", "x-delivery-limit": 10, "x-single-active-consumer": True},
)
for topic in options.topics:
    channel.queue_bind(options.queue, options.exchange, routing_key=topic)
channel.basic_qos(prefetch_count=100)

print("ready", file=sys.stderr, flush=True)
# Waybill delivers at least once: an event may come again, with the same id. A real consumer remembers the ids in the
# transaction of its effect (`insert ... on conflict do nothing`); this one remembers them while it runs.
seen = set()
for delivery, _, body in channel.consume(options.queue):
    event = json.loads(body)
    if event["id"] not in seen:
        seen.add(event["id"])
        # Fields are only ever added within a version; a higher version than you know may mean something else.
        if event["version"] == 1:
            print(json.dumps(event), flush=True)
    # Only now: what is not acknowledged comes again.
    channel.basic_ack(delivery.delivery_tag)
    if options.count and len(seen) >= options.count:
        break
channel.cancel()
connection.close()
