// What the test asks of a client: register, evolve, be refused, read by id. Prints what it saw as a line of JSON.
import registry from "@kafkajs/confluent-schema-registry";

const { SchemaRegistry, SchemaType, COMPATIBILITY } = registry;
const [host, user, topic] = process.argv.slice(2);
const subject = `${topic}-value`;
const [username, password] = user.split(":");
const connect = () => new SchemaRegistry({ host, auth: { username, password }, retry: { retries: 0 } });
const client = connect();

const person = (...fields) => ({ type: SchemaType.AVRO, schema: JSON.stringify({ type: "record", name: "Person", namespace: "test", fields }) });
const name = { name: "name", type: "string" };
const email = { name: "email", type: "string", default: "unknown" };

// This client sets the level by itself when the subject is new.
const first = await client.register(person(name), { subject, compatibility: COMPATIBILITY.BACKWARD });
const written = await client.encode(first.id, { name: "Ada" });
const second = await client.register(person(name, email), { subject });
const latest = await client.getLatestSchemaId(subject);
const again = await client.getRegistryId(subject, 1);

let refused = null;
try {
  await client.register(person(name, { name: "phone", type: "string" }), { subject });
} catch (error) {
  refused = error.status ?? String(error);
}

// A client of its own: nothing is cached, the schema comes by the id in the bytes.
const read = await connect().decode(written);
console.log(JSON.stringify({ first: first.id, again, second: second.id, latest, refused, written: written.toString("hex"), read }));
