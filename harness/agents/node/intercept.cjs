// Leads connections to intercepted hosts to the fakes. The server trusts them by NODE_EXTRA_CA_CERTS.
'use strict'

const net = require('node:net')

const HTTPS = 443

// `pairs` is the text of LEAKLINE_INTERCEPT: host=address:port, with commas between.
function install(pairs) {
  const hosts = new Map()
  for (const pair of pairs.split(',')) {
    const [host, address] = pair.split('=')
    const colon = address.lastIndexOf(':')
    hosts.set(host, { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) })
  }
  const { connect } = net.Socket.prototype
  // ws, https, undici and fetch all come here: with options, or with arguments that net has put in order.
  net.Socket.prototype.connect = function (...given) {
    const inOrder = Array.isArray(given[0])
    const options = inOrder ? given[0][0] : given[0]
    if (options !== null && typeof options === 'object') {
      const there = hosts.get(options.host)
      if (there !== undefined && Number(options.port) === HTTPS) {
        const led = { ...options, ...there, lookup: undefined }
        if (inOrder) given[0][0] = led
        else given[0] = led
      }
    }
    return connect.apply(this, given)
  }
}

module.exports = { install }
