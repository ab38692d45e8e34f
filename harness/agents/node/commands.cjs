// What the harness can ask: `begin`, `sample`, `peek`, `watch`, `sites`, `snapshot`.
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

const MOST_HELD = 200
const MOST_SITES = 40
const MOST_ALLOCATIONS = 300
const MOST_PAUSES = 40
const STILL_TIMES = 3
const PAUSE_MS = 25
const MOST_CONTAINERS = 20
const MOST_SNAPSHOT_BYTES = 512 * 1024 * 1024

// Bytes of living objects, but for code, and of what they hold outside V8's heap: a server's code is compiled and
// optimized for some hundred calls, and then thrown away when it is not used. Asked of the collector's marking, which
// is exact to the object: V8's own statistics count a half-used page of 256 KB as used, now and then.
async function heapInUse() {
  const { emitWarning } = process
  process.emitWarning = () => {} // that it is experimental is not for the SUT's log
  let measuring
  try {
    measuring = vm.measureMemory({ mode: 'summary', execution: 'eager' })
  } finally {
    process.emitWarning = emitWarning
  }
  const { total } = await measuring
  const { external, arrayBuffers } = process.memoryUsage() // marking counts the bytes of ArrayBuffers itself
  const code = v8.getHeapCodeStatistics()
  const compiled = code.code_and_metadata_size + code.bytecode_and_metadata_size
  return total.jsMemoryEstimate - compiled + external - arrayBuffers
}

// The paths of the files that are open; none where there is no /proc.
function openPaths() {
  const paths = []
  try {
    for (const name of fs.readdirSync('/proc/self/fd')) {
      try {
        paths.push(fs.readlinkSync(`/proc/self/fd/${name}`).replace(/ \(deleted\)$/, ''))
      } catch {
        // the one that lists the directory
      }
    }
  } catch {
    // not Linux
  }
  return paths
}

// Wait, not for long, until nothing that the process waits for comes or goes.
async function still() {
  let [last, times] = ['', 0]
  for (let i = 0; i < MOST_PAUSES && times < STILL_TIMES; i++) {
    const active = process.getActiveResourcesInfo().sort().join()
    times = active === last ? times + 1 : 0
    last = active
    await setTimeout(PAUSE_MS)
  }
}

class Commands {
  constructor(line) {
    this._line = line
    this._known = null // the emitters of the first sample: what is registered with one that leaks itself is its own
    this._recorder = null
    this._inspection = null
    this._sizes = null
    this._watch = null
    this._kept = [] // what survived a watch, row by row, until the snapshot after it
  }

  async run(asked) {
    const commands = ['begin', 'sample', 'peek', 'watch', 'sites', 'snapshot']
    if (!commands.includes(asked.do)) throw new Error(`no command '${asked.do}'`)
    return this[asked.do](asked.with || {})
  }

  begin() {
    return { traced: false }
  }

  peek() {
    return { resources: {} }
  }

  // The counters of this process: {"resources": {name: number}}.
  async sample() {
    await still()
    // fetch leaves an entry of each request there, up to 250: no leak, but it looks like one until then.
    performance.clearResourceTimings()
    const handles = census.activeHandles()
    const { crowded, ...counted } = await this._inspected(async (inspection) => {
      const found = await census.take(inspection, this._line)
      return {
        crowded: census.crowded(found),
        objects: found.number,
        timers: census.liveTimers(found).length,
        listeners: [...census.listenersOf(this._knownOf(found))].length,
        promises: census.pendingPromises(found).length,
        handles
      }
    })
    await collectGarbage()
    return { resources: { ...counted, heap: await heapInUse() }, crowded }
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

  // Those of the emitters that were there at the first sample.
  _knownOf({ emitters, targets }) {
    const all = [...emitters, ...targets]
    this._known = this._known || new WeakSet(all)
    return all.filter((each) => this._known.has(each))
  }

  // Begin to note where things are made; `deep` notes the stack of every allocation instead.
  async watch({ deep = false, folder }) {
    this._folder = folder
    await this._inspected(async (inspection) => this._begin(inspection, deep))
    return {}
  }

  async _begin(inspection, deep) {
    if (deep) {
      await inspection.sampleAllocations()
      this._watch = 'deep'
      return
    }
    this._watch = 'plain'
    const found = await census.take(inspection, this._line)
    this._sizes = new WeakMap(census.containers(found))
    this._classes = found.classes
    this._before = await this._snapshot('before')
    this._recorder = new Recorder()
    this._recorder.install()
  }

  // What was made since `watch` and lives, by the place that made it; ends the watch.
  async sites() {
    if (this._watch === null) return { resources: {}, heap: [] } // a process that was started meanwhile
    const inspection = this._inspection
    try {
      if (this._watch === 'deep') {
        await collectGarbage()
        return { resources: {}, heap: this._allocated(await inspection.sampledAllocations()) }
      }
      this._recorder.uninstall()
      await collectGarbage()
      const found = await census.take(inspection, this._line)
      const resources = await this._survivors(inspection, found)
      const grown = await this._grown(inspection, census.containers(found))
      const more = Object.entries(census.moreOf(found.classes, this._classes))
      const types = more.map(([type, count]) => ({ type, count })).sort((a, b) => b.count - a.count)
      const snapshots = this._before ? { before: this._before } : {}
      return { resources, heap: [], containers: grown, types: types.slice(0, MOST_SITES), snapshots }
    } finally {
      await inspection.forget()
      this._end()
    }
  }

  // A heap snapshot of after a watch: a command of its own, when nothing that `sites` noted is alive any more.
  async snapshot() {
    const kept = this._kept
    this._kept = []
    return this._inspected(async (inspection) => {
      const file = await this._snapshot('after')
      const ids = []
      // V8 numbers an object when a snapshot first meets it.
      for (const things of kept) {
        const numbers = []
        for (const thing of things) numbers.push(await inspection.heapId(thing))
        ids.push(numbers)
      }
      return { file, ids }
    })
  }

  // Leave the process as it was found.
  release() {
    if (this._recorder !== null) this._recorder.uninstall()
    this._end()
    if (this._inspection !== null) this._inspection.close()
    this._inspection = null
    this._kept = []
  }

  _end() {
    this._recorder = this._sizes = this._classes = this._watch = null
  }

  async _snapshot(name) {
    const memory = process.memoryUsage()
    if (memory.heapUsed > MOST_SNAPSHOT_BYTES) return null // it would stop the server for minutes
    const file = path.join(this._folder, `node-${process.pid}-${name}.heapsnapshot`)
    await this._inspection.snapshot(file)
    return file
  }

  async _survivors(inspection, found) {
    const { made, registered } = this._recorder
    this._kept = [] // a new one: the one of before would have grown
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
      for (const { things: made, ...row } of this._rows(things)) {
        resources[name].push({ ...row, held: this._kept.length })
        this._kept.push(made.slice(0, MOST_HELD))
      }
    }
    resources.fds = this._filesAt(openPaths())
    const temporary = path.resolve(os.tmpdir()) + path.sep
    const remaining = [...this._recorder.opened.keys()].filter((file) => file.startsWith(temporary) && fs.existsSync(file))
    resources.temp_files = this._filesAt(remaining)
    return resources
  }

  // Rows of a sampling profile: the stacks that allocated what lives.
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
    return rows.slice(0, MOST_ALLOCATIONS).map((row) => ({ ...row, stack: describe(row.stack) }))
  }

  // Rows of [thing, note of where it was made or undefined], a row a stack, the most things first.
  _rows(things) {
    const groups = new Map()
    for (const [thing, note] of things) {
      if (note === undefined) continue
      const stack = this._recorder.stackOf(note)
      const key = JSON.stringify(stack.map((frame) => [frame.file, frame.line, frame.column]))
      const group = groups.get(key) || { stack, things: [] }
      group.things.push(thing)
      groups.set(key, group)
    }
    const rows = [...groups.values()].sort((a, b) => b.things.length - a.things.length).slice(0, MOST_SITES)
    return rows.map(({ stack, things }) => ({ count: things.length, held_bytes: 0, things, stack: describe(stack) }))
  }

  // Rows of those of `files` that were opened during the watch.
  _filesAt(files) {
    const rows = this._rows(files.map((file) => [file, this._recorder.opened.get(file)]))
    return rows.map(({ things, ...row }) => row)
  }

  // The containers of before the watch that have grown since: [{"grown", "id"}], the most first.
  async _grown(inspection, containers) {
    const grown = []
    for (const [container, size] of containers) {
      const before = this._sizes.get(container)
      if (before !== undefined && size > before) grown.push([container, size - before])
    }
    grown.sort((a, b) => b[1] - a[1])
    const rows = []
    for (const [container, more] of grown.slice(0, MOST_CONTAINERS)) {
      rows.push({ grown: more, id: await inspection.heapId(container) })
    }
    return rows
  }
}

module.exports = { Commands }
