// The agent's line to the harness: one Unix socket, one JSON object a line, as the Python agent speaks it.
//
// It rides on the process's event loop, so that nothing moves while it counts, and keeps no process alive.
'use strict'

const net = require('node:net')

const MOST_ERROR_CHARS = 500

// `code` are directories of the user's own code, besides LEAKLINE_CODE's.
function start(address, code = []) {
  if (code.length > 0) require('./frames.cjs').countAsOwn(code)
  const line = net.connect(address)
  line.unref()
  line.setEncoding('utf8')
  let commands = null
  let waiting = Promise.resolve()
  let rest = ''

  const release = () => {
    if (commands !== null) commands.release()
    commands = null
  }
  line.on('error', release) // the harness has gone: there is nobody left to tell
  line.on('close', release)
  line.on('data', (text) => {
    const requests = (rest + text).split('\n')
    rest = requests.pop()
    for (const request of requests) {
      waiting = waiting.then(async () => {
        line.write(JSON.stringify(await answer(request)) + '\n')
      })
      waiting.catch(release)
    }
  })
  const answer = async (request) => {
    try {
      if (commands === null) {
        // Loaded here, not at start-up: most processes in a SUT's tree end before they are asked anything.
        const { Commands } = require('./commands.cjs')
        commands = new Commands(line)
      }
      return { result: await commands.run(JSON.parse(request)) }
    } catch (error) {
      return { error: String(error).slice(0, MOST_ERROR_CHARS) }
    }
  }
  const hello = { hello: 1, pid: process.pid, parent: process.ppid, node: process.version, argv: process.argv }
  line.write(JSON.stringify(hello) + '\n')
}

module.exports = { start }
