// The commands of the harness: begin, sample, read_cheap; begin_trace, survey, snapshot.
'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout } = require('node:timers/promises')
const v8 = require('node:v8')
const vm = require('node:vm')

const census = require('./census.cjs')
const { describe, frameOf } = require('./frames.cjs')
const { Inspection, collectGarbage } = require('./inspect.cjs')
const { Recorder } = require('./recorder.cjs')

const MAX_MEASURED = 200 // survivors of one allocation site whose retained bytes are measured
const MAX_SITES = 40
const MAX_ALLOCATIONS = 300
const MAX_PAUSES = 40
const QUIET_PAUSES = 3
const PAUSE_MS = 25
const MAX_CONTAINERS = 20 // that are named
const MAX_SNAPSHOT_BYTES = 512 * 1024 * 1024

// Bytes of the living objects and of the memory that they have outside V8's heap, without compiled code: V8 compiles
// and optimizes a server's code during its first hundred calls or so, and discards code that is not used. The
// collector's marking gives the number, exact to the object; V8's heap statistics at times count a half-used page of
// 256 KB as used.
async function heapInUse() {
  const { emitWarning } = process
  process.emitWarning = () => {} // keeps the warning that measureMemory is experimental out of the SUT's log
  let measuring
  try {
    measuring = vm.measureMemory({ mode: 'summary', execution: 'eager' })
  } finally {
    process.emitWarning = emitWarning
  }
  const { total } = await measuring
  const { external, arrayBuffers } = process.memoryUsage() // marking has counted the bytes of ArrayBuffers already
  const code = v8.getHeapCodeStatistics()
  const compiled = code.code_and_metadata_size + code.bytecode_and_metadata_size
  return total.jsMemoryEstimate - compiled + external - arrayBuffers
}

// The paths of the process's open files; none on a system without /proc.
function openPaths() {
  const paths = []
  try {
    for (const name of fs.readdirSync('/proc/self/fd')) {
      try {
        paths.push(fs.readlinkSync(`/proc/self/fd/${name}`).replace(/ \(deleted\)$/, ''))
      } catch {
        // the descriptor that readdirSync had open
      }
    }
  } catch {
    // not Linux
  }
  return paths
}

// Wait until the process's timers, handles and requests have not changed for QUIET_PAUSES pauses, one second at most.
async function untilQuiet() {
  let [last, times] = ['', 0]
  for (let i = 0; i < MAX_PAUSES && times < QUIET_PAUSES; i++) {
    const active = process.getActiveResourcesInfo().sort().join()
    times = active === last ? times + 1 : 0
    last = active
    await setTimeout(PAUSE_MS)
  }
}

class Commands {
  constructor(connection) {
    this._connection = connection
    // The emitters of the first sample. Listeners of a later one are not counted: if it leaks, they leak with it.
    this._known = null
    this._recorder = null
    this._inspection = null
    this._sizes = null // container -> its size at the start of the trace window
    this._trace = null // the trace window: 'plain', 'deep' or null
    this._survived = [] // [objects] of each row of `survey` with an index, until `snapshot` has found their ids
  }

  async run(asked) {
    const commands = ['begin', 'sample', 'read_cheap', 'begin_trace', 'survey', 'snapshot']
    if (!commands.includes(asked.do)) throw new Error(`no command '${asked.do}'`)
    return this[asked.do](asked.with || {})
  }

  begin() {
    return { traced: false }
  }

  read_cheap() {
    return { resources: {} }
  }

  // The counters of this process: {"resources": {name: number}, "listener_excess": [...]}.
  async sample() {
    await untilQuiet()
    // fetch adds an entry for each request, up to 250: bounded, but until then it looks like a leak.
    performance.clearResourceTimings()
    const handles = census.activeHandles()
    const { listenerExcess, ...counted } = await this._inspected(async (inspection) => {
      const found = await census.take(inspection, this._connection)
      return {
        listenerExcess: census.listenerExcess(found),
        objects: found.number,
        timers: census.liveTimers(found).length,
        listeners: [...census.listenersOf(this._knownOf(found))].length,
        promises: census.pendingPromises(found).length,
        handles
      }
    })
    await collectGarbage()
    return { resources: { ...counted, heap: await heapInUse() }, listener_excess: listenerExcess }
  }

  async _inspected(work) {
    this._inspection = this._inspection || new Inspection()
    await this._inspection.forget()
    await collectGarbage()
    try {
      return await work(this._inspection)
    } finally {
      await this._inspection.forget()
    }
  }

  // Those of the emitters that existed at the first sample.
  _knownOf({ emitters, targets }) {
    const all = [...emitters, ...targets]
    this._known = this._known || new WeakSet(all)
    return all.filter((each) => this._known.has(each))
  }

  // Begin a trace window: record where resources are created; with `deep` the stack of every allocation instead.
  // Heap snapshots are written to `folder`.
  async begin_trace({ deep = false, folder }) {
    this._folder = folder
    await this._inspected(async (inspection) => this._begin(inspection, deep))
    return {}
  }

  async _begin(inspection, deep) {
    if (deep) {
      await inspection.sampleAllocations()
      this._trace = 'deep'
      return
    }
    this._trace = 'plain'
    const found = await census.take(inspection, this._connection)
    this._sizes = new WeakMap(census.containers(found))
    this._classes = found.classes
    this._before = await this._snapshot('before')
    this._recorder = new Recorder()
    this._recorder.install()
  }

  // End the trace window: what was created in it and is alive, by the stack that created it. Rows of "resources" are
  // as those of the Python agent; a row's `index` is that of its objects' ids in the answer to `snapshot`.
  async survey() {
    if (this._trace === null) return { resources: {}, heap: [] } // a process that started within the window
    const inspection = this._inspection
    try {
      if (this._trace === 'deep') {
        await collectGarbage()
        return { resources: {}, heap: this._allocated(await inspection.sampledAllocations()) }
      }
      this._recorder.uninstall()
      await collectGarbage()
      const found = await census.take(inspection, this._connection)
      const resources = await this._survivorsAt(inspection, found)
      const grown = await this._grown(inspection, census.containers(found))
      const more = Object.entries(census.moreOf(found.classes, this._classes))
      const types = more.map(([type, count]) => ({ type, count })).sort((a, b) => b.count - a.count)
      const snapshots = this._before ? { before: this._before } : {}
      return { resources, heap: [], containers: grown, types: types.slice(0, MAX_SITES), snapshots }
    } finally {
      await inspection.forget()
      this._end()
    }
  }

  // Take the heap snapshot of after the trace window: {"file", "ids": [[heap id]]}. A command of its own, so that the
  // records of the window are garbage by then.
  async snapshot() {
    const survived = this._survived
    this._survived = []
    return this._inspected(async (inspection) => {
      const file = await this._snapshot('after')
      const ids = []
      // After the snapshot, since an object gets its id in the first snapshot that has it.
      for (const things of survived) {
        const numbers = []
        for (const thing of things) numbers.push(await inspection.heapId(thing))
        ids.push(numbers)
      }
      return { file, ids }
    })
  }

  // Remove all hooks from the process, and end the inspector's session.
  release() {
    if (this._recorder !== null) this._recorder.uninstall()
    this._end()
    if (this._inspection !== null) this._inspection.close()
    this._inspection = null
    this._survived = []
  }

  _end() {
    this._recorder = this._sizes = this._classes = this._trace = null
  }

  async _snapshot(name) {
    const memory = process.memoryUsage()
    if (memory.heapUsed > MAX_SNAPSHOT_BYTES) return null // the server would stand still for minutes
    const file = path.join(this._folder, `node-${process.pid}-${name}.heapsnapshot`)
    await this._inspection.snapshot(file)
    return file
  }

  async _survivorsAt(inspection, found) {
    const { made, registered } = this._recorder
    this._survived = [] // a new array: the old one would be among the containers that have grown
    const registration = ([emitter, listener]) => registered.get(emitter)?.get(listener)
    const alive = {
      timers: census.liveTimers(found).map((each) => [each, made.get(each)]),
      listeners: [...census.listenersOf(this._knownOf(found))].map((each) => [each[1], registration(each)]),
      sockets: census.openSockets(found).map(([each, handle]) => [each, made.get(handle)]),
      promises: census.pendingPromises(found).map((each) => [each, made.get(each)]),
      handles: census.openHandles().map(([each, handle]) => [each, made.get(handle)])
    }
    const resources = {}
    for (const [name, things] of Object.entries(alive)) {
      resources[name] = []
      for (const { things: created, ...row } of this._rows(things)) {
        resources[name].push({ ...row, index: this._survived.length })
        this._survived.push(created.slice(0, MAX_MEASURED))
      }
    }
    resources.fds = this._filesAt(openPaths())
    const temporary = path.resolve(os.tmpdir()) + path.sep
    const remaining = [...this._recorder.opened.keys()].filter((file) => file.startsWith(temporary) && fs.existsSync(file))
    resources.temp_files = this._filesAt(remaining)
    return resources
  }

  // Rows of a sampling profile: {"count", "bytes", "stack"} of the living memory, by the stack that allocated it.
  _allocated({ head, samples }) {
    const totals = new Map()
    for (const { nodeId, size } of samples) {
      const total = totals.get(nodeId) || { count: 0, bytes: 0 }
      totals.set(nodeId, { count: total.count + 1, bytes: total.bytes + size })
    }
    const rows = []
    const pending = [[head, []]]
    while (pending.length > 0) {
      const [node, callers] = pending.pop()
      const stack = node === head ? [] : [frameOf(node.callFrame), ...callers]
      const total = totals.get(node.id)
      if (total && !stack.some((frame) => frame.kind === 'agent')) rows.push({ ...total, stack })
      for (const child of node.children) pending.push([child, stack])
    }
    rows.sort((a, b) => b.bytes - a.bytes)
    return rows.slice(0, MAX_ALLOCATIONS).map((row) => ({ ...row, stack: describe(row.stack) }))
  }

  // Rows of the [object, its record or undefined] pairs `things`, one for each stack, the most objects first.
  _rows(things) {
    const groups = new Map()
    for (const [thing, record] of things) {
      if (record === undefined) continue
      const stack = this._recorder.stackOf(record)
      const key = JSON.stringify(stack.map((frame) => [frame.file, frame.line, frame.column]))
      const group = groups.get(key) || { stack, things: [] }
      group.things.push(thing)
      groups.set(key, group)
    }
    const rows = [...groups.values()].sort((a, b) => b.things.length - a.things.length).slice(0, MAX_SITES)
    return rows.map(({ stack, things }) => (
      { count: things.length, retained_bytes: 0, things, stack: describe(stack) }
    ))
  }

  // Rows of those of `files` that were opened in the trace window.
  _filesAt(files) {
    const rows = this._rows(files.map((file) => [file, this._recorder.opened.get(file)]))
    return rows.map(({ things, ...row }) => row)
  }

  // The containers from before the trace window that grew in it: [{"grown": entries, "id": heap id}], most first.
  async _grown(inspection, containers) {
    const grown = []
    for (const [container, size] of containers) {
      const before = this._sizes.get(container)
      if (before !== undefined && size > before) grown.push([container, size - before])
    }
    grown.sort((a, b) => b[1] - a[1])
    const rows = []
    for (const [container, more] of grown.slice(0, MAX_CONTAINERS)) {
      rows.push({ grown: more, id: await inspection.heapId(container) })
    }
    return rows
  }
}

module.exports = { Commands }
