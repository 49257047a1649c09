#!/usr/bin/env python3
"""Reads Waybill's events from RabbitMQ, each once in effect. Needs `pip install pika==1.3.2`.

    python3 events_consumer.py amqp://guest:guest@127.0.0.1:5672/%2f my-erp 'order.*' --db erp.sqlite

It binds a queue of its own to Waybill's exchange, so it takes nothing away from anybody, and what happens while it is
away waits for it. Prints one line of JSON per event; `--count N` ends it after N. When the broker goes it comes back.
"""

import argparse
import json
import sqlite3
import sys
import time

import pika
from pika.exceptions import AMQPError

# The payload versions that this program understands. Fields are only ever added within a version.
KNOWN_VERSION = 1
# Ids are forgotten after this; Waybill keeps its own events for 30 days (`housekeeping.keep_days`), so no older one comes.
KEEP_DAYS = 40
# The most messages that wait for this program. RabbitMQ then drops the oldest: a queue that refuses instead
# (`reject-publish`) makes it refuse Waybill's events, for everybody. What was dropped can be had from `/v1/admin/events`.
MAX_LENGTH = 1_000_000

SCHEMA = """
create table if not exists seen (id text primary key, at text not null);
create index if not exists seen_by_age on seen (at);
create table if not exists facts (id text primary key, topic text not null, payload text not null);
create table if not exists parked (id text, body text not null, why text not null);
"""

parser = argparse.ArgumentParser()
parser.add_argument("url", help="amqp:// URL of the broker")
parser.add_argument("queue", help="a name of your own; it is kept at the broker")
parser.add_argument("topics", nargs="+", help="as order.confirmed, or with * for one word and # for any number")
parser.add_argument("--exchange", default="waybill.events")
parser.add_argument("--db", default=":memory:", help="where to remember what was handled, across restarts")
parser.add_argument("--count", type=int, default=0)
options = parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def handle(db, body):
    """The effect of a message, the mark that it was handled, or both together: one transaction. Returns the event if it is new."""
    try:
        event = json.loads(body)
        key, version = event["id"], event["version"]
    except (ValueError, KeyError, TypeError) as error:
        with db:
            db.execute("insert into parked values (null, ?, ?)", (repr(body), f"unreadable: {error}"))
        say("parked a message that cannot be read")
        return None
    with db:
        # Waybill delivers at least once: a copy has the same id, and finds it here.
        seen = db.execute("insert or ignore into seen values (?, ?)", (key, event["created_at"]))
        if seen.rowcount == 0:
            return None
        if version > KNOWN_VERSION:
            # A higher version may mean something else. Acknowledged and dropped it would be lost; so it is kept for the
            # release of this program that understands it.
            db.execute("insert into parked values (?, ?, ?)", (key, json.dumps(event), f"version {version}"))
            say(f"parked {key}: version {version} of {event['topic']}")
            return None
        # A real program does its work here, in the same transaction.
        db.execute("insert into facts values (?, ?, ?)", (key, event["topic"], json.dumps(event["payload"])))
    return event


def forget(db):
    age = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - KEEP_DAYS * 86_400))
    with db:
        db.execute("delete from seen where at < ?", (age,))


def consume(db, done):
    """Until `--count` events are handled, then True; until the connection or the queue is lost, then False or an error."""
    connection = pika.BlockingConnection(pika.URLParameters(options.url))
    try:
        channel = connection.channel()
        # Passive: the exchange is Waybill's to declare.
        channel.exchange_declare(options.exchange, exchange_type="topic", passive=True)
        # A quorum queue is kept on several nodes, and gives up a message that is delivered in vain ten times.
        channel.queue_declare(
            options.queue,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": 10,
                "x-single-active-consumer": True,
                "x-max-length": MAX_LENGTH,
                "x-overflow": "drop-head",
            },
        )
        for topic in options.topics:
            channel.queue_bind(options.queue, options.exchange, routing_key=topic)
        channel.basic_qos(prefetch_count=100)
        say("ready")
        for delivery, _, body in channel.consume(options.queue):
            event = handle(db, body)
            if event:
                print(json.dumps(event), flush=True)
                done.append(event["id"])
            # Only now: what is not acknowledged comes again.
            channel.basic_ack(delivery.delivery_tag)
            if options.count and len(done) >= options.count:
                channel.cancel()
                return True
            if len(done) >= 1_000 and not options.count:
                done.clear()
                forget(db)
        return False
    finally:
        if connection.is_open:
            connection.close()


def main():
    db = sqlite3.connect(options.db)
    db.executescript(SCHEMA)
    forget(db)
    done, pause = [], 1
    while True:
        began = time.monotonic()
        try:
            if consume(db, done):
                return
            say("lost the queue")
        except (AMQPError, OSError) as error:
            say(f"lost the broker: {error!r}")
        # From one second to half a minute; after a good while from the beginning.
        pause = 1 if time.monotonic() - began > 60 else min(pause * 2, 30)
        time.sleep(pause)


main()
