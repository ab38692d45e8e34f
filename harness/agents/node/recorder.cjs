// Notes where timers, sockets, promises, listeners and files are made, for the length of one watch.
//
// Made things are looked up in weak maps, so that the notes keep nothing alive.
'use strict'

const asyncHooks = require('node:async_hooks')
const { EventEmitter } = require('node:events')
const fs = require('node:fs')
const nodeModule = require('node:module')
const path = require('node:path')

const { stackBelow } = require('./frames.cjs')

const MOST_NOTES = 500_000
const MOST_LINKS = 12
const NOTED = new Set([
  ...['Timeout', 'PROMISE', 'TCPWRAP', 'TLSWRAP', 'PIPEWRAP', 'UDPWRAP', 'TCPSERVERWRAP'],
  ...['FSEVENTWRAP', 'STATWATCHER', 'PROCESSWRAP', 'WORKER', 'MESSAGEPORT']
])

class Recorder {
  constructor() {
    this.made = new WeakMap() // the thing, or the handle below it -> its note
    this.registered = new WeakMap() // the emitter -> listener -> its note: one function may listen in many places
    this.opened = new Map() // path -> note
    this._byId = new Map() // async id -> note
    this._undo = []
  }

  install() {
    const recorder = this
    this._hook = asyncHooks.createHook({
      init: function noted(id, type, _trigger, resource) {
        if (recorder._byId.size >= MOST_NOTES) return
        const note = recorder._note(noted)
        recorder._byId.set(id, note)
        if (NOTED.has(type)) recorder.made.set(resource, note)
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

  // The frames of a note, and where none of them is the user's, those of what led to it.
  stackOf(note) {
    const frames = []
    for (let link = 0; note !== undefined && link < MOST_LINKS; link++) {
      frames.push(...note.stack)
      if (note.stack.some((frame) => frame.kind === 'user')) break
      note = this._byId.get(note.parent)
    }
    return frames
  }

  _note(below) {
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
        const noted = recorder.registered.get(this) || new WeakMap()
        recorder.registered.set(this, noted.set(listener, recorder._note(hook)))
      }
      return original.apply(this, given)
    })
  }

  _wrapOpen(owner, name) {
    const recorder = this
    this._replace(owner, name, (original) => function hook(...given) {
      if (recorder.opened.size < MOST_NOTES && (typeof given[0] === 'string' || given[0] instanceof URL)) {
        const file = given[0] instanceof URL ? given[0].pathname : given[0]
        recorder.opened.set(path.resolve(file), recorder._note(hook))
      }
      return original.apply(this, given)
    })
  }
}

module.exports = { Recorder }
