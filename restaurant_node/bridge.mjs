// The bridge between a call's Twilio Media Stream and the model's Realtime session.

import { setInterval as every } from 'node:timers/promises'

import { RealtimeAdapter } from './realtime.mjs'

const SWEEP_MS = 60_000
const REPORT_MS = 30_000
const TRY_AGAIN_LATER = 1013

// The sending side of a call's Media Stream: messages to Twilio, and counts of them.
class TwilioStream {
  constructor(socket, streamSid, { leaks, log }) {
    Object.assign(this, { socket, streamSid, leaks, log })
    this.metrics = { framesIn: 0, framesOut: 0, marks: 0, interruptions: 0 }
    this.over = new AbortController()
    this.reporting = this.report()
  }

  play(payload) {
    this.metrics.framesOut += 1
    this.put({ event: 'media', media: { payload } })
  }

  mark(name) {
    this.metrics.marks += 1
    this.put({ event: 'mark', mark: { name } })
  }

  clear() {
    this.metrics.interruptions += 1
    this.put({ event: 'clear' })
  }

  close() {
    if (!this.leaks.has('call_tasks')) this.over.abort() // the good way; without it, it reports for ever
  }

  async report() {
    try {
      for await (const _ of every(REPORT_MS, null, { signal: this.over.signal })) {
        this.log(`stream ${this.streamSid}: ${JSON.stringify(this.metrics)}`)
      }
    } catch (error) {
      if (error.name !== 'AbortError') throw error
    }
  }

  put(message) {
    if (this.socket.readyState === this.socket.OPEN) {
      this.socket.send(JSON.stringify({ streamSid: this.streamSid, ...message }))
    }
  }
}

// One call, from Twilio's `start` to its `stop`.
class CallSession {
  constructor(twilio, start, kitchen) {
    Object.assign(this, { twilio, kitchen, callSid: start.callSid, began: Date.now() })
    this.stream = new TwilioStream(twilio, start.streamSid, kitchen)
    this.transcript = []
    this.listeners = []
    this.message = [] // what the caller says when the model cannot be reached
    this.takesMessage = false
    this.adapter = this.newAdapter()
  }

  // Start connecting to the model; the caller may hang up before it is done.
  open() {
    this.listen('audio', (payload) => this.stream.play(payload))
    this.listen('transcript', (role, text) => this.onTranscript(role, text))
    this.listen('order', (tool, result) => this.kitchen.log(`call ${this.callSid}: ${tool}: ${result}`))
    this.listen('interrupted', () => this.stream.clear())
    this.listen('error', (message) => this.onError(message))
    if (this.kitchen.leaks.has('duplicate_adapters')) this.newAdapter().connect() // the bad way: nobody disconnects it
    this.adapter.connect()
  }

  hear(payload) {
    this.stream.metrics.framesIn += 1
    if (this.takesMessage) this.message.push(Buffer.from(payload, 'base64'))
    this.adapter.append(payload)
  }

  // Release everything that the call holds, and read the order out of the transcript.
  async close() {
    const { carts, events, leaks, log, warn } = this.kitchen
    if (!leaks.has('websocket_listeners')) {
      // The good way: without it, the server's emitter retains every call's session for ever.
      for (const [event, listener] of this.listeners) events.off(event, listener)
    }
    if (!leaks.has('model_sockets')) this.adapter.disconnect() // the good way: the model cannot know of the hang-up
    this.stream.close()
    try {
      await this.confirm()
    } catch (error) {
      warn(`call ${this.callSid}: no order could be read: ${error.message}`)
    }
    log(`call ${this.callSid} ordered ${JSON.stringify(carts.close(this.callSid))}`)
  }

  async confirm() {
    const { carts, services } = this.kitchen
    if (this.message.length > 0) {
      this.transcript.push(`caller: ${await services.transcribe(Buffer.concat(this.message))}`)
    }
    if (this.transcript.length > 0) carts.add(this.callSid, await services.readOrder(this.transcript.join('\n')))
  }

  newAdapter() {
    const { url, apiKey, events, carts, leaks } = this.kitchen
    return new RealtimeAdapter({ url, apiKey, events, carts, leaks, callSid: this.callSid })
  }

  listen(event, listener) {
    const name = `${event}:${this.callSid}`
    this.kitchen.events.on(name, listener)
    this.listeners.push([name, listener])
  }

  onTranscript(role, text) {
    this.transcript.push(`${role}: ${text}`)
    if (role === 'agent') this.stream.mark(`said-${this.transcript.length}`)
  }

  onError(message) {
    this.kitchen.warn(`call ${this.callSid}: ${message}; a message is taken`)
    this.takesMessage = !this.adapter.isOpen
  }
}

// Serves Media Streams. `kitchen` is what all calls share:
// {url, apiKey, events, carts, services, leaks, maxCalls, staleMs, log, warn}.
export class Bridge {
  constructor(kitchen) {
    this.kitchen = kitchen
    this.active = new Map()
    this.sweep = null
  }

  serve(twilio) {
    let session = null
    twilio.on('message', (data) => {
      try {
        const message = JSON.parse(data)
        if (message.event === 'start' && session === null) session = this.start(twilio, message.start)
        else if (message.event === 'media') session?.hear(message.media.payload)
        else if (message.event === 'stop') twilio.close()
      } catch (error) {
        this.kitchen.warn(`not a Media Streams message: ${error.message}`)
      }
    })
    twilio.on('error', (error) => this.kitchen.warn(`the caller's stream broke: ${error.message}`))
    twilio.on('close', () => {
      if (session !== null) session.close().finally(() => this.leave(session))
    })
  }

  start(twilio, start) {
    const { maxCalls, warn } = this.kitchen
    if (this.active.size >= maxCalls) {
      warn(`a call is refused: ${this.active.size} are under way`)
      twilio.close(TRY_AGAIN_LATER, 'too many calls')
      return null
    }
    const session = new CallSession(twilio, start, this.kitchen)
    if (this.active.size === 0) this.sweep = setInterval(() => this.endStale(), SWEEP_MS)
    this.active.set(session.callSid, session)
    session.open()
    return session
  }

  leave(session) {
    this.active.delete(session.callSid)
    if (this.active.size > 0) return
    // The good way; without it, each busy period leaves a timer for ever.
    if (!this.kitchen.leaks.has('orphaned_intervals')) clearInterval(this.sweep)
    this.sweep = null
  }

  endStale() {
    for (const session of this.active.values()) {
      if (Date.now() - session.began > this.kitchen.staleMs) session.twilio.close()
    }
  }
}
