// The leaks that can be switched on, by the names that they have in RESTAURANT_LEAKS: those of restaurant/leaks.py
// that the server in Node has too. The good way and the bad way are both in the function that is named here.

export const LEAKS = [
  'duplicate_clients', // Services.client: each use makes an OpenAI client of its own
  'orphaned_intervals', // Bridge.leave: the sweep for stale calls is never stopped
  'websocket_listeners', // CallSession.close: a call's listeners stay registered
  'timeout_timers', // withTimeout: the timer is not cancelled when the operation finishes first
  'upload_streams', // Services.transcribe: an interrupted upload leaves its temporary file open
  'unbounded_carts', // Carts.close: carts are kept for ever
  'duplicate_adapters', // CallSession.open: a second adapter that nobody disconnects
  'model_sockets', // CallSession.close: the model's socket stays open when the caller hangs up
  'handshake_sockets', // RealtimeAdapter.disconnect: it stays open when the caller hangs up during its handshake
  'call_tasks' // TwilioStream.close: a call's report is never stopped
]

// The leaks that `text` names: `none`, `all`, or names with commas between. Throws RangeError.
export function parse(text = 'none') {
  const names = text.trim()
  if (names === '' || names === 'none') return new Set()
  if (names === 'all') return new Set(LEAKS)
  return new Set(names.split(',').map((each) => {
    const name = each.trim()
    if (!LEAKS.includes(name)) {
      throw new RangeError(`RESTAURANT_LEAKS: expected none, all, or of ${LEAKS.join(', ')}; found '${name}'`)
    }
    return name
  }))
}
