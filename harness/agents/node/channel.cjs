// The agent's channel to the harness: a Unix socket with one JSON object per line. The protocol is that of the Python
// agent (../python/leakline_agent/channel.py), but the hello has `node` in place of `python`.
//
// Commands run on the process's event loop, so that nothing changes meanwhile. The socket keeps no process alive.
'use strict'

const net = require('node:net')

const MAX_ERROR_CHARS = 500

// Connect to the socket at `address`. `code` are directories of the user's own code, in addition to LEAKLINE_CODE's.
function start(address, code = []) {
  if (code.length > 0) require('./frames.cjs').countAsOwn(code)
  const connection = net.connect(address)
  connection.unref()
  connection.setEncoding('utf8')
  let commands = null
  let waiting = Promise.resolve()
  let rest = ''

  const release = () => {
    if (commands !== null) commands.release()
    commands = null
  }
  connection.on('error', release) // the harness has closed the socket: nobody is left to report to
  connection.on('close', release)
  connection.on('data', (text) => {
    const requests = (rest + text).split('\n')
    rest = requests.pop()
    for (const request of requests) {
      waiting = waiting.then(async () => {
        connection.write(JSON.stringify(await answer(request)) + '\n')
      })
      waiting.catch(release)
    }
  })
  const answer = async (request) => {
    try {
      if (commands === null) {
        // Loaded here, not at start-up: most processes that a SUT starts end before the harness asks anything.
        const { Commands } = require('./commands.cjs')
        commands = new Commands(connection)
      }
      return { result: await commands.run(JSON.parse(request)) }
    } catch (error) {
      return { error: String(error).slice(0, MAX_ERROR_CHARS) }
    }
  }
  const hello = { hello: 1, pid: process.pid, parent: process.ppid, node: process.version, argv: process.argv }
  connection.write(JSON.stringify(hello) + '\n')
}

module.exports = { start }
