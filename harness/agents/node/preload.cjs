// Starts leakline's agent in a Node process that leakline measures: put there by NODE_OPTIONS=--require.
//
// Node's own modules only, as every file of the agent. It does nothing unless LEAKLINE_AGENT or LEAKLINE_INTERCEPT is set.
'use strict'

// An error here is told: the SUT would else call the real host. Worker threads are led too.
if (process.env.LEAKLINE_INTERCEPT) require('./intercept.cjs').install(process.env.LEAKLINE_INTERCEPT)

const address = process.env.LEAKLINE_AGENT
if (address) {
  try {
    if (require('node:worker_threads').isMainThread) require('./link.cjs').start(address)
  } catch {
    // a SUT must start whatever becomes of its agent; the harness says that none came
  }
}
