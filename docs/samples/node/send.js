// Asks for one template message and tells what becomes of it:
//
//   node send.js +4915112345678 4711-shipped order_update/de
//
// Exit code 0: it goes out, or went out before. 1: it was refused, or failed; the last line says why. 2: not known yet. Then run it again
// with the same request id: within 8 days the middleware sends it once and answers it again.
import { randomUUID } from 'node:crypto'
import { Consumer, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

const prefix = process.env.WA_TOPIC_PREFIX ?? 'wa.'
const bootstrapBrokers = (process.env.WA_KAFKA_BOOTSTRAP ?? '127.0.0.1:9092').split(',')
const waitMs = 1000 * Number(process.env.WAIT_S ?? 30)

const [to, requestId, template] = process.argv.slice(2)
if (!template?.includes('/')) {
  console.error('node send.js TO REQUEST_ID TEMPLATE/LANGUAGE')
  process.exit(2)
}
const [name, code] = template.split('/')
const request = {
  request_id: requestId,
  // Any message object of Meta's Cloud API. Without `from` it leaves from the account's default number.
  message: { messaging_product: 'whatsapp', to, type: 'template', template: { name, language: { code } } }
}

const clientId = 'send'
// A group of its own: every copy of this program reads all answers.
const consumer = new Consumer({
  clientId, bootstrapBrokers, groupId: `send-${randomUUID()}`, deserializers: stringDeserializers
})
const producer = new Producer({
  clientId, bootstrapBrokers, idempotent: true, serializers: stringSerializers
})
try {
  const answers = await readerAtTheEnd(prefix + 'send.events.v1') // before the request: no answer can be missed
  // Any key and partitioner will do; the recipient as key keeps the requests to one person in order.
  await producer.send({
    messages: [{ topic: prefix + 'send.requests.v1', key: to, value: JSON.stringify(request) }]
  })
  process.exitCode = await follow(answers)
} catch (error) {
  console.error(`${requestId} not known yet, repeat it: ${error.message}`)
  process.exitCode = 2
} finally {
  await Promise.all([consumer.close(true), producer.close()])
}

/** A stream of what comes from now on. */
async function readerAtTheEnd (topic) {
  const ends = (await consumer.listOffsets({ topics: [topic] })).get(topic)
  const offsets = ends.map((offset, partition) => ({ topic, partition, offset }))
  return consumer.consume({ topics: [topic], mode: MessagesStreamModes.MANUAL, offsets, autocommit: false, maxWaitTime: 250 })
}

/** Prints the events of the request until its outcome is known; the exit code. */
async function follow (answers) {
  const timer = setTimeout(() => answers.close(), waitMs)
  let known = 2
  for await (const { value } of answers) {
    const event = JSON.parse(value)
    if (event.request_id !== requestId) continue
    const { decision, error } = event
    const words = [decision?.outcome, decision?.reason ?? error?.reason, error?.message, error?.fix, event.wamid]
    console.log(requestId, event.event, ...words.filter(Boolean))
    const refused = ['failed', 'cancelled'].includes(event.event) || decision?.outcome === 'reject'
    const accepted = ['accepted', 'sent', 'delivered', 'read'].includes(event.event)
    if (decision?.outcome === 'allow') known = 0 // a request that is repeated is told its decision again, and nothing more
    if (refused || accepted) {
      known = refused ? 1 : 0
      break
    }
  }
  clearTimeout(timer)
  return known
}
