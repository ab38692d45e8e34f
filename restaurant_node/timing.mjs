// Timeouts and retries.

// The result of `work`, or an Error after `limitMs`. With `leakTimer` the timer is not cancelled.
export async function withTimeout(work, limitMs, { leakTimer = false } = {}) {
  let timer
  const tooLate = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${limitMs} ms`)), limitMs)
  })
  try {
    return await Promise.race([work, tooLate])
  } finally {
    if (!leakTimer) clearTimeout(timer) // the good way; without it, each call's timer retains what the call held
  }
}

// The result of the first of `times` tries of `work` that does not fail.
export async function withRetry(work, times) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === times) throw error
    }
  }
}
