// Counts what is alive, asked of V8 after a collection. Reads own data properties only: no getter of a SUT's runs.
'use strict'

const { EventEmitter } = require('node:events')
const net = require('node:net')
const util = require('node:util')

const MOST_CROWDED = 5
const PLAIN = new Set(['', 'Object', 'Array', 'Function'])

const timer = setTimeout(() => {}, 0)
const BASES = {
  timers: Object.getPrototypeOf(timer),
  emitters: EventEmitter.prototype,
  targets: EventTarget.prototype,
  sockets: net.Socket.prototype,
  promises: Promise.prototype,
  maps: Map.prototype,
  sets: Set.prototype,
  arrays: Array.prototype
}
clearTimeout(timer)

// All living objects of the kinds of interest: {kind: [objects]}, and the `number` of all objects.
// One walk over the heap for all of them, since V8
// collects several times before each.
async function take(inspection, except) {
  const kinds = new Map() // a prototype -> the kinds that it is of
  const found = Object.fromEntries(Object.keys(BASES).map((kind) => [kind, []]))
  const all = await inspection.objects(Object.prototype)
  found.number = all.length
  found.classes = new Map() // a prototype -> how many
  for (const each of all) {
    const prototype = Object.getPrototypeOf(each)
    let its = kinds.get(prototype)
    if (its === undefined) {
      its = Object.keys(BASES).filter((kind) => isOf(prototype, BASES[kind]))
      kinds.set(prototype, its)
    }
    found.classes.set(prototype, (found.classes.get(prototype) || 0) + 1)
    if (each !== except) for (const kind of its) found[kind].push(each)
  }
  return found
}

function isOf(prototype, base) {
  for (let each = prototype; each !== null; each = Object.getPrototypeOf(each)) {
    if (each === base) return true
    if (util.types.isProxy(each)) return false // what lies behind one is the SUT's to say
  }
  return false
}

function own(object, name) {
  if (util.types.isProxy(object)) return undefined
  const property = Object.getOwnPropertyDescriptor(object, name)
  return property === undefined ? undefined : property.value
}

// {class name: how many more than in `before`, another map of classes}
function moreOf(classes, before) {
  const more = {}
  for (const [prototype, count] of classes) {
    const constructor = prototype === null ? undefined : own(prototype, 'constructor')
    const name = typeof constructor === 'function' ? own(constructor, 'name') : undefined
    const grown = count - (before.get(prototype) || 0)
    // The agent's own notes are plain objects and arrays.
    if (typeof name === 'string' && !PLAIN.has(name) && grown > 0) more[name] = (more[name] || 0) + grown
  }
  return more
}

// The timers that are set.
function liveTimers({ timers }) {
  return timers.filter((each) => own(each, '_destroyed') === false && own(each, '_idleTimeout') !== -1)
}

// The sockets that are open, each with the handle below it.
function openSockets({ sockets }) {
  return sockets.map((each) => [each, handleOf(each)]).filter(([, handle]) => handle)
}

// Node keeps it behind an accessor, under a symbol of its own.
function handleOf(socket) {
  const symbol = Object.getOwnPropertySymbols(socket).find((each) => each.description === 'kHandle')
  return symbol === undefined ? own(socket, '_handle') : own(socket, symbol)
}

const COUNTED_APART = new Set(['Timeout', 'Immediate', 'TCPSocketWrap', 'TCPServerWrap', 'TLSWrap', 'PipeWrap'])

// How many handles and requests keep the event loop alive, beside timers and sockets, which are counted as such.
function activeHandles() {
  return process.getActiveResourcesInfo().filter((type) => !COUNTED_APART.has(type)).length
}

// These handles, each with what is below it. Node tells them by this undocumented function alone.
function openHandles() {
  const all = typeof process._getActiveHandles === 'function' ? process._getActiveHandles() : []
  return all.filter((each) => !(each instanceof net.Socket || each instanceof net.Server)).map((each) => [each, own(each, '_handle')])
}

// The promises that nothing has settled.
function pendingPromises({ promises }) {
  const options = { depth: 0, customInspect: false, getters: false, maxArrayLength: 0, maxStringLength: 0 }
  return promises.filter((each) => util.inspect(each, options).includes('<pending>'))
}

// [container, size] of every Map, Set and Array.
function containers({ maps, sets, arrays }) {
  const sizeOf = (prototype) => Object.getOwnPropertyDescriptor(prototype, 'size').get
  const [mapSize, setSize] = [sizeOf(Map.prototype), sizeOf(Set.prototype)]
  return [
    ...maps.filter(util.types.isMap).map((each) => [each, mapSize.call(each)]),
    ...sets.filter(util.types.isSet).map((each) => [each, setSize.call(each)]),
    ...arrays.filter(Array.isArray).map((each) => [each, each.length])
  ]
}

// [emitter, listener] of all that is registered with `emitters`, which are EventEmitters or EventTargets.
function * listenersOf(emitters) {
  for (const emitter of emitters) {
    const events = own(emitter, '_events')
    if (events !== null && typeof events === 'object') {
      for (const event of Reflect.ownKeys(events)) {
        const registered = own(events, event)
        const listeners = Array.isArray(registered) ? registered : [registered]
        for (const listener of listeners) if (typeof listener === 'function') yield [emitter, listener]
      }
      continue
    }
    const symbol = Object.getOwnPropertySymbols(emitter).find((each) => each.description === 'kEvents')
    const targets = symbol === undefined ? undefined : own(emitter, symbol)
    if (!util.types.isMap(targets)) continue
    for (const root of targets.values()) {
      for (let each = root && root.next; each; each = each.next) {
        const listener = typeof each.callback === 'function' ? each.callback : each.listener
        if (typeof listener === 'function') yield [emitter, listener]
      }
    }
  }
}

// Events of EventEmitters with more listeners than their emitter allows, the most first. 0 allows any number.
function crowded({ emitters }) {
  const found = []
  for (const emitter of emitters) {
    const events = own(emitter, '_events')
    if (events === null || typeof events !== 'object') continue
    const most = own(emitter, '_maxListeners') ?? EventEmitter.defaultMaxListeners
    for (const event of Reflect.ownKeys(events)) {
      const registered = own(events, event)
      const count = Array.isArray(registered) ? registered.length : 1
      if (most > 0 && count > most) found.push({ emitter: classOf(emitter), event: String(event).slice(0, 80), count, most })
    }
  }
  return found.sort((one, other) => other.count - one.count).slice(0, MOST_CROWDED)
}

function classOf(object) {
  const prototype = Object.getPrototypeOf(object)
  const constructor = prototype === null ? undefined : own(prototype, 'constructor')
  const name = typeof constructor === 'function' ? own(constructor, 'name') : undefined
  return typeof name === 'string' ? name.slice(0, 80) : ''
}

module.exports = { activeHandles, openHandles, containers, crowded, moreOf, listenersOf, liveTimers, openSockets, pendingPromises, take }
