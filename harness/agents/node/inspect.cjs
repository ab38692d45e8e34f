// V8's inspector, used from inside the process: objects by prototype, allocation sampling, heap snapshots.
'use strict'

const fs = require('node:fs')
const inspector = require('node:inspector')
const v8 = require('node:v8')
const { setImmediate } = require('node:timers/promises')
const vm = require('node:vm')

const KEY = Symbol('leakline')
const ROUNDS = 3
const SAMPLING_BYTES = 16 // average distance of sampled allocations: almost all are
const GROUP = 'leakline'
let collect = null

// Collect garbage, in several rounds: finalizers run in the event loop's next turn, and release more.
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

// One session of the inspector; `close` ends it.
class Inspection {
  constructor() {
    this._session = new inspector.Session()
    this._session.connect()
    this._box = {}
    // Values pass between this code and the inspector's commands through this object. SUT code does not have its key.
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

  // The inspector's RemoteObjectId of a JavaScript value.
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

  // Record the stack of almost every allocation from now on.
  async sampleAllocations() {
    await this._post('HeapProfiler.startSampling', { samplingInterval: SAMPLING_BYTES, stackDepth: 40 })
  }

  // The living memory that was allocated since, as the inspector's SamplingHeapProfile; ends the sampling.
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

  // Release all objects that the session keeps alive: results, and the arguments of the last 1,000 console.log calls.
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
