// V8's inspector from inside: objects by prototype, heap snapshots. One session, open only while it is needed.
'use strict'

const fs = require('node:fs')
const inspector = require('node:inspector')
const v8 = require('node:v8')
const { setImmediate } = require('node:timers/promises')
const vm = require('node:vm')

const KEY = Symbol('leakline')
const ROUNDS = 3
const SAMPLING_BYTES = 16
const GROUP = 'leakline'
let collect = null

// Collect garbage until the heap is at rest: what a collection finalizes is free for the next one a turn later.
async function collectGarbage() {
  if (collect === null) {
    v8.setFlagsFromString('--expose-gc')
    collect = vm.runInNewContext('gc')
    v8.setFlagsFromString('--no-expose-gc')
  }
  for (let round = 0; round < ROUNDS; round++) {
    collect()
    await setImmediate()
  }
}

class Inspection {
  constructor() {
    this._session = new inspector.Session()
    this._session.connect()
    this._box = {}
    // How values cross between this code and the inspector's commands: a property of no name that SUT code knows.
    Object.defineProperty(globalThis, KEY, { value: this._box, configurable: true, enumerable: false })
    this._boxId = null
  }

  async _post(method, params) {
    return new Promise((resolve, reject) => {
      this._session.post(method, params, (error, result) => {
        if (error) reject(new Error(`${method}: ${error.message}`))
        else resolve(result)
      })
    })
  }

  // The remote id of a JavaScript value.
  async _remote(value) {
    this._box.value = value
    if (this._boxId === null) {
      const list = await this._post('Runtime.evaluate', {
        expression: "Object.getOwnPropertySymbols(globalThis).filter((s) => s.description === 'leakline')",
        objectGroup: GROUP
      })
      const box = await this._post('Runtime.callFunctionOn', {
        objectId: list.result.objectId,
        functionDeclaration: 'function () { return globalThis[this[this.length - 1]] }',
        objectGroup: GROUP
      })
      this._boxId = box.result.objectId
    }
    const remote = await this._post('Runtime.callFunctionOn', {
      objectId: this._boxId,
      functionDeclaration: 'function () { return this.value }',
      objectGroup: GROUP
    })
    this._box.value = undefined
    return remote.result.objectId
  }

  // All living objects that have `prototype` in their chain.
  async objects(prototype) {
    const prototypeObjectId = await this._remote(prototype)
    const answer = await this._post('Runtime.queryObjects', { prototypeObjectId, objectGroup: GROUP })
    await this._post('Runtime.callFunctionOn', {
      objectId: answer.objects.objectId,
      functionDeclaration: 'function (box) { box.found = this }',
      arguments: [{ objectId: this._boxId }]
    })
    const found = this._box.found
    this._box.found = undefined
    return found
  }

  // The id of an object in heap snapshots.
  async heapId(object) {
    const objectId = await this._remote(object)
    const answer = await this._post('HeapProfiler.getHeapObjectId', { objectId })
    return Number(answer.heapSnapshotObjectId)
  }

  // Note the stack of almost every allocation from now on.
  async sampleAllocations() {
    await this._post('HeapProfiler.startSampling', { samplingInterval: SAMPLING_BYTES, stackDepth: 40 })
  }

  // What was allocated since and lives, as the inspector's SamplingHeapProfile; ends the sampling.
  async sampledAllocations() {
    const { profile } = await this._post('HeapProfiler.getSamplingProfile')
    await this._post('HeapProfiler.stopSampling')
    return profile
  }

  // Write a heap snapshot to `path`.
  async snapshot(path) {
    await this.forget()
    const file = fs.openSync(path, 'w', 0o600)
    const take = ({ params }) => fs.writeSync(file, params.chunk)
    this._session.on('HeapProfiler.addHeapSnapshotChunk', take)
    try {
      await this._post('HeapProfiler.takeHeapSnapshot', { reportProgress: false })
    } finally {
      this._session.removeListener('HeapProfiler.addHeapSnapshotChunk', take)
      fs.closeSync(file)
    }
  }

  // Keep nothing alive any more: while a session is open, V8 keeps what is given to console.log, 1,000 times.
  async forget() {
    await this._post('Runtime.discardConsoleEntries')
    await this._post('Runtime.releaseObjectGroup', { objectGroup: GROUP })
    this._boxId = null
  }

  close() {
    this._session.disconnect()
    delete globalThis[KEY]
  }
}

module.exports = { Inspection, collectGarbage }
