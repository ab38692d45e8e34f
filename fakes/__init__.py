"""The outside world of a voice server: a fake OpenAI, a fake Twilio, and the ledger of what they saw.

Nothing here judges, and nothing here knows that memory is being measured.
"""
