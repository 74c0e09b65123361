"""Map-reduce over datasets: `whichpool.process`. Its parts are loaded when it is called."""
