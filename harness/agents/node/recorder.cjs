// Records where timers, sockets, promises, listeners and files are created, during one trace window.
//
// A record is { stack, parent: the async id that it was created in }. The objects are keys of weak maps, so that the
// records keep none of them alive.
'use strict'

const asyncHooks = require('node:async_hooks')
const { EventEmitter } = require('node:events')
const fs = require('node:fs')
const nodeModule = require('node:module')
const path = require('node:path')

const { stackBelow } = require('./frames.cjs')

const MAX_RECORDS = 500_000
const MAX_PARENTS = 12
const RECORDED = new Set([
  ...['Timeout', 'PROMISE', 'TCPWRAP', 'TLSWRAP', 'PIPEWRAP', 'UDPWRAP', 'TCPSERVERWRAP'],
  ...['FSEVENTWRAP', 'STATWATCHER', 'PROCESSWRAP', 'WORKER', 'MESSAGEPORT']
])

class Recorder {
  constructor() {
    this.made = new WeakMap() // object, or its libuv handle -> record
    this.registered = new WeakMap() // emitter -> listener -> record: a function may be registered with many emitters
    this.opened = new Map() // absolute path -> record
    this._byId = new Map() // async id -> record
    this._undo = [] // functions that remove one hook each
  }

  install() {
    const recorder = this
    this._hook = asyncHooks.createHook({
      init: function recorded(id, type, _trigger, resource) {
        if (recorder._byId.size >= MAX_RECORDS) return
        const record = recorder._record(recorded)
        recorder._byId.set(id, record)
        if (RECORDED.has(type)) recorder.made.set(resource, record)
      }
    })
    this._hook.enable()
    for (const name of ['on', 'addListener', 'prependListener']) this._wrapListener(EventEmitter.prototype, name, 1)
    this._wrapListener(EventTarget.prototype, 'addEventListener', 1)
    for (const name of ['open', 'openSync']) this._wrapOpen(fs, name)
    this._wrapOpen(fs.promises, 'open')
    nodeModule.syncBuiltinESMExports()
  }

  uninstall() {
    this._hook.disable()
    for (const put of this._undo.reverse()) put()
    nodeModule.syncBuiltinESMExports()
  }

  // The frames of a record, and while none of them is the user's, those of the record of its parent, and so on.
  stackOf(record) {
    const frames = []
    for (let parents = 0; record !== undefined && parents < MAX_PARENTS; parents++) {
      frames.push(...record.stack)
      if (record.stack.some((frame) => frame.kind === 'user')) break
      record = this._byId.get(record.parent)
    }
    return frames
  }

  _record(below) {
    return { stack: stackBelow(below), parent: asyncHooks.executionAsyncId() }
  }

  _replace(owner, name, make) {
    const original = owner[name]
    const hook = make(original)
    Object.defineProperty(hook, 'name', { value: original.name })
    owner[name] = hook
    this._undo.push(() => {
      if (owner[name] === hook) owner[name] = original
    })
  }

  _wrapListener(owner, name, at) {
    const recorder = this
    this._replace(owner, name, (original) => function hook(...given) {
      const listener = given[at]
      if (typeof listener === 'function') {
        const recorded = recorder.registered.get(this) || new WeakMap()
        recorder.registered.set(this, recorded.set(listener, recorder._record(hook)))
      }
      return original.apply(this, given)
    })
  }

  _wrapOpen(owner, name) {
    const recorder = this
    this._replace(owner, name, (original) => function hook(...given) {
      if (recorder.opened.size < MAX_RECORDS && (typeof given[0] === 'string' || given[0] instanceof URL)) {
        const file = given[0] instanceof URL ? given[0].pathname : given[0]
        recorder.opened.set(path.resolve(file), recorder._record(hook))
      }
      return original.apply(this, given)
    })
  }
}

module.exports = { Recorder }
