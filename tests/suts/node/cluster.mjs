// bridge.mjs in two processes behind one port: `node cluster.mjs PORT LEAK`.

import cluster from 'node:cluster'

if (cluster.isPrimary) {
  for (let n = 0; n < 2; n++) cluster.fork()
} else {
  await import('./bridge.mjs')
}
