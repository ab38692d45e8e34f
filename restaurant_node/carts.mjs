// The menu, the calls' carts, and the tools by which the model fills a cart.

export const MENU = ['burger', 'cheeseburger', 'fries', 'salad', 'cola', 'water']

export const TOOLS = [
  {
    type: 'function',
    name: 'add_to_cart',
    description: "Put something on the menu into the caller's cart.",
    parameters: {
      type: 'object',
      properties: { item: { type: 'string' }, quantity: { type: 'integer' } },
      required: ['item', 'quantity']
    }
  }
]

export class Carts {
  constructor(leaks) {
    this.leaks = leaks
    this.carts = new Map()
  }

  add(callSid, items) {
    const cart = this.carts.get(callSid) ?? []
    cart.push(...items)
    this.carts.set(callSid, cart)
  }

  // Remove a call's cart, and return what was in it.
  close(callSid) {
    const cart = this.carts.get(callSid) ?? []
    if (!this.leaks.has('unbounded_carts')) this.carts.delete(callSid) // the good way
    return cart
  }

  // The result of one of the model's function calls, as JSON for the model.
  call(callSid, name, text) {
    try {
      const { item, quantity } = JSON.parse(text || '{}')
      if (name !== 'add_to_cart' || !MENU.includes(item) || !(quantity > 0)) throw new RangeError(`no ${name} ${text}`)
      this.add(callSid, [{ item, quantity }])
      return JSON.stringify({ ok: true })
    } catch (error) {
      return JSON.stringify({ ok: false, error: error.message })
    }
  }
}
