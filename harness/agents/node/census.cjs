// Counts the living resources of the process, which V8's inspector lists after a collection. Reads own data
// properties only, so that no getter of the SUT's runs.
'use strict'

const { EventEmitter } = require('node:events')
const net = require('node:net')
const util = require('node:util')

const MAX_EXCESSES = 5
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

// All living objects of the kinds in BASES, {kind: [objects]}, without `except`; the `number` of all objects; and
// their `classes`, a map from a prototype to how many objects have it. One query for all kinds, since V8 collects
// garbage several times before each.
async function take(inspection, except) {
  const kinds = new Map() // prototype -> its kinds
  const found = Object.fromEntries(Object.keys(BASES).map((kind) => [kind, []]))
  const all = await inspection.objects(Object.prototype)
  found.number = all.length
  found.classes = new Map()
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
    if (util.types.isProxy(each)) return false // to look behind a proxy would run the SUT's handlers
  }
  return false
}

function own(object, name) {
  if (util.types.isProxy(object)) return undefined
  const property = Object.getOwnPropertyDescriptor(object, name)
  return property === undefined ? undefined : property.value
}

// {class name: how many more objects in `classes` than in `before`}, both as `classes` of `take`.
function moreOf(classes, before) {
  const more = {}
  for (const [prototype, count] of classes) {
    const constructor = prototype === null ? undefined : own(prototype, 'constructor')
    const name = typeof constructor === 'function' ? own(constructor, 'name') : undefined
    const grown = count - (before.get(prototype) || 0)
    // The agent's own records are plain objects and arrays, so these are not counted.
    if (typeof name === 'string' && !PLAIN.has(name) && grown > 0) more[name] = (more[name] || 0) + grown
  }
  return more
}

// The timers that are set.
function liveTimers({ timers }) {
  return timers.filter((each) => own(each, '_destroyed') === false && own(each, '_idleTimeout') !== -1)
}

// [socket, its libuv handle] of the open sockets.
function openSockets({ sockets }) {
  return sockets.map((each) => [each, handleOf(each)]).filter(([, handle]) => handle)
}

// The property `_handle` may be an accessor; the handle itself is then under Node's symbol kHandle.
function handleOf(socket) {
  const symbol = Object.getOwnPropertySymbols(socket).find((each) => each.description === 'kHandle')
  return symbol === undefined ? own(socket, '_handle') : own(socket, symbol)
}

// Of getActiveResourcesInfo: timers and sockets, which are resources of their own.
const COUNTED_SEPARATELY = new Set(['Timeout', 'Immediate', 'TCPSocketWrap', 'TCPServerWrap', 'TLSWrap', 'PipeWrap'])

// How many handles and requests keep the event loop alive, without timers and sockets.
function activeHandles() {
  return process.getActiveResourcesInfo().filter((type) => !COUNTED_SEPARATELY.has(type)).length
}

// [object, its libuv handle] of these handles; requests have none. Only this undocumented function lists them.
function openHandles() {
  const all = typeof process._getActiveHandles === 'function' ? process._getActiveHandles() : []
  return all.filter((each) => !(each instanceof net.Socket || each instanceof net.Server)).map((each) => [each, own(each, '_handle')])
}

// The promises that are pending. No JavaScript API gives a promise's state but util.inspect.
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

// [emitter, listener] of all listeners that are registered with `emitters`, EventEmitters or EventTargets.
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

// [{ emitter: class, event, count, limit }] of the events with more listeners than their EventEmitter's limit
// (getMaxListeners; 0 is no limit), the most first.
function listenerExcess({ emitters }) {
  const found = []
  for (const emitter of emitters) {
    const events = own(emitter, '_events')
    if (events === null || typeof events !== 'object') continue
    const limit = own(emitter, '_maxListeners') ?? EventEmitter.defaultMaxListeners
    for (const event of Reflect.ownKeys(events)) {
      const registered = own(events, event)
      const count = Array.isArray(registered) ? registered.length : 1
      if (limit > 0 && count > limit) found.push({ emitter: classOf(emitter), event: String(event).slice(0, 80), count, limit })
    }
  }
  return found.sort((one, other) => other.count - one.count).slice(0, MAX_EXCESSES)
}

function classOf(object) {
  const prototype = Object.getPrototypeOf(object)
  const constructor = prototype === null ? undefined : own(prototype, 'constructor')
  const name = typeof constructor === 'function' ? own(constructor, 'name') : undefined
  return typeof name === 'string' ? name.slice(0, 80) : ''
}

module.exports = { activeHandles, openHandles, containers, listenerExcess, moreOf, listenersOf, liveTimers, openSockets, pendingPromises, take }
