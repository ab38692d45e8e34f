'use strict'

// Bytes as a person reads them.
const sizeInBytes = (value) => {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (Math.abs(value) < 1024 || unit === 'GiB') return `${+value.toFixed(1)} ${unit}`
    value /= 1024
  }
}
