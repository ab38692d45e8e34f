"""The Grill: a voice-ordering server between Twilio and the OpenAI Realtime API.

It is leakline's reference server under test. It knows nothing of leakline, is correct by default, and has
leaks that can be switched on one by one (`RESTAURANT_LEAKS`, see `restaurant.leaks`).
"""
