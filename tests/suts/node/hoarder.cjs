// A server that takes hold of things, and lets go of them, when it is told to: GET /take/NAME, GET /free/NAME.
'use strict'

const { EventEmitter } = require('node:events')
const fs = require('node:fs')
const http = require('node:http')
const net = require('node:net')

class Bus extends EventEmitter {}

const bus = new Bus()
const held = { timers: [], listeners: [], heap: [], fds: [], connections: [] }
const nothing = () => {}
const times = (number, make) => Array.from({ length: number }, make)

const take = {
  timers: () => times(30, () => setTimeout(nothing, 3_600_000)),
  listeners: () => times(15, () => { const listener = () => {}; bus.on('audio', listener); return listener }),
  heap: () => [Buffer.alloc(70_000_000, 1)],
  fds: () => times(160, () => fs.openSync('/dev/null')),
  connections: () => times(20, () => net.connect(server.address().port, '127.0.0.1').on('error', nothing))
}
const free = {
  timers: clearTimeout,
  listeners: (listener) => bus.off('audio', listener),
  heap: nothing,
  fds: fs.closeSync,
  connections: (socket) => socket.destroy()
}

const server = http.createServer((request, response) => {
  const [, what, name] = request.url.split('/')
  if (what === 'take') held[name] = take[name]()
  if (what === 'free') held[name].splice(0).forEach((each) => free[name](each))
  response.setHeader('connection', 'close')
  response.end(JSON.stringify({ calls: 0 }))
})
server.keepAliveTimeout = 0
server.on('connection', (socket) => socket.on('error', nothing))
server.listen(Number(process.argv[2]), '127.0.0.1')
process.removeAllListeners('warning')
