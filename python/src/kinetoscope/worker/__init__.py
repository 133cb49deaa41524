"""kinetoscope-torch-worker: one rank of a stage that runs a real torch model.

Rank 0 leads: it takes requests and hand-offs, chooses the next batch and broadcasts it as a
plan; every rank runs the same plan. Rank 0 alone talks to other stages and to the
orchestrator. The data path is that of the native ranks (kinetoscope.wire), so that native
and torch stages stand in one pipeline.
"""
