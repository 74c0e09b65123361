"""``whichpool get`` beside the downloaders people use: the same files, from the same nginx, with and without latency.

data (what is served)   link (loopback, or a line with latency)   nginx
    peers (the commands)   launch (one fresh process each)   rounds (in turns)   tables
"""
