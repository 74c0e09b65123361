"""What does the function do? Measured on the real items, while the loop already runs.

gil      the heartbeat: is the GIL taken while the function computes?
payload  what it costs to send an item and take its result, and whether they can travel at all
hazards  what the function writes that others can see
profile  all of it together: a running estimate of the Demand
"""
