// What there is to eat, the carts that it is put into, and the tools that let the model do so.

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

  // What the call ordered; its cart is gone then.
  close(callSid) {
    const cart = this.carts.get(callSid) ?? []
    if (!this.leaks.has('unbounded_carts')) this.carts.delete(callSid) // the good way
    return cart
  }

  // The result of a function call of the model's, as the JSON that it is given.
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
