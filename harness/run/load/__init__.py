"""Load runs: many calls at a time, in Locust, while the server's memory is measured."""
