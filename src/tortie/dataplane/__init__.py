"""Intent made real: `l3` routes, the policy backends filter."""
