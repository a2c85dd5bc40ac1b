"""What the test asks of a client: register, evolve, be refused, read by id. Prints what it saw as a line of JSON."""

import json
import sys

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

url, user, topic = sys.argv[1:]
subject = f"{topic}-value"


def connect():
    """A client with nothing in its caches."""
    return SchemaRegistryClient({"url": url, "basic.auth.user.info": user})


client = connect()


def person(*fields):
    return json.dumps({"type": "record", "name": "Person", "namespace": "test", "fields": list(fields)})


name = {"name": "name", "type": "string"}
email = {"name": "email", "type": "string", "default": "unknown"}
first, second = person(name), person(name, email)
third = person(name, {"name": "phone", "type": "string"})

# The serializer registers the first version by itself.
context = SerializationContext(topic, MessageField.VALUE)
written = AvroSerializer(client, first)({"name": "Ada"}, context)
registered = client.get_latest_version(subject)

compatible = client.test_compatibility(subject, Schema(second, "AVRO"))
second_id = client.register_schema(subject, Schema(second, "AVRO"))
latest = connect().get_latest_version(subject)
assert client.lookup_schema(subject, Schema(second, "AVRO")).version == latest.version

try:
    client.register_schema(subject, Schema(third, "AVRO"))
    refused = None
except SchemaRegistryError as error:
    refused = [error.http_status_code, error.error_code]

# The schema comes by the id in the bytes.
read = AvroDeserializer(connect(), second)(written, context)

client.set_compatibility(subject, "FULL")
level = client.get_compatibility(subject)

print(
    json.dumps(
        {
            "first": [registered.schema_id, registered.version],
            "compatible": compatible,
            "second": [second_id, latest.version],
            "versions": client.get_versions(subject),
            "incompatible": client.test_compatibility(subject, Schema(third, "AVRO")),
            "refused": refused,
            "written": written.hex(),
            "read": read,
            "level": level,
        }
    )
)
