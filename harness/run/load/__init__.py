"""Load: many calls at a time, in Locust, with the server's memory beside them."""
