// Run the server: `node server.mjs --port 5050`.

import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { WebSocketServer } from 'ws'

import { Bridge } from './bridge.mjs'
import { Carts } from './carts.mjs'
import { parse } from './leaks.mjs'
import { Services } from './services.mjs'

const { values } = parseArgs({
  options: { host: { type: 'string', default: '127.0.0.1' }, port: { type: 'string', default: '5050' } }
})

function settings(environment) {
  const baseURL = environment.OPENAI_BASE_URL ?? 'https://api.openai.com/v1'
  return {
    apiKey: environment.OPENAI_API_KEY ?? '',
    baseURL,
    url: `${baseURL.replace(/^http/, 'ws')}/realtime?model=gpt-realtime`,
    leaks: parse(environment.RESTAURANT_LEAKS),
    maxCalls: Number(environment.RESTAURANT_MAX_CALLS ?? 500),
    staleMs: 3_600_000,
    log: environment.RESTAURANT_VERBOSE ? console.log : () => {},
    warn: console.warn
  }
}

let shared
try {
  shared = settings(process.env)
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
const kitchen = {
  ...shared,
  events: new EventEmitter(),
  carts: new Carts(shared.leaks),
  services: new Services(shared)
}
const bridge = new Bridge(kitchen)

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost')
  if (pathname === '/incoming-call') {
    const host = (request.headers.host ?? 'localhost').replace(/[^\w.:[\]-]/g, '')
    response.setHeader('content-type', 'application/xml')
    response.end(
      '<?xml version="1.0" encoding="UTF-8"?>' +
      `<Response><Connect><Stream url="wss://${host}/media-stream" /></Connect></Response>`
    )
  } else if (pathname === '/health') {
    response.setHeader('content-type', 'application/json')
    const [calls, carts] = [bridge.active.size, kitchen.carts.carts.size]
    response.end(JSON.stringify({ status: 'ok', active_calls: calls, voice_sessions: 0, carts }))
  } else {
    response.writeHead(404).end()
  }
})
const streams = new WebSocketServer({ server, path: '/media-stream' })
streams.on('connection', (twilio) => bridge.serve(twilio))
server.listen(Number(values.port), values.host)

// Accept no more calls, end those in progress, and exit.
process.once('SIGTERM', () => {
  for (const twilio of streams.clients) twilio.close(1001, 'the server is going down')
  streams.close()
  server.close(() => process.exit(0))
  setTimeout(() => process.exit(0), 5_000).unref()
})
