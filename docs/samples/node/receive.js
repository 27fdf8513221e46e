// Prints what customers write and what becomes of requests, each event once, until it is stopped.
//
// Events come at least once. Each names its origin in the header `wa-source`, `partition:offset:index`, and those of one origin come in order:
// the greatest pair (offset, index) that was handled tells a repetition. It is kept in one transaction with the work itself, so that
// neither a crash nor a rebalance loses or doubles anything.
import { DatabaseSync } from 'node:sqlite'
import { Consumer, MessagesStreamFallbackModes, MessagesStreamModes, stringDeserializers } from '@platformatic/kafka'

const prefix = process.env.WA_TOPIC_PREFIX ?? 'wa.'
const bootstrapBrokers = (process.env.WA_KAFKA_BOOTSTRAP ?? '127.0.0.1:9092').split(',')
const groupId = process.env.GROUP ?? 'sample-node'

const database = new DatabaseSync(process.env.DATABASE ?? 'receive.db')
database.exec(`CREATE TABLE IF NOT EXISTS progress (
  topic TEXT, partition INTEGER, source INTEGER, at INTEGER, nth INTEGER, PRIMARY KEY (topic, partition, source))`)
const advance = database.prepare(`INSERT INTO progress VALUES (?, ?, ?, ?, ?)
  ON CONFLICT DO UPDATE SET at = excluded.at, nth = excluded.nth WHERE (excluded.at, excluded.nth) > (at, nth)`)

const consumer = new Consumer({ clientId: groupId, groupId, bootstrapBrokers, deserializers: stringDeserializers })
const stream = await consumer.consume({
  topics: [prefix + 'messages.received.v1', prefix + 'send.events.v1'],
  autocommit: false,
  mode: MessagesStreamModes.COMMITTED,
  fallbackMode: MessagesStreamFallbackModes.EARLIEST
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stream.close())

for await (const record of stream) {
  database.exec('BEGIN')
  const line = isNew(record) ? handle(record.topic, JSON.parse(record.value)) : null
  database.exec('COMMIT')
  if (line) console.log(line)
  await record.commit() // one round trip each; where thousands come in a second, commit the last of every hundred
}
await consumer.close(true) // leaves the group at once, so that another may take over
database.close()

/** Here goes your work: what it writes to the database is kept or lost together with the progress. */
function handle (topic, event) {
  const { message, decision, error } = event // a received message is Meta's own object, as it came
  const words = topic.endsWith('messages.received.v1')
    ? [event.event_id, message.type, message.text?.body]
    : [event.request_id, event.event, decision?.reason, error?.fix]
  return words.filter(Boolean).join(' ')
}

/** Notes the progress; false for what was handled before. */
function isNew ({ topic, partition, headers }) {
  const source = headers.get('wa-source').split(':').map(Number)
  return advance.run(topic, partition, ...source).changes === 1
}
