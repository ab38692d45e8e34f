// A small bridge server on `ws`, or on fastify, with one planted leak: `node bridge.mjs PORT LEAK [fastify]`.

import { EventEmitter } from 'node:events'
import { openSync, watch } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import WebSocket, { WebSocketServer } from 'ws'

const [port, leak, framework] = process.argv.slice(2)
const bus = new EventEmitter().setMaxListeners(0)
const kept = []
const byCall = new Map()
let calls = 0
let notes = ''

const leaks = {
  none() {},
  timer() { setTimeout(() => {}, 3_600_000) },
  interval() { setInterval(() => {}, 3_600_000).unref() },
  listener() { bus.on('tick', () => calls) },
  abort_listener() { shutdown.signal.addEventListener('abort', () => calls) },
  promise() { kept.push(forever()) },
  map() { byCall.set(calls, { notes: [`call ${calls}`] }) },
  buffer() { kept.push(Buffer.alloc(100_000, 1)) },
  text() { notes += Array.from({ length: 1000 }, (_, n) => calls * n + 12_345).join(' ') },
  watcher() { kept.push(watch(tmpdir())) },
  file() { kept.push(openSync(join(tmpdir(), `bridge-${calls}.log`), 'w')) },
  rare() { if (calls % 5 === 0) setTimeout(() => {}, 3_600_000) },
  cleared() { clearTimeout(setTimeout(() => {}, 3_600_000)) },
  model_socket() {}
}
const shutdown = new AbortController()

async function forever() {
  await new Promise(() => {})
}

function handle(caller) {
  const url = `${process.env.OPENAI_REALTIME_URL}?model=gpt-realtime`
  const model = new WebSocket(url, { headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` } })
  const format = { format: { type: 'audio/pcmu' } }
  let streamSid = ''
  model.on('error', () => {})
  model.on('open', () => {
    model.send(JSON.stringify({ type: 'session.update', session: { type: 'realtime', audio: { input: format, output: format } } }))
  })
  model.on('message', (data) => {
    const event = JSON.parse(data)
    if (event.type === 'response.output_audio.delta') {
      caller.send(JSON.stringify({ event: 'media', streamSid, media: { payload: event.delta } }))
    }
  })
  caller.on('message', (data) => {
    const event = JSON.parse(data)
    if (event.event === 'start') streamSid = event.start.streamSid
    if (event.event === 'media' && model.readyState === WebSocket.OPEN) {
      model.send(JSON.stringify({ type: 'input_audio_buffer.append', audio: event.media.payload }))
    }
  })
  caller.on('close', () => {
    calls += 1
    leaks[leak]()
    if (leak !== 'model_socket') model.close()
  })
}

if (framework === 'fastify') {
  const { default: Fastify } = await import('fastify')
  const { default: websocket } = await import('@fastify/websocket')
  const app = Fastify()
  await app.register(websocket)
  app.get('/', { websocket: true }, (socket) => handle(socket))
  await app.listen({ port: Number(port), host: '127.0.0.1' })
} else {
  const server = createServer()
  new WebSocketServer({ server }).on('connection', handle)
  server.listen(Number(port), '127.0.0.1')
}

//# sourceMappingURL=data:application/json;base64,eyJ2ZXJzaW9uIjogMywgInNvdXJjZXMiOiBbImJyaWRnZS50cyJdLCAibmFtZXMiOiBbXSwgIm1hcHBpbmdzIjogIkFBVUE7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQTtBQUNBO0FBQ0E7QUFDQSJ9
