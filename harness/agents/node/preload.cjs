// Starts leakline's agent in a Node process of the server under test (SUT); loaded by NODE_OPTIONS=--require.
//
// It uses Node's own modules only, as do all files of the agent. It does nothing unless LEAKLINE_AGENT or
// LEAKLINE_INTERCEPT is set.
'use strict'

// An error here is thrown: without redirection the SUT would call the real host. Worker threads are redirected too.
if (process.env.LEAKLINE_INTERCEPT) require('./intercept.cjs').install(process.env.LEAKLINE_INTERCEPT)

const address = process.env.LEAKLINE_AGENT
if (address) {
  try {
    if (require('node:worker_threads').isMainThread) require('./channel.cjs').start(address)
  } catch {
    // the SUT must start even if its agent cannot; the harness reports that no agent connected
  }
}
