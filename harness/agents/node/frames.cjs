// Stacks: frames of {file, line, function, kind}, mapped to the original source where there is a source map.
'use strict'

const fs = require('node:fs')
const nodeModule = require('node:module')
const path = require('node:path')
const { fileURLToPath } = require('node:url')

const MAX_FRAMES = 30
const HERE = __dirname + path.sep
const USER = (process.env.LEAKLINE_CODE || '').split(path.delimiter).filter(Boolean)
const MAP_COMMENT = /^\/\/[#@] sourceMappingURL=(\S+)\s*$/gm
const maps = new Map()

function pathOf(name) {
  return name.startsWith('file:') ? fileURLToPath(name) : name
}

// Whose code `file` is: "user", "library" (in node_modules), "stdlib" (Node's own) or "agent".
function kindOf(file) {
  if (!path.isAbsolute(file)) return 'stdlib' // node:net, node:internal/timers, evaluated code
  if (file.startsWith(HERE)) return 'agent'
  const mine = USER.find((directory) => file.startsWith(directory + path.sep)) || ''
  return file.slice(mine.length).includes(`${path.sep}node_modules${path.sep}`) ? 'library' : 'user'
}

// Count the files in these directories as the user's own code, though they may lie in node_modules.
function countAsOwn(directories) {
  USER.push(...directories)
}

// The stack of the caller of `below`, a function; innermost first. Plain data: a CallSite would keep objects alive.
function stackBelow(below) {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder = {}
  try {
    Error.stackTraceLimit = MAX_FRAMES
    Error.prepareStackTrace = (_error, sites) => sites.map(plain)
    Error.captureStackTrace(holder, below)
    return holder.stack.filter((frame) => frame.kind !== 'agent')
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}

function plain(site) {
  const name = site.getFileName() || ''
  const file = pathOf(name)
  return {
    file,
    line: site.getLineNumber() || 0,
    column: site.getColumnNumber() || 0,
    function: nameOf(site),
    kind: kindOf(file)
  }
}

// A frame of the inspector's sampling profile: its line is the one where the function begins.
function frameOf({ functionName, url, lineNumber, columnNumber }) {
  const file = pathOf(url)
  return { file, line: lineNumber + 1, column: columnNumber + 1, function: functionName, kind: kindOf(file) }
}

function nameOf(site) {
  const name = site.getFunctionName() || ''
  if (site.isConstructor()) return `new ${name}`
  const type = site.isToplevel() ? '' : site.getTypeName() || ''
  return !type || type === 'Object' || !name || name.includes('.') ? name : `${type}.${name}`
}

// `frames` with the file and line of the original source, where a source map has them.
function describe(frames) {
  return frames.map(({ column, ...frame }) => {
    const mapped = frame.kind === 'stdlib' ? null : sourceOf(frame.file, frame.line, column)
    return mapped === null ? frame : { ...frame, ...mapped, kind: kindOf(mapped.file) }
  })
}

function sourceOf(file, line, column) {
  const map = mapOf(file)
  if (map === null) return null
  const entry = map.findEntry(line - 1, Math.max(0, column - 1))
  if (entry.originalSource === undefined) return null
  const source = entry.originalSource
  const found = path.resolve(path.dirname(file), pathOf(source))
  return { file: found, line: entry.originalLine + 1 }
}

function mapOf(file) {
  if (!maps.has(file)) {
    let map = null
    try {
      map = nodeModule.findSourceMap(file) || readMap(file)
    } catch {
      // no readable source map: the position in the code that runs is correct too
    }
    maps.set(file, map)
  }
  return maps.get(file)
}

function readMap(file) {
  const last = [...fs.readFileSync(file, 'utf8').matchAll(MAP_COMMENT)].pop()
  if (last === undefined) return null
  const inline = /^data:application\/json[^,]*;base64,(.*)$/.exec(last[1])
  const text = inline
    ? Buffer.from(inline[1], 'base64').toString()
    : fs.readFileSync(path.resolve(path.dirname(file), decodeURI(last[1])), 'utf8')
  return new nodeModule.SourceMap(JSON.parse(text))
}

module.exports = { countAsOwn, describe, frameOf, stackBelow }
