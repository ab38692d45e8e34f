"""Run, measure, judge: the SUT, the probes in it, the calls, the verdict. Formats nothing for people."""
