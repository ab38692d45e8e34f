// Redirects connections to intercepted hosts to the fakes, whose certificates NODE_EXTRA_CA_CERTS has the SUT trust.
'use strict'

const net = require('node:net')

const HTTPS = 443

// Redirect from now on. `pairs` is the value of LEAKLINE_INTERCEPT: host=address:port, separated by commas.
function install(pairs) {
  const hosts = new Map()
  for (const pair of pairs.split(',')) {
    const [host, address] = pair.split('=')
    const colon = address.lastIndexOf(':')
    hosts.set(host, { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) })
  }
  const { connect } = net.Socket.prototype
  // ws, https, undici and fetch all call this: with options, or with an array of arguments that net has normalized.
  net.Socket.prototype.connect = function (...given) {
    const normalized = Array.isArray(given[0])
    const options = normalized ? given[0][0] : given[0]
    if (options !== null && typeof options === 'object') {
      const fake = hosts.get(options.host)
      if (fake !== undefined && Number(options.port) === HTTPS) {
        const redirected = { ...options, ...fake, lookup: undefined }
        if (normalized) given[0][0] = redirected
        else given[0] = redirected
      }
    }
    return connect.apply(this, given)
  }
}

module.exports = { install }
