"""The engine: core, scheduler and plans, the runner that executes them, the sampler, and the thread or process around them."""
