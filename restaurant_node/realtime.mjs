// The adapter to the OpenAI Realtime API: a WebSocket per call, its events emitted on the server's emitter, with a
// colon and the call's SID appended to each name: `audio`, `transcript`, `order`, `interrupted`, `error`.

import WebSocket from 'ws'

import { MENU, TOOLS } from './carts.mjs'

const SESSION = {
  type: 'realtime',
  instructions: `You take orders at the Grill. On the menu: ${MENU.join(', ')}.`,
  output_modalities: ['audio'],
  audio: {
    input: {
      format: { type: 'audio/pcmu' },
      transcription: { model: 'gpt-4o-mini-transcribe' },
      turn_detection: { type: 'server_vad' }
    },
    output: { format: { type: 'audio/pcmu' }, voice: 'marin' }
  },
  tools: TOOLS
}

export class RealtimeAdapter {
  constructor({ url, apiKey, events, callSid, carts, leaks }) {
    Object.assign(this, { url, apiKey, events, callSid, carts, leaks })
    this.socket = null
  }

  // Open the session and have the model greet the caller.
  connect() {
    this.socket = new WebSocket(this.url, { headers: { Authorization: `Bearer ${this.apiKey}` } })
    this.socket.on('open', () => {
      this.send({ type: 'session.update', session: SESSION })
      this.send({ type: 'response.create' })
    })
    this.socket.on('message', (data) => this.onEvent(JSON.parse(data)))
    this.socket.on('error', (error) => this.emit('error', error.message))
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN
  }

  // Pass on the caller's audio, base64 mu-law; before the session is open it is dropped.
  append(audio) {
    this.send({ type: 'input_audio_buffer.append', audio })
  }

  // Close the session; does nothing when there is none.
  disconnect() {
    if (this.socket === null) return
    if (this.leaks.has('handshake_sockets') && this.socket.readyState === WebSocket.CONNECTING) {
      return // the bad way: nothing to close yet, and nobody closes it later
    }
    this.socket.removeAllListeners('error')
    this.socket.on('error', () => {}) // closing during the handshake emits an error
    this.socket.close()
  }

  send(event) {
    if (this.isOpen) this.socket.send(JSON.stringify(event))
  }

  onEvent(event) {
    switch (event.type) {
      case 'response.output_audio.delta':
        return this.emit('audio', event.delta)
      case 'response.output_audio_transcript.done':
        return this.emit('transcript', 'agent', event.transcript)
      case 'conversation.item.input_audio_transcription.completed':
        return this.emit('transcript', 'caller', event.transcript)
      case 'input_audio_buffer.speech_started':
        return this.emit('interrupted')
      case 'response.done':
        return this.onResponseDone(event.response)
      case 'error':
        return this.emit('error', event.error.message)
    }
  }

  onResponseDone({ output }) {
    const calls = output.filter((item) => item.type === 'function_call')
    for (const { name, arguments: given, call_id } of calls) {
      const result = this.carts.call(this.callSid, name, given)
      this.emit('order', name, result)
      this.send({ type: 'conversation.item.create', item: { type: 'function_call_output', call_id, output: result } })
    }
    if (calls.length > 0 && !output.some((item) => item.type === 'message')) this.send({ type: 'response.create' })
  }

  emit(event, ...details) {
    this.events.emit(`${event}:${this.callSid}`, ...details)
  }
}
