"""Run, measure, judge: a room for each job, in the order of the data flow (docs/design.md)."""
