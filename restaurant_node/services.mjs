// The model's services over HTTP: reading an order out of a transcript, transcribing a recording.

import { randomUUID } from 'node:crypto'
import { open, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'

import { MENU } from './carts.mjs'
import { withRetry, withTimeout } from './timing.mjs'

const INSTRUCTIONS =
  'You read phone orders. Answer with JSON alone: {"items": [{"name": NAME, "quantity": NUMBER}]}. ' +
  `NAME is one of: ${MENU.join(', ')}`
const ORDER_TIMEOUT_MS = 30_000

export class Services {
  constructor({ apiKey, baseURL, leaks }) {
    this.options = { apiKey, baseURL, maxRetries: 0 }
    this.leaks = leaks
    this.clients = []
    this.uploads = new Set()
  }

  // The client that all services share.
  client() {
    // The good way makes one; the bad way makes one for each use, and keeps them all.
    if (this.leaks.has('duplicate_clients') || this.clients.length === 0) this.clients.push(new OpenAI(this.options))
    return this.clients.at(-1)
  }

  // The items ordered in a transcript, of those on the menu.
  async readOrder(transcript) {
    const leakTimer = this.leaks.has('timeout_timers')
    const answer = await withTimeout(withRetry(() => this.ask(transcript), 2), ORDER_TIMEOUT_MS, { leakTimer })
    const { items = [] } = JSON.parse(answer)
    return items.filter(({ name, quantity }) => MENU.includes(name) && quantity > 0)
  }

  async ask(transcript) {
    const completion = await this.client().chat.completions.create({
      model: 'gpt-4o-mini',
      messages: [{ role: 'system', content: INSTRUCTIONS }, { role: 'user', content: transcript }],
      response_format: { type: 'json_object' }
    })
    return completion.choices[0].message.content
  }

  // The words of some mu-law audio.
  async transcribe(audio) {
    const path = join(tmpdir(), `grill-${randomUUID()}.wav`)
    await writeFile(path, wav(audio))
    const upload = await open(path)
    this.uploads.add(upload)
    if (this.leaks.has('upload_streams')) {
      // The bad way: after an interrupted upload, the line that closes and deletes the file is not run.
      const words = await this.send(upload)
      await this.discard(upload, path)
      return words
    }
    try {
      return await this.send(upload)
    } finally {
      await this.discard(upload, path)
    }
  }

  async send(upload) {
    const file = await toFile(upload.createReadStream({ autoClose: false }), 'message.wav')
    return (await this.client().audio.transcriptions.create({ model: 'gpt-4o-mini-transcribe', file })).text
  }

  async discard(upload, path) {
    this.uploads.delete(upload)
    await upload.close()
    await unlink(path)
  }
}

// A WAV file of mu-law audio at 8 kHz (format tag 7 of RFC 2361).
function wav(audio) {
  const head = Buffer.alloc(44)
  head.write('RIFF', 0)
  head.writeUInt32LE(36 + audio.length, 4)
  head.write('WAVEfmt ', 8)
  head.writeUInt32LE(16, 16)
  head.writeUInt16LE(7, 20)
  head.writeUInt16LE(1, 22)
  head.writeUInt32LE(8000, 24)
  head.writeUInt32LE(8000, 28)
  head.writeUInt16LE(1, 32)
  head.writeUInt16LE(8, 34)
  head.write('data', 36)
  head.writeUInt32LE(audio.length, 40)
  return Buffer.concat([head, audio])
}
